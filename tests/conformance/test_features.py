"""features and spec; what is not there says so."""

import json
import os

import pytest

from tests.conformance.runtime import Container, Runtime


def test_features(runtime: Runtime) -> None:
    found = json.loads(runtime.ok("features"))
    assert found["ociVersionMin"].startswith("1.0")
    assert set(found["hooks"]) == {
        "prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop",
    }  # fmt: skip
    assert {"ro", "rw", "bind", "rbind", "nosuid", "rslave", "tmpcopyup"} <= set(found["mountOptions"])
    linux = found["linux"]
    assert {"pid", "network", "ipc", "uts", "mount", "user", "cgroup"} <= set(linux["namespaces"])
    assert "CAP_SYS_ADMIN" in linux["capabilities"]
    assert linux["cgroup"]["v1"] is True and linux["seccomp"]["enabled"] is True
    assert "SCMP_ACT_ERRNO" in linux["seccomp"]["actions"]


def test_spec(runtime: Runtime, container: Container) -> None:
    """What it writes is a configuration that runs as it is, but for the terminal."""
    runtime.ok("spec", "--bundle", container.bundle)
    with open(f"{container.bundle}/config.json") as file:
        container.config = json.load(file)
    assert container.config["process"]["args"] == ["sh"]
    assert container.config["root"]["path"] == "rootfs"
    container.process = container.config["process"]
    container.process["terminal"] = False
    limit = container.process["rlimits"][0]["hard"]
    container.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": min(limit, 1024), "hard": min(limit, 1024)}]
    assert container.output_of("payload", "out", "ran") == "ran\n"


def test_spec_replaces_nothing(runtime: Runtime, container: Container) -> None:
    container.write()
    before = os.stat(f"{container.bundle}/config.json")
    runtime.fails("spec", "--bundle", container.bundle)
    assert os.stat(f"{container.bundle}/config.json") == before


@pytest.mark.parametrize("verb", ["checkpoint", "restore"])
def test_checkpoint_of_an_unknown_id(runtime: Runtime, container: Container, verb: str) -> None:
    """Supported or not, it fails without a trace."""
    container.write()
    words = (verb, "--image-path", f"{container.bundle}/image", "--work-path", f"{container.bundle}/work")
    assert runtime.call(*words, f"{runtime.tag}-none").code == 1

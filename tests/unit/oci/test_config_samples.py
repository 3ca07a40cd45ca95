"""oci/config.py on what engines write."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pycontainer.errors import InvalidInput
from pycontainer.linux import mountflags as ms
from pycontainer.linux.capabilities import NUMBERS
from pycontainer.oci import config
from tests.support import ociconfigs
from tests.support.ociconfigs import RARE


def sample(name: str, bundle: str) -> Any:
    """Return a sample whose network namespace, if it joins one, is a file that is there and is not ours."""
    data = copy.deepcopy(ociconfigs.ALL[name])
    for namespace in data["linux"]["namespaces"]:
        if namespace["type"] == "network" and "path" in namespace:
            namespace["path"] = bundle
    return data


@pytest.mark.parametrize("name", ociconfigs.ALL)
def test_every_sample_is_read(name: str, bundle: str) -> None:
    data = sample(name, bundle)
    found = config.parse(data, bundle)
    assert found.oci_version == "1.0.2-dev" and found.root_path == f"{bundle}/rootfs"
    assert found.process is not None and found.process.args == data["process"]["args"]
    assert found.process.env == data["process"]["env"]
    assert [mount.destination for mount in found.mounts] == [mount["destination"] for mount in data["mounts"]]
    assert found.masked_paths == data["linux"]["maskedPaths"] and found.readonly_paths == data["linux"]["readonlyPaths"]
    assert found.annotations == data.get("annotations", {}) and found.hostname == data.get("hostname", "")
    assert found.seccomp == data["linux"].get("seccomp")
    assert found.resources == data["linux"].get("resources", {})
    assert len(found.namespaces) == len(data["linux"]["namespaces"])


def test_podman(bundle: str) -> None:
    found = config.parse(sample("podman", bundle), bundle)
    process = found.process
    assert process is not None and process.capabilities is not None
    assert process.terminal and process.console_size is None and process.umask == 0o22 and process.oom_score_adj == 0
    assert process.additional_gids == [1, 2, 3, 4, 6, 10]
    assert process.rlimits == [(7, 20000, 20000), (6, 32768, 32768)]
    assert process.capabilities.bounding == process.capabilities.effective == process.capabilities.permitted
    assert process.capabilities.bounding >> NUMBERS["CAP_SETFCAP"] & 1 and process.capabilities.ambient == 0
    assert found.namespaces == {"pid": "", "net": bundle, "ipc": "", "uts": "", "mnt": "", "cgroup": ""}
    assert found.sysctl == {"net/ipv4/ping_group_range": "0 0"}
    data, scratch = found.mounts[-2:]
    assert (data.type, data.source, data.is_bind, data.is_recursive) == ("bind", "/srv/data", True, True)
    assert data.flags == ms.MS_BIND | ms.MS_REC | ms.MS_NOSUID | ms.MS_NODEV and data.data == ""
    assert data.propagation == [ms.MS_PRIVATE | ms.MS_REC]
    assert scratch.copies_up and scratch.data == "size=64m" and scratch.flags == ms.MS_NOSUID | ms.MS_NODEV


def test_docker(bundle: str) -> None:
    found = config.parse(sample("docker", bundle), bundle)
    (hook,) = found.hooks["prestart"]
    assert hook.path == "/proc/1492/exe" and hook.args[0] == "libnetwork-setkey"
    assert hook.env == [] and hook.timeout_seconds is None
    assert [kind for kind, hooks in found.hooks.items() if hooks] == ["prestart"] and len(found.hooks) == 6
    (device,) = found.devices
    assert (device.type, device.path, device.major, device.minor, device.mode) == ("c", "/dev/fuse", 10, 229, 0o666)


def test_rootless(bundle: str) -> None:
    found = config.parse(sample("runc-spec-rootless", bundle), bundle)
    (uids,), (gids,) = found.uid_mappings, found.gid_mappings
    assert (uids.inside, uids.outside, uids.count) == (gids.inside, gids.outside, gids.count) == (0, 1000, 1)
    assert found.namespaces["user"] == "" and "net" not in found.namespaces
    sys = next(mount for mount in found.mounts if mount.destination == "/sys")
    assert sys.type == "bind" and sys.is_recursive


def test_the_systemd_form_of_a_cgroup_path(bundle: str) -> None:
    found = config.parse(sample("containerd-container", bundle), bundle)
    assert found.cgroups_path == "kubepods-burstable-pod1.slice:cri-containerd:2a"
    assert found.namespaces["uts"] == "/proc/4711/ns/uts"


def test_a_sample_is_left_as_it_is(bundle: str) -> None:
    data = sample("podman", bundle)
    before = copy.deepcopy(data)
    config.parse(data, bundle)
    assert data == before


def test_unknown_fields_are_ignored_everywhere(bundle: str) -> None:
    """config.md, Extensibility."""

    def extended(value: Any) -> Any:
        if isinstance(value, list):
            return [extended(one) for one in value]
        if not isinstance(value, dict):
            return value
        return {key: one if key == "sysctl" else extended(one) for key, one in value.items()} | {"com.example.x": "1"}

    data = sample("podman", bundle)
    found = config.parse(extended(data) | {"windows": None, "vm": [], "zos": 1}, bundle)
    assert found.hostname == data["hostname"]


def test_load(tmp_path: Path, bundle: str) -> None:
    text = pytest.importorskip("pycontainer.oci.text")
    (tmp_path / "config.json").write_text(text.dumps(sample("docker", bundle)))
    assert config.load(bundle).cgroups_path == "/docker/6f1d"


ODD: tuple[object, ...] = (
    None,
    True,
    0,
    -1,
    2**70,
    1.5,
    "",
    "\0",
    "\ud800",
    "..",
    "x" * 70,
    [],
    {},
    [None],
    [[]],
    {"": None},
    {"\0": {}},
)
_GONE = object()


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value in a document."""
    yield path
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value if isinstance(value, list) else ()):
        yield from places(inner, (*path, key))


def replaced(value: Any, path: tuple[Any, ...], new: object) -> Any:
    """Return the document with another value at a path, or with none there."""
    if not path:
        return new
    made = dict(value) if isinstance(value, dict) else [*value]
    if len(path) == 1 and new is _GONE:
        del made[path[0]]
    else:
        made[path[0]] = replaced(value[path[0]], path[1:], new)
    return made


@pytest.mark.parametrize("name", ["podman", "docker", "rare"])
def test_whatever_stands_anywhere(name: str, bundle: str) -> None:
    """Every value replaced by every odd one, and taken away: it is read, or refused in one line that begins with a path."""
    data = RARE if name == "rare" else sample(name, bundle)
    refused = 0
    for path in places(data):
        for new in (*ODD, _GONE) if path else ODD:
            try:
                config.parse(replaced(data, path, new), bundle)
            except InvalidInput as error:
                refused += 1
                assert error.message.startswith("config.json: ") and error.message.isprintable(), (path, new)
                assert len(error.message) < 500, (path, new)
                if new is None and path and "seccomp" not in path:  # null is refused where it stands
                    assert error.message.removeprefix("config.json: ").startswith(spelled(path)), (path, error.message)
            else:
                assert new is not None or "seccomp" in path, path
    assert refused > 1000


def spelled(path: tuple[Any, ...]) -> str:
    """Return a path as messages begin with it, up to the first name that is written in brackets."""
    text = ""
    for key in path:
        if text in ("annotations", "linux.sysctl", "linux.netDevices", "linux.timeOffsets") or text.endswith(
            ("resources.unified", "resources.rdma")
        ):
            return f"{text}['{key}']"
        text += f"[{key}]" if isinstance(key, int) else f"{'.' if text else ''}{key}"
    return text

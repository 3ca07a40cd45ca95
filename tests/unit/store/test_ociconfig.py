"""OCI configs: what is taken from them, what is refused, and that ours say the same when read back."""

import json
from typing import Any

import pytest

from pycontainer.errors import InvalidInput
from pycontainer.store.imageconfig import check_config
from pycontainer.store.ociconfig import MAX_BYTES, MAX_LAYERS, host_platform, make_config, parse_config

_DIFF_IDS = ["sha256:" + "a" * 64, "sha256:" + "b" * 64]


def config(**changes: Any) -> bytes:
    fields: dict[str, Any] = {
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": _DIFF_IDS},
        "config": {
            "Entrypoint": ["/e"],
            "Cmd": None,
            "Env": ["A=1", "PATH=/bin"],
            "User": "web:web",
            "WorkingDir": "/srv",
            "ExposedPorts": {"80/tcp": {}, "53/udp": {}},
            "Volumes": {"/data": {}},
            "StopSignal": "SIGQUIT",
            "Labels": {"a": "b"},
            "Healthcheck": {"Test": ["CMD", "/ok"], "Interval": 30_000_000_000, "Timeout": 1_500_000_000, "Retries": 3},
        },
        "history": [{"created_by": "x"}],
        "author": "nobody here heeds it",
    }
    return json.dumps({key: value for key, value in (fields | changes).items() if value != "none"}).encode()


def test_all_that_docker_and_oci_know() -> None:
    found = parse_config(config(variant="v3"), "sha256:x")
    assert found.diff_ids == tuple(_DIFF_IDS)
    assert found.platform == "linux/amd64/v3"
    assert found.config == {
        "entrypoint": ["/e"],
        "cmd": [],
        "env": ["A=1", "PATH=/bin"],
        "user": "web:web",
        "workdir": "/srv",
        "exposed_ports": ["53/udp", "80/tcp"],
        "volumes": ["/data"],
        "stop_signal": "SIGQUIT",
        "labels": {"a": "b"},
        "healthcheck": {"test": ["CMD", "/ok"], "interval_seconds": 30.0, "timeout_seconds": 1.5, "retries": 3},
    }


def test_what_was_made_is_read_back_and_is_always_the_same() -> None:
    found = parse_config(config(), "x")
    made = make_config(found.config, found.diff_ids, platform="linux/arm64/v8")
    assert parse_config(made, "y") == found._replace(platform="linux/arm64/v8")
    assert make_config(dict(reversed(found.config.items())), found.diff_ids, platform="linux/arm64/v8") == made
    assert json.loads(made)["config"]["Healthcheck"]["Interval"] == 30_000_000_000


def test_a_config_made_from_another_keeps_what_nobody_here_knows() -> None:
    found = parse_config(config(), "x")
    changed = dict(found.config) | {"cmd": ["new"], "labels": {}}
    made = json.loads(make_config(changed, _DIFF_IDS[:1], base=config(), comment="changed"))
    assert made["author"] == "nobody here heeds it"
    assert made["config"]["Cmd"] == ["new"] and "Labels" not in made["config"]
    assert [entry.get("comment") for entry in made["history"]] == [None, "changed"]


def test_an_empty_config_is_one() -> None:
    found = parse_config(make_config(check_config({}), _DIFF_IDS), "x")
    assert found.config == check_config({}) and found.platform == host_platform()
    assert parse_config(config(config="none"), "x").config == check_config({})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not JSON"),
        (b"[]", "it is not an object"),
        (b'{"a": 1, "a": 2}', "given twice"),
        (config(rootfs="none"), "rootfs is not an object"),
        (config(rootfs={"type": "layers", "diff_ids": []}), "names no layers"),
        (config(rootfs={"type": "tree", "diff_ids": _DIFF_IDS}), "names no layers"),
        (config(rootfs={"type": "layers", "diff_ids": ["sha256:../../x"]}), "'sha256:../../x' for a diff_id"),
        (config(rootfs={"type": "layers", "diff_ids": ["sha256:" + "A" * 64]}), "for a diff_id"),
        (config(rootfs={"type": "layers", "diff_ids": [7]}), "7 for a diff_id"),
        (config(rootfs={"type": "layers", "diff_ids": _DIFF_IDS * MAX_LAYERS}), f"more than {MAX_LAYERS}"),
        (config(os="none"), "os and architecture are not words"),
        (config(architecture=7), "os and architecture are not words"),
        (config(config=[]), "config is not an object"),
        (config(config={"Cmd": "sh"}), "'cmd'"),
        (config(config={"Env": ["A\0=1"]}), "'env'"),
        (config(config={"Volumes": ["/data"]}), "Volumes is not an object"),
        (config(config={"StopSignal": "SIGNONE"}), "'stop_signal'"),
        (config(config={"Healthcheck": {"Interval": "30s"}}), "'30s' for 'Interval'"),
        (config(config={"Healthcheck": {"Retries": -1}}), "'healthcheck'"),
        (config(author="x" * MAX_BYTES), "more than"),
    ],
)
def test_refusals_name_the_config(data: bytes, message: str) -> None:
    with pytest.raises(InvalidInput, match="config sha256:x of the image") as caught:
        parse_config(data, "sha256:x")
    assert message in caught.value.message

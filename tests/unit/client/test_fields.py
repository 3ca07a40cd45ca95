"""Host paths become absolute, exactly as in YAML files; everything else is left alone."""

import os
from typing import Any

import pytest

from pycontainer.client.fields import plain_spec
from pycontainer.spec.hostpaths import absolute_host_paths

SPECS: list[dict[str, Any]] = [
    {"rootfs": "root", "volumes": ["./a:/b:ro", "../a:/b", ".:/b", "name:/b", "/abs:/b", "dir/x:/b", "/only", 7]},
    {"mounts": ["type=bind,source=a,target=/b,readonly", "type=volume,source=a,target=/b", "source=,type=bind"]},
    {"mounts": [{"type": "bind", "source": "a", "target": "/b"}, {"type": "bind", "src": ""}, {"type": "tmpfs"}, 7]},
    {"rootfs": "", "name": "web", "ports": {8080: 80}, "memory": "200M"},
    {"rootfs": "/a/../b", "volumes": None},
]


@pytest.mark.parametrize("spec", SPECS)
def test_same_as_for_files(spec: dict[str, Any]) -> None:
    given = {key: value for key, value in spec.items() if value is not None}
    expected = absolute_host_paths(given, os.getcwd())
    if "rootfs" in expected and expected["rootfs"]:
        expected["rootfs"] = os.path.normpath(str(expected["rootfs"]))
    assert plain_spec(None, None, spec) == expected


def test_command_and_image() -> None:
    assert plain_spec("nginx", "true", {"name": None}) == {"image": "nginx", "command": ["true"]}
    assert plain_spec(None, ("a", "b c"), {}) == {"command": ["a", "b c"]}

"""What of a start may come beside or after what, by what the container is: the rest is as it was asked for."""

from dataclasses import replace
from typing import Any

import pytest

from pycontainer.controllers import registry
from pycontainer.runtime.start import may_linger
from pycontainer.spec.model import ContainerSpec, Device, Mount, Ulimit
from pycontainer.supervisor.verbs.lifecycle import may_limit_late

PLAIN = ContainerSpec(
    image="x", name="c", memory_bytes=1 << 28, cpuset_cpus="0", net_in_bits=1000, mounts=(Mount("tmpfs", "/t", ""),)
)
BRIEF = replace(PLAIN, auto_remove=True)


@pytest.mark.parametrize(
    "fields",
    [
        {"tenant": "t"},
        {"profile": "system"},
        {"disk_bytes": 1 << 30},
        {"disk_soft_inodes": 5},
        {"ulimits": (Ulimit("nofile", 5, 5),)},
        {"devices": (Device("/dev/fuse", "/dev/fuse", "rw"),)},
        {"cgroup_conf": (("memory.oom.group", "1"),)},
    ],
)
def test_limits_that_come_before_there_is_a_process(fields: dict[str, Any]) -> None:
    assert may_limit_late(PLAIN)
    assert not may_limit_late(replace(PLAIN, **fields))


def test_controllers_of_others_come_before_there_is_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "has_others", lambda: True)
    assert not may_limit_late(PLAIN)


@pytest.mark.parametrize(
    "fields",
    [
        {"auto_remove": False},
        {"tenant": "t"},
        {"rootfs": "/srv/root", "image": ""},
        {"disk_bytes": 1 << 30},
        {"mounts": (Mount("volume", "/data", "v"),)},
        {"mounts": (Mount("bind", "/data", "/srv"),)},
    ],
)
def test_mounts_that_are_gone_when_an_end_is_told(fields: dict[str, Any]) -> None:
    assert may_linger(BRIEF)
    assert not may_linger(replace(BRIEF, **fields))

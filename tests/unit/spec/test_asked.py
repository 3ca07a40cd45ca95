"""What a finished spec would have been written as, and specs that nobody could have written."""

import dataclasses
from typing import Any

import pytest

from pycontainer.errors import InvalidInput
from pycontainer.spec.asked import asked, check_as_asked
from pycontainer.spec.model import ContainerSpec, Device, Mount, Port, RestartPolicy, Ulimit
from pycontainer.spec.parse import parse_spec
from tests.unit.spec.test_parse import FULL, FULL_SPEC

WEB = ContainerSpec(name="web", image="a")


def test_every_setting_goes_back_and_forth() -> None:
    assert check_as_asked(FULL_SPEC) == FULL_SPEC
    assert set(asked(FULL_SPEC)) == set(FULL) - {
        "volumes", "tmpfs", "memory_min", "io_write_ops", "net_in_min", "auto_remove", "privileged", "networks",
    }  # fmt: skip


@pytest.mark.parametrize(
    "settings",
    [
        {"pids": "unlimited"},
        {"profile": "system"},
        {"profile": "system", "pids": 2048},
        {"entrypoint": []},
        {"ports": ["[::1]:8080:80", "53/udp", "9000"]},
        {
            "mounts": [
                "type=tmpfs,target=/t,tmpfs-mode=0700,tmpfs-exec,ro",
                "type=bind,source=/a,target=/b,bind-nonrecursive",
            ]
        },
        {"volumes": ["/a:/b:ro,idmap", "data:/d:nocopy", "more:/e"]},
        {"ulimits": ["nofile=unlimited", "core=0:unlimited"]},
        {"restart": "on-failure"},
        {"restart": "unless-stopped:5", "health_cmd": "test -e /up", "health_action": "stop", "notify": True},
        {"health_cmd": "none"},
        {"health_http": "8080/healthz"},
        {"health_tcp": 5432, "health_start_period": 0},
        {"onboot": "yes", "boot_order": 0, "boot_delay": "1m"},
        {"env": {"A": "", "B": "a=b"}},
        {"security_opt": ["seccomp=unconfined", "label=type:spc_t", "no-new-privileges"]},
        {"devices": ["/dev/fuse:/dev/f:r"], "cap_add": ["ALL"], "privileged": True},
        {"networks": ["none"]},
        {"rootfs": "/srv", "image": None, "rootfs_writable": True},
    ],
)
def test_what_users_ask_for(settings: dict[str, Any]) -> None:
    spec = parse_spec({"name": "web", "image": "a", **settings})
    assert check_as_asked(spec) == spec


@pytest.mark.parametrize(
    "values",
    [
        {"hostname": "a\n10.0.0.1 db"},
        {"name": "../x"},
        {"env": (("A\0", "x"),)},
        {"env": (("A", "1"), ("A", "2"))},
        {"memory_bytes": -5},
        {"cpu_period_usec": 7},
        {"add_hosts": (("db\n1.2.3.4 x", "10.0.0.1"),)},
        {"mounts": (Mount("volume", "/proc/x", "data"),)},
        {"mounts": (Mount("volume", "/data", "../../etc"),)},
        {"mounts": (Mount("tmpfs", "/t", source="/etc"),)},
        {"mounts": (Mount("magic", "/t"),)},
        {"ports": (Port(99999, 80),)},
        {"devices": (Device("/dev/sda:x", "/dev/x"),)},
        {"restart": RestartPolicy("sometimes")},
        {"ulimits": (Ulimit("files", 1, 1),)},
        {"dns": ("9.9.9.9\nsearch x",)},
        {"networks": ("a/b",)},
        {"networks": ("host", "default")},
        {"rootfs_driver": "magic"},
        {"limits": (("a\nb", "c"),)},
        {"workdir": "relative"},
    ],
)
def test_what_nobody_can_ask_for(values: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        check_as_asked(dataclasses.replace(WEB, **values))

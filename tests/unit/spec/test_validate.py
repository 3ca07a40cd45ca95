"""One setting against another."""

import pytest

from pycontainer.spec.model import ContainerSpec, Device, Mount, Port, RestartPolicy, Ulimit
from pycontainer.spec.validate import validate


def spec(**settings: object) -> ContainerSpec:
    return ContainerSpec(**{"image": "debian", **settings})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"image": "", "rootfs": "/r", "rootfs_writable": True},
        {"rootfs": "", "read_only": True},
        {"auto_remove": True, "restart": RestartPolicy("no")},
        {"networks": ("host",), "dns": ("9.9.9.9",)},
        {"networks": ("a", "b"), "ports": (Port(80, 80),)},
        {"networks": ("a",), "ip": "10.0.0.5", "ip6": "fd00::5"},
        {"ports": (Port(80, 80), Port(80, 80, "udp"), Port(81, 80), Port(0, 80), Port(0, 80))},
        {"ports": (Port(80, 80, host_ip="127.0.0.1"), Port(80, 80, host_ip="::1"), Port(80, 80, host_ip="127.0.0.2"))},
        {"ports": (Port(80, 80, host_ip="0.0.0.0"), Port(80, 80, host_ip="::"))},
        {"mounts": (Mount("tmpfs", "/a"), Mount("tmpfs", "/a/b"))},
        {"ulimits": (Ulimit("nofile", 1, 1), Ulimit("core", 0, None), Ulimit("nproc", None, None))},
        {"cap_add": ("CAP_KILL",), "cap_drop": ("ALL",)},
        {"sysctls": (("net.core.somaxconn", "1"), ("kernel.sem", "1")), "networks": ("none",)},
    ],
)
def test_what_goes_together(settings: dict[str, object]) -> None:
    assert validate(spec(**settings)) == []


@pytest.mark.parametrize(
    ("settings", "field", "message"),
    [
        ({"rootfs": "/r"}, "rootfs", "image and rootfs exclude each other"),
        ({"memory_swap_bytes": 1 << 20}, "memory_swap", "it needs a cap on memory"),
        (
            {"memory_bytes": 3 << 20, "memory_swap_bytes": 2 << 20},
            "memory",
            "3MiB is more than the 2MiB of memory_swap",
        ),
        ({"memory_bytes": 1 << 20, "memory_min_bytes": 2 << 20}, "memory_min", "2MiB is more than the 1MiB of memory"),
        ({"cpu_burst_usec": 1000}, "cpu_burst", "without a cap there is nothing to save up"),
        ({"cpu_quota_usec": 1000, "cpu_burst_usec": 2000}, "cpu_burst", "0.02 is more than the 0.01 of cpus"),
        (
            {"health_cmd": ("CMD", "true"), "health_tcp": 80},
            "health_tcp",
            "health_cmd and health_tcp exclude each other",
        ),
        ({"image": ""}, "image", "there is nothing to start from"),
        ({"image": "", "rootfs": "/"}, "rootfs", "the host's own root cannot be a container's"),
        ({"rootfs_writable": True}, "rootfs_writable", "there is no rootfs to write into"),
        (
            {"image": "", "rootfs": "/r", "rootfs_writable": True, "read_only": True},
            "read_only",
            "read_only and rootfs_writable exclude each other",
        ),
        (
            {"auto_remove": True, "restart": RestartPolicy("on-failure", 3)},
            "auto_remove",
            "auto_remove and restart policy 'on-failure' exclude each other",
        ),
        ({"auto_remove": True, "onboot": "last"}, "auto_remove", "auto_remove and onboot 'last' exclude each other"),
        ({"networks": ()}, "networks", "the list is empty"),
        ({"networks": ("a", "a")}, "networks", "network 'a' is given twice"),
        ({"networks": ("host", "a")}, "networks", "'host' cannot be combined with other networks"),
        ({"networks": ("a", "none")}, "networks", "'none' cannot be combined with other networks"),
        ({"networks": ("host",), "ports": (Port(80, 80),)}, "ports", "network 'host' has no published ports"),
        ({"networks": ("none",), "ports": (Port(80, 80),)}, "ports", "network 'none' has no published ports"),
        ({"networks": ("none",), "ip": "10.0.0.5"}, "ip", "network 'none' has no addresses to choose from"),
        ({"networks": ("a", "b"), "ip": "10.0.0.5"}, "ip", "a fixed address needs exactly one network, not 2"),
        ({"networks": ("a", "b"), "ip6": "fd00::5"}, "ip6", "a fixed address needs exactly one network, not 2"),
        (
            {"ports": (Port(80, 80), Port(80, 81))},
            "ports",
            "host port 80/tcp is given twice: '80:80/tcp' and '80:81/tcp'",
        ),
        (
            {"ports": (Port(80, 80, host_ip="::1"), Port(80, 81))},
            "ports",
            "host port 80/tcp is given twice: '[::1]:80:80/tcp' and '80:81/tcp'",
        ),
        (
            {"ports": (Port(53, 53, "udp", "0.0.0.0"), Port(53, 53, "udp", "127.0.0.1"))},
            "ports",
            "host port 53/udp is given twice: '0.0.0.0:53:53/udp' and '127.0.0.1:53:53/udp'",
        ),
        ({"mounts": (Mount("tmpfs", "/a"), Mount("bind", "/a", "/b"))}, "mounts", "something is mounted at '/a' twice"),
        ({"devices": (Device("/dev/a", "/dev/c"), Device("/dev/b", "/dev/c"))}, "devices", "'/dev/c' is given twice"),
        ({"ulimits": (Ulimit("nofile", 2, 1),)}, "ulimits.nofile", "the soft limit 2 exceeds the hard limit 1"),
        (
            {"ulimits": (Ulimit("nofile", None, 1),)},
            "ulimits.nofile",
            "the soft limit unlimited exceeds the hard limit 1",
        ),
        ({"ulimits": (Ulimit("core", 0, 0), Ulimit("core", 1, 1))}, "ulimits.core", "the limit is given twice"),
        ({"cap_add": ("CAP_KILL",), "cap_drop": ("CAP_KILL",)}, "cap_add", "'CAP_KILL' is both added and dropped"),
        ({"cap_add": ("ALL",), "cap_drop": ("ALL",)}, "cap_add", "'ALL' is both added and dropped"),
        (
            {"sysctls": (("net.a", "1"),), "networks": ("host",)},
            "sysctls.net.a",
            "the setting would be the host's on network 'host'",
        ),
        ({"sysctls": (("net.a", "1"), ("net.a", "2"))}, "sysctls.net.a", "the setting is given twice"),
    ],
)
def test_what_does_not(settings: dict[str, object], field: str, message: str) -> None:
    (problem,) = validate(spec(**settings))
    assert (problem.field, problem.message) == (field, message)


def test_all_checks_speak_and_those_of_unread_settings_do_not() -> None:
    wrong = spec(image="", auto_remove=True, restart=RestartPolicy("always"), networks=())
    assert [problem.field for problem in validate(wrong)] == ["image", "auto_remove", "networks"]
    assert [problem.field for problem in validate(wrong, unread=frozenset({"image", "ip"}))] == ["auto_remove"]


def test_what_is_less_than_what_is_beneath_it_is_told_with_what_it_caps() -> None:
    hints = [
        problem.hint
        for problem in validate(spec(memory_bytes=3 << 20, memory_swap_bytes=2 << 20, memory_high_bytes=4 << 20))
    ]
    assert hints == [
        "give memory at least as much, or set it to 'default'",
        "it caps memory and swap together: give memory_swap at least as much, or set it to 'default'",
    ]

"""Names of scopes and slices, and limits as systemd's properties. What systemd does with them: tests/integration."""

from typing import Any

import pytest

from pycontainer.errors import InvalidInput, Unsupported
from pycontainer.oci.cgroups import V2_CONTROLLERS, Group, make
from pycontainer.oci.systemd import ScopeGroup, annotated, bits_of_list, properties, slice_path, unit_of

INFINITY = (1 << 64) - 1


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("", ("system.slice", "pycontainer-c1.scope")),
        ("machine-a.slice:podman:77", ("machine-a.slice", "podman-77.scope")),
        (":podman:77", ("system.slice", "podman-77.scope")),
        ("-.slice::77", ("-.slice", "77.scope")),
        ("a.slice:x:b@c", ("a.slice", "x-b@c.scope")),
    ],
)
def test_names(path: str, expected: tuple[str, str]) -> None:
    assert unit_of(path, "c1") == expected


@pytest.mark.parametrize(
    ("unit", "path"),
    [("-.slice", ""), ("a.slice", "/a.slice"), ("a-b-c.slice", "/a.slice/a-b.slice/a-b-c.slice")],
)
def test_where_a_slice_lies(unit: str, path: str) -> None:
    assert slice_path(unit) == path


def test_a_user_has_a_slice_of_his_own() -> None:
    assert unit_of("", "c1", rootless=True) == ("user.slice", "pycontainer-c1.scope")
    assert unit_of("a.slice:x:y", "c1", rootless=True) == ("a.slice", "x-y.scope")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/a/b", "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got '/a/b'"),
        ("a:b:c:d", "expected cgroupsPath"),
        ("a:b:c", "'a' is no name of a slice"),
        ("a--b.slice:x:y", "'a--b.slice' is no name of a slice"),
        ("-a.slice:x:y", "'-a.slice' is no name of a slice"),
        (".slice:x:y", "'.slice' is no name of a slice"),
        ("../a.slice:x:y", "'../a.slice' is no name of a slice"),
        ("a.slice:x:../y", "'x-../y.scope' is no name for a scope"),
        ("a.slice:x:", "'x-.scope' is no name for a scope"),
        ("a.slice:x:y.slice", "'x-y.slice.scope' is no name for a scope"),
        ("a.slice:x:" + 250 * "y", "is no name for a scope"),
        ("a.slice:x y:z", "'x y-z.scope' is no name for a scope"),
    ],
)
def test_what_is_no_name(path: str, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        unit_of(path, "c1")
    assert caught.value.message.startswith("config.json: linux.cgroupsPath: ")
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({}, {}),
        ({"cpu": {"shares": 1024}}, {"CPUWeight": ("t", 39)}),
        ({"cpu": {"shares": 1024, "idle": 1}}, {"CPUWeight": ("t", 0)}),
        ({"cpu": {"quota": 50000}}, {"CPUQuotaPerSecUSec": ("t", 500000)}),
        ({"cpu": {"quota": 12345}}, {"CPUQuotaPerSecUSec": ("t", 130000)}),
        (
            {"cpu": {"quota": 10000, "period": 20000}},
            {"CPUQuotaPeriodUSec": ("t", 20000), "CPUQuotaPerSecUSec": ("t", 500000)},
        ),
        ({"cpu": {"quota": -1}}, {"CPUQuotaPerSecUSec": ("t", INFINITY)}),
        ({"cpu": {"cpus": "0,9", "mems": "0"}}, {"AllowedCPUs": ("ay", b"\1\2"), "AllowedMemoryNodes": ("ay", b"\1")}),
        ({"memory": {"limit": 100, "swap": 150}}, {"MemoryMax": ("t", 100), "MemorySwapMax": ("t", 50)}),
        ({"memory": {"limit": 100, "swap": 100}}, {"MemoryMax": ("t", 100), "MemorySwapMax": ("t", 0)}),
        ({"memory": {"limit": -1}}, {"MemoryMax": ("t", INFINITY), "MemorySwapMax": ("t", INFINITY)}),
        ({"memory": {"limit": 100, "swap": -1}}, {"MemoryMax": ("t", 100), "MemorySwapMax": ("t", INFINITY)}),
        ({"memory": {"reservation": 5}}, {"MemoryLow": ("t", 5)}),
        ({"pids": {"limit": 5}}, {"TasksMax": ("t", 5)}),
        ({"pids": {"limit": -1}}, {"TasksMax": ("t", INFINITY)}),
        (
            {
                "unified": {
                    "memory.high": "5",
                    "memory.min": " max\n",
                    "pids.max": "9",
                    "cpu.max": "max 50000",
                    "cpu.weight": "7",
                    "cpuset.cpus": "0-2",
                    "memory.oom.group": "1",
                    "io.max": "8:0 rbps=1",
                }
            },
            {
                "MemoryHigh": ("t", 5),
                "MemoryMin": ("t", INFINITY),
                "TasksMax": ("t", 9),
                "CPUQuotaPeriodUSec": ("t", 50000),
                "CPUQuotaPerSecUSec": ("t", INFINITY),
                "CPUWeight": ("t", 7),
                "AllowedCPUs": ("ay", b"\7"),
            },
        ),
        ({"unified": {"memory.high": "5M", "cpu.max": "", "cpu.weight": "max", "pids.max": "1 2"}}, {}),
    ],
)
def test_properties(resources: dict[str, Any], expected: dict[str, tuple[str, Any]]) -> None:
    assert dict(properties(resources)) == expected


def test_swap_alone_counts_from_the_limit_that_holds() -> None:
    assert properties({"memory": {"swap": 150}}, 100) == [("MemorySwapMax", ("t", 50))]
    assert properties({"memory": {"swap": 150}}) == []


@pytest.mark.parametrize(("text", "expected"), [("0", b"\1"), ("0-1,3", b"\x0b"), ("8", b"\0\1"), ("1, 2\n", b"\6")])
def test_bits(text: str, expected: bytes) -> None:
    assert bits_of_list(text, "p") == expected


@pytest.mark.parametrize("text", ["", "x", "1-", "-1", "2-1", "1,,2", "99999", "\u0661"])
def test_no_bits(text: str) -> None:
    with pytest.raises(InvalidInput, match="^p: "):
        bits_of_list(text, "p")


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("KillSignal", "37", ("KillSignal", ("i", 37))),
        ("TimeoutStopUSec", "uint64 10000000", ("TimeoutStopUSec", ("t", 10000000))),
        ("TimeoutStopUSec", "10000000", ("TimeoutStopUSec", ("t", 10000000))),
        ("TimeoutStopSec", "10", ("TimeoutStopUSec", ("t", 10000000))),
        ("CollectMode", "'inactive'", ("CollectMode", ("s", "inactive"))),
        ("SendSIGHUP", "true", ("SendSIGHUP", ("b", True))),
        ("After", "['a.service', \"b.service\"]", ("After", ("as", ["a.service", "b.service"]))),
    ],
)
def test_annotations(name: str, text: str, expected: tuple[str, tuple[str, Any]]) -> None:
    assert annotated({f"org.systemd.property.{name}": text, "org.example": "x"}) == [expected]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("KillSignal", "", "'' is no value"),
        ("KillSignal", "'a", '"\'a" is no value'),
        ("KillSignal", "int32 2147483648", "is no value"),
        ("KillSignal", "uint32 -1", "is no value"),
        ("After", "[1]", "is no value"),
        ("TimeoutStopSec", "'x'", "is no number of seconds"),
        ("TimeoutStopSec", "-5", "is no number of seconds"),
    ],
)
def test_annotations_that_are_malformed(name: str, text: str, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        annotated({f"org.systemd.property.{name}": text})
    assert caught.value.message.startswith(f"config.json: annotations.org.systemd.property.{name}: ")
    assert message in caught.value.message


@pytest.mark.parametrize(
    "name", ["MemoryMax", "Delegate", "PIDs", "Slice", "DeviceAllow", "DevicePolicy", "", "ExecStart"]
)
def test_annotations_set_no_limits(name: str) -> None:
    """Who writes an annotation is not who admits the pod: it must not lift a cap."""
    with pytest.raises(InvalidInput, match="an annotation may not set this"):
        annotated({f"org.systemd.property.{name}": "true"})


def test_without_systemd_the_option_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.path.isdir", lambda _: False)
    with pytest.raises(Unsupported, match="--systemd-cgroup: systemd is not the first process of this host"):
        make("a.slice:x:y", "c1", systemd=True)


RECORD = {
    "driver": "systemd",
    "container_id": "c1",
    "version": 2,
    "paths": dict.fromkeys(V2_CONTROLLERS, "/sys/fs/cgroup/a.slice/x-y.scope"),
    "intermediate": [],
    "unit": "x-y.scope",
    "slice": "a.slice",
    "is_user": False,
}


def test_a_record_comes_back() -> None:
    group = Group.reopen(RECORD)
    assert isinstance(group, ScopeGroup)
    assert group.record() == RECORD


@pytest.mark.parametrize("change", [{"unit": "ssh.service"}, {"unit": "a/b.scope"}, {"unit": None}, {"is_user": 1}])
def test_a_record_that_is_not_ours(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="record of a cgroup"):
        Group.reopen(RECORD | change)

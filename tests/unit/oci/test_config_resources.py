"""oci/config_resources.py: `linux.resources`, and what `update -r` is given."""

from typing import Any

import pytest

from pycontainer.errors import InvalidInput
from pycontainer.oci.config import parse_resources
from tests.unit.oci.conftest import Parse

FULL: dict[str, Any] = {
    "devices": [
        {"allow": False, "access": "rwm"},
        {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"},
        {"allow": True, "type": "b", "major": 8, "minor": -1, "access": "m"},
        {"allow": True, "type": "a"},
    ],
    "memory": {
        "limit": 536870912,
        "reservation": -1,
        "swap": 536870912,
        "kernel": -1,
        "kernelTCP": 0,
        "swappiness": 100,
        "disableOOMKiller": False,
        "useHierarchy": True,
        "checkBeforeUpdate": True,
    },
    "cpu": {
        "shares": 2**64 - 1,
        "quota": -1,
        "burst": 1000000,
        "period": 500000,
        "realtimeRuntime": 950000,
        "realtimePeriod": 1000000,
        "cpus": "2-3,7",
        "mems": "",
        "idle": 1,
    },
    "pids": {"limit": -1},
    "blockIO": {
        "weight": 10,
        "leafWeight": 0,
        "weightDevice": [
            {"major": 8, "minor": 0, "weight": 500, "leafWeight": 300},
            {"major": 8, "minor": 16, "weight": 1000},
        ],
        "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 600}],
        "throttleWriteBpsDevice": [],
        "throttleReadIOPSDevice": [{"major": 8, "minor": 0, "rate": 2**64 - 1}],
        "throttleWriteIOPSDevice": [{"major": 8, "minor": 16, "rate": 0}],
    },
    "hugepageLimits": [{"pageSize": "2MB", "limit": 209715200}, {"pageSize": "64KB", "limit": 2**64 - 1}],
    "network": {"classID": 1048577, "priorities": [{"name": "eth0", "priority": 500}]},
    "rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000}, "rxe3": {"hcaObjects": 0}},
    "unified": {
        "io.max": "259:0 rbps=2097152\n253:0 wiops=120",
        "hugetlb.1GB.max": "1073741824",
        "cgroup.max.depth": "3",
    },
}
DEVICE = {"major": 8, "minor": 0}


def test_all_of_them() -> None:
    assert parse_resources(FULL, "-") == FULL


def test_in_a_configuration(parse: Parse) -> None:
    assert parse({"linux.resources": FULL}).resources == FULL
    assert parse({"linux.resources": {}}).resources == {}


@pytest.mark.parametrize("section", [key for key, value in FULL.items() if key not in ("rdma", "unified")])
def test_what_is_unknown_is_left_out(section: str) -> None:
    value = FULL[section]
    extended = {**value, "x": 1} if isinstance(value, dict) else [{**one, "x": 1} for one in value]
    assert parse_resources({section: extended, "oomScoreAdj": 1}, "-") == {section: value}


def test_what_is_not_said_stays_unsaid() -> None:
    """`update` changes only what is there."""
    assert parse_resources({"memory": {}, "cpu": {}, "blockIO": {}, "network": {}}, "-") == {
        "memory": {},
        "cpu": {},
        "blockIO": {},
        "network": {},
    }
    assert parse_resources({"devices": [{"allow": True, "type": "", "access": ""}]}, "-") == {
        "devices": [{"allow": True}]
    }


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], ": a list is not an object"),
        ({"memory": None}, "memory: null is not an object"),
        ({"memory": {"limit": None}}, "memory.limit: null is not a whole number"),
        ({"memory": {"limit": "64m"}}, "memory.limit: '64m' is not a whole number"),
        ({"memory": {"limit": 1e6}}, "memory.limit: 1000000.0 is not a whole number"),
        ({"memory": {"limit": -2}}, f"memory.limit: -2 is out of range: -1 to {2**63 - 1}"),
        ({"memory": {"kernel": 2**63}}, f"memory.kernel: {2**63} is out of range: -1 to {2**63 - 1}"),
        ({"memory": {"swappiness": 101}}, "memory.swappiness: 101 is out of range: 0 to 100"),
        ({"memory": {"disableOOMKiller": "no"}}, "memory.disableOOMKiller: 'no' is not true or false"),
        (
            {"memory": {"limit": 100, "swap": 99}},
            "memory.swap: 99 is less than the limit, 100: it is memory and swap together",
        ),
        ({"memory": {"limit": 10**100}}, "memory.limit: a huge number is out of range"),
        ({"cpu": {"shares": -1}}, f"cpu.shares: -1 is out of range: 0 to {2**64 - 1}"),
        ({"cpu": {"quota": True}}, "cpu.quota: true is not a whole number"),
        ({"cpu": {"idle": 2}}, "cpu.idle: 2 is out of range: 0 to 1"),
        ({"cpu": {"cpus": "0,,1"}}, "cpu.cpus: '0,,1' is not a list of numbers and ranges, such as 0-3,7"),
        ({"cpu": {"cpus": "0\n1"}}, "cpu.cpus: '0\\n1' is not a list of numbers and ranges, such as 0-3,7"),
        ({"cpu": {"mems": "-1"}}, "cpu.mems: '-1' is not a list of numbers and ranges, such as 0-3,7"),
        ({"cpu": {"mems": "²"}}, "cpu.mems: '²' is not a list of numbers and ranges, such as 0-3,7"),
        ({"cpu": {"cpus": "5-2"}}, "cpu.cpus: '5-2': range '5-2' runs backwards"),
        ({"cpu": {"quota": 10, "burst": 11}}, "cpu.burst: 11 is more than the quota, 10"),
        ({"pids": {}}, "pids.limit: missing"),
        ({"pids": {"limit": -2}}, f"pids.limit: -2 is out of range: -1 to {2**63 - 1}"),
        ({"blockIO": {"weight": 1001}}, "blockIO.weight: 1001 is out of range: 0 to 1000"),
        (
            {"blockIO": {"weightDevice": [DEVICE]}},
            "blockIO.weightDevice[0].weight: missing: one of weight and leafWeight is needed",
        ),
        ({"blockIO": {"weightDevice": [{"weight": 1}]}}, "blockIO.weightDevice[0].major: missing"),
        ({"blockIO": {"throttleReadBpsDevice": [DEVICE]}}, "blockIO.throttleReadBpsDevice[0].rate: missing"),
        (
            {"blockIO": {"throttleWriteIOPSDevice": [DEVICE | {"minor": -1, "rate": 1}]}},
            "blockIO.throttleWriteIOPSDevice[0].minor: -1 is out of range: 0 to 1048575",
        ),
        ({"hugepageLimits": {}}, "hugepageLimits: an object is not a list"),
        ({"hugepageLimits": [{"pageSize": "2MB"}]}, "hugepageLimits[0].limit: missing"),
        *(
            (
                {"hugepageLimits": [{"pageSize": size, "limit": 1}]},
                f"hugepageLimits[0].pageSize: {size!r} is not a size such as 64KB, 2MB or 1GB",
            )
            for size in ("", "MB", "2M", "2mB", "02MB", "../2MB", "2.5MB", "3³MB")
        ),
        (
            {"hugepageLimits": [{"pageSize": "2MB", "limit": 1}, {"pageSize": "2MB", "limit": 2}]},
            "hugepageLimits[1].pageSize: 2MB is given twice",
        ),
        ({"network": {"classID": -1}}, "network.classID: -1 is out of range: 0 to 4294967295"),
        ({"network": {"priorities": [{"name": "eth0"}]}}, "network.priorities[0].priority: missing"),
        (
            {"network": {"priorities": [{"name": "a b", "priority": 1}]}},
            "network.priorities[0].name: 'a b' is not the name of a network interface: 1 to 15 bytes without '/', ':' and "
            "blanks",
        ),
        ({"rdma": {"a": {}}}, "rdma['a']: one of hcaHandles and hcaObjects is needed"),
        ({"rdma": {"a b": {"hcaHandles": 1}}}, "rdma['a b']: is not the name of a device"),
        ({"rdma": {"a": {"hcaHandles": -1}}}, "rdma['a'].hcaHandles: -1 is out of range: 0 to 4294967295"),
        ({"devices": [{"type": "c"}]}, "devices[0].allow: missing"),
        ({"devices": [{"allow": None}]}, "devices[0].allow: null is not true or false"),
        ({"devices": [{"allow": True, "type": "p"}]}, "devices[0].type: 'p' is not one of a, b, c"),
        ({"devices": [{"allow": True, "major": -2}]}, "devices[0].major: -2 is out of range: -1 to 4095"),
        ({"devices": [{"allow": True, "access": "rx"}]}, "devices[0].access: 'rx' holds other letters than r, w and m"),
        ({"unified": {"memory.high": 1}}, "unified['memory.high']: 1 is not a string"),
        *(
            ({"unified": {name: "1"}}, f"unified['{name}']: is not the name of a file of a cgroup, such as memory.high")
            for name in ("../memory.high", "a/memory.high", "memory", "..", ".x")
        ),
        *(
            ({"unified": {name: "1"}}, f"unified['{name}']: limits nothing: it moves or ends processes")
            for name in ("cgroup.procs", "cgroup.threads", "cgroup.kill")
        ),
    ],
)
def test_what_is_refused(data: object, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_resources(data, "update")
    where = "update" if message.startswith(": ") else "update: "
    assert caught.value.message.startswith(f"{where}{message}")
    if "huge" not in message:
        assert caught.value.message == f"{where}{message}"

"""linux.resources as writes to files, on v1 and on v2: whole plans, what is refused, and the way back."""

import errno
from typing import Any

import pytest

from pycontainer.errors import InvalidInput, InvalidState, NotPermitted, PycontainerError, Unsupported
from pycontainer.oci.resources import WHERE, io_weight_of, plan, present_in, weight_of_shares, write_all
from tests.unit.oci.fakes import FakeV1, FakeV2

MIB = 1 << 20


def planned(resources: dict[str, Any], version: int, present: dict[str, str] | None = None) -> list[str]:
    """Return the plan as `file=value`, where `present` is what the files hold."""
    held = present or {}
    return [f"{file}={value}" for _, _, file, value in plan(resources, version, lambda _, file: held.get(file))]


@pytest.mark.parametrize(
    ("shares", "weight"), [(1, 1), (2, 1), (1024, 39), (131073, 5000), (262144, 10000), (1 << 40, 10000)]
)
def test_shares_become_a_weight(shares: int, weight: int) -> None:
    assert weight_of_shares(shares) == weight


@pytest.mark.parametrize(("weight", "expected"), [(10, 1), (500, 4950), (1000, 10000)])
def test_weights_of_disks(weight: int, expected: int) -> None:
    assert io_weight_of(weight) == expected


@pytest.mark.parametrize("version", [1, 2])
def test_nothing_set_is_nothing_written(version: int) -> None:
    empty: dict[str, Any] = {
        "cpu": {"shares": 0, "quota": 0, "period": 0, "cpus": "", "mems": ""},
        "memory": {"limit": 0, "swap": 0, "reservation": 0, "kernel": 0, "useHierarchy": False},
        "pids": {"limit": 0},
        "blockIO": {"weight": 0, "weightDevice": [], "throttleReadBpsDevice": None},
        "hugepageLimits": [],
        "network": {},
        "rdma": {"mlx5_0": {}},
        "unified": {},
        "devices": [{"allow": False, "access": "rwm"}],
    }
    assert planned(empty, version) == planned({}, version) == []


@pytest.mark.parametrize(
    ("resources", "v1", "v2"),
    [
        ({"cpu": {"shares": 1024}}, ["cpu.shares=1024"], ["cpu.weight=39"]),
        ({"cpu": {"shares": 1}}, ["cpu.shares=2"], ["cpu.weight=1"]),
        ({"cpu": {"quota": 50000}}, ["cpu.cfs_quota_us=50000"], ["cpu.max=50000 100000"]),
        (
            {"cpu": {"quota": 50000, "period": 200000, "burst": 1000}},
            ["cpu.cfs_period_us=200000", "cpu.cfs_quota_us=50000", "cpu.cfs_burst_us=1000"],
            ["cpu.max=50000 200000", "cpu.max.burst=1000"],
        ),
        ({"cpu": {"quota": -1}}, ["cpu.cfs_quota_us=-1"], ["cpu.max=max 100000"]),
        ({"cpu": {"idle": 1, "shares": 2}}, ["cpu.shares=2", "cpu.idle=1"], ["cpu.weight=1", "cpu.idle=1"]),
        ({"cpu": {"idle": 0, "shares": 2}}, ["cpu.idle=0", "cpu.shares=2"], ["cpu.idle=0", "cpu.weight=1"]),
        (
            {"cpu": {"cpus": "0-1", "mems": "0"}},
            ["cpuset.cpus=0-1", "cpuset.mems=0"],
            ["cpuset.cpus=0-1", "cpuset.mems=0"],
        ),
        ({"memory": {"limit": 64 * MIB}}, ["memory.limit_in_bytes=67108864"], ["memory.max=67108864"]),
        (
            {"memory": {"limit": 64 * MIB, "swap": 96 * MIB}},
            ["memory.memsw.limit_in_bytes=100663296", "memory.limit_in_bytes=67108864"],
            ["memory.max=67108864", "memory.swap.max=33554432"],
        ),
        (
            {"memory": {"limit": 64 * MIB, "swap": -1}},
            ["memory.limit_in_bytes=67108864"],  # no file for swap: nothing limits it
            ["memory.max=67108864"],
        ),
        ({"memory": {"reservation": MIB}}, ["memory.soft_limit_in_bytes=1048576"], ["memory.low=1048576"]),
        ({"memory": {"reservation": -1}}, ["memory.soft_limit_in_bytes=-1"], ["memory.low=max"]),
        ({"memory": {"disableOOMKiller": False}}, [], []),  # Docker always says so
        ({"pids": {"limit": 17}}, ["pids.max=17"], ["pids.max=17"]),
        ({"pids": {"limit": -1}}, ["pids.max=max"], ["pids.max=max"]),
        (
            {"blockIO": {"weight": 500, "weightDevice": [{"major": 8, "minor": 0, "weight": 10}]}},
            ["blkio.weight=500", "blkio.weight_device=8:0 10"],
            ["io.weight=4950", "io.weight=8:0 1"],
        ),
        (
            {
                "blockIO": {
                    "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1000}],
                    "throttleWriteBpsDevice": [{"major": 8, "minor": 16, "rate": 2000}],
                    "throttleReadIOPSDevice": [{"major": 8, "minor": 0, "rate": 30}],
                    "throttleWriteIOPSDevice": [{"major": 8, "minor": 0, "rate": 0}],
                }
            },
            [
                "blkio.throttle.read_bps_device=8:0 1000",
                "blkio.throttle.write_bps_device=8:16 2000",
                "blkio.throttle.read_iops_device=8:0 30",
                "blkio.throttle.write_iops_device=8:0 0",
            ],
            ["io.max=8:0 rbps=1000", "io.max=8:16 wbps=2000", "io.max=8:0 riops=30", "io.max=8:0 wiops=max"],
        ),
        (
            {"hugepageLimits": [{"pageSize": "2MB", "limit": 0}]},
            ["hugetlb.2MB.limit_in_bytes=0"],
            ["hugetlb.2MB.max=0"],
        ),
        (
            {"rdma": {"mlx5_0": {"hcaHandles": 3, "hcaObjects": 0}}},
            ["rdma.max=mlx5_0 hca_handle=3 hca_object=0"],
            ["rdma.max=mlx5_0 hca_handle=3 hca_object=0"],
        ),
    ],
)
def test_what_is_written(resources: dict[str, Any], v1: list[str], v2: list[str]) -> None:
    assert planned(resources, 1) == v1
    assert planned(resources, 2) == v2


def test_the_fields_are_named_with_their_controller() -> None:
    resources = {
        "cpu": {"quota": 5000},
        "unified": {"memory.high": "1"},
        "hugepageLimits": [{"pageSize": "2MB", "limit": 1}],
    }
    assert plan(resources, 2, lambda *_: None) == [
        ("cpu.quota", "cpu", "cpu.max", "5000 100000"),
        ("unified.memory.high", "memory", "memory.high", "1"),
        ("hugepageLimits[0].limit", "hugetlb", "hugetlb.2MB.max", "1"),
    ]


def test_what_only_v1_has() -> None:
    resources = {
        "network": {"classID": 0x100001, "priorities": [{"name": "eth0", "priority": 5}]},
        "memory": {"swappiness": 0, "disableOOMKiller": True, "kernelTCP": MIB},
        "cpu": {"realtimeRuntime": 9500, "realtimePeriod": 10000},
    }
    assert planned(resources, 1) == [
        "cpu.rt_period_us=10000",
        "cpu.rt_runtime_us=9500",
        "memory.kmem.tcp.limit_in_bytes=1048576",
        "memory.swappiness=0",
        "memory.oom_control=1",
        "net_cls.classid=1048577",
        "net_prio.ifpriomap=eth0 5",
    ]


@pytest.mark.parametrize(
    ("resources", "field"),
    [
        ({"network": {"classID": 1}}, "network.classID"),
        ({"network": {"priorities": [{"name": "eth0", "priority": 5}]}}, "network.priorities"),
        ({"memory": {"swappiness": 0}}, "memory.swappiness"),
        ({"memory": {"disableOOMKiller": True}}, "memory.disableOOMKiller"),
        ({"memory": {"kernel": MIB}}, "memory.kernel"),
        ({"memory": {"kernelTCP": MIB}}, "memory.kernelTCP"),
        ({"cpu": {"realtimeRuntime": 1}}, "cpu.realtimeRuntime"),
        ({"blockIO": {"leafWeight": 10}}, "blockIO.leafWeight"),
        (
            {"blockIO": {"weightDevice": [{"major": 8, "minor": 0, "leafWeight": 10}]}},
            "blockIO.weightDevice[0].leafWeight",
        ),
    ],
)
def test_v2_refuses_what_it_lacks(resources: dict[str, Any], field: str) -> None:
    with pytest.raises(Unsupported) as caught:
        planned(resources, 2)
    assert caught.value.message.startswith(f"{WHERE}.{field}: cgroup v2 ")


def test_v1_refuses_unified() -> None:
    with pytest.raises(Unsupported, match=r"linux\.resources\.unified\.memory\.high: this host has cgroup v1"):
        planned({"unified": {"memory.high": "1"}}, 1)


@pytest.mark.parametrize(
    "name", ["../memory.max", "a/b.c", "/memory.max", "", ".", "..", "memory", "memory.max\n", "memory.max\0", ".."]
)
def test_a_unified_name_is_that_of_a_file_in_the_cgroup(name: str) -> None:
    with pytest.raises(InvalidInput, match="is not the name of a file in a cgroup"):
        planned({"unified": {name: "1"}}, 2)


@pytest.mark.parametrize(
    "name", ["cgroup.procs", "cgroup.threads", "cgroup.kill", "cgroup.freeze", "cgroup.subtree_control"]
)
def test_unified_moves_no_processes(name: str) -> None:
    """`cgroup.procs: 1` would put the host's init into the container's cgroup, to be killed with it."""
    with pytest.raises(InvalidInput, match="is no resource"):
        planned({"unified": {name: "1"}}, 2)


def test_unified_is_written_as_it_is_line_by_line() -> None:
    assert planned(
        {"unified": {"io.max": "8:0 rbps=1\n8:16 wbps=max\n", "cpuset.cpus": "", "cgroup.max.depth": " 3"}}, 2
    ) == [
        "io.max=8:0 rbps=1",
        "io.max=8:16 wbps=max",
        "cpuset.cpus=",
        "cgroup.max.depth= 3",
    ]


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        ({"memory": {"limit": 10, "swap": 9}}, "memory.swap: 9 is less than the memory limit 10, which it includes"),
        ({"blockIO": {"weight": 9}}, "blockIO.weight: 9 is not a weight from 10 to 1000"),
        ({"blockIO": {"weight": 1001}}, "blockIO.weight: 1001 is not a weight from 10 to 1000"),
        ({"rdma": {"a b": {"hcaHandles": 1}}}, "rdma.a b: 'a b' is not a name"),
        ({"hugepageLimits": [{"pageSize": "../x", "limit": 1}]}, "hugepageLimits[0].pageSize: '../x' is not a name"),
    ],
)
@pytest.mark.parametrize("version", [1, 2])
def test_what_makes_no_sense(resources: dict[str, Any], message: str, version: int) -> None:
    with pytest.raises(InvalidInput) as caught:
        planned(resources, version)
    assert caught.value.message == f"{WHERE}.{message}"


def test_v2_swap_needs_a_limit_of_memory() -> None:
    with pytest.raises(InvalidInput, match="memory and swap together, and memory has no limit"):
        planned({"memory": {"swap": 5}}, 2)
    assert planned({"memory": {"swap": 5 * MIB}}, 2, {"memory.max": str(3 * MIB)}) == ["memory.swap.max=2097152"]


def test_v2_no_swap_where_the_kernel_has_none() -> None:
    same = {"memory": {"limit": MIB, "swap": MIB}}
    assert planned(same, 2) == ["memory.max=1048576"]
    assert planned(same, 2, {"memory.swap.max": "max"}) == ["memory.max=1048576", "memory.swap.max=0"]


@pytest.mark.parametrize(
    ("version", "files"), [(1, ["memory.memsw.limit_in_bytes", "memory.limit_in_bytes"]), (2, ["memory.max"])]
)
def test_unlimited_memory_is_unlimited_swap(version: int, files: list[str]) -> None:
    held = {"memory.swap.max": "0", "memory.memsw.limit_in_bytes": "5", "memory.limit_in_bytes": "5"}
    expected = [f"{file}=-1" for file in files] if version == 1 else ["memory.max=max", "memory.swap.max=max"]
    assert planned({"memory": {"limit": -1}}, version, held) == expected


@pytest.mark.parametrize(
    ("held", "first"),
    [(10 * MIB, "memory.memsw.limit_in_bytes"), (100 * MIB, "memory.limit_in_bytes")],
)
def test_v1_grows_swap_first_and_shrinks_memory_first(held: int, first: str) -> None:
    writes = planned({"memory": {"limit": 20 * MIB, "swap": 30 * MIB}}, 1, {"memory.limit_in_bytes": str(held)})
    assert writes[0].split("=")[0] == first
    assert len(writes) == 2


def test_a_period_alone_keeps_the_quota() -> None:
    assert planned({"cpu": {"period": 50000}}, 2, {"cpu.max": "25000 100000"}) == ["cpu.max=25000 50000"]
    assert planned({"cpu": {"period": 50000}}, 2, {"cpu.max": "max 100000"}) == ["cpu.max=max 50000"]
    assert planned({"cpu": {"quota": 25000}}, 2, {"cpu.max": "max 70000"}) == ["cpu.max=25000 70000"]


def test_v1_switches_the_oom_killer_on_again() -> None:
    held = {"memory.oom_control": "oom_kill_disable 1\nunder_oom 0"}
    assert planned({"memory": {"disableOOMKiller": False}}, 1, held) == ["memory.oom_control=0"]


def test_bfq_has_weights_of_its_own() -> None:
    resources = {"blockIO": {"weight": 500, "weightDevice": [{"major": 8, "minor": 0, "weight": 10}]}}
    assert planned(resources, 1, {"blkio.bfq.weight": "100"}) == [
        "blkio.bfq.weight=500",
        "blkio.bfq.weight_device=8:0 10",
    ]
    assert planned(resources, 2, {"io.bfq.weight": "default 100"}) == ["io.bfq.weight=500", "io.bfq.weight=8:0 10"]
    both = {"io.bfq.weight": "default 100", "io.weight": "default 100"}
    assert planned({"blockIO": {"weight": 500}}, 2, both) == ["io.bfq.weight=500", "io.weight=4950"]


def test_reservations_of_huge_pages_are_limited_where_they_are_counted() -> None:
    pages = {"hugepageLimits": [{"pageSize": "1GB", "limit": 1 << 30}]}
    expected = ["hugetlb.1GB.max=1073741824", "hugetlb.1GB.rsvd.max=1073741824"]
    assert planned(pages, 2, {"hugetlb.1GB.rsvd.max": "max"}) == expected


def test_a_limit_below_what_is_in_use_is_refused_on_demand() -> None:
    resources = {"memory": {"limit": 5, "checkBeforeUpdate": True}}
    with pytest.raises(InvalidState, match=r"memory\.limit: 5 is below the 6 bytes that are in use"):
        planned(resources, 2, {"memory.current": "6"})
    assert planned(resources, 2, {"memory.current": "5"}) == ["memory.max=5"]
    assert planned({"memory": {"limit": 5}}, 2, {"memory.current": "6"}) == ["memory.max=5"]


def apply(cgroup: FakeV1 | FakeV2, resources: dict[str, Any], *, undo: bool = False) -> None:
    write_all(cgroup, plan(resources, cgroup.version, present_in(cgroup)), undo=undo)


def test_v1_says_when_memory_is_in_use() -> None:
    files = {"memory.limit_in_bytes": "100", "memory.usage_in_bytes": "50"}
    cgroup = FakeV1(files, {("memory.limit_in_bytes", "40"): errno.EBUSY})
    with pytest.raises(InvalidState, match=r"memory\.limit: 40 is below the 50 bytes that are in use"):
        apply(cgroup, {"memory": {"limit": 40}})


@pytest.mark.parametrize(
    ("code", "error", "message"),
    [
        (errno.EINVAL, InvalidInput, "pids.limit: the kernel refuses '7' for pids.max: Invalid argument"),
        (errno.ERANGE, InvalidInput, "pids.limit: the kernel refuses '7' for pids.max: Numerical result out of range"),
        (errno.EACCES, NotPermitted, "pids.limit: cannot write pids.max: Permission denied"),
        (errno.EROFS, NotPermitted, "pids.limit: cannot write pids.max: Read-only file system"),
    ],
)
def test_what_the_kernel_refuses_is_told_with_the_field(code: int, error: type[PycontainerError], message: str) -> None:
    with pytest.raises(error) as caught:
        apply(FakeV2({"pids.max": "max"}, {("pids.max", "*"): code}), {"pids": {"limit": 7}})
    assert caught.value.message == f"{WHERE}.{message}"


def test_what_is_missing_is_said() -> None:
    with pytest.raises(Unsupported, match="the cgroup above does not pass the controller 'pids' on"):
        apply(FakeV2({"cgroup.controllers": "cpu memory"}), {"pids": {"limit": 7}})
    with pytest.raises(Unsupported, match=r"this kernel has no io\.weight"):
        apply(FakeV2({"cgroup.controllers": "io"}), {"blockIO": {"weight": 500}})
    with pytest.raises(Unsupported, match=r"unified\.cgroup\.odd: this kernel has no cgroup\.odd"):
        apply(FakeV2({"cgroup.controllers": "io"}), {"unified": {"cgroup.odd": "1"}})


def test_a_file_that_the_kernel_keeps_and_does_not_take() -> None:
    """Since Linux 5.16 there is no limit of the kernel's memory alone."""
    cgroup = FakeV1({"memory.kmem.limit_in_bytes": "0"}, {("memory.kmem.limit_in_bytes", "*"): errno.EOPNOTSUPP})
    with pytest.raises(Unsupported, match=r"memory\.kernel: this kernel no longer takes memory\.kmem\.limit_in_bytes"):
        apply(cgroup, {"memory": {"kernel": MIB}})


def test_a_period_that_fits_the_new_quota_alone_is_written_after_it() -> None:
    """With the old quota, 20000 of 10000 would be more than the cgroup above has."""

    class Strict(FakeV1):
        def write(self, controller: str, name: str, value: str) -> None:
            after = {**self.files, name: value}
            if int(after["cpu.cfs_quota_us"]) > int(after["cpu.cfs_period_us"]):
                raise OSError(errno.EINVAL, "Invalid argument", name)
            super().write(controller, name, value)

    cgroup = Strict({"cpu.cfs_quota_us": "20000", "cpu.cfs_period_us": "100000"})
    apply(cgroup, {"cpu": {"quota": 5000, "period": 10000}})
    assert cgroup.written == ["cpu.cfs_quota_us=5000", "cpu.cfs_period_us=10000"]


def test_a_refused_update_leaves_what_was() -> None:
    files = {
        "cpu.weight": "100",
        "cpu.max": "max 100000",
        "cpuset.cpus": "",
        "memory.max": "max",
        "io.max": "8:0 rbps=5 wbps=max riops=max wiops=max",
        "io.weight": "default 77\n8:16 33",
        "pids.max": "4",
    }
    before = dict(files)
    cgroup = FakeV2(files, {("pids.max", "9"): errno.EINVAL})
    resources = {
        "cpu": {"shares": 2, "quota": 1000, "cpus": "1"},
        "memory": {"limit": 1},
        "unified": {"pids.max": "9"},
        "blockIO": {"weight": 500, "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1}]},
    }
    with pytest.raises(InvalidInput, match=r"unified\.pids\.max"):
        apply(cgroup, resources, undo=True)
    assert cgroup.written[-6:] == [
        "io.max=8:0 rbps=5 wbps=max riops=max wiops=max",
        "io.weight=default 77",
        "memory.max=max",
        "cpuset.cpus=\n",
        "cpu.max=max 100000",
        "cpu.weight=100",
    ]
    assert {name: text.strip() for name, text in files.items() if name != "io.weight"} == {
        name: text for name, text in before.items() if name != "io.weight"
    }


def test_what_had_no_line_has_none_again() -> None:
    cgroup = FakeV1(
        {
            "blkio.throttle.read_bps_device": "8:16 9",
            "memory.oom_control": "oom_kill_disable 0\nunder_oom 0",
            "pids.max": "4",
        },
        {("pids.max", "*"): errno.EINVAL},
    )
    write_all(cgroup, [], undo=True)
    writes = [
        ("a", "blkio", "blkio.throttle.read_bps_device", "8:0 5"),
        ("b", "memory", "memory.oom_control", "1"),
        ("c", "pids", "pids.max", "9"),
    ]
    with pytest.raises(InvalidInput):
        write_all(cgroup, writes, undo=True)
    assert cgroup.written[-2:] == ["memory.oom_control=0", "blkio.throttle.read_bps_device=8:0 0"]

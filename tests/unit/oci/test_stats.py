"""The shape of runc's `events --stats`, from files as kernels write them."""

from pathlib import Path
from typing import Any

import pytest

from pycontainer.oci import stats
from tests.unit.oci.fakes import FakeV1, FakeV2

PSI = "some avg10=0.50 avg60=1.25 avg300=0.00 total=1234\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=99"
PSI_READ = {
    "some": {"avg10": 0.5, "avg60": 1.25, "avg300": 0.0, "total": 1234},
    "full": {"avg10": 0.0, "avg60": 0.0, "avg300": 0.0, "total": 99},
}
NO_FLAGS = dict.fromkeys(
    (
        "cpu_exclusive",
        "mem_hardwall",
        "mem_exclusive",
        "memory_migrate",
        "memory_spread_page",
        "memory_spread_slab",
        "memory_pressure",
        "sched_load_balance",
        "sched_relax_domain_level",
    ),
    0,
)


@pytest.fixture(autouse=True)
def pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stats, "huge_page_sizes", lambda: ["1GB", "2MB"])


def test_v2() -> None:
    files = {
        "cpu.stat": "usage_usec 30\nuser_usec 20\nsystem_usec 10\nnr_periods 4\nnr_throttled 2\nthrottled_usec 7",
        "cpu.pressure": PSI,
        "cpuset.cpus": "0-1,3",
        "cpuset.mems": "",
        "memory.current": "4096",
        "memory.max": "8192",
        "memory.peak": "5000",
        "memory.swap.current": "100",
        "memory.swap.max": "1000",
        "memory.stat": "anon 1000\nfile 3000",
        "memory.events": "low 0\nhigh 0\nmax 3\noom 1\noom_kill 1",
        "memory.pressure": PSI,
        "pids.current": "3",
        "pids.max": "max",
        "io.stat": "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n7:1 ",
        "io.pressure": "",
        "hugetlb.2MB.current": "2097152",
        "hugetlb.2MB.events": "max 5",
    }
    assert stats.of(FakeV2(files)) == {
        "cpu": {
            "usage": {"total": 30000, "kernel": 10000, "user": 20000},
            "throttling": {"periods": 4, "throttledPeriods": 2, "throttledTime": 7000},
            "psi": PSI_READ,
        },
        "cpuset": {"cpus": [0, 1, 3]} | NO_FLAGS,
        "memory": {
            "cache": 3000,
            "usage": {"limit": 8192, "usage": 4096, "max": 5000, "failcnt": 0},
            "swap": {"limit": 9192, "usage": 4196, "failcnt": 0},
            "kernel": {"limit": 0, "failcnt": 0},
            "kernelTCP": {"limit": 0, "failcnt": 0},
            "raw": {"anon": 1000, "file": 3000},
            "event_count": {"max": 3, "oom": 1, "oom_kill": 1},
            "psi": PSI_READ,
        },
        "pids": {"current": 3},
        "blkio": {
            "ioServiceBytesRecursive": [
                {"major": 8, "op": "Read", "value": 1},
                {"major": 8, "op": "Write", "value": 2},
            ],
            "ioServicedRecursive": [
                {"major": 8, "op": "Read", "value": 3},
                {"major": 8, "op": "Write", "value": 4},
            ],
        },
        "hugetlb": {"2MB": {"usage": 2097152, "failcnt": 5}},
        "intel_rdt": {},
        "network_interfaces": None,
    }


@pytest.mark.parametrize(("memory", "swap"), [("max", "5"), ("5", "max"), ("max", "max")])
def test_v2_without_a_limit_of_either_there_is_none_of_both(memory: str, swap: str) -> None:
    files = {"memory.max": memory, "memory.swap.max": swap, "memory.current": "1", "memory.swap.current": "0"}
    assert stats.of(FakeV2(files))["memory"]["swap"] == {"limit": stats.UNLIMITED, "failcnt": 0, "usage": 1}


def test_v1() -> None:
    files = {
        "cpuacct.usage": "30",
        "cpuacct.usage_percpu": "10 20 ",
        "cpuacct.usage_all": "cpu user system\n0 6 4\n1 12 8",
        "cpuacct.stat": "user 2\nsystem 1",
        "cpu.stat": "nr_periods 4\nnr_throttled 2\nthrottled_time 7",
        "cpuset.cpus": "1",
        "cpuset.mems": "0",
        "cpuset.sched_load_balance": "1",
        "cpuset.sched_relax_domain_level": "-1",
        "memory.usage_in_bytes": "4096",
        "memory.limit_in_bytes": "8192",
        "memory.max_usage_in_bytes": "5000",
        "memory.failcnt": "6",
        "memory.memsw.usage_in_bytes": "4100",
        "memory.memsw.limit_in_bytes": "9000",
        "memory.memsw.max_usage_in_bytes": "0",
        "memory.memsw.failcnt": "0",
        "memory.stat": "cache 3000\nrss 9",
        "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2",
        "pids.current": "3",
        "pids.max": "17",
        "blkio.bfq.io_serviced_recursive": "Total 0",
        "blkio.throttle.io_serviced_recursive": "8:0 Read 1\n8:0 Total 1\nTotal 1",
        "blkio.throttle.io_service_bytes": "8:16 Write 512\nTotal 512",
        "blkio.time_recursive": "8:0 44",
        "hugetlb.1GB.usage_in_bytes": "0",
        "hugetlb.1GB.max_usage_in_bytes": "1073741824",
        "hugetlb.1GB.failcnt": "1",
    }
    found: dict[str, Any] = stats.of(FakeV1(files))
    assert found["cpu"] == {
        "usage": {
            "total": 30,
            "percpu": [10, 20],
            "percpu_kernel": [4, 8],
            "percpu_user": [6, 12],
            "kernel": 10_000_000,
            "user": 20_000_000,
        },
        "throttling": {"periods": 4, "throttledPeriods": 2, "throttledTime": 7},
    }
    assert found["cpuset"] == NO_FLAGS | {
        "cpus": [1],
        "mems": [0],
        "sched_load_balance": 1,
        "sched_relax_domain_level": -1,
    }
    assert found["memory"] == {
        "cache": 3000,
        "usage": {"limit": 8192, "usage": 4096, "max": 5000, "failcnt": 6},
        "swap": {"limit": 9000, "usage": 4100, "failcnt": 0},
        "kernel": {"limit": 0, "failcnt": 0},
        "kernelTCP": {"limit": 0, "failcnt": 0},
        "raw": {"cache": 3000, "rss": 9},
        "event_count": {"oom_kill": 2},
    }
    assert found["pids"] == {"current": 3, "limit": 17}
    assert found["blkio"] == {
        "ioServicedRecursive": [
            {"major": 8, "op": "Read", "value": 1},
            {"major": 8, "op": "Total", "value": 1},
        ],
        "ioServiceBytesRecursive": [{"major": 8, "minor": 16, "op": "Write", "value": 512}],
        "ioTimeRecursive": [{"major": 8, "value": 44}],
    }
    assert found["hugetlb"] == {"1GB": {"max": 1073741824, "failcnt": 1}}


@pytest.mark.parametrize("cgroup", [FakeV1({}), FakeV2({})])
def test_without_controllers_the_shape_is_the_same(cgroup: FakeV1 | FakeV2) -> None:
    found = stats.of(cgroup)
    assert found["cpu"] == {"usage": {"kernel": 0, "user": 0}, "throttling": {}}
    assert found["memory"]["usage"] == {"limit": 0, "failcnt": 0}
    assert (found["pids"], found["blkio"], found["hugetlb"]) == ({}, {}, {})


def test_sizes_of_huge_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    for kib in (64, 2048, 1048576, 16777216):
        (tmp_path / "kernel/mm/hugepages" / f"hugepages-{kib}kB").mkdir(parents=True)
    assert sorted(stats.huge_page_sizes(str(tmp_path))) == ["16GB", "1GB", "2MB", "64KB"]
    assert stats.huge_page_sizes(str(tmp_path / "none")) == []

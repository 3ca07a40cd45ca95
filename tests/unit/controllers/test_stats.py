"""Statistics from the files of both versions."""

from pycontainer.controllers.stats import io_bytes, stats
from tests.unit.controllers.fake import FakeCgroup


def test_v2() -> None:
    cgroup = FakeCgroup(
        2,
        {
            "cpu.stat": "usage_usec 123\nuser_usec 100\n",
            "memory.current": "1000",
            "memory.max": "5000",
            "memory.high": "max",
            "memory.events": "max 0",
            "memory.stat": "inactive_file 300",
            "pids.current": "4",
            "pids.max": "100",
            "pids.events": "max 0",
            "io.stat": "8:0 rbytes=10 wbytes=20 rios=1 wios=1 dbytes=0 dios=0\n8:16 rbytes=1 wbytes=2 rios=1 wios=1\n7:0",
        },
    )
    assert stats(cgroup) == {
        "cpu_usec": 123,
        "memory_bytes": 700,
        "memory_limit_bytes": 5000,
        "pids": 4,
        "pids_limit": 100,
        "io_read_bytes": 11,
        "io_write_bytes": 22,
    }


def test_v1() -> None:
    cgroup = FakeCgroup(
        1,
        {
            "cpuacct.usage": "123456",
            "memory.usage_in_bytes": "1000",
            "memory.max_usage_in_bytes": "1000",
            "memory.failcnt": "0",
            "memory.limit_in_bytes": "9223372036854771712",
            "memory.stat": "total_inactive_file 300",
            "pids.current": "4",
            "pids.max": "max",
            "pids.events": "max 0",
            "blkio.throttle.io_service_bytes_recursive": "8:0 Read 10\n8:0 Write 20\n8:0 Total 30\n8:16 Read 5\nTotal 35",
        },
    )
    assert stats(cgroup) == {
        "cpu_usec": 123,
        "memory_bytes": 700,
        "memory_limit_bytes": None,
        "pids": 4,
        "pids_limit": None,
        "io_read_bytes": 15,
        "io_write_bytes": 20,
    }


def test_io_is_nothing_where_it_is_not_counted() -> None:
    assert io_bytes(FakeCgroup(2, {}, without="io")) == (0, 0)
    assert io_bytes(FakeCgroup(1, {}, without="blkio")) == (0, 0)

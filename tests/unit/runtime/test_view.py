"""The texts that stand in for /proc/meminfo and /proc/cpuinfo, and what limits they come from."""

from pathlib import Path

import pytest

from pycontainer.runtime import view
from pycontainer.runtime.view import Effective, cpuinfo, effective, meminfo
from pycontainer.spec.model import ContainerSpec

MIB = 1 << 20
HOST_MEMINFO = """\
MemTotal:       24576000 kB
MemFree:        20000000 kB
MemAvailable:   21000000 kB
Buffers:            1000 kB
SwapTotal:       1000000 kB
SwapFree:         900000 kB
HugePages_Total:       3
Hugepagesize:       2048 kB
"""
HOST_CPUINFO = "".join(f"processor\t: {number}\nmodel name\t: x\nflags\t: a b\n\n" for number in range(4))


@pytest.mark.parametrize(
    ("own", "tenant", "expected"),
    [
        ({}, None, Effective(None, 0, None)),
        ({"memory_bytes": 100}, None, Effective(100, 0, None)),
        ({"memory_bytes": 100, "memory_swap_bytes": 150}, {"memory_bytes": 80}, Effective(80, 50, None)),
        ({}, {"memory_bytes": 80, "cpu_quota_usec": 150_000}, Effective(80, 0, 2)),
        ({"cpu_quota_usec": 50_000}, {"cpuset_cpus": "0-2"}, Effective(None, 0, 1)),
        ({"cpuset_cpus": "1,3-4"}, None, Effective(None, 0, 3)),
    ],
)
def test_the_least_of_both(own: dict[str, object], tenant: dict[str, object] | None, expected: Effective) -> None:
    spec = ContainerSpec(**own)  # type: ignore[arg-type]
    above = None if tenant is None else ContainerSpec(**tenant)  # type: ignore[arg-type]
    assert effective(spec, above) == expected


def test_meminfo() -> None:
    assert meminfo(HOST_MEMINFO, 200 * MIB, 50 * MIB, 30 * MIB).splitlines() == [
        "MemTotal:         204800 kB",
        "MemFree:          174080 kB",
        "MemAvailable:     174080 kB",
        "Buffers:               0 kB",
        "SwapTotal:         51200 kB",
        "SwapFree:          51200 kB",
        "HugePages_Total:       3",
        "Hugepagesize:       2048 kB",
    ]


def test_cpuinfo_keeps_whole_processors() -> None:
    assert cpuinfo(HOST_CPUINFO, 2) == HOST_CPUINFO[: len(HOST_CPUINFO) // 2]
    assert cpuinfo(HOST_CPUINFO, 9) == HOST_CPUINFO


def test_files_are_rewritten_in_place_and_made_anew_at_a_start(tmp_path: Path) -> None:
    directory = str(tmp_path)
    assert view.write(directory, Effective(64 * MIB, 0, None)) == [("/proc/meminfo", f"{directory}/meminfo")]
    inode = (tmp_path / "meminfo").stat().st_ino
    assert view.rewrite(directory, Effective(32 * MIB, 0, None), MIB) is True
    assert (tmp_path / "meminfo").read_text().startswith("MemTotal:          32768 kB\nMemFree:           31744 kB\n")
    assert (tmp_path / "meminfo").stat().st_ino == inode
    assert view.rewrite(directory, Effective(None, 0, None), 0) is True
    assert int((tmp_path / "meminfo").read_text().split()[1]) > 32768  # the host's
    assert view.kind(directory) == "generated"
    assert view.write(directory, Effective(None, 0, None)) == []
    assert view.kind(directory) == "host"
    assert view.rewrite(directory, Effective(64 * MIB, 0, None), 0) is False  # nothing is mounted that could show it


def test_lxcfs_is_asked_only_where_there_is_a_limit(tmp_path: Path) -> None:
    directory = str(tmp_path)
    offered = [("/proc/meminfo", "/var/lib/lxcfs/proc/meminfo")]
    assert view.write(directory, Effective(None, 0, None), lambda: offered) == []
    assert view.write(directory, Effective(64 * MIB, 0, None), lambda: offered) == offered
    assert view.kind(directory) == "lxcfs"
    assert view.rewrite(directory, Effective(32 * MIB, 0, None), 0) is True
    assert view.write(directory, Effective(64 * MIB, 0, None), list) == [("/proc/meminfo", f"{directory}/meminfo")]
    assert view.kind(directory) == "generated"

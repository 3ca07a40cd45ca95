"""What cgroups count, read for the metrics, of both versions."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from pycontainer.cgroup.v1 import CgroupV1
from pycontainer.cgroup.v2 import CgroupV2
from pycontainer.controllers.samples import Reader, Sample
from tests.support.cgroupfiles import make_cgroup

COMMON = {
    "cpu_usage_usec": 1_500_000,
    "cpu_user_usec": 1_000_000,
    "cpu_system_usec": 500_000,
    "cpu_periods": 10,
    "cpu_throttled_periods": 4,
    "cpu_throttled_usec": 250_000,
    "cpu_quota_usec": 50_000,
    "cpu_period_usec": 100_000,
    "memory_usage_bytes": 1_000_000,
    "memory_working_set_bytes": 800_000,
    "memory_rss_bytes": 600_000,
    "memory_cache_bytes": 300_000,
    "memory_mapped_bytes": 70_000,
    "memory_active_file_bytes": 100_000,
    "memory_inactive_file_bytes": 200_000,
    "memory_swap_bytes": 4096,
    "memory_peak_bytes": 1_900_000,
    "memory_limit_bytes": 2_000_000,
    "memory_limit_hits": 7,
    "swap_limit_bytes": 0,
    "oom_kills": 1,
    "page_faults": 321,
    "major_page_faults": 3,
    "tasks": 5,
    "tasks_limit": 100,
}
PRESSURE = {
    "cpu_waiting_usec": 2_000_000,
    "cpu_stalled_usec": 0,
    "memory_waiting_usec": 30,
    "memory_stalled_usec": 20,
    "io_waiting_usec": 500_000,
    "io_stalled_usec": 1,
}
SDA = {"io_read_bytes": 10, "io_write_bytes": 20, "io_reads": 1, "io_writes": 2}
VDA = {"io_read_bytes": 3, "io_write_bytes": 4, "io_reads": 1, "io_writes": 1}


def look(directory: Path, version: int, reader: Reader | None = None, **changed: str | None) -> Sample:
    paths = make_cgroup(directory, version, **changed)
    return (reader or Reader()).sample(CgroupV2("c1", paths) if version == 2 else CgroupV1("c1", paths))


def test_v2(tmp_path: Path) -> None:
    sample = look(tmp_path, 2)
    assert sample.numbers == COMMON | PRESSURE | {"memory_kernel_bytes": 50_000}
    assert sample.devices == {"8:0": SDA, "253:1": VDA}
    assert not sample.is_frozen and sample.inode == tmp_path.stat().st_ino


def test_v1(tmp_path: Path) -> None:
    sample = look(tmp_path, 1)
    assert sample.numbers == COMMON
    assert sample.devices == {"8:0": SDA}
    assert not sample.is_frozen


@pytest.mark.parametrize(("version", "frozen"), [(2, {"cgroup__events": "populated 1\nfrozen 1\n"}),
                                                 (1, {"freezer__state": "FROZEN\n"})])  # fmt: skip
def test_a_paused_one(tmp_path: Path, version: int, frozen: dict[str, Any]) -> None:
    assert look(tmp_path, version, **frozen).is_frozen


def test_limits_that_are_not_set_are_missing(tmp_path: Path) -> None:
    numbers = look(tmp_path / "v2", 2, cpu__max="max 100000\n", memory__max="max\n", pids__max="max\n").numbers
    assert not {"cpu_quota_usec", "memory_limit_bytes", "swap_limit_bytes", "tasks_limit"} & numbers.keys()
    numbers = look(
        tmp_path / "v1", 1, cpu__cfs_quota_us="-1\n", memory__limit_in_bytes="9223372036854771712\n", pids__max="max\n"
    ).numbers
    assert not {"cpu_quota_usec", "memory_limit_bytes", "swap_limit_bytes", "tasks_limit"} & numbers.keys()


def test_a_kernel_without_pressure_peak_or_swap(tmp_path: Path) -> None:
    """What it lacks is missing, here and in what is read next; that it is lacking is found out once."""
    lacking = dict.fromkeys(
        (
            "cpu__pressure",
            "memory__pressure",
            "io__pressure",
            "memory__peak",
            "memory__swap__current",
            "memory__swap__max",
        )
    )
    reader = Reader()
    assert look(tmp_path, 2, reader, **lacking).numbers.keys() == (COMMON.keys() | {"memory_kernel_bytes"}) - {
        "memory_peak_bytes",
        "memory_swap_bytes",
        "swap_limit_bytes",
    }
    assert "cpu_waiting_usec" not in look(tmp_path, 2, reader).numbers


@pytest.mark.parametrize("version", [1, 2])
def test_one_that_is_gone(tmp_path: Path, version: int) -> None:
    """A container that ended meanwhile must not make others believe that the kernel lacks something."""
    reader = Reader()
    paths = make_cgroup(tmp_path / "a", version)
    shutil.rmtree(tmp_path / "a")
    with pytest.raises(FileNotFoundError):
        reader.sample(CgroupV2("a", paths) if version == 2 else CgroupV1("a", paths))
    assert look(tmp_path / "b", version, reader).numbers.keys() >= COMMON.keys()


def test_one_that_goes_in_the_midst(tmp_path: Path) -> None:
    reader = Reader()
    with pytest.raises(FileNotFoundError):
        reader._want(str(tmp_path / "gone"), "memory.peak")
    assert look(tmp_path / "c", 2, reader).numbers["memory_peak_bytes"] == 1_900_000

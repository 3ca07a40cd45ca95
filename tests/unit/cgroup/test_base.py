"""Plain directories stand for cgroup directories: an empty one can be removed, one with a file in it cannot."""

import contextlib
import errno
import os
from pathlib import Path

import pytest

from pycontainer.cgroup.base import (
    Above,
    parse_keyed,
    read_file,
    remove_tree,
    subdirectories,
    subdirectory_names,
    write_file,
)
from pycontainer.cgroup.v2 import CgroupV2


def test_parse_keyed_skips_what_is_not_a_pair() -> None:
    assert parse_keyed("anon 12\nfile 0\n8:0 rbytes=1 wbytes=2\n") == {"anon": 12, "file": 0}


@pytest.mark.parametrize("length", [0, 1, 2047, 2048, 65535, 65536, 200_000])
def test_a_file_is_read_to_its_end(tmp_path: Path, length: int) -> None:
    text = "0123456789abcde\n" * (length // 16) + "x" * (length % 16)
    (tmp_path / "file").write_text(text)
    assert read_file(f"{tmp_path}/file") == text


def test_what_the_kernel_gives_in_pieces_is_read_to_its_end() -> None:
    path = "/proc/kallsyms"  # of many short records, as cgroup.procs, and the same for as long as no module comes
    fd = os.open(path, os.O_RDONLY)
    try:
        assert len(os.read(fd, 65536)) < 65536
    finally:
        os.close(fd)
    assert read_file(path) == Path(path).read_text()


def test_write_error_names_file_and_value(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="write '5': No space left on device") as caught:
        write_file("/dev/full", "5")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, "/dev/full")


def test_remove_tree_takes_nested_directories(tmp_path: Path) -> None:
    (tmp_path / "one" / "two" / "three").mkdir(parents=True)
    (tmp_path / "one" / "four").mkdir()
    remove_tree(f"{tmp_path}/one", 0)
    assert list(tmp_path.iterdir()) == []
    remove_tree(f"{tmp_path}/one", 0)


def test_remove_tree_gives_up_on_a_busy_one(tmp_path: Path) -> None:
    (tmp_path / "busy").mkdir()
    (tmp_path / "busy" / "process").touch()
    with pytest.raises(OSError, match="processes are left in the cgroup") as caught:
        remove_tree(f"{tmp_path}/busy", 0)
    assert (caught.value.errno, caught.value.filename) == (errno.EBUSY, f"{tmp_path}/busy")


def test_pids_of_nested_cgroups(tmp_path: Path) -> None:
    (tmp_path / "nested").mkdir()
    (tmp_path / "cgroup.procs").write_text("12\n7\n")
    (tmp_path / "nested" / "cgroup.procs").write_text("0\n99\n")
    cgroup = CgroupV2("c", {"memory": str(tmp_path)})
    assert sorted(cgroup.pids()) == [7, 12, 99]  # 0 is nobody we may signal: kill(0) would be our own group


def test_pids_of_a_cgroup_that_is_gone(tmp_path: Path) -> None:
    assert CgroupV2("c", {"memory": f"{tmp_path}/gone"}).pids() == []


def test_a_controller_that_is_not_there(tmp_path: Path) -> None:
    cgroup = CgroupV2("c", {"memory": str(tmp_path)})
    assert (cgroup.has("memory"), cgroup.has("io")) == (True, False)
    with pytest.raises(OSError, match="this host has no io controller") as caught:
        cgroup.read("io", "io.stat")
    assert (caught.value.errno, caught.value.filename) == (errno.EOPNOTSUPP, "io.stat")


# -- one that is only looked at --


@pytest.fixture
def looked_at(tmp_path: Path) -> CgroupV2:
    (tmp_path / "c1").mkdir()
    for path, text in {"c1/pids.max": "5\n", "c1/long": "x" * 100_000, "cpuset.cpus": "0-1\n"}.items():
        (tmp_path / path).write_text(text)
    return CgroupV2("c1", {"pids": f"{tmp_path}/c1", "cpuset": f"{tmp_path}/c1"})


def test_who_looks_reads_each_file_once_and_writes_nothing(looked_at: CgroupV2, tmp_path: Path) -> None:
    view = looked_at.untouched()
    assert (view.is_untouched, looked_at.is_untouched, looked_at.seen) == (True, False, None)
    view.write("pids", "pids.max", "6")
    for _ in range(2):
        assert (view.read("pids", "pids.max"), view.read_above("cpuset", "cpuset.cpus")) == ("5", "0-1")
        with pytest.raises(FileNotFoundError):
            view.read("pids", "pids.peak")
        (tmp_path / "c1/pids.max").write_text("7\n")
        (tmp_path / "cpuset.cpus").write_text("0\n")
    assert view.seen == {
        ("pids", "pids.max"): b"5\n",
        ("cpuset", "../cpuset.cpus"): b"0-1\n",
        ("pids", "pids.peak"): None,
    }
    assert looked_at.read("pids", "pids.max") == "7"


def test_whether_it_reads_as_it_did(looked_at: CgroupV2, tmp_path: Path) -> None:
    """What no single read(2) tells whole is never the same."""
    seen = {("pids", "pids.max"): b"5\n", ("cpuset", "../cpuset.cpus"): b"0-1\n", ("pids", "pids.peak"): None}
    long = {("pids", "long"): b"x" * 100_000}
    with contextlib.closing(Above()) as above:
        assert looked_at.reads_as(seen.items(), above)
        assert not looked_at.reads_as(long.items(), above)
        assert not looked_at.reads_as((seen | {("pids", "pids.peak"): b"5\n"}).items(), above)
        (tmp_path / "cpuset.cpus").write_text("0\n")
        assert looked_at.reads_as(seen.items(), above)  # of what lies above
        (tmp_path / "c1/pids.max").write_text("50\n")
        assert not looked_at.reads_as(seen.items(), above)
    (tmp_path / "c1/pids.max").write_text("5\n")
    with contextlib.closing(Above()) as above:
        assert not looked_at.reads_as(seen.items(), above)


def test_descriptors_of_what_lies_above(tmp_path: Path) -> None:
    """They are few, however many tenants there are, and none is left. A directory that is gone is no error."""
    before = os.listdir("/proc/self/fd")
    cgroups = []
    for number in range(100):
        (tmp_path / f"tenant-{number}/c1").mkdir(parents=True)
        (tmp_path / f"tenant-{number}/c1/pids.max").write_text(f"{number}\n")
        cgroups.append(CgroupV2("c1", {"pids": f"{tmp_path}/tenant-{number}/c1"}))
    with contextlib.closing(Above()) as above:
        for number, cgroup in enumerate(cgroups):
            assert cgroup.reads_as([(("pids", "pids.max"), f"{number}\n".encode())], above)
            assert len(os.listdir("/proc/self/fd")) <= len(before) + 16
        gone = CgroupV2("c1", {"pids": f"{tmp_path}/gone/c1"})
        assert not gone.reads_as([(("pids", "pids.max"), None)], above)
    assert os.listdir("/proc/self/fd") == before


def test_directories_beneath(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    (tmp_path / "pids.max").touch()
    assert sorted(subdirectories(str(tmp_path))) == [f"{tmp_path}/one", f"{tmp_path}/two"]
    assert subdirectory_names(str(tmp_path), {"one"}) == ["two"]
    assert subdirectory_names(f"{tmp_path}/gone") == []

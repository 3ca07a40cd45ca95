"""Plain directories stand for cgroup directories: an empty one can be removed, one with a file in it cannot."""

import errno
import os
from pathlib import Path

import pytest

from pycontainer.cgroup.base import parse_keyed, read_file, remove_tree, write_file
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

"""The reserve: taken while there is room, given once, and nothing new is begun when there is too little. FLT-05"""

import errno
import os
from pathlib import Path
from typing import NamedTuple

import pytest

from pycontainer.errors import InvalidState
from pycontainer.linux import files
from pycontainer.supervisor.reserve import LEAST_BYTES, LEAST_INODES, RESERVE_BYTES, RESERVE_INODES, Reserve


class _Stat(NamedTuple):
    f_bavail: int
    f_ffree: int = 1 << 20
    f_files: int = 1 << 20
    f_frsize: int = 1
    f_flag: int = 0


def free(monkeypatch: pytest.MonkeyPatch, found: _Stat) -> None:
    monkeypatch.setattr(os, "statvfs", lambda path: found)


def test_it_holds_space_and_inodes(tmp_path: Path) -> None:
    reserve = Reserve(str(tmp_path))
    reserve.take()
    assert reserve.is_whole
    held = [path.stat() for path in (tmp_path / "reserve").iterdir()]
    assert len(held) == RESERVE_INODES + 1
    assert sum(each.st_blocks for each in held) * 512 >= RESERVE_BYTES
    assert reserve.give() and not reserve.is_whole
    assert list(tmp_path.iterdir()) == []
    assert not reserve.give()


@pytest.mark.parametrize(
    "found",
    [
        _Stat(RESERVE_BYTES + LEAST_BYTES - 1),
        _Stat(1 << 40, f_ffree=RESERVE_INODES + LEAST_INODES - 1),
        _Stat(1 << 40, f_flag=os.ST_RDONLY),
    ],
)
def test_it_is_not_taken_from_those_who_need_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: _Stat) -> None:
    reserve = Reserve(str(tmp_path))
    free(monkeypatch, found)
    reserve.take()
    assert not reserve.is_whole and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (_Stat(LEAST_BYTES - 1), "has only 8MiB of space left"),
        (_Stat(1 << 40, f_ffree=5), "has only 5 inodes left"),
        (_Stat(0, f_ffree=0), "has only 0B of space and 0 inodes left"),
        (_Stat(1 << 40, f_flag=os.ST_RDONLY), "is read-only"),
    ],
)
def test_nothing_new_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: _Stat, words: str) -> None:
    free(monkeypatch, found)
    with pytest.raises(InvalidState, match=f"cannot make a volume: .* {words}"):
        Reserve(str(tmp_path)).require_room("a volume")


def test_a_file_system_without_fixed_inodes_has_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, _Stat(1 << 40, f_ffree=0, f_files=0))
    Reserve(str(tmp_path)).require_room("a volume")


def test_a_record_that_does_not_fit_is_written_after_room_was_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    write = os.write

    def full(fd: int, data: bytes) -> int:
        if not asked:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(fd, data)

    monkeypatch.setattr(os, "write", full)

    def make_room() -> bool:
        asked.append("asked")
        return True

    monkeypatch.setattr(files, "make_room", make_room)
    files.write_atomically(str(tmp_path / "record"), b"whole")
    assert ((tmp_path / "record").read_bytes(), asked) == (b"whole", ["asked"])
    asked.clear()
    monkeypatch.setattr(files, "make_room", lambda: False)
    with pytest.raises(OSError, match="No space left"):
        files.write_atomically(str(tmp_path / "record"), b"other")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"record": b"whole"}


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOTDIR, errno.EROFS])
def test_a_disk_that_fails_ends_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """The supervisor looks every five seconds."""
    reserve = Reserve(str(tmp_path))

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as broken:
        broken.setattr(os, "makedirs", fail)
        reserve.take()
        assert not reserve.is_whole
    with monkeypatch.context() as broken:
        broken.setattr(os, "statvfs", fail)
        reserve.take()
    assert not reserve.is_whole

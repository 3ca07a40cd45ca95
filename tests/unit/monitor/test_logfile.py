"""The log: one line per line, both streams, rotated by size, nothing lost."""

import os
import re
from pathlib import Path

import pytest

from pycontainer.monitor.logfile import LogFile

LINE = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z (stdout|stderr) ([FP]) (.*)", re.DOTALL)


@pytest.fixture
def containers(tmp_path: Path) -> Path:
    (tmp_path / "c1").mkdir()
    return tmp_path


def open_log(containers: Path, **limits: int) -> LogFile:
    fd = os.open(containers, os.O_PATH | os.O_DIRECTORY)
    return LogFile(fd, "c1", max_bytes=limits.get("max_bytes", 1 << 20), files=limits.get("files", 3))


def lines(path: Path) -> list[tuple[bytes, bytes, bytes]]:
    found = []
    for line in path.read_bytes().split(b"\n")[:-1]:
        match = LINE.fullmatch(line)
        assert match is not None, line
        found.append((match[1], match[2], match[3]))
    return found


def test_full_and_partial_lines(containers: Path) -> None:
    log = open_log(containers)
    log.write(b"stdout", b"one\ntwo\npart")
    log.write(b"stderr", b"\xff\x1b[31m\n\n")
    assert lines(containers / "c1/log") == [
        (b"stdout", b"F", b"one"),
        (b"stdout", b"F", b"two"),
        (b"stdout", b"P", b"part"),
        (b"stderr", b"F", b"\xff\x1b[31m"),
        (b"stderr", b"F", b""),
    ]


def test_readable_while_written(containers: Path) -> None:
    log = open_log(containers)
    log.write(b"stdout", b"now\n")
    assert lines(containers / "c1/log") == [(b"stdout", b"F", b"now")]


def test_rotation_keeps_the_newest_in_order(containers: Path) -> None:
    """RES-05: the log never takes more than its files times its size."""
    log = open_log(containers, max_bytes=1000)
    for number in range(100):
        log.write(b"stdout", b"line %03d\n" % number)
    names = ["log.2", "log.1", "log"]
    assert sorted(path.name for path in (containers / "c1").iterdir()) == sorted(names)
    kept = [text for name in names for _, _, text in lines(containers / "c1" / name)]
    assert kept[-1] == b"line 099"
    assert kept == [b"line %03d" % n for n in range(100 - len(kept), 100)]
    assert all((containers / "c1" / name).stat().st_size <= 1000 for name in names)


def test_restart_appends(containers: Path) -> None:
    open_log(containers).write(b"stdout", b"first\n")
    open_log(containers).write(b"stdout", b"second\n")
    assert [text for _, _, text in lines(containers / "c1/log")] == [b"first", b"second"]


def test_a_link_in_the_logs_place_is_not_followed(containers: Path, tmp_path: Path) -> None:
    (containers / "c1/log").symlink_to(tmp_path / "elsewhere")
    log = open_log(containers)
    log.write(b"stdout", b"lost\n")
    assert log.dropped_bytes == 5
    assert not (tmp_path / "elsewhere").exists()


def test_a_rotation_that_fails_loses_nothing(containers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = open_log(containers, max_bytes=100)

    def no_room(self: LogFile) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(LogFile, "_open", no_room)
    for number in range(5):
        log.write(b"stdout", b"line %d\n" % number)
    monkeypatch.undo()
    log.write(b"stdout", b"line 5\n")
    kept = [
        text
        for name in ("log.2", "log.1", "log")
        if (containers / "c1" / name).exists()
        for _, _, text in lines(containers / "c1" / name)
    ]
    assert sorted(kept) == [b"line %d" % number for number in range(6)]
    assert log.dropped_bytes == 0


def test_what_a_full_disk_loses_is_counted(containers: Path) -> None:
    log = open_log(containers)
    log.close()  # a write to a closed descriptor fails like one to a full disk
    log.write(b"stdout", b"lost\n")
    assert log.dropped_bytes == 5

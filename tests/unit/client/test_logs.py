"""The log reader: rotation in every place, tail, since, torn lines."""

import os
import random
from pathlib import Path

import pytest

from pycontainer.client import logs
from pycontainer.client.logs import LogLine, LogReader, format_time, last_lines, parse_line


def line(number: int, tag: str = "F", stream: str = "stdout") -> bytes:
    return f"2026-11-23T18:00:{number // 1000 % 60:02d}.{number:09d}Z {stream} {tag} line {number}\n".encode()


class Writer:
    """Writes and rotates as the monitor does."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = path.open("ab", buffering=0)

    def write(self, data: bytes) -> None:
        self.file.write(data)

    def rotate(self) -> None:
        for older, newer in ((f"{self.path}.1", f"{self.path}.2"), (str(self.path), f"{self.path}.1")):
            if os.path.exists(older):
                os.rename(older, newer)
        self.file.close()
        self.file = self.path.open("ab", buffering=0)


def texts(records: list[LogLine]) -> list[str]:
    return [record.text for record in records]


def test_parse_line() -> None:
    record = parse_line(b"2026-11-23T18:00:00.123456789Z stderr P  half a")
    assert record is not None
    assert (record.time, record.stream, record.data, record.is_whole) == (
        "2026-11-23T18:00:00.123456789Z", "stderr", b" half a", False,
    )  # fmt: skip
    empty = parse_line(b"2026-11-23T18:00:00.123456789Z stdout F ")
    assert empty is not None and empty.data == b"\n"
    assert parse_line(b"torn by a crash") is None
    assert parse_line(b"") is None


@pytest.mark.parametrize(
    "line",
    [
        b"\0" * 40 + b"2026-11-23T18:00:00.123456789Z stdout F x",  # blocks that a crash left empty
        b"\x1b[2J stdout F x",
        b"2026-11-23T18:00:00Z stdout F x",
        b"2026-11-23T18:00:00.123456789Z stdout X x",
        b"2026-11-23T18:00:00.123456789Z stdout F",
        b"2026-11-23T18:00:00.123456789Z  stdout F x",
        b"2026-11-23T18:00:00.123456789Z stdout F " + b"x" * logs.MAX_LINE_BYTES,
    ],
)
def test_what_is_no_line(line: bytes) -> None:
    assert parse_line(line) is None


def test_a_line_without_end_is_passed_over(tmp_path: Path) -> None:
    """It is not kept in memory as a whole, and the lines after it are there."""
    (tmp_path / "log").write_bytes(line(1) + b"x" * (3 * logs.MAX_LINE_BYTES) + b"\n" + line(2))
    reader = LogReader(str(tmp_path / "log"))
    assert texts(list(reader.read())) == ["line 1", "line 2"]
    reader.close()
    (tmp_path / "log").write_bytes(b"x" * (3 * logs.MAX_LINE_BYTES))
    reader = LogReader(str(tmp_path / "log"))
    assert list(reader.read()) == [] and len(reader._rest) <= logs.MAX_LINE_BYTES + 1
    reader.close()


def test_format_time_compares_with_lines() -> None:
    assert format_time(0) == "1970-01-01T00:00:00.000000000Z"
    assert format_time(1764000000.5) == "2025-11-24T16:00:00.500000000Z"


def test_reads_all_files_oldest_first(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "log")
    for number in range(6):
        writer.write(line(number))
        if number % 2:
            writer.rotate()
    reader = LogReader(str(tmp_path / "log"))
    assert texts(list(reader.read())) == [f"line {number}" for number in range(2, 6)]  # 0 and 1 were rotated away
    reader.close()


def test_goes_on_where_it_stopped_over_any_rotation(tmp_path: Path) -> None:
    dice = random.Random(5)
    writer = Writer(tmp_path / "log")
    reader = LogReader(str(tmp_path / "log"))
    seen: list[str] = []
    number = 0
    rotations = 0  # since the last reading; with three files one more than three would lose lines, as it should
    for _ in range(1000):
        for _ in range(dice.randrange(4)):
            writer.write(line(number))
            number += 1
        if dice.random() < 0.6 and rotations < 3:
            writer.rotate()
            rotations += 1
        if dice.random() < 0.4:
            seen += texts(list(reader.read()))
            rotations = 0
    seen += texts(list(reader.read()))
    reader.close()
    assert seen == [f"line {n}" for n in range(number)]


def test_rotation_between_two_opens_hides_no_file(tmp_path: Path, monkeypatch: object) -> None:
    writer = Writer(tmp_path / "log")
    writer.write(line(0))
    writer.rotate()
    writer.write(line(1))
    real_open, opened = os.open, []

    def rotating_open(path: str, flags: int, *args: int, **options: int) -> int:
        opened.append(path)
        fd = real_open(path, flags, *args, **options)
        if len(opened) == 1:
            writer.rotate()
        return fd

    monkeypatch.setattr(logs.os, "open", rotating_open)  # type: ignore[attr-defined]
    reader = LogReader(str(tmp_path / "log"))
    monkeypatch.undo()  # type: ignore[attr-defined]
    writer.write(line(2))
    assert texts(list(reader.read())) == ["line 0", "line 1", "line 2"]
    reader.close()


def test_line_in_the_making_waits_for_its_end(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "log")
    whole = line(0)
    writer.write(whole[:20])
    reader = LogReader(str(tmp_path / "log"))
    assert list(reader.read()) == []
    writer.write(whole[20:])
    assert texts(list(reader.read())) == ["line 0"]
    reader.close()


def test_missing_log_is_empty_until_it_appears(tmp_path: Path) -> None:
    reader = LogReader(str(tmp_path / "log"))
    assert list(reader.read()) == []
    Writer(tmp_path / "log").write(line(1))
    assert texts(list(reader.read())) == ["line 1"]
    reader.close()


def records(tags: str) -> list[LogLine]:
    return [LogLine("t", "stdout", f"{n}".encode() + (b"\n" if tag == "F" else b"")) for n, tag in enumerate(tags)]


def test_last_lines() -> None:
    def last(tags: str, count: int) -> str:
        return "".join(record.text for record in last_lines(iter(records(tags)), count))

    assert last("FFF", 2) == "12"
    assert last("FFF", 9) == "012"
    assert last("FFF", 0) == ""
    assert last("FPPF", 1) == "123"  # one line in three pieces
    assert last("FFP", 1) == "2"  # a prompt without newline is the last line
    assert last("FFPP", 2) == "123"
    assert last("P", 0) == ""


def test_follow_ends_after_the_last_line(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "log")
    reader = LogReader(str(tmp_path / "log"))
    calls: list[int] = []

    def has_ended(msecs: int) -> bool:
        calls.append(msecs)
        writer.write(line(len(calls)))
        if len(calls) == 2:
            writer.rotate()
        return len(calls) == 3

    assert texts(list(logs.follow(reader, has_ended))) == ["line 1", "line 2", "line 3"]
    reader.close()

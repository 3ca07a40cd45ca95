"""Events on disk: what a kill, a power cut, a full disk and a stranger leave of them."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pycontainer.supervisor import journal as module
from pycontainer.supervisor.journal import LAST_WORD, MAX_LINE_BYTES, Journal, from_line, sync, to_line


def line(seq: int, kind: str = "start", **details: Any) -> bytes:
    return to_line({"seq": seq, "time": 1764144000.25, "type": kind, **details})


def events(journal: Journal, after: int = 0, upto: int = 1 << 40) -> list[int]:
    pages = [journal.page(first, after, upto, lambda line: True) for first in journal.firsts()]
    return [event["seq"] for page in pages for event in page or ()]


def filled(directory: Path, count: int, *, last: str = "start") -> Journal:
    journal = Journal(str(directory))
    first, _ = journal.open()
    for seq in range(first, first + count - 1):
        journal.append(seq, line(seq))
    journal.append(first + count - 1, line(first + count - 1, last))
    journal.close()
    return journal


@contextmanager
def no_file_beyond(size_bytes: int) -> Iterator[None]:
    """Have the kernel refuse what makes a file longer, in the middle of a write as a full disk would. setrlimit(2)"""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_first_event_has_number_1(tmp_path: Path) -> None:
    assert Journal(f"{tmp_path}/none").open() == (1, "")


def test_numbers_go_on_after_an_end_in_peace(tmp_path: Path) -> None:
    filled(tmp_path, 5, last=LAST_WORD)
    assert Journal(str(tmp_path)).open() == (6, "")


def test_numbers_jump_after_a_kill(tmp_path: Path) -> None:
    """FLT-01: what was told and not written keeps its number for itself."""
    filled(tmp_path, 5)
    first, notice = Journal(str(tmp_path)).open()
    assert first > 1_000_000 and notice == ""
    again = Journal(str(tmp_path))
    again.open()
    again.append(first, line(first))
    assert Journal(str(tmp_path)).open()[0] > first + 1_000_000
    assert events(again) == [1, 2, 3, 4, 5, first]


@pytest.mark.parametrize(
    "damage", [b'{"seq":6,"time":17', b"\0" * 3000, b'{"seq":6,"time":1,"type":"st\n\0\0\n', b"\xff\n"]
)
def test_a_damaged_tail_is_cut_off(tmp_path: Path, damage: bytes) -> None:
    """FLT-09: what a power cut leaves."""
    filled(tmp_path, 5, last=LAST_WORD)
    path = tmp_path / f"{1:016d}.jsonl"
    size = path.stat().st_size
    path.write_bytes(path.read_bytes() + damage)
    os.chmod(path, 0o600)
    journal = Journal(str(tmp_path))
    first, notice = journal.open()
    assert first > 1_000_000
    assert notice == f"'{path}': {len(damage)} bytes behind the last whole event were damaged, and cut off"
    journal.append(first, line(first))
    assert path.stat().st_size == size + len(line(first))
    assert events(journal) == [1, 2, 3, 4, 5, first]


def test_order_is_that_of_the_numbers(tmp_path: Path) -> None:
    """FLT-09: what somebody has put in twice, or moved, is passed over."""
    journal = filled(tmp_path, 3)
    for seq in (3, 2, 4):
        journal.append(seq, line(seq))
    assert events(journal) == [1, 2, 3, 4]


def test_a_damaged_number_does_not_use_up_the_numbers(tmp_path: Path) -> None:
    """FLT-09"""
    filled(tmp_path, 5)
    journal = Journal(str(tmp_path))
    journal.open()
    journal.append(999_999_999_999_999, line(999_999_999_999_999))
    assert Journal(str(tmp_path)).open()[0] < 10_000_000


@pytest.mark.parametrize("damaged", [999_999_999_999_999, 5_000_000])
def test_a_damaged_number_in_the_midst_hides_nothing_that_comes_later(tmp_path: Path, damaged: int) -> None:
    """FLT-09"""
    journal = Journal(str(tmp_path))
    journal.open()
    for seq in (1, damaged, 3):
        journal.append(seq, line(seq, LAST_WORD))
    first, _ = journal.open()
    assert first == (7_000_000 if damaged == 5_000_000 else 4)  # what nobody believes is not shown either
    journal.append(first, line(first))
    assert events(journal)[-1] == first
    journal.close()


def test_a_file_of_nothing_but_damage(tmp_path: Path) -> None:
    (tmp_path / f"{41:016d}.jsonl").write_bytes(b"\0" * 100)
    journal = Journal(str(tmp_path))
    first, notice = journal.open()
    assert first > 1_000_041 and "100 bytes" in notice
    journal.append(first, line(first))
    assert events(journal) == [first]


def test_a_file_that_others_could_have_written_is_left_alone(tmp_path: Path) -> None:
    """FLT-09"""
    filled(tmp_path, 5, last=LAST_WORD)
    path = tmp_path / f"{1:016d}.jsonl"
    os.chmod(path, 0o622)
    before = path.read_bytes()
    journal = Journal(str(tmp_path))
    first, notice = journal.open()
    assert first > 1_000_000 and "others could have written it" in notice
    journal.append(first, line(first))
    assert path.read_bytes() == before and journal.page(1, 0, 1 << 40, lambda line: True) is None
    assert journal.page(first, 0, 1 << 40, lambda line: True) is not None


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "canary").write_bytes(b"precious")
    (tmp_path / f"{1:016d}.jsonl").symlink_to("canary")
    journal = Journal(str(tmp_path))
    first, notice = journal.open()
    assert "cannot be read" in notice
    journal.append(first, line(first))
    assert (tmp_path / "canary").read_bytes() == b"precious"


def test_the_newest_files_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SEGMENT_BYTES", 1000)
    before = len(os.listdir("/proc/self/fd"))
    journal = Journal(str(tmp_path))
    for seq in range(1, 1001):
        journal.append(seq, line(seq))
        if seq % 50 == 0:
            sync(journal.unsynced())
    firsts = journal.firsts()
    assert len(firsts) == module.SEGMENTS == 16
    assert all((tmp_path / f"{first:016d}.jsonl").stat().st_size < 1000 + len(line(1000)) for first in firsts)
    assert events(journal) == [*range(firsts[0], 1001)]
    assert events(journal, after=995, upto=999) == [996, 997, 998, 999]
    journal.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_full_disk_leaves_no_half_line(tmp_path: Path) -> None:
    """FLT-05"""
    journal = filled(tmp_path, 3)
    size = (tmp_path / f"{1:016d}.jsonl").stat().st_size
    with no_file_beyond(size + 20):
        for _ in range(3):
            with pytest.raises(OSError):
                journal.append(4, line(4))
            assert (tmp_path / f"{1:016d}.jsonl").stat().st_size == size
    journal.append(4, line(4))
    assert events(journal) == [1, 2, 3, 4]
    assert (tmp_path / f"{1:016d}.jsonl").read_bytes() == b"".join(line(seq) for seq in range(1, 5))


def test_where_no_other_file_can_be_made_the_last_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FLT-05: without inodes; here its name is taken."""
    monkeypatch.setattr(module, "SEGMENT_BYTES", 200)
    journal = filled(tmp_path, 4)
    (tmp_path / f"{5:016d}.jsonl").mkdir()
    journal.append(5, line(5))
    assert journal.page(1, 0, 1 << 40, lambda line: True) is not None
    assert events(journal) == [1, 2, 3, 4, 5]
    journal.append(6, line(6))
    assert journal.firsts() == [1, 5, 6] and events(journal) == [1, 2, 3, 4, 5, 6]


def test_what_is_too_long_is_cut() -> None:
    for details in ({"detail": "x" * 200_000}, {"parts": ["y" * 100] * 2000}):
        cut = line(7, **details)
        assert len(cut) <= MAX_LINE_BYTES
        event = from_line(cut)
        assert event is not None and event["seq"] == 7 and event["type"] == "start"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{}",
        b'{"seq":1}',
        b'{"time":1,"seq":1,"type":"x"}',
        b'{"seq":1,"time":1,"type":"x"',
        b'{"seq":1,"time":1,"type":"x","seq":2}',
        b'{"seq":1,"time":1,"type":"x","type":2}',
        b'{"seq":1,"time":1,"type":"x","a":' + b"[" * 30000 + b"}",
        b'{"seq":99999999999999999,"time":1,"type":"x"}',
    ],
)
def test_what_is_no_event(text: bytes) -> None:
    """VAL-02, FLT-09"""
    assert from_line(text) is None


def test_any_text_comes_back() -> None:
    written = {"seq": 1, "time": 1.5, "type": "x", "detail": 'a\n\x1b\udcff\u2028"}', "n": None}
    assert from_line(to_line(written)) == written and to_line(written).count(b"\n") == 1

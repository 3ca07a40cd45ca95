"""What is remembered of a file holds for as long as it is the same file, with the same in it."""

import os
from pathlib import Path

import pytest

from pycontainer.store import memory
from pycontainer.store.memory import Memory


class Reader:
    """Reads a file, and counts how often."""

    def __init__(self, path: Path) -> None:
        self.path, self.count = path, 0
        self.memory = Memory[str]()

    def read(self) -> str:
        return self.memory.get(str(self.path), self._make)

    def _make(self) -> str:
        self.count += 1
        return self.path.read_text()


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    (tmp_path / "file").write_text("one")
    return Reader(tmp_path / "file")


def test_it_is_read_once(reader: Reader) -> None:
    assert [reader.read() for _ in range(3)] == ["one"] * 3
    assert reader.count == 1


def test_another_file_in_its_place_is_read(reader: Reader) -> None:
    reader.read()
    other = reader.path.with_name("other")
    other.write_text("two")
    os.utime(other, ns=(0, reader.path.stat().st_mtime_ns))
    other.rename(reader.path)
    assert reader.read() == "two"


def test_what_was_written_over_is_read_again(reader: Reader) -> None:
    reader.read()
    reader.path.write_text("longer")
    assert reader.read() == "longer"


def test_errors_are_not_remembered(reader: Reader) -> None:
    reader.read()
    reader.path.unlink()
    for _ in range(2):
        with pytest.raises(FileNotFoundError):
            reader.read()
    reader.path.write_text("back")
    assert reader.read() == "back"


def test_it_does_not_grow_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_MOST", 2)
    known = Memory[int]()
    for number in range(5):
        path = tmp_path / str(number)
        path.touch()
        assert known.get(str(path), lambda number=number: number) == number  # type: ignore[misc]
    assert len(known._known) <= 2

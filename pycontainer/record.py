"""A record on disk, read as what it may be: written by us, or damaged, or somebody else's.

Whoever could write one could say whose id range a container has, or which process is its first: so the file must be a
regular one of ours that nobody else may write to, strict JSON, and every field of its type. What is wrong is ValueError.
"""

from __future__ import annotations

import os
import stat

from pycontainer import jsontext
from pycontainer.linux.files import read_bounded, remove_tree
from pycontainer.units import MAX_INTEGER, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_BYTES = 4 * 1024 * 1024
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class Record:
    """The fields of a JSON object, typed on access; unknown ones are a newer version's business."""

    __slots__ = ("_fields",)

    def __init__(self, fields: object) -> None:
        if not isinstance(fields, dict):
            raise ValueError(f"{shown(fields)} is not an object")
        self._fields: dict[str, Any] = fields

    def __getitem__(self, key: str) -> Any:
        try:
            return self._fields[key]
        except KeyError:
            raise ValueError(f"field '{key}' is missing") from None

    def __contains__(self, key: str) -> bool:
        return key in self._fields

    def text(self, key: str) -> str:
        return _text(self[key], key)

    def texts(self, key: str) -> list[str]:
        value = self[key]
        if not isinstance(value, list):
            raise _wrong(key, value)
        return [_text(item, key) for item in value]

    def lists(self, key: str) -> list[list[str]]:
        """Return a list of lists of text."""
        value = self[key]
        if not isinstance(value, list) or not all(isinstance(inner, list) for inner in value):
            raise _wrong(key, value)
        return [[_text(item, key) for item in inner] for inner in value]

    def flag(self, key: str) -> bool:
        value = self[key]
        if not isinstance(value, bool):
            raise _wrong(key, value)
        return value

    def integer(self, key: str, least: int = 0, most: int = MAX_INTEGER) -> int:
        value = self[key]
        if type(value) is not int or not least <= value <= most:
            raise _wrong(key, value)
        return value

    def time(self, key: str) -> float:
        """Return seconds since the epoch, of a year with four digits."""
        value = self[key]
        if type(value) not in (int, float) or not 0 <= value < 253402300800:  # which no NaN is
            raise _wrong(key, value)
        return float(value)

    def integer_or_none(self, key: str) -> int | None:
        return None if self._fields.get(key) is None else self.integer(key)

    def records(self, key: str) -> dict[str, Record]:
        """Return an object of objects."""
        return {name: Record(value) for name, value in Record(self[key])._fields.items()}

    def each(self, key: str) -> list[Record]:
        """Return a list of objects."""
        value = self[key]
        if not isinstance(value, list):
            raise _wrong(key, value)
        return [Record(item) for item in value]

    def all_texts(self) -> dict[str, str]:
        """Return the whole object, whose values are text."""
        return {key: _text(value, key) for key, value in self._fields.items()}


def read_record(path: str, max_bytes: int = MAX_BYTES) -> Record:
    """Read a record. Raises FileNotFoundError, other OSErrors, and ValueError for what is none of ours."""
    return Record(jsontext.loads(read_own(path, max_bytes), max_bytes=max_bytes))


def read_unsynced(path: str) -> Record | None:
    """Read a record that was written without a wait for the disk: None if a loss of power has left nothing of it.

    Then the file is empty, or of zeros. What is otherwise damaged is a ValueError, as for all records.
    """
    data = read_own(path, MAX_BYTES)
    return Record(jsontext.loads(data, max_bytes=MAX_BYTES)) if data.strip(b"\0") else None


def read_own(path: str, max_bytes: int) -> bytes:
    """Read a file that only we could have written; ValueError for any other."""
    fd = os.open(path, _FLAGS)
    try:
        details = os.fstat(fd)
        if not stat.S_ISREG(details.st_mode):
            raise ValueError("it is not a regular file")
        if details.st_uid != os.geteuid() or stat.S_IMODE(details.st_mode) & 0o022:
            raise ValueError(
                f"it belongs to user {details.st_uid} with mode {stat.S_IMODE(details.st_mode):04o}: "
                "others could have written it"
            )
        return read_bounded(fd, max_bytes)
    finally:
        os.close(fd)


def check_version(record: Record, version: int) -> None:
    if (found := record.integer("version")) > version:
        raise ValueError(f"version {found} is of a newer pycontainer, this one knows {version}")
    if found != version:
        raise ValueError(f"version {found} is not {version}")


def remove_record(path: str) -> None:
    """Delete a record, or what is in its place; already gone is success."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    except IsADirectoryError:
        remove_tree(path)


def _text(value: object, key: str) -> str:
    if not isinstance(value, str):
        raise _wrong(key, value)
    return value


def _wrong(key: str, value: object) -> ValueError:
    return ValueError(f"field '{key}' holds {shown(value)}")

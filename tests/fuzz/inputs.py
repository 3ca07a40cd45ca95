"""What targets share: bytes as the text that a parser gets, and files for parsers that open some."""

import atexit
import functools
import json
import os
import tempfile
from collections.abc import Callable, Iterable

from pycontainer.errors import InvalidInput, PycontainerError


def text_of(data: bytes) -> str:
    """Return bytes as an argument or a file name reaches Python: what is not UTF-8 as lone surrogates."""
    return data.decode("utf-8", "surrogateescape")


def value_of(data: bytes) -> object:
    """Return the JSON value in `data`, such as a caller of the Python API might hand in; its text if it is none."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return text_of(data)


def parsed(parse: Callable[[object], object], value: object) -> object | None:
    """Return what a parser makes of a value, None if it refuses it as it should: one clear line, no bytes that harm."""
    try:
        return parse(value)
    except InvalidInput as error:
        check_message(error)
        return None


def check_message(error: PycontainerError) -> None:
    """A refusal goes to a terminal and to logs: it holds no control characters, and is short."""
    for line in (*error.message.split("\n"), *error.hint.split("\n")):
        assert all(ord(character) >= 32 and ord(character) != 127 for character in line), error.message
        line.encode()
    assert error.message and len(error.message) < 100_000


def is_strict(text: str) -> bool:
    """Tell whether text could be a number, a name or an id: ASCII, printable, nothing around it, no underscore tricks."""
    return text.isascii() and text.isprintable() and text.strip() == text


@functools.cache
def directory() -> str:
    """Return a directory for the files of this process, in memory where the host has such a place."""
    made = tempfile.TemporaryDirectory(prefix="pct-fuzz-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
    atexit.register(made.cleanup)
    return made.name


def write(name: str, data: bytes) -> str:
    """Write a file into `directory`; return its path."""
    path = f"{directory()}/{name}"
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)
    return path


def encoded(values: Iterable[object]) -> tuple[bytes, ...]:
    """Return values as seeds, in JSON."""
    return tuple(json.dumps(value).encode() for value in values)

"""Strict reading of JSON that an engine wrote: one object at a time, and every refusal names the field's path.

`where` is the file, then the path in it: `config.json: linux.namespaces[2]`. Paths become text only when something is wrong.
Unknown fields stay unread, as the runtime specification wants it (config.md, Extensibility). null is never a value: it is
neither "missing" nor "empty", and the specification has no field that may hold it.
"""

from pycontainer.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import NoReturn

INT32_MAX, UINT32_MAX = 2**31 - 1, 2**32 - 1
INT64_MIN, INT64_MAX, UINT64_MAX = -(2**63), 2**63 - 1, 2**64 - 1
_SHOWN = 80  # characters of a value in a message


def wrong(where: str, why: str, hint: str = "") -> "NoReturn":
    """Refuse what stands at `where`."""
    raise InvalidInput(f"{where}: {why}", hint=hint)


def shown(value: object) -> str:
    """Return a JSON value as a message quotes it: escaped, shortened when long."""
    if value is None:
        return "null"
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    if (
        isinstance(value, int) and value.bit_length() > 256
    ):  # text of a huge integer is slow, or refused by the interpreter
        return "a huge number"
    text = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 4]}...{text[-1]}"


def checked_text(value: object, where: str) -> str:
    """Return a string that can go to the kernel: Unicode without NUL and without halves of surrogate pairs."""
    if not isinstance(value, str):
        wrong(where, f"{shown(value)} is not a string")
    if "\0" in value:
        wrong(where, f"{shown(value)} contains a NUL byte")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            wrong(where, f"{shown(value)} is not Unicode text")
    return value


def checked_integer(value: object, where: str, least: int, most: int) -> int:
    """Return a whole number between the limits; true and 1.0 are none."""
    if type(value) is not int:
        wrong(where, f"{shown(value)} is not a whole number")
    if not least <= value <= most:
        wrong(where, f"{shown(value)} is out of range: {least} to {most}")
    return value


class Fields:
    """One JSON object and where it stands."""

    __slots__ = ("data", "where")

    def __init__(self, data: object, where: str) -> None:
        if not isinstance(data, dict):
            wrong(where, f"{shown(data)} is not an object")
        self.data: dict[str, object] = data
        self.where = where

    def at(self, key: str) -> str:
        """Return the path of a field, whether it is there or not."""
        return f"{self.where}{'.' if ': ' in self.where else ': '}{key}"

    def has(self, key: str) -> bool:
        return key in self.data

    def required(self, key: str) -> object:
        if key not in self.data:
            wrong(self.at(key), "missing")
        return self.data[key]

    def text(self, key: str) -> str:
        """Return a string that must be there; it may be empty."""
        return checked_text(self.required(key), self.at(key))

    def text_or(self, key: str, default: str = "") -> str:
        return checked_text(self.data[key], self.at(key)) if key in self.data else default

    def absolute_path(self, key: str) -> str:
        """Return a path that must be there and begin with a slash."""
        path = self.text(key)
        if not path.startswith("/"):
            wrong(self.at(key), f"{shown(path)} is not an absolute path")
        return path

    def boolean(self, key: str) -> bool:
        """Return a truth value, false when missing."""
        value = self.data.get(key, False)
        if value is not True and value is not False:
            wrong(self.at(key), f"{shown(value)} is not true or false")
        return value

    def integer(self, key: str, least: int, most: int) -> int:
        """Return a number that must be there."""
        return checked_integer(self.required(key), self.at(key), least, most)

    def integer_or(self, key: str, default: int, least: int, most: int) -> int:
        return checked_integer(self.data[key], self.at(key), least, most) if key in self.data else default

    def integer_or_none(self, key: str, least: int, most: int) -> int | None:
        return checked_integer(self.data[key], self.at(key), least, most) if key in self.data else None

    def choice(self, key: str, choices: "Mapping[str, int]") -> int:
        """Return what a name that must be there stands for."""
        return self.choose(self.text(key), key, choices)

    def choose(self, name: str, key: str, choices: "Mapping[str, int]") -> int:
        if name not in choices:
            wrong(self.at(key), f"{shown(name)} is not one of {', '.join(choices)}")
        return choices[name]

    def items(self, key: str) -> list[object]:
        """Return a list, empty when missing."""
        value = self.data.get(key, _NOTHING)
        if not isinstance(value, list):
            wrong(self.at(key), f"{shown(value)} is not a list")
        return value

    def texts(self, key: str) -> list[str]:
        """Return a list of strings, empty when missing."""
        found = self.items(key)
        for index, value in enumerate(found):
            if not (isinstance(value, str) and value.isascii() and "\0" not in value):
                checked_text(value, f"{self.at(key)}[{index}]")
        return [*found]  # type: ignore[list-item]  # each was looked at

    def objects(self, key: str) -> "Iterator[Fields]":
        """Yield the objects of a list; none when it is missing."""
        at = self.at(key)
        for index, value in enumerate(self.items(key)):
            yield Fields(value, f"{at}[{index}]")

    def inner(self, key: str) -> "Fields | None":
        """Return the object of a field, None when missing."""
        return Fields(self.data[key], self.at(key)) if key in self.data else None

    def members(self, key: str) -> "Iterator[tuple[str, object, str]]":
        """Yield name, value and path of each member of an object that is a map; none when it is missing."""
        found = self.inner(key)
        if found is not None:
            for name, value in found.data.items():
                where = f"{found.where}[{shown(name)}]"
                checked_text(name, where)
                yield name, value, where

    def text_map(self, key: str) -> dict[str, str]:
        """Return an object of strings, empty when missing."""
        found = {}
        for name, value, where in self.members(key):
            if not name:
                wrong(where, "the key is empty")
            found[name] = checked_text(value, where)
        return found


_NOTHING: list[object] = []


def environment(fields: Fields, key: str) -> list[str]:
    """Return variables as NAME=VALUE; of a name given twice the last one wins, as setenv(3) in a loop does."""
    found = {}
    for index, entry in enumerate(fields.texts(key)):
        name, separator, _ = entry.partition("=")
        if not separator or not name:
            why = "has no name before the '='" if separator else "has no '='"
            wrong(f"{fields.at(key)}[{index}]", f"{shown(entry)} {why}")
        found[name] = entry
    return list(found.values())


def check_cpu_list(text: str, where: str) -> str:
    """Return a list of CPUs or memory nodes such as `0-3,7` without blanks, cpuset(7); empty for all."""
    parts = [part.strip(" ") for part in text.split(",")] if text else []
    for part in parts:
        first, dash, last = part.partition("-")
        numbers = (first, last) if dash else (first,)
        if not all(number.isascii() and number.isdigit() and len(number) <= 5 for number in numbers):
            wrong(where, f"{shown(text)} is not a list of numbers and ranges, such as 0-3,7")
        if dash and int(last) < int(first):
            wrong(where, f"{shown(text)}: range {shown(part)} runs backwards")
    return ",".join(parts)


def check_interface(name: str, where: str) -> str:
    """Return the name of a network interface as the kernel takes it: dev_valid_name() of net/core/dev.c."""
    if not 0 < len(name.encode()) < 16 or name in (".", "..") or any(one in "/:" or one.isspace() for one in name):
        wrong(where, f"{shown(name)} is not the name of a network interface: 1 to 15 bytes without '/', ':' and blanks")
    return name

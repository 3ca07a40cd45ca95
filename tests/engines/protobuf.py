"""Messages of protobuf on the wire, as much of it as the CRI has: numbers, texts, messages, lists and maps of them.

https://protobuf.dev/programming-guides/encoding
"""

from collections.abc import Mapping
from typing import Any

Fields = dict[str, tuple[int, str]]
"""Name of a field → its number and type: int, bool, string, bytes, map (of string to string) or a message's name; `[TYPE]` is
a list."""
Messages = Mapping[str, Fields]

_ENTRY = "entry of a map"
_ENTRY_FIELDS: Fields = {"key": (1, "string"), "value": (2, "string")}


def _fields(messages: Messages, message: str) -> Fields:
    return _ENTRY_FIELDS if message == _ENTRY else messages[message]


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1  # a negative number is its two's complement of 64 bits
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def encode(messages: Messages, message: str, value: Mapping[str, Any]) -> bytes:
    """Return a message on the wire; KeyError for a field that `messages` does not have."""
    out = b""
    for name, item in value.items():
        number, kind = _fields(messages, message)[name]
        items = [item]
        if kind == "map":
            kind, items = _ENTRY, [{"key": key, "value": text} for key, text in item.items()]
        elif kind.startswith("["):
            kind, items = kind[1:-1], list(item)
        for one in items:
            if kind in ("int", "bool"):
                out += _varint(number << 3) + _varint(int(one))
                continue
            data = one if kind == "bytes" else one.encode() if kind == "string" else encode(messages, kind, one)
            out += _varint(number << 3 | 2) + _varint(len(data)) + data
    return out


def _zero(kind: str) -> Any:
    if kind.startswith("["):
        return []
    zeros = {"int": 0, "bool": False, "string": "", "bytes": b"", "map": {}}
    return zeros.get(kind, {})


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def decode(messages: Messages, message: str, data: bytes) -> dict[str, Any]:
    """Return a message from the wire; fields that `messages` does not have are left out.

    What is absent has its type's zero; of a message that is an empty dict.
    """
    names = {number: (name, kind) for name, (number, kind) in _fields(messages, message).items()}
    value = {name: _zero(kind) for name, kind in names.values()}
    at = 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        raw: int | bytes
        if tag & 7 == 0:
            raw, at = _read_varint(data, at)
        else:
            length = {1: 8, 5: 4}.get(tag & 7, -1)
            if length < 0:
                assert tag & 7 == 2, f"{message}: wire type {tag & 7}"
                length, at = _read_varint(data, at)
            raw, at = data[at : at + length], at + length
        name, kind = names.get(tag >> 3, ("", ""))
        if not name:
            continue
        single = kind[1:-1] if kind.startswith("[") else _ENTRY if kind == "map" else kind
        item: Any
        if isinstance(raw, bytes) and kind == "[int]":  # packed
            inner = 0
            while inner < len(raw):
                item, inner = _read_varint(raw, inner)
                value[name].append(item)
            continue
        if isinstance(raw, int):
            item = bool(raw) if single == "bool" else raw - (1 << 64) if raw >> 63 else raw
        else:
            item = raw if single == "bytes" else raw.decode() if single == "string" else decode(messages, single, raw)
        if kind == "map":
            value[name][item["key"]] = item["value"]
        elif kind.startswith("["):
            value[name].append(item)
        else:
            value[name] = item
    return value

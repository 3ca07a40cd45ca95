"""Protobuf on the wire: the examples of its specification, and what is read back."""

import pytest

from tests.engines.protobuf import Messages, decode, encode

MESSAGES: Messages = {
    "Test1": {"a": (1, "int")},
    "Test2": {"b": (2, "string")},
    "Test3": {"c": (3, "Test1")},
    "Test4": {
        "d": (4, "string"),
        "e": (5, "[int]"),
        "f": (6, "map"),
        "g": (7, "bytes"),
        "h": (8, "[Test1]"),
        "i": (9, "bool"),
    },
    "Other": {"z": (15, "int"), "d": (4, "string")},
}


@pytest.mark.parametrize(
    ("message", "value", "wire"),
    [
        ("Test1", {"a": 150}, "089601"),
        ("Test2", {"b": "testing"}, "120774657374696e67"),
        ("Test3", {"c": {"a": 150}}, "1a03089601"),
        ("Test1", {"a": -2}, "08feffffffffffffffff01"),
    ],
)
def test_examples_of_the_specification(message: str, value: dict[str, object], wire: str) -> None:
    assert encode(MESSAGES, message, value).hex() == wire
    assert decode(MESSAGES, message, bytes.fromhex(wire)) == value


def test_everything_is_read_back() -> None:
    value = {"d": "é", "e": [1, 300], "f": {"x": "1", "y": ""}, "g": b"\xff", "h": [{"a": 1}, {"a": 2}], "i": True}
    assert decode(MESSAGES, "Test4", encode(MESSAGES, "Test4", value)) == value


def test_what_is_absent_is_zero() -> None:
    assert decode(MESSAGES, "Test4", b"") == {"d": "", "e": [], "f": {}, "g": b"", "h": [], "i": False}
    assert decode(MESSAGES, "Test3", b"") == {"c": {}}


def test_unknown_fields_are_passed_over() -> None:
    value = {"d": "kept", "e": [1], "f": {"x": "1"}, "i": True}
    fixed = bytes([10 << 3 | 1]) + bytes(8) + bytes([11 << 3 | 5]) + bytes(4)
    assert decode(MESSAGES, "Other", fixed + encode(MESSAGES, "Test4", value)) == {"z": 0, "d": "kept"}


def test_lists_of_numbers_may_be_packed() -> None:
    assert decode(MESSAGES, "Test4", bytes.fromhex("2a0301ac02"))["e"] == [1, 300]


def test_unknown_field_is_refused() -> None:
    with pytest.raises(KeyError, match="nothing"):
        encode(MESSAGES, "Test1", {"nothing": 1})

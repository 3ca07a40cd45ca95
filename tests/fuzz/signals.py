"""Signals by name or number (spec/signals.py)."""

from pycontainer.spec.signals import parse_signal, signal_number
from tests.fuzz.inputs import is_strict, parsed, value_of

SEEDS = (b"TERM", b"sigkill", b"15", b"RTMIN+3", b"SIGRTMAX-1", b"POLL", b"32", b"0", b"-9", b"true")
MAX_BYTES = 80


def try_one(data: bytes) -> None:
    value = value_of(data)
    name = parsed(parse_signal, value)
    if isinstance(name, str):
        number = signal_number(value)
        assert is_strict(str(value)) and 1 <= number <= 64 and number not in (32, 33)
        assert signal_number(name) == number and parse_signal(name) == name and parse_signal(number) == name

"""Signals by name and number."""

import signal

import pytest

from pycontainer.errors import InvalidInput
from pycontainer.spec.signals import NUMBERS, RTMAX, RTMIN, parse_signal, signal_number


def test_the_numbers_are_the_hosts() -> None:
    assert {name: int(getattr(signal, name)) for name in NUMBERS if hasattr(signal, name)} == {
        name: number for name, number in NUMBERS.items() if hasattr(signal, name)
    }
    assert (RTMIN, RTMAX) == (signal.SIGRTMIN, signal.SIGRTMAX)


@pytest.mark.parametrize(
    ("value", "name", "number"),
    [
        ("TERM", "SIGTERM", 15),
        ("SIGTERM", "SIGTERM", 15),
        ("sigterm", "SIGTERM", 15),
        ("15", "SIGTERM", 15),
        (15, "SIGTERM", 15),
        ("KILL", "SIGKILL", 9),
        ("POLL", "SIGIO", 29),
        ("RTMIN+3", "SIGRTMIN+3", 37),
        (37, "SIGRTMIN+3", 37),
        ("SIGRTMIN", "SIGRTMIN", 34),
        ("RTMAX", "SIGRTMIN+30", 64),
        ("SIGRTMAX-1", "SIGRTMIN+29", 63),
    ],
)
def test_signals(value: object, name: str, number: int) -> None:
    assert (parse_signal(value), signal_number(value)) == (name, number)
    assert signal_number(name) == number


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", "'' is not a signal"),
        (0, "0 is not a signal"),
        (32, "32 is not a signal"),  # the C library's own
        ("65", "'65' is not a signal"),
        (-9, "-9 is not a signal"),
        (10**90, f"1{'0' * 75}...0 is not a signal"),
        (True, "True is not a signal"),
        (None, "None is not a signal"),
        ("TREM", "'TREM' is not a signal, did you mean 'SIGTERM'?"),
        ("RTMIN+31", "'RTMIN+31' is not a signal"),
        ("CHDL", "'CHDL' is not a signal, did you mean 'SIGCHLD'?"),
        ("RTMIN+0", "'RTMIN+0' is not a signal"),
        ("TERM ", "'TERM ' is not a signal, did you mean 'SIGTERM'?"),
        ("\u0661", "'\u0661' is not a signal"),
        ("\u017figterm", "'\u017figterm' is not a signal"),  # a long s, which upper() turns into S
    ],
)
def test_what_is_no_signal(value: object, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_signal(value)
    assert (caught.value.message, caught.value.hint) == (message, "write a name such as TERM, or a number from 1 to 64")

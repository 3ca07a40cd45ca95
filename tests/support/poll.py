"""Waiting in tests: never by sleeping a guessed time, always for something that can be seen."""

import os
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

SLOWNESS = float(os.environ.get("PYCONTAINER_TEST_SLOWNESS", "1"))
"""How much slower than an ordinary machine this one is; an emulated one sets 10 or more. Multiplies every timeout."""


def poll_until(
    check: Callable[[], T], *, timeout_seconds: float = 10, what: str = "", interval_seconds: float = 0.02
) -> T:
    """Call `check` until it returns something true and return that; AssertionError when the time is over."""
    deadline = time.monotonic() + timeout_seconds * SLOWNESS
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() >= deadline:
            name = what or getattr(check, "__name__", "check")
            raise AssertionError(f"not within {timeout_seconds * SLOWNESS:g} s: {name} (last value {value!r})")
        time.sleep(interval_seconds)

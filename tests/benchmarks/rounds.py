"""Rounds in turns: what else the machine does meets all alike."""

from collections.abc import Callable, Mapping
from typing import TypeVar

T = TypeVar("T")


def interleave(works: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """Call each once for what is made once, then all in turns; return what they returned, by name.

    Every second round is backwards, so that what one leaves for the next to pay meets both neighbours.
    """
    for work in works.values():
        work()
    taken: dict[str, list[T]] = {name: [] for name in works}
    for number in range(rounds):
        for name in reversed(list(works)) if number % 2 else works:
            taken[name].append(works[name]())
    return taken

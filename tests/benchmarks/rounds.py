"""Rounds in turns: what else the machine does meets all alike."""

import random
from collections.abc import Callable, Mapping
from typing import TypeVar

T = TypeVar("T")


def interleave(works: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """Call each once for what is made once, then all in turns; return what they returned, by name.

    Each round has an order of its own, the same in each run: what one leaves for the next to pay meets all alike.
    """
    for work in works.values():
        work()
    taken: dict[str, list[T]] = {name: [] for name in works}
    for number in range(rounds):
        for name in random.Random(number).sample(list(works), len(works)):
            taken[name].append(works[name]())
    return taken

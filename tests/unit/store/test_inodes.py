"""What a restore remembers of its files stays small, and is right."""

import random
import tracemalloc

from pycontainer.store.inodes import _RUN_LENGTH, InodeSet


def test_holds_what_was_added() -> None:
    """Across several runs, for two devices, with the smallest and the largest numbers."""
    some = random.Random(1)
    numbers = [0, 2**64 - 1, *(some.randrange(2**64) for _ in range(3 * _RUN_LENGTH))]
    known = set(numbers)
    found = InodeSet()
    for number in numbers:
        found.add(7, number)
    found.add(8, 5)
    assert all((7, number) in found for number in numbers[:2000] + numbers[-2000:])
    assert (8, 5) in found and (8, numbers[0]) not in found and (9, 5) not in found
    absent = [number + 1 for number in numbers[2:2000] if number + 1 not in known]
    assert absent and not any((7, number) in found for number in absent)


def test_two_million_take_little() -> None:
    """As a set of pairs they took 350 MB; a gigabyte is all that an unpacker has, and a restore may make twenty million."""
    found = InodeSet()
    tracemalloc.start()
    try:
        for number in range(2 << 20):
            found.add(1, (number << 20) + 7)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 24 * (2 << 20)

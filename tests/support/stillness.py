"""Whether anything of a world is still at work: better than a guessed time for what must not happen any more."""

import os
import time
from collections.abc import Callable
from contextlib import suppress

from tests.support.poll import SLOWNESS
from tests.support.world import World

_QUIET_SECONDS = 0.1
_MOST_SECONDS = 10.0  # on a machine that has other things to do, too


def until_still(world: World, is_enough: Callable[[], bool]) -> None:
    """Return when `is_enough`, or when nothing of the world has run for a tenth of a second; after ten at the latest."""
    over = time.monotonic() + _MOST_SECONDS * SLOWNESS
    before, since = _switches(world), time.monotonic()
    while not is_enough() and time.monotonic() < over:
        time.sleep(0.005)
        if time.monotonic() - since >= _QUIET_SECONDS * SLOWNESS:
            now = _switches(world)
            if before is not None and now == before:
                return
            before, since = now, time.monotonic()


def _switches(world: World) -> dict[str, bytes] | None:
    """Return how often each thread of the world has been put on a processor; None while one is there, or waits for a disk."""
    switches = {}
    for pid in _with_descendants(world.processes()):
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended: then the numbers differ
            for task in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{task}/status", "rb") as file:
                    fields = dict(line.split(b":\t", 1) for line in file.read().splitlines() if b":\t" in line)
                if fields[b"State"][:1] != b"S":
                    return None
                switches[task] = fields[b"voluntary_ctxt_switches"] + fields[b"nonvoluntary_ctxt_switches"]
    return switches


def _with_descendants(pids: list[int]) -> set[int]:
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with suppress(FileNotFoundError, ProcessLookupError), open(f"/proc/{entry}/stat", "rb") as file:
                parent = int(file.read().rpartition(b")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry))
    found, queue = set(pids), list(pids)
    while queue:
        queue += (more := [pid for pid in children.get(queue.pop(), []) if pid not in found])
        found.update(more)
    return found

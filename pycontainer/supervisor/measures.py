"""What the supervisor counts of itself, and how full the disks of containers are: for the metrics endpoint alone.

The disk of a container is looked at by mounting an image or asking for a quota, 0.05 to 0.5 ms, and nobody else may wait for
a thousand of these. So each request has a little time for it, and begins with those that were not looked at for longest.
"""

import os
import resource
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from pycontainer.disk.storage import Usage
from pycontainer.runtime.container import now

_LOOK_SECONDS = 0.005


class Served(NamedTuple):
    """The requests of one verb: answers that were results, and errors, and the time that all took."""

    results: int = 0
    errors: int = 0
    seconds: float = 0.0


class Measures:
    """Counts since this process began."""

    def __init__(self) -> None:
        self.started = now()
        self.served: dict[str, Served] = {}
        self.count_connections: Callable[[], int] = lambda: 0  # the server's, while there is one
        self._disks: dict[str, Usage | None] = {}  # longest not looked at first

    def count(self, verb: str, seconds: float, *, failed: bool) -> None:
        """Count an answered request; `verb` is one that there is."""
        before = self.served.get(verb, Served())
        self.served[verb] = Served(before.results + (not failed), before.errors + failed, before.seconds + seconds)

    def disks(self, looks: Mapping[str, Callable[[], Usage | None]]) -> dict[str, Usage]:
        """Return how full each is, as far as that is known; `looks` has all there are, and how to look at each.

        Those that were looked at just now, first those that nobody knew; the others as they were then.
        """
        for gone in self._disks.keys() - looks.keys():
            del self._disks[gone]
        new = [key for key in looks if key not in self._disks]
        end = time.perf_counter() + _LOOK_SECONDS
        for key in [*new, *self._disks]:
            self._disks.pop(key, None)
            try:
                self._disks[key] = looks[key]()
            except OSError:  # it is just being made, or removed
                self._disks[key] = None
            if time.perf_counter() > end:
                break
        return {key: usage for key, usage in self._disks.items() if usage is not None}


def of_process() -> dict[str, object]:
    """Return what this process has of the host."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    with open("/proc/self/statm", encoding="ascii") as file:
        resident_pages = int(file.read().split()[1])
    return {
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 6),
        "resident_bytes": resident_pages * os.sysconf("SC_PAGE_SIZE"),
        "open_fds": len(os.listdir("/proc/self/fd")) - 1,  # and the one that lists them
    }

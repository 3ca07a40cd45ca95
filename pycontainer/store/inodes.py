"""A set of inodes of some nine bytes each: a restore may make twenty million files, in a process of bounded memory."""

import bisect
from array import array

_RUN_LENGTH = 1 << 18


class InodeSet:
    """Grows only. A set of pairs of Python's takes some 180 bytes each; to look into this takes a microsecond a run."""

    def __init__(self) -> None:
        self._recent: dict[int, set[int]] = {}  # of each device
        self._runs: dict[int, list[array[int]]] = {}  # sorted

    def add(self, device: int, inode: int) -> None:
        recent = self._recent.setdefault(device, set())
        recent.add(inode)
        if len(recent) >= _RUN_LENGTH:
            self._runs.setdefault(device, []).append(array("Q", sorted(recent)))
            recent.clear()

    def __contains__(self, key: tuple[int, int]) -> bool:
        device, inode = key
        if inode in self._recent.get(device, ()):
            return True
        for run in self._runs.get(device, ()):
            place = bisect.bisect_left(run, inode)
            if place < len(run) and run[place] == inode:
                return True
        return False

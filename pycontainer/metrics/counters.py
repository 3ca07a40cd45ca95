"""Counters that never go down while a container runs, whatever the kernel's do.

Those of a cgroup only grow, but for what a look at several CPUs at once may lag behind. Those of a link or a block device
begin anew with it: a container that is connected to a network again has a new `eth1`. A falling number is of the one kind or
of the other, so who asks says which.
"""

from collections.abc import Iterable


class Counters:
    """The counters of one run of one container, or of a tenant while the kernel holds it."""

    __slots__ = ("_incarnations", "_past", "_seen", "run")

    def __init__(self, run: object) -> None:
        """`run` tells this run from the next one."""
        self.run = run
        self._seen: dict[str, float] = {}
        self._past: dict[str, float] = {}
        self._incarnations: dict[str, int] = {}

    def held(self, name: str, value: float) -> float:
        """Return `value`, or the last one if that was more."""
        if value < (last := self._seen.get(name, 0)):
            return last
        self._seen[name] = value
        return value

    def resumed(self, name: str, value: float, incarnation: int = 0) -> float:
        """Return the sum over all that have been counted under this name.

        A value less than the one before is of a new thing, and so is one of another `incarnation`, where that is known.
        """
        last = self._seen.get(name, 0)
        if value < last or incarnation != self._incarnations.get(name, incarnation):
            self._past[name] = self._past.get(name, 0) + last
        if incarnation:
            self._incarnations[name] = incarnation
        self._seen[name] = value
        return self._past.get(name, 0) + value


class AllCounters:
    """Those of everything that is there; what goes is forgotten."""

    def __init__(self) -> None:
        self._of: dict[str, Counters] = {}

    def of(self, key: str, run: object) -> Counters:
        """Return the counters of what `key` names, new ones if it is another run than before."""
        counters = self._of.get(key)
        if counters is None or counters.run != run:
            counters = self._of[key] = Counters(run)
        return counters

    def keep(self, keys: Iterable[str]) -> None:
        """Forget all but these."""
        self._of = {key: self._of[key] for key in keys if key in self._of}

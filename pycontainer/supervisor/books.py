"""What was used, added up: samples of counters in, sums of the month out. Decides nothing, knows no event loop.

    sample ──▶ what is new since the last one of the same run ──▶ sums of this month ──▶ store/ledgerfile.py
    bytes on disk ──▶ times how long they have been held ─────────┘

The kernel's counters begin at 0 with each run (its cgroup and its links are new), so only differences within one run are
added, and a counter that is smaller than before counts from 0. Time is the boot's own clock, which nobody sets; the wall
clock (UTC) only says which month it is. What could not be written is kept and written later; a file that is damaged is
set aside, and what is known of this month goes into a new one.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from pycontainer.net.linkcounts import AtLeast, LinkBytes
from pycontainer.store.ledgerfile import (
    Changes,
    Clock,
    Counted,
    Damaged,
    Held,
    Key,
    LedgerFile,
    Owner,
    Sums,
    Used,
)

_HOUR = 3600.0


class Counters(NamedTuple):
    """What the kernel says of one run: counters from its beginning on, but `memory_bytes`, which it holds now.

    `peak_bytes` is the most it ever held, or what it holds now where the kernel does not say. `links` is None where they
    could not be read; those that are gone are not in it. What was received may be AtLeast so much.
    """

    cpu_usec: int
    memory_bytes: int
    peak_bytes: int
    io_read_bytes: int
    io_write_bytes: int
    links: LinkBytes | None


class Sample(NamedTuple):
    """One look at one run. `began` and `clock` are seconds of the boot's clock; the last one is taken when all has ended."""

    container: str
    owner: Owner
    run: str
    began: float
    clock: float
    counters: Counters
    is_last: bool = False


class News(NamedTuple):
    """What the event loop hears after each piece of work."""

    month: str
    is_complete: bool  # what is on disk of this month is known
    transferred: Mapping[str, int]  # tenant -> bytes of this month, both ways
    notices: list[str]  # what went wrong, in sentences; each once
    set_aside: list[str]  # what was damaged, and where it is now


class Books:
    """The sums of one world. `path` is the ledger's; everything runs in the thread that called `open`."""

    def __init__(
        self,
        path: str,
        boot: str,
        clock: Callable[[], float],
        *,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._file = LedgerFile(path)
        self._boot, self._clock, self._wall = boot, clock, wall
        self._known: set[str] = set()
        self._is_loaded = self._has_month = False
        self._blind_until = 0.0  # what ran before that, and we know nothing of, begins to count with its first sample
        self._month = ""
        self._counted: dict[str, Counted] = {}
        self._held: dict[str, Held] = {}
        self._held_until: float | None = None
        self._sums: dict[Key, Used] = {}  # of this month: what is on disk, and what is not yet
        self._transferred: dict[str, int] = {}
        self._unwritten: dict[Key, Used] = {}
        self._changed: set[str] = set()  # containers whose counters, or bytes on disk, changed since they were written
        self._is_unwritten = self._is_unsynced = False
        self._problem = ""
        self._notices: list[str] = []
        self._set_aside: list[str] = []

    # -- beginning and end ---------------------------------------------------------------------------------------------

    def open(self, known: Iterable[str]) -> News:
        """Go on where the ledger ends; `known` are the containers and pools there are. What of it concerns others goes."""
        self._known = set(known)
        self._turn()
        self._write(sync=True)
        return self._news()

    def close(self) -> None:
        self._pass_time()
        self._write(sync=True)
        self._file.close()

    # -- what happens --------------------------------------------------------------------------------------------------

    def add(self, samples: Iterable[Sample], *, passes_time: bool = False, sync: bool = False) -> News:
        """Add up what is new, and write it. With `passes_time`, also what the disk has been used since the last time.

        It outlives us, and with `sync` a power cut.
        """
        self._turn()
        for sample in samples:
            self._add(sample)
        if passes_time:
            self._pass_time()
        self._write(sync=sync)
        return self._news()

    def hold(self, container: str, owner: Owner, size_bytes: int) -> None:
        """From now on it holds so many bytes of the disk."""
        if self._held.get(container) != (held := Held(owner, size_bytes)):
            self._pass_time()
            self._known.add(container)
            self._held[container] = held
            self._changed.add(container)

    def forget(self, container: str) -> None:
        """It is removed: nothing more is counted."""
        self._pass_time()
        self._drop(container)

    def counted_at(self, container: str, run: str) -> float:
        """Return when the counters of a run were last added up."""
        counted = self._counted.get(container)
        return 0.0 if counted is None or counted.run != run else counted.clock

    def used(self, month: str) -> dict[Key, Used]:
        """Return the sums of a month. Raises Damaged or OSError if that can only be read from the disk, and cannot."""
        self._turn()
        if month == self._month:
            return dict(self._sums)
        self._load()
        found = self._file.used(month)
        for key, used in self._unwritten.items():
            if key.month == month:
                found[key] = _more(found.get(key), used.owner, used.sums)
        return found

    # -- adding up -----------------------------------------------------------------------------------------------------

    def _add(self, sample: Sample) -> None:
        before = self._counted.get(sample.container)
        if before is not None and before.run != sample.run:
            before = None
        if before is not None and sample.clock < before.clock:  # overtaken by a later one, which had all of it
            return
        now = sample.counters
        is_blind = before is None and sample.began < self._blind_until
        if is_blind and (sample.is_last or not _is_exact(now.links)):
            return
        since = sample.began if before is None else max(sample.began, before.clock)
        seconds = max(0.0, sample.clock - since)
        if before is None:
            held_bytes = float(now.peak_bytes if sample.is_last else now.memory_bytes)
            came = Counted(sample.run, sample.clock, 0, 0, 0, 0, {})
        else:
            held_bytes = before.memory_bytes if sample.is_last else (before.memory_bytes + now.memory_bytes) / 2
            came = before
        links = came.links if now.links is None else _with_last_known(came.links, now.links)
        received, sent = _through(came.links, links)
        if not is_blind:
            self._use(
                sample.container,
                sample.owner,
                Sums(
                    run_seconds=seconds,
                    cpu_usec=_risen(came.cpu_usec, now.cpu_usec),
                    memory_byte_hours=held_bytes * seconds / _HOUR,
                    io_read_bytes=_risen(came.io_read_bytes, now.io_read_bytes),
                    io_write_bytes=_risen(came.io_write_bytes, now.io_write_bytes),
                    net_in_bytes=received,
                    net_out_bytes=sent,
                ),
            )
        self._counted[sample.container] = Counted(
            sample.run,
            sample.clock,
            now.cpu_usec,
            now.memory_bytes,
            now.io_read_bytes,
            now.io_write_bytes,
            links,
        )
        self._changed.add(sample.container)

    def _pass_time(self) -> None:
        """Add what has been held on disk since the last time, as far as this boot goes: a host that is off sells nothing."""
        self._turn()
        now = self._clock()
        seconds = 0.0 if self._held_until is None else max(0.0, now - self._held_until)
        self._held_until = now
        if seconds:
            for container, held in self._held.items():
                if held.size_bytes:
                    self._use(container, held.owner, Sums(disk_byte_hours=held.size_bytes * seconds / _HOUR))

    def _use(self, container: str, owner: Owner, sums: Sums) -> None:
        key = Key(self._month, container)
        for table in (self._sums, self._unwritten):
            table[key] = _more(table.get(key), owner, sums)
        self._transfer(owner.tenant, sums)

    def _transfer(self, tenant: str, sums: Sums) -> None:
        if tenant and (moved := sums.net_in_bytes + sums.net_out_bytes):
            self._transferred[tenant] = self._transferred.get(tenant, 0) + moved

    def _drop(self, container: str) -> None:
        self._known.discard(container)
        self._counted.pop(container, None)
        self._held.pop(container, None)
        self._changed.add(container)

    def _turn(self) -> None:
        """See which month it is; at its turn the sums begin anew."""
        month = month_at(self._wall())
        if month == self._month:
            return
        if self._month:
            self._write(sync=True)
        self._month, self._has_month = month, False
        self._set_sums({})

    def _set_sums(self, written: Mapping[Key, Used]) -> None:
        """Have the sums of this month be those on disk, and what is not there yet."""
        self._sums, self._transferred = dict(written), {}
        for key, used in self._unwritten.items():
            if key.month == self._month:
                self._sums[key] = _more(self._sums.get(key), used.owner, used.sums)
        for used in self._sums.values():
            self._transfer(used.owner.tenant, used.sums)

    # -- the disk ------------------------------------------------------------------------------------------------------

    def _load(self) -> None:
        """Open the file and learn what it knows, if that was not done before. What happened since is added to that."""
        if self._file.open() and self._is_loaded:  # somebody took it away
            self._begin_anew()
        if not self._is_loaded:
            counted, held, clock = self._file.load()
            self._counted = {**{key: counted[key] for key in counted.keys() & self._known}, **self._counted}
            self._held = {**{key: held[key] for key in held.keys() & self._known}, **self._held}
            self._changed |= {*counted, *held} - {*self._counted, *self._held}
            if clock is None:
                self._blind_until, self._is_unwritten = self._clock(), True
            if self._held_until is None:
                self._held_until = clock.seconds if clock is not None and clock.boot == self._boot else self._clock()
            self._file.forget_old()
            self._is_loaded = True
        if not self._has_month:
            self._set_sums(self._file.used(self._month))
            self._has_month = True

    def _write(self, *, sync: bool) -> None:
        """Write what is not written yet. What cannot be is kept for the next time, and told once."""
        for is_again in (False, True):
            try:
                self._load()
                if self._unwritten or self._changed or self._is_unwritten:
                    self._file.write(self._changes())
                    self._unwritten, self._changed = {}, set()
                    self._is_unwritten, self._is_unsynced = False, True
                if sync and self._is_unsynced:
                    self._file.sync()
                    self._is_unsynced = False
                self._problem = ""
                return
            except Damaged as damage:
                if is_again:
                    self._tell(damage.message)
                    return
                try:
                    place = self._file.set_aside()
                except OSError as error:
                    self._tell(f"{damage.message}; and it cannot be set aside: {error.strerror}")
                    return
                self._set_aside.append(f"{damage.message}: set aside as '{place}'")
                self._begin_anew()
            except OSError as error:
                self._file.close()
                self._tell(f"'{error.filename}': {error.strerror}")
                return

    def _begin_anew(self) -> None:
        """Everything that is known goes into the next file."""
        self._unwritten = {**self._unwritten, **self._sums}
        self._changed |= {*self._counted, *self._held}
        self._is_unwritten = True

    def _changes(self) -> Changes:
        return Changes(
            self._unwritten,
            {container: self._counted.get(container) for container in self._changed},
            {container: self._held.get(container) for container in self._changed},
            None if self._held_until is None else Clock(self._boot, self._held_until),
        )

    def _tell(self, problem: str) -> None:
        if problem != self._problem:
            self._problem = problem
            self._notices.append(problem)

    def _news(self) -> News:
        news = News(self._month, self._has_month, dict(self._transferred), self._notices, self._set_aside)
        self._notices, self._set_aside = [], []
        return news


def pool(tenant: str) -> str:
    """Return under which key the bytes of a tenant's pool stand that no container is counted for."""
    return f"pool:{tenant}"  # no id of a container begins so: they are hexadecimal


def month_at(wall_seconds: float) -> str:
    """Return the month of a time, UTC: `2026-11`."""
    return time.strftime("%Y-%m", time.gmtime(wall_seconds))


def _more(before: Used | None, owner: Owner, sums: Sums) -> Used:
    return Used(owner, sums if before is None else before.sums + sums)


def _risen(before: int, now: int) -> int:
    """Return how far a counter has come since; one that is smaller has begun anew."""
    return now - before if now >= before else now


def _is_exact(links: LinkBytes | None) -> bool:
    return links is not None and not any(isinstance(received, AtLeast) for received, _ in links.values())


def _with_last_known(before: LinkBytes, now: LinkBytes) -> dict[int, tuple[int, int]]:
    """Return counters, with what was known before where no more than that is sure now: a later look makes up for it."""
    return {
        index: (int(max(received, before.get(index, (0, 0))[0])) if isinstance(received, AtLeast) else received, sent)
        for index, (received, sent) in now.items()
    }


def _through(before: Mapping[int, tuple[int, int]], now: Mapping[int, tuple[int, int]]) -> tuple[int, int]:
    """Return (in, out) bytes of all links: each begins at 0, and may go at any time."""
    received = sent = 0
    for index, (got, gave) in now.items():
        got_before, gave_before = before.get(index, (0, 0))
        received, sent = received + _risen(got_before, got), sent + _risen(gave_before, gave)
    return received, sent

"""What everything uses, looked at in turn, and added up in a thread of its own (books.py).

    every minute, in slices:   containers that run ──▶ thread: cgroup files, links ──▶ books ──▶ ledger.db
    the end of a run:          its last counters, before its links and its cgroup go ──▶ books
    now and then, one by one:  what a layer takes of the disk: a quota, the blocks of an image, or a walk
    news of the books          what went wrong ──▶ events        bytes of each tenant ──▶ transfer.py

Nothing here keeps anybody waiting, and nothing fails because of it. The event loop pays for what is handed over, and for the
last look of a run; the thread gives way at every read.
"""

import asyncio
import contextlib
import functools
import math
import os
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from pycontainer.cgroup.base import Cgroup
from pycontainer.controllers.cpu import used_usec
from pycontainer.controllers.memory import peak_bytes, working_set_bytes
from pycontainer.controllers.stats import io_bytes
from pycontainer.disk.storage import stored_bytes
from pycontainer.errors import InvalidState, PycontainerError
from pycontainer.linux.hostboot import name_of_boot
from pycontainer.net.linkcounts import LinkBytes, Links, link_bytes
from pycontainer.net.messages import Netlink
from pycontainer.runtime.container import Container
from pycontainer.store.ledgerfile import Key, Owner, Used
from pycontainer.supervisor import log
from pycontainer.supervisor.books import Books, Counters, News, Sample, month_at, pool
from pycontainer.supervisor.volumes import count

if TYPE_CHECKING:
    from pycontainer.supervisor.world import World

_T = TypeVar("_T")
_INTERVAL_SECONDS = 60.0
_SLICES, _LEAST_OF_A_SLICE = 12, 20
_FRESH_SECONDS = 1.0  # a sample of this age is as good as a new one
_CLOCK_TICKS = os.sysconf("SC_CLK_TCK")

# Looks at disks: each is followed by a pause of so many times what it took.
_DISK_SECONDS, _STOPPED_DISK_SECONDS, _YOUNG_SECONDS = 600.0, 86400.0, 60.0
_PAUSE_FACTOR, _LEAST_PAUSE_SECONDS, _NOTHING_DUE_SECONDS, _WALK_SECONDS = 200.0, 0.05, 10.0, 60.0


class Subject(NamedTuple):
    """What the thread needs to know of a run."""

    container: str
    owner: Owner
    run: str
    began: float
    cgroup: Cgroup
    links: Links


def read_counters(cgroup: Cgroup, read_links: Callable[[], LinkBytes], *, is_last: bool = False) -> Counters:
    """Read what the kernel has counted for a run. OSError if its cgroup is gone."""
    memory_bytes = working_set_bytes(cgroup)
    peak = peak_bytes(cgroup) if is_last else None
    read, written = io_bytes(cgroup)
    links = None
    with contextlib.suppress(OSError, PycontainerError):
        links = read_links()
    return Counters(used_usec(cgroup), memory_bytes, memory_bytes if peak is None else peak, read, written, links)


def clock() -> float:
    """Return the time of the boot's own clock, in which the kernel also says when a process began."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Ledger:
    """The usage of one world. Before `open` and after `close` nothing is counted."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._boot = name_of_boot()
        self._thread: ThreadPoolExecutor | None = None
        self._books: Books | None = None
        self._netlink: Netlink | None = None  # of the thread
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._turn: list[str] = []  # who is still to be looked at in this round
        self._slice, self._pause = _LEAST_OF_A_SLICE, _INTERVAL_SECONDS
        self._at_work: Future[News] | None = None
        self._present: dict[str, str] = {}  # container -> its run, while it has not ended
        self._waiting: deque[Sample] = deque()
        self._looked: dict[str, float] = {}  # whose disk was last looked at when
        self._first_seen: dict[str, float] = {}
        self._stale: set[str] = set()  # whose disk changed for the last time since it was looked at
        self.month = ""  # empty while nobody knows what is on disk
        self.transferred: dict[str, int] = {}  # tenant -> bytes of this month

    # -- beginning and end ---------------------------------------------------------------------------------------------

    def open(self) -> None:
        world = self._world
        books = self._books = Books(world.paths.ledger_file, self._boot, clock)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        known = [*world.containers, *world.broken, *map(pool, (*world.tenants.by_name, *world.tenants.damaged))]
        self._submit(lambda: books.open(known), self._heard)
        self._later("sample", _INTERVAL_SECONDS, self._tick)
        self._later("disk", _YOUNG_SECONDS, self._look_soon)

    def close(self) -> None:
        """Bring everything to the disk. What runs is counted on from there by the next supervisor."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.submit(self._close_books)
            thread.shutdown()

    def _close_books(self) -> None:
        assert self._books is not None
        self._books.close()
        if self._netlink is not None:
            self._netlink.close()
            self._netlink = None

    # -- runs ----------------------------------------------------------------------------------------------------------

    def ended(self, container: Container, cgroup: Cgroup) -> None:
        """A run is over, and its links and its cgroup are still there: count what it has used in all, see `write_counted`."""
        self._present.pop(container.id, None)
        self._stale.add(container.id)
        self._count_now(container, cgroup, is_last=True)

    def write_counted(self) -> None:
        """Write what those have used that have ended: the thread begins, which takes turns with us from then on."""
        if self._waiting:
            self._submit(self._add_waiting, self._heard)

    def before_change(self, container: Container) -> None:
        """A link of a container is about to go: count what went through."""
        self._present.pop(container.id, None)  # a look that the thread is at just now would be later than this one
        if (run := self._world.runs.get(container.id)) is not None:
            self._count_now(container, run.cgroup)

    def forget(self, container_id: str) -> None:
        """The container, or the pool, is removed."""
        for known in (self._present, self._looked, self._first_seen):
            known.pop(container_id, None)
        self._stale.discard(container_id)
        if (books := self._books) is not None:
            self._submit(lambda: books.forget(container_id))

    def _count_now(self, container: Container, cgroup: Cgroup, *, is_last: bool = False) -> None:
        if not container.pid or self._thread is None:
            return
        subject, networks = self._subject(container, cgroup), self._world.networks
        try:
            counters = read_counters(
                cgroup, lambda: networks.link_bytes(container.id) if container.addresses else {}, is_last=is_last
            )
        except (OSError, ValueError):  # there is no cgroup: it went with a boot, or somebody took it away
            return
        sample = Sample(subject.container, subject.owner, subject.run, subject.began, clock(), counters, is_last)
        self._waiting.append(sample)
        if not is_last:
            self.write_counted()

    def _add_waiting(self) -> News | None:
        """Add up all that wait, in one transaction; in the thread. Who comes after finds none."""
        assert self._books is not None
        samples = []
        with contextlib.suppress(IndexError):
            while True:
                samples.append(self._waiting.popleft())
        return self._books.add(samples) if samples else None

    def _subject(self, container: Container, cgroup: Cgroup) -> Subject:
        return Subject(
            container.id,
            _owner(container),
            f"{self._boot}/{container.pid}/{container.start_ticks}",
            container.start_ticks / _CLOCK_TICKS,
            cgroup,
            self._world.networks.links(container.id) if container.addresses else {},
        )

    # -- rounds --------------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        """Look at the next slice; when all have had their turn a new round begins, and the time of the disks has passed."""
        if self._at_work is None or self._at_work.done():  # else a disk keeps the thread waiting: it goes on from there
            if not self._turn:
                self._turn = list(self._world.runs)
                slices = min(_SLICES, max(1, math.ceil(len(self._turn) / _LEAST_OF_A_SLICE)))
                self._slice, self._pause = math.ceil(len(self._turn) / slices), _INTERVAL_SECONDS / slices
            now, self._turn = self._turn[: self._slice], self._turn[self._slice :]
            self._at_work = self._sample(now, passes_time=not self._turn, sync=True)
        self._later("sample", self._pause, self._tick)

    def _sample(
        self, containers: Iterable[str], *, passes_time: bool, sync: bool = False, fresh_seconds: float = 0.0
    ) -> Future[News] | None:
        """Have the thread look at containers, but those whose last sample is not older than that."""
        world, books = self._world, self._books
        assert books is not None
        subjects = [
            self._subject(world.containers[container_id], world.runs[container_id].cgroup)
            for container_id in containers
            if container_id in world.runs and container_id in world.containers
        ]
        self._present |= {subject.container: subject.run for subject in subjects}

        def work() -> News:
            oldest = clock() - fresh_seconds
            wanted = [subject for subject in subjects if books.counted_at(subject.container, subject.run) <= oldest]
            return books.add(self._read(wanted), passes_time=passes_time, sync=sync)

        return self._submit(work, self._heard)

    def _read(self, subjects: Iterable[Subject]) -> list[Sample]:
        """Read the counters of each that has not ended meanwhile; in the thread."""
        if self._netlink is None:
            self._netlink = Netlink()
        samples = []
        for subject in subjects:
            try:
                counters = read_counters(subject.cgroup, functools.partial(link_bytes, self._netlink, subject.links))
            except (OSError, ValueError):  # it is just ending
                continue
            if self._present.get(subject.container) == subject.run:  # else the next run may have answered
                samples.append(Sample(subject.container, subject.owner, subject.run, subject.began, clock(), counters))
        return samples

    async def used(self, month: str, tenant: str = "") -> dict[Key, Used]:
        """Return the sums of a month; for the present one what runs, of one tenant or of all, is looked at anew."""
        books = self._books
        if books is None or self._thread is None:
            raise InvalidState("the supervisor is leaving", hint="ask again")
        if month == month_at(time.time()):
            containers, runs = self._world.containers, list(self._world.runs)
            if tenant:
                runs = [run for run in runs if run in containers and containers[run].spec.tenant == tenant]
            self._sample(runs, passes_time=True, fresh_seconds=_FRESH_SECONDS)
        future = self._submit(lambda: books.used(month))
        assert future is not None
        return await asyncio.wrap_future(future)

    # -- disks ---------------------------------------------------------------------------------------------------------

    def _look_soon(self) -> None:
        self._world.spawn(self._look())

    async def _look(self) -> None:
        """Look at one disk, and plan the next look so that all of them together cost little, however they are made."""
        began = time.monotonic()
        key, container = self._next()
        try:
            if key and self._books is not None:
                await self._look_at(key, container, self._books)
        except (OSError, PycontainerError):  # it goes just now, or is damaged, which others tell of
            pass
        finally:
            spent = time.monotonic() - began
            pause = max(_LEAST_PAUSE_SECONDS, _PAUSE_FACTOR * spent) if key else _NOTHING_DUE_SECONDS
            if self._thread is not None:
                self._later("disk", pause, self._look_soon)

    async def _look_at(self, key: str, container: Container | None, books: Books) -> None:
        self._looked[key] = clock()
        self._stale.discard(key)
        if container is None:
            tenant = key.removeprefix(pool(""))
            stored = await self._in_thread(lambda: self._world.tenants.pool(tenant).stored_bytes())
            self._submit(lambda: books.hold(key, Owner(tenant, ""), stored or 0))
            return
        directory, base = container.directory, container.base
        size_bytes = await self._in_thread(lambda: stored_bytes(directory, base))
        if size_bytes is None:
            root = f"{directory}/rootfs"
            size_bytes = (await count([root], _WALK_SECONDS))[root][0]
        owner = _owner(container)
        if self._world.containers.get(container.id) is container:
            self._submit(lambda: books.hold(container.id, owner, size_bytes))

    def _next(self) -> tuple[str, Container | None]:
        """Return whose turn it is, the container unless it is a tenant's pool; "" if nobody's is."""
        now, world = clock(), self._world
        best, best_key, best_container = now, "", None
        for container in world.containers.values():
            if container.spec.rootfs_writable or now - self._first_seen.setdefault(container.id, now) < _YOUNG_SECONDS:
                continue
            looked = self._looked.get(container.id, 0.0)
            wait = _DISK_SECONDS if container.id in world.runs else _STOPPED_DISK_SECONDS
            is_due = not looked or now - looked >= (_YOUNG_SECONDS if container.id in self._stale else wait)
            if is_due and looked < best:
                best, best_key, best_container = looked, container.id, container
        for tenant in world.tenants.by_name:
            looked = self._looked.get(pool(tenant), 0.0)
            if looked < best and now - looked >= _DISK_SECONDS and world.tenants.pool(tenant).exists():
                best, best_key, best_container = looked, pool(tenant), None
        return best_key, best_container

    def _later(self, what: str, seconds: float, do: Callable[[], None]) -> None:
        if what in self._timers:
            self._timers[what].cancel()
        self._timers[what] = asyncio.get_running_loop().call_later(seconds, do)

    # -- the thread ----------------------------------------------------------------------------------------------------

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        if self._thread is None:
            raise InvalidState("the supervisor is leaving")
        return await asyncio.wrap_future(self._thread.submit(work))

    def _submit(self, work: Callable[[], _T], heard: Callable[[News], None] | None = None) -> "Future[_T] | None":
        """Have the thread do something, in turn; `heard` gets its news in the event loop."""
        if self._thread is None:
            return None
        loop = asyncio.get_running_loop()
        future = self._thread.submit(_whole, work)

        def done(future: "Future[_T]") -> None:
            news = None if future.cancelled() or future.exception() else future.result()
            if heard is not None and isinstance(news, News):
                with contextlib.suppress(RuntimeError):  # the loop has ended
                    loop.call_soon_threadsafe(heard, news)

        future.add_done_callback(done)
        return future

    def _heard(self, news: News) -> None:
        if self._thread is None:  # we have said that we leave
            return
        for notice in news.notices:
            log.say(f"usage is counted in memory alone: {notice}")
            self._world.events.emit("ledger-unwritten", detail=notice)
        for damage in news.set_aside:
            log.say(damage)
            self._world.events.emit("ledger-damaged", detail=damage)
        if news.is_complete:
            self.month, self.transferred = news.month, dict(news.transferred)
            self._world.transfer.check()


def _whole(work: Callable[[], _T]) -> _T:
    try:
        return work()
    except (OSError, PycontainerError):
        raise
    except Exception:  # the thread goes on
        log.failure("a fault in the ledger")
        raise


def _owner(container: Container) -> Owner:
    return Owner(container.spec.tenant, container.spec.name)

"""What happened, told to everybody who listens and kept on disk: in order, with a number, who caused it, and why.

    emit ──▶ number, time, boot, actor ──▶ journal.py ──▶ listeners
                                             └── fdatasync, at most once a second, in a thread

The number (`seq`) is a cursor: it only grows, over restarts and reboots, and who names the last one he has seen gets what
came after it. While the disk is full, events wait in memory; if they become too many the oldest are dropped, and an event
`events-lost` says how many when there is room again.

Who caused it is a context variable: the server sets it for a request, and what begins by itself, a timer or a message of the
monitor, says so with `acting`, as its callback would otherwise run in the context of whoever happened to register it.
"""

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar

from pycontainer import __version__
from pycontainer.runtime.container import Container, now
from pycontainer.supervisor import log
from pycontainer.supervisor.journal import LAST_WORD, Event, Journal, from_line, sync, to_line

Listener = Callable[[Event], None]

KERNEL = "kernel"
SUPERVISOR = "supervisor"
_SYNC_SECONDS = 1.0
_MAX_UNWRITTEN = 1000
_BOOT_ID = "/proc/sys/kernel/random/boot_id"

_actor: ContextVar[str] = ContextVar("actor", default=SUPERVISOR)


@contextlib.contextmanager
def acting(actor: str) -> Iterator[None]:
    """Have `actor` be who causes what happens in the block, and in the tasks and timers that begin in it."""
    token = _actor.set(actor)
    try:
        yield
    finally:
        _actor.reset(token)


def current_actor() -> str:
    """Return who causes what happens now."""
    return _actor.get()


class Allowance:
    """How many events of one kind each container may cause by itself: some at once, then one in a while.

    Else it could push everybody's history out of the journal, by having its processes killed or its health change all
    the time.
    """

    _AT_ONCE, _SECONDS_FOR_ONE = 20, 60.0

    def __init__(self) -> None:
        self._left: dict[str, tuple[float, float]] = {}  # container -> how many there were, and when

    def take(self, container_id: str, clock: float) -> bool:
        """Take one at `clock`, monotonic seconds; False if there is none."""
        left, since = self._left.get(container_id, (float(self._AT_ONCE), clock))
        left = min(self._AT_ONCE, left + (clock - since) / self._SECONDS_FOR_ONE)
        is_left = left >= 1
        self._left[container_id] = (left - is_left, clock)
        return is_left

    def forget(self, container_id: str) -> None:
        self._left.pop(container_id, None)


class Events:
    """The events of one world. Without a journal, or before `open`, they are told and not kept."""

    def __init__(self, journal: Journal | None = None) -> None:
        self._listeners: set[Listener] = set()
        self._journal = journal
        self._loop: asyncio.AbstractEventLoop | None = None
        self._boot = _boot_id()
        self._unwritten: deque[tuple[int, bytes]] = deque()
        self._lost = 0
        self._timer: asyncio.TimerHandle | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._syncing: Future[None] | None = None
        self.last = 0  # the number of the newest event

    def open(self) -> None:
        """Go on where the journal ends. What was damaged is said, and never keeps us from coming up."""
        assert self._journal is not None
        self._loop = asyncio.get_running_loop()
        first, notice = self._journal.open()
        self.last = first - 1
        if notice:
            log.say(notice)
            self.emit("events-damaged", detail=notice)
        self.emit("supervisor-start", pid=os.getpid(), version=__version__)
        # On disk before anybody hears of a number: the next supervisor must not take us for one that left in peace.
        with contextlib.suppress(OSError):
            sync(self._journal.unsynced())

    def close(self, *, cause: str = "") -> None:
        """Say that we leave, and bring everything to the disk."""
        if self._journal is None or self._loop is None:
            return
        self.emit(LAST_WORD, cause=cause, actor=SUPERVISOR, pid=os.getpid())
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._thread is not None:
            self._thread.shutdown()
            self._thread = None
        with contextlib.suppress(OSError):
            self._journal.close()

    def emit(
        self, kind: str, container: Container | None = None, *, cause: str = "", actor: str = "", **details: object
    ) -> None:
        """Keep an event and tell everybody who listens; `kind` is create, start, die, oom, stop, pause, ...

        `actor` is only for who knows better than the context. No failure of the disk is the caller's.
        """
        if self._unwritten:
            self._write_unwritten()
        self.last += 1
        event: Event = {
            "seq": self.last,
            "time": round(now(), 6),
            "type": kind,
            "boot": self._boot,
            "actor": actor or _actor.get(),
            "cause": cause,
            **details,
        }
        if container is not None:
            event["id"], event["name"] = container.id, container.spec.name
            if container.spec.tenant:
                event["tenant"] = container.spec.tenant
        if self._loop is not None:
            self._keep(self.last, to_line(event))
        for listener in list(self._listeners):
            listener(event)

    def tell(self, listener: Listener) -> None:
        """Have `listener` called with every event from now on."""
        self._listeners.add(listener)

    @contextlib.contextmanager
    def listening(self, listener: Listener) -> Iterator[None]:
        """Have `listener` called with every event while the block runs."""
        self._listeners.add(listener)
        try:
            yield
        finally:
            self._listeners.discard(listener)

    async def history(
        self, after: int, upto: int, is_wanted: Callable[[bytes], bool] = lambda line: True
    ) -> AsyncIterator[Event]:
        """Yield the events with `after` < seq <= `upto`, of those whose line `is_wanted`.

        An event `events-lost` without a number stands for those that are kept no longer, or cannot be read.
        """
        if self._journal is None or after >= upto:
            return
        unwritten = list(self._unwritten)  # before the files: what is written meanwhile is in both
        firsts = self._journal.firsts()
        if firsts and after + 1 < firsts[0] and firsts[0] > 1:
            yield _gap(after + 1, min(firsts[0] - 1, upto))
        for first, following in zip(firsts, [*firsts[1:], upto + 1], strict=True):
            if following <= after + 1 or first > upto:
                continue
            page = await asyncio.to_thread(self._journal.page, first, after, upto, is_wanted)
            if page is None:
                yield _gap(max(first, after + 1), min(following - 1, upto))
                continue
            for event in page:
                yield event
                after = event["seq"]
        for seq, line in unwritten:
            if after < seq <= upto and is_wanted(line) and (kept := from_line(line)) is not None:
                yield kept

    # -- keeping -------------------------------------------------------------------------------------------------------

    def _keep(self, seq: int, line: bytes) -> None:
        assert self._journal is not None and self._loop is not None
        if self._unwritten:
            self._wait(seq, line)
        else:
            try:
                self._journal.append(seq, line)
            except OSError as error:
                log.say(f"events wait in memory: {error.strerror}: '{error.filename or 'events'}'")
                self._wait(seq, line)
        if self._timer is None:
            self._timer = self._loop.call_later(_SYNC_SECONDS, self._tick)

    def _wait(self, seq: int, line: bytes) -> None:
        if len(self._unwritten) >= _MAX_UNWRITTEN:
            self._unwritten.popleft()
            self._lost += 1
        self._unwritten.append((seq, line))

    def _write_unwritten(self) -> None:
        assert self._journal is not None
        first = self._unwritten[0][0]
        try:
            while self._unwritten:
                self._journal.append(*self._unwritten[0])
                self._unwritten.popleft()
        except OSError:
            return
        lost, self._lost = self._lost, 0
        if lost:
            self.emit("events-lost", cause="disk", actor=SUPERVISOR, count=lost, first=first - lost, last=first - 1)

    def _tick(self) -> None:
        assert self._journal is not None and self._loop is not None
        self._timer = None
        if self._unwritten:
            self._write_unwritten()
        is_busy = self._syncing is not None and not self._syncing.done()
        if not is_busy:
            try:
                fds = self._journal.unsynced()
            except OSError as error:
                log.say(f"the events cannot be synced: {error.strerror}")
                fds = []
            if fds:
                if self._thread is None:  # of our own: threads of the loop may all be at work on a removal for minutes
                    self._thread = ThreadPoolExecutor(1)
                self._syncing = self._thread.submit(_sync, fds)
        if (is_busy or self._unwritten) and self._timer is None:
            self._timer = self._loop.call_later(_SYNC_SECONDS, self._tick)


def _sync(fds: list[int]) -> None:
    try:
        sync(fds)
    except OSError as error:
        log.say(f"events may not have reached the disk: {error.strerror}")


def _gap(first: int, last: int) -> Event:
    return {
        "time": round(now(), 6),
        "type": "events-lost",
        "actor": SUPERVISOR,
        "cause": "rotated",
        "detail": f"what there was of events {first} to {last} is kept no longer",
        "first": first,
        "last": last,
    }


def _boot_id() -> str:
    with open(_BOOT_ID, encoding="ascii") as file:
        return file.read().strip()

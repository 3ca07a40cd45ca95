"""Doing what has to change: tenants, then sites beside each other, then what is left without sites.

A thread for each site that is being worked on, and places for those that ask the supervisor for something: who waits for a
check or for requests to end holds up nobody. What goes wrong with one site is kept with its name; the others go on.
"""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pycontainer.errors import AlreadyExists, NotFound, PycontainerError
from pycontainer.hosting.changes import Action, Changes, SiteChange, TenantChange
from pycontainer.hosting.publishing import Board
from pycontainer.hosting.rollout import Rollout, Stopped

if TYPE_CHECKING:
    from pycontainer.client.client import Client

PARALLEL = 8
_THREADS_MOST = 64  # sites that are worked on, most of which wait


@dataclass(frozen=True, slots=True)
class Progress:
    """What happens: to what it happens (`tenant acme`, `site acme/shop`), and how many of all are finished."""

    subject: str
    step: str
    done: int
    total: int
    is_finished: bool = False
    error: PycontainerError | None = None


@dataclass(slots=True)
class Outcome:
    """What was done, by subject, and what went wrong with the others."""

    done: list[str] = field(default_factory=list)
    failed: list[tuple[str, PycontainerError]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


OnProgress = Callable[[Progress], None]


def apply(
    client: "Client",
    hosting: str,
    changes: Changes,
    board: Board | None,
    *,
    parallel: int = PARALLEL,
    on_progress: OnProgress = lambda progress: None,
) -> Outcome:
    """Do all that has to change; `parallel` requests to the supervisor at once. Calls `on_progress` from many threads.

    Raises KeyboardInterrupt, when all threads have left at their next step.
    """
    work = _Work(len(changes.tenants) + len(changes.sites) + len(changes.empty_tenants), on_progress)
    unusable = set()
    for tenant in changes.tenants:
        if not work.do(f"tenant {tenant.name}", lambda tenant=tenant: _tenant(client, tenant)):  # type: ignore[misc]
            unusable.add(tenant.name)
    sites = []
    for change in changes.sites:
        tenant_name = change.path.partition("/")[0]
        if change.action is Action.CREATE and tenant_name in unusable:
            work.fail(f"site {change.path}", PycontainerError(f"tenant '{tenant_name}' is not as it is to be"))
        else:
            sites.append(change)
    rollout = Rollout(client, hosting, board, threading.BoundedSemaphore(parallel), work.tell, work.warn)
    _sites(rollout, sites, work)
    for tenant in changes.empty_tenants:
        work.do(f"tenant {tenant.name}", lambda tenant=tenant: _tenant(client, tenant))  # type: ignore[misc]
    if board is not None:
        work.extra("front door", board.settle)
    return work.outcome


def _sites(rollout: Rollout, changes: Iterable[SiteChange], work: "_Work") -> None:
    changes = [*changes]
    if not changes:
        return
    threads = ThreadPoolExecutor(min(_THREADS_MOST, len(changes)), "hosting")
    futures: set[Future[None]] = set()
    try:
        for change in changes:
            futures.add(threads.submit(_site, rollout, change, work))
        while futures:  # with a timeout: who interrupts us is heard
            finished, futures = wait(futures, timeout=1.0, return_when=FIRST_COMPLETED)
            for future in finished:
                future.result()
    except BaseException:
        rollout.stop()
        threads.shutdown(cancel_futures=True)
        raise
    threads.shutdown()


def _site(rollout: Rollout, change: SiteChange, work: "_Work") -> None:
    try:
        work.do(f"site {change.path}", lambda: rollout.run(change))
    except Stopped:
        return


def _tenant(client: "Client", change: TenantChange) -> None:
    if change.action is Action.REMOVE:
        try:
            client.tenant(change.name).remove()
        except NotFound:
            return
    elif change.action is Action.CREATE:
        try:
            client.create_tenant(change.name, **change.limits)
        except AlreadyExists:  # since we looked
            if change.limits:
                client.tenant(change.name).set(**change.limits)
    else:
        client.tenant(change.name).set(**change.limits)


class _Work:
    """Counts what is done and keeps what goes wrong; shared by threads."""

    def __init__(self, total: int, on_progress: OnProgress) -> None:
        self.outcome = Outcome()
        self._total, self._on_progress, self._lock = total, on_progress, threading.Lock()

    def do(self, subject: str, act: Callable[[], None]) -> bool:
        """Do something and say whether it succeeded."""
        try:
            act()
        except (PycontainerError, OSError) as error:
            self.fail(subject, error if isinstance(error, PycontainerError) else PycontainerError(str(error)))
            return False
        with self._lock:
            self.outcome.done.append(subject)
            self._say(subject, "done", is_finished=True)
        return True

    def fail(self, subject: str, error: PycontainerError) -> None:
        with self._lock:
            self.outcome.failed.append((subject, error))
            self._say(subject, "failed", is_finished=True, error=error)

    def extra(self, subject: str, act: Callable[[], None]) -> None:
        """Do what is no change by itself; only its failure is told."""
        try:
            act()
        except (PycontainerError, OSError) as error:
            self.fail(subject, error if isinstance(error, PycontainerError) else PycontainerError(str(error)))

    def warn(self, path: str, warnings: Iterable[str]) -> None:
        with self._lock:
            self.outcome.warnings += [f"site {path}: {warning}" for warning in warnings]

    def tell(self, path: str, step: str) -> None:
        with self._lock:
            self._say(f"site {path}", step)

    def _say(
        self, subject: str, step: str, *, is_finished: bool = False, error: PycontainerError | None = None
    ) -> None:
        done = len(self.outcome.done) + len(self.outcome.failed)
        self._on_progress(Progress(subject, step, done, self._total, is_finished, error))

"""One thing that is not as it should be: what `doctor` tells, and what puts it right where that is known to be right.

A repair may come long after the look, when much has changed. So it looks again, under the lock of the container if it is
about one, and acts in the same step of the event loop; what it only deletes then is out of everybody's sight, and goes in a
thread.
"""

import asyncio
import inspect
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

from pycontainer.errors import Busy, InvalidState

if TYPE_CHECKING:
    from pycontainer.supervisor.world import World

_LOCK_SECONDS = 10.0


class Finding(NamedTuple):
    """One thing that is not as it should be. `repair` is None where a person has to decide.

    It is called in the event loop, and what takes long is an awaitable that it returns.
    """

    kind: str
    where: str
    what: str
    remedy: str  # what `repair` does; without one, what a person may do
    repair: Callable[[], object] | None
    sized: str = ""  # the tree or file whose size is told, "" for none
    check: "Callable[[World], Iterable[Finding]] | None" = None  # what finds it again; None where `repair` looks itself
    container_id: str = ""  # whose lock is held meanwhile, if there is such a container

    def again(self, world: "World") -> "Finding | None":
        """Return what the same look finds now of the same thing."""
        if self.check is None:
            return self
        return next((each for each in self.check(world) if (each.kind, each.where) == (self.kind, self.where)), None)


async def repair(world: "World", finding: Finding) -> bool:
    """Put right what is still as it was found, and else nothing; tell whether it was.

    Raises OSError, PycontainerError; of these Busy if another operation keeps the container's lock.
    """
    container = world.containers.get(finding.container_id)
    if container is None:
        return await _repair(world, finding)
    lock = world.lock(container)
    try:
        async with asyncio.timeout(_LOCK_SECONDS):
            await lock.acquire()
    except TimeoutError:
        raise Busy(f"another operation is at work on container '{container.spec.name}'") from None
    try:
        return await _repair(world, finding)
    finally:
        lock.release()


async def _repair(world: "World", finding: Finding) -> bool:
    if (found := finding.again(world)) is None:
        return False
    if found.repair is None:
        raise InvalidState(f"{found.where}: {found.what}; {found.remedy}")
    done = found.repair()
    if inspect.isawaitable(done):
        await asyncio.shield(asyncio.ensure_future(done))  # with its lock, whoever asked for it
    return True

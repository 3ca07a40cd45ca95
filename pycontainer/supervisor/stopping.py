"""Stopping a container within a time, whatever is done with it just now, and whatever it says to that."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING

from pycontainer.errors import Busy
from pycontainer.runtime.container import Container

if TYPE_CHECKING:
    from pycontainer.supervisor.world import World

_GRACE_SECONDS = 10.0  # for a killed container to be gone

Stop = Callable[[Container, float], Awaitable[object]]


def is_up(world: "World", container: Container) -> bool:
    """Tell whether it runs, or waits for its next start."""
    return container.id in world.runs or container.id in world.restarts


async def stop_within(world: "World", container: Container, seconds: float, stop: Stop) -> bool:
    """Stop what is up, in its own time but no longer than `seconds`; False if it is not up.

    Busy if something else has its lock for as long, or if it was killed and does not end.
    """
    async with lock_within(world, container, seconds + _GRACE_SECONDS):
        if not is_up(world, container):
            return False
        timeout_seconds = min(container.spec.stop_timeout_seconds, seconds)
        try:
            await asyncio.wait_for(stop(container, timeout_seconds), timeout_seconds + _GRACE_SECONDS)
        except TimeoutError:
            raise Busy("it was killed, and does not end") from None
        return True


@contextlib.asynccontextmanager
async def lock_within(world: "World", container: Container, seconds: float) -> AsyncIterator[None]:
    """Hold the lock of a container; Busy if something else has it for as long."""
    lock = world.lock(container)
    try:
        await asyncio.wait_for(lock.acquire(), seconds)
    except TimeoutError:
        raise Busy("another operation holds it") from None
    try:
        yield
    finally:
        lock.release()

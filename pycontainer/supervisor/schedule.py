"""Scheduled snapshots: a timer for each container that asks for them, retention, another try after a failure.

When one is due follows from the time of the last `auto-` snapshot, so a supervisor that was away makes up for what it missed:
one snapshot, not one for each time. From then on the monotonic clock counts; wall time is for people.
"""

import asyncio
import time
import traceback
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from pycontainer.errors import PycontainerError
from pycontainer.runtime.container import Container, now
from pycontainer.runtime.snapshots import AUTOMATIC
from pycontainer.supervisor.events import acting

if TYPE_CHECKING:
    from pycontainer.supervisor.world import World

_RETRY_SECONDS = 300.0
_LONGEST_SECONDS = 24 * 3600.0  # of one timer; it looks again then
_WARNING = "scheduled snapshot: "


class Schedule:
    """The timers of one world; `take` is set by what knows how to make a snapshot."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._one_at_a_time = asyncio.Semaphore(1)  # after a night without power all are due at once
        self.take: Callable[[Container, str], Awaitable[object]] | None = None
        self.drop: Callable[[Container, list[str]], Awaitable[object]] | None = None

    def plan(self, container: Container, *, retry: bool = False) -> None:
        """Set the timer of a container anew: call it when the container appears and when its settings change."""
        self.forget(container.id)
        wanted = container.spec.snapshots
        if wanted is None:
            return
        delay = max(0.0, self._last(container) + wanted.every_seconds - now())
        if retry:
            delay = max(delay, min(_RETRY_SECONDS, wanted.every_seconds))
        delay = min(delay, wanted.every_seconds)  # whatever the wall clock says
        loop = asyncio.get_running_loop()
        if delay > _LONGEST_SECONDS:
            self._timers[container.id] = loop.call_later(_LONGEST_SECONDS, self.plan, container)
        else:
            self._timers[container.id] = loop.call_later(delay, self._due, container)

    def forget(self, container_id: str) -> None:
        timer = self._timers.pop(container_id, None)
        if timer is not None:
            timer.cancel()

    def _last(self, container: Container) -> float:
        made = [one.created for one in container.snapshots.values() if one.name.startswith(AUTOMATIC)]
        return max(made, default=container.created)

    def _due(self, container: Container) -> None:
        self._timers.pop(container.id, None)
        if self._world.containers.get(container.id) is container:
            with acting("policy snapshots"):
                self._world.spawn(self._snapshot(container))

    async def _snapshot(self, container: Container) -> None:
        world, failed = self._world, False
        assert self.take is not None and self.drop is not None
        async with self._one_at_a_time:
            try:
                name = f"{AUTOMATIC}{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())}"
                await self.take(container, name)
                wanted = container.spec.snapshots
                if wanted is not None:
                    made = [one for one in container.snapshots if one.startswith(AUTOMATIC)]  # oldest first
                    if surplus := made[: max(0, len(made) - wanted.keep)]:
                        await self.drop(container, surplus)
                container.warnings = [text for text in container.warnings if not text.startswith(_WARNING)]
            except Exception as error:  # whatever it is, it is tried again
                failed = True
                if not isinstance(error, PycontainerError | OSError):
                    traceback.print_exc()
                if world.containers.get(container.id) is container:
                    others = [text for text in container.warnings if not text.startswith(_WARNING)]
                    container.warnings = [*others, f"{_WARNING}{error}"]
                    world.events.emit("snapshot-failed", container, detail=str(error))
        if world.containers.get(container.id) is container:
            self.plan(container, retry=failed)

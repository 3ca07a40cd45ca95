"""Scheduled snapshots: a timer for each container that asks for them, retention, another try after a failure.

When one is due follows from the time of the last `auto-` snapshot, so a supervisor that was away makes up for what it missed:
one snapshot, not one for each time. From then on a clock counts that nobody sets. A last one that was made in the future says
that the wall clock was set back, and not when it was made: then one is due at once.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from pycontainer.errors import PycontainerError
from pycontainer.runtime.container import Container, now, uptime_seconds
from pycontainer.runtime.snapshots import AUTOMATIC
from pycontainer.supervisor import log
from pycontainer.supervisor.events import acting

if TYPE_CHECKING:
    from pycontainer.supervisor.world import World

_RETRY_SECONDS = 300.0
_LONGEST_SECONDS = 24 * 3600.0  # of one timer, which stands still while the host is suspended; it looks again then
_WARNING = "scheduled snapshot: "


class Schedule:
    """The timers of one world; `take` is set by what knows how to make a snapshot."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._one_at_a_time = asyncio.Semaphore(1)  # after a night without power all are due at once
        self.take: Callable[[Container, str], Awaitable[object]] | None = None
        self.drop: Callable[[Container, list[str]], Awaitable[object]] | None = None

    def plan(self, container: Container) -> None:
        """Set the timer of a container anew: call it when the container appears and when its settings change."""
        wanted = container.spec.snapshots
        if wanted is None:
            self.forget(container.id)
            return
        passed = now() - self._last(container)
        self._set_timer(container, uptime_seconds() + (max(0.0, wanted.every_seconds - passed) if passed >= 0 else 0.0))

    def _set_timer(self, container: Container, due: float) -> None:
        self.forget(container.id)
        delay, loop = max(0.0, due - uptime_seconds()), asyncio.get_running_loop()
        if delay > _LONGEST_SECONDS:
            self._timers[container.id] = loop.call_later(_LONGEST_SECONDS, self._set_timer, container, due)
        else:
            self._timers[container.id] = loop.call_later(delay, self._due, container)

    def forget(self, container_id: str) -> None:
        timer = self._timers.pop(container_id, None)
        if timer is not None:
            timer.cancel()

    def _last(self, container: Container) -> float:
        made = [one.created for one in container.snapshots.values() if one.name.startswith(AUTOMATIC)]  # oldest first
        return made[-1] if made else container.created

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
                    log.failure("a fault in taking a snapshot", container_id=container.id)
                if world.containers.get(container.id) is container:
                    others = [text for text in container.warnings if not text.startswith(_WARNING)]
                    container.warnings = [*others, f"{_WARNING}{error}"]
                    world.events.emit("snapshot-failed", container, detail=str(error))
        wanted = container.spec.snapshots
        if wanted is not None and world.containers.get(container.id) is container:
            delay = min(_RETRY_SECONDS, wanted.every_seconds) if failed else wanted.every_seconds
            self._set_timer(container, uptime_seconds() + delay)

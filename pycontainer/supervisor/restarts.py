"""Starting a container again when it ends: its policy, later each time, and what it asked for itself by rebooting.

    cause of the end                        no      on-failure   always, unless-stopped
    exit (code 0, or poweroff)              -       -            again
    failure, signal, oom, unknown,          -       again        again
      not-ready, start-failed
    health, with action restart             again   again        again
    reboot, asked for inside                again   again        again
    asked: stop, kill, rm; action stop      -       -            -

The first restart comes after 0.1 s, each further one in a row after twice as long, at most 60 s. A run that lasted longer
than 10 s begins a new row; where there is a check, or READY=1 to be said, it must have been healthy, or ready, as well. With
`:N` a policy gives up after N restarts in a row. All of it by the monotonic clock.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from pycontainer.errors import PycontainerError
from pycontainer.runtime.container import Container
from pycontainer.supervisor import log
from pycontainer.supervisor.events import acting

if TYPE_CHECKING:
    from pycontainer.supervisor.world import World

FIRST_SECONDS, MAX_SECONDS, RESET_SECONDS = 0.1, 60.0, 10.0
_EXIT_OURS = 125
_ACTOR = "policy restart"
_GAVE_UP = "given up after "


class Restarts:
    """The containers of one world that wait for their next start; `start` is set by what knows how to."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self.counts: dict[str, int] = {}  # restarts of each container since this supervisor came up
        self._due_now: set[str] = set()  # their time has come: they wait for their lock, or are being started
        self.start: Callable[[Container], Awaitable[object]] | None = None

    def __contains__(self, container_id: str) -> bool:
        return container_id in self._timers or container_id in self._due_now

    def __len__(self) -> int:
        return len(self._timers) + len(self._due_now)

    def after_end(self, container: Container, *, lasted_seconds: float, was_well: bool = True) -> bool:
        """Start it again if the policy says so or it asked to, later each time; tell whether it is to be removed instead.

        `was_well`: the run has been healthy, or ready, if anybody asks for that.
        """
        if lasted_seconds > RESET_SECONDS and was_well:
            container.restart_count = 0
        if is_wanted(container):
            if not is_tired(container):
                self._plan(container)
                return False
            count = container.restart_count
            container.warnings = [*container.warnings, f"{_GAVE_UP}{count} restarts in a row: {container.cause}"]
            self._world.events.emit("restart-given-up", container, cause=container.cause, actor=_ACTOR, restarts=count)
        return container.spec.auto_remove

    def failed(self, container: Container, error: Exception, warning: str) -> None:
        """A start that the policy, or the boot, has tried did not succeed: it counts as a run that ended at once."""
        container.warnings = [f"{warning}: {error}"]
        container.exit_code, container.cause = getattr(error, "exit_code", _EXIT_OURS), "start-failed"
        if self.after_end(container, lasted_seconds=0):
            self._world.removal.remove_ended(container)

    def resume(self, container: Container) -> None:
        """It waited for its next start when the supervisor before us left: it waits again, and was counted."""
        self._set_timer(container, delay_seconds(max(0, container.restart_count - 1)))

    def cancel(self, container: Container) -> bool:
        """Do not start it again; True if that was about to happen."""
        handle, was_pending = self._timers.pop(container.id, None), container.id in self
        self._due_now.discard(container.id)
        if handle is not None:
            handle.cancel()
        if handle is not None or was_pending:
            container.forget_run()
            return True
        return False

    def forget(self, container_id: str) -> None:
        """It was removed."""
        self.counts.pop(container_id, None)

    def _plan(self, container: Container) -> None:
        delay = delay_seconds(container.restart_count)
        container.restart_count += 1
        self.counts[container.id] = self.counts.get(container.id, 0) + 1
        container.restarting = True
        self._set_timer(container, delay)  # first: it is started again even if there is no room to note it
        self._world.events.emit(
            "restarting",
            container,
            cause=container.cause,
            actor=_ACTOR,
            delay_seconds=delay,
            attempt=container.restart_count,
        )
        try:
            container.save_run()
        except OSError as error:
            detail = f"that it waits for its next start is not on disk: {error.strerror}"
            self._world.events.emit("leftover", container, actor=_ACTOR, detail=detail)

    def _set_timer(self, container: Container, delay: float) -> None:
        self._timers[container.id] = asyncio.get_running_loop().call_later(delay, self._due, container)

    def _due(self, container: Container) -> None:
        self._timers.pop(container.id, None)
        self._due_now.add(container.id)
        with acting(_ACTOR):
            self._world.spawn(self._start_again(container))

    async def _start_again(self, container: Container) -> None:
        world = self._world
        async with world.lock(container):
            if container.id not in self._due_now:  # whoever had the lock before us has cancelled it
                return
            if world.transfer.holds(container):
                self.cancel(container)
                return
            assert self.start is not None
            try:
                try:
                    await self.start(container)
                except asyncio.CancelledError:  # this supervisor ends: the next one goes on with the policy
                    if container.id in self._due_now:
                        container.restarting = True
                        container.save_run()
                    raise
                finally:
                    self._due_now.discard(container.id)
            except Exception as error:  # whatever it is, the policy goes on
                if not isinstance(error, PycontainerError):
                    log.failure("a fault in starting a container again", container_id=container.id)
                self.failed(container, error, "restart failed")


def is_wanted(container: Container) -> bool:
    """Tell whether a container that has ended shall run again, after the table above."""
    if container.stopping:
        return False
    if container.cause in ("reboot", "health"):
        return True
    policy = container.spec.restart.name
    return policy in ("always", "unless-stopped") or (policy == "on-failure" and container.cause != "exit")


def is_tired(container: Container) -> bool:
    """Tell whether it was started again as often in a row as its policy allows."""
    policy = container.spec.restart
    return bool(policy.max_retries) and container.restart_count >= policy.max_retries and container.cause != "reboot"


def delay_seconds(count: int) -> float:
    """Return how long the next restart waits when there were `count` in a row."""
    return float(min(FIRST_SECONDS * 2 ** min(count, 16), MAX_SECONDS))

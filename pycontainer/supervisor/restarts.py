"""Starting a container again when it ends: its policy, later each time, and what it asked for itself by rebooting."""

import asyncio
import traceback
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from pycontainer.errors import PycontainerError
from pycontainer.runtime.container import Container
from pycontainer.supervisor.events import acting

if TYPE_CHECKING:
    from pycontainer.supervisor.world import World

_FIRST_SECONDS, _MAX_SECONDS, _RESET_SECONDS = 0.1, 60.0, 10.0
_EXIT_OURS = 125


class Restarts:
    """The containers of one world that wait for their next start; `start` is set by what knows how to."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self.start: Callable[[Container], Awaitable[object]] | None = None

    def __contains__(self, container_id: str) -> bool:
        return container_id in self._timers

    def __len__(self) -> int:
        return len(self._timers)

    def after_end(self, container: Container, *, lasted_seconds: float) -> None:
        """Start it again if the policy says so or it asked to, later each time; a run that lasted begins the count anew."""
        if lasted_seconds > _RESET_SECONDS:
            container.restart_count = 0
        if self._is_wanted(container) and not container.stopping:
            delay = min(_FIRST_SECONDS * 2 ** min(container.restart_count, 16), _MAX_SECONDS)
            container.restart_count += 1
            container.restarting = True
            container.save_run()
            self._timers[container.id] = asyncio.get_running_loop().call_later(delay, self._due, container)
        elif container.spec.auto_remove:
            self._world.spawn(self._world.removal.remove_ended(container))

    def cancel(self, container: Container) -> bool:
        """Do not start it again; True if that was about to happen."""
        handle = self._timers.pop(container.id, None)
        if handle is not None:
            handle.cancel()
            container.forget_run()
        return handle is not None

    def _is_wanted(self, container: Container) -> bool:
        policy = container.spec.restart
        if container.rebooting or policy.name in ("always", "unless-stopped"):
            return True
        is_tired = bool(policy.max_retries) and container.restart_count >= policy.max_retries
        return policy.name == "on-failure" and container.exit_code != 0 and not is_tired

    def _due(self, container: Container) -> None:
        self._timers.pop(container.id, None)
        with acting("policy restart"):
            self._world.spawn(self._start_again(container))

    async def _start_again(self, container: Container) -> None:
        world = self._world
        async with world.lock(container):
            if container.id in world.runs or container.id not in world.containers:
                return
            assert self.start is not None
            try:
                await self.start(container)
            except Exception as error:  # whatever it is, the policy goes on
                if not isinstance(error, PycontainerError):
                    traceback.print_exc()
                container.warnings = [f"restart failed: {error}"]
                container.exit_code = getattr(error, "exit_code", _EXIT_OURS)
                self.after_end(container, lasted_seconds=0)

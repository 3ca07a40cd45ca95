"""Once a minute: what others did to our objects in the kernel is found and put right (hostcheck.py), told and logged.

What an operation is at may look like damage for a moment. So what is found is looked for again a second later, and repaired
if it is there both times; what is about a container under its lock. What a repair does not help against is said once, and
tried again only after it was well for a while. Of what lies on disk nothing is touched here.
"""

import asyncio
from typing import TYPE_CHECKING

from pycontainer.errors import Busy, PycontainerError
from pycontainer.supervisor import hostcheck, log
from pycontainer.supervisor.events import SUPERVISOR, acting
from pycontainer.supervisor.finding import Finding

if TYPE_CHECKING:
    from pycontainer.supervisor.world import World

SECONDS = 60.0
_FIRST_SECONDS = 5.0  # who has just come up has put right what it found
_AGAIN_SECONDS = 1.0

_Key = tuple[str, str]


class Reconcile:
    """The rounds of one world."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._task: asyncio.Task[None] | None = None
        self._hopeless: set[_Key] = set()

    def begin(self, seconds: float = SECONDS) -> None:
        """Look every so many seconds, beginning soon; by the clock that nobody sets."""
        with acting(SUPERVISOR):
            self._task = asyncio.get_running_loop().create_task(self._go_round(seconds))

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _go_round(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(min(seconds, _FIRST_SECONDS))
        while True:
            began = loop.time()
            try:
                await self.round()
            except Exception:  # the next one may be luckier
                log.failure("a fault in looking for what others changed")
            await asyncio.sleep(max(seconds / 2, began + seconds - loop.time()))

    async def round(self) -> None:
        """Look, look again, repair."""
        world = self._world
        if not (world.containers or world.broken) or world.boot.is_going_down:
            return
        first = {_key(finding) async for finding in hostcheck.look(world)}
        self._hopeless &= first
        if not first - self._hopeless:
            return
        await asyncio.sleep(_AGAIN_SECONDS)
        for finding in [finding async for finding in hostcheck.look(world)]:
            if _key(finding) in first - self._hopeless:
                await self._mend(finding)

    async def _mend(self, finding: Finding) -> None:
        words = f"{finding.kind}: {finding.where}: {finding.what}"
        try:
            if await hostcheck.mend(self._world, finding):
                log.say(f"repaired: {words}")
        except Busy:
            return
        except (OSError, PycontainerError) as error:
            self._hopeless.add(_key(finding))
            log.say(f"cannot repair {words}: {error}")


def _key(finding: Finding) -> _Key:
    return finding.kind, finding.where

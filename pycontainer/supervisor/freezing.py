"""Freezing a container while all others are served: a process that waits for a disk stops late, or not at all."""

import asyncio
import contextlib
from typing import TYPE_CHECKING

from pycontainer.errors import Busy

if TYPE_CHECKING:
    from pycontainer.runtime.container import Container
    from pycontainer.supervisor.world import World


async def freeze(world: "World", container: "Container") -> bool:
    """Stop all processes of a container that runs, whose lock is held; return False if it has ended meanwhile.

    Busy, and none of them stopped, if one does not stop.
    """
    run = world.run_of(container)
    try:
        with contextlib.closing(run.cgroup.freezing()) as looks:
            for seconds in looks:
                await asyncio.sleep(seconds)
    except TimeoutError:
        raise Busy(
            f"cannot stop container '{container.spec.name}' for a while: one of its processes goes on",
            hint="it waits for a disk or a file system that does not answer; 'pycontainer top' shows which: state D",
        ) from None
    except OSError:
        if world.runs.get(container.id) is run:
            raise
    return world.runs.get(container.id) is run

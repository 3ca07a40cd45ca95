"""boot, stop_all: the containers that start with the host, and the end of all when it goes down."""

import os

from pycontainer.errors import InvalidInput
from pycontainer.supervisor.boot import DEFAULT_SHUTDOWN_SECONDS
from pycontainer.supervisor.call import Call
from pycontainer.supervisor.world import World

_MAX_PARALLEL, _MAX_SECONDS = 1024, 86400


async def boot(world: World, call: Call) -> object:
    """Start the containers that ask for it, in their order, and tell of each; once in each boot of the host."""
    parallel = call.number("parallel")
    if parallel is None:
        parallel = max(2, os.cpu_count() or 1)
    if not 1 <= parallel <= _MAX_PARALLEL or parallel != int(parallel):
        raise InvalidInput(f"'parallel' must be a whole number from 1 to {_MAX_PARALLEL}", field="parallel")
    work = world.boot.come_up(int(parallel))
    if work is None:
        return {"was_done": True, "started": 0, "failed": 0}
    async for outcome in work.follow():
        await call.event(outcome)
    failed = sum("error" in outcome for outcome in work.outcomes)
    return {"was_done": False, "started": len(work.outcomes) - failed, "failed": failed}


async def stop_all(world: World, call: Call) -> object:
    """Stop the containers, those that started last first, and tell of each; `left` is who runs all the same."""
    seconds = call.number("timeout_seconds")
    if seconds is None:
        seconds = DEFAULT_SHUTDOWN_SECONDS
    if not 0 <= seconds <= _MAX_SECONDS:
        raise InvalidInput(f"'timeout_seconds' must be from 0 to {_MAX_SECONDS}", field="timeout_seconds")
    work = world.boot.go_down(seconds)
    async for outcome in work.follow():
        await call.event(outcome)
    left = [world.containers[container_id].spec.name for container_id in world.runs]
    left += [damaged.name or damaged.id for damaged in world.broken.values() if damaged.is_alive]
    return {"stopped": sum("error" not in outcome for outcome in work.outcomes), "left": left}

"""run: create and start as one, and wait for the end if that is wanted. If it cannot be started, nothing of it remains."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import cast

from pycontainer.errors import PycontainerError
from pycontainer.runtime.container import Container
from pycontainer.supervisor.call import Call
from pycontainer.supervisor.keeping import keep_running
from pycontainer.supervisor.report import container_info
from pycontainer.supervisor.verbs import creation, lifecycle
from pycontainer.supervisor.world import World


async def run(world: World, call: Call) -> object:
    """Answer as `start`; with `attach` by an event once it was started, and then as `wait`: who leaves then ends nothing."""
    attached = call.require_socket() if call.flag("attach") else None
    try:
        spec, image, capped = creation.asked(world, call.mapping("spec"))
        container, excess = await creation.prepare(world, spec, image, capped=capped)
        created = creation.announce(world, container, excess)
        with world.unfinished.beginning(container.id):
            # One lock for all of it: nobody else begins something with what has no record yet.
            async with world.lock(container), _or_nothing(world, container, end_and_remove):
                if call.has_left():  # while files were copied
                    raise ConnectionError("the client left")
                await lifecycle.start_now(
                    world,
                    container,
                    attached=attached,
                    window=call.window(),
                    keep=lambda: keep_running(world, container),
                )
                if attached is not None:
                    await call.event({"started": _started(world, container, created)})
        if attached is None:
            await _until_ready(world, call, container)
    finally:
        if attached is not None:
            attached.close()
    if attached is None:
        return _started(world, container, created)
    call.began_at = asyncio.get_running_loop().time()
    return await call.while_there(lifecycle.end_of(world, call, container))


async def ran(world: World, call: Call) -> object:
    """Answer who ran a container by the supervisor before us, and waits for its end, or until it says that it is ready."""
    call.began_at = asyncio.get_running_loop().time()
    if not call.flag("ready"):
        return await call.while_there(lifecycle.ended(world, call))
    container = world.find(call.text("container"))
    await _until_ready(world, call, container)
    return container_info(world, container)


async def remove(world: World, container: Container) -> None:
    """End a container and take it away."""
    if container.id in world.containers:
        async with world.lock(container):
            await end_and_remove(world, container)


async def end_and_remove(world: World, container: Container) -> None:
    """Do that with its lock held."""
    if container.id in world.containers:
        await lifecycle.stop_now(world, container, 0, cause="rm")
        await world.removal.remove(container, with_volumes=True)


async def _until_ready(world: World, call: Call, container: Container) -> None:
    call.waits_for = {"container": container.id, "ready": True}
    async with _or_nothing(world, container, remove):
        try:
            await lifecycle.until_ready(world, call, container)
        finally:
            call.waits_for = None  # a reload that comes now waits


@contextlib.asynccontextmanager
async def _or_nothing(
    world: World, container: Container, take_away: Callable[[World, Container], Awaitable[None]]
) -> AsyncIterator[None]:
    """Take a container away if the block fails; but if it runs, and it is we who end, it goes on."""
    try:
        yield
    except BaseException as error:
        if not (isinstance(error, asyncio.CancelledError) and container.id in world.runs):
            try:
                await take_away(world, container)
            except (OSError, PycontainerError) as other:
                error.add_note(f"and container '{container.id}' could not be removed: {other}")
        raise


def _started(world: World, container: Container, created: dict[str, object]) -> dict[str, object]:
    """Return what is told of a container that was started, with what there was to say when it was created."""
    started, warnings = container_info(world, container), cast("list[str]", created["warnings"])
    later = [warning for warning in cast("list[str]", started["warnings"]) if warning not in warnings]
    return {**started, "warnings": [*warnings, *later]}

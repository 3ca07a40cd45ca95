"""run: create and start as one, and wait for the end if that is wanted. If it cannot be started, nothing of it remains."""

from typing import cast

from pycontainer.runtime.container import Container
from pycontainer.supervisor.call import Call
from pycontainer.supervisor.keeping import Keeping
from pycontainer.supervisor.report import container_info
from pycontainer.supervisor.verbs import creation, lifecycle
from pycontainer.supervisor.world import World


async def run(world: World, call: Call) -> object:
    """Answer as `start`; with `attach` by an event once it was started, and then as `wait`: who leaves then ends nothing."""
    attached = call.take_socket() if call.flag("attach") else None
    try:
        spec, image, capped = creation.asked(world, call.mapping("spec"))
        container, excess = await creation.prepare(world, spec, image, capped=capped)
        created = creation.announce(world, container, excess)
        try:
            keeping = Keeping(world, container)
            async with world.lock(container):
                await lifecycle.start_now(world, container, attached=attached, window=call.window(), keeping=keeping)
            if attached is None:
                call.waits_for = {"container": container.id, "ready": True}
                await lifecycle.until_ready(world, call, container)
            else:
                await call.event({"started": created})
        except BaseException:
            await _remove(world, container)
            raise
    finally:
        if attached is not None:
            attached.close()
    if attached is not None:
        return await call.while_there(lifecycle.end_of(world, call, container))
    started, warnings = container_info(world, container), cast("list[str]", created["warnings"])
    later = [warning for warning in cast("list[str]", started["warnings"]) if warning not in warnings]
    return {**started, "warnings": [*warnings, *later]}


async def ran(world: World, call: Call) -> object:
    """Answer who ran a container by the supervisor before us, and waits for its end, or until it says that it is ready."""
    if not call.flag("ready"):
        return await call.while_there(lifecycle.ended(world, call))
    container = world.find(call.text("container"))
    try:
        await lifecycle.until_ready(world, call, container)
    except BaseException:
        await _remove(world, container)
        raise
    return container_info(world, container)


async def _remove(world: World, container: Container) -> None:
    """Take away what was to run, and what of it does."""
    async with world.lock(container):
        if container.id in world.containers:
            await lifecycle.stop_now(world, container, 0, cause="rm")
            await world.removal.remove(container, with_volumes=True)

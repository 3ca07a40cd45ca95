"""diff, mount, umount: looking at what a container has written, from the host."""

import asyncio

from pycontainer.errors import InvalidState
from pycontainer.runtime.planner import mount_points
from pycontainer.runtime.rootfs import written
from pycontainer.supervisor import mounting
from pycontainer.supervisor.call import Call
from pycontainer.supervisor.verbs.snapshots import require_own_layer
from pycontainer.supervisor.world import World


async def diff(world: World, call: Call) -> object:
    """Tell what a container has changed of its image; one that runs may go on changing it.

    What we made to mount something there is not its work.
    """
    container = world.find(call.text("container"))
    require_own_layer(container)
    async with world.lock(container):
        world.require(container)
        found = await asyncio.to_thread(written, container, world.layers.frozen)
    ours = {("A", path) for path in mount_points(container.spec)}
    return [{"kind": kind, "path": path} for kind, path in found if (kind, path) not in ours]


async def mount(world: World, call: Call) -> object:
    """Mount the root of a stopped container on the host and say where."""
    container = world.find(call.text("container"))
    async with world.lock(container):
        world.require(container)
        if container.id in world.runs or world.status(container) == "restarting":
            raise InvalidState(
                f"container '{container.spec.name}' is {world.status(container)}",
                hint=f"stop it first: pycontainer stop {container.spec.name}",
            )
        path = await mounting.mount(world, container)
        world.events.emit("mount", container, path=path)
    return {"path": path}


async def umount(world: World, call: Call) -> object:
    """Take the mount of a container's root down."""
    container = world.find(call.text("container"))
    async with world.lock(container):
        world.require(container)
        if container.id not in world.mounted:
            raise InvalidState(f"container '{container.spec.name}' is not mounted")
        mounting.unmount(world, container)
        world.events.emit("umount", container)
    return {}

"""diff, mount, umount: looking at what a container has written, from the host."""

import asyncio
import contextlib
import os

from pycontainer.errors import InvalidState
from pycontainer.runtime.container import Container
from pycontainer.runtime.rootfs import merged, open_upper
from pycontainer.runtime.treework import changed
from pycontainer.supervisor import mounting
from pycontainer.supervisor.call import Call
from pycontainer.supervisor.verbs.snapshots import require_own_layer
from pycontainer.supervisor.world import World


async def diff(world: World, call: Call) -> object:
    """Tell what a container has changed of its image; one that runs may go on changing it."""
    container = world.find(call.text("container"))
    require_own_layer(container)
    if container.driver == "copy":
        raise InvalidState(
            f"container '{container.spec.name}' has a copy of its image: there is no layer that tells what was changed"
        )
    async with world.lock(container):
        world.require(container)
        found = await asyncio.to_thread(_changes, world, container)
    return [{"kind": kind, "path": path} for kind, path in found]


def _changes(world: World, container: Container) -> list[tuple[str, str]]:
    with contextlib.ExitStack() as undo:
        layers = [open_upper(container)]
        undo.callback(os.close, layers[0])
        for layer in reversed(container.lowers):
            layers.append(os.open(world.layers.frozen.path(layer), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
            undo.callback(os.close, layers[-1])
        base_fd = merged(tuple(container.base_layers()))
        undo.callback(os.close, base_fd)
        return changed(layers, base_fd)


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
        world.emit("mount", container, path=path)
    return {"path": path}


async def umount(world: World, call: Call) -> object:
    """Take the mount of a container's root down."""
    container = world.find(call.text("container"))
    async with world.lock(container):
        world.require(container)
        if container.id not in world.mounted:
            raise InvalidState(f"container '{container.spec.name}' is not mounted")
        mounting.unmount(world, container)
        world.emit("umount", container)
    return {}

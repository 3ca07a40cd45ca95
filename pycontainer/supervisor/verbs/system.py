"""system_df, system_prune: what everything takes on disk, and giving back what nobody uses."""

import asyncio
import contextlib

from pycontainer.errors import PycontainerError
from pycontainer.supervisor import pulls
from pycontainer.supervisor.call import Call
from pycontainer.supervisor.diskusage import disk_usage
from pycontainer.supervisor.finding import repair
from pycontainer.supervisor.imagework import erase
from pycontainer.supervisor.storagecheck import findings
from pycontainer.supervisor.verbs.volumes import prune_volumes
from pycontainer.supervisor.world import World


async def system_df(world: World, call: Call) -> object:
    return await disk_usage(world)


async def system_prune(world: World, call: Call) -> object:
    """Delete stopped containers, images without a name, interrupted pulls and what crashes left.

    With `all` also images that no container has, with `volumes` anonymous volumes that no container has. Say what went, and
    what it held.
    """
    before = _total(await disk_usage(world))
    containers = await _prune_containers(world, with_volumes=call.flag("volumes"))
    pruned, doomed = world.images.retire_unneeded(world.images_in_use(), unused=call.flag("all"))
    images = [image["name"] for image in pruned]
    for name in images:
        world.events.emit("image-remove", image=name)
    await erase(doomed)
    volumes: object = []
    if call.flag("volumes"):
        volumes = (await prune_volumes(world, with_named=False))["removed"]
    leftovers = []
    for path in pulls.interrupted(world.paths.pulls_dir):
        if await asyncio.to_thread(pulls.remove, path):
            leftovers.append(f"interrupted pull: {path}")
    for finding in findings(world):
        if finding.repair is not None:
            with contextlib.suppress(OSError, PycontainerError):  # `doctor` says why, to who asks for it
                if await repair(world, finding):
                    leftovers.append(f"{finding.kind}: {finding.where}")
    after = _total(await disk_usage(world))
    return {
        "containers": containers,
        "images": images,
        "volumes": volumes,
        "leftovers": leftovers,
        "freed_bytes": max(before - after, 0),
    }


async def _prune_containers(world: World, *, with_volumes: bool) -> list[str]:
    """Remove those that ran and ended; one that was created and never started is somebody's plan."""
    removed = []
    for container in list(world.containers.values()):
        if world.status(container) != "stopped" or container.id in world.mounted:
            continue
        async with world.lock(container):
            is_there = container.id in world.containers and container.id not in world.mounted
            if is_there and world.status(container) == "stopped":
                await world.removal.remove(container, with_volumes=with_volumes)
                removed.append(container.spec.name)
    return removed


def _total(usage: dict[str, object]) -> int:
    summary = usage["summary"]
    assert isinstance(summary, list)
    return sum(row["size_bytes"] for row in summary)

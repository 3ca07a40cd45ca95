"""metrics: what the metrics process cannot ask the kernel itself.

It reads the cgroups and links itself (pycontainer/metrics/collector.py): for a thousand containers these take 0.2 s of a CPU,
in which nothing else could be started here. What comes from here is in memory, but for a few disks (measures.py) and for what
inner ends of links say (net/innerend.py), which it has no right to ask; a thread does that. All is sent in pieces, between
which others have a turn.
"""

import asyncio
import functools
import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

from pycontainer import __version__
from pycontainer.disk.storage import Usage
from pycontainer.net.linkcounts import received_inside
from pycontainer.runtime.container import Container
from pycontainer.supervisor.call import Call
from pycontainer.supervisor.measures import of_process
from pycontainer.supervisor.world import World

_Received = Mapping[int, tuple[int, int] | None]  # (bytes, packets) by the index of a link

_AT_ONCE = 64  # containers in one event: 1 ms
_READER = ThreadPoolExecutor(1)  # the others may be busy for long, erasing layers


async def metrics(world: World, call: Call) -> object:
    disks = world.measures.disks(_looks(world))
    rows = [*world.containers.values()]
    for first in range(0, len(rows), _AT_ONCE):
        some = rows[first : first + _AT_ONCE]
        received = await _received(world, some)
        present = [each for each in some if world.containers.get(each.id) is each]
        await call.event({"containers": [_container(world, each, disks.get(each.id), received) for each in present]})
        await asyncio.sleep(0)
    damaged = [
        {"id": each.id, "name": each.name, "tenant": each.tenant, "status": "damaged"} for each in world.broken.values()
    ]
    return {
        "containers": damaged,
        "cgroup_version": 2 if world.hierarchy.layout.is_v2 else 1,
        "tenants": _tenants(world, disks),
        "supervisor": {
            "version": __version__,
            "pid": os.getpid(),
            "started": world.measures.started,
            **of_process(),
            "connections": world.measures.count_connections(),
            "events": world.events.last,
            # of images it would have to read them all: `doctor` does
            "damaged": len(world.broken) + len(world.tenants.damaged) + len(world.networks.damaged_networks),
            "served": {verb: list(served) for verb, served in world.measures.served.items()},
        },
    }


async def _received(world: World, containers: Iterable[Container]) -> _Received:
    """Return what came by links that a fast path hands connections to."""
    links = {index: True for each in containers for index, is_so in world.networks.links(each.id).items() if is_so}
    return await asyncio.get_running_loop().run_in_executor(_READER, received_inside, links) if links else {}


def _container(world: World, container: Container, disk: Usage | None, received: _Received) -> dict[str, object]:
    run = world.runs.get(container.id)
    row: dict[str, object] = {
        "id": container.id,
        "name": container.spec.name,
        "image": container.spec.image or container.spec.rootfs or "",
        "tenant": container.spec.tenant,
        "status": "running" if run is not None else world.status(container),  # whether it is frozen, the kernel says
        "health": container.health,
        "restarts": world.restarts.counts.get(container.id, 0),
        "restart_attempts": container.restart_count,
    }
    if run is None:
        row["exit_code"] = container.exit_code if container.finished is not None else None
        return row
    row["started"] = container.started
    row["cgroups"] = run.cgroup.paths()
    row["links"] = world.networks.links_of(container.id) if container.addresses else []
    row["received_inside"] = {
        index: received.get(index) for index, is_so in world.networks.links(container.id).items() if is_so
    }
    row["disk"] = _disk(disk)
    return row


def _tenants(world: World, disks: dict[str, Usage]) -> list[dict[str, object]]:
    members: dict[str, list[int]] = {name: [0, 0] for name in world.tenants.by_name}
    for container in world.containers.values():
        if (counts := members.get(container.spec.tenant)) is not None:
            counts[0] += 1
            counts[1] += container.id in world.runs
    return [
        {
            "name": name,
            "containers": members[name][0],
            "running": members[name][1],
            "cgroups": world.tenants.cgroup_paths(name) if world.tenants.is_raised(name) else {},
            "disk": _disk(disks.get(f"tenant:{name}")),
        }
        for name in world.tenants.by_name
    ]


def _disk(usage: Usage | None) -> list[int | None] | None:
    return None if usage is None else [usage.used_bytes, usage.used_inodes, usage.hard_bytes, usage.hard_inodes]


def _looks(world: World) -> dict[str, Callable[[], Usage | None]]:
    """Return how to look at each disk: of containers that run, and of the pools that they use."""
    running = [world.containers[container_id] for container_id in world.runs]
    pools = {each.spec.tenant for each in running} & world.tenants.by_name.keys()
    looks: dict[str, Callable[[], Usage | None]] = {}
    for each in running:
        if not each.spec.rootfs_writable:
            looks[each.id] = functools.partial(_look, each)
    return looks | {f"tenant:{name}": world.tenants.pool(name).usage for name in pools}


def _look(container: Container) -> Usage | None:
    return container.storage().usage()

"""What of the kernel's objects with our marker is nobody's, or is not there any more: strays, gateways, ports, the boot.

Ours is what bears our names at our place: cgroups beneath our parent that are named as containers or tenants are, links with
our prefix and a number. All else is somebody else's, whatever it is, and stays. What containers that run have lost is in
runcheck.py, what lies on disk in storagecheck.py.

Nothing counts that an operation is at: who starts or removes a container holds its lock, and what is not awaited cannot be
seen half done.
"""

import asyncio
import contextlib
import functools
import time
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

from pycontainer.cgroup.base import Above, Cgroup
from pycontainer.spec.names import is_container_id
from pycontainer.supervisor import runcheck, storagecheck
from pycontainer.supervisor.boot import asks_to_start
from pycontainer.supervisor.finding import Finding, repair

if TYPE_CHECKING:
    from pycontainer.supervisor.world import World

_BOOT_SECONDS = 600.0  # from which on nobody waits any more for `service boot`
_NAMES_TOLD = 5


async def look(world: "World") -> AsyncIterator[Finding]:
    """Yield what is repaired without being asked, with a pause for others after each container."""
    world.endings.settle()
    for check in (
        _cgroups,
        _tenants,
        _links,
        _forwarding,
        _gateways,
        _ports,
        storagecheck.mounts,
        runcheck.shaping,
        runcheck.tenants,
    ):
        for finding in check(world):
            yield finding._replace(check=finding.check or check)
        await asyncio.sleep(0)
    with contextlib.closing(Above()) as above:
        common = runcheck.Common(world.networks.links_there(), above)
        for container_id in list(world.runs):
            if container_id in world.runs and not _is_locked(world, container_id):
                for finding in runcheck.of_run(world, container_id, common):
                    yield finding
            await asyncio.sleep(0)


async def findings(world: "World") -> list[Finding]:
    """Return all of that, and what only a person who asks is told: the firewall is watched all the time (wallwatch.py)."""
    found = [*_boot(world), *runcheck.firewall(world)]
    return found + [finding async for finding in look(world) if finding.check is not storagecheck.mounts]


async def mend(world: "World", finding: Finding) -> bool:
    """Repair one of them, look whether that helped, and have it on record; tell whether it was still there.

    Raises OSError, PycontainerError, and TimeoutError if it is there all the same.
    """
    if not await repair(world, finding):
        return False
    if finding.again(world) is not None:
        raise TimeoutError(f"it is so again: {finding.what}")
    container = world.containers.get(finding.container_id)
    world.events.emit("repaired", container, cause=finding.kind, detail=f"{finding.where}: {finding.what}")
    return True


def _is_locked(world: "World", container_id: str) -> bool:
    """Tell whether an operation is at work on a container, or waits to be."""
    lock = world.locks.get(container_id)
    return lock is not None and lock.locked()


# -- cgroups -------------------------------------------------------------------------------------------------------------


def _cgroups(world: "World") -> Iterator[Finding]:
    for cgroup_id, tenant in world.hierarchy.containers():
        if is_container_id(cgroup_id) and not _is_locked(world, cgroup_id):
            yield from _stray_cgroup(cgroup_id, tenant, world)


def _stray_cgroup(cgroup_id: str, tenant: str, world: "World") -> Iterator[Finding]:
    """Find the cgroup of a container that does not run, or is not there."""
    damaged = world.broken.get(cgroup_id)
    runs_here = cgroup_id in world.runs and world.containers[cgroup_id].spec.tenant == tenant
    if runs_here or cgroup_id in world.making or (damaged is not None and damaged.is_alive):
        return
    if (cgroup_id, tenant) not in world.hierarchy.containers():
        return
    cgroup = world.hierarchy.open(cgroup_id, tenant)
    count = len(cgroup.pids())
    yield Finding(
        "cgroup without a container", next(iter(cgroup.paths().values())),
        f"{count} processes are in it, and it is of no container that runs" if count else "it is of no container that runs",
        "ends them and removes it" if count else "removes it",
        lambda: asyncio.to_thread(_remove, cgroup),
        check=functools.partial(_stray_cgroup, cgroup_id, tenant), container_id=cgroup_id,
    )  # fmt: skip


def _remove(cgroup: Cgroup) -> None:
    cgroup.kill()
    cgroup.delete()


def _tenants(world: "World") -> Iterator[Finding]:
    for name in world.hierarchy.tenants():
        if name not in world.tenants.by_name and name not in world.tenants.damaged:
            cgroup = world.hierarchy.open_tenant(name)
            yield Finding(
                "cgroup without a tenant", next(iter(cgroup.paths().values())), f"there is no tenant '{name}'",
                "removes it", cgroup.delete,
            )  # fmt: skip


# -- the network ---------------------------------------------------------------------------------------------------------


def _links(world: "World") -> Iterator[Finding]:
    for name in sorted(world.networks.strays()):
        yield Finding(
            "link without a container", name, "it is on no network of any container", "deletes it",
            lambda name=name: world.networks.delete_stray(name),  # type: ignore[misc]
        )  # fmt: skip


def _forwarding(world: "World") -> Iterator[Finding]:
    for setting in world.networks.forwarding_off():
        yield Finding(
            "no forwarding", f"net.{setting.replace('/', '.')}", "it was switched off: containers reach nobody but the host",
            "switches it on", lambda setting=setting: world.networks.forward(setting),  # type: ignore[misc]
        )  # fmt: skip


def _gateways(world: "World") -> Iterator[Finding]:
    for network, lost in world.networks.gateway_harm().items():
        yield Finding(
            "lost gateway", f"network '{network}'", lost, "sets it again",
            lambda network=network: world.networks.mend_gateway(network),  # type: ignore[misc]
        )  # fmt: skip


def _ports(world: "World") -> Iterator[Finding]:
    if not world.networks.are_ports_served():
        yield Finding(
            "no port forwarder", world.paths.forwarder_socket,
            "it died: ports that are published on the loopback answer nobody there", "starts another",
            lambda: _serve_again(world),
        )  # fmt: skip


def _serve_again(world: "World") -> None:
    for problem in world.networks.serve_ports_again():
        world.events.emit("leftover", detail=problem)


# -- the boot ------------------------------------------------------------------------------------------------------------


def _boot(world: "World") -> Iterator[Finding]:
    wanted = [c.spec.name for c in world.containers.values() if asks_to_start(c)]
    up_seconds = time.clock_gettime(time.CLOCK_BOOTTIME)
    if not wanted or world.boot.phase or up_seconds < _BOOT_SECONDS:
        return
    names = ", ".join(repr(name) for name in sorted(wanted)[:_NAMES_TOLD])
    more = f" and {len(wanted) - _NAMES_TOLD} more" if len(wanted) > _NAMES_TOLD else ""
    yield Finding(
        "no boot", world.paths.run_dir,
        f"{names}{more} ask to start with the host, which is up for {up_seconds / 60:.0f} minutes, and nobody has "
        "called 'service boot'",
        "have it called at every boot: pycontainer generate systemd --directory /etc/systemd/system, then "
        f"systemctl enable {world.paths.marker}-boot.service; now: pycontainer service boot",
        None,
    )  # fmt: skip

"""What the host has, what is promised of it and used, and whether one more promise is accepted.

The sums are made anew of the records whenever they are asked for: there is no account that could be wrong after a crash. A
promise is judged when it is made (create, clone, import, set, tenant create and set), never when a container starts: what was
promised is kept. The policy is in a file of root's alone (spec/capacity.py), read again when it has changed; one that cannot
be read refuses every promise, as nobody knows what it would allow.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, cast

from pycontainer.cgroup.base import GONE
from pycontainer.cgroup.reserve import memory_for_containers, total_memory_bytes
from pycontainer.cgroup.v1 import UNLIMITED_BYTES
from pycontainer.controllers.cpu import used_usec
from pycontainer.controllers.memory import working_set_bytes
from pycontainer.disk.storage import half_of
from pycontainer.disk.volume import VolumeData
from pycontainer.errors import InvalidInput, InvalidState, PycontainerError
from pycontainer.record import read_own
from pycontainer.runtime.container import Container
from pycontainer.spec.capacity import (
    DISK,
    NOTHING,
    RESOURCES,
    Amounts,
    Policy,
    Promised,
    amounts,
    beside,
    of_pool,
    plus,
    read_policy,
    too_much,
    total,
)
from pycontainer.spec.model import ContainerSpec
from pycontainer.supervisor.caller import current_caller
from pycontainer.units import CPU_PERIOD_USEC

if TYPE_CHECKING:
    from pycontainer.supervisor.world import World

_MAX_BYTES = 1 << 16
_ROUTES, _ROUTES6, _LINKS = "/proc/net/route", "/proc/net/ipv6_route", "/sys/class/net"
_RTF_UP, _RTF_REJECT = 0x0001, 0x0200


class Capacity:
    """The judge of promises in one world."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._path = world.paths.capacity_file
        self._seen: tuple[int, ...] | None = None
        self._policy: Policy | PycontainerError = Policy()

    def policy(self) -> Policy:
        """Return what holds now: one stat(2), and a look at the file when it has changed.

        Raises InvalidInput or InvalidState if nobody knows.
        """
        try:
            found = os.stat(self._path)
            seen = (found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size)
        except FileNotFoundError:
            self._seen, self._policy = None, Policy()
            return self._policy
        if seen != self._seen:
            self._seen, self._policy = seen, self._read()
        if isinstance(self._policy, PycontainerError):
            if current_caller() is not None:
                raise InvalidState("how much this host may promise is unknown", hint="ask who runs this host")
            raise type(self._policy)(self._policy.message, hint=self._policy.hint)
        return self._policy

    def _read(self) -> Policy | PycontainerError:
        try:
            return read_policy(read_own(self._path, _MAX_BYTES), source=self._path)
        except InvalidInput as error:
            return InvalidInput(f"how much may be promised is unknown:\n{error.message}", hint=error.hint)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            return InvalidState(
                f"how much may be promised is unknown: '{self._path}': {reason}",
                hint="repair the file; without it everything may be promised",
            )

    # -- judging -----------------------------------------------------------------------------------------------------

    def admit_new(self, container: Container) -> list[str]:
        """Judge a container that is being made. InvalidState, or what to warn of."""
        return self._admit(container, None, container.spec)

    def admit_change(self, container: Container, spec: ContainerSpec) -> list[str]:
        """Judge what a container is to have from now on. InvalidState, or what to warn of."""
        return self._admit(container, container.spec, spec)

    def admit_spec(self, spec: ContainerSpec) -> list[str]:
        """Judge a container that is going to be made. InvalidState, or what to warn of."""
        return self._admit(None, None, spec)

    def _admit(self, container: Container | None, earlier: ContainerSpec | None, spec: ContainerSpec) -> list[str]:
        policy = self.policy()
        if not policy.is_judging:
            return []
        default, tenants = self._default_disk_bytes(), self._tenants()
        base = total(self._promises(policy, default, tenants, without=container))
        before = base if earlier is None else plus(base, _of(earlier, default, tenants))
        return self._judge(policy, before, plus(base, _of(spec, default, tenants)), f"container '{spec.name}'")

    def admit_tenant(self, name: str, spec: ContainerSpec) -> list[str]:
        """Judge what a tenant is to have. InvalidState, or what to warn of."""
        policy = self.policy()
        if not policy.is_judging:
            return []
        default, tenants = self._default_disk_bytes(), self._tenants()
        before = total(self._promises(policy, default, tenants))
        after = total(self._promises(policy, default, {**tenants, name: amounts(spec)}))
        return self._judge(policy, before, after, f"tenant '{name}'")

    def _judge(self, policy: Policy, before: list[Promised], after: list[Promised], owner: str) -> list[str]:
        found = too_much(before, after, self.physical(policy), policy)
        if found and current_caller() is not None:
            found = ["its sums are not told to users of tenants, as they tell what others have"]
        if found and policy.admission == "refuse":
            raise InvalidState(
                f"{owner} is more than this host may promise: {'; '.join(found)}",
                hint="ask for less, or give caps where there are none; 'pycontainer capacity' shows what is promised, "
                f"'{self._path}' says how much may be",
            )
        return [f"more is promised than '{self._path}' allows: {words}" for words in found]

    def tell(self, excess: list[str], info: dict[str, object], container: Container | None = None) -> dict[str, object]:
        """Make what was admitted with a warning an event, and return the answer `info` with it among its warnings."""
        if not excess:
            return info
        subject = {} if container is not None else {"tenant": str(info["name"])}
        self._world.events.emit("over-capacity", container, detail="; ".join(excess), **subject)
        return {**info, "warnings": [*cast("list[str]", info["warnings"]), *excess]}

    def _promises(
        self,
        policy: Policy | None,
        default_disk_bytes: int | None,
        tenants: Mapping[str, Amounts],
        *,
        without: Container | None = None,
    ) -> list[Amounts]:
        """Return all promises that stand; those of volumes where `policy` asks for disk, or is None."""
        found = [_of(one.spec, default_disk_bytes, tenants) for one in self._world.present() if one is not without]
        found += [of_pool(pool) for pool in tenants.values()]
        if policy is None or "disk" in policy.ratios:
            found += self._volumes(default_disk_bytes)
        return found

    def _tenants(self) -> dict[str, Amounts]:
        return {name: amounts(tenant.spec) for name, tenant in self._world.tenants.by_name.items()}

    def _default_disk_bytes(self) -> int | None:
        return half_of(self._world.paths.containers_dir, with_inodes=False).hard_bytes

    # -- what there is -----------------------------------------------------------------------------------------------

    def physical(self, policy: Policy) -> dict[str, int]:
        """Return what the host has for containers, of each resource of which it is known."""
        found = _disk_bytes(self._world.paths.containers_dir)
        there = {
            "memory": self._memory_bytes(),
            "cpus": (os.cpu_count() or 1) * CPU_PERIOD_USEC,
            "pids": min(_number("/proc/sys/kernel/pid_max"), _number("/proc/sys/kernel/threads-max")),
            "disk": found[0],
        }
        if (speed := link_speed(uplink())) is not None:
            there |= {"net_in": speed, "net_out": speed}
        return there | dict(policy.physical)

    def _memory_bytes(self) -> int:
        """Return what all containers may have together: what the kernel holds them to, or is going to."""
        parent = self._world.hierarchy.open_parent()
        name = "memory.max" if parent.version == 2 else "memory.limit_in_bytes"
        with contextlib.suppress(OSError):
            held = parent.read("memory", name)
            if held != "max" and int(held) < UNLIMITED_BYTES:
                return int(held)
        return memory_for_containers(total_memory_bytes())

    async def describe(self, seconds: float) -> dict[str, object]:
        """Return Capacity (docs/api.md); what of CPU and network is used shows in two looks, `seconds` apart."""
        problem = ""
        try:
            policy = self.policy()
        except PycontainerError as error:
            policy, problem = Policy(), error.message
        earlier, start = self._counters(), time.monotonic()
        await asyncio.sleep(seconds)
        later, elapsed = self._counters(), max(time.monotonic() - start, 1e-3)
        used: dict[str, int | None] = {
            key: None if key not in earlier or key not in later else max(0, int((later[key] - earlier[key]) / elapsed))
            for key in ("cpus", "net_in", "net_out")
        }
        used |= self._held()
        world, physical = self._world, self.physical(policy)
        sums = total(self._promises(None, self._default_disk_bytes(), self._tenants()))
        return {
            "admission": policy.admission,
            "problem": problem,
            "containers": len(world.containers),
            "tenants": len(world.tenants.by_name),
            "uncounted": len(world.broken) + len(world.tenants.damaged),
            "resources": [
                {
                    "resource": resource.key,
                    "unit": resource.unit,
                    "physical": physical.get(resource.key),
                    "promised": promised.amount,
                    "uncapped": promised.uncapped,
                    "used": used.get(resource.key),
                    "ratio": policy.ratios[resource.key] / 1000 if resource.key in policy.ratios else None,
                }
                for resource, promised in zip(RESOURCES, sums, strict=True)
            ],
        }

    def _held(self) -> dict[str, int | None]:
        """Return what is used of what is held, not spent."""
        parent = self._world.hierarchy.open_parent()
        return {
            "memory": _quietly(lambda: working_set_bytes(parent)),
            "pids": _quietly(lambda: int(parent.read("pids", "pids.current"))),
            "disk": _disk_bytes(self._world.paths.containers_dir)[1],
        }

    def _counters(self) -> dict[str, int]:
        """Return what has been used so far: CPU time in our unit for a second of it, bits on the uplink."""
        parent, link = self._world.hierarchy.open_parent(), uplink()
        found = {
            "cpus": _quietly(lambda: used_usec(parent) * CPU_PERIOD_USEC // 1_000_000),
            "net_in": _quietly(lambda: _number(f"{_LINKS}/{link}/statistics/rx_bytes") * 8) if link else None,
            "net_out": _quietly(lambda: _number(f"{_LINKS}/{link}/statistics/tx_bytes") * 8) if link else None,
        }
        return {key: value for key, value in found.items() if value is not None}

    def _volumes(self, default_disk_bytes: int | None) -> list[Amounts]:
        """Return what volumes promise: their sizes, as far as somebody asked for one."""
        found = []
        for volume in self._world.volumes.all():
            try:
                size = VolumeData(volume.directory).caps().hard_bytes
            except (OSError, PycontainerError):  # it goes just now, or is damaged: `doctor` tells of it
                continue
            own = None if size == default_disk_bytes else size
            found.append((*NOTHING[:DISK], own, *NOTHING[DISK + 1 :]))
        return found


def _of(spec: ContainerSpec, default_disk_bytes: int | None, tenants: Mapping[str, Amounts]) -> Amounts:
    """Return what a container promises; nobody caps together what a tenant holds whose record is damaged."""
    return beside(
        amounts(spec, default_disk_bytes=default_disk_bytes), tenants.get(spec.tenant) if spec.tenant else None
    )


def _disk_bytes(directory: str) -> tuple[int, int]:
    """Return how much the file system of `directory` holds, and how much of that is used. statvfs(3)"""
    found = os.statvfs(directory)
    return found.f_blocks * found.f_frsize, (found.f_blocks - found.f_bfree) * found.f_frsize


def uplink(routes: str = _ROUTES, routes6: str = _ROUTES6) -> str:
    """Return the link that the default route goes over, that of IPv4 first; empty if there is none.

    Of several that with the least metric. Source: net/ipv4/fib_trie.c, fib_route_seq_show; net/ipv6/route.c,
    rt6_info_route.
    """
    found: list[tuple[int, str]] = []
    for line in _lines(routes)[1:]:
        link, destination, _, flags, _, _, metric, mask, *_ = line.split()
        if int(destination, 16) == int(mask, 16) == 0 and int(flags, 16) & _RTF_UP:
            found.append((int(metric), link))
    if not found:
        for line in _lines(routes6):
            destination, length, *_, metric, _, _, flags, link = line.split()
            if int(destination, 16) == int(length, 16) == 0 and int(flags, 16) & (_RTF_UP | _RTF_REJECT) == _RTF_UP:
                found.append((int(metric, 16), link))
    return min(found)[1] if found else ""


def link_speed(link: str, links: str = _LINKS) -> int | None:
    """Return how fast a link is in each direction, bits per second; None of one that does not know, as virtual ones."""
    try:
        megabits = _number(f"{links}/{link}/speed")
    except (OSError, ValueError):  # EINVAL: it is down, or has no speed
        return None
    return megabits * 1_000_000 if link and megabits > 0 else None


def _lines(path: str) -> list[str]:
    try:
        with open(path) as file:
            return file.read().splitlines()
    except FileNotFoundError:  # a kernel without this protocol
        return []


def _number(path: str) -> int:
    with open(path) as file:
        return int(file.read())


def _quietly(read: Callable[[], int]) -> int | None:
    """Return what `read` says; None while nothing runs, and the cgroup or the link is not there."""
    try:
        return read()
    except OSError as error:
        if error.errno not in GONE:
            raise
        return None

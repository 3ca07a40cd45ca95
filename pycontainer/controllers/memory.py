"""Memory and swap: without a word about swap `memory_bytes` caps both together: nobody goes on in the host's swap.

The kernel rounds a limit down to whole pages; that much difference is accepted when it is read back.
"""

import errno
import os

from pycontainer.cgroup.base import Cgroup, parse_keyed
from pycontainer.cgroup.v1 import UNLIMITED_BYTES
from pycontainer.controllers.protocol import (
    Host,
    Instance,
    Lacking,
    Reading,
    hold,
    parse_limit,
    read_pressure,
    set_and_compare,
)
from pycontainer.errors import InvalidState, Unsupported
from pycontainer.spec.model import ContainerSpec
from pycontainer.units import format_bytes, format_bytes_short

MINIMUM_BYTES = 1024 * 1024  # less cannot even hold the page tables and stacks of a start
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_V1_NO_LIMIT_BYTES = ((1 << 63) - 1) // _PAGE_BYTES * _PAGE_BYTES

_V1_SOCKETS = "memory.kmem.tcp.limit_in_bytes"
_V1_SOCKETS_PART, _V1_SOCKETS_LEAST_BYTES = 4, 4 << 20

_SWAP_FILES = {1: "memory.memsw.limit_in_bytes", 2: "memory.swap.max"}


class MemoryController:
    """memory.max and memory.swap.max on v2, limit_in_bytes and memsw.limit_in_bytes on v1."""

    name, unit = "memory", "bytes"

    def validate(self, spec: ContainerSpec, host: Host) -> list[str]:
        asked = _asked_of_v2(spec)
        if (spec.memory_bytes, spec.memory_low_bytes) == (None, None) and not asked:
            return []
        if "memory" not in host.layout.controllers:
            return ["memory: this host has no memory controller; boot it with cgroup_enable=memory"]
        problems: list[str] = []
        if spec.memory_bytes is not None and spec.memory_bytes < MINIMUM_BYTES:
            problems.append(
                f"memory: {spec.memory_bytes} bytes are too few to start anything; ask for {MINIMUM_BYTES} or more"
            )
        if spec.memory_bytes is not None and host.memory_bytes is not None and spec.memory_bytes > host.memory_bytes:
            problems.append(
                f"memory: {format_bytes(spec.memory_bytes)} asked, but this host has "
                f"{format_bytes_short(host.memory_bytes)}"
            )
        if not host.layout.is_v2:
            problems += [Lacking(f"{key}: cgroup v1 has no such limit") for key in asked]
        return problems

    def excess(self, instance: Instance, spec: ContainerSpec) -> str:
        used = working_set_bytes(instance.cgroup)
        if spec.memory_bytes is None or used <= spec.memory_bytes:
            return ""
        return f"memory: {format_bytes_short(used)} are in use, more than {format_bytes(spec.memory_bytes)}"

    def apply(self, instance: Instance, spec: ContainerSpec) -> list[str]:
        warnings = self._apply_cap(instance, spec)
        _apply_soft(instance, spec)
        return warnings

    def _apply_cap(self, instance: Instance, spec: ContainerSpec) -> list[str]:
        cgroup, limit_bytes = instance.cgroup, spec.memory_bytes
        if limit_bytes is None and (instance.is_new or self._limit(cgroup) is None):
            return []
        total_bytes = limit_bytes if spec.memory_swap_bytes is None else spec.memory_swap_bytes
        has_swap_cap = (_apply_v2 if cgroup.version == 2 else _apply_v1)(cgroup, limit_bytes, total_bytes)
        warnings = _cap_sockets_v1(cgroup, limit_bytes) if cgroup.version == 1 else []
        if limit_bytes is not None and not has_swap_cap and _host_has_swap():
            warnings.append(
                f"swap is not capped: the kernel has no {_SWAP_FILES[cgroup.version]}; "
                "boot with swapaccount=1 or turn swap off"
            )
        return warnings

    def read(self, instance: Instance) -> Reading:
        cgroup = instance.cgroup
        if cgroup.version == 2:
            events = parse_keyed(cgroup.read("memory", "memory.events"))
            return Reading(
                int(cgroup.read("memory", "memory.current")),
                peak_bytes(cgroup),
                self._limit(cgroup),
                events["max"],
                read_pressure(cgroup, "memory"),
                parse_limit(cgroup.read("memory", "memory.high")),
            )
        return Reading(
            int(cgroup.read("memory", "memory.usage_in_bytes")),
            peak_bytes(cgroup),
            self._limit(cgroup),
            _failures_v1(cgroup),
        )

    def account(self, instance: Instance) -> dict[str, int]:
        return {"memory_oom_kills": instance.cgroup.oom_kills()}

    def release(self, instance: Instance) -> None:
        pass

    def _limit(self, cgroup: Cgroup) -> int | None:
        if cgroup.version == 2:
            return parse_limit(cgroup.read("memory", "memory.max"))
        limit_bytes = int(cgroup.read("memory", "memory.limit_in_bytes"))
        return None if limit_bytes >= UNLIMITED_BYTES else limit_bytes


def peak_bytes(cgroup: Cgroup) -> int | None:
    """Return the most that was ever held, None where the kernel does not say."""
    if cgroup.version == 1:
        return int(cgroup.read("memory", "memory.max_usage_in_bytes"))
    try:
        return int(cgroup.read("memory", "memory.peak"))
    except FileNotFoundError:  # before 5.19
        return None


def working_set_bytes(cgroup: Cgroup) -> int:
    """Return what the processes hold, without the file pages that the kernel would drop first (as Docker counts)."""
    if cgroup.version == 2:
        used = int(cgroup.read("memory", "memory.current"))
        inactive = _number_of(cgroup.read("memory", "memory.stat"), "inactive_file")
    else:
        used = int(cgroup.read("memory", "memory.usage_in_bytes"))
        inactive = _number_of(cgroup.read("memory", "memory.stat"), "total_inactive_file")
    return max(0, used - inactive)


def _number_of(text: str, key: str) -> int:
    """Return one number of a flat keyed file, 0 if it is not there; to parse all of memory.stat is more than to read it."""
    return int(f"\n{text}".partition(f"\n{key} ")[2].partition("\n")[0] or 0)


def _soft_limits(spec: ContainerSpec) -> list[tuple[str, str, int | None]]:
    """Return (setting, file of v2, bytes) of what protects or slows without capping."""
    return [
        ("memory_high", "memory.high", spec.memory_high_bytes),
        ("memory_low", "memory.low", spec.memory_low_bytes),
        ("memory_min", "memory.min", spec.memory_min_bytes),
    ]


def _asked_of_v2(spec: ContainerSpec) -> list[str]:
    """Return the settings asked that v1 has nothing like."""
    asked = [key for key, _, value in _soft_limits(spec) if value is not None and key != "memory_low"]
    return [*asked, "oom_group"] if spec.oom_group else asked


def _apply_soft(instance: Instance, spec: ContainerSpec) -> None:
    if instance.cgroup.version == 1:
        low_bytes = _in_pages(spec.memory_low_bytes)
        hold(instance, "memory", "memory.soft_limit_in_bytes", low_bytes, str(_V1_NO_LIMIT_BYTES))
        if asked := _asked_of_v2(spec):
            raise Unsupported(
                f"cannot hold {', '.join(asked)}: cgroup v1 has no such limit",
                hint="leave it out",
                feature="memory",
            )
        return
    hold(instance, "memory", "memory.oom.group", 1 if spec.oom_group else None, "0")
    for _, name, value in _soft_limits(spec):
        hold(instance, "memory", name, _in_pages(value), "max" if name == "memory.high" else "0")


def _in_pages(size_bytes: int | None) -> int | None:
    return None if size_bytes is None else size_bytes // _PAGE_BYTES * _PAGE_BYTES


def _apply_v2(cgroup: Cgroup, limit_bytes: int | None, total_bytes: int | None) -> bool:
    """Set memory and swap; say whether the kernel can cap swap."""
    _set(cgroup, "memory.max", limit_bytes)
    if _swap_limit(cgroup) is None:
        return False
    _set(cgroup, "memory.swap.max", None if limit_bytes is None or total_bytes is None else total_bytes - limit_bytes)
    return True


def _apply_v1(cgroup: Cgroup, limit_bytes: int | None, total_bytes: int | None) -> bool:
    """Set memory and memory+swap; say whether the kernel can cap swap.

    InvalidState where more is in use than it can take back: it kills nobody for a new cap (mem_cgroup_resize_max in
    mm/memcontrol-v1.c).
    """
    try:
        return _set_both_v1(cgroup, limit_bytes, total_bytes)
    except OSError as error:
        if error.errno != errno.EBUSY or limit_bytes is None:
            raise
        raise InvalidState(
            f"cannot cap memory at {format_bytes(limit_bytes)}: more is in use, and cgroup v1 kills nobody for it",
            hint="let it use less first",
        ) from error


def _set_both_v1(cgroup: Cgroup, limit_bytes: int | None, total_bytes: int | None) -> bool:
    """The kernel wants memory <= memory+swap at every moment, so the order depends on which way they go."""
    swap_limit = _swap_limit(cgroup)
    if swap_limit is None:
        _set(cgroup, "memory.limit_in_bytes", limit_bytes)
        return False
    values = [("memory.limit_in_bytes", limit_bytes), ("memory.memsw.limit_in_bytes", total_bytes)]
    if limit_bytes is None or limit_bytes > int(swap_limit):
        values.reverse()
    for name, value in values:
        _set(cgroup, name, value)
    return True


def _cap_sockets_v1(cgroup: Cgroup, limit_bytes: int | None) -> list[str]:
    """Cap what connections and datagrams hold unread and unsent: a quarter of the memory, on top of it; return warnings.

    v1 counts that apart, and only where it is capped (of sockets made after that), so a container could take the host's
    memory by writing to itself, and all that net.ipv4.tcp_mem gives to everybody. Nobody is killed for it: datagrams
    beyond it are dropped; a TCP connection falls back to the least that the kernel lets each have (some 80 KB for both
    ends), so that their number, which memory bounds, bounds the sum. v2 counts all of it as memory. memory.rst of v1, 2.7.
    """
    value_bytes = None if limit_bytes is None else max(limit_bytes // _V1_SOCKETS_PART, _V1_SOCKETS_LEAST_BYTES)
    try:
        _set(cgroup, _V1_SOCKETS, value_bytes)
    except FileNotFoundError:
        return [] if limit_bytes is None else [f"the memory of sockets is not capped: the kernel has no {_V1_SOCKETS}"]
    return []


def _swap_limit(cgroup: Cgroup) -> str | None:
    """Return what the swap file holds; None if the kernel has none, or has it switched off."""
    try:
        return cgroup.read("memory", _SWAP_FILES[cgroup.version])
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EOPNOTSUPP):
            return None
        raise


def _failures_v1(cgroup: Cgroup) -> int:
    """Return how often a limit said no, as far as the kernel counts it.

    With both limits equal memory+swap is asked first, so memory.failcnt stays 0; and newer kernels (seen on 6.18) do
    not count in memory.memsw.failcnt. The processes killed are then the least that is known.
    """
    failures = int(cgroup.read("memory", "memory.failcnt"))
    if _swap_limit(cgroup) is not None:
        failures += int(cgroup.read("memory", "memory.memsw.failcnt"))
    return max(failures, cgroup.oom_kills())


def _set(cgroup: Cgroup, name: str, limit_bytes: int | None) -> None:
    unlimited = "max" if cgroup.version == 2 else "-1"
    value = unlimited if limit_bytes is None else str(limit_bytes)
    set_and_compare(cgroup, "memory", name, value, same=lambda found: _is_same(found, limit_bytes))


def _is_same(found: str, limit_bytes: int | None) -> bool:
    held = parse_limit(found)
    if limit_bytes is None:
        return held is None or held >= UNLIMITED_BYTES
    return held == _in_pages(limit_bytes)


def _host_has_swap() -> bool:
    with open("/proc/swaps", encoding="utf-8") as file:
        return len(file.readlines()) > 1

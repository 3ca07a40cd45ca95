"""`linux.resources` of a config.json as what is written to which file of which controller, on v1 and on v2.

Only what is set is written. As runc has it, 0 means "not set" for sizes, shares, quotas, periods and the number of
processes, and a negative number means "unlimited". What a kernel cannot hold is refused with the field's path, never left
out. Where v2 counts otherwise than v1, whose terms the specification uses, the conversions are runc's:

    cpu.shares 2..262144          cpu.weight = 1 + (shares - 2) * 9999 / 262142
    memory.swap (with memory)     memory.swap.max = swap - limit
    blockIO.weight 10..1000       io.weight = 1 + (weight - 10) * 9999 / 990; io.bfq.weight takes it as it is

Source: runtime-spec config-linux.md (Control groups); kernel cgroup-v2.rst and cgroup-v1/.
"""

from __future__ import annotations

import errno
import os

from pycontainer.cgroup.base import parse_keyed
from pycontainer.errors import InvalidInput, InvalidState, NotPermitted, PycontainerError, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pycontainer.cgroup.base import Cgroup

    # (field below linux.resources, controller, file, value)
    Write = tuple[str, str, str, str]
    # the text of a controller's file; None if it is not there
    Present = Callable[[str, str], str | None]

WHERE = "config.json: linux.resources"
_SHARES_LEAST, _SHARES_MOST = 2, 262144
_WEIGHT_LEAST, _WEIGHT_MOST = 10, 1000
_PERIOD_USEC = 100_000  # the kernel's own default
_MEMORY_LIMITS = ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes")
# Whether the kernel takes these depends on what stands in another file: they are written again after it.
_AFTER_OTHERS = ("cpu.cfs_period_us", "cpu.cfs_burst_us", "cpu.max.burst", "cpu.rt_period_us")
# A line for each device. What is written to have none; for net_prio there always is one.
_KEYED = {
    "blkio.throttle.read_bps_device": "0",
    "blkio.throttle.write_bps_device": "0",
    "blkio.throttle.read_iops_device": "0",
    "blkio.throttle.write_iops_device": "0",
    "blkio.weight_device": "0",
    "blkio.bfq.weight_device": "0",
    "blkio.leaf_weight_device": "0",
    "io.max": "rbps=max wbps=max riops=max wiops=max",
    "io.weight": "default",
    "io.bfq.weight": "default",
    "rdma.max": "hca_handle=max hca_object=max",
    "net_prio.ifpriomap": "0",
}
_THROTTLES = (
    ("throttleReadBpsDevice", "blkio.throttle.read_bps_device", "rbps"),
    ("throttleWriteBpsDevice", "blkio.throttle.write_bps_device", "wbps"),
    ("throttleReadIOPSDevice", "blkio.throttle.read_iops_device", "riops"),
    ("throttleWriteIOPSDevice", "blkio.throttle.write_iops_device", "wiops"),
)
# These move processes or stop them, or say what kind of cgroup it is. They are no resources, and ours to use.
_NOT_UNIFIED = (
    "cgroup.procs",
    "cgroup.threads",
    "cgroup.kill",
    "cgroup.freeze",
    "cgroup.type",
    "cgroup.subtree_control",
)


def weight_of_shares(shares: int) -> int:
    """Return the weight of v2, 1 to 10000, for CPU shares; those out of range count as the nearest, as on v1."""
    shares = min(max(shares, _SHARES_LEAST), _SHARES_MOST)
    return 1 + (shares - _SHARES_LEAST) * 9999 // (_SHARES_MOST - _SHARES_LEAST)


def io_weight_of(weight: int) -> int:
    """Return the weight of v2's io.weight, 1 to 10000, for one of blkio."""
    return 1 + (weight - _WEIGHT_LEAST) * 9999 // (_WEIGHT_MOST - _WEIGHT_LEAST)


def swap_alone(limit: int, swap: int, where: str) -> int:
    """Return v2's limit of swap for one of memory and swap together; negative: unlimited."""
    if swap < 0 or limit < 0:
        return swap
    if swap < limit:
        raise InvalidInput(f"{where}.memory.swap: {swap} is less than the memory limit {limit}, which it includes")
    return swap - limit


def plan(resources: dict[str, Any], version: int, present: Present, where: str = WHERE) -> list[Write]:
    """Return what is to be written, in the order in which the kernel takes it.

    `resources` is checked as to its types. `present` reads what stands there now, where the new value depends on it.
    Raises InvalidInput for what makes no sense, Unsupported for what this version of cgroups cannot hold, InvalidState for
    a limit that is below what is in use.
    """
    planner = _PlannerV2(where, present) if version == 2 else _PlannerV1(where, present)
    for section in ("cpu", "memory", "pids", "blockIO", "network", "rdma", "unified"):
        if values := resources.get(section):
            getattr(planner, section)(values)
    for index, page in enumerate(resources.get("hugepageLimits") or ()):
        planner.hugepages(f"hugepageLimits[{index}]", page["pageSize"], page["limit"])
    return planner.writes


def write_all(cgroup: Cgroup, writes: list[Write], where: str = WHERE, *, undo: bool = False) -> None:
    """Write what was planned. With `undo`, what was there comes back if one is refused.

    Raises InvalidInput if the kernel refuses a value, InvalidState for a limit below what is in use, NotPermitted,
    and Unsupported if the file is not there.
    """
    former: list[tuple[str, str, str]] = []
    later: list[Write] = []
    try:
        for write in writes:
            try:
                _write(cgroup, write, former if undo else None)
            except OSError as error:
                if error.errno != errno.EINVAL or write[2] not in _AFTER_OTHERS:
                    raise _explained(error, cgroup, write, where) from error
                later.append(write)
        for write in later:
            try:
                _write(cgroup, write, former if undo else None)
            except OSError as error:
                raise _explained(error, cgroup, write, where) from error
    except PycontainerError as refused:
        for controller, file, text in reversed(former):
            try:
                cgroup.write(controller, file, text)
            except OSError as error:
                refused.add_note(f"{file} could not be set back to {text!r}: {error}")
        raise


def present_in(cgroup: Cgroup) -> Present:
    """Return a reader of the files of `cgroup`."""

    def present(controller: str, file: str) -> str | None:
        try:
            return cgroup.read(controller, file)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.EOPNOTSUPP, errno.ENODEV):
                raise
            return None

    return present


class _Planner:
    """Collects what is to be written."""

    def __init__(self, where: str, present: Present) -> None:
        self.where = where
        self.present = present
        self.writes: list[Write] = []

    def add(self, field: str, controller: str, file: str, value: object) -> None:
        self.writes.append((field, controller, file, str(value)))

    def refuse(self, field: str, why: str) -> Unsupported:
        return Unsupported(f"{self.where}.{field}: {why}", feature="cgroup")

    def has(self, controller: str, file: str) -> bool:
        return self.present(controller, file) is not None

    def plain(self, section: str, values: dict[str, Any], files: tuple[tuple[str, str, str], ...]) -> None:
        """Plan the fields (name, controller, file) whose value is written as it is, unless it is 0 or empty."""
        for name, controller, file in files:
            if values.get(name):
                self.add(f"{section}.{name}", controller, file, values[name])

    def pids(self, values: dict[str, Any]) -> None:
        if limit := values.get("limit"):
            self.add("pids.limit", "pids", "pids.max", _limit(limit))

    def rdma(self, values: dict[str, Any]) -> None:
        for device, limits in values.items():
            field = f"rdma.{device}"
            self.name(field, device)
            entries = [
                f"{key}={limits[name]}"
                for name, key in (("hcaHandles", "hca_handle"), ("hcaObjects", "hca_object"))
                if limits.get(name) is not None
            ]
            if entries:
                self.add(field, "rdma", "rdma.max", f"{device} {' '.join(entries)}")

    def name(self, field: str, text: str) -> None:
        """Refuse what is not one word: it would say something else to the kernel, or twice."""
        if not text or not text.isprintable() or " " in text or "/" in text:
            raise InvalidInput(f"{self.where}.{field}: {text!r} is not a name")

    def hugepages(self, field: str, size: str, limit: int) -> None:
        self.name(f"{field}.pageSize", size)
        for kind in ("", "rsvd."):  # reservations count since Linux 5.7: what is mapped cannot fault then
            file = f"hugetlb.{size}.{kind}{self.hugepages_suffix}"
            if not kind or self.has("hugetlb", file):
                self.add(f"{field}.limit", "hugetlb", file, limit)

    def weight(self, field: str, weight: int) -> int:
        if not _WEIGHT_LEAST <= weight <= _WEIGHT_MOST:
            raise InvalidInput(f"{self.where}.{field}: {weight} is not a weight from {_WEIGHT_LEAST} to {_WEIGHT_MOST}")
        return weight

    hugepages_suffix = ""


class _PlannerV1(_Planner):
    hugepages_suffix = "limit_in_bytes"

    def cpu(self, values: dict[str, Any]) -> None:
        idle = values.get("idle")
        if idle == 0:  # the kernel takes no shares for an idle cgroup
            self.add("cpu.idle", "cpu", "cpu.idle", 0)
        if shares := values.get("shares"):
            self.add("cpu.shares", "cpu", "cpu.shares", min(max(shares, _SHARES_LEAST), _SHARES_MOST))
        if idle:
            self.add("cpu.idle", "cpu", "cpu.idle", idle)
        self.plain(
            "cpu",
            values,
            (
                ("realtimePeriod", "cpu", "cpu.rt_period_us"),
                ("realtimeRuntime", "cpu", "cpu.rt_runtime_us"),
                ("period", "cpu", "cpu.cfs_period_us"),
            ),
        )
        if quota := values.get("quota"):
            self.add("cpu.quota", "cpu", "cpu.cfs_quota_us", max(quota, -1))
        if values.get("burst") is not None:
            self.add("cpu.burst", "cpu", "cpu.cfs_burst_us", values["burst"])
        self.plain("cpu", values, (("cpus", "cpuset", "cpuset.cpus"), ("mems", "cpuset", "cpuset.mems")))

    def memory(self, values: dict[str, Any]) -> None:
        limit, swap = values.get("limit") or 0, values.get("swap") or 0
        limit_file, swap_file = _MEMORY_LIMITS
        if limit < 0 and not swap and self.has("memory", swap_file):
            swap = -1  # swap has to be at least as large
        elif limit > 0 and 0 < swap < limit:
            swap_alone(limit, swap, self.where)
        writes = []
        if limit:
            writes.append(("memory.limit", limit_file, limit))
        if swap > 0 or self.has("memory", swap_file):
            writes += [("memory.swap", swap_file, swap)] if swap else []
        # At any moment the limit of both must be at least that of memory alone: the one that grows comes first.
        if swap and limit and (swap < 0 or swap > int(self.present("memory", limit_file) or 0)):
            writes.reverse()
        for field, file, value in writes:
            self.add(field, "memory", file, max(value, -1))
        for name, file in (
            ("reservation", "memory.soft_limit_in_bytes"),
            ("kernel", "memory.kmem.limit_in_bytes"),
            ("kernelTCP", "memory.kmem.tcp.limit_in_bytes"),
        ):
            if value := values.get(name):
                self.add(f"memory.{name}", "memory", file, max(value, -1))
        if values.get("swappiness") is not None:
            self.add("memory.swappiness", "memory", "memory.swappiness", values["swappiness"])
        off = values.get("disableOOMKiller")
        if off or (off is not None and "oom_kill_disable 1" in (self.present("memory", "memory.oom_control") or "")):
            self.add("memory.disableOOMKiller", "memory", "memory.oom_control", int(off))
        if values.get("useHierarchy") and self.present("memory", "memory.use_hierarchy") != "1":
            self.add("memory.useHierarchy", "memory", "memory.use_hierarchy", 1)

    def blockIO(self, values: dict[str, Any]) -> None:
        kind = "blkio.bfq." if self.has("blkio", "blkio.bfq.weight") else "blkio."
        if weight := values.get("weight"):
            self.add("blockIO.weight", "blkio", f"{kind}weight", self.weight("blockIO.weight", weight))
        if weight := values.get("leafWeight"):
            self.add("blockIO.leafWeight", "blkio", "blkio.leaf_weight", self.weight("blockIO.leafWeight", weight))
        for index, entry in enumerate(values.get("weightDevice") or ()):
            field, device = f"blockIO.weightDevice[{index}]", f"{entry['major']}:{entry['minor']}"
            for name, file in (("weight", f"{kind}weight_device"), ("leafWeight", "blkio.leaf_weight_device")):
                if weight := entry.get(name):
                    self.add(f"{field}.{name}", "blkio", file, f"{device} {self.weight(f'{field}.{name}', weight)}")
        for name, file, _ in _THROTTLES:
            for index, entry in enumerate(values.get(name) or ()):
                value = f"{entry['major']}:{entry['minor']} {entry['rate']}"
                self.add(f"blockIO.{name}[{index}]", "blkio", file, value)

    def network(self, values: dict[str, Any]) -> None:
        if values.get("classID") is not None:
            self.add("network.classID", "net_cls", "net_cls.classid", values["classID"])
        for index, entry in enumerate(values.get("priorities") or ()):
            field = f"network.priorities[{index}]"
            self.name(f"{field}.name", entry["name"])
            self.add(field, "net_prio", "net_prio.ifpriomap", f"{entry['name']} {entry['priority']}")

    def unified(self, values: dict[str, str]) -> None:
        raise self.refuse(f"unified.{next(iter(values))}", "this host has cgroup v1, where unified files are not")


class _PlannerV2(_Planner):
    hugepages_suffix = "max"

    def cpu(self, values: dict[str, Any]) -> None:
        for name in ("realtimeRuntime", "realtimePeriod"):
            if values.get(name):
                raise self.refuse(f"cpu.{name}", "cgroup v2 does not divide realtime")
        idle = values.get("idle")
        if idle == 0:  # the kernel takes no weight for an idle cgroup
            self.add("cpu.idle", "cpu", "cpu.idle", 0)
        if shares := values.get("shares"):
            self.add("cpu.shares", "cpu", "cpu.weight", weight_of_shares(shares))
        if idle:
            self.add("cpu.idle", "cpu", "cpu.idle", idle)
        quota, period = values.get("quota") or 0, values.get("period") or 0
        if quota or period:
            held = (self.present("cpu", "cpu.max") or "max").split()
            held += [str(_PERIOD_USEC)] * (2 - len(held))
            text = _limit(quota) if quota else held[0]
            self.add("cpu.quota" if quota else "cpu.period", "cpu", "cpu.max", f"{text} {period or held[1]}")
        if values.get("burst") is not None:
            self.add("cpu.burst", "cpu", "cpu.max.burst", values["burst"])
        self.plain("cpu", values, (("cpus", "cpuset", "cpuset.cpus"), ("mems", "cpuset", "cpuset.mems")))

    def memory(self, values: dict[str, Any]) -> None:
        for name in ("kernel", "kernelTCP"):
            if values.get(name, 0) > 0:
                raise self.refuse(f"memory.{name}", "cgroup v2 has no limit for the kernel's memory alone")
        if values.get("swappiness") is not None:
            raise self.refuse("memory.swappiness", "cgroup v2 has no swappiness of a cgroup")
        if values.get("disableOOMKiller"):
            raise self.refuse("memory.disableOOMKiller", "cgroup v2 cannot switch the OOM killer off")
        limit, swap = values.get("limit") or 0, values.get("swap") or 0
        if limit > 0 and values.get("checkBeforeUpdate"):
            used = int(self.present("memory", "memory.current") or 0)
            if limit < used:
                raise below_use(f"{self.where}.memory.limit", limit, used)
        if limit:
            self.add("memory.limit", "memory", "memory.max", _limit(limit))
        if swap or limit < 0:
            self._swap(limit, swap or -1)
        if value := values.get("reservation"):
            self.add("memory.reservation", "memory", "memory.low", _limit(value))

    def _swap(self, limit: int, swap: int) -> None:
        if not limit and swap > 0:
            held = self.present("memory", "memory.max") or "max"
            if held == "max":
                raise InvalidInput(
                    f"{self.where}.memory.swap: {swap} is memory and swap together, and memory has no limit",
                    hint="set memory.limit, too",
                )
            limit = int(held)
        value = swap_alone(limit, swap, self.where)
        if value > 0 or self.has("memory", "memory.swap.max"):  # a kernel without swap holds 0 and is not limited more
            self.add("memory.swap", "memory", "memory.swap.max", _limit(value))

    def blockIO(self, values: dict[str, Any]) -> None:
        if values.get("leafWeight"):
            raise self.refuse("blockIO.leafWeight", "cgroup v2 has no weights of leaves")
        if weight := values.get("weight"):
            self._weight("blockIO.weight", "", weight)
        for index, entry in enumerate(values.get("weightDevice") or ()):
            field = f"blockIO.weightDevice[{index}]"
            if entry.get("leafWeight"):
                raise self.refuse(f"{field}.leafWeight", "cgroup v2 has no weights of leaves")
            if weight := entry.get("weight"):
                self._weight(f"{field}.weight", f"{entry['major']}:{entry['minor']} ", weight)
        for name, _, key in _THROTTLES:
            for index, entry in enumerate(values.get(name) or ()):
                value = f"{entry['major']}:{entry['minor']} {key}={entry['rate'] or 'max'}"
                self.add(f"blockIO.{name}[{index}]", "io", "io.max", value)

    def _weight(self, field: str, device: str, weight: int) -> None:
        """Plan a weight for each of the two that share out a disk, by cost and by BFQ; which of them does is the disk's."""
        self.weight(field, weight)
        has_bfq = self.has("io", "io.bfq.weight")
        if has_bfq:
            self.add(field, "io", "io.bfq.weight", f"{device}{weight}")
        if not has_bfq or self.has("io", "io.weight"):
            self.add(field, "io", "io.weight", f"{device}{io_weight_of(weight)}")

    def network(self, values: dict[str, Any]) -> None:
        for name in ("classID", "priorities"):
            if values.get(name):
                raise self.refuse(f"network.{name}", "cgroup v2 marks no packets; match the cgroup's path instead")

    def unified(self, values: dict[str, str]) -> None:
        for file, text in values.items():
            field = f"unified.{file}"
            if "/" in file or "." not in file.strip(".") or not file.isprintable():
                raise InvalidInput(f"{self.where}.{field}: {file!r} is not the name of a file in a cgroup")
            if file in _NOT_UNIFIED:
                raise InvalidInput(f"{self.where}.{field}: {file!r} is no resource")
            for line in text.split("\n"):  # the kernel takes one line in a write
                if line or text == "":
                    self.add(field, file.split(".", 1)[0], file, line)


def below_use(place: str, limit: int, used: int) -> InvalidState:
    """Return the error for a limit that cannot be held."""
    return InvalidState(
        f"{place}: {limit} is below the {used} bytes that are in use", hint="end processes first, or set more"
    )


def _limit(value: int) -> str:
    return "max" if value < 0 else str(value)


def _write(cgroup: Cgroup, write: Write, former: list[tuple[str, str, str]] | None) -> None:
    _, controller, file, value = write
    if former is not None:
        text = _former(file, value, cgroup.read(controller, file))
        if text is not None:
            former.append((controller, file, text))
    cgroup.write(controller, file, value or "\n")  # nothing written is nothing said


def _former(file: str, value: str, text: str) -> str | None:
    """Return what to write so that `file`, which reads `text`, has again what `value` is to replace; None if unknown."""
    if file == "memory.oom_control":
        return str(parse_keyed(text)["oom_kill_disable"])
    if file in _KEYED and (" " in value or "\n" in text):
        key = value.split(" ")[0] if " " in value else "default"
        lines = [line for line in text.split("\n") if line.split(" ")[0] == key]
        return lines[0] if lines else f"{key} {_KEYED[file]}"
    return (text or "\n") if "\n" not in text else None


def _explained(error: OSError, cgroup: Cgroup, write: Write, where: str) -> PycontainerError:
    field, controller, file, value = write
    place, why = f"{where}.{field}", os.strerror(error.errno or 0)
    if error.errno in (errno.ENOENT, errno.EOPNOTSUPP):
        return Unsupported(
            f"{place}: {_why_missing(error, cgroup, controller, file)}",
            hint="see 'pycontainer check'",
            feature="cgroup",
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return NotPermitted(f"{place}: cannot write {file}: {why}", hint="is the cgroup delegated to you?")
    if error.errno == errno.EBUSY and file in _MEMORY_LIMITS:
        used = file.replace("limit_in_bytes", "usage_in_bytes")
        return below_use(place, int(value), int(cgroup.read(controller, used)))
    return InvalidInput(f"{place}: the kernel refuses {value!r} for {file}: {why}")


def _why_missing(error: OSError, cgroup: Cgroup, controller: str, file: str) -> str:
    if cgroup.version == 1 and not cgroup.has(controller):
        return f"this host has no cgroup controller {controller!r}"
    if error.errno == errno.EOPNOTSUPP:
        return f"this kernel no longer takes {file}"
    if cgroup.version == 2 and cgroup.has(controller):
        passed = present_in(cgroup)(controller, "cgroup.controllers")
        if passed is not None and controller not in passed.split():
            return f"the cgroup above does not pass the controller {controller!r} on"
    return f"this kernel has no {file}"

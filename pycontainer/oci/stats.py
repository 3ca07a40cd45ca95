"""What a container uses now, in the shape of runc's `events --stats`: its keys, v1's terms, nanoseconds and bytes.

Keys that runc leaves out when they are 0 or empty are left out here. A controller that is not there leaves its part at 0. The
pressure of v2 (PSI) comes as `psi` beside cpu, memory and blkio. Source: runc's types/events.go; cgroup-v2.rst, cgroup-v1/.
"""

from __future__ import annotations

import os

from pycontainer.cgroup.base import Cgroup, parse_keyed
from pycontainer.oci.resources import present_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pycontainer.oci.resources import Present

UNLIMITED = (1 << 64) - 1
_NSEC_PER_USEC = 1000
_CPUSET_FLAGS = (
    "cpu_exclusive", "mem_hardwall", "mem_exclusive", "memory_migrate", "memory_spread_page", "memory_spread_slab",
    "memory_pressure", "sched_load_balance", "sched_relax_domain_level",
)  # fmt: skip
# key of runc -> file of v1 without `blkio.` or `blkio.bfq.`; the last two have a fallback that every kernel counts
_BLKIO = (
    ("ioQueueRecursive", "io_queued_recursive"),
    ("ioServiceTimeRecursive", "io_service_time_recursive"),
    ("ioWaitTimeRecursive", "io_wait_time_recursive"),
    ("ioMergedRecursive", "io_merged_recursive"),
    ("ioTimeRecursive", "time_recursive"),
    ("sectorsRecursive", "sectors_recursive"),
)
_BLKIO_COUNTED = (("ioServiceBytesRecursive", "io_service_bytes"), ("ioServicedRecursive", "io_serviced"))
_IO_STAT = {
    "rbytes": ("ioServiceBytesRecursive", "Read"),
    "wbytes": ("ioServiceBytesRecursive", "Write"),
    "rios": ("ioServicedRecursive", "Read"),
    "wios": ("ioServicedRecursive", "Write"),
}
_MEMORY_EVENTS = ("low", "high", "max", "oom", "oom_kill")


def of(cgroup: Cgroup) -> dict[str, Any]:
    """Return the statistics of `cgroup`, nested cgroups included."""
    present = present_in(cgroup)
    sizes = huge_page_sizes()
    cpu, memory, blkio, hugetlb = _v2(present, sizes) if cgroup.version == 2 else _v1(present, sizes)
    return {
        "cpu": cpu,
        "cpuset": _cpuset(present),
        "memory": memory,
        "pids": _sparse(
            {
                "current": _number(present("pids", "pids.current")),
                "limit": _number(present("pids", "pids.max"), unlimited=0),
            }
        ),
        "blkio": blkio,
        "hugetlb": hugetlb,
        "intel_rdt": {},
        "network_interfaces": None,
    }


def huge_page_sizes(sysfs: str = "/sys") -> list[str]:
    """Return the sizes of huge pages as the files of the controller are called: `2MB`, `1GB`."""
    try:
        names = os.listdir(f"{sysfs}/kernel/mm/hugepages")
    except FileNotFoundError:
        return []
    return [_size_name(int(name.removeprefix("hugepages-").removesuffix("kB"))) for name in sorted(names)]


def _size_name(kib: int) -> str:
    """Return a size as the kernel's mem_fmt (mm/hugetlb_cgroup.c) has it."""
    if kib >= 1 << 20:
        return f"{kib >> 20}GB"
    return f"{kib >> 10}MB" if kib >= 1 << 10 else f"{kib}KB"


def parse_list(text: str) -> list[int]:
    """Return the numbers of a list of CPUs or memory nodes, `0-1,3`."""
    numbers: list[int] = []
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        numbers += range(int(first), int(last or first) + 1)
    return numbers


def parse_pressure(text: str) -> dict[str, dict[str, float]]:
    """Return a file of PSI: `some` and `full`, each with percentages over 10, 60 and 300 s and a total in microseconds."""
    found: dict[str, dict[str, float]] = {}
    for line in text.splitlines():
        kind, *pairs = line.split()
        values = dict(pair.split("=", 1) for pair in pairs)
        found[kind] = {key: int(value) if key == "total" else float(value) for key, value in values.items()}
    return found


def _v2(
    present: Present, sizes: list[str]
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any], dict[str, dict[str, int]]]:
    counted = parse_keyed(present("cpu", "cpu.stat") or "")
    cpu: dict[str, Any] = {
        "usage": _sparse({"total": counted.get("usage_usec", 0) * _NSEC_PER_USEC})
        | {
            "kernel": counted.get("system_usec", 0) * _NSEC_PER_USEC,
            "user": counted.get("user_usec", 0) * _NSEC_PER_USEC,
        },
        "throttling": _sparse(
            {
                "periods": counted.get("nr_periods", 0),
                "throttledPeriods": counted.get("nr_throttled", 0),
                "throttledTime": counted.get("throttled_usec", 0) * _NSEC_PER_USEC,
            }
        ),
    }
    raw = parse_keyed(present("memory", "memory.stat") or "")
    events = parse_keyed(present("memory", "memory.events") or "")
    usage = _entry(
        present("memory", "memory.current"), present("memory", "memory.max"), present("memory", "memory.peak")
    )
    swap = _entry(
        present("memory", "memory.swap.current"),
        present("memory", "memory.swap.max"),
        present("memory", "memory.swap.peak"),
    )
    if swap["limit"] or swap.get("usage"):  # v1 counts swap together with memory
        limits = (swap["limit"], usage["limit"])
        swap["limit"] = UNLIMITED if UNLIMITED in limits else sum(limits)
        swap["usage"] = swap.get("usage", 0) + usage.get("usage", 0)
        swap.pop("max", None)  # the two had their peaks at different times
    memory: dict[str, Any] = _sparse({"cache": raw.get("file", 0)})
    memory |= {"usage": usage, "swap": swap, "kernel": _entry(), "kernelTCP": _entry()}
    memory |= _sparse({"raw": raw}) | {"event_count": _sparse({key: events.get(key, 0) for key in _MEMORY_EVENTS})}
    blkio: dict[str, Any] = {}
    for line in (present("io", "io.stat") or "").splitlines():
        device, *pairs = line.split()
        for pair in pairs:
            key, _, value = pair.partition("=")
            if key in _IO_STAT:
                table, operation = _IO_STAT[key]
                blkio.setdefault(table, []).append(_blkio_entry(device, operation, int(value)))
    for part, controller in ((cpu, "cpu"), (memory, "memory"), (blkio, "io")):
        try:
            pressure = present(controller, f"{controller}.pressure")
        except OSError:  # EOPNOTSUPP: PSI is switched off
            pressure = None
        if pressure:
            part["psi"] = parse_pressure(pressure)
    hugetlb = {}
    for size in sizes:
        used = present("hugetlb", f"hugetlb.{size}.current")
        if used is not None:
            failed = parse_keyed(present("hugetlb", f"hugetlb.{size}.events") or "").get("max", 0)
            hugetlb[size] = _sparse({"usage": int(used)}) | {"failcnt": failed}
    return cpu, memory, blkio, hugetlb


def _v1(
    present: Present, sizes: list[str]
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any], dict[str, dict[str, int]]]:
    tick_nsec = 10**9 // os.sysconf("SC_CLK_TCK")
    ticks = parse_keyed(present("cpuacct", "cpuacct.stat") or "")
    each = [
        line.split() for line in (present("cpuacct", "cpuacct.usage_all") or "").splitlines()[1:]
    ]  # cpu user system
    throttled = parse_keyed(present("cpu", "cpu.stat") or "")
    cpu = {
        "usage": _sparse(
            {
                "total": _number(present("cpuacct", "cpuacct.usage")),
                "percpu": [int(value) for value in (present("cpuacct", "cpuacct.usage_percpu") or "").split()],
                "percpu_kernel": [int(system) for _, _, system in each],
                "percpu_user": [int(user) for _, user, _ in each],
            }
        )
        | {"kernel": ticks.get("system", 0) * tick_nsec, "user": ticks.get("user", 0) * tick_nsec},
        "throttling": _sparse(
            {
                "periods": throttled.get("nr_periods", 0),
                "throttledPeriods": throttled.get("nr_throttled", 0),
                "throttledTime": throttled.get("throttled_time", 0),
            }
        ),
    }
    raw = parse_keyed(present("memory", "memory.stat") or "")
    memory: dict[str, Any] = _sparse({"cache": raw.get("cache", 0)})
    for key, kind in (("usage", ""), ("swap", "memsw."), ("kernel", "kmem."), ("kernelTCP", "kmem.tcp.")):
        memory[key] = _entry(
            *(
                present("memory", f"memory.{kind}{name}")
                for name in ("usage_in_bytes", "limit_in_bytes", "max_usage_in_bytes", "failcnt")
            )
        )
    killed = parse_keyed(present("memory", "memory.oom_control") or "").get("oom_kill", 0)
    memory |= _sparse({"raw": raw}) | {"event_count": _sparse({"oom_kill": killed})}
    hugetlb = {}
    for size in sizes:
        used = present("hugetlb", f"hugetlb.{size}.usage_in_bytes")
        if used is not None:
            peak = _number(present("hugetlb", f"hugetlb.{size}.max_usage_in_bytes"))
            failed = _number(present("hugetlb", f"hugetlb.{size}.failcnt"))
            hugetlb[size] = _sparse({"usage": int(used), "max": peak}) | {"failcnt": failed}
    return cpu, memory, _blkio_v1(present), hugetlb


def _blkio_v1(present: Present) -> dict[str, Any]:
    """Return the tables of whoever shares out the disks, BFQ or (until Linux 5.0) CFQ, else what the throttle counts."""
    blkio: dict[str, Any] = {}
    for key, name in _BLKIO:
        blkio |= _sparse({key: _blkio_table(present, (f"blkio.bfq.{name}", f"blkio.{name}"))})
    for key, name in _BLKIO_COUNTED:
        files = (
            f"blkio.bfq.{name}_recursive",
            f"blkio.{name}_recursive",
            f"blkio.throttle.{name}_recursive",
            f"blkio.throttle.{name}",
        )
        blkio |= _sparse({key: _blkio_table(present, files)})
    return blkio


def _blkio_table(present: Present, files: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return the first of the tables that says something."""
    for file in files:
        table = []
        for line in (present("blkio", file) or "").splitlines():
            fields = line.split()
            if ":" in fields[0]:  # not the total of all devices
                table.append(_blkio_entry(fields[0], fields[1] if len(fields) == 3 else "", int(fields[-1])))
        if table:
            return table
    return []


def _blkio_entry(device: str, operation: str, value: int) -> dict[str, Any]:
    major, minor = map(int, device.split(":"))
    return _sparse({"major": major, "minor": minor, "op": operation, "value": value})


def _cpuset(present: Present) -> dict[str, Any]:
    lists = {key: parse_list(present("cpuset", f"cpuset.{key}") or "") for key in ("cpus", "mems")}
    flags = {key: _number(present("cpuset", f"cpuset.{key}")) for key in _CPUSET_FLAGS}
    return _sparse(lists) | flags


def _entry(
    usage: str | None = None, limit: str | None = None, peak: str | None = None, failed: str | None = None
) -> dict[str, int]:
    entry = {"limit": _number(limit)} | _sparse({"usage": _number(usage), "max": _number(peak)})
    return entry | {"failcnt": _number(failed)}


def _number(text: str | None, *, unlimited: int = UNLIMITED) -> int:
    return unlimited if text == "max" else int(text or 0)


def _sparse(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value}

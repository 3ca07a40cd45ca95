"""`linux.resources`, and what `update -r` is given: types and ranges, not yet what the host can do.

The result has the keys of the JSON, and of those only the ones that are known. Source: OCI runtime-spec config-linux.md.
"""

from pycontainer.oci.config_linux import MAJOR_MOST, MINOR_MOST
from pycontainer.oci.fields import (
    INT64_MAX,
    INT64_MIN,
    UINT32_MAX,
    UINT64_MAX,
    Fields,
    check_cpu_list,
    check_interface,
    shown,
    wrong,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_LIMITS = ("limit", "reservation", "swap", "kernel", "kernelTCP")
_CPU: "Mapping[str, tuple[int, int]]" = {
    "shares": (0, UINT64_MAX),
    "quota": (INT64_MIN, INT64_MAX),
    "burst": (0, UINT64_MAX),
    "period": (0, UINT64_MAX),
    "realtimeRuntime": (INT64_MIN, INT64_MAX),
    "realtimePeriod": (0, UINT64_MAX),
    "idle": (0, 1),
}
_WEIGHT = (0, 1000)  # 0 is what Docker writes for none
_THROTTLES = ("throttleReadBpsDevice", "throttleWriteBpsDevice", "throttleReadIOPSDevice", "throttleWriteIOPSDevice")
_NOT_LIMITS = frozenset(
    ("cgroup.procs", "cgroup.threads", "cgroup.kill")
)  # they move or end processes, others' as well


def parse_resources(data: object, where: str) -> dict[str, object]:
    """Return the checked resources of `data`; `where` is the file they came from, or the file and the path in it."""
    fields = Fields(data, where)
    made: dict[str, object] = {}
    for key, read in _SECTIONS.items():
        if fields.has(key):
            made[key] = read(fields, key)
    return made


def _section(fields: Fields, key: str) -> Fields:
    return Fields(fields.data[key], fields.at(key))


def _memory(fields: Fields, key: str) -> dict[str, object]:
    memory = _section(fields, key)
    made: dict[str, object] = {}
    for name in _LIMITS:
        if memory.has(name):
            made[name] = memory.integer(name, -1, INT64_MAX)
    if memory.has("swappiness"):
        made["swappiness"] = memory.integer("swappiness", 0, 100)
    for name in ("disableOOMKiller", "useHierarchy", "checkBeforeUpdate"):
        if memory.has(name):
            made[name] = memory.boolean(name)
    limit, swap = memory.integer_or("limit", 0, -1, INT64_MAX), memory.integer_or("swap", 0, -1, INT64_MAX)
    if limit > 0 and 0 < swap < limit:
        wrong(memory.at("swap"), f"{swap} is less than the limit, {limit}: it is memory and swap together")
    return made


def _cpu(fields: Fields, key: str) -> dict[str, object]:
    cpu = _section(fields, key)
    made: dict[str, object] = {
        name: cpu.integer(name, least, most) for name, (least, most) in _CPU.items() if cpu.has(name)
    }
    for name in ("cpus", "mems"):
        if cpu.has(name):
            made[name] = check_cpu_list(cpu.text(name), cpu.at(name))
    quota, burst = cpu.integer_or("quota", 0, INT64_MIN, INT64_MAX), cpu.integer_or("burst", 0, 0, UINT64_MAX)
    if quota > 0 and burst > quota:
        wrong(cpu.at("burst"), f"{burst} is more than the quota, {quota}")
    return made


def _pids(fields: Fields, key: str) -> dict[str, object]:
    return {"limit": _section(fields, key).integer("limit", -1, INT64_MAX)}


def _block_io(fields: Fields, key: str) -> dict[str, object]:
    block = _section(fields, key)
    made: dict[str, object] = {
        name: block.integer(name, *_WEIGHT) for name in ("weight", "leafWeight") if block.has(name)
    }
    if block.has("weightDevice"):
        made["weightDevice"] = [_weight_device(entry) for entry in block.objects("weightDevice")]
    for name in _THROTTLES:
        if block.has(name):
            made[name] = [
                {**_device_numbers(entry), "rate": entry.integer("rate", 0, UINT64_MAX)}
                for entry in block.objects(name)
            ]
    return made


def _weight_device(entry: Fields) -> dict[str, int]:
    weights = {name: entry.integer(name, *_WEIGHT) for name in ("weight", "leafWeight") if entry.has(name)}
    if not weights:
        wrong(entry.at("weight"), "missing: one of weight and leafWeight is needed")
    return {**_device_numbers(entry), **weights}


def _device_numbers(entry: Fields) -> dict[str, int]:
    return {"major": entry.integer("major", 0, MAJOR_MOST), "minor": entry.integer("minor", 0, MINOR_MOST)}


def _hugepage_limits(fields: Fields, key: str) -> list[dict[str, object]]:
    found: dict[str, dict[str, object]] = {}
    for entry in fields.objects(key):
        size = entry.text("pageSize")
        number = size[:-2]
        if size[-2:] not in ("KB", "MB", "GB") or not (number.isascii() and number.isdigit()) or number[0] == "0":
            wrong(entry.at("pageSize"), f"{shown(size)} is not a size such as 64KB, 2MB or 1GB")
        if size in found:
            wrong(entry.at("pageSize"), f"{size} is given twice")
        found[size] = {"pageSize": size, "limit": entry.integer("limit", 0, UINT64_MAX)}
    return list(found.values())


def _network(fields: Fields, key: str) -> dict[str, object]:
    network = _section(fields, key)
    made: dict[str, object] = {}
    if network.has("classID"):
        made["classID"] = network.integer("classID", 0, UINT32_MAX)
    if network.has("priorities"):
        made["priorities"] = [
            {
                "name": check_interface(entry.text("name"), entry.at("name")),
                "priority": entry.integer("priority", 0, UINT32_MAX),
            }
            for entry in network.objects("priorities")
        ]
    return made


def _rdma(fields: Fields, key: str) -> dict[str, object]:
    made: dict[str, object] = {}
    for name, value, where in fields.members(key):
        if not name or any(one.isspace() for one in name):
            wrong(where, "is not the name of a device")
        entry = Fields(value, where)
        limits = {one: entry.integer(one, 0, UINT32_MAX) for one in ("hcaHandles", "hcaObjects") if entry.has(one)}
        if not limits:
            wrong(where, "one of hcaHandles and hcaObjects is needed")
        made[name] = limits
    return made


def _devices(fields: Fields, key: str) -> list[dict[str, object]]:
    return [_device_rule(entry) for entry in fields.objects(key)]


def _device_rule(entry: Fields) -> dict[str, object]:
    """Return one rule; a number that is missing, or -1, stands for all of them."""
    entry.required("allow")
    made: dict[str, object] = {"allow": entry.boolean("allow")}
    kind = entry.text_or("type")
    if kind not in ("", "a", "b", "c"):
        wrong(entry.at("type"), f"{shown(kind)} is not one of a, b, c")
    if kind:
        made["type"] = kind
    for name, most in (("major", MAJOR_MOST), ("minor", MINOR_MOST)):
        if entry.has(name):
            made[name] = entry.integer(name, -1, most)
    access = entry.text_or("access")
    if {*access} - {*"rwm"}:
        wrong(entry.at("access"), f"{shown(access)} holds other letters than r, w and m")
    if access:
        made["access"] = access
    return made


def _unified(fields: Fields, key: str) -> dict[str, str]:
    found = fields.text_map(key)
    for name in found:
        where = f"{fields.at(key)}[{shown(name)}]"
        if "/" in name or "." not in name.strip("."):
            wrong(where, "is not the name of a file of a cgroup, such as memory.high")
        if name in _NOT_LIMITS:
            wrong(where, "limits nothing: it moves or ends processes")
    return found


_SECTIONS = {
    "devices": _devices,
    "memory": _memory,
    "cpu": _cpu,
    "pids": _pids,
    "blockIO": _block_io,
    "hugepageLimits": _hugepage_limits,
    "network": _network,
    "rdma": _rdma,
    "unified": _unified,
}

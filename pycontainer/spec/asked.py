"""From a finished spec back to what a user would have written for it, so that every value can be judged as a user's.

A record of ours needs no such check. One that came from elsewhere does: `from_plain` sees to types alone, and a host name
with a newline is text as well.
"""

import dataclasses
from collections.abc import Callable

from pycontainer.errors import InvalidInput
from pycontainer.spec.fields import FIELDS
from pycontainer.spec.model import ContainerSpec, Device, Mount, Port, RestartPolicy, SnapshotSchedule, Ulimit
from pycontainer.spec.parse import parse_spec
from pycontainer.spec.ports import format_port
from pycontainer.units import format_bit_rate, format_cpus

# Keys that fill an attribute which another one, `mounts`, gives back whole.
_SAME_AS_MOUNTS = ("volumes", "tmpfs")


def check_as_asked(spec: ContainerSpec) -> ContainerSpec:
    """Return `spec`, if a user could have asked for exactly this; else one InvalidInput with all that is wrong with it."""
    parsed = parse_spec(asked(spec))
    if parsed != spec:
        odd = [one.name for one in dataclasses.fields(spec) if getattr(parsed, one.name) != getattr(spec, one.name)]
        raise InvalidInput(f"nobody can ask for what it holds in {', '.join(odd)}")
    return spec


def asked(spec: ContainerSpec) -> dict[str, object]:
    """Return the plain data that `parse_spec` makes `spec` of."""
    data: dict[str, object] = {}
    for field in FIELDS:
        value = getattr(spec, field.target)
        if field.key in _SAME_AS_MOUNTS or (value == field.default and field.key != "pids"):
            continue
        if value is None:
            value = "unlimited"
        elif field.key in _WRITTEN:
            value = _WRITTEN[field.key](value)
        data[field.key] = list(value) if isinstance(value, tuple) else value
    return data


def _pairs(separator: str = "=") -> Callable[[tuple[tuple[object, object], ...]], list[str]]:
    return lambda pairs: [f"{key}{separator}{value}" for key, value in pairs]


def _ulimits(limits: tuple[Ulimit, ...]) -> list[str]:
    words = [["unlimited" if bound is None else str(bound) for bound in (one.soft, one.hard)] for one in limits]
    return [f"{limit.name}={soft}:{hard}" for limit, (soft, hard) in zip(limits, words, strict=True)]


def _mounts(mounts: tuple[Mount, ...]) -> list[dict[str, object]]:
    return [_mount(mount) for mount in mounts]


def _mount(mount: Mount) -> dict[str, object]:
    data: dict[str, object] = {"type": mount.type, "target": mount.target, "readonly": mount.read_only}
    if mount.type == "tmpfs":
        data["tmpfs-exec"] = mount.exec_allowed
        if mount.size_bytes is not None:
            data["tmpfs-size"] = mount.size_bytes
        if mount.mode is not None:
            data["tmpfs-mode"] = f"{mount.mode:03o}"
    else:
        if mount.source:
            data["source"] = mount.source
        if mount.type == "bind":
            data |= {"bind-nonrecursive": not mount.recursive, "bind-idmap": mount.idmap}
        else:
            data["volume-nocopy"] = not mount.copy
    return data


def _ports(ports: tuple[Port, ...]) -> list[str]:
    return [format_port(port) for port in ports]


def _devices(devices: tuple[Device, ...]) -> list[str]:
    return [f"{one.host_path}:{one.container_path}:{one.access}" for one in devices]


def _restart(policy: RestartPolicy) -> str:
    return f"{policy.name}:{policy.max_retries}" if policy.max_retries else policy.name


def _snapshots(schedule: SnapshotSchedule) -> dict[str, object]:
    return {"every": schedule.every_seconds, "keep": schedule.keep}


def _health_command(words: tuple[str, ...]) -> object:
    return "none" if words[0] == "NONE" else words[1] if words[0] == "CMD-SHELL" else list(words[1:])


_WRITTEN: dict[str, Callable[..., object]] = {
    "env": _pairs(),
    "labels": _pairs(),
    "hugetlb": _pairs(),
    "cgroup_conf": _pairs(),
    "limit": _pairs(),
    "security_opt": _pairs(),
    "sysctls": _pairs(),
    "add_hosts": _pairs(":"),
    "ulimits": _ulimits,
    "mounts": _mounts,
    "ports": _ports,
    "devices": _devices,
    "restart": _restart,
    "snapshots": _snapshots,
    "health_cmd": _health_command,
    "cpus": format_cpus,
    "cpu_burst": format_cpus,
    "net_in": format_bit_rate,
    "net_out": format_bit_rate,
    "net_in_min": format_bit_rate,
    "net_out_min": format_bit_rate,
}

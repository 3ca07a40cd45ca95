"""Checks of one setting against another: small functions over the finished spec, each yielding what is wrong.

Pure: nothing here looks at the host. All of them run, and their problems are shown together.
"""

from collections.abc import Callable, Iterable, Iterator

from pycontainer.spec.model import ContainerSpec, Port
from pycontainer.spec.ports import format_port
from pycontainer.spec.problems import Problem
from pycontainer.units import format_bit_rate, format_bytes, format_cpus

Check = Callable[[ContainerSpec], Iterator[Problem]]
ALONE = ("host", "none")


def has_own_network(spec: ContainerSpec) -> bool:
    """Tell whether the container has a network namespace of its own, however empty."""
    return "host" not in spec.networks


def check_root(spec: ContainerSpec) -> Iterator[Problem]:
    """Exactly one of image and rootfs; what is said of a rootfs needs one."""
    if spec.image and spec.rootfs:
        yield Problem("rootfs", "image and rootfs exclude each other", "give one of them")
    if not spec.image and not spec.rootfs:
        yield Problem("image", "there is nothing to start from", "give an image or a rootfs directory")
    if spec.rootfs == "/":
        yield Problem(
            "rootfs", "the host's own root cannot be a container's", "give the directory of a root file system"
        )
    if spec.rootfs_writable and not spec.rootfs:
        yield Problem(
            "rootfs_writable",
            "there is no rootfs to write into",
            "give a rootfs directory, or leave rootfs_writable out",
        )
    for key, given in (("snapshots", spec.snapshots), ("rootfs_driver", spec.rootfs_driver)):
        if spec.rootfs_writable and given:
            yield Problem(key, f"{key} and rootfs_writable exclude each other", "it has no layer of its own")
    if spec.rootfs_writable and spec.read_only:
        yield Problem("read_only", "read_only and rootfs_writable exclude each other", "give one of them")


def check_lifetime(spec: ContainerSpec) -> Iterator[Problem]:
    """A container is deleted when it stops, or started again, not both."""
    if spec.auto_remove and spec.restart.name != "no":
        yield Problem(
            "auto_remove",
            f"auto_remove and restart policy {spec.restart.name!r} exclude each other",
            "give one of them",
        )
    if spec.auto_remove and spec.onboot in ("yes", "last"):
        yield Problem(
            "auto_remove", f"auto_remove and onboot {spec.onboot!r} exclude each other", "it is deleted when it stops"
        )


def check_health(spec: ContainerSpec) -> Iterator[Problem]:
    """One way to ask how it is; a port is asked for inside, where there is always loopback."""
    given = [
        key
        for key, value in (
            ("health_cmd", spec.health_cmd),
            ("health_http", spec.health_http),
            ("health_tcp", spec.health_tcp),
        )
        if value
    ]
    if len(given) > 1:
        yield Problem(given[-1], f"{' and '.join(given)} exclude each other", "give one of them")


def check_memory(spec: ContainerSpec) -> Iterator[Problem]:
    """Of the memory settings, one that protects or slows lies below one that caps."""
    rising = [
        ("memory_min", spec.memory_min_bytes),
        ("memory_low", spec.memory_low_bytes),
        ("memory_high", spec.memory_high_bytes),
        ("memory", spec.memory_bytes),
        ("memory_swap", spec.memory_swap_bytes),
    ]
    given = [(key, size) for key, size in rising if size is not None]
    for (lower, size), (upper, cap) in zip(given, given[1:], strict=False):
        if size > cap:
            more = f"{format_bytes(size)} is more than the {format_bytes(cap)} of {upper}"
            why = "it caps memory and swap together: " if upper == "memory_swap" else ""
            yield Problem(lower, more, f"{why}give {upper} at least as much, or set it to 'default'")
    if spec.memory_swap_bytes is not None and spec.memory_bytes is None:
        hint = "give memory as well, or set memory_swap to 'default'"
        yield Problem("memory_swap", "it needs a cap on memory", hint)


def check_cpu(spec: ContainerSpec) -> Iterator[Problem]:
    """Only unused quota can be saved up, and no more than one period's. kernel/sched/core.c, tg_set_cfs_bandwidth."""
    if spec.cpu_burst_usec is not None:
        if spec.cpu_quota_usec is None:
            hint = "give cpus as well, or set cpu_burst to 'default'"
            yield Problem("cpu_burst", "without a cap there is nothing to save up", hint)
        elif spec.cpu_burst_usec > spec.cpu_quota_usec:
            burst, quota = format_cpus(spec.cpu_burst_usec), format_cpus(spec.cpu_quota_usec)
            yield Problem("cpu_burst", f"{burst} is more than the {quota} of cpus")


def check_networks(spec: ContainerSpec) -> Iterator[Problem]:
    """`host` and `none` stand alone, and leave no room for ports and addresses; a fixed address needs one network."""
    if not spec.networks:
        yield Problem("networks", "the list is empty", "write none for no network, or leave networks out")
    for name in _repeated(spec.networks):
        yield Problem("networks", f"network {name!r} is given twice")
    alone = next((name for name in spec.networks if name in ALONE), "")
    if alone and len(set(spec.networks)) > 1:
        yield Problem("networks", f"{alone!r} cannot be combined with other networks", f"give {alone} alone")
    for field, given in (("ports", bool(spec.ports)), ("ip", bool(spec.ip)), ("ip6", bool(spec.ip6))):
        if not given:
            continue
        if alone:
            yield Problem(
                field,
                f"network {alone!r} has no {'published ports' if field == 'ports' else 'addresses to choose from'}",
                f"leave {field} out, or join a network",
            )
        elif field != "ports" and len(spec.networks) > 1:
            yield Problem(
                field,
                f"a fixed address needs exactly one network, not {len(spec.networks)}",
                "connect the others afterwards",
            )


def check_ports(spec: ContainerSpec) -> Iterator[Problem]:
    """A port of the host leads to one place."""
    taken: dict[tuple[str, int], list[Port]] = {}
    for port in spec.ports:
        if not port.host_port:
            continue
        earlier = taken.setdefault((port.protocol, port.host_port), [])
        clash = next((other for other in earlier if addresses_overlap(port.host_ip, other.host_ip)), None)
        if clash is not None:
            both = f"{format_port(clash)!r} and {format_port(port)!r}"
            yield Problem("ports", f"host port {port.host_port}/{port.protocol} is given twice: {both}")
        earlier.append(port)


def check_net_caps(spec: ContainerSpec) -> Iterator[Problem]:
    """A guarantee lies below the cap; both need a link of the container's own."""
    keys = ("net_in", "net_out", "net_in_min", "net_out_min")
    values = (spec.net_in_bits, spec.net_out_bits, spec.net_in_min_bits, spec.net_out_min_bits)
    asked = [key for key, value in zip(keys, values, strict=True) if value is not None]
    if spec.net_packets_per_second is not None:
        asked.append("net_packets")
    if spec.net_connections is not None:
        asked.append("net_connections")
    for key in asked:
        if spec.networks in (("host",), ("none",)):
            yield Problem(key, f"on network {spec.networks[0]!r} the container has no link of its own", "leave it out")
    for key, guaranteed, cap in (
        ("net_in", spec.net_in_min_bits, spec.net_in_bits),
        ("net_out", spec.net_out_min_bits, spec.net_out_bits),
    ):
        if guaranteed is not None and cap is not None and guaranteed > cap:
            yield Problem(
                f"{key}_min", f"{format_bit_rate(guaranteed)} is more than the {format_bit_rate(cap)} of {key}"
            )


def check_disk(spec: ContainerSpec) -> Iterator[Problem]:
    """A soft limit lies below the cap; a directory of the host has none of ours."""
    pairs = (
        ("disk_soft", spec.disk_soft_bytes, spec.disk_bytes, format_bytes),
        ("disk_inodes_soft", spec.disk_soft_inodes, spec.disk_inodes, str),
    )
    for key, soft, hard, text in pairs:
        if soft is not None and hard is not None and soft > hard:
            yield Problem(key, f"the soft limit {text(soft)} exceeds the hard limit {text(hard)}")
    if spec.rootfs_writable and any(value is not None for _, *values, _ in pairs for value in values):
        yield Problem(
            "disk", "with a writable rootfs the container writes into a directory of the host", "leave :rw out"
        )


def check_mounts(spec: ContainerSpec) -> Iterator[Problem]:
    """One mount for each target."""
    for target in _repeated(mount.target for mount in spec.mounts):
        yield Problem("mounts", f"something is mounted at {target!r} twice")
    for path in _repeated(device.container_path for device in spec.devices):
        yield Problem("devices", f"{path!r} is given twice")


def check_ulimits(spec: ContainerSpec) -> Iterator[Problem]:
    """A soft limit does not exceed its hard one; each limit is given once."""
    for ulimit in spec.ulimits:
        if ulimit.hard is not None and (ulimit.soft is None or ulimit.soft > ulimit.hard):
            soft = "unlimited" if ulimit.soft is None else ulimit.soft
            yield Problem(
                f"ulimits.{ulimit.name}",
                f"the soft limit {soft} exceeds the hard limit {ulimit.hard}",
                f"write {ulimit.name}=SOFT:HARD",
            )
    for name in _repeated(ulimit.name for ulimit in spec.ulimits):
        yield Problem(f"ulimits.{name}", "the limit is given twice")


def check_capabilities(spec: ContainerSpec) -> Iterator[Problem]:
    """A capability is added or dropped, not both; `ALL` on one side leaves room for exceptions on the other."""
    for name in sorted(set(spec.cap_add) & set(spec.cap_drop)):
        yield Problem("cap_add", f"{name!r} is both added and dropped")


def check_sysctls(spec: ContainerSpec) -> Iterator[Problem]:
    """`net.*` settings need a network namespace of the container's own; each key is given once."""
    for key, _ in spec.sysctls:
        if key.startswith("net.") and not has_own_network(spec):
            yield Problem(
                f"sysctls.{key}", "the setting would be the host's on network 'host'", "leave it out, or join a network"
            )
    for key in _repeated(key for key, _ in spec.sysctls):
        yield Problem(f"sysctls.{key}", "the setting is given twice")


CHECKS: tuple[tuple[Check, tuple[str, ...]], ...] = (  # each with the settings it reads
    (check_root, ("image", "rootfs", "rootfs_writable", "read_only")),
    (check_lifetime, ("auto_remove", "restart")),
    (check_health, ("health_cmd", "health_http", "health_tcp")),
    (check_memory, ("memory", "memory_swap", "memory_high", "memory_low", "memory_min")),
    (check_cpu, ("cpus", "cpu_burst")),
    (check_networks, ("networks", "ports", "ip", "ip6")),
    (check_ports, ("ports",)),
    (check_net_caps, ("networks", "net_in", "net_out", "net_in_min", "net_out_min", "net_packets", "net_connections")),
    (check_disk, ("disk", "disk_soft", "disk_inodes", "disk_inodes_soft", "rootfs_writable")),
    (check_mounts, ("volumes", "mounts", "tmpfs", "devices")),
    (check_ulimits, ("ulimits",)),
    (check_capabilities, ("cap_add", "cap_drop")),
    (check_sysctls, ("sysctls", "networks")),
)


def validate_pool(spec: ContainerSpec) -> list[Problem]:
    """Return what is wrong between the limits of a tenant."""
    return [problem for check in (check_memory, check_cpu) for problem in check(spec)]


def validate(spec: ContainerSpec, *, unread: frozenset[str] = frozenset()) -> list[Problem]:
    """Return everything that is wrong between the settings of `spec`, in the order of the checks.

    A check that reads a setting among `unread`, which could not be parsed, is left out: it would blame the wrong one.
    """
    return [problem for check, keys in CHECKS if unread.isdisjoint(keys) for problem in check(spec)]


def _repeated(items: Iterable[str]) -> list[str]:
    """Return what occurs more than once, each once, in order."""
    seen: dict[str, int] = {}
    for item in items:
        seen[item] = seen.get(item, 0) + 1
    return [item for item, count in seen.items() if count > 1]


def addresses_overlap(one: str, other: str) -> bool:
    """Tell whether two addresses of the host are equal, or one of them stands for all of the other's family."""
    if one == other or not one or not other:
        return True
    if (":" in one) != (":" in other):
        return False
    return one in ("0.0.0.0", "::") or other in ("0.0.0.0", "::")

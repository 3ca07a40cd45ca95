"""`linux.namespaces`, and what only makes sense in one that is not the host's: offsets of clocks, sysctls, network devices.

Source: OCI runtime-spec config-linux.md; namespaces(7), time_namespaces(7), sysctl(8).
"""

import os

from pycontainer.oci.fields import INT64_MAX, INT64_MIN, Fields, check_interface, shown, wrong

# what the specification calls them, and the kernel in /proc/PID/ns
NAMESPACES = {
    "pid": "pid",
    "network": "net",
    "mount": "mnt",
    "ipc": "ipc",
    "uts": "uts",
    "user": "user",
    "cgroup": "cgroup",
    "time": "time",
}
CLOCKS = ("monotonic", "boottime")
_IPC_SYSCTLS = frozenset(
    f"kernel/{name}" for name in ("msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced")
)


def read_namespaces(linux: Fields) -> dict[str, str]:
    """Return the kernel's name of each namespace that is asked for, and the path of the one to join; empty for a new one."""
    found: dict[str, str] = {}
    for entry in linux.objects("namespaces"):
        asked = entry.text("type")
        if asked not in NAMESPACES:
            wrong(entry.at("type"), f"unknown namespace {shown(asked)}; one of {', '.join(NAMESPACES)}")
        kind = NAMESPACES[asked]
        if kind in found:
            wrong(entry.at("type"), f"namespace {shown(asked)} is given twice")
        path = entry.text_or("path")
        if path and not path.startswith("/"):
            wrong(entry.at("path"), f"{shown(path)} is not an absolute path")
        found[kind] = path
    return found


def read_time_offsets(linux: Fields, namespaces: dict[str, str]) -> dict[str, tuple[int, int]]:
    """Return seconds and nanoseconds by clock, for the new time namespace."""
    found = {}
    for clock, value, where in linux.members("timeOffsets"):
        if clock not in CLOCKS:
            wrong(where, f"unknown clock {shown(clock)}; one of {', '.join(CLOCKS)}")
        offset = Fields(value, where)
        found[clock] = (
            offset.integer_or("secs", 0, INT64_MIN, INT64_MAX),
            offset.integer_or("nanosecs", 0, 0, 999_999_999),
        )
    if found and namespaces.get("time") != "":
        wrong(linux.at("timeOffsets"), "needs a new time namespace: those of one that is joined stand already")
    return found


def read_net_devices(linux: Fields, namespaces: dict[str, str]) -> dict[str, str]:
    """Return the name inside, perhaps with `%d` at its end, of each network device of the host that moves."""
    found: dict[str, str] = {}
    for name, value, where in linux.members("netDevices"):
        check_interface(name, where)
        device = Fields(value, where)
        inside = device.text_or("name") or name
        check_interface(inside.removesuffix("%d") or inside, device.at("name"))
        if "%" in inside.removesuffix("%d"):
            wrong(device.at("name"), f"{shown(inside)} holds '%' elsewhere than in a '%d' at its end")
        if not inside.endswith("%d") and inside in found.values():
            wrong(device.at("name"), f"two devices become {shown(inside)}")
        found[name] = inside
    if found and is_of_runtime("net", namespaces, linux):
        wrong(linux.at("netDevices"), "needs another network namespace than the runtime's")
    return found


def read_sysctls(linux: Fields, namespaces: dict[str, str]) -> dict[str, str]:
    """Return values by path beneath /proc/sys, such as `net/ipv4/conf/eno2.100/forwarding`.

    A name is written with dots, where `/` is a dot of a name, or with slashes: sysctl(8). Each must be of a namespace that is
    not the runtime's, else a container would change its host.
    """
    found = {}
    of_runtime: dict[str, bool] = {}  # looked at once for each kind of namespace
    for name, value in linux.text_map("sysctl").items():
        where = f"{linux.at('sysctl')}[{shown(name)}]"
        path = _sysctl_path(name)
        if {"", ".", ".."} & {*path.split("/")}:
            wrong(where, "is not the name of a sysctl")
        if path == "kernel/hostname":
            wrong(where, "is what `hostname` sets")
        kind = _namespace_of(path)
        if not kind:
            wrong(where, "is not a sysctl of a namespace: it would change the host")
        if kind not in of_runtime:
            of_runtime[kind] = is_of_runtime(kind, namespaces, linux)
        if of_runtime[kind]:
            needed = "network" if kind == "net" else kind
            wrong(where, f"needs another {needed} namespace than the runtime's: it would change the host")
        found[path] = value
    return found


def _sysctl_path(name: str) -> str:
    """Return the path of a sysctl: the separator is what comes first, the other one stands for a dot within a name."""
    dot, slash = name.find("."), name.find("/")
    if slash != -1 and (dot == -1 or slash < dot):
        return name
    return "/".join(part.replace("/", ".") for part in name.split("."))


def _namespace_of(path: str) -> str:
    if path.startswith("net/"):
        return "net"
    if path in _IPC_SYSCTLS or path.startswith("fs/mqueue/"):
        return "ipc"
    return "uts" if path == "kernel/domainname" else ""


def is_of_runtime(kind: str, namespaces: dict[str, str], linux: Fields) -> bool:
    """Tell whether the container is going to be in our own namespace of a kind, or in one that is joined but is ours."""
    path = namespaces.get(kind)
    if path is None:
        return True
    if not path:
        return False
    try:
        theirs, ours = os.stat(path), os.stat(f"/proc/self/ns/{kind}")
    except OSError as error:
        wrong(linux.at("namespaces"), f"{shown(error.filename)}: {error.strerror}")
    return (theirs.st_dev, theirs.st_ino) == (ours.st_dev, ours.st_ino)

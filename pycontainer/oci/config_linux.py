"""`linux` of a bundle's config.json but for namespaces, id maps and resources, which have modules of their own.

Source: OCI runtime-spec config-linux.md; mknod(2), personality(2).
"""

from pycontainer.oci.config_mounts import inside_path
from pycontainer.oci.fields import UINT32_MAX, Fields, checked_text, shown, wrong

PER_LINUX, PER_LINUX32 = 0, 8
PERSONALITIES = {"LINUX": PER_LINUX, "LINUX32": PER_LINUX32}
PROPAGATIONS = ("shared", "slave", "private", "unbindable", "rshared", "rslave", "rprivate", "runbindable")
MAJOR_MOST, MINOR_MOST = 2**12 - 1, 2**20 - 1  # what a dev_t of the kernel holds
_DEVICE_TYPES = {"c": "c", "u": "c", "b": "b", "p": "p"}
_MODE = 0o7777


class Device:
    """A device node: `type` is c (also for u, which is the same), b or p (a FIFO); `mode` holds permission bits alone."""

    __slots__ = ("gid", "major", "minor", "mode", "path", "type", "uid")

    def __init__(self, type: str, path: str, major: int, minor: int, mode: int | None, uid: int, gid: int) -> None:
        self.type = type
        self.path = path
        self.major = major
        self.minor = minor
        self.mode = mode
        self.uid = uid
        self.gid = gid


def read_devices(linux: Fields) -> list[Device]:
    return [_read_device(entry) for entry in linux.objects("devices")]


def _read_device(entry: Fields) -> Device:
    asked = entry.text("type")
    if asked not in _DEVICE_TYPES:
        wrong(entry.at("type"), f"unknown type of a device {shown(asked)}; one of {', '.join(_DEVICE_TYPES)}")
    path = inside_path(entry.absolute_path("path"))
    if path == "/":
        wrong(entry.at("path"), "is the root")
    is_fifo = asked == "p"
    mode = entry.integer_or_none("fileMode", 0, UINT32_MAX)
    return Device(
        _DEVICE_TYPES[asked],
        path,
        0 if is_fifo else entry.integer("major", 0, MAJOR_MOST),
        0 if is_fifo else entry.integer("minor", 0, MINOR_MOST),
        None if mode is None else mode & _MODE,  # Docker writes the type's bits as well, 0o20666
        entry.integer_or("uid", 0, 0, UINT32_MAX - 1),
        entry.integer_or("gid", 0, 0, UINT32_MAX - 1),
    )


def read_cgroups_path(linux: Fields) -> str:
    """Return the path, empty when missing; also the `slice:prefix:name` of the systemd driver."""
    path = linux.text_or("cgroupsPath")
    if ".." in path and ".." in path.replace(":", "/").split("/"):
        wrong(linux.at("cgroupsPath"), f"{shown(path)} leaves its place with '..'")
    if "\n" in path:  # /proc/PID/cgroup would lie
        wrong(linux.at("cgroupsPath"), f"{shown(path)} contains a line break")
    return path


def read_rootfs_propagation(linux: Fields) -> str:
    asked = linux.text_or("rootfsPropagation")
    if asked and asked not in PROPAGATIONS:
        wrong(linux.at("rootfsPropagation"), f"{shown(asked)} is not one of {', '.join(PROPAGATIONS)}")
    return asked


def read_inside_paths(linux: Fields, key: str) -> list[str]:
    """Return paths of the container, each absolute."""
    paths = linux.texts(key)
    for index, path in enumerate(paths):
        if not path.startswith("/"):
            wrong(f"{linux.at(key)}[{index}]", f"{shown(path)} is not an absolute path")
    return paths


def read_personality(linux: Fields) -> int | None:
    asked = linux.inner("personality")
    if asked is None:
        return None
    domain = asked.choice("domain", PERSONALITIES)
    if asked.texts("flags"):
        wrong(f"{asked.at('flags')}[0]", "there are no flags yet")
    return domain


def read_seccomp(linux: Fields) -> dict[str, object] | None:
    """Return the policy as it is: security/seccomp_json.py reads it."""
    asked = linux.inner("seccomp")
    return None if asked is None else asked.data


def read_intel_rdt(linux: Fields) -> dict[str, object] | None:
    """Return what is there of closID, l3CacheSchema, memBwSchema, schemata (a list of lines), enableCMT, enableMBM."""
    asked = linux.inner("intelRdt")
    if asked is None:
        return None
    made: dict[str, object] = {}
    for key in ("closID", "l3CacheSchema", "memBwSchema"):
        if text := asked.text_or(key):
            made[key] = text
    clos = asked.text_or("closID")
    if clos in (".", "..") or "/" in clos or "\n" in clos:  # it is a directory of resctrl
        wrong(asked.at("closID"), f"{shown(clos)} is not the name of a directory")
    bandwidth = asked.text_or("memBwSchema")
    if bandwidth and (not bandwidth.startswith("MB:") or "\n" in bandwidth):
        wrong(asked.at("memBwSchema"), f"{shown(bandwidth)} is not one line that begins with 'MB:'")
    if asked.has("schemata"):  # text in the drafts, a list of lines in version 1.3
        lines = asked.data["schemata"]
        made["schemata"] = asked.texts("schemata") if isinstance(lines, list) else _lines(asked)
    for key in ("enableCMT", "enableMBM"):
        if asked.boolean(key):
            made[key] = True
    return made


def _lines(asked: Fields) -> list[str]:
    return checked_text(asked.data["schemata"], asked.at("schemata")).splitlines()

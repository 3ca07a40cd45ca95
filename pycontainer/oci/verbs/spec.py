"""`spec`: a config.json to begin with, as confined as one can be without knowing what will run."""

from __future__ import annotations

import os

from pycontainer.errors import AlreadyExists
from pycontainer.oci import text
from pycontainer.oci.state import OCI_VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontainer.oci.arguments import Options

_CAPABILITIES = ("CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE")
_MASKED = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
)
_READONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


def run(options: Options) -> None:
    """Write config.json into the bundle; one that is there stays."""
    path = os.path.join(options.bundle, "config.json")
    data = text.dumps(example(rootless=bool(options.rootless)), indent=4).encode() + b"\n"
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    except FileExistsError:
        raise AlreadyExists(f"'{path}' exists", hint="remove it first") from None
    try:
        while data:
            data = data[os.write(fd, data) :]
    finally:
        os.close(fd)


def example(*, rootless: bool) -> dict[str, object]:
    """Return a configuration that starts `sh` on `rootfs`; for a user without rights it needs a user namespace."""
    namespaces = ["pid", "network", "ipc", "uts", "mount", "cgroup"]
    linux: dict[str, object] = {"resources": {"devices": [{"allow": False, "access": "rwm"}]}}
    if rootless:
        # a network namespace of its own would leave nothing but a loopback; limits and devices are the host's
        namespaces = ["pid", "ipc", "uts", "mount", "cgroup", "user"]
        linux = {
            "uidMappings": [{"containerID": 0, "hostID": os.geteuid(), "size": 1}],
            "gidMappings": [{"containerID": 0, "hostID": os.getegid(), "size": 1}],
        }
    linux["namespaces"] = [{"type": name} for name in namespaces]
    linux["maskedPaths"] = list(_MASKED)
    linux["readonlyPaths"] = list(_READONLY)
    return {
        "ociVersion": OCI_VERSION,
        "process": {
            "terminal": True,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {name: list(_CAPABILITIES) for name in ("bounding", "effective", "permitted")},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "container",
        "mounts": list(_mounts(rootless=rootless)),
        "linux": linux,
    }


def _mounts(*, rootless: bool) -> list[dict[str, object]]:
    quiet = ["nosuid", "noexec", "nodev"]
    # group 5, that of terminals, is not mapped there; nor may a new sysfs be made beside the host's network
    pts = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", *([] if rootless else ["gid=5"])]
    if rootless:
        sys = _mount("/sys", "none", ["rbind", *quiet, "ro"], source="/sys")
    else:
        sys = _mount("/sys", "sysfs", [*quiet, "ro"])
    return [
        _mount("/proc", "proc", quiet),
        _mount("/dev", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        _mount("/dev/pts", "devpts", pts),
        _mount("/dev/shm", "tmpfs", [*quiet, "mode=1777", "size=65536k"], source="shm"),
        _mount("/dev/mqueue", "mqueue", quiet),
        sys,
        _mount("/sys/fs/cgroup", "cgroup", [*quiet, "relatime", "ro"]),
    ]


def _mount(destination: str, kind: str, options: list[str], source: str = "") -> dict[str, object]:
    return {"destination": destination, "type": kind, "source": source or kind, "options": options}

"""Find out which cgroup hierarchies this host has and where our own directory may be made.

    v2      one tree for everything            /sys/fs/cgroup                  cgroup2
    v1      one tree per (group of) controllers /sys/fs/cgroup/cpu,cpuacct      cgroup
    hybrid  v1 trees for the controllers and a v2 tree without them: treated as v1

On v2 the *base*, the directory below which we build, is the first of
  1. the parent of our own cgroup, if that is called `supervisor` and systemd delegated the parent: a service with
     Delegate=yes and DelegateSubgroup=supervisor (systemd 254). Delegate=yes alone is not used: we would have to leave
     the service's directory to enable controllers in it, and while containers live there systemd cannot put a new
     supervisor into it (EBUSY, "219/CGROUP"): the service could not be restarted.
  2. the root of the mount. Where that is not the root of the machine (in a container with a private cgroup
     namespace) it holds processes, and they have to go to a leaf first.
"""

import os
from collections.abc import Callable

# What we use. On v1 directories are made and processes attached in this order, and removed in reverse: the freezer
# comes first, because kill() looks there, so that it also finds a process whose attach was cut short.
V1_CONTROLLERS = ("freezer", "pids", "memory", "cpu", "cpuacct", "cpuset", "blkio", "hugetlb")
V2_CONTROLLERS = ("cpu", "cpuset", "hugetlb", "io", "memory", "misc", "pids", "rdma")

LEAF = "supervisor"

_ESCAPES = ((r"\040", " "), (r"\011", "\t"), (r"\012", "\n"), (r"\043", "#"), (r"\134", "\\"))
_DELEGATE_XATTRS = ("user.delegate", "trusted.delegate")


class Layout:
    """The hierarchies of a host.

    `version` is "v1", "v2" or "hybrid". `controllers` maps each controller that we use and that is there to the
    directory below which our parent directory is made: mount points on v1, always the base on v2. `must_vacate` (v2)
    says that processes live directly in the base and have to leave before controllers can be enabled there.
    """

    __slots__ = ("controllers", "must_vacate", "version")

    def __init__(self, version: str, controllers: dict[str, str], *, must_vacate: bool = False) -> None:
        self.version = version
        self.controllers = controllers
        self.must_vacate = must_vacate

    @property
    def is_v2(self) -> bool:
        return self.version == "v2"

    def missing(self, *names: str) -> list[str]:
        """Return those of `names` that this host does not offer."""
        return [name for name in names if name not in self.controllers]


def is_delegated(directory: str) -> bool:
    """Say whether systemd handed `directory` over with Delegate=yes."""
    for name in _DELEGATE_XATTRS:
        try:
            if os.getxattr(directory, name) == b"1":
                return True
        except OSError:
            pass  # ENODATA, or a directory that is gone: not delegated
    return False


def detect(
    root: str = "/sys/fs/cgroup",
    *,
    self_cgroup: str | None = None,
    mountinfo: str | None = None,
    is_delegated: Callable[[str], bool] = is_delegated,
) -> Layout:
    """Return the layout of this host, from the mounts at or below `root`.

    The texts default to those of /proc/self; tests hand in others. Raises FileNotFoundError if no cgroup file
    system is mounted.
    """
    v1_mounts, v2_mount = _cgroup_mounts(_read("/proc/self/mountinfo") if mountinfo is None else mountinfo, root)
    controllers = {name: v1_mounts[name] for name in V1_CONTROLLERS if name in v1_mounts}
    if controllers:
        return Layout("hybrid" if v2_mount else "v1", controllers)
    if not v2_mount:
        raise FileNotFoundError(2, "no cgroup file system is mounted", root)
    own_text = _read("/proc/self/cgroup") if self_cgroup is None else self_cgroup
    base, must_vacate = _v2_base(v2_mount, own_text, is_delegated)
    offered = _read(f"{base}/cgroup.controllers").split()
    return Layout("v2", {name: base for name in V2_CONTROLLERS if name in offered}, must_vacate=must_vacate)


def _cgroup_mounts(mountinfo: str, root: str) -> tuple[dict[str, str], str | None]:
    """Return (v1 controller -> mount point, v2 mount point or None). Source: proc_pid_mountinfo(5)."""
    v1: dict[str, str] = {}
    v2 = None
    for line in mountinfo.splitlines():
        mount, separator, filesystem = line.partition(" - ")
        if not separator:
            continue
        point = _unescape(mount.split()[4])
        kind, _source, options = filesystem.split()[:3]
        if point != root and not point.startswith(f"{root}/"):
            continue
        if kind == "cgroup2":
            v2 = v2 or point
        elif kind == "cgroup":
            for option in options.split(","):
                v1.setdefault(option, point)
    return v1, v2


def _v2_base(mount: str, self_cgroup: str, is_delegated: Callable[[str], bool]) -> tuple[str, bool]:
    """Return the base and whether it must be vacated."""
    own = next((line[3:] for line in self_cgroup.splitlines() if line.startswith("0::/")), "/")
    if "/.." not in own:  # ours lies outside the mount: a cgroup namespace that we did not make
        service, _, leaf = f"{mount}{own}".rpartition("/")
        if leaf == LEAF and is_delegated(service):
            return service, False
    return mount, os.path.exists(f"{mount}/cgroup.type")  # only the root of the machine has no type


def _unescape(path: str) -> str:
    for escape, character in _ESCAPES:
        path = path.replace(escape, character)
    return path


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()

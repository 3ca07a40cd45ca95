"""Find out which cgroup hierarchies this host has and where our own directory may be made.

    v2      one tree for everything            /sys/fs/cgroup                  cgroup2
    v1      one tree per (group of) controllers /sys/fs/cgroup/cpu,cpuacct      cgroup
    hybrid  v1 trees for the controllers and a v2 tree without them: treated as v1

On v2 the *base*, the directory below which we build, is the scope that systemd hands over to us, where it runs, else the
root of the mount. A scope holds the monitor, and a root that is not the machine's (in a container with a private cgroup
namespace) holds processes, too: they have to go to a leaf first.
"""

from __future__ import annotations

import os

from pycontainer.cgroup.scope import Scope, scope_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# What we use. On v1 directories are made and processes attached in this order, and removed in reverse: the freezer
# comes first, because kill() looks there, so that it also finds a process whose attach was cut short.
V1_CONTROLLERS = ("freezer", "pids", "memory", "cpu", "cpuacct", "cpuset", "blkio", "hugetlb", "devices")
V2_CONTROLLERS = ("cpu", "cpuset", "hugetlb", "io", "memory", "misc", "pids", "rdma")

_ESCAPES = ((r"\040", " "), (r"\011", "\t"), (r"\012", "\n"), (r"\043", "#"), (r"\134", "\\"))


class Layout:
    """The hierarchies of a host.

    `version` is "v1", "v2" or "hybrid". `controllers` maps each controller that we use and that is there to the
    directory below which our parent directory is made: mount points on v1, always the base on v2. `must_vacate` (v2)
    says that processes live directly in the base and have to leave before controllers can be enabled there. `scope` (v2)
    is the base if it is one of systemd's; it need not be there yet. `mount` (v2) is where the hierarchy begins,
    if that is not the base. `unified` (hybrid) is where the v2 tree begins.
    """

    __slots__ = ("controllers", "mount", "must_vacate", "scope", "unified", "version")

    def __init__(
        self,
        version: str,
        controllers: dict[str, str],
        *,
        must_vacate: bool = False,
        scope: Scope | None = None,
        mount: str = "",
        unified: str = "",
    ) -> None:
        self.version = version
        self.controllers = controllers
        self.must_vacate = must_vacate
        self.scope = scope
        self.mount = mount
        self.unified = unified

    @property
    def is_v2(self) -> bool:
        return self.version == "v2"

    def missing(self, *names: str) -> list[str]:
        """Return those of `names` that this host does not offer."""
        return [name for name in names if name not in self.controllers]


def detect(
    root: str = "/sys/fs/cgroup",
    *,
    name: str = "",
    mountinfo: str | None = None,
    scope_of: Callable[[str, str], Scope | None] = scope_of,
) -> Layout:
    """Return the layout of this host, from the mounts at or below `root`, for the world called `name`.

    Without a name no scope is looked for. `mountinfo` defaults to that of /proc/self; tests hand in others. Raises
    FileNotFoundError if no cgroup file system is mounted.
    """
    v1_mounts, v2_mount = cgroup_mounts(_read("/proc/self/mountinfo") if mountinfo is None else mountinfo, root)
    controllers = {controller: v1_mounts[controller][0] for controller in V1_CONTROLLERS if controller in v1_mounts}
    if controllers:
        return Layout("hybrid" if v2_mount else "v1", controllers, unified=v2_mount[0] if v2_mount else "")
    if not v2_mount:
        raise FileNotFoundError(2, "no cgroup file system is mounted", root)
    mount = v2_mount[0]
    scope = scope_of(name, mount) if name else None
    offered = _read(f"{mount}/cgroup.controllers").split()
    return Layout(
        "v2",
        dict.fromkeys((each for each in V2_CONTROLLERS if each in offered), scope.directory if scope else mount),
        must_vacate=scope is not None or os.path.exists(f"{mount}/cgroup.type"),  # only the machine's root has no type
        scope=scope,
        mount=mount,
    )


def cgroup_mounts(
    mountinfo: str, root: str = "/sys/fs/cgroup"
) -> tuple[dict[str, tuple[str, str]], tuple[str, str] | None]:
    """Return (v1 controller -> mount, v2 mount or None); a mount is (where, which cgroup of the hierarchy is seen there).

    The latter is `/` but in a container that has no cgroup namespace. Source: proc_pid_mountinfo(5).
    """
    v1: dict[str, tuple[str, str]] = {}
    v2 = None
    for line in mountinfo.split("\n"):  # not splitlines: names of mount points hold whatever Unicode has for line ends
        if " - cgroup" not in line:  # blanks in names are escaped; a busy host has a thousand mounts of others
            continue
        mount, _, filesystem = line.partition(" - ")
        fields, more = mount.split(" "), filesystem.split(" ")
        if len(fields) < 6 or len(more) < 3:
            continue
        kind, _source, options = more[:3]  # the source may be empty
        if kind not in ("cgroup", "cgroup2"):
            continue
        point = _unescape(fields[4])
        if point != root and not point.startswith(f"{root}/"):
            continue
        if kind == "cgroup2":
            v2 = v2 or (point, _unescape(fields[3]))
        else:
            for option in options.split(","):
                v1.setdefault(option, (point, _unescape(fields[3])))
    return v1, v2


def _unescape(path: str) -> str:
    for escape, character in _ESCAPES:
        path = path.replace(escape, character)
    return path


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
        return file.read()

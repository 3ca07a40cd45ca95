"""The legacy hierarchies (kernel Documentation/admin-guide/cgroup-v1/), also on hybrid hosts.

    MOUNT/pycontainer/ID/     in each of freezer, pids, memory, cpu, cpuacct, cpuset, blkio, hugetlb, devices (some may be one
                           mount)
    v2    /pycontainer/ID/    on a hybrid host, for containers of profile system: beneath it is theirs to arrange

For others the v2 tree of a hybrid host stays unused: without controllers it would cost a directory and an attach for
nothing that the freezer does not give. None of the v1 directories is ever given away: they are not made for it.
"""

from __future__ import annotations

import errno
import os

from pycontainer.cgroup import delegation
from pycontainer.cgroup.base import (
    GONE,
    Cgroup,
    own_cgroups,
    parse_keyed,
    read_file,
    remove_directory,
    remove_tree,
    subdirectory_names,
    write_file,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontainer.cgroup.detect import Layout

UNLIMITED_BYTES = 1 << 62  # no limit is told as the largest number of pages, just below 1 << 63
_INSIDE = ("memory", "cpu", "cpuacct", "cpuset", "pids")  # what programs inside look at
_MOUNTS = "/sys/fs/cgroup"
_KILL_ROUNDS = 10
_SIGKILL = 9


def _below_mount(directory: str) -> str:
    """Return the path within its hierarchy, each of which is mounted at /sys/fs/cgroup/NAME; empty if it is elsewhere."""
    _, found, path = directory.removeprefix(f"{_MOUNTS}/").partition("/")
    return f"/{path}" if found and directory.startswith(f"{_MOUNTS}/") else ""


class CgroupV1(Cgroup):
    """A container's cgroup in the legacy hierarchies: one directory in each."""

    __slots__ = ("_unified",)
    version = 1

    def __init__(self, container_id: str, paths: dict[str, str], unified: str = "") -> None:
        """`unified` is where its directory in the v2 tree is or would be; empty without such a tree."""
        super().__init__(container_id, paths)
        self._unified = unified

    def delegate(self, owner: int) -> str:
        if not self._unified:
            return ""
        os.makedirs(self._unified)
        return delegation.delegate(self._unified, owner)

    def doors(self) -> list[str]:
        """Who moves another process takes a lock for all of the host and waits for an RCU grace period, 7 ms and more. A
        thread that moves itself, by `tasks`, takes none: 0.05 ms (cgroup_procs_write_start in kernel/cgroup/cgroup.c)."""
        return [f"{directory}/tasks" for directory in self._directories]

    def holds(self, pid: int) -> bool:
        """By what the kernel says of the process: a list of all inside is as long as they are many."""
        if self._unified and os.path.isdir(self._unified):
            return False  # no thread moves itself from one domain of v2 to another
        try:
            found = own_cgroups(pid)
        except (FileNotFoundError, ProcessLookupError):
            return False
        # Where the mount does not show the hierarchy's root, as in a container without a cgroup namespace, none of them fits.
        return all(found.get(name) == _below_mount(directory) for name, directory in self._paths.items())

    def attach(self, pid: int, *, beside: int = 0) -> None:
        super().attach(pid)
        if self._unified and os.path.isdir(self._unified):
            write_file(f"{delegation.landing(self._unified, beside)}/cgroup.procs", str(pid))

    def delete(self, *, timeout_seconds: float = 2.0) -> None:
        if self._unified:
            remove_tree(self._unified, timeout_seconds)
        super().delete(timeout_seconds=timeout_seconds)

    def dirfd(self, *, beside: int = 0) -> int | None:
        return None

    def _stop(self) -> bool:
        self.write("freezer", "freezer.state", "FROZEN")  # repeated: a process that forked meanwhile is caught then
        return self.is_frozen()

    def thaw(self) -> None:
        self.write("freezer", "freezer.state", "THAWED")

    def is_frozen(self) -> bool:
        try:
            return self.read("freezer", "freezer.state") == "FROZEN"
        except OSError as error:
            if error.errno not in GONE:
                raise
            return False

    def kill(self) -> None:
        for _ in range(_KILL_ROUNDS):
            if not self.pids():  # the usual case after an exit: nobody there, nobody who could fork
                return
            try:
                self.freeze(timeout_seconds=0.1)
                complete = True
            except TimeoutError:
                complete = False  # one is in an uninterruptible wait: kill the others, look again
            for pid in self.pids():
                try:
                    os.kill(pid, _SIGKILL)
                except ProcessLookupError:
                    pass
            self.thaw()
            if complete:
                return
        raise TimeoutError(errno.ETIMEDOUT, "kill: processes do not stop", self._processes_directory())

    def oom_kills(self) -> int:
        return parse_keyed(self.read("memory", "memory.oom_control")).get("oom_kill", 0)

    def mount_sources(self) -> list[tuple[str, str]]:
        return [(name, self._paths[name]) for name in _INSIDE if name in self._paths]

    def _processes_directory(self) -> str:
        return self._paths.get("freezer", self._directories[0])  # one that we freeze is one whose list does not change


class TreeV1:
    """Our part of the legacy hierarchies."""

    def __init__(self, layout: Layout, parent_name: str) -> None:
        self._parents = {name: f"{mount}/{parent_name}" for name, mount in layout.controllers.items()}
        self._unified = f"{layout.unified}/{parent_name}" if layout.unified else ""

    def prepare(self) -> None:
        """Make the parent directory in each hierarchy; may be repeated.

        A new cpuset has no CPUs and no memory nodes and takes no process. The parent gets those of the root, and
        clone_children makes the kernel copy them to the containers below at mkdir.
        """
        for name, parent in self._parents.items():
            os.makedirs(parent, exist_ok=True)
            if name == "cpuset":
                for file in ("cpuset.cpus", "cpuset.mems"):
                    write_file(f"{parent}/{file}", read_file(f"{os.path.dirname(parent)}/{file}"))
                write_file(f"{parent}/cgroup.clone_children", "1")
        if self._unified:
            os.makedirs(self._unified, exist_ok=True)

    def open(self, path: str) -> CgroupV1:
        paths = {name: f"{parent}/{path}" for name, parent in self._parents.items()}
        return CgroupV1(os.path.basename(path), paths, f"{self._unified}/{path}" if self._unified else "")

    def create(self, path: str, *, inner: bool = False) -> CgroupV1:
        """Make the directories; an `inner` one, which holds others, needs nothing more: clone_children is inherited."""
        made: list[str] = []
        try:
            for parent in dict.fromkeys(self._parents.values()):
                os.mkdir(f"{parent}/{path}", 0o755)
                made.append(f"{parent}/{path}")
        except OSError:
            for directory in reversed(made):
                os.rmdir(directory)
            raise
        return self.open(path)

    def list(self, path: str = "") -> list[str]:
        parents = [*self._parents.values(), *filter(None, [self._unified])]
        directories = [f"{parent}/{path}" for parent in parents]
        found: set[str] = set()
        for directory in directories:
            found.update(subdirectory_names(directory, found))
        return sorted(found)

    def remove_parent(self) -> None:
        for parent in reversed(dict.fromkeys(self._parents.values())):
            remove_directory(parent)
        if self._unified:
            remove_directory(self._unified)

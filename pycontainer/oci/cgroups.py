"""The cgroup of an OCI container: where it lies, and what is done with it; cgroupfs here, systemd's scopes in `systemd`.

Where `linux.cgroupsPath` leads, which is as runc has it, so that engines find what they look for:

    /a/b      below where the hierarchy is mounted, in each hierarchy
    a/b       v1: below the cgroup of who calls; v2: beside it, for one with processes passes no controllers on
    nothing   as the relative path ID

The directories on the way that were not there are ours: the container's record holds them, and its deletion removes those
that nobody else uses by then. On v1 each hierarchy has one, also those without limits, and the v2 tree of a hybrid host.

What sets limits (`resources`, `devicepolicy`) and what looks for the hierarchies (`cgroup.detect`) is imported where it is
needed: it takes 2 ms, and `delete` needs none of it.
"""

from __future__ import annotations

import errno
import os
import time

from pycontainer.cgroup.base import Cgroup, own_cgroups, processes_below, read_file, remove_tree, waits, write_file
from pycontainer.cgroup.v1 import CgroupV1
from pycontainer.cgroup.v2 import CgroupV2
from pycontainer.errors import InvalidInput, InvalidState, NotPermitted, PycontainerError, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Mount = tuple[str, str]

ROOT = "/sys/fs/cgroup"
# Made and joined in this order, and removed in reverse: kill() looks into the freezer's, so that comes first. "" is the v2
# tree of a hybrid host, which is what tools ask for the way of a process.
V1_HIERARCHIES = (
    "freezer", "pids", "memory", "cpu", "cpuacct", "cpuset", "blkio", "hugetlb", "devices", "net_cls", "net_prio",
    "perf_event", "rdma", "misc", "name=systemd",
)  # fmt: skip
V2_CONTROLLERS = ("cpu", "cpuset", "dmem", "hugetlb", "io", "memory", "misc", "pids", "rdma")
_UNIFIED = ""
_DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)
_NAME_BYTES_MAX, _PATH_BYTES_MAX = 255, 3072
_ON_ITS_WAY_SECONDS = 0.005
_TRIES = 5  # another container's deletion may take away a directory that we found


class PlainV2(CgroupV2):
    """A cgroup of v2 in which nothing of ours is delegated: what lies beneath was made inside."""

    __slots__ = ()

    def write(self, controller: str, name: str, value: str) -> None:
        Cgroup.write(self, controller, name, value)

    def _file(self, controller: str, name: str) -> str:
        return f"{self.directory}/{name}"  # unified files may be of controllers that we do not know, or of none

    def attach(self, pid: int, *, beside: int = 0) -> None:
        write_file(f"{self._landing(beside)}/cgroup.procs", str(pid))

    def dirfd(self, *, beside: int = 0) -> int | None:
        return os.open(self._landing(beside), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def _landing(self, beside: int) -> str:
        """Return where a process goes: to process `beside` if that lives further down, for then none may be above it."""
        if beside:
            path = own_cgroups(beside).get(_UNIFIED, "")
            _, found, below = path.partition(f"{self.directory.removeprefix(ROOT)}/")
            if found and ".." not in below.split("/") and os.path.isdir(f"{self.directory}/{below}"):
                return f"{self.directory}/{below}"
        return self.directory


class PlainV1(CgroupV1):
    """A cgroup in the legacy hierarchies, and in the v2 tree beside them, as one more of them."""

    __slots__ = ()

    def doors(self) -> list[str]:
        unified = self._paths.get(
            _UNIFIED
        )  # where a process is born, see `dirfd`: threads cannot move themselves there
        return [f"{directory}/tasks" for directory in self._directories if directory != unified]

    def dirfd(self, *, beside: int = 0) -> int | None:
        unified = self._paths.get(_UNIFIED)
        return os.open(unified, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) if unified else None

    def kill(self) -> None:
        if self.has("freezer"):
            super().kill()
            return
        deadline = time.monotonic() + 1
        for wait_seconds in waits():  # without a freezer one may fork while we look: look again until none is left
            pids = self.pids()
            for pid in pids:
                try:
                    os.kill(pid, 9)
                except ProcessLookupError:
                    pass
            if not pids or time.monotonic() > deadline:
                return
            time.sleep(wait_seconds)


class Entrance:
    """How a child gets into a group: it is born there, on v1 it moves itself, and whatever that leaves its parent does.

    `born_fd` is for CLONE_INTO_CGROUP, or -1; through `doors` the child writes "0". The descriptors are to be closed.
    """

    __slots__ = ("born_fd", "doors")

    def __init__(self, born_fd: int = -1, doors: tuple[int, ...] = ()) -> None:
        self.born_fd, self.doors = born_fd, doors

    def bear(self, clone: Callable[[int], tuple[int, int]]) -> tuple[int, int]:
        """Return pid and pidfd of what `clone` bears, given the descriptor for CLONE_INTO_CGROUP or -1. OSError of it."""
        try:
            return clone(self.born_fd)
        except OSError:
            if self.born_fd < 0 or not self.doors:
                raise
        self._leave_birth()  # a kernel of before 5.7, which is no error where somebody else can move the child
        return clone(-1)

    def close(self) -> None:
        """Close the descriptors; whether one is born inside stays known."""
        for fd in self.doors:
            os.close(fd)
        if self.born_fd >= 0:
            os.close(self.born_fd)

    def _leave_birth(self) -> None:
        os.close(self.born_fd)
        self.born_fd = -1


class Group:
    """The cgroup of one container, through cgroupfs. Holds paths, no descriptors.

    Made by `make`, or by `reopen` from what `record` returned. None has been made on the host before `create`.
    """

    driver = "cgroupfs"
    __slots__ = ("_cgroup", "_intermediate", "_is_optional", "container_id", "resources")

    def __init__(self, container_id: str, cgroup: Cgroup | None, *, is_optional: bool = False) -> None:
        """Without a `cgroup` there is none, and no limit can be set: the caller may make none. `is_optional`: if that
        turns out, it is no error."""
        self.container_id = container_id
        self.resources: dict[str, Any] = {}
        self._cgroup = cgroup
        self._intermediate: list[str] = []  # directories on the way to ours, made by us
        self._is_optional = is_optional

    def check(self) -> None:
        """Look at the resources as far as that goes before there is a cgroup. InvalidInput, Unsupported."""
        from pycontainer.oci import devicepolicy
        from pycontainer.oci.resources import WHERE, plan

        if self._cgroup is not None:
            plan(self.resources, self._cgroup.version, _nothing)
            devicepolicy.check(self._cgroup.version, devicepolicy.steps(self.resources.get("devices"), WHERE), WHERE)

    def create(self) -> None:
        """Make the directories; what was made is removed again if that fails.

        Raises InvalidState if there are processes already, NotPermitted and Unsupported.
        """
        if self._cgroup is None:
            return
        made: list[str] = []
        try:
            for directory in _directories(self._cgroup):
                self._make(directory, made)
        except (OSError, PycontainerError) as error:
            for directory in reversed(made):
                remove_tree(directory, 0)
            if not isinstance(error, OSError):
                raise
            if self._is_optional and error.errno in _DENIED:
                self._cgroup = None
                return
            raise _cannot("make", error) from error
        own = set(_directories(self._cgroup))
        self._intermediate = [directory for directory in made if directory not in own]

    def apply(self, wanted: dict[str, Any], where: str = "") -> None:
        """Set the limits of a new container and which devices it may use.

        `wanted` is `linux.resources`, with checked types. InvalidInput, InvalidState, NotPermitted, Unsupported: with the
        field's path below `where`, which is that of config.json if it is empty.
        """
        self._hold(wanted, where, holds_devices=True, undo=False)

    def update(self, wanted: dict[str, Any], where: str = "") -> None:
        """Set what is in `wanted` and leave the rest; if one is refused, those before it are as they were."""
        self._hold(wanted, where, holds_devices=wanted.get("devices") is not None, undo=True)

    def attach(self, pid: int, *, beside: int = 0) -> None:
        """Move process `pid` in, on v2 to where process `beside` (the container's init) lives, if that is further down."""
        if self._cgroup is not None:
            try:
                self._cgroup.attach(pid, beside=beside)
            except OSError as error:
                raise _cannot(f"move process {pid} into", error) from error

    def entrance(
        self, high: Callable[[int], int], *, beside: int = 0, is_born: bool = True, moves_itself: bool = True
    ) -> Entrance:
        """Open the ways in for a child that is about to be born; `high` moves a descriptor to where that keeps it.

        Without `is_born` it will not be born by us, and so not inside; without `moves_itself` it waits to be moved.
        """
        if self._cgroup is None:
            return Entrance()
        born_fd = self._cgroup.dirfd(beside=beside) if is_born else None
        doors = []
        for path in self._cgroup.doors() if moves_itself else ():
            try:
                doors.append(high(os.open(path, os.O_WRONLY | os.O_CLOEXEC)))
            except FileNotFoundError:  # the container is gone, and so says whoever moves a child there
                continue
        return Entrance(-1 if born_fd is None else high(born_fd), tuple(doors))

    def see_in(self, pid: int, entrance: Entrance, *, beside: int = 0) -> None:
        """See to it that a child is inside that was born with this entrance.

        It is given the time to get there by itself which moving it would take: on v1 that waits for an RCU grace period.
        """
        if self._cgroup is not None and self._cgroup.version == 2 and entrance.born_fd >= 0:
            return
        if self._cgroup is not None and entrance.doors:
            until = time.monotonic() + _ON_ITS_WAY_SECONDS
            for wait_seconds in waits():
                if self._cgroup.holds(pid):
                    return
                if time.monotonic() > until:
                    break
                time.sleep(wait_seconds)
        self.attach(pid, beside=beside)

    def record(self) -> dict[str, Any]:
        """Return what `reopen` needs, as plain JSON data."""
        record: dict[str, Any] = {"driver": self.driver, "container_id": self.container_id}
        if self._cgroup is not None:
            record |= {"version": self._cgroup.version, "paths": self._cgroup.paths()}
            record["intermediate"] = self._intermediate
        return record

    def sought(self) -> dict[str, Any]:
        """Return what to record before `create`: of a group of nobody, as somebody else's may be there.

        Its deletion removes what is not there now, if nobody uses it by then.
        """
        missing = set()
        for directory in _directories(self._cgroup) if self._cgroup is not None else ():
            while not os.path.isdir(directory):
                missing.add(directory)
                directory = os.path.dirname(directory)
        return {"driver": Group.driver, "container_id": self.container_id, "intermediate": sorted(missing)}

    @classmethod
    def reopen(cls, record: dict[str, Any]) -> Group:
        """Return the group that `record` was taken of. ValueError for what none of ours could have been."""
        container_id, paths = record.get("container_id"), record.get("paths", {})
        intermediate, version = record.get("intermediate", []), record.get("version", 0)
        if not isinstance(container_id, str) or not isinstance(paths, dict) or not isinstance(intermediate, list):
            raise ValueError("the record of a cgroup is damaged")
        for path in (*paths.values(), *intermediate):
            if not isinstance(path, str) or not path.startswith(f"{ROOT}/") or "/../" in f"{path}/":
                raise ValueError(f"the record of a cgroup names {path!r}, which is none")
        if (version in (1, 2)) != bool(paths):
            raise ValueError("the record of a cgroup is damaged")
        cgroup = _open(container_id, version, paths) if paths else None
        if record.get("driver") == "systemd":
            from pycontainer.oci.systemd import ScopeGroup  # saves 3 ms where it is not the driver

            return ScopeGroup.of_record(record, cgroup)
        group = cls(container_id, cgroup)
        group._intermediate = intermediate
        return group

    def exists(self) -> bool:
        """Say whether any of it is there."""
        return self._cgroup is not None and self._cgroup.exists()

    def paths(self) -> dict[str, str]:
        """Return controller -> directory on the host; on v1 `name=systemd` and, for the v2 tree beside it, "" as well."""
        return {} if self._cgroup is None else self._cgroup.paths()

    def pids(self) -> list[int]:
        """Return the host's pids of all processes inside, nested cgroups included; empty if it is gone."""
        return [] if self._cgroup is None else self._cgroup.pids()

    def freeze(self) -> None:
        """Stop every process inside and wait until all have stopped; if they do not, none is."""
        self._act("freeze")

    def thaw(self) -> None:
        """Let the processes run again; not frozen is success."""
        self._act("thaw")

    def is_frozen(self) -> bool:
        """Say whether all processes inside are stopped; False if it is gone or has no freezer."""
        if self._cgroup is None:
            return False
        try:
            return self._cgroup.is_frozen()
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP):
                raise
            return False

    def kill(self) -> None:
        """Send SIGKILL to every process inside, frozen ones as well, so that none can fork away; gone is success."""
        if self._cgroup is not None and self._cgroup.exists():
            self._act("kill")

    def delete(self, *, timeout_seconds: float = 2.0) -> None:
        """Remove it and all cgroups in it, and those on the way to it that we made and nobody uses; gone is success.

        Raises InvalidState if processes live there.
        """
        try:
            if self._cgroup is not None:
                self._cgroup.delete(timeout_seconds=timeout_seconds)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise _cannot("remove", error) from error
            raise InvalidState(
                f"cannot remove the cgroup of container '{self.container_id}': processes {few(self.pids())} live in it",
                hint="kill them first: kill --all ID KILL",
            ) from error
        for directory in reversed(self._intermediate):
            try:
                os.rmdir(directory)
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.EBUSY, errno.ENOTEMPTY, errno.EROFS):
                    raise _cannot("remove", error) from error

    def stats(self) -> dict[str, Any]:
        """Return what is used now, as the `data` of runc's `events --stats`."""
        from pycontainer.oci import stats  # only `events` asks

        return stats.of(self._needed("read the use of"))

    def oom_kills(self) -> int:
        """Return how many processes the kernel killed here for want of memory."""
        if self._cgroup is None:
            return 0
        try:
            return self._cgroup.oom_kills()
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP):
                raise
            return 0

    def mount_sources(self) -> list[tuple[str, str]]:
        """Return (name below /sys/fs/cgroup inside, directory on the host) for the mount of type cgroup.

        On v2 the name is empty. On v1 hierarchies are called as on the host, and those of several controllers as each, too.
        """
        if self._cgroup is None:
            return []
        if self._cgroup.version == 2:
            return self._cgroup.mount_sources()
        from pycontainer.cgroup.detect import cgroup_mounts

        sources: dict[str, str] = {}
        mounts, unified = cgroup_mounts(read_file("/proc/self/mountinfo"), ROOT)
        for name, directory in self._cgroup.paths().items():
            mount = unified if name == _UNIFIED else mounts.get(name)
            if mount:
                sources[os.path.basename(mount[0])] = directory
                if name and "=" not in name:
                    sources[name] = directory
        return list(sources.items())

    def _hold(self, wanted: dict[str, Any], where: str, *, holds_devices: bool, undo: bool) -> None:
        from pycontainer.oci import devicepolicy
        from pycontainer.oci.resources import WHERE, plan, present_in, write_all

        where = where or WHERE
        cgroup = self._cgroup
        present = present_in(cgroup) if cgroup is not None else _nothing
        writes = plan(wanted, cgroup.version if cgroup is not None else 2, present, where)
        if cgroup is not None:
            write_all(cgroup, writes, where, undo=undo)
        elif writes:
            raise NotPermitted(
                f"{where}.{writes[0][0]}: the container has no cgroup, for you may make none",
                hint="delegate one to the user, or leave the limits out",
            )
        if cgroup is not None and holds_devices:
            devicepolicy.hold(cgroup, devicepolicy.steps(wanted.get("devices"), where), where)

    def _act(self, verb: str) -> None:
        cgroup = self._needed(verb)
        try:
            getattr(cgroup, verb)()
        except OSError as error:
            raise _cannot(verb, error) from error

    def _needed(self, verb: str) -> Cgroup:
        if self._cgroup is None:
            raise Unsupported(
                f"cannot {verb} the processes of container '{self.container_id}': it has no cgroup", feature="cgroup"
            )
        return self._cgroup

    def _make(self, directory: str, made: list[str]) -> None:
        cgroup = self._cgroup
        assert cgroup is not None
        is_new = _make_passed_on(directory, made) if cgroup.version == 2 else _make_directory(directory, made)
        if not is_new:
            _check_unused(self.container_id, cgroup, directory)
        if cgroup.version == 1 and cgroup.paths().get("cpuset") == directory:
            _fill_cpuset(directory)


def make(
    cgroups_path: str,
    container_id: str,
    *,
    systemd: bool = False,
    resources: dict[str, Any] | None = None,
    rootless: bool = False,
    annotations: dict[str, str] | None = None,
) -> Group:
    """Choose where the cgroup of a container lies; nothing is made yet.

    `systemd` has cgroups_path as `slice:prefix:name`, and looks at the `annotations` org.systemd.property.NAME. `resources`
    are looked at as far as that goes without a cgroup, so that what makes no sense is refused before anything was made.
    With `rootless`, and no path asked for, a user who may make no cgroup gets none. Raises InvalidInput, and Unsupported if
    the host has no cgroups.
    """
    if systemd:
        from pycontainer.oci.systemd import ScopeGroup  # saves 3 ms where it is not the driver

        group: Group = ScopeGroup.of_path(cgroups_path, container_id, rootless=rootless, annotations=annotations)
    else:
        version, paths = locate(cgroups_path, container_id)
        group = Group(container_id, _open(container_id, version, paths), is_optional=rootless and not cgroups_path)
    group.resources = resources or {}
    group.check()
    return group


def locate(cgroups_path: str, container_id: str, root: str = ROOT, procfs: str = "/proc") -> tuple[int, dict[str, str]]:
    """Return the version, and hierarchy -> directory. InvalidInput for a path that is none."""
    from pycontainer.cgroup.detect import cgroup_mounts

    path = _checked(cgroups_path or container_id)
    if os.path.exists(f"{root}/cgroup.controllers"):  # v2 alone; one look instead of reading all mounts
        if path.startswith("/"):
            return 2, dict.fromkeys(V2_CONTROLLERS, root + path)
        _, unified = cgroup_mounts(read_file(f"{procfs}/self/mountinfo"), root)
        above = os.path.dirname(_seen(own_cgroups("self", procfs).get(_UNIFIED, "/"), unified or (root, "/"))).rstrip(
            "/"
        )
        return 2, dict.fromkeys(V2_CONTROLLERS, f"{root}{above}/{path}")
    mounts, unified = cgroup_mounts(read_file(f"{procfs}/self/mountinfo"), root)
    hierarchies = {name: mounts[name] for name in V1_HIERARCHIES if name in mounts}
    if unified:
        hierarchies[_UNIFIED] = unified
    if not hierarchies:
        raise Unsupported(f"no cgroup file system is mounted at '{root}'", feature="cgroup")
    if path.startswith("/"):
        return 1, {name: mount[0] + path for name, mount in hierarchies.items()}
    own = own_cgroups("self", procfs)
    return 1, {
        name: f"{mount[0]}{_seen(own.get(name, '/'), mount).rstrip('/')}/{path}" for name, mount in hierarchies.items()
    }


def _seen(path: str, mount: Mount) -> str:
    """Return where a cgroup of /proc/PID/cgroup is below its mount point; `/` if it is not to be seen there."""
    shown = mount[1].rstrip("/")
    if path == shown or path.startswith(f"{shown}/"):
        path = path[len(shown) :] or "/"
        if ".." not in path.split("/"):
            return path
    return "/"


def _checked(path: str) -> str:
    """Return `path` without empty and `.` components; InvalidInput if it climbs, or is the root of the hierarchy."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise InvalidInput(f"config.json: linux.cgroupsPath: {path!r} has a '..'")
    if not parts:
        raise InvalidInput(
            f"config.json: linux.cgroupsPath: {path!r} is the root of the hierarchy",
            hint="name a cgroup below it: a container's is emptied and removed with it",
        )
    if not path.isprintable() or len(os.fsencode(path)) > _PATH_BYTES_MAX:
        raise InvalidInput("config.json: linux.cgroupsPath: it is too long or has control characters")
    if any(len(os.fsencode(part)) > _NAME_BYTES_MAX for part in parts):
        raise InvalidInput(f"config.json: linux.cgroupsPath: a name has more than {_NAME_BYTES_MAX} bytes")
    return ("/" if path.startswith("/") else "") + "/".join(parts)


def _open(container_id: str, version: int, paths: dict[str, str]) -> Cgroup:
    return PlainV2(container_id, paths) if version == 2 else PlainV1(container_id, paths)


def _directories(cgroup: Cgroup) -> list[str]:
    return list(dict.fromkeys(cgroup.paths().values()))


def _make_directory(directory: str, made: list[str]) -> bool:
    """Make a directory and those above it, and put down in `made` what was made; False if it was there."""
    for _ in range(_TRIES):
        try:
            os.mkdir(directory, 0o755)
            made.append(directory)
            return True
        except FileExistsError:
            return False
        except FileNotFoundError:
            if directory == ROOT:
                raise
            _make_directory(os.path.dirname(directory), made)
    raise OSError(errno.ENOENT, "another process removes the cgroups above it", directory)


def _make_passed_on(directory: str, made: list[str]) -> bool:
    """Make a cgroup of v2 with all controllers, and those above it; False if it was there."""
    for _ in range(_TRIES):
        try:
            pass_on(os.path.dirname(directory), made)
            os.mkdir(directory, 0o755)
            made.append(directory)
            return True
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENODEV):
                raise
    raise OSError(errno.ENOENT, "another process removes the cgroups above it", directory)


def pass_on(directory: str, made: list[str]) -> None:
    """Make a cgroup of v2 that passes all controllers on to those below it, and so those above it.

    A controller that cannot be passed on is missed by who wants a limit of it. A cgroup with processes passes none on: some
    it could, but what is below it would then take no process (cgroup-v2.rst, Threads). FileNotFoundError or OSError(ENODEV)
    if one above it went meanwhile.
    """
    if directory != ROOT:
        pass_on(os.path.dirname(directory), made)
        try:
            os.mkdir(directory, 0o755)
            made.append(directory)
        except FileExistsError:
            pass
    path = f"{directory}/cgroup.subtree_control"
    passed = read_file(path).split()
    missing = [name for name in _offered(directory) if name not in passed] if len(passed) < len(V2_CONTROLLERS) else []
    if missing:
        try:
            write_file(path, " ".join(f"+{name}" for name in missing))
        except OSError as error:
            if error.errno == errno.EBUSY:
                return
            if error.errno in (errno.ENOENT, errno.ENODEV):
                raise
            for name in missing:
                try:
                    write_file(path, f"+{name}")
                except OSError:
                    pass


def _offered(directory: str) -> list[str]:
    offered = read_file(f"{directory}/cgroup.controllers").split()
    return [name for name in V2_CONTROLLERS if name in offered]


def _fill_cpuset(directory: str) -> None:
    """Give a new cpuset of v1, which has no CPUs and memory nodes and takes no process, those of the one above it."""
    for file in ("cpuset.cpus", "cpuset.mems"):
        path = f"{directory}/{file}"
        if not read_file(path).strip():
            above = os.path.dirname(directory)
            value = read_file(f"{above}/{file}").strip()
            if not value:
                _fill_cpuset(above)
                value = read_file(f"{above}/{file}").strip()
            write_file(path, value)


def _check_unused(container_id: str, cgroup: Cgroup, directory: str) -> None:
    """Refuse a cgroup that somebody lives in, for the container's end would be theirs, or that lets nobody run."""
    if not os.path.isdir(directory):
        raise InvalidInput(f"config.json: linux.cgroupsPath: '{directory}' is a file of the kernel")
    if pids := processes_below(directory):  # in this hierarchy; each of v1 has others
        raise InvalidState(
            f"the cgroup '{directory}' for container '{container_id}' is in use by processes {few(pids)}",
            hint="choose another linux.cgroupsPath",
        )
    try:
        frozen = cgroup.is_frozen()
    except OSError:  # not made yet where the freezer is
        frozen = False
    if frozen:
        raise InvalidState(f"the cgroup '{directory}' for container '{container_id}' is frozen", hint="remove it")


def few(pids: list[int]) -> str:
    return ", ".join(map(str, pids[:5])) + (", ..." if len(pids) > 5 else "")


def _cannot(verb: str, error: OSError) -> PycontainerError:
    message = f"cannot {verb} the cgroup '{error.filename}': {error.strerror}"
    if error.errno in _DENIED:
        return NotPermitted(message, hint="is it delegated to you, and mounted to be written to?")
    if error.errno == errno.EBUSY:
        return InvalidState(message, hint="a cgroup of v2 has processes, or cgroups with controllers")
    return PycontainerError(message)


def _nothing(controller: str, file: str) -> None:
    return None

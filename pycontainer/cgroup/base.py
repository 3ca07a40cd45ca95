"""What a cgroup is in either version: directories with files; and the plain calls on them.

Every call here is one or two system calls: this is the hot path of a start. `v1.py` and `v2.py` add what differs.
"""

from __future__ import annotations

import errno
import os
import time
from abc import ABC, abstractmethod

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Generator, Iterable, Iterator, Mapping

    _Name = tuple[str, str]  # of a file: the controller, and the name where that lives; `../` leads to the cgroup above

GONE = (errno.ENOENT, errno.ENODEV)  # errors of a file whose directory is removed, or just being so
_ABOVE, _ABOVE_MAX = "../", 16  # open at a time, with a descriptor for each controller
_ALL_BYTES = 2048
_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 0.00005, 0.01


def read_file(path: str) -> str:
    """Return the whole text of a cgroup file, or of one of proc(5) that tells of cgroups.

    The kernel gives all that fits into its buffer of at least a page, and stops before that only for a record that does
    not fit (fs/seq_file.c): what is shorter than half a page, and so than any record that would be left, is all there is.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        text = chunk = os.read(fd, 65536)
        while len(chunk) >= _ALL_BYTES:
            text += (chunk := os.read(fd, 65536))
    finally:
        os.close(fd)
    return text.decode()


def own_cgroups(pid: int | str, procfs: str = "/proc") -> dict[str, str]:
    """Return hierarchy -> path of the cgroup of a process, "" being v2. Source: cgroups(7)."""
    own: dict[str, str] = {}
    for line in read_file(f"{procfs}/{pid}/cgroup").split("\n"):
        _, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if path:
            own |= dict.fromkeys(names.split(","), path)
    return own


def write_file(path: str, value: str) -> None:
    """Write `value` with one write(2); the OSError names the file and the value."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        write_to(fd, path, value)
    finally:
        os.close(fd)


def write_to(fd: int, path: str, value: str) -> None:
    """Write `value` to the open file `path`; the OSError names both."""
    try:
        os.write(fd, value.encode())
    except OSError as error:
        raise OSError(error.errno, f"write {value!r}: {os.strerror(error.errno or 0)}", path) from None


def waits() -> Iterator[float]:
    """Yield how long to sleep before each new look: shortly at first, for most things are done at once."""
    seconds = _FIRST_WAIT_SECONDS
    while True:
        yield seconds
        seconds = min(2 * seconds, _LONGEST_WAIT_SECONDS)


def parse_keyed(text: str) -> dict[str, int]:
    """Return a flat keyed file (`key number` lines, as memory.stat) as a dict."""
    pairs = (line.split() for line in text.splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2}


def _held(path: str, dirfd: int) -> bytes | None:
    """Return what a file holds that lies beneath a directory, as far as one read(2) tells; None if it cannot be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=dirfd)
        try:
            return os.read(fd, 65536)
        finally:
            os.close(fd)
    except OSError:
        return None


class Above:
    """The directories above the cgroups that are looked at in one go, open: of the way to a file, each step costs as much as
    to read it. What is read above is read once for all."""

    def __init__(self) -> None:
        self._dirfds: dict[str, dict[str, int]] = {}
        self._held: dict[tuple[int, str], bytes | None] = {}

    def close(self) -> None:
        for dirfds in self._dirfds.values():
            for dirfd in dirfds.values():
                os.close(dirfd)
        self._dirfds.clear()
        self._held.clear()

    def dirfds(self, paths: Mapping[str, str]) -> dict[str, int]:
        """Return controller -> descriptor of the directory above, for all that lie there; they stay ours.

        OSError if one is gone.
        """
        directory = os.path.dirname(next(iter(paths.values())))
        if directory not in self._dirfds and len(self._dirfds) >= _ABOVE_MAX:
            self.close()
        found = self._dirfds.setdefault(directory, {})
        if len(found) < len(paths):
            for controller in paths.keys() - found.keys():
                path = os.path.dirname(paths[controller])
                found[controller] = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        return found

    def held(self, dirfd: int, name: str) -> bytes | None:
        """Return what a file in one of them holds."""
        key = dirfd, name
        if key not in self._held:
            self._held[key] = _held(name, dirfd)
        return self._held[key]


def subdirectories(directory: str) -> list[str]:
    """Return the paths of the child cgroups; none if the directory is gone."""
    return [f"{directory}/{name}" for name in subdirectory_names(directory)]


def subdirectory_names(directory: str, known: Container[str] = ()) -> list[str]:
    """Return the names of the child cgroups, but of those that are `known`; none if the directory is gone."""
    try:
        with os.scandir(directory) as entries:
            return [e.name for e in entries if e.name not in known and e.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []


def processes_below(directory: str) -> list[int]:
    """Return the host's pids of all processes in a cgroup directory and below it; empty if it is gone."""
    found: list[int] = []
    pending = [directory]
    while pending:
        directory = pending.pop()
        try:
            found += map(int, read_file(f"{directory}/cgroup.procs").split())
        except OSError as error:
            if error.errno not in GONE:
                raise
        pending += subdirectories(directory)
    return [pid for pid in found if pid > 0]  # 0: a process of a pid namespace that we cannot see


def remove_directory(directory: str) -> None:
    """Remove an empty cgroup directory; already gone is success."""
    try:
        os.rmdir(directory)
    except FileNotFoundError:
        pass


def remove_tree(directory: str, timeout_seconds: float) -> None:
    """Remove a cgroup directory and all below it; already gone is success.

    The kernel answers EBUSY for a moment after the last process died, and as long as one lives: OSError(EBUSY) then.
    """
    deadline = time.monotonic() + timeout_seconds
    for wait_seconds in waits():
        try:
            remove_directory(directory)
            return
        except OSError as error:
            if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
                raise
            children = subdirectories(directory)
            for child in children:
                remove_tree(child, max(0.0, deadline - time.monotonic()))
            if not children:
                if time.monotonic() >= deadline:
                    raise OSError(errno.EBUSY, "rmdir: processes are left in the cgroup", directory) from None
                time.sleep(wait_seconds)


class Cgroup(ABC):
    """One container's cgroup. Holds paths, no descriptors: nothing has to be closed."""

    __slots__ = ("__weakref__", "_directories", "_paths", "container_id", "seen")
    version: int

    def __init__(self, container_id: str, paths: dict[str, str]) -> None:
        self.container_id = container_id
        self._paths = paths
        self._directories = tuple(dict.fromkeys(paths.values()))  # v1 may have cpu and cpuacct in one
        self.seen: dict[_Name, bytes | None] | None = None  # if untouched: what was read, None if that failed

    @property
    def is_untouched(self) -> bool:
        return self.seen is not None

    def untouched(self) -> Cgroup:
        """Return the same cgroup for somebody to look at: what is written changes nothing, and nobody is inside or beneath.

        Who sets a limit there and reads it back finds what is held already. Each file is read once, and noted in `seen`.
        """
        import copy  # 1 ms that a start of an OCI container does not need

        view = copy.copy(self)
        view.seen = {}
        return view

    def reads_as(self, seen: Iterable[tuple[_Name, bytes | None]], above: Above) -> bool:
        """Tell whether the files hold what was `seen`."""
        try:
            dirfds = above.dirfds(self._paths)
        except OSError:
            return False
        own_name = os.path.basename(self._directories[0])
        for (controller, name), before in seen:
            dirfd = dirfds[controller]
            if name.startswith(_ABOVE):
                now = above.held(dirfd, name.removeprefix(_ABOVE))
            else:
                now = _held(f"{own_name}/{name}", dirfd)
            if now != before:
                return False
        return True

    def paths(self) -> dict[str, str]:
        """Return controller -> directory on the host."""
        return dict(self._paths)

    def has(self, controller: str) -> bool:
        """Say whether `controller` acts on this cgroup."""
        return controller in self._paths

    def exists(self) -> bool:
        """Say whether any of its directories is there."""
        return any(os.path.isdir(directory) for directory in self._directories)

    def read(self, controller: str, name: str) -> str:
        """Return the text of file `name` where `controller` lives, stripped. FileNotFoundError: the kernel lacks it."""
        return self._read((controller, name), self._file(controller, name))

    def _read(self, name: _Name, path: str) -> str:
        """Read a file, of which one that is untouched remembers what it holds, or that it is not there."""
        if self.seen is None:
            return read_file(path).strip()
        held = self.seen.get(name)
        if held is None:
            self.seen[name] = None
            held = self.seen[name] = read_file(path).encode()
        return held.decode().strip()

    def write(self, controller: str, name: str, value: str) -> None:
        """Write `value` to file `name` where `controller` lives."""
        if self.is_untouched:
            return
        write_file(self._file(controller, name), value)

    def write_each(self, controller: str, name: str, values: list[str]) -> None:
        """Write each of `values` with a write(2) of its own, for files that take one entry at a time."""
        if not values or self.is_untouched:
            return
        path = self._file(controller, name)
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            for value in values:
                write_to(fd, path, value)
        finally:
            os.close(fd)

    def read_above(self, controller: str, name: str) -> str:
        """Return the text of file `name` of the cgroup above, stripped."""
        return self._read((controller, _ABOVE + name), f"{os.path.dirname(self._paths[controller])}/{name}")

    def beneath(self, controller: str) -> list[str]:
        """Return the directories of the cgroups directly below where `controller` lives."""
        return [] if self.is_untouched else subdirectories(self._paths[controller])

    def attach(self, pid: int, *, beside: int = 0) -> None:
        """Move process `pid` (all its threads) in, where something was delegated to where process `beside` lives.

        ProcessLookupError if it is gone.
        """
        for directory in self._directories:
            write_file(f"{directory}/cgroup.procs", str(pid))

    def crowd(self, *, arrived: int = 0) -> str:
        """Say which limit leaves no room for one more process, here or in the tenant's cgroup; empty if there is room.

        Moving a process in is never refused (cgroup-v1/pids.rst), so who moves one asks again with `arrived` 1.
        """
        for whose, read in (("its own", self.read), ("its tenant's", self.read_above)):
            try:
                limit, current = read("pids", "pids.max"), int(read("pids", "pids.current"))
            except FileNotFoundError:  # the root of the hierarchy has no limit
                continue
            if limit != "max" and current - arrived >= int(limit):
                return f"{current - arrived} of {limit} processes that are {whose} limit are there"
        return ""

    def pids(self) -> list[int]:
        """Return the host's pids of all processes inside, nested cgroups included; empty if the cgroup is gone."""
        return [] if self.is_untouched else processes_below(self._processes_directory())

    def delete(self, *, timeout_seconds: float = 2.0) -> None:
        """Remove its directories and any nested ones; already gone is success, OSError(EBUSY) if processes live on."""
        for directory in reversed(self._directories):  # the first one is the claim: it goes last
            remove_tree(directory, timeout_seconds)

    def _processes_directory(self) -> str:
        return self._directories[0]

    def _file(self, controller: str, name: str) -> str:
        if controller not in self._paths:
            raise OSError(errno.EOPNOTSUPP, f"this host has no {controller} controller", name)
        return f"{self._paths[controller]}/{name}"

    @abstractmethod
    def delegate(self, owner: int) -> str:
        """Make a cgroup below this one that host id `owner` may arrange, and return its directory; empty if this host
        has no v2 tree. To be called before the first process is there."""

    def doors(self) -> list[str]:
        """Return paths of files: who writes "0" into each has moved in. None on v2, see `dirfd`."""
        return []

    def holds(self, pid: int) -> bool:
        """Tell whether process `pid` is known to be inside, so that nobody has to `attach` it."""
        return False

    @abstractmethod
    def dirfd(self, *, beside: int = 0) -> int | None:
        """Return a new descriptor for CLONE_INTO_CGROUP, which the caller closes; None on v1. `beside` as of `attach`."""

    def freeze(self, *, timeout_seconds: float = 10.0) -> None:
        """Stop every process inside and wait until all have stopped; TimeoutError, thawed again, if they do not."""
        for seconds in self.freezing(timeout_seconds=timeout_seconds):
            time.sleep(seconds)

    def freezing(self, *, timeout_seconds: float = 10.0) -> Generator[float]:
        """Do what `freeze` does for who has others to serve meanwhile: yield how many seconds to wait before each new look.

        Thawed again if it is given up (`close`).
        """
        deadline = time.monotonic() + timeout_seconds
        try:
            for seconds in waits():
                if self._stop():
                    return
                if time.monotonic() >= deadline:
                    raise TimeoutError(errno.ETIMEDOUT, "freeze: processes do not stop", self._processes_directory())
                yield seconds
        except BaseException:
            try:
                self.thaw()
            except OSError as error:
                if error.errno not in GONE:
                    raise
            raise

    @abstractmethod
    def _stop(self) -> bool:
        """Tell every process inside to stop; return whether all have. May be repeated."""

    @abstractmethod
    def thaw(self) -> None:
        """Let the processes run again; not frozen is success."""

    @abstractmethod
    def is_frozen(self) -> bool:
        """Say whether all processes inside are stopped; False if it is gone, which may be before we hear of an end."""

    @abstractmethod
    def kill(self) -> None:
        """Send SIGKILL to every process inside, so that none can fork away; frozen ones die too."""

    @abstractmethod
    def oom_kills(self) -> int:
        """Return how many processes the kernel killed here for want of memory."""

    @abstractmethod
    def mount_sources(self) -> list[tuple[str, str]]:
        """Return (name below /sys/fs/cgroup inside, directory on the host), to be bind-mounted read-only."""

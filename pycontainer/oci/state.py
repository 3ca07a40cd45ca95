"""What is recorded of a container, and what the kernel says of it.

    ROOT                1700
    └── ID              0700, flock'ed by who changes the container; mkdir claims the id
        ├── state.json  0600, replaced by rename
        ├── go          FIFO; there until `start`, which removes it
        └── report      FIFO, through which the child says that it began, or why not

Whether a process lives, and whether it is frozen, is asked of the kernel each time: `status` is not recorded. A process is
its pid and its start time. Reading takes no lock, so that hooks may ask for the state while the container is made.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time

from pycontainer.errors import AlreadyExists, Busy, InvalidInput, NotFound, PycontainerError
from pycontainer.oci import text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontainer.oci.cgroups import Group

OCI_VERSION = "1.2.0"
PARKED, GO = b"P", b"1"  # what the child says through `report`, and hears through `go`
LISTENS = b"L"  # before "P", or a report, which cannot begin so: the address of a row is a multiple of 8
WAIT_SECONDS = 10.0  # how long an operation waits for another one on the same container
MAX_BYTES = 16 * 1024 * 1024
NOT_THERE = "container does not exist"
_ID_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-.")

# field of state.json, attribute, type
_FIELDS: tuple[tuple[str, str, type], ...] = (
    ("ociVersion", "oci_version", str),
    ("id", "id", str),
    ("pid", "pid", int),
    ("start_ticks", "start_ticks", int),
    ("bundle", "bundle", str),
    ("rootfs", "rootfs", str),
    ("created", "created", str),
    ("annotations", "annotations", dict),
    ("owner", "owner", str),
    ("cgroup", "cgroup", dict),
    ("hooks_poststop", "hooks_poststop", list),
    ("config", "config", dict),
)
_CONFIG_FIELDS = (("joined", int), ("executes", bool), ("start_hooks", bool))
_HOOK_FIELDS = (("path", str), ("args", list), ("env", list))


def check_id(container_id: str) -> str:
    """Return the id; InvalidInput unless it is one that runc takes, and so is a single name of a directory."""
    if not container_id or not _ID_CHARACTERS.issuperset(container_id) or container_id in (".", ".."):
        raise InvalidInput(
            f"invalid container ID format: '{container_id}'", hint="write letters, digits and _ + - . alone"
        )
    if len(container_id) > 255:
        raise InvalidInput(f"invalid container ID format: {len(container_id)} characters, 255 is the most")
    return container_id


class Lock:
    """The right to change one container; ends with `release`, `with`, or the process."""

    __slots__ = ("_fd",)

    def __init__(self, directory_fd: int) -> None:
        self._fd = directory_fd

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Give the lock back, whoever still has a copy of the descriptor: a child that did not execute anything yet."""
        if self._fd >= 0:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_UN)
            finally:
                os.close(self._fd)
                self._fd = -1


class State:
    """The record of one container. `pid` is 0 until there is a process; `config` is what `start` and `exec` need."""

    __slots__ = ("root", *(attribute for _, attribute, _ in _FIELDS))

    root: str
    oci_version: str
    id: str
    pid: int
    start_ticks: int
    bundle: str
    rootfs: str
    created: str
    annotations: dict[str, str]
    owner: str
    cgroup: dict[str, object]
    hooks_poststop: list[object]
    config: dict[str, object]

    def __init__(
        self,
        root: str,
        container_id: str,
        *,
        bundle: str,
        rootfs: str,
        annotations: dict[str, str] | None = None,
        oci_version: str = OCI_VERSION,
    ) -> None:
        self.root = root
        self.id = check_id(container_id)
        self.oci_version = oci_version
        self.pid = self.start_ticks = 0
        self.bundle = bundle
        self.rootfs = rootfs
        self.created = now_text()
        self.annotations = annotations or {}
        self.owner = user_name(os.geteuid())
        self.cgroup = {}
        self.hooks_poststop = []
        self.config = {"joined": 0, "executes": False, "start_hooks": False}

    # -- on disk -----------------------------------------------------------------------------------------------------

    @property
    def directory(self) -> str:
        return f"{self.root}/{self.id}"

    @property
    def go_path(self) -> str:
        return f"{self.root}/{self.id}/go"

    @property
    def report_path(self) -> str:
        return f"{self.root}/{self.id}/report"

    @staticmethod
    def load(root: str, container_id: str) -> State:
        """Read a container's record.

        Raises NotFound if there is none, also while `create` has only claimed the id, and PycontainerError for a file
        that is damaged or could be somebody else's.
        """
        path = f"{root}/{check_id(container_id)}/state.json"
        try:
            data = _read_own(path)
            record = text.loads(data, "state.json")
            return _from_record(root, container_id, record)
        except (FileNotFoundError, NotADirectoryError):
            raise NotFound(NOT_THERE) from None
        except (InvalidInput, ValueError) as error:
            raise _damaged(container_id, error) from error

    def save(self) -> None:
        """Write the record; who reads sees all of it, or all of the one before.

        It is not synced: it tells of processes, and is worth nothing after a loss of power.
        """
        temporary = f"{self.directory}/.state.json"
        record = {key: getattr(self, attribute) for key, attribute, _ in _FIELDS}
        data = text.dumps(record).encode("utf-8", "surrogateescape")
        write_whole(temporary, data, os.O_TRUNC)
        os.rename(temporary, f"{self.directory}/state.json")

    def remove(self) -> None:
        """Remove the record; the id is free then."""
        remove_directory(self.directory)

    # -- locks -------------------------------------------------------------------------------------------------------

    @staticmethod
    def claim(root: str, container_id: str) -> Lock:
        """Take a new id, and its lock. Raises AlreadyExists, or Busy if somebody deletes it in the same moment."""
        directory = f"{root}/{check_id(container_id)}"
        try:
            os.mkdir(directory, 0o700)
        except FileNotFoundError:
            os.makedirs(root, 0o700, exist_ok=True)
            os.chmod(root, 0o1700)  # sticky: below XDG_RUNTIME_DIR what is old and is not goes, says the specification
            return State.claim(root, container_id)
        except FileExistsError:
            raise AlreadyExists("container with given ID already exists") from None
        try:
            return State.lock(root, container_id)
        except NotFound:
            raise Busy(f"container '{container_id}' was deleted while it was created") from None

    @staticmethod
    def lock(root: str, container_id: str, wait_seconds: float = WAIT_SECONDS) -> Lock:
        """Take the lock of a container. Raises NotFound, and Busy if another operation holds it for too long."""
        directory = f"{root}/{check_id(container_id)}"
        until = time.monotonic() + wait_seconds
        pause_seconds = 0.001
        while True:
            fd = _open_directory(directory)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_at(fd, directory):
                    lock, fd = Lock(fd), -1
                    return lock
            except BlockingIOError:
                if time.monotonic() >= until:
                    raise Busy(f"another operation holds container '{container_id}'") from None
                time.sleep(pause_seconds)
                pause_seconds = min(2 * pause_seconds, 0.05)
            finally:
                if fd >= 0:
                    os.close(fd)

    # -- what the kernel says ----------------------------------------------------------------------------------------

    def status(self, *, holds_lock: bool = False) -> str:
        """Return creating, created, running, paused or stopped.

        Without a process it is `creating` while somebody holds the lock, and `stopped` if that died on the way: to
        who holds the lock (`holds_lock`) nobody else is creating it.
        """
        if not self.pid:
            return "stopped" if holds_lock or not is_locked(self.directory) else "creating"
        if not self.is_alive():
            return "stopped"
        if self.is_frozen():
            return "paused"
        return "created" if self.is_parked() else "running"

    def is_alive(self) -> bool:
        """Say whether the first process lives; one that was not reaped yet does not."""
        found = process_state(self.pid) if self.pid else None
        if found is None or found[1] != self.start_ticks:
            return False
        if found[0] in "XZ":  # unless it is but the first thread that ended
            try:
                return len(os.listdir(f"/proc/{self.pid}/task")) > 1
            except OSError:
                return False
        return True

    def is_parked(self) -> bool:
        """Say whether the first process waits for `start`."""
        try:
            os.stat(self.go_path)
        except FileNotFoundError:
            return False
        return True

    def is_frozen(self) -> bool:
        """Say whether the processes stand still; False without a cgroup, or a freezer.

        It reads the file that `Group.is_frozen` reads first: importing that module takes longer than all the rest of `state`.
        """
        paths = self.cgroup.get("paths")
        if not isinstance(paths, dict) or not paths:
            return False
        if self.cgroup.get("version") == 2:
            path, frozen = f"{next(iter(paths.values()))}/cgroup.freeze", b"1"
        else:
            path, frozen = f"{paths.get('freezer')}/freezer.state", b"FROZEN"
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return False
        try:
            return frozen in os.read(fd, 4096).splitlines()
        except OSError as error:
            if error.errno != errno.ENODEV:  # removed since
                raise
            return False
        finally:
            os.close(fd)

    def group(self) -> Group | None:
        """Return the container's cgroup, or None if none was recorded."""
        if not self.cgroup:
            return None
        from pycontainer.oci import cgroups  # what only looks at a process does not need it

        try:
            return cgroups.Group.reopen(self.cgroup)
        except ValueError as error:
            raise _damaged(self.id, error) from error

    def open_pidfd(self) -> int | None:
        """Return a descriptor of the first process, or None if it has ended; never one of another process."""
        if not self.is_alive():
            return None
        try:
            fd = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return None
        if self.is_alive():  # looked at again: the number could have gone to another in between
            return fd
        os.close(fd)
        return None

    def describe(self, status: str) -> dict[str, object]:
        """Return the state as `state`, `list` and hooks show it, in runc's order of keys."""
        shown: dict[str, object] = {
            "ociVersion": self.oci_version,
            "id": self.id,
            "pid": 0 if status == "stopped" else self.pid,
            "status": status,
            "bundle": self.bundle,
            "rootfs": self.rootfs,
            "created": self.created,
        }
        if self.annotations:
            shown["annotations"] = self.annotations
        shown["owner"] = self.owner
        return shown


def ids(root: str) -> list[str]:
    """Return the ids of all containers, sorted; of a root that does not exist, none."""
    try:
        names = sorted(os.listdir(root))
    except FileNotFoundError:
        return []
    return [name for name in names if _ID_CHARACTERS.issuperset(name) and os.path.isdir(f"{root}/{name}")]


def write_whole(path: str, data: bytes, flags: int = os.O_EXCL) -> None:
    """Write a file of a container's directory: a new one or, with O_TRUNC, also what was left of an attempt."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        while data:
            data = data[os.write(fd, data) :]
    finally:
        os.close(fd)


def remove_directory(directory: str) -> None:
    """Remove a container's directory, the record last: until then `delete` finds all that it needs to go on."""
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return
    for name in sorted(names, key=lambda name: name == "state.json"):
        path = f"{directory}/{name}"
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
        except IsADirectoryError:
            from pycontainer.linux.files import remove_tree  # we make none

            remove_tree(path)
    try:
        os.rmdir(directory)
    except FileNotFoundError:
        pass


def is_locked(directory: str) -> bool:
    """Say whether somebody holds the lock of a container's directory."""
    try:
        fd = _open_directory(directory)
    except NotFound:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def let_go(fd: int) -> None:
    """Write the byte that a child waits for. One that has ended takes none, which is told by what it reports, or does not."""
    try:
        os.write(fd, GO)
    except BrokenPipeError:
        pass


def process_state(pid: int) -> tuple[str, int] | None:
    """Return the state's letter and the start, in clock ticks since boot; None without such a process. proc_pid_stat(5)"""
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fields = os.read(fd, 4096).rpartition(b")")[2].split()  # the command may itself hold ") "
    except ProcessLookupError:
        return None
    finally:
        os.close(fd)
    return fields[0].decode(), int(fields[19])


def now_text() -> str:
    """Return the time as Go's RFC3339Nano has it: without zeros at the end."""
    seconds, nanoseconds = divmod(time.time_ns(), 10**9)
    fraction = f".{nanoseconds:09}".rstrip("0").rstrip(".")
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + fraction + "Z"


def user_name(uid: int) -> str:
    """Return the name of a user, or `#UID` for one without."""
    if uid == 0:
        return "root"  # without the C library's look-up, which costs what the rest of `state` does
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"


def _damaged(container_id: str, error: Exception) -> PycontainerError:
    return PycontainerError(
        f"the record of container '{container_id}' is damaged: {error}", hint="'delete --force' removes the container"
    )


def _open_directory(directory: str) -> int:
    try:
        return os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(NOT_THERE) from None


def _is_at(fd: int, path: str) -> bool:
    """Say whether the directory is the one that has this name now: it may have been deleted, and made anew."""
    try:
        there = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    held = os.fstat(fd)
    return (there.st_dev, there.st_ino) == (held.st_dev, held.st_ino)


def _read_own(path: str) -> bytes:
    """Read a file that only we could have written; ValueError for any other."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        details = os.fstat(fd)
        if not stat.S_ISREG(details.st_mode):
            raise ValueError("it is not a regular file")
        if details.st_uid != os.geteuid() or details.st_mode & 0o022:
            raise ValueError(f"it belongs to user {details.st_uid}, or others may write to it")
        if details.st_size > MAX_BYTES:
            raise ValueError(f"it has more than {MAX_BYTES} bytes")
        data = b""
        while piece := os.read(fd, details.st_size + 1):
            data += piece
        return data
    finally:
        os.close(fd)


def _from_record(root: str, container_id: str, record: object) -> State:
    if not isinstance(record, dict):
        raise ValueError("it is not an object")
    state = object.__new__(State)
    state.root = root
    for key, attribute, kind in _FIELDS:
        setattr(state, attribute, _member(record, key, kind))
    for key, kind in _CONFIG_FIELDS:
        _member(state.config, key, kind)
    for hook in state.hooks_poststop:
        for key, kind in _HOOK_FIELDS:
            _member(hook, key, kind)
    if state.id != container_id or state.pid < 0:
        raise ValueError("it is of another container")
    return state


def _member(record: object, key: str, kind: type) -> object:
    value = record.get(key) if isinstance(record, dict) else None
    if type(value) is not kind:
        raise ValueError(f"field '{key}' is not of its type")
    return value

"""Namespaces: flags, joining, leaving and the id maps. namespaces(7), setns(2), unshare(2), user_namespaces(7)."""

import errno
import fcntl
import os
import sys

from pycontainer.linux import ffi
from pycontainer.linux.libc import checked, declare

CLONE_FILES = 0x00000400  # clone(2): to share descriptors, or to cease to
CLONE_NEWTIME = 0x00000080
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable

_NS_GET_OWNER_UID = 0xB704  # ioctl_ns(2)
_LOST = 70  # EX_SOFTWARE of sysexits.h
_SIGKILL = 9

_setns = declare("setns", ffi.c_int, ffi.c_int)
_unshare = declare("unshare", ffi.c_int)


def setns(fd: int, flags: int) -> None:
    """Join the namespace `fd`, or with a pidfd those of a process that `flags` name. setns(2)."""
    checked(_setns(fd, flags), "setns")


def unshare(flags: int) -> None:
    """Leave for fresh namespaces. unshare(2)."""
    checked(_unshare(flags), "unshare")


def owner_of_user_namespace(pid: int) -> int:
    """Return the id that made the user namespace of a process; ProcessLookupError if it has ended. ioctl_ns(2)"""
    try:
        fd = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise ProcessLookupError(errno.ESRCH, "no such process") from error
    try:
        owner = fcntl.ioctl(fd, _NS_GET_OWNER_UID, bytes(4))
    finally:
        os.close(fd)
    return int.from_bytes(owner, "little")


_HOME_FILES = ((CLONE_NEWNET, "net"), (CLONE_NEWIPC, "ipc"), (CLONE_NEWUTS, "uts"), (CLONE_NEWPID, "pid"))


class Home:
    """Namespaces this thread is in now, `flags` says which, and the way back to them from a visit elsewhere.

    Held by descriptors of the namespaces: a pidfd of ourselves would name the ones we are visiting. Without `returns` there
    is no way back: in a user namespace the host's are not ours to enter, so that children go.
    """

    def __init__(self, flags: int, *, returns: bool = True) -> None:
        self.returns = returns
        self._fds = {
            flag: os.open(f"/proc/thread-self/ns/{name}", os.O_RDONLY | os.O_CLOEXEC)
            for flag, name in _HOME_FILES
            if flags & flag
        }

    def visit(self, fd: int, flags: int) -> "Visit":
        """Join, for a `with` block, the namespaces that `flags` name, of the process of a pidfd; none if they are 0.

        CLONE_NEWPID is for children alone. If the way back fails this process ends at once: whatever it did next would be
        done to somebody's container.
        """
        return Visit(self, fd, flags)

    def fetch(self, fd: int, flags: int, make: "Callable[[], int]") -> int:
        """Return the descriptor that `make` returns in other namespaces, or its -1. See `visit`; OSError of `make`."""
        if not self.returns:
            return _sent_by_child(fd, flags, make)
        with self.visit(fd, flags):
            return make()

    def back(self, flags: int) -> None:
        """Return from a visit to `flags`, or end."""
        if flags == CLONE_NEWPID and not self.returns:
            return  # we never left it ourselves, and there will be no more children
        try:
            for flag, home_fd in self._fds.items():
                if flags & flag:
                    setns(home_fd, flag)
        except OSError as error:
            os.write(2, f"cannot return from a container's namespaces: {error}\n".encode())
            os._exit(_LOST)

    def close(self) -> None:
        for fd in self._fds.values():
            os.close(fd)


def _sent_by_child(fd: int, flags: int, make: "Callable[[], int]") -> int:
    import _socket  # rare

    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        _go_and_send(fd, flags, make, theirs)
    theirs.close()
    try:
        said, rights, _, _ = ours.recvmsg(4096, _socket.CMSG_SPACE(4), _socket.MSG_CMSG_CLOEXEC)
    finally:
        ours.close()
        try:
            os.waitpid(pid, 0)
        except ChildProcessError:  # our caller ignores SIGCHLD
            pass
    if said != _MADE:
        code, _, path = os.fsdecode(said).partition(" ")
        number = int(code or errno.ECHILD)
        raise OSError(number, os.strerror(number), path)
    return int.from_bytes(rights[0][2][:4], sys.byteorder) if rights else -1


_MADE = b"made"


def _go_and_send(fd: int, flags: int, make: "Callable[[], int]", to: "_socket.socket") -> None:
    """In the child: enter, make, send, end. Only a further child is in a pid namespace that was entered."""
    import _socket

    try:
        setns(fd, flags)
        if flags & CLONE_NEWPID and (inner := os.fork()):
            os.waitpid(inner, 0)
            os._exit(0)
        made = make()
        rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, made.to_bytes(4, sys.byteorder, signed=True))
        to.sendmsg([_MADE], [rights] if made >= 0 else [])
    except OSError as error:
        to.send(f"{error.errno} ".encode() + os.fsencode(error.filename or ""))
    finally:
        os._exit(0)


class Visit:
    """A `with` block in other namespaces, see Home.visit; `closes` the home afterwards."""

    __slots__ = ("_closes", "_fd", "_flags", "_home")

    def __init__(self, home: Home, fd: int, flags: int, *, closes: bool = False) -> None:
        self._home, self._fd, self._flags, self._closes = home, fd, flags, closes

    def __enter__(self) -> None:
        try:
            if self._flags:
                setns(self._fd, self._flags)
        except OSError:
            self._close()
            raise

    def __exit__(self, *_: object) -> None:
        self._home.back(self._flags)
        self._close()

    def _close(self) -> None:
        if self._closes:
            self._home.close()


def visiting(fd: int, flags: int) -> Visit:
    """Be in other namespaces for a `with` block, see Home.visit; `fd` is a pidfd or, for one flag, a namespace's."""
    return Visit(Home(flags), fd, flags, closes=True)


def write_id_maps(procfs_fd: int, pid: int, base: int, count: int) -> None:
    """Map ids 0..count-1 of the child's user namespace to `base`... on the host; the writer is host root.

    `procfs_fd` is a descriptor of our own /proc. gid_map may be written without setgroups=deny because the writer has
    CAP_SETGID in the parent namespace. user_namespaces(7).
    """
    line = b"0 %d %d\n" % (base, count)
    for name in ("uid_map", "gid_map"):
        fd = os.open(f"{pid}/{name}", os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=procfs_fd)
        try:
            os.write(fd, line)
        finally:
            os.close(fd)


class _Held:
    """A descriptor that is closed at the end of a `with` block."""

    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def __enter__(self) -> int:
        return self._fd

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


def user_namespace(base: int, count: int) -> _Held:
    """Give a `with` block a descriptor of a user namespace in which ids 0..count-1 are `base`... on the host.

    Nobody is in it. It lives on while something holds it: a duplicate of the descriptor, an idmapped mount, who joined it.
    """

    def map_ids(pid: int) -> None:
        procfs_fd = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            write_id_maps(procfs_fd, pid, base, count)
        finally:
            os.close(procfs_fd)

    return _Held(new_user_namespace(map_ids))


def new_user_namespace(map_ids: "Callable[[int], None]", *, joined_fd: int = -1) -> int:
    """Return a descriptor of a user namespace that nobody is in; `map_ids` writes the maps of its first process, by pid.

    With `joined_fd` the process enters that namespace instead, and `map_ids` may look at it.
    """
    ready_read_fd, ready_write_fd = os.pipe()
    alive_read_fd, alive_write_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(alive_write_fd)
            if joined_fd >= 0:
                setns(joined_fd, CLONE_NEWUSER)
            else:
                unshare(CLONE_NEWUSER)
            os.write(ready_write_fd, b"x")
            os.read(alive_read_fd, 1)  # ends with us, also when we are killed: it holds our locks as long as it lives
        finally:
            os._exit(1)
    os.close(ready_write_fd)
    os.close(alive_read_fd)
    try:
        if not os.read(ready_read_fd, 1):
            raise OSError(errno.EOPNOTSUPP, "no user namespace can be made")
        map_ids(pid)
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(ready_read_fd)
        os.close(alive_write_fd)
        os.kill(pid, _SIGKILL)
        os.waitpid(pid, 0)

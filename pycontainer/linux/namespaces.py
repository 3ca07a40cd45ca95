"""Namespaces: flags, joining, leaving and the id maps. namespaces(7), setns(2), unshare(2), user_namespaces(7)."""

import contextlib
import ctypes
import errno
import fcntl
import os
import signal
from collections.abc import Iterator

from pycontainer.linux.libc import checked, declare

CLONE_NEWTIME = 0x00000080
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

_NS_GET_OWNER_UID = 0xB704  # ioctl_ns(2)
_LOST = 70  # EX_SOFTWARE of sysexits.h

_setns = declare("setns", ctypes.c_int, ctypes.c_int)
_unshare = declare("unshare", ctypes.c_int)


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

    Held by descriptors of the namespaces: a pidfd of ourselves would name the ones we are visiting.
    """

    def __init__(self, flags: int) -> None:
        self._fds = {
            flag: os.open(f"/proc/thread-self/ns/{name}", os.O_RDONLY | os.O_CLOEXEC)
            for flag, name in _HOME_FILES
            if flags & flag
        }

    @contextlib.contextmanager
    def visit(self, fd: int, flags: int) -> Iterator[None]:
        """Join the namespaces that `flags` name, of the process of a pidfd; with CLONE_NEWPID for children alone.

        If the way back fails this process ends at once: whatever it did next would be done to somebody's container.
        """
        setns(fd, flags)
        try:
            yield
        finally:
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


@contextlib.contextmanager
def visiting(fd: int, flags: int) -> Iterator[None]:
    """Be in other namespaces for a moment, see Home.visit; `fd` is a pidfd or, for one flag, a namespace's."""
    home = Home(flags)
    try:
        with home.visit(fd, flags):
            yield
    finally:
        home.close()


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


@contextlib.contextmanager
def user_namespace(base: int, count: int) -> Iterator[int]:
    """Give a descriptor of a user namespace in which ids 0..count-1 are `base`... on the host; nobody is in it.

    The namespace lives on while something holds it: a duplicate of the descriptor, an idmapped mount, who joined it.
    """
    ready_read_fd, ready_write_fd = os.pipe()
    alive_read_fd, alive_write_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(alive_write_fd)
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
        procfs_fd = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            write_id_maps(procfs_fd, pid, base, count)
            userns_fd = os.open(f"{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC, dir_fd=procfs_fd)
        finally:
            os.close(procfs_fd)
    finally:
        os.close(ready_read_fd)
        os.close(alive_write_fd)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    try:
        yield userns_fd
    finally:
        os.close(userns_fd)

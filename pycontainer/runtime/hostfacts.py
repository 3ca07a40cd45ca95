"""What this host can do, found out by trying it: a start needs the answers, `pycontainer check` shows them.

A probe returns why not, in words, or an empty string. What would change the process that asks is tried in a forked
child; mounts are made detached or in the child's own mount namespace, so nothing is left behind.
"""

import ctypes
import errno
import fcntl
import functools
import os
import shutil
import signal
import socket
import struct
import tempfile
from collections.abc import Callable

from pycontainer.cgroup.detect import Layout, detect
from pycontainer.errors import Unsupported
from pycontainer.linux import mounts
from pycontainer.linux.libc import MACHINE, syscall
from pycontainer.linux.namespaces import CLONE_NEWNET, CLONE_NEWNS, unshare, user_namespace
from pycontainer.linux.release import kernel_version
from pycontainer.net import nft
from pycontainer.net.messages import NETLINK_NETFILTER, Netlink

_CLONE_ARGS = struct.Struct("11Q")  # struct clone_args, with the cgroup descriptor as the last field
_CLONE_INTO_CGROUP = 0x200000000
_PIDFD_INFO = struct.Struct("QQ11IiII")  # struct pidfd_info of 6.15
_PIDFD_GET_INFO = 3 << 30 | _PIDFD_INFO.size << 16 | 0xFF0B  # _IOWR(0xFF, 11, struct pidfd_info)
_PIDFD_INFO_EXIT = 8
_SECCOMP_GET_ACTION_AVAIL, _SECCOMP_RET_ERRNO = 2, 0x00050000
_LOOPBACK_INDEX = 1
_NO_UID = 1_000_000_000  # far from the ranges that people give out; only a map for a moment, no file gets it
_ID_COUNT = 65536
_LANDLOCK_CREATE_RULESET_VERSION = 1
LANDLOCK_SCOPES = 6  # the version of Landlock's interface that knows abstract sockets, Linux 6.12


class HostFacts:
    """What a start has to know beforehand. `layout` is None where no cgroups are mounted."""

    __slots__ = (
        "has_clone_into_cgroup",
        "has_pidfd_exit_info",
        "has_procfs_pidns",
        "kernel",
        "kernel_release",
        "layout",
        "machine",
    )

    def __init__(self) -> None:
        self.kernel_release = os.uname().release
        self.kernel = kernel_version(self.kernel_release)
        self.machine = MACHINE
        self.layout = _layout()
        self.has_clone_into_cgroup = not why_no_clone_into_cgroup()
        self.has_procfs_pidns = not why_no_procfs_pidns()
        self.has_pidfd_exit_info = not why_no_pidfd_exit_info()


@functools.cache
def host_facts() -> HostFacts:
    """Return the facts of this host; they are found out once per process."""
    return HostFacts()


def why_no_namespace(flag: int) -> str:
    """Try to leave for a new namespace of the kind `flag`."""
    return _in_child(lambda: unshare(flag))


def why_no_idmapped_mounts(directory: str) -> str:
    """Try to map the ids of the file system that holds `directory`, on a copy of its mount that nobody sees."""

    def attempt() -> None:
        with user_namespace(_NO_UID, _ID_COUNT) as userns_fd:
            os.close(_idmapped(directory, userns_fd))

    return _in_child(attempt)


def why_no_overlay(directory: str, *, idmapped: bool = False) -> str:
    """Try an overlay with upper and work in `directory`, in a private mount namespace; `idmapped` as our layers are."""

    def attempt() -> None:
        unshare(CLONE_NEWNS)
        mounts.mount("none", "/", flags=mounts.MS_REC | mounts.MS_PRIVATE)
        if idmapped:
            with user_namespace(_NO_UID, _ID_COUNT) as userns_fd:
                tree_fd = _idmapped(scratch, userns_fd)
            scratch_dirfd = os.open(scratch, os.O_PATH | os.O_CLOEXEC)
            mounts.move_mount(tree_fd, scratch_dirfd)
        options = [(f"{name}dir", f"{scratch}/{name}") for name in ("lower", "upper", "work")]
        os.close(mounts.new_mount("overlay", [*options]))

    try:
        scratch = tempfile.mkdtemp(prefix=".pycontainer-check-", dir=directory)
    except OSError as error:
        return f"{directory}: {_text(error)}"
    try:
        for name in ("lower", "upper", "work"):
            os.mkdir(f"{scratch}/{name}")
        return _in_child(attempt)
    finally:
        shutil.rmtree(scratch)


def why_no_link(kind: str) -> str:
    """Try to make a network link of `kind` in a network namespace of its own. rtnetlink(7)."""

    def attribute(number: int, value: bytes) -> bytes:
        return struct.pack("HH", 4 + len(value), number) + value + b"\0" * (-len(value) % 4)

    def attempt() -> None:
        unshare(CLONE_NEWNET)
        body = struct.pack("BxHiII", socket.AF_UNSPEC, 0, 0, 0, 0)
        body += attribute(3, b"probe0\0") + attribute(18, attribute(1, kind.encode()))  # IFNAME; LINKINFO of INFO_KIND
        request = struct.pack("IHHII", 16 + len(body), 16, 0x605, 1, 0) + body  # NEWLINK: REQUEST ACK CREATE EXCL
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as netlink:
            netlink.send(request)
            code = struct.unpack_from("i", netlink.recv(4096), 16)[0]  # nlmsgerr
        if code:
            raise OSError(-code, os.strerror(-code))

    return _in_child(attempt)


def why_no_nftables() -> str:
    """Try to make an nft table, in a network namespace of its own."""
    try:
        nft.load()
    except Unsupported as error:
        return str(error)

    def attempt() -> None:
        unshare(CLONE_NEWNET)
        nft.Nft().run("add table inet t; add chain inet t c { type nat hook prerouting priority -100; }")

    return _in_child(attempt)


def why_no_fast_path() -> str:
    """Try to hang the program at a link, and to be shown packets and connections, in a network namespace of its own."""
    from pycontainer.net import ctnetlink  # none of this is for a start
    from pycontainer.net.fastpath.flows import Flows
    from pycontainer.net.fastpath.samples import Samples

    def attempt() -> None:
        unshare(CLONE_NEWNET)
        Flows().hook(_LOOPBACK_INDEX)
        ctnetlink.require(Netlink(NETLINK_NETFILTER))
        nft.Nft().run(f"add table inet t; add chain inet t c; add rule inet t c log group {Samples().group}")

    return _in_child(attempt)


def why_no_seccomp() -> str:
    """Ask whether the kernel has system call filters. seccomp(2)."""
    action = ctypes.c_uint32(_SECCOMP_RET_ERRNO)
    try:
        syscall("seccomp", _SECCOMP_GET_ACTION_AVAIL, 0, ctypes.addressof(action))
    except OSError as error:
        return _text(error)
    return ""


def why_no_libseccomp() -> str:
    """Try to load the library that compiles filters."""
    try:
        ctypes.CDLL("libseccomp.so.2")
    except OSError:
        return "libseccomp.so.2 is not installed"
    return ""


def why_no_openat2(resolve: int) -> str:
    """Look our own root up, beneath itself. openat2(2), Linux 5.6."""
    how = ctypes.create_string_buffer(struct.pack("<QQQ", os.O_PATH | os.O_CLOEXEC, 0, resolve), 24)
    path = ctypes.create_string_buffer(b".")
    root_fd = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.close(syscall("openat2", root_fd, ctypes.addressof(path), ctypes.addressof(how), 24))
    except OSError as error:
        return _text(error)
    finally:
        os.close(root_fd)
    return ""


@functools.cache
def landlock_abi() -> int:
    """Return the version of the Landlock interface, 0 where there is none or it is off. landlock_create_ruleset(2)"""
    try:
        return syscall("landlock_create_ruleset", 0, 0, _LANDLOCK_CREATE_RULESET_VERSION)
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM):
            raise
        return 0


def why_no_clone_into_cgroup() -> str:
    """Ask for a child in a cgroup that is no descriptor: a kernel that knows the flag says EBADF. clone(2)."""
    arguments = _CLONE_ARGS.pack(_CLONE_INTO_CGROUP, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, 0, 0, 0x7FFFFFFF)
    buffer = ctypes.create_string_buffer(arguments, len(arguments))
    try:
        syscall("clone3", ctypes.addressof(buffer), len(arguments))
    except OSError as error:
        return "" if error.errno == errno.EBADF else _text(error)
    raise AssertionError("clone3 made a child in a cgroup that is none")


def why_no_procfs_pidns() -> str:
    """Ask a proc file system, never created, to show a namespace given by descriptor. Linux 6.17."""
    namespace_fd = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    try:
        context_fd = mounts.fsopen("proc")
        try:
            mounts.fsconfig(context_fd, "pidns", namespace_fd)
        finally:
            os.close(context_fd)
    except OSError as error:
        return _text(error)
    finally:
        os.close(namespace_fd)
    return ""


def why_no_pidfd_exit_info() -> str:
    """Ask a pidfd for the exit code of a child that was reaped. Linux 6.15."""
    pid = os.fork()
    if pid == 0:
        os._exit(7)
    pidfd = os.pidfd_open(pid)
    try:
        os.waitpid(pid, 0)
        request = _PIDFD_INFO.pack(_PIDFD_INFO_EXIT, *([0] * 15))
        try:
            answer = _PIDFD_INFO.unpack(fcntl.ioctl(pidfd, _PIDFD_GET_INFO, request))
        except OSError as error:
            return _text(error)
    finally:
        os.close(pidfd)
    has_code = answer[0] & _PIDFD_INFO_EXIT and os.waitstatus_to_exitcode(answer[13]) == 7
    return "" if has_code else "the kernel does not keep it"


def _layout() -> Layout | None:
    try:
        return detect()
    except FileNotFoundError:
        return None


def _in_child(attempt: Callable[[], None]) -> str:
    """Run `attempt` in a forked child; return the text of its error, or an empty string."""
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            attempt()
            code = 0
        except OSError as error:
            os.write(write_fd, _text(error).encode())
        finally:
            os._exit(code)
    os.close(write_fd)
    with open(read_fd, "rb") as pipe:
        reason = pipe.read().decode()
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return "" if status == 0 else reason or f"the probe ended with {status}"


def _idmapped(directory: str, userns_fd: int) -> int:
    """Return a detached mount of `directory` with mapped ids."""
    tree_fd = mounts.clone_tree(directory)
    try:
        mounts.mount_setattr(tree_fd, userns_fd=userns_fd)
    except OSError:
        os.close(tree_fd)
        raise
    return tree_fd


def _text(error: OSError) -> str:
    return f"{error.strerror} ({errno.errorcode.get(error.errno or 0, error.errno)})"

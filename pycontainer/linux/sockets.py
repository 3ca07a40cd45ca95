"""Who is at the other end of a unix socket, as the kernel noted when it connected. unix(7), SO_PEERCRED, SO_PEERGROUPS."""

import errno
import os
import struct

from pycontainer.linux import ffi
from pycontainer.linux.libc import declare

_SOL_SOCKET, _SO_PEERCRED, _SO_PEERGROUPS = 1, 17, 59
_UCRED = struct.Struct("iII")  # pid, uid, gid
_GROUPS_FIRST = 64

# Python's own takes no more than 1024 bytes: 256 groups, where a process may have 65536.
_getsockopt = declare("getsockopt", ffi.c_int, ffi.c_int, ffi.c_int, ffi.c_void_p, ffi.c_void_p)


def peer_ids(sock_fd: int) -> tuple[int, int]:
    """Return the effective user and group id of who connected; they stay what they were then."""
    _, uid, gid = _UCRED.unpack(_option(sock_fd, _SO_PEERCRED, _UCRED.size))
    return uid, gid


def peer_pid(sock_fd: int) -> int:
    """Return the pid of who connected, 0 if it is of a pid namespace that we cannot see. It may have ended meanwhile."""
    pid, _, _ = _UCRED.unpack(_option(sock_fd, _SO_PEERCRED, _UCRED.size))
    return int(pid)


def peer_groups(sock_fd: int) -> tuple[int, ...]:
    """Return the supplementary groups of who connected. Linux 4.13."""
    data = _option(sock_fd, _SO_PEERGROUPS, _GROUPS_FIRST * 4)
    return struct.unpack(f"{len(data) // 4}I", data)


def _option(sock_fd: int, option: int, size: int) -> bytes:
    """Return the value of an option; if it needs more than `size` bytes, the kernel says how many (ERANGE)."""
    while True:
        buffer, length = ffi.create_string_buffer(max(size, 1)), ffi.c_uint32(size)
        if _getsockopt(sock_fd, _SOL_SOCKET, option, buffer, ffi.byref(length)) == 0:
            return buffer.raw[: length.value]
        code = ffi.get_errno()
        if code != errno.ERANGE or length.value <= size:
            raise OSError(code, f"getsockopt: {os.strerror(code)}")
        size = length.value

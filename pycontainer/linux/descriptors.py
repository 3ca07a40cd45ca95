"""Descriptors that no other program inherits. unix(7), cmsg(3), SCM_RIGHTS, close_range(2).

`socket.recv_fds` of Python takes flags and does not hand them on to the kernel (seen up to 3.14): what came by it was
inherited by every program that a process executed, or became.
"""

import fcntl
import os
import struct

from pycontainer.linux.libc import syscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket

_FD_BYTES = 4
_FIRST_FD, LAST_FD = 3, 0xFFFF_FFFF
CLOSE_RANGE_UNSHARE, _CLOSE_RANGE_CLOEXEC = 1 << 1, 1 << 2
_SECOND_WORD = 64  # the kernel keeps what is used by words of 64 bits


def receive_fds(sock: "_socket.socket", size: int, most: int) -> tuple[bytes, list[int]]:
    """Receive up to `size` bytes and `most` descriptors, now the caller's, close-on-exec from the first instant.

    Raises ConnectionError if more came, or the kernel had no numbers left for some: what was asked with all of them would
    be something else with fewer.
    """
    import _socket  # in every process that has a socket; what is loaded before a container starts has none

    room = _socket.CMSG_LEN(most * _FD_BYTES)
    data, ancillary, flags, _ = sock.recvmsg(size, room, _socket.MSG_CMSG_CLOEXEC)
    fds: list[int] = []
    for level, kind, content in ancillary:
        if (level, kind) == (_socket.SOL_SOCKET, _socket.SCM_RIGHTS):
            count = len(content) // _FD_BYTES
            fds += struct.unpack(f"{count}i", content[: count * _FD_BYTES])
    if flags & _socket.MSG_CTRUNC:
        for fd in fds:
            os.close(fd)
        raise ConnectionError("no room for the descriptors that came with a message")
    return data, fds


def send_fds(sock: "_socket.socket", data: bytes, fds: list[int]) -> None:
    """Send `data` with descriptors beside it, which stay the caller's, too."""
    import _socket

    sock.sendmsg([data], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack(f"{len(fds)}i", *fds))])


def close_all_on_exec() -> None:
    """Let no descriptor pass through execve but the three standard ones: libraries open some that would."""
    syscall("close_range", _FIRST_FD, LAST_FD, _CLOSE_RANGE_CLOEXEC)


def make_room(count: int = 8192) -> None:
    """Have a table of so many descriptors, or as many as we may have, before anybody shares it.

    Whoever opens one more than there is room for gets a table twice as large, and waits for an RCU grace period, 15 ms, if
    threads or children share it (expand_fdtable in fs/file.c). One takes 8 bytes.
    """
    import resource  # nobody else of those who load us needs it

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    last = (count if soft == resource.RLIM_INFINITY else min(count, soft)) - 1
    try:
        os.close(fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, last))
    except OSError:  # that many are open, so it has room; or 0 is not
        pass


def can_unshare_below(first: int) -> bool:
    """Say whether close_range(2) from `first` upwards makes a copy of a shared table that holds what is below, and no more.

    From 5.9 on; but up to 6.10 the copy could take 64 to 127 for used where they were in the original (CVE-2024-45025), and
    whoever inherited it ran into its limit early. It is tried in a thread, whose copy goes with it. 0 must be open.
    """
    import _thread

    filled = [fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, _SECOND_WORD)]
    found: list[int] = []
    done = _thread.allocate_lock()

    def unshare_below() -> None:
        try:
            syscall("close_range", first, LAST_FD, CLOSE_RANGE_UNSHARE)
            found.append(fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, _SECOND_WORD))
            os.close(found[0])
        except OSError:
            pass
        finally:
            done.release()

    try:
        while filled[-1] < 2 * _SECOND_WORD:
            filled.append(fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, _SECOND_WORD))
        done.acquire()
        _thread.start_new_thread(unshare_below, ())
        done.acquire()
    except (OSError, RuntimeError):  # a limit that leaves no room for it
        return False
    finally:
        for fd in filled:
            os.close(fd)
    return found == [_SECOND_WORD]


def move_above(fd: int, first: int) -> int:
    """Return a descriptor from `first` upwards in place of `fd`, which is closed."""
    if fd >= first:
        return fd
    moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, first)
    os.close(fd)
    return moved

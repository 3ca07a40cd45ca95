"""Descriptors that no other program inherits. unix(7), cmsg(3), SCM_RIGHTS, close_range(2).

`socket.recv_fds` of Python takes flags and does not hand them on to the kernel (seen up to 3.14): what came by it was
inherited by every program that a process executed, or became.
"""

import struct

from pycontainer.linux.libc import syscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket

_FD_BYTES = 4
_FIRST_FD, _LAST_FD, _CLOSE_RANGE_CLOEXEC = 3, 0xFFFF_FFFF, 1 << 2


def receive_fds(sock: "_socket.socket", size: int, most: int) -> tuple[bytes, list[int], int]:
    """Receive up to `size` bytes and `most` descriptors; return them with the flags of the message.

    The descriptors, now the caller's, are close-on-exec from the first instant.
    """
    import _socket  # in every process that has a socket; what is loaded before a container starts has none

    room = _socket.CMSG_LEN(most * _FD_BYTES)
    data, ancillary, flags, _ = sock.recvmsg(size, room, _socket.MSG_CMSG_CLOEXEC)
    fds: list[int] = []
    for level, kind, content in ancillary:
        if (level, kind) == (_socket.SOL_SOCKET, _socket.SCM_RIGHTS):
            count = len(content) // _FD_BYTES
            fds += struct.unpack(f"{count}i", content[: count * _FD_BYTES])
    return data, fds, flags


def send_fds(sock: "_socket.socket", data: bytes, fds: list[int]) -> None:
    """Send `data` with descriptors beside it, which stay the caller's, too."""
    import _socket

    sock.sendmsg([data], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack(f"{len(fds)}i", *fds))])


def close_all_on_exec() -> None:
    """Let no descriptor pass through execve but the three standard ones: libraries open some that would."""
    syscall("close_range", _FIRST_FD, _LAST_FD, _CLOSE_RANGE_CLOEXEC)

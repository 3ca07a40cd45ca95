"""The loopback link of a fresh network namespace, which the kernel makes down. netdevice(7)"""

import ctypes
import fcntl
import os
import struct

from pycontainer.linux.libc import checked, declare

_AF_INET, _SOCK_DGRAM, _SOCK_CLOEXEC = 2, 2, 0o2000000  # Python's socket is more than this layer loads
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
_IFREQ = struct.Struct("16sh22x")  # name, flags

_socket = declare("socket", ctypes.c_int, ctypes.c_int, ctypes.c_int)


def set_loopback_up() -> None:
    """Set `lo` up in the network namespace that this thread is in; the addresses of both families come with it."""
    fd = checked(_socket(_AF_INET, _SOCK_DGRAM | _SOCK_CLOEXEC, 0), "socket")
    try:
        _, flags = _IFREQ.unpack(fcntl.ioctl(fd, _SIOCGIFFLAGS, _IFREQ.pack(b"lo", 0)))
        fcntl.ioctl(fd, _SIOCSIFFLAGS, _IFREQ.pack(b"lo", flags | _IFF_UP))
    finally:
        os.close(fd)

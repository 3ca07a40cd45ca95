"""Pseudo terminals of a container's own devpts. ioctl_tty(2), devpts in the kernel's filesystems documentation."""

import fcntl
import os
import struct

TIOCGPTPEER = 0x5441
TIOCSPTLCK = 0x40045431
TIOCGPTN = 0x80045430
TIOCSWINSZ = 0x5414


def open_pty(ptmx_fd: int, *, uid: int = -1, gid: int = -1, window: tuple[int, int] | None = None) -> tuple[int, int]:
    """Unlock the master `ptmx_fd` and return its number and its slave, which belongs to `uid` and `gid`.

    The slave is opened from the master: no path is followed. `window` is (rows, columns). OSError (EROFS where a
    container's root has made its devpts read-only) leaves no slave open.
    """
    fcntl.ioctl(ptmx_fd, TIOCSPTLCK, struct.pack("i", 0))
    number = struct.unpack("I", fcntl.ioctl(ptmx_fd, TIOCGPTN, b"\0" * 4))[0]
    slave_fd = fcntl.ioctl(ptmx_fd, TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        os.fchown(slave_fd, uid, gid)
        if window is not None:
            set_window_size(ptmx_fd, *window)
    except BaseException:
        os.close(slave_fd)
        raise
    return number, slave_fd


def set_window_size(fd: int, rows: int, columns: int) -> None:
    """Tell a terminal its size; the foreground job gets SIGWINCH when it changed."""
    fcntl.ioctl(fd, TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

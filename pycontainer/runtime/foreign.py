"""Descriptors that somebody else opened: what may be done with one without waiting for whoever serves the file behind it.

Reading the status of a file, or closing it, asks a file system in user space (FUSE), or a server, which need not answer;
closing a connection may wait for the other end (SO_LINGER). Nothing here asks: what a descriptor is, the kernel knows.
statx(2), proc_pid_fdinfo(5), proc_pid_mountinfo(5).
"""

import errno
import os
import socket
import stat

from pycontainer.linux.files import known_status

SO_PASSRIGHTS = 83  # unix(7), Linux 6.16
# Whose files are closed, read and written by this host alone.
_LOCAL = frozenset(
    {b"bcachefs", b"btrfs", b"devpts", b"devtmpfs", b"ext2", b"ext3", b"ext4", b"f2fs", b"overlay", b"ramfs", b"tmpfs",
     b"xfs", b"zfs"}
)  # fmt: skip
_MEMORY, _TERMINAL, _TERMINALS = 1, 5, range(136, 144)  # majors: null, zero and kin; tty; pts


def refusal(fd: int) -> str:
    """Return why nobody should touch what a descriptor of somebody else's leads to, "" if it can do no harm."""
    place = os.readlink(f"/proc/self/fd/{fd}")
    if place.startswith("pipe:["):
        return ""
    if place.startswith("socket:["):
        with socket.socket(fileno=os.dup(fd)) as sock:
            return _refusal_of_socket(sock)
    if not place.startswith("/"):
        return f"'{place.partition(':')[0]}', which is no file"
    device, mode, node = known_status(fd)
    if stat.S_ISCHR(mode):
        is_plain = os.major(node) in (_MEMORY, _TERMINAL, *_TERMINALS)
        return "" if is_plain and _is_local(fd, device) else "a device"
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISFIFO(mode)):
        return "neither file nor pipe"
    return "" if _is_local(fd, device) else "a file on a file system that need not answer"


def _refusal_of_socket(sock: socket.socket) -> str:
    """Keep descriptors out of a unix socket, where the kernel can: who reads there drops them, and so closes them."""
    if sock.family != socket.AF_UNIX:
        return "a socket that is not of this host"
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_PASSRIGHTS, 0)
    except OSError as error:
        if error.errno not in (errno.ENOPROTOOPT, errno.EOPNOTSUPP):
            raise
    try:
        return "a socket with descriptors in it" if are_waiting(sock) else ""
    except OSError:  # nothing is there, or nobody at the other end
        return ""


def are_waiting(sock: socket.socket, size: int = 1) -> bool:
    """Tell whether descriptors come with the next `size` bytes of a unix socket; none of them becomes ours. MSG_CTRUNC"""
    return part_without(sock, size) is None


def part_without(sock: socket.socket, size: int) -> int | None:
    """Return how many of the next `size` bytes can be read without descriptors coming along; None if some would.

    Raises BlockingIOError while there are none, and returns 0 at the end.
    """
    data, _, flags, _ = sock.recvmsg(size, 0, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    return None if flags & socket.MSG_CTRUNC else len(data)


def _is_local(fd: int, device: int) -> bool:
    """Tell whether a file lies on a file system of this host, as far as we see that mounted."""
    if device == _device_of_memory():
        return True
    with open(f"/proc/self/fdinfo/{fd}", "rb") as file:
        lines = dict(line.split(b":", 1) for line in file if b":" in line)
    mount, number = lines[b"mnt_id"].strip(), b"%d:%d" % (os.major(device), os.minor(device))
    with open("/proc/self/mountinfo", "rb") as file:
        for line in file:
            fields, _, more = line.partition(b" - ")
            mount_id, _, its_number = fields.split(b" ")[:3]
            if (mount_id == mount or its_number == number) and more.split(b" ")[0] in _LOCAL:
                return True
    return False


def _device_of_memory() -> int:
    """Return the number of the file system that files without a place lie on. memfd_create(2)"""
    fd = os.memfd_create("probe")
    try:
        return known_status(fd)[0]
    finally:
        os.close(fd)

"""The file systems that a disk image can hold: ext4, or xfs where ext4 could not grow.

Growing an ext4 in use needs CAP_SYS_RESOURCE, which a host that is itself confined may lack; xfs needs CAP_SYS_ADMIN alone,
but 300 MiB at least, and has no fixed number of inodes that could be a cap. Source: ext4(5), mkfs.xfs(8), ioctl_xfs(2).
"""

import fcntl
import os
import shutil
import struct
import subprocess

from pycontainer.errors import InvalidInput, Unsupported
from pycontainer.linux.capabilities import has_effective
from pycontainer.units import format_bytes, format_bytes_short

BLOCK_BYTES = 4096
_XFS_LEAST_BYTES = 300 << 20
_XFS_MAGIC = b"XFSB"
_EXT4_OPTIONS = "nodiscard,lazy_itable_init=1,lazy_journal_init=1"
_EXT4_RESIZE, _XFS_GROW = 0x40086610, 0x4010586E  # EXT4_IOC_RESIZE_FS, XFS_IOC_FSGROWFSDATA
_XFS_INODES_PERCENT = 25  # of what it is made with below 1 TiB; growing has to repeat it
_CAP_SYS_RESOURCE = 24


def check_fits(directory: str, size_bytes: int, beneath: str = "") -> None:
    """Refuse a cap that is more than the whole file system of `directory`: it would promise what is not there."""
    found = os.statvfs(directory)
    total_bytes = found.f_blocks * found.f_frsize
    if size_bytes > total_bytes:
        raise InvalidInput(
            f"disk: {format_bytes(size_bytes)} asked, but {beneath or 'the file system of ' + repr(directory)} has "
            f"{format_bytes_short(total_bytes)}",
            field="disk",
        )


def kind_of(image: str) -> str:
    """Return the name of the file system in an image."""
    with open(image, "rb") as file:
        return "xfs" if file.read(4) == _XFS_MAGIC else "ext4"


def make(path: str, size_bytes: int, inodes: int | None) -> None:
    """Make the file that large, and a file system in it: a sparse one takes 10 ms. Unsupported without a mkfs."""
    xfs = shutil.which("mkfs.xfs", path="/usr/sbin:/sbin:/usr/bin:/bin")
    ext4 = shutil.which("mkfs.ext4", path="/usr/sbin:/sbin:/usr/bin:/bin")
    os.truncate(path, 0)
    os.truncate(path, in_blocks(size_bytes))
    if xfs and inodes is None and size_bytes >= _XFS_LEAST_BYTES and not has_effective(_CAP_SYS_RESOURCE):
        _run(xfs, "-q", "-f", "-K", "-s", f"size={BLOCK_BYTES}", path)
    elif ext4:
        count = ["-N", str(inodes + 16)] if inodes else []  # what it needs for itself
        _run(ext4, "-q", "-F", "-b", str(BLOCK_BYTES), "-m", "0", "-E", _EXT4_OPTIONS, *count, path)
    else:
        raise Unsupported(
            "cannot cap the disk: there is no project quota here, and no mkfs.ext4",
            hint="apt-get install e2fsprogs",
            feature="disk",
        )


def grow(kind: str, root_fd: int, size_bytes: int) -> None:
    """Let a mounted file system fill its device, which is `size_bytes` large now."""
    blocks = size_bytes // BLOCK_BYTES
    try:
        if kind == "xfs":
            fcntl.ioctl(root_fd, _XFS_GROW, struct.pack("=QI4x", blocks, _XFS_INODES_PERCENT))
        else:
            fcntl.ioctl(root_fd, _EXT4_RESIZE, struct.pack("=Q", blocks))
    except PermissionError as error:
        raise Unsupported(
            f"cannot grow a disk image of {kind} without CAP_SYS_RESOURCE",
            hint="make another: of 300 MiB and more, and with xfsprogs installed, it is xfs, which grows",
            feature="disk",
        ) from error


def in_blocks(size_bytes: int) -> int:
    """Return the size rounded up to whole blocks."""
    return -(-size_bytes // BLOCK_BYTES) * BLOCK_BYTES


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise Unsupported(f"cannot make a disk image: {done.stderr.strip()}", feature="disk")

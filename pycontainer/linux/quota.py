"""Project quotas: files of one project counted and capped together, on ext4 and xfs.

Source: quotactl(2), quotactl_fd (Linux 5.14), ioctl_xfs_fsgetxattr(2), kernel include/uapi/linux/quota.h, fs.h.
"""

import ctypes
import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from typing import NamedTuple

from pycontainer.linux.libc import syscall

_PROJECT = 2  # PRJQUOTA
_GET_QUOTA, _SET_QUOTA, _GET_STATE = 0x800007, 0x800008, 0x5805  # Q_GETQUOTA, Q_SETQUOTA, Q_XGETQSTAT
_GET_NEXT_QUOTA = 0x800009  # Q_GETNEXTQUOTA
_ENFORCED = 1 << 5  # FS_QUOTA_PDQ_ENFD
_NO_QUOTA = (errno.ENOSYS, errno.ESRCH, errno.ENOTTY, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM, errno.ENODEV)
_BLOCK_BYTES = 1024  # limits count in these, whatever the file system's own are
_VALID_LIMITS = 1 | 4  # QIF_BLIMITS | QIF_ILIMITS
_QUOTA = struct.Struct("=QQQQQQQQI4x")  # if_dqblk: block hard, soft, bytes used, inode hard, soft, used, times, valid
_GET_ATTRIBUTES, _SET_ATTRIBUTES = 0x801C581F, 0x401C5820  # FS_IOC_FSGETXATTR, FS_IOC_FSSETXATTR
_ATTRIBUTES = struct.Struct("=IIIII8x")  # fsxattr: flags, extent size, extents, project, copy-on-write extent size
_INHERIT = 0x200  # FS_XFLAG_PROJINHERIT


class Quota(NamedTuple):
    """What a project uses and may use; None is no limit. Beyond a soft limit it may write for a time of grace."""

    used_bytes: int
    soft_bytes: int | None
    hard_bytes: int | None
    used_inodes: int
    soft_inodes: int | None
    hard_inodes: int | None


def is_enforced(directory: str) -> bool:
    """Say whether the file system of `directory` holds projects to their limits."""
    state = ctypes.create_string_buffer(256)
    directory_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _quotactl(directory_fd, _GET_STATE, 0, state)
    except OSError as error:
        if error.errno not in _NO_QUOTA:
            raise
        return False
    finally:
        os.close(directory_fd)
    (flags,) = struct.unpack_from("=H", state, 2)  # struct fs_quota_stat: s8 version, (pad,) u16 flags
    return bool(flags & _ENFORCED)


def read(directory: str, project: int) -> Quota:
    """Return what the kernel holds of a project on the file system of `directory`."""
    buffer = ctypes.create_string_buffer(_QUOTA.size)
    directory_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _quotactl(directory_fd, _GET_QUOTA, project, buffer)
    except OSError as error:
        if error.errno != errno.ENOENT:  # xfs: nothing was ever counted
            raise
    finally:
        os.close(directory_fd)
    hard, soft, used, inodes_hard, inodes_soft, inodes, *_ = _QUOTA.unpack(buffer.raw)
    return Quota(
        used, soft * _BLOCK_BYTES or None, hard * _BLOCK_BYTES or None, inodes, inodes_soft or None, inodes_hard or None
    )


def write(
    directory: str,
    project: int,
    *,
    soft_bytes: int | None,
    hard_bytes: int | None,
    soft_inodes: int | None,
    hard_inodes: int | None,
) -> None:
    """Set the limits of a project; sizes are rounded down to KiB."""
    blocks = [(size or 0) // _BLOCK_BYTES for size in (hard_bytes, soft_bytes)]
    data = _QUOTA.pack(*blocks, 0, hard_inodes or 0, soft_inodes or 0, 0, 0, 0, _VALID_LIMITS)
    directory_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _quotactl(directory_fd, _SET_QUOTA, project, ctypes.create_string_buffer(data, len(data)))
    finally:
        os.close(directory_fd)


def limited(directory: str, first: int, last: int) -> Iterator[int]:
    """Yield the projects from `first` to `last` that have limits on the file system of `directory`. Linux 4.6."""
    directory_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        while first <= last:
            buffer = ctypes.create_string_buffer(_QUOTA.size + 8)  # struct if_nextdqblk: the same, and dqb_id
            try:
                _quotactl(directory_fd, _GET_NEXT_QUOTA, first, buffer)
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.ESRCH):  # there are no more
                    return
                raise
            (project,) = struct.unpack_from("=I", buffer, _QUOTA.size - 4)  # it stands where the other has its padding
            hard, soft, _, inodes_hard, inodes_soft, *_ = _QUOTA.unpack(buffer.raw[: _QUOTA.size])
            if project > last:
                return
            if hard or soft or inodes_hard or inodes_soft:
                yield project
            first = project + 1
    finally:
        os.close(directory_fd)


def project_of(directory: str) -> int:
    """Return the project that a directory is in; 0 for none, and on file systems that know no projects."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return int(_ATTRIBUTES.unpack(fcntl.ioctl(fd, _GET_ATTRIBUTES, bytes(_ATTRIBUTES.size)))[3])
    except OSError as error:
        if error.errno not in (errno.ENOTTY, errno.EOPNOTSUPP, errno.EINVAL):
            raise
        return 0
    finally:
        os.close(fd)


def assign(root: str, project: int, *, inherit: bool = True) -> None:
    """Put a directory, and all regular files and directories below it, into a project; new ones `inherit` it.

    Links and special files cannot be opened without following or using them; they hold no blocks worth counting.
    """
    directory_fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        for _, _, files, at_fd in os.fwalk(".", dir_fd=directory_fd, follow_symlinks=False):
            _assign(at_fd, project, inherit=inherit)
            for name in files:
                _assign_file(at_fd, name, project)
    finally:
        os.close(directory_fd)


def _assign_file(directory_fd: int, name: str, project: int) -> None:
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory_fd)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.ENOENT):  # a link, a socket, gone
            return
        raise
    try:
        _assign(fd, project, inherit=False)
    except OSError as error:
        if error.errno not in (errno.ENOTTY, errno.EOPNOTSUPP, errno.EINVAL):  # a fifo, a device
            raise
    finally:
        os.close(fd)


def _assign(fd: int, project: int, *, inherit: bool) -> None:
    flags, extent, count, _, cow = _ATTRIBUTES.unpack(fcntl.ioctl(fd, _GET_ATTRIBUTES, bytes(_ATTRIBUTES.size)))
    wanted = flags | _INHERIT if inherit else flags & ~_INHERIT
    fcntl.ioctl(fd, _SET_ATTRIBUTES, _ATTRIBUTES.pack(wanted, extent, count, project, cow))


def _quotactl(fd: int, command: int, identifier: int, buffer: "ctypes.Array[ctypes.c_char]") -> None:
    syscall("quotactl_fd", fd, command << 8 | _PROJECT, identifier, ctypes.addressof(buffer))

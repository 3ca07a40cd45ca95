"""A tree copied as it is: owners, modes, times, links, holes, extended attributes, the marks of overlayfs among them.

Nothing is resolved by a path: a tenant wrote the tree. Data is shared with the source where the file system can (FICLONE),
else copied within the kernel, holes left out. ioctl_ficlone(2), copy_file_range(2), lseek(2).
"""

import contextlib
import errno
import fcntl
import os
import stat
from typing import NamedTuple

from pycontainer.linux.files import attribute_names
from pycontainer.linux.partialfile import NEW_FILE

_FICLONE = 0x40049409
_DIR_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_CANNOT_SHARE = (errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS)
_PIECE_BYTES = 1 << 30
# What an overlay notes of a layer beneath: a file handle there, or that there was none. It means nothing in a copy.
MAX_DEPTH = 1000  # directories in one another, each with two descriptors
MAX_LINKED = 1_000_000  # files with several names
_PATH_MAX = 4096  # path_resolution(7)
_NOT_COPIED = ("trusted.overlay.origin", "trusted.overlay.impure", "trusted.overlay.uuid", "trusted.overlay.nlink")


class Name(NamedTuple):
    """A name below the root of a tree. Those of one directory share what is above: a path may have 250 KB."""

    name: str
    above: "Name | None"

    def parts(self) -> list[str]:
        """Return the names from the root on."""
        found, here = [self.name], self.above
        while here is not None:
            found.append(here.name)
            here = here.above
        return found[::-1]


def copy_tree(source_fd: int, target_fd: int) -> None:
    """Copy what the directory `source_fd` holds, and its own attributes, into the empty directory `target_fd`.

    The tree must not change meanwhile. What is mounted in it is not entered by descriptors of a detached mount, which has
    nothing mounted. Raises OSError(ENOSPC) and the like, ELOOP for a tree that is too deep, EMLINK for one with too many
    files with several names; what was copied by then stays for the caller to remove.
    """
    first_names: dict[tuple[int, int], Name] = {}  # inode -> where it was copied to, of files with several names
    way: list[tuple[int, int, list[str]]] = [
        (os.open(".", _DIR_FLAGS, dir_fd=source_fd), os.open(".", _DIR_FLAGS, dir_fd=target_fd), os.listdir(source_fd))
    ]
    path: list[Name] = []
    try:
        while way:
            from_fd, to_fd, names = way[-1]
            if names:
                name = names.pop()
                details = os.lstat(name, dir_fd=from_fd)
                here = Name(name, path[-1] if path else None)
                if stat.S_ISDIR(details.st_mode):
                    if len(way) > MAX_DEPTH:
                        raise OSError(errno.ELOOP, f"there are more than {MAX_DEPTH} directories in one another")
                    path.append(here)
                    os.mkdir(name, 0o700, dir_fd=to_fd)
                    inner_fd = os.open(name, _DIR_FLAGS, dir_fd=from_fd)
                    way.append((inner_fd, -1, []))
                    way[-1] = (inner_fd, os.open(name, _DIR_FLAGS, dir_fd=to_fd), os.listdir(inner_fd))
                else:
                    copy_entry(from_fd, to_fd, name, details, target_fd, here, first_names)
                continue
            copy_attributes(from_fd, to_fd)  # last, or what is made inside would change its time
            way.pop()
            os.close(from_fd)
            os.close(to_fd)
            if path:
                path.pop()
    finally:
        for fds in way:
            for fd in fds[:2]:
                if fd >= 0:
                    os.close(fd)


def copy_attributes(from_fd: int, to_fd: int) -> None:
    """Give an open file or directory the owner, mode, extended attributes and times of another."""
    details = os.fstat(from_fd)
    os.fchown(to_fd, details.st_uid, details.st_gid)
    os.fchmod(to_fd, stat.S_IMODE(details.st_mode))  # after the owner, whose change takes set-user-id bits away
    for name in attribute_names(from_fd):
        if name not in _NOT_COPIED and not name.startswith("system.posix_acl"):
            os.setxattr(to_fd, name, os.getxattr(from_fd, name))
    for name in ("system.posix_acl_access", "system.posix_acl_default"):  # after the mode, which they hold as well
        with contextlib.suppress(OSError):
            os.setxattr(to_fd, name, os.getxattr(from_fd, name))
    os.utime(to_fd, ns=(details.st_atime_ns, details.st_mtime_ns))


def copy_entry(
    from_fd: int,
    to_fd: int,
    name: str,
    details: os.stat_result,
    target_fd: int,
    here: Name,
    first_names: dict[tuple[int, int], Name],
) -> None:
    """Copy what is no directory; `here` is where it lies below `target_fd`.

    `first_names` are those under which files with several were copied, and gets this one.
    """
    if details.st_nlink > 1:
        inode = (details.st_dev, details.st_ino)
        if inode in first_names:
            _link(target_fd, first_names[inode].parts(), to_fd, name)
            return
        if len(first_names) >= MAX_LINKED:
            raise OSError(errno.EMLINK, f"there are more than {MAX_LINKED} files with several names")
        first_names[inode] = here
    if stat.S_ISREG(details.st_mode):
        _copy_file(from_fd, to_fd, name)
        return
    if stat.S_ISLNK(details.st_mode):
        os.symlink(os.readlink(name, dir_fd=from_fd), name, dir_fd=to_fd)
    else:  # a whiteout, a fifo, a socket
        os.mknod(name, details.st_mode, details.st_rdev, dir_fd=to_fd)
        os.chmod(name, stat.S_IMODE(details.st_mode), dir_fd=to_fd)
    os.chown(name, details.st_uid, details.st_gid, dir_fd=to_fd, follow_symlinks=False)
    os.utime(name, ns=(details.st_atime_ns, details.st_mtime_ns), dir_fd=to_fd, follow_symlinks=False)


def _link(root_fd: int, parts: list[str], to_fd: int, name: str) -> None:
    """Give the file at `parts` below `root_fd` one more name; the path may be longer than the kernel takes at once."""
    fd = os.open(".", _DIR_FLAGS, dir_fd=root_fd)
    try:
        while len(parts) > 1 and sum(len(os.fsencode(part)) + 1 for part in parts) > _PATH_MAX:
            inner_fd = os.open(parts[0], _DIR_FLAGS, dir_fd=fd)
            os.close(fd)
            fd, parts = inner_fd, parts[1:]
        os.link("/".join(parts), name, src_dir_fd=fd, dst_dir_fd=to_fd, follow_symlinks=False)
    finally:
        os.close(fd)


def _copy_file(from_fd: int, to_fd: int, name: str) -> None:
    source_fd = os.open(name, _READ_FLAGS, dir_fd=from_fd)
    try:
        target_fd = os.open(name, NEW_FILE, 0o600, dir_fd=to_fd)
        try:
            try:
                fcntl.ioctl(target_fd, _FICLONE, source_fd)
            except OSError as error:
                if error.errno not in _CANNOT_SHARE:
                    raise
                _copy_data(source_fd, target_fd, os.fstat(source_fd).st_size)
            copy_attributes(source_fd, target_fd)
        finally:
            os.close(target_fd)
    finally:
        os.close(source_fd)


def _copy_data(source_fd: int, target_fd: int, size_bytes: int) -> None:
    """Copy the parts of a file that hold data; holes stay holes."""
    os.ftruncate(target_fd, size_bytes)
    at = 0
    while at < size_bytes:
        try:
            at = os.lseek(source_fd, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:  # a hole up to the end
                raise
            return
        end = os.lseek(source_fd, at, os.SEEK_HOLE)
        while at < end:
            copied = _copy_range(source_fd, target_fd, at, min(end - at, _PIECE_BYTES))
            if not copied:
                raise OSError(errno.EIO, "a file became shorter while it was copied")
            at += copied


def _copy_range(source_fd: int, target_fd: int, at: int, count: int) -> int:
    try:
        return os.copy_file_range(source_fd, target_fd, count, at, at)
    except OSError as error:
        if error.errno not in _CANNOT_SHARE:
            raise
    os.lseek(target_fd, at, os.SEEK_SET)
    return os.sendfile(target_fd, source_fd, at, count)

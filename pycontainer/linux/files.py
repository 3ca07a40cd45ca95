"""Files by descriptor: atomic writes, bounded reads, look-ups that cannot leave a root, removal of hostile trees.

Whatever a tenant can influence is resolved beneath a root's descriptor with links confined, never as a string (SecureJoin's
lesson): the tree may change between a check and a use, a descriptor does not. openat2(2) does it in the kernel (5.6);
where it is missing or forbidden, the same rules are followed here component by component.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct

from pycontainer.linux import ffi
from pycontainer.linux.libc import StrPath, checked, declare, path_bytes, syscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

RESOLVE_NO_XDEV, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS = 0x01, 0x02, 0x04
RESOLVE_BENEATH, RESOLVE_IN_ROOT = 0x08, 0x10
_OPEN_HOW = struct.Struct("QQQ")
_RETRIES = 128
_MAX_LINKS = 40  # the kernel's own limit
_PROC_SUPER_MAGIC, _PROC_ROOT_INO = 0x9FA0, 1
_AT_EMPTY_PATH, _AT_STATX_DONT_SYNC, _STATX_MNT_ID, _STATX_BYTES = 0x1000, 0x4000, 0x1000, 256
_STX_MODE_AT, _STX_RDEV_AT, _STX_DEV_AT, _STX_MNT_ID_AT = 28, 128, 136, 144
_DIR_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_REPORTED = 8
_GET_FLAGS, _SET_FLAGS = 0x80086601, 0x40086602  # FS_IOC_GETFLAGS, FS_IOC_SETFLAGS
_FLAGS = struct.Struct("=I4x")
_KEEPING = 0x10 | 0x20  # FS_IMMUTABLE_FL, FS_APPEND_FL: what keeps a file from its removal

use_openat2 = True  # the tests set it to False; it becomes False by itself where the call is missing or forbidden
before_rename: Callable[[], object] = bool  # does nothing; a test may have us die there (pycontainer/failpoints.py)
make_room: Callable[[], bool] | None = None  # the supervisor's, which keeps a reserve of disk for its records

_syncfs = declare("syncfs", ffi.c_int)
_statx = declare("statx", ffi.c_int, ffi.c_char_p, ffi.c_int, ffi.c_uint, ffi.c_void_p)
_fstatfs = declare("fstatfs", ffi.c_int, ffi.c_void_p)
_procfs_fd = -1  # see hold_procfs


def syncfs(fd: int) -> None:
    """Write everything that the file system of `fd` holds in memory to its disk. syncfs(2)."""
    checked(_syncfs(fd), "syncfs")


def write_atomically(
    path: str,
    data: bytes,
    *,
    mode: int = 0o600,
    dir_fd: int | None = None,
    sync: bool = True,
    sync_name: bool = True,
) -> None:
    """Replace the file `path` so that readers, and a crash, see the old content or the new one, whole.

    The new file belongs to us and has `mode`, whatever the umask; `sync=False` saves the wait for the disk where a
    loss of power may undo the write, `sync_name=False` half of it: then the old one may come back, whole. The directory
    must be our own. On a full disk `make_room`, if somebody has set it, is asked to give something up, and the write is
    tried once more.
    """
    try:
        _write_atomically(path, data, mode, dir_fd, sync=sync, sync_name=sync_name)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT) or make_room is None or not make_room():
            raise
        _write_atomically(path, data, mode, dir_fd, sync=sync, sync_name=sync_name)


def _write_atomically(path: str, data: bytes, mode: int, dir_fd: int | None, *, sync: bool, sync_name: bool) -> None:
    temporary = f"{path}.{os.getpid()}.new"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, mode, dir_fd=dir_fd)
    try:
        os.fchmod(fd, mode)
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        if sync:
            os.fsync(fd)
        before_rename()
        os.rename(temporary, path, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
    except BaseException:
        try:
            os.unlink(temporary, dir_fd=dir_fd)
        except OSError:
            pass
        raise
    finally:
        os.close(fd)
    if sync and sync_name:
        directory_fd = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=dir_fd)
        try:
            os.fsync(directory_fd)
        finally:
            os.close(directory_fd)


def read_bounded(source: StrPath | int, max_bytes: int) -> bytes:
    """Read a file, or an open descriptor that the caller keeps, to its end; OSError(EFBIG) beyond `max_bytes`."""
    fd = source if isinstance(source, int) else os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = b""
        while len(data) <= max_bytes:
            part = os.read(fd, max_bytes + 1 - len(data))
            if not part:
                return data
            data += part
        raise OSError(errno.EFBIG, f"more than {max_bytes} bytes", None if isinstance(source, int) else source)
    finally:
        if fd is not source:
            os.close(fd)


def attribute_names(fd: int) -> list[str]:
    """Return the names of a file's extended attributes; none where the file system has no such thing. listxattr(2)"""
    try:
        return os.listxattr(fd)
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:  # a squashfs without any
            raise
        return []


# -- look-ups beneath a root ---------------------------------------------------------------------------------------


def openat2(dirfd: int, path: StrPath, flags: int, *, resolve: int, mode: int = 0) -> int:
    """Open `path` relative to `dirfd` as `resolve` (RESOLVE_*) says and return a close-on-exec descriptor. openat2(2).

    EXDEV: it would leave the root, or cross a mount; ELOOP: a link where none is allowed. Where the system call is missing
    or forbidden, or lost the race with renames many times, we walk: RESOLVE_BENEATH or RESOLVE_IN_ROOT must be among the
    rules then, and magic links are never followed.
    """
    global use_openat2
    if use_openat2:
        try:
            return _openat2(dirfd, path, flags, resolve, mode)
        except OSError as error:
            # A look-up that may not pass fails with EACCES. EPERM is a filter's, or that of a file that is sealed. EAGAIN
            # after many tries: somebody inside renames without a pause, which a walk along descriptors does not mind.
            if error.errno not in (errno.ENOSYS, errno.EPERM, errno.EAGAIN):
                raise
            if error.errno == errno.ENOSYS:
                use_openat2 = False
    return _walk(dirfd, path, flags, resolve, mode)


def _openat2(dirfd: int, path: StrPath, flags: int, resolve: int, mode: int) -> int:
    how, data = _OPEN_HOW.pack(flags | os.O_CLOEXEC, mode, resolve), path_bytes(path)
    for attempt in range(_RETRIES):
        try:
            return syscall("openat2", dirfd, data, how, _OPEN_HOW.size, path=path)
        except BlockingIOError:  # EAGAIN: something was renamed or mounted meanwhile
            if attempt == _RETRIES - 1:
                raise
        except InterruptedError:
            continue
    raise OSError(errno.EAGAIN, "openat2: too many interruptions", path)


def _walk(dirfd: int, path: StrPath, flags: int, resolve: int, mode: int) -> int:
    """Do what openat2 does, one component at a time.

    `..` goes back along the directories that were opened, so no rename can lead it above the root.
    """
    if not resolve & (RESOLVE_BENEATH | RESOLVE_IN_ROOT):
        raise OSError(errno.ENOSYS, "openat2: the fallback knows look-ups beneath a root alone", path)
    data = path_bytes(path)
    left = _components(data, path, resolve)
    if data.endswith((b"/", b"/.")) and not flags & os.O_CREAT:
        flags |= os.O_DIRECTORY
    opened = [os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=dirfd)]
    mount = _mount_id(opened[0]) if resolve & RESOLVE_NO_XDEV else 0
    links = 0
    name = b"."
    try:
        while left:
            name = left.pop()
            is_last = not left
            if name == b"..":
                if len(opened) > 1:
                    os.close(opened.pop())
                elif resolve & RESOLVE_BENEATH:
                    raise OSError(errno.EXDEV, "openat2: '..' leaves the root", path)
                continue
            if is_last and flags & os.O_CREAT and flags & os.O_EXCL:
                return os.open(name, flags | os.O_CLOEXEC | os.O_NOFOLLOW, mode, dir_fd=opened[-1])
            try:
                fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=opened[-1])
            except FileNotFoundError:
                if is_last and flags & os.O_CREAT:
                    return os.open(name, flags | os.O_CLOEXEC | os.O_NOFOLLOW, mode, dir_fd=opened[-1])
                raise
            opened.append(fd)
            if resolve & RESOLVE_NO_XDEV and _mount_id(fd) != mount:  # first: fstat could wait for that file system
                raise OSError(errno.EXDEV, "openat2: a mount is in the way", path)
            details = os.fstat(fd)
            if stat.S_ISLNK(details.st_mode):
                if is_last and flags & os.O_NOFOLLOW:
                    if flags & os.O_PATH and not flags & os.O_DIRECTORY:
                        return opened.pop()
                    raise OSError(errno.ENOTDIR if flags & os.O_DIRECTORY else errno.ELOOP, "openat2: a link", path)
                links += 1
                if resolve & RESOLVE_NO_SYMLINKS or links > _MAX_LINKS or is_procfs(fd):
                    raise OSError(errno.ELOOP, "openat2: a link is in the way", path)
                target = os.readlink(b"", dir_fd=fd)
                os.close(opened.pop())
                if target.startswith(b"/"):
                    for other in opened[1:]:
                        os.close(other)
                    del opened[1:]
                left += _components(target, path, resolve)
            elif not is_last and not stat.S_ISDIR(details.st_mode):
                raise NotADirectoryError(errno.ENOTDIR, "openat2: Not a directory", path)
        return _reopen(opened, name, flags, path)
    finally:
        for fd in opened:
            os.close(fd)


def _components(data: bytes, path: StrPath, resolve: int) -> list[bytes]:
    """Split a path, last component first; a trailing slash asks for a directory, as `.` does."""
    if not data:
        raise FileNotFoundError(errno.ENOENT, "openat2: empty path", path)
    if data.startswith(b"/") and resolve & RESOLVE_BENEATH:
        raise OSError(errno.EXDEV, "openat2: an absolute path leaves the root", path)
    parts = [part for part in data.split(b"/") if part not in (b"", b".")]
    return parts[::-1]


def is_procfs(fd: int) -> bool:
    """Tell whether a file lies on a procfs, whose links may be magic."""
    return _filesystem_type(fd) == _PROC_SUPER_MAGIC


def filesystem_type(directory: StrPath) -> int:
    """Return the magic number of the file system that a directory lies on. statfs(2)"""
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return _filesystem_type(fd)
    finally:
        os.close(fd)


def _filesystem_type(fd: int) -> int:
    buffer = ffi.create_string_buffer(256)
    checked(_fstatfs(fd, buffer), "fstatfs")
    return int.from_bytes(buffer.raw[: ffi.sizeof(ffi.c_long)], "little")


def _mount_id(fd: int) -> int:
    """Return which mount a descriptor lies on: a bind mount of the same file system differs too. statx(2), Linux 5.8."""
    found = _statx_known(fd, _STATX_MNT_ID)
    if not int.from_bytes(found[:4], "little") & _STATX_MNT_ID:
        raise OSError(errno.ENOSYS, "statx: this kernel does not tell the mount of a file")
    return int.from_bytes(found[_STX_MNT_ID_AT : _STX_MNT_ID_AT + 8], "little")


def _statx_known(fd: int, mask: int) -> bytes:
    """Return a struct statx of what the kernel knows already: no file system is asked, so none can keep us waiting."""
    buffer = ffi.create_string_buffer(_STATX_BYTES)
    checked(_statx(fd, b"", _AT_EMPTY_PATH | _AT_STATX_DONT_SYNC, mask, buffer), "statx")
    return buffer.raw


def file_system_of(fd: int) -> int:
    """Return the device number of the file system that a descriptor lies on, without asking that."""
    return _device(_statx_known(fd, 0), _STX_DEV_AT)


def known_status(fd: int) -> tuple[int, int, int]:
    """Return device number, mode and, of a device node, its number, of what the kernel knows of a file without asking."""
    found = _statx_known(fd, 0)
    mode = int.from_bytes(found[_STX_MODE_AT : _STX_MODE_AT + 2], "little")
    return _device(found, _STX_DEV_AT), mode, _device(found, _STX_RDEV_AT)


def _device(found: bytes, at: int) -> int:
    return os.makedev(*(int.from_bytes(found[i : i + 4], "little") for i in (at, at + 4)))


def is_mount_point(path: str) -> bool:
    """Say whether something is mounted on a directory, also what is of the file system that it lies on itself."""
    fds: list[int] = []
    try:
        for each in (path, os.path.dirname(path)):
            fds.append(os.open(each, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC))
        return _mount_id(fds[0]) != _mount_id(fds[1])
    except FileNotFoundError:
        return False
    finally:
        for fd in fds:
            os.close(fd)


def hold_procfs() -> None:
    """Keep a descriptor of our own procfs, by which descriptors are opened anew from here on.

    For who is about to enter a container's mount namespace, where `/proc` is the container's: of another pid namespace, or
    whatever root inside has mounted there (CVE-2025-52881). Raises OSError(EINVAL) if `/proc` is not a procfs, whole.
    """
    global _procfs_fd
    fd = os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    if not is_procfs(fd) or os.fstat(fd).st_ino != _PROC_ROOT_INO:
        os.close(fd)
        raise OSError(errno.EINVAL, "not a procfs", "/proc")
    if _procfs_fd >= 0:
        os.close(_procfs_fd)
    _procfs_fd = fd


def _reopen(opened: list[int], name: bytes, flags: int, path: StrPath) -> int:
    """Turn what the walk ended at, under the name `name`, into a descriptor with the flags that were asked for."""
    details = os.fstat(opened[-1])
    if flags & os.O_DIRECTORY and not stat.S_ISDIR(details.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, "openat2: Not a directory", path)
    if flags & os.O_PATH:
        return opened.pop()
    flags = flags & ~(os.O_NOFOLLOW | os.O_CREAT) | os.O_CLOEXEC
    if stat.S_ISDIR(details.st_mode):
        return os.open(".", flags, dir_fd=opened[-1])
    if _procfs_fd >= 0:
        return os.open(f"self/fd/{opened[-1]}", flags, dir_fd=_procfs_fd)
    try:
        return os.open(f"/proc/self/fd/{opened[-1]}", flags)
    except FileNotFoundError:  # a root without procfs: by name, which must still mean the same file
        fd = os.open(name, flags | os.O_NOFOLLOW, dir_fd=opened[-2])
    if _inode(fd) != (details.st_dev, details.st_ino):
        os.close(fd)
        raise BlockingIOError(errno.EAGAIN, "openat2: the file was replaced meanwhile", path)
    return fd


def open_in_root(root_fd: int, path: StrPath, flags: int, *, resolve: int = 0) -> int:
    """Open `path` as a process with its root at `root_fd` would; links and `..` stay inside, magic links are refused.

    `resolve` adds to these rules.
    """
    return openat2(root_fd, path, flags, resolve=RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | resolve)


def mkdirs_in_root(root_fd: int, path: StrPath, mode: int) -> None:
    """Make the directories of `path` that are missing, each beneath a descriptor of the one above it.

    Links that are there are followed inside of the root; one that leads nowhere raises FileNotFoundError.
    """
    at = b""
    for part in path_bytes(path).strip(b"/").split(b"/"):
        parent_fd = open_in_root(root_fd, at or b".", os.O_PATH | os.O_DIRECTORY)
        try:
            os.mkdir(part, mode, dir_fd=parent_fd)
        except FileExistsError:
            pass
        finally:
            os.close(parent_fd)
        at = at + b"/" + part


def open_regular_in_root(root_fd: int, path: StrPath, max_bytes: int, *, resolve: int = 0) -> int:
    """Open a file of a container for reading; OSError(EINVAL) if it is not regular, or larger than `max_bytes`.

    A fifo in its place is looked at before it is opened: nothing waits for a writer, no device is touched.
    """
    looked_fd = open_in_root(root_fd, path, os.O_PATH, resolve=resolve)
    try:
        looked = os.fstat(looked_fd)
    finally:
        os.close(looked_fd)
    _require_small_regular(looked, path, max_bytes)
    fd = open_in_root(root_fd, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY, resolve=resolve)
    try:
        _require_small_regular(os.fstat(fd), path, max_bytes)
    except OSError:
        os.close(fd)
        raise
    return fd


def _require_small_regular(details: os.stat_result, path: StrPath, max_bytes: int) -> None:
    if not stat.S_ISREG(details.st_mode) or details.st_size > max_bytes:
        raise OSError(errno.EINVAL, f"not a regular file of at most {max_bytes} bytes", path)


# -- removal -------------------------------------------------------------------------------------------------------


def remove_tree(path: str) -> None:
    """Remove a file, a link, or a directory with all that is in it; if it is gone already, that is fine.

    Links are removed, never followed; what is mounted in the tree is left alone, with the directories above it. Files and
    directories that are immutable or append-only lose that first: only root of the host can have made them so. The path
    of `path` itself is trusted. Everything that can go goes; then OSError names what is left, with the first reason.
    """
    parent, name = os.path.split(path.rstrip("/"))
    try:
        parent_fd = os.open(parent or ".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    left: list[tuple[str, OSError]] = []
    try:
        _remove(parent_fd, name, left)
    finally:
        os.close(parent_fd)
    if left:
        shown = ", ".join(f"{'/'.join(filter(None, (parent, inner)))!r}" for inner, _ in left[:_MAX_REPORTED])
        more = f" and {len(left) - _MAX_REPORTED} more" if len(left) > _MAX_REPORTED else ""
        first = left[0][1]
        raise OSError(first.errno, f"{os.strerror(first.errno or 0)}; left: {shown}{more}", path) from first


def _remove(parent_fd: int, name: str, left: list[tuple[str, OSError]]) -> None:
    """Remove `name` of a directory, depth first, with one descriptor open however deep the tree is.

    The way up is `..`, and must lead to the directory that it came from.
    """
    inner_names: list[list[str]] = [[name]]
    way: list[tuple[str, tuple[int, int], int]] = []  # name, inode of the parent, what was left before it was entered
    fd = os.dup(parent_fd)
    try:
        while True:
            if inner_names[-1]:
                name = inner_names[-1].pop()
                try:
                    inner_fd = _unlink_or_open(fd, name, in_tree=bool(way))
                except FileNotFoundError:
                    continue
                except OSError as error:
                    left.append(("/".join((*(step[0] for step in way), name)), error))
                    continue
                if inner_fd is not None:
                    way.append((name, _inode(fd), len(left)))
                    os.close(fd)
                    fd = inner_fd
                    inner_names.append(os.listdir(fd))
                continue
            inner_names.pop()
            if not way:
                return
            name, parent_inode, left_before = way.pop()
            up_fd = os.open("..", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd) if way else os.dup(parent_fd)
            os.close(fd)
            fd = up_fd
            if _inode(fd) != parent_inode:
                raise OSError(errno.ESTALE, "the tree was moved while it was removed", name)
            if len(left) == left_before:
                try:
                    _take_away(os.rmdir, fd, name, in_tree=bool(way))
                except FileNotFoundError:
                    continue
                except OSError as error:
                    left.append(("/".join((*(step[0] for step in way), name)), error))
    finally:
        os.close(fd)


def _unlink_or_open(fd: int, name: str, *, in_tree: bool) -> int | None:
    """Remove what is no directory; return a descriptor of what is one, if nothing is mounted on it."""
    try:
        _take_away(os.unlink, fd, name, in_tree=in_tree)
        return None
    except IsADirectoryError:
        return _open_in_tree(fd, name, _DIR_FLAGS)


def _take_away(remove: Callable[..., None], fd: int, name: str, *, in_tree: bool) -> None:
    """Call `remove` (os.unlink or os.rmdir) for `name` of a directory; once more if it was flags that kept it.

    The directory counts too, unless it is the one that holds the tree (`in_tree` False), which is not ours to change.
    """
    try:
        remove(name, dir_fd=fd)
    except OSError as error:
        if error.errno != errno.EPERM or not _clear_flags(fd, name, in_tree=in_tree):
            raise
        remove(name, dir_fd=fd)


def _clear_flags(fd: int, name: str, *, in_tree: bool) -> bool:
    """Make `name` and, in the tree, its directory neither immutable nor append-only; say whether one of them was.

    Nothing but files and directories is opened: a fifo would wait, a device do something.
    """
    cleared = in_tree and _clear_flags_of(fd, ".")
    looked_fd = _open_in_tree(fd, name, os.O_PATH | os.O_NOFOLLOW)
    try:
        kind = stat.S_IFMT(os.fstat(looked_fd).st_mode)
    finally:
        os.close(looked_fd)
    return kind in (stat.S_IFREG, stat.S_IFDIR) and _clear_flags_of(fd, name) or cleared


def _clear_flags_of(dirfd: int, name: str) -> bool:
    """Do so for one file or directory. ioctl_iflags(2); the kernel reads and writes 4 of the 8 bytes that the number says."""
    fd = _open_in_tree(dirfd, name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    try:
        (flags,) = _FLAGS.unpack(fcntl.ioctl(fd, _GET_FLAGS, bytes(_FLAGS.size)))
        if flags & _KEEPING:
            fcntl.ioctl(fd, _SET_FLAGS, _FLAGS.pack(flags & ~_KEEPING))
        return bool(flags & _KEEPING)
    except OSError as error:
        if error.errno in (errno.ENOTTY, errno.EOPNOTSUPP):  # a file system without such flags
            return False
        raise
    finally:
        os.close(fd)


def _open_in_tree(dirfd: int, name: str, flags: int) -> int:
    """Open `name` of a directory, and nothing that is mounted on it: OSError(EBUSY)."""
    try:
        return openat2(dirfd, name, flags, resolve=RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), name) from error


def _inode(fd: int) -> tuple[int, int]:
    details = os.fstat(fd)
    return details.st_dev, details.st_ino


def identity(path: str) -> tuple[int, ...]:
    """Return what differs when a file, or the link that is in its place, is another or has changed."""
    details = os.lstat(path)
    return details.st_dev, details.st_ino, details.st_size, details.st_mtime_ns, details.st_ctime_ns

"""The mount system calls: trees by descriptor (fsopen, open_tree, move_mount, mount_setattr), pivot_root, umount2.

Sources: fsopen(2) and its kin, open_tree(2), mount_setattr(2), pivot_root(2); numbers from <linux/mount.h>.
Descriptors made here are close-on-exec and belong to the caller.
"""

from __future__ import annotations

import errno
import os
import struct

from pycontainer.linux import ffi
from pycontainer.linux.libc import StrPath, checked, declare, path_bytes, syscall
from pycontainer.linux.namespaces import CLONE_NEWNS, unshare

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeVar

    Result = TypeVar("Result")

AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000
OPEN_TREE_CLONE = 1
OPEN_TREE_CLOEXEC = os.O_CLOEXEC
MOVE_MOUNT_F_EMPTY_PATH = 0x04
MOVE_MOUNT_T_EMPTY_PATH = 0x40
FSOPEN_CLOEXEC = 1
FSMOUNT_CLOEXEC = 1
FSCONFIG_SET_FLAG, FSCONFIG_SET_STRING, FSCONFIG_SET_FD, FSCONFIG_CMD_CREATE = 0, 1, 5, 6
MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC = 1, 2, 4, 8
MOUNT_ATTR_IDMAP = 0x100000
MNT_DETACH = 2
UMOUNT_NOFOLLOW = 8
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
_FSCONFIG_BYTES = 256  # of a value, with its NUL
MS_BIND, MS_MOVE, MS_REC = 1 << 12, 1 << 13, 1 << 14
MS_UNBINDABLE, MS_PRIVATE, MS_SLAVE, MS_SHARED = 1 << 17, 1 << 18, 1 << 19, 1 << 20

_mount = declare("mount", ffi.c_char_p, ffi.c_char_p, ffi.c_char_p, ffi.c_ulong, ffi.c_char_p)
_umount2 = declare("umount2", ffi.c_char_p, ffi.c_int)
_MOUNT_ATTR = struct.Struct("QQQQ")  # struct mount_attr: attr_set, attr_clr, propagation, userns_fd


def mount(source: StrPath, target: StrPath, fstype: str = "", flags: int = 0, data: str = "") -> None:
    """Attach a filesystem or change a mount's propagation. mount(2)."""
    result = _mount(path_bytes(source), path_bytes(target), fstype.encode(), flags, data.encode() or None)
    checked(result, "mount", target)


def umount2(target: StrPath, flags: int = 0) -> None:
    """Detach the topmost mount at `target`. umount(2); EINVAL: not a mount point, EBUSY: still in use."""
    checked(_umount2(path_bytes(target), flags), "umount2", target)


def open_tree(dirfd: int, path: StrPath, flags: int) -> int:
    """Return a descriptor of the mount at `path`; with OPEN_TREE_CLONE a detached copy of it. open_tree(2)."""
    return syscall("open_tree", dirfd, path_bytes(path), flags | OPEN_TREE_CLOEXEC, path=path)


def clone_tree(path: StrPath, *, dirfd: int = AT_FDCWD, recursive: bool = False) -> int:
    """Return a detached copy of the tree at `path`, or of the descriptor `dirfd` itself when `path` is empty."""
    flags = OPEN_TREE_CLONE | (AT_RECURSIVE if recursive else 0) | (0 if path else AT_EMPTY_PATH)
    return open_tree(dirfd, path, flags)


def move_mount(from_fd: int, to_fd: int) -> None:
    """Attach the mount `from_fd` onto the file or directory `to_fd`: no path is resolved. move_mount(2)."""
    flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH
    syscall("move_mount", from_fd, b"", to_fd, b"", flags)


def mount_setattr(
    fd: int,
    *,
    set_flags: int = 0,
    clear_flags: int = 0,
    propagation: int = 0,
    userns_fd: int = 0,
    recursive: bool = False,
) -> None:
    """Change the attributes of the mount `fd`; with `userns_fd` its ids are mapped as in that namespace. mount_setattr(2)."""
    if userns_fd:
        set_flags |= MOUNT_ATTR_IDMAP
    attr = _MOUNT_ATTR.pack(set_flags, clear_flags, propagation, userns_fd)
    flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    syscall("mount_setattr", fd, b"", flags, attr, _MOUNT_ATTR.size)


def new_mount(fstype: str, options: list[tuple[str, str | int | None]], attributes: int = 0) -> int:
    """Make a filesystem and return its detached mount.

    An option is (key, text), (key, descriptor) or (key, None) for a flag. On failure the OSError carries the kernel's own
    words from the filesystem context where it left any. fsopen(2), fsconfig(2), fsmount(2).
    """
    context_fd = fsopen(fstype)
    try:
        for key, value in options:
            fsconfig(context_fd, key, value)
        fsconfig_create(context_fd, fstype)
        return syscall("fsmount", context_fd, FSMOUNT_CLOEXEC, attributes, path=fstype)
    except OSError as error:
        raise OSError(error.errno, _context_message(context_fd) or str(error.strerror), fstype) from None
    finally:
        os.close(context_fd)


def new_overlay(
    lowers: Sequence[str],
    *,
    upper: str = "",
    work: str = "",
    context: str = "",
    attributes: int = 0,
    place: str = "",
) -> int:
    """Return a detached mount of an overlay: `lowers` are directories, topmost first; without `upper` it is read-only.

    fsconfig(2) takes 255 bytes at a time, so many layers go one by one (Linux 6.7); before that through mount(2), at `place`,
    a directory where nobody else sees it.
    """
    options: list[tuple[str, str | int | None]] = [("source", "pycontainer")]
    joined = ":".join(lowers)
    options += [("lowerdir", joined)] if len(joined) < _FSCONFIG_BYTES else [("lowerdir+", path) for path in lowers]
    others = [("upperdir", upper), ("workdir", work), ("context", context)]
    options += [(key, value) for key, value in others if value]
    try:
        return new_mount("overlay", options, attributes)
    except OSError as error:
        if error.errno != errno.EINVAL or len(joined) < _FSCONFIG_BYTES or not place:
            raise
    held = [os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) for path in lowers]
    try:
        short = ":".join(f"/proc/thread-self/fd/{fd}" for fd in held)
        data = ",".join(f"{key}={value}" for key, value in (("lowerdir", short), *others) if value)
        mount("pycontainer", place, "overlay", attributes, data)  # MOUNT_ATTR_ and MS_ flags are the same here
        try:
            return clone_tree(place)
        finally:
            umount2(place, MNT_DETACH)
    finally:
        for fd in held:
            os.close(fd)


def fsopen(fstype: str) -> int:
    """Return a new filesystem context."""
    return syscall("fsopen", path_bytes(fstype), FSOPEN_CLOEXEC, path=fstype)


def fsconfig(context_fd: int, key: str, value: str | int | None) -> None:
    """Set one option of a filesystem context."""
    name = path_bytes(key)
    if value is None:
        syscall("fsconfig", context_fd, FSCONFIG_SET_FLAG, name, path=key)
    elif isinstance(value, int):
        syscall("fsconfig", context_fd, FSCONFIG_SET_FD, name, 0, value, path=key)
    else:
        syscall("fsconfig", context_fd, FSCONFIG_SET_STRING, name, path_bytes(value), 0, path=key)


def fsconfig_create(context_fd: int, fstype: str) -> None:
    """Create the filesystem a context describes."""
    syscall("fsconfig", context_fd, FSCONFIG_CMD_CREATE, path=fstype)


def in_private_mounts(act: Callable[[], Result]) -> Result:
    """Return what `act` returns, called in a thread whose mounts are a copy of ours that nobody else sees.

    The copy goes with the thread; descriptors of detached mounts that `act` returns stay.
    """

    def alone() -> Result:
        unshare(CLONE_NEWNS)
        mount("none", "/", flags=MS_REC | MS_PRIVATE)
        return act()

    from concurrent.futures import ThreadPoolExecutor  # 5 ms that few users of this module pay

    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(alone).result()


def pivot_root(new_root: StrPath, put_old: StrPath) -> None:
    """Make `new_root` the root mount of this namespace. pivot_root(2)."""
    syscall("pivot_root", path_bytes(new_root), path_bytes(put_old), path=new_root)


def _context_message(context_fd: int) -> str:
    """Return the last complaint the kernel left in a filesystem context ("e overlay: ..."), or nothing."""
    last = ""
    while True:
        try:
            last = os.read(context_fd, 4096).decode(errors="replace").strip()
        except OSError:  # ENODATA: all read
            return last[2:] if last[:2] in ("e ", "w ", "i ") else last

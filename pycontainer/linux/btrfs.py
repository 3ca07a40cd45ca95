"""Subvolumes of btrfs and the limits of their quota groups. btrfs-ioctl, kernel include/uapi/linux/btrfs.h; sysfs qgroups."""

import fcntl
import os
import struct

from pycontainer.linux.files import filesystem_type

_SUPER_MAGIC = 0x9123683E
_SUBVOL_CREATE, _SNAP_DESTROY, _SNAP_CREATE_V2 = 0x5000940E, 0x5000940F, 0x50009417
_SUBVOL_RDONLY = 1 << 1
_INO_LOOKUP, _FS_INFO = 0xD0009412, 0x8400941F
_QGROUP_CREATE, _QGROUP_LIMIT = 0x4010942A, 0x8030942B
_FIRST_FREE_OBJECTID = 256  # the root directory of every subvolume
_LIMIT_MAX_REFERENCED = 1
_VOL_ARGS = struct.Struct("=q4088s")
_VOL_ARGS_V2 = struct.Struct("=qQQ32x4040s")  # fd of the source, transid, flags, unused, name
_LIMIT_ARGS = struct.Struct("=QQQQQQ")  # qgroup; flags, max_rfer, max_excl, rsv_rfer, rsv_excl


def has_quotas(directory: str) -> bool:
    """Say whether `directory` lies on a btrfs that counts what its subvolumes hold."""
    return filesystem_type(directory) == _SUPER_MAGIC and os.path.isdir(_qgroups(directory))


def create_subvolume(path: str) -> None:
    """Make an empty subvolume, as mkdir(2) makes a directory."""
    _on_parent(path, _SUBVOL_CREATE)


def snapshot_subvolume(source: str, path: str, *, read_only: bool) -> None:
    """Make `path` a copy of the subvolume `source` that shares all of its data, as it is at this moment."""
    parent, name = os.path.split(path)
    source_fd = os.open(source, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        flags = _SUBVOL_RDONLY if read_only else 0
        _ioctl(parent, _SNAP_CREATE_V2, bytearray(_VOL_ARGS_V2.pack(source_fd, 0, flags, os.fsencode(name))))
    finally:
        os.close(source_fd)


def delete_subvolume(path: str) -> None:
    """Delete a subvolume with all that is in it, and its quota group; it must hold no other subvolume."""
    number = subvolume_id(path)
    qgroups = _qgroups(path)
    _on_parent(path, _SNAP_DESTROY)
    if os.path.isdir(f"{qgroups}/0_{number}"):  # newer kernels remove it themselves
        directory_fd = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.ioctl(directory_fd, _QGROUP_CREATE, struct.pack("=QQ", 0, number))
        except OSError:
            pass  # it still counts what is being deleted; an empty group costs nothing
        finally:
            os.close(directory_fd)


def is_subvolume(path: str) -> bool:
    """Say whether `path` is the root of a subvolume."""
    try:
        return os.lstat(path).st_ino == _FIRST_FREE_OBJECTID and filesystem_type(path) == _SUPER_MAGIC
    except FileNotFoundError:
        return False


def subvolume_id(path: str) -> int:
    """Return the number of the subvolume that `path` lies in."""
    buffer = bytearray(struct.pack("=QQ4080x", 0, _FIRST_FREE_OBJECTID))
    _ioctl(path, _INO_LOOKUP, buffer)
    return int(struct.unpack_from("=Q", buffer)[0])


def set_limit(path: str, limit_bytes: int | None) -> None:
    """Cap what the subvolume `path` refers to; None takes the cap away."""
    value = (1 << 64) - 1 if limit_bytes is None else limit_bytes
    number = subvolume_id(path)
    _ioctl(path, _QGROUP_LIMIT, bytearray(_LIMIT_ARGS.pack(number, _LIMIT_MAX_REFERENCED, value, 0, 0, 0)))


def read_limit(path: str) -> int | None:
    """Return the cap of the subvolume `path`; None if it has none."""
    value = _read(path, "max_referenced")
    return value if _read(path, "limit_flags") & _LIMIT_MAX_REFERENCED and value not in (0, (1 << 64) - 1) else None


def used_bytes(path: str) -> int:
    """Return what the subvolume `path` refers to, as of the last commit of the file system (30 s at most)."""
    return _read(path, "referenced")


def _read(path: str, name: str) -> int:
    with open(f"{_qgroups(path)}/0_{subvolume_id(path)}/{name}", encoding="ascii") as file:
        return int(file.read())


def _qgroups(path: str) -> str:
    buffer = bytearray(1024)
    _ioctl(path, _FS_INFO, buffer)
    digits = buffer[16:32].hex()  # the UUID, which sysfs has as a name
    parts = (digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])
    return f"/sys/fs/btrfs/{'-'.join(parts)}/qgroups"


def _on_parent(path: str, request: int) -> None:
    parent, name = os.path.split(path)
    _ioctl(parent, request, bytearray(_VOL_ARGS.pack(0, os.fsencode(name))))


def _ioctl(path: str, request: int, buffer: bytearray) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(fd, request, buffer)
    finally:
        os.close(fd)

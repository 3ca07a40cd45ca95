"""POSIX access control lists: more groups than the one that a file has. acl(5); the form is linux/posix_acl_xattr.h."""

import errno
import os
import stat
import struct
from collections.abc import Mapping

_NAME = "system.posix_acl_access"
_VERSION = struct.Struct("<I")
_ENTRY = struct.Struct("<HHI")  # tag, rights, id
_USER_OBJ, _GROUP_OBJ, _GROUP, _MASK, _OTHER = 0x01, 0x04, 0x08, 0x10, 0x20
_NO_ID = 0xFFFFFFFF


def set_group_rights(path: str, mode: int, groups: Mapping[int, int]) -> None:
    """Give a file the rights of `mode`, and `groups` (gid: rights, 0 to 7) theirs, in one step; none takes a list away.

    Raises OSError(EOPNOTSUPP) where a file system has no lists and there is somebody to list.
    """
    if not groups:
        try:
            os.removexattr(path, _NAME)
        except OSError as error:
            if error.errno not in (errno.ENODATA, errno.EOPNOTSUPP):
                raise
        os.chmod(path, mode)
        return
    own, group, other = (mode >> shift & 7 for shift in (6, 3, 0))
    listed = [(_GROUP, rights, gid) for gid, rights in sorted(groups.items())]
    mask = group
    for rights in groups.values():
        mask |= rights
    entries = [
        (_USER_OBJ, own, _NO_ID),
        (_GROUP_OBJ, group, _NO_ID),
        *listed,
        (_MASK, mask, _NO_ID),
        (_OTHER, other, _NO_ID),
    ]
    os.setxattr(path, _NAME, _VERSION.pack(2) + b"".join(_ENTRY.pack(*entry) for entry in entries))


def group_rights(path: str) -> tuple[int, dict[int, int]]:
    """Return the mode without what a list adds to it, and the rights of each listed group."""
    mode = stat.S_IMODE(os.stat(path).st_mode)
    try:
        data = os.getxattr(path, _NAME)
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.EOPNOTSUPP):
            return mode, {}
        raise
    found: dict[int, int] = {}
    for tag, rights, entry_id in _ENTRY.iter_unpack(data[_VERSION.size :]):
        if tag == _GROUP:
            found[entry_id] = rights
        elif tag == _GROUP_OBJ:
            mode = mode & ~0o070 | rights << 3
    return mode, found

"""What a directory holds, counted by a walk: bytes of the disk, inodes, names, bytes of files. Trees are a tenant's or an
image's: no link is followed, no file is opened, what is mounted beneath does not count.
"""

import os
import stat
import time
from typing import NamedTuple

_MAX_DEPTH = 512  # directories, each with a descriptor; what lies deeper is not counted, and said so
_MAX_REMEMBERED = 1_000_000  # files with several names; beyond, each name counts
_DIR_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_BLOCK_BYTES = 512  # of st_blocks, stat(2)


class Counted(NamedTuple):
    """`used_bytes` and `inodes` include the directory itself, a file with several names once.

    `names` and `file_bytes`, the sizes of regular files, are of what is in it, each name by itself: they do not depend on
    the file system.
    """

    used_bytes: int
    inodes: int
    is_complete: bool
    names: int
    file_bytes: int


def count(path: str, deadline: float) -> Counted:
    """Return what the tree at `path` holds, as far as was seen until `deadline` (monotonic).

    A file is its own one name, what is gone is empty.
    """
    try:
        root = os.lstat(path)
        if stat.S_ISREG(root.st_mode):
            return Counted(root.st_blocks * _BLOCK_BYTES, 1, True, 1, root.st_size)
        fd = os.open(path, _DIR_FLAGS)
    except (FileNotFoundError, NotADirectoryError):
        return Counted(0, 0, True, 0, 0)
    used_bytes, inodes, names_seen, file_bytes, is_complete = root.st_blocks * _BLOCK_BYTES, 1, 0, 0, True
    seen: set[int] = set()
    stack = [(fd, [b"."])]  # directories that are open, and what is still to be looked into in each
    try:
        while stack:
            fd, names = stack[-1]
            if not names:
                stack.pop()
                os.close(fd)
                continue
            if time.monotonic() >= deadline or len(stack) > _MAX_DEPTH:
                is_complete = False
                names.clear()
                continue
            try:
                inner_fd = os.open(names.pop(), _DIR_FLAGS, dir_fd=fd)
            except OSError:  # it went, or became a link
                continue
            inner: list[bytes] = []
            stack.append((inner_fd, inner))
            with os.scandir(inner_fd) as entries:
                for entry in entries:
                    try:
                        details = entry.stat(follow_symlinks=False)
                    except OSError:
                        continue
                    if details.st_dev != root.st_dev:
                        continue
                    names_seen += 1
                    if stat.S_ISREG(details.st_mode):
                        file_bytes += details.st_size
                    if stat.S_ISDIR(details.st_mode):
                        inner.append(os.fsencode(entry.name))
                    elif details.st_nlink > 1:
                        if details.st_ino in seen:
                            continue
                        if len(seen) < _MAX_REMEMBERED:
                            seen.add(details.st_ino)
                    used_bytes += details.st_blocks * _BLOCK_BYTES
                    inodes += 1
    finally:
        for fd, _ in stack:
            os.close(fd)
    return Counted(used_bytes, inodes, is_complete, names_seen, file_bytes)

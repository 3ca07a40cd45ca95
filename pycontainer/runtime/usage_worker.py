"""How much directories hold, counted in a process of its own: `usage_worker PARENT SECONDS` (runtime/worker.py).

A JSON list of absolute paths comes in on standard input; one JSON object goes out, path -> [bytes, inodes, is_complete].
Bytes are those of the disk, a file with several names counts once, what is mounted beneath does not count. Trees are a
tenant's: no link is followed, no file is opened. All of it ends after SECONDS, and says then what was not counted to its
end; the least important work of the host, as far as processor and disk go.
"""

import json
import os
import resource
import sys
import time

from pycontainer.runtime.worker import end_with

_MAX_REQUEST_BYTES = 16 << 20
_MAX_MEMORY_BYTES = 512 << 20
_MAX_DEPTH = 512  # directories, each with a descriptor; what lies deeper is not counted, and said so
_MAX_REMEMBERED = 1_000_000  # files with several names; beyond, each name counts
_DIR_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_BLOCK_BYTES = 512  # of st_blocks, stat(2)


def main() -> int:
    """Serve the one request of standard input; return the exit status."""
    parent, seconds = sys.argv[1:]
    end_with(int(parent))
    resource.setrlimit(resource.RLIMIT_AS, (_MAX_MEMORY_BYTES, _MAX_MEMORY_BYTES))
    os.nice(19)
    deadline = time.monotonic() + float(seconds)
    paths = json.loads(sys.stdin.buffer.read(_MAX_REQUEST_BYTES))
    print(json.dumps({path: count(path, deadline) for path in paths}))
    return 0


def count(path: str, deadline: float) -> tuple[int, int, bool]:
    """Return the bytes and inodes of the tree at `path`, and whether all of it was seen; one that is gone is empty."""
    try:
        root = os.lstat(path)
        fd = os.open(path, _DIR_FLAGS)
    except (FileNotFoundError, NotADirectoryError):
        return 0, 0, True
    used_bytes, inodes, is_complete = root.st_blocks * _BLOCK_BYTES, 1, True
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
                    if entry.is_dir(follow_symlinks=False):
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
    return used_bytes, inodes, is_complete


if __name__ == "__main__":
    sys.exit(main())

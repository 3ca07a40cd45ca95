"""One restore of a volume, in a process of its own: `restore_worker` (runtime/worker.py).

    PARENT --root DIR --data DIR --mount-fd N      the archive is standard input, a file; N is attached to DIR of --data

The detached mount N, the volume's data, is attached where nobody else sees it, and the archive is unpacked into it by the
confined children of an import (runtime/importer.py): a hostile archive is refused as there, and meets the same walls. One
JSON line on standard output says {"result": {"size_bytes": n}} or {"error": ...}.
"""

import errno
import json
import os
import sys

from pycontainer.errors import PycontainerError
from pycontainer.linux.mounts import MS_PRIVATE, MS_REC, mount, move_mount
from pycontainer.linux.namespaces import CLONE_NEWNS, unshare
from pycontainer.paths import HostPaths
from pycontainer.runtime.importer import Importer, TimeLimits
from pycontainer.runtime.worker import end_with
from pycontainer.store.unpack import Budgets

# What a backup of ours can hold: databases are full of holes, which take no space and compress to nothing, and zstd has 128
# KiB of one byte in four. What the files really take, the volume's file system or quota holds.
_BUDGETS = Budgets(
    max_bytes=1 << 60, max_entries=20_000_000, max_depth=2048, max_xattr_bytes=1 << 40, max_ratio=1 << 15,
    grace_bytes=64 << 30,
)  # fmt: skip
_TIME_LIMITS = TimeLimits(total_seconds=24 * 3600)


def main() -> int:
    """Serve the one request of the command line; return the exit status."""
    parent, _, root, _, data, _, mount_fd = sys.argv[1:]
    end_with(int(parent))
    os.umask(0o022)
    try:
        _attach(int(mount_fd), data)
        importer = Importer(HostPaths(root or None).seccomp_dir, budgets=_BUDGETS, time_limits=_TIME_LIMITS)
        archive_fd = os.dup(0)  # the confined children have none of the first three
        size_bytes = importer.unpack(archive_fd, data, None, is_layer=False).size_bytes
    except PycontainerError as error:
        return _say({"error": error.to_wire()}, 1)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        hint = "restore into a volume that is made with a larger --size, or free some space" if full else ""
        return _say({"error": PycontainerError(f"the restore failed: {error}", hint=hint).to_wire()}, 1)
    return _say({"result": {"size_bytes": size_bytes}}, 0)


def _attach(mount_fd: int, directory: str) -> None:
    unshare(CLONE_NEWNS)
    mount("none", "/", flags=MS_REC | MS_PRIVATE)
    place_fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    move_mount(mount_fd, place_fd)
    os.close(place_fd)
    os.close(mount_fd)


def _say(message: dict[str, object], status: int) -> int:
    sys.stdout.write(json.dumps(message) + "\n")
    return status


if __name__ == "__main__":
    sys.exit(main())

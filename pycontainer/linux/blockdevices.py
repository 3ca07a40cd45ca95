"""Which disks lie beneath paths: what an I/O limit is set on. proc_pid_mountinfo(5), sysfs-dev(5)."""

import os
from collections.abc import Iterable

_ANONYMOUS_MAJOR = 0  # of file systems that are not, or not on one, block device


def disks_of(paths: Iterable[str]) -> tuple[str, ...]:
    """Return `major:minor` of the whole disks that hold `paths`, each once; none for what lies in memory.

    A path that does not exist, and a file system whose source is no block device (tmpfs, NFS), have none.
    """
    found: dict[str, None] = {}
    for path in paths:
        try:
            device = os.stat(path).st_dev
        except FileNotFoundError:
            continue
        if os.major(device) == _ANONYMOUS_MAJOR:
            device = _source_of(device)
        if device:
            found[_whole_disk(device)] = None
    return tuple(found)


def _source_of(device: int) -> int:
    """Return the block device that a mount with this anonymous number (btrfs) names as its source; 0 if it names none."""
    number = b"%d:%d" % (os.major(device), os.minor(device))
    with open("/proc/self/mountinfo", "rb") as file:  # names in it are bytes, of any encoding
        for line in file:
            fields, _, more = line.partition(b" - ")
            if fields.split(b" ")[2] == number:
                source = more.split(b" ")[1]
                try:
                    return os.stat(source).st_rdev if source.startswith(b"/") else 0
                except FileNotFoundError:
                    return 0
    return 0


def _whole_disk(device: int) -> str:
    """Return the disk of a partition: the kernel throttles disks."""
    number = f"{os.major(device)}:{os.minor(device)}"
    entry = os.path.realpath(f"/sys/dev/block/{number}")
    if os.path.exists(f"{entry}/partition"):
        with open(f"{os.path.dirname(entry)}/dev") as file:
            return file.read().strip()
    return number

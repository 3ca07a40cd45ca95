"""What all containers together leave to the host: no one of them, and not all of them, take its last memory.

Each may have a cap of its own; where none is asked, this one still holds. It stands once, on our parent cgroup, so that a
start pays nothing. When it is reached the kernel kills among the containers alone, the largest process first, and the
host, the supervisor and the monitor go on.
"""

import errno
import os

from pycontainer.cgroup.base import Cgroup, read_file
from pycontainer.cgroup.v1 import UNLIMITED_BYTES

_PART = 16
_LEAST_BYTES, _MOST_BYTES = 256 << 20, 4 << 30


def memory_for_containers(total_bytes: int) -> int:
    """Return how much of the machine's memory the containers may have: a sixteenth stays, 256 MiB to 4 GiB.

    Of a machine that small that this is more than a quarter, a quarter stays.
    """
    kept_bytes = min(max(total_bytes // _PART, _LEAST_BYTES), _MOST_BYTES, total_bytes // 4)
    return (total_bytes - kept_bytes) >> 20 << 20


def hold(parent: Cgroup, memory_bytes: int) -> None:
    """Cap what lies beneath `parent`; of swap half the host's is left. A cap that somebody set there stays as it is."""
    swap_bytes = _swap_bytes() // 2
    if parent.version == 2:
        _set_if_none(parent, "memory.max", memory_bytes)
        _set_if_none(parent, "memory.swap.max", swap_bytes)
    else:
        _set_if_none(parent, "memory.limit_in_bytes", memory_bytes)
        _set_if_none(parent, "memory.memsw.limit_in_bytes", memory_bytes + swap_bytes)


def _set_if_none(parent: Cgroup, name: str, limit_bytes: int) -> None:
    try:
        held = parent.read("memory", name)
        if held == "max" or int(held) >= UNLIMITED_BYTES:
            parent.write("memory", name, str(limit_bytes))
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.EOPNOTSUPP):  # a kernel that does not count swap
            raise


def _swap_bytes() -> int:
    """Return the size of all swap; /proc/meminfo, proc_meminfo(5)."""
    for line in read_file("/proc/meminfo").splitlines():
        if line.startswith("SwapTotal:"):
            return int(line.split()[1]) << 10
    return 0


def total_memory_bytes() -> int:
    """Return the machine's memory."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")

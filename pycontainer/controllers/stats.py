"""What `stats` shows of one container, as far as cgroups know it."""

from typing import TypedDict

from pycontainer.cgroup.base import Cgroup
from pycontainer.controllers.cpu import used_usec
from pycontainer.controllers.memory import MemoryController, working_set_bytes
from pycontainer.controllers.pids import PidsController
from pycontainer.controllers.protocol import Instance


class CgroupStats(TypedDict):
    """The part of the Stats shape (api/messages.py) that comes from cgroups."""

    cpu_usec: int
    memory_bytes: int
    memory_limit_bytes: int | None
    pids: int
    pids_limit: int | None
    io_read_bytes: int
    io_write_bytes: int


def stats(cgroup: Cgroup) -> CgroupStats:
    """Read everything once. FileNotFoundError or OSError(ENODEV) if the cgroup is gone."""
    instance = Instance(cgroup)
    memory, pids = MemoryController().read(instance), PidsController().read(instance)
    read_bytes, write_bytes = io_bytes(cgroup)
    return CgroupStats(
        cpu_usec=used_usec(cgroup),
        memory_bytes=working_set_bytes(cgroup),
        memory_limit_bytes=memory.limit,
        pids=pids.held or 0,
        pids_limit=pids.limit,
        io_read_bytes=read_bytes,
        io_write_bytes=write_bytes,
    )


def io_bytes(cgroup: Cgroup) -> tuple[int, int]:
    """Return bytes read from and written to block devices; (0, 0) where the kernel does not count them.

    v1 knows the writer of direct and synchronous writes only: what goes through the page cache is counted for the
    root, not here.
    """
    if cgroup.version == 2:
        return _io_v2(cgroup.read("io", "io.stat")) if cgroup.has("io") else (0, 0)
    if not cgroup.has("blkio"):
        return 0, 0
    return _io_v1(cgroup.read("blkio", "blkio.throttle.io_service_bytes_recursive"))


def _io_v2(text: str) -> tuple[int, int]:
    """Sum lines of `8:0 rbytes=1 wbytes=2 rios=3 ...`."""
    fields = [word.partition("=") for word in text.split()]
    return _sum(fields, "rbytes"), _sum(fields, "wbytes")


def _io_v1(text: str) -> tuple[int, int]:
    """Sum lines of `8:0 Read 1`, `8:0 Write 2`, ...; the last line is `Total 3`."""
    fields = [line.partition(" ")[2].partition(" ") for line in text.splitlines()]
    return _sum(fields, "Read"), _sum(fields, "Write")


def _sum(fields: list[tuple[str, str, str]], name: str) -> int:
    return sum(int(value) for key, _, value in fields if key == name)

"""What the kernel's schedulers are told of a process, by its pid, before it executes anything.

Source: runtime-spec config.md "Linux Process"; sched_setattr(2), ioprio_set(2), proc_pid_oom_score_adj(5).
"""

import os
import struct

from pycontainer.errors import StartFailed
from pycontainer.linux.libc import syscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pycontainer.oci.config import Process

_SCHED_ATTR = struct.Struct("=IIQiIQQQ")  # size policy flags nice priority runtime deadline period
_IOPRIO_WHO_PROCESS, _IOPRIO_CLASS_SHIFT = 1, 13


def apply(pid: int, process: "Process") -> None:
    """Apply what `process` asks for; StartFailed names the field."""
    if process.oom_score_adj is not None:
        _oom_score(pid, process.oom_score_adj)
    if process.scheduler is not None:
        _attempt("scheduler", lambda: _schedule(pid, process.scheduler or {}))
    if process.io_priority is not None:
        kind, level = process.io_priority
        value = kind << _IOPRIO_CLASS_SHIFT | level
        _attempt("ioPriority", lambda: syscall("ioprio_set", _IOPRIO_WHO_PROCESS, pid, value))


def set_affinity(pid: int, cpus: str) -> None:
    """Let `pid` run on a list of CPUs such as `0-3,7` alone; nothing is changed for an empty one."""
    if cpus:
        wanted: set[int] = set()
        for part in cpus.split(","):
            first, _, last = part.partition("-")
            wanted.update(range(int(first), int(last or first) + 1))
        _attempt("execCPUAffinity", lambda: os.sched_setaffinity(pid, wanted))


def _oom_score(pid: int, score: int) -> None:
    def write() -> None:
        fd = os.open(f"/proc/{pid}/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, str(score).encode())
        finally:
            os.close(fd)

    _attempt("oomScoreAdj", write)


def _schedule(pid: int, wanted: "dict[str, int]") -> None:
    from pycontainer.linux import ffi

    keys = ("flags", "nice", "priority", "runtime", "deadline", "period")
    packed = _SCHED_ATTR.pack(_SCHED_ATTR.size, wanted["policy"], *(wanted.get(key, 0) for key in keys))
    buffer = ffi.create_string_buffer(packed, _SCHED_ATTR.size)
    syscall("sched_setattr", pid, ffi.addressof(buffer), 0)


def _attempt(field: str, act: "Callable[[], object]") -> None:
    try:
        act()
    except OSError as error:
        why = os.strerror(error.errno or 0).lower()
        raise StartFailed(f"process.{field}: {why}", step=field, errno=error.errno or 0) from error

"""The wait of the first process that moves into a cgroup of v1, gone through before there is one to move.

Who moves a process takes a lock that costs those nothing who fork and end, and him an RCU grace period: 8 ms and more of
mere waiting. Who moves one within the next grace period does not wait (kernel/rcu/sync.c, rcu_sync_enter). So a helper
moves itself to where it is, which changes nothing, and does so again and again while we read the configuration; when the
container's process is born the lock is open. On v2 a process is born in its cgroup, and nobody waits.

The helper has our memory (CLONE_VM: 0.1 ms in the place of 0.5), runs a list of system calls in machine code, and is stopped
when a child is to be born. Where anything of this is not to be had there is no helper, and the wait comes when it comes.
"""

import os

from pycontainer.init.birth import CLONE_CLEAR_SIGHAND, CLONE_VM, Bearer
from pycontainer.init.table import MODE_IGNORE, Table
from pycontainer.linux.libc import MACHINE, syscall_number

_HIERARCHY = "freezer"
_PAUSE = bytes(8) + (4_000_000).to_bytes(8, "little")  # struct timespec
_TIMES = 8  # some 30 ms after the first move: who takes longer has other waits
_SIGKILL = 9
_helpers: "dict[int, Bearer]" = {}  # by pid, with the memory that its rows are in


def begin(root: str = "/sys/fs/cgroup", procfs: str = "/proc") -> None:
    """Start a helper, if there will be a wait; `stop` may follow, and `end` does."""
    if os.geteuid():  # unshare(CLONE_NEWUSER), which is next then, is refused to who shares memory
        return
    bearer = Bearer(MACHINE)
    if not bearer.runs_programs():
        return
    try:
        fd = os.open(f"{root}/{_HIERARCHY}{_own_path(procfs)}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
    except OSError:  # v2 alone, or a cgroup that is not to be seen from here
        return
    try:
        _helpers[bearer.bear_helper(_rows(fd), flags=CLONE_VM | CLONE_CLEAR_SIGHAND)] = bearer
    except OSError:  # a kernel before 5.5, or no room for one more process
        pass
    finally:
        os.close(fd)


def stop() -> None:
    """Have the helper end, if there is one, without a wait for it: on a busy machine it takes its time."""
    for pid in _helpers:
        os.kill(pid, _SIGKILL)


def end() -> None:
    """Have the helper end and reap it; our memory is ours alone then."""
    stop()
    while _helpers:
        pid, bearer = _helpers.popitem()
        os.waitpid(pid, 0)
        del bearer  # not before


def _rows(procs_fd: int) -> Table:
    table = Table(-1)
    for _ in range(_TIMES):
        table.call("move", syscall_number("write"), procs_fd, b"0", 1, mode=MODE_IGNORE)
        table.call("pause", syscall_number("nanosleep"), _PAUSE, 0, mode=MODE_IGNORE)
    table.call("end", syscall_number("exit_group"), 0)
    return table


def _own_path(procfs: str) -> str:
    """Return where in the hierarchy we are. FileNotFoundError: there is none."""
    fd = os.open(f"{procfs}/self/cgroup", os.O_RDONLY | os.O_CLOEXEC)
    try:
        lines = os.fsdecode(os.read(fd, 65536)).split("\n")
    finally:
        os.close(fd)
    for line in lines:
        _, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if _HIERARCHY in names.split(","):
            return path
    raise FileNotFoundError

"""Processes: pidfds, file-system ids, a few prctl options. pidfd_open(2), pidfd_send_signal(2), setfsuid(2), prctl(2)."""

import os
import sys

from pycontainer.linux import ffi
from pycontainer.linux.libc import checked, declare, syscall

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_CAPBSET_DROP = 24
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
P_PIDFD = 3
_PIDFD_GET_INFO, _PIDFD_INFO_BYTES, _PIDFD_INFO_EXIT, _EXIT_CODE_AT = 0xC040FF0B, 64, 1 << 3, 60

_prctl = declare("prctl", ffi.c_int, ffi.c_ulong, ffi.c_ulong, ffi.c_ulong, ffi.c_ulong)
_setfsuid = declare("setfsuid", ffi.c_int)
_setfsgid = declare("setfsgid", ffi.c_int)


def prctl(option: int, value: int = 0, value2: int = 0) -> int:
    """Call prctl(2)."""
    return checked(_prctl(option, value, value2, 0, 0), "prctl")


def pidfd_send_signal(pidfd: int, signal_number: int) -> None:
    """Send a signal to exactly the process `pidfd` stands for; ProcessLookupError when it has ended."""
    syscall("pidfd_send_signal", pidfd, signal_number, 0, 0)


def pidfd_open(pid: int) -> int:
    """Return a descriptor of process `pid`, close-on-exec."""
    return syscall("pidfd_open", pid, 0)


def reap(pidfd: int) -> int | None:
    """Reap the child `pidfd` and return its raw wait status, or None while it runs."""
    result = os.waitid(P_PIDFD, pidfd, os.WEXITED | os.WNOHANG)
    if result is None:
        return None
    if result.si_code == os.CLD_EXITED:
        return (result.si_status & 0xFF) << 8
    return result.si_status | (0x80 if result.si_code == os.CLD_DUMPED else 0)


def exit_status(pidfd: int) -> int | None:
    """Return the raw wait status of somebody else's child that has ended and was reaped; None if nobody knows it.

    Linux 6.15: PIDFD_GET_INFO, struct pidfd_info in <linux/pidfd.h>
    """
    import fcntl  # rare

    info = bytearray(_PIDFD_INFO_BYTES)
    info[:8] = _PIDFD_INFO_EXIT.to_bytes(8, sys.byteorder)
    try:
        fcntl.ioctl(pidfd, _PIDFD_GET_INFO, info)
    except OSError:  # an older kernel, or it is not reaped yet
        return None
    if not int.from_bytes(info[:8], sys.byteorder) & _PIDFD_INFO_EXIT:
        return None
    return int.from_bytes(info[_EXIT_CODE_AT : _EXIT_CODE_AT + 4], sys.byteorder)


def start_time_ticks(pid: int, procfs_dirfd: int | None = None) -> int:
    """Return when a process began, in clock ticks since boot: with the pid it identifies the process. proc_pid_stat(5)."""
    fd = os.open(
        f"{pid}/stat" if procfs_dirfd is not None else f"/proc/{pid}/stat",
        os.O_RDONLY | os.O_CLOEXEC,
        dir_fd=procfs_dirfd,
    )
    try:
        text = os.read(fd, 4096)
    finally:
        os.close(fd)
    return int(text.rpartition(b")")[2].split()[19])  # field 22; the command may itself hold ") "


class effective_uid:
    """Have `uid` for the effective id in a `with` block, in this thread alone: glibc's seteuid changes all of them.

    It takes the effective capabilities along; root's come back with its id. setresuid(2), capabilities(7)
    """

    __slots__ = ("_uid",)

    def __init__(self, uid: int) -> None:
        self._uid = uid

    def __enter__(self) -> None:
        syscall("setresuid", -1, self._uid, -1)

    def __exit__(self, *_: object) -> None:
        syscall("setresuid", -1, 0, -1)


def set_fs_ids(uid: int, gid: int | None = None) -> None:
    """Act on files as `uid`:`gid` (the same number if None) from here on; the check is that a second call returns the new
    id. setfsuid(2)."""
    gid = uid if gid is None else gid
    _setfsgid(gid)
    _setfsuid(uid)
    if _setfsgid(-1) != gid or _setfsuid(-1) != uid:
        raise PermissionError(1, "setfsuid: the file-system ids did not change")

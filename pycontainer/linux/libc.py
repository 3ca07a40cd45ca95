"""One handle on libc: functions typed once, results checked at once, system calls by number.

Everything else in `linux` goes through here. Numbers from 424 up are common to all architectures; the few below
that have no libc wrapper stand in `_NUMBERS`, per machine. An unknown machine is refused rather than guessed.
"""

from __future__ import annotations

import os

from pycontainer.linux import ffi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

StrPath: TypeAlias = "str | bytes | os.PathLike[str] | os.PathLike[bytes]"

_libc = ffi.open_library(None)

_NUMBERS: dict[str, dict[str, int]] = {
    "x86_64": {
        "read": 0,
        "write": 1,
        "close": 3,
        "rt_sigaction": 13,
        "rt_sigprocmask": 14,
        "ioctl": 16,
        "nanosleep": 35,
        "clone": 56,
        "execve": 59,
        "fcntl": 72,
        "chdir": 80,
        "fchdir": 81,
        "fchown": 93,
        "umask": 95,
        "setsid": 112,
        "setgroups": 116,
        "setresuid": 117,
        "setresgid": 119,
        "capset": 126,
        "personality": 135,
        "pivot_root": 155,
        "prctl": 157,
        "chroot": 161,
        "mount": 165,
        "umount2": 166,
        "sethostname": 170,
        "setdomainname": 171,
        "clock_gettime": 228,
        "exit_group": 231,
        "keyctl": 250,
        "ioprio_set": 251,
        "openat": 257,
        "mkdirat": 258,
        "unshare": 272,
        "dup3": 292,
        "prlimit64": 302,
        "setns": 308,
        "sched_setattr": 314,
        "seccomp": 317,
        "bpf": 321,
        "execveat": 322,
    },
    "aarch64": {
        "dup3": 24,
        "fcntl": 25,
        "mount": 40,
        "ioctl": 29,
        "mkdirat": 34,
        "umount2": 39,
        "pivot_root": 41,
        "chdir": 49,
        "fchdir": 50,
        "chroot": 51,
        "fchown": 55,
        "openat": 56,
        "close": 57,
        "read": 63,
        "write": 64,
        "capset": 91,
        "personality": 92,
        "exit_group": 94,
        "nanosleep": 101,
        "clock_gettime": 113,
        "unshare": 97,
        "rt_sigaction": 134,
        "rt_sigprocmask": 135,
        "setresuid": 147,
        "setresgid": 149,
        "setsid": 157,
        "setgroups": 159,
        "sethostname": 161,
        "setdomainname": 162,
        "umask": 166,
        "prctl": 167,
        "ioprio_set": 30,
        "clone": 220,
        "execve": 221,
        "keyctl": 219,
        "prlimit64": 261,
        "setns": 268,
        "sched_setattr": 274,
        "seccomp": 277,
        "bpf": 280,
        "execveat": 281,
    },
}
_COMMON: dict[str, int] = {
    "pidfd_send_signal": 424,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "fspick": 433,
    "pidfd_open": 434,
    "clone3": 435,
    "close_range": 436,
    "openat2": 437,
    "pidfd_getfd": 438,
    "mount_setattr": 442,
    "quotactl_fd": 443,
    "landlock_create_ruleset": 444,
    "landlock_add_rule": 445,
    "landlock_restrict_self": 446,
}
MACHINE = os.uname().machine


def syscall_number(name: str) -> int:
    """Return the number of system call `name` on this machine; OSError(ENOSYS) if we do not know it."""
    number = _COMMON.get(name)
    if number is None:
        number = _NUMBERS.get(MACHINE, {}).get(name)
    if number is None:
        raise OSError(38, f"{name}: system call number unknown on {MACHINE}")  # ENOSYS
    return number


def declare(name: str, *argtypes: type, restype: type = ffi.c_int) -> Callable[..., int]:
    """Return libc function `name`, typed once; nothing changes argtypes later."""
    return ffi.function(_libc, name, argtypes, restype)


def checked(result: int, call: str, path: StrPath | None = None, path2: StrPath | None = None) -> int:
    """Return `result`, or raise the OSError of the failed `call`. Nothing may run in between."""
    if result == -1:
        code = ffi.get_errno()
        raise OSError(code, f"{call}: {os.strerror(code)}", path, None, path2)
    return result


def path_bytes(path: StrPath) -> bytes:
    """Encode a path for the kernel; ValueError on NUL, where ctypes would cut the string without a word."""
    data = os.fsencode(path)
    if b"\0" in data:
        raise ValueError(f"path holds a NUL byte: {path!r}")
    return data


_syscall = declare("syscall", ffi.c_long, *([ffi.c_void_p] * 6), restype=ffi.c_long)


def syscall(name: str, *args: int | bytes, path: StrPath | None = None) -> int:
    """Call system call `name` and return its result; bytes, with a NUL behind them, are for the kernel to read.

    Raises OSError(errno, "name: text", path). Other pointers are passed as integers: the caller keeps what they
    point to alive for the call. A blocking call is repeated on EINTR by the caller, as with ctypes in general.
    """
    padded = (*args, 0, 0, 0, 0, 0, 0)[:6]
    result = _syscall(syscall_number(name), *padded)
    return checked(result, name, path)

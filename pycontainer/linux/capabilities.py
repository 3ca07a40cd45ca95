"""Capability numbers and the raw sets of this thread. capabilities(7), capget(2); names as in <linux/capability.h>."""

import struct

from pycontainer.linux import ffi
from pycontainer.linux.libc import checked, declare

NAMES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
)
NUMBERS = {name: number for number, name in enumerate(NAMES)}

_HEADER = struct.pack("Ii", 0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this thread
_DATA = struct.Struct("6I")  # two of: effective, permitted, inheritable
_capget = declare("capget", ffi.c_char_p, ffi.c_void_p)
_capset = declare("capset", ffi.c_char_p, ffi.c_char_p)


def mask(names: frozenset[str]) -> int:
    """Return the bit mask of a set of capability names; KeyError for one the kernel does not know."""
    return sum(1 << NUMBERS[name] for name in names)


def pack_sets(effective: int, permitted: int, inheritable: int = 0) -> tuple[bytes, bytes]:
    """Return the header and data arguments of capset(2) for three 64-bit masks."""
    low, high = 0xFFFFFFFF, 32
    data = _DATA.pack(
        effective & low, permitted & low, inheritable & low, effective >> high, permitted >> high, inheritable >> high
    )
    return _HEADER, data


def read_sets() -> tuple[int, int, int]:
    """Return the effective, permitted and inheritable masks of this thread."""
    data = ffi.create_string_buffer(_DATA.size)
    checked(_capget(_HEADER, ffi.addressof(data)), "capget")
    e0, p0, i0, e1, p1, i1 = _DATA.unpack(data.raw)
    return e0 | e1 << 32, p0 | p1 << 32, i0 | i1 << 32


def has_effective(number: int) -> bool:
    """Say whether this thread may use a capability now."""
    return bool(read_sets()[0] >> number & 1)


def keep_only(names: frozenset[str]) -> None:
    """Give up every capability of this thread but `names`, for good unless it executes a file; capset(2).

    Raises PermissionError for one that it does not have.
    """
    keep = mask(names)
    checked(_capset(*pack_sets(keep, keep)), "capset")


def raise_effective() -> None:
    """Make every permitted capability effective again, as after setfsuid(2) took the file-system ones away."""
    _, permitted, inheritable = read_sets()
    checked(_capset(*pack_sets(permitted, permitted, inheritable)), "capset")

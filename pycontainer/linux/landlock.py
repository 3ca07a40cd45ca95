"""Landlock: a process gives up what it may do with files, sockets and signals, for good. landlock(7), Linux 5.13.

What a kernel does not know it cannot restrict: `restrict` asks for what this one has. Numbers from <linux/landlock.h>.
"""

from __future__ import annotations

import errno
import os
import struct

from pycontainer.linux import ffi
from pycontainer.linux.libc import syscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, REMOVE_DIR, REMOVE_FILE = (1 << bit for bit in range(6))
MAKE_CHAR, MAKE_DIR, MAKE_REG, MAKE_SOCK, MAKE_FIFO, MAKE_BLOCK, MAKE_SYM = (1 << bit for bit in range(6, 13))
REFER, TRUNCATE, IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15  # ABI 2, 3 and 5
NET_BIND_TCP, NET_CONNECT_TCP = 1, 2  # ABI 4
SCOPE_ABSTRACT_UNIX_SOCKET, SCOPE_SIGNAL = 1, 2  # ABI 6
READ = READ_FILE | READ_DIR
FILE_ONLY = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV  # what a rule for a file may say

_CREATE_RULESET_VERSION = 1
_RULE_PATH_BENEATH = 1
_RULESET_ATTR = struct.Struct("QQQ")  # struct landlock_ruleset_attr: handled_access_fs, handled_access_net, scoped
_PATH_BENEATH_ATTR = struct.Struct("=Qi")  # packed: allowed_access, parent_fd


def abi() -> int:
    """Return the version of the kernel's Landlock, 0 where it is not built in, or switched off at boot."""
    try:
        return syscall("landlock_create_ruleset", 0, 0, _CREATE_RULESET_VERSION)
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EOPNOTSUPP):
            return 0
        raise


def handled(version: int) -> tuple[int, int, int]:
    """Return all that Landlock of an ABI can take away: rights on files, on TCP ports, and scopes."""
    files = (1 << 13) - 1
    files |= (REFER if version >= 2 else 0) | (TRUNCATE if version >= 3 else 0) | (IOCTL_DEV if version >= 5 else 0)
    network = NET_BIND_TCP | NET_CONNECT_TCP if version >= 4 else 0
    return files, network, SCOPE_ABSTRACT_UNIX_SOCKET | SCOPE_SIGNAL if version >= 6 else 0


def restrict(allowed: Iterable[tuple[int, int]], *, version: int | None = None) -> None:
    """Take away all that this kernel's Landlock can, but what `allowed` says: (descriptor, rights at and beneath it).

    For this thread and what it starts. Rights that the kernel does not know are left out; before ABI 2 no hard link or
    rename leads from one directory to another. Needs no_new_privs or CAP_SYS_ADMIN, and `abi()` above 0: ENOSYS or
    EOPNOTSUPP otherwise. Descriptors that are open already stay what they are.
    """
    rights, network, scopes = handled(abi() if version is None else version)
    attr = ffi.create_string_buffer(_RULESET_ATTR.pack(rights, network, scopes), _RULESET_ATTR.size)
    # Zeros beyond what an older kernel knows are fine: it looks that there is nothing else.
    ruleset_fd = syscall("landlock_create_ruleset", ffi.addressof(attr), _RULESET_ATTR.size, 0)
    try:
        for fd, wanted in allowed:
            rule = ffi.create_string_buffer(_PATH_BENEATH_ATTR.pack(wanted & rights, fd), _PATH_BENEATH_ATTR.size)
            syscall("landlock_add_rule", ruleset_fd, _RULE_PATH_BENEATH, ffi.addressof(rule), 0)
        syscall("landlock_restrict_self", ruleset_fd, 0)
    finally:
        os.close(ruleset_fd)

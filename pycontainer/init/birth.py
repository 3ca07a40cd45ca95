"""The clone of a child, by machine code where we have it, by a forked Python elsewhere. clone3(2), clone(2).

The child is a copy of the monitor (no CLONE_VM: an out-of-memory kill in the child's cgroup would take every process of
a shared memory with it), runs the few rows of the bridge without executing any Python, and becomes the sealed program.
The fork hooks of Python are left out on purpose: the monitor is single-threaded and the child goes straight to an exec.
"""

import contextlib
import ctypes
import errno
import mmap
import os
import signal
import struct
from collections.abc import Iterator

from pycontainer.init.child import bridge
from pycontainer.init.interpreter import run_program, run_rows
from pycontainer.init.machine import CODES
from pycontainer.init.table import Table
from pycontainer.linux.capabilities import raise_effective
from pycontainer.linux.libc import declare, syscall_number
from pycontainer.linux.namespaces import CLONE_NEWUSER
from pycontainer.linux.process import PR_SET_DUMPABLE, prctl

CLONE_PIDFD = 0x00001000
CLONE_INTO_CGROUP = 0x200000000
_CLONE_ARGS = struct.Struct(
    "11Q"
)  # struct clone_args: flags pidfd child_tid parent_tid exit_signal stack size tls set_tid n cgroup
_CODE_BYTES = 4096
_AREA_BYTES = 65536
_RWX = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC


class Bearer:
    """Clones children. `use_machine_code` False forces the portable way, for tests and foreign machines."""

    __slots__ = ("_area", "_area_at", "_birth", "_machine", "_open_files", "_syscall")

    def __init__(self, machine: str, *, open_files: tuple[int, int], use_machine_code: bool = True) -> None:
        """`open_files` are the soft and hard limit that children start with."""
        code = CODES.get(machine) if use_machine_code else None
        self._machine, self._open_files = machine, open_files
        self._syscall = declare("syscall", *([ctypes.c_long] * 7), restype=ctypes.c_long)
        # Private: each child keeps the rows it was born with, and can never write to ours. mmap's default is shared.
        self._area = mmap.mmap(
            -1,
            _AREA_BYTES,
            flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS,
            prot=_RWX if code else mmap.PROT_READ | mmap.PROT_WRITE,
        )
        self._area_at = ctypes.addressof(ctypes.c_char.from_buffer(self._area))
        self._birth = None
        if code:
            self._area[: len(code.data)] = code.data
            # PYFUNCTYPE keeps the GIL: the child must not come back into Python to take it, and never does.
            prototype = ctypes.PYFUNCTYPE(ctypes.c_long, *([ctypes.c_void_p] * 4))
            self._birth = prototype(self._area_at)

    def bear(
        self,
        *,
        flags: int,
        cgroup_fd: int,
        go_read_fd: int,
        go_write_fd: int,
        report_fd: int,
        stdio_fds: tuple[int, int, int],
        join_fd: int,
        procfs_fd: int,
        program_fd: int,
        owner: int,
    ) -> tuple[int, int]:
        """Clone one child with namespaces `flags` and return (pid, pidfd); it waits for one byte on the go pipe.

        A user namespace among them is `owner`'s, see `_acting_as`. `cgroup_fd` is the child's cgroup v2 directory or -1.
        `join_fd` is the pidfd of the container to join, or -1 for a first process. `procfs_fd` is our /proc for a child that
        gets a label, or -1. Raises OSError of the clone.
        """
        pidfd_word = ctypes.c_int(-1)
        clone_flags = flags | CLONE_PIDFD | (CLONE_INTO_CGROUP if cgroup_fd >= 0 else 0)
        args = ctypes.create_string_buffer(
            _CLONE_ARGS.pack(
                clone_flags, ctypes.addressof(pidfd_word), 0, 0, signal.SIGCHLD, 0, 0, 0, 0, 0, max(cgroup_fd, 0)
            ),
            _CLONE_ARGS.size,
        )
        table = Table(report_fd)
        bridge(
            table,
            go_read_fd=go_read_fd,
            go_write_fd=go_write_fd,
            stdio_fds=stdio_fds,
            report_fd=report_fd,
            join_fd=join_fd,
            procfs_fd=procfs_fd,
            program_fd=program_fd if self._machine in CODES else None,
            open_files=self._open_files,
        )
        result = -errno.ENOSYS
        with _acting_as(owner) if flags & CLONE_NEWUSER else contextlib.nullcontext():
            if self._birth is not None:
                report_at, rows_at = self._lay(table)
                result = self._birth(ctypes.addressof(args), _CLONE_ARGS.size, rows_at, report_at)
            if result == -errno.ENOSYS:  # no machine code, or a filter that knows no clone3
                result = self._bear_python(table, args, clone_flags, pidfd_word, program_fd)
        if result < 0:
            raise OSError(-result, f"clone3: {os.strerror(-result)}")
        return result, pidfd_word.value

    def bear_helper(self, table: Table) -> int:
        """Clone a helper in the pid namespace chosen by setns(2); it runs `table` and ends. The caller reaps the pid."""
        report_at, rows_at = self._lay(table)
        args = ctypes.create_string_buffer(
            _CLONE_ARGS.pack(0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, 0, 0, 0), _CLONE_ARGS.size
        )
        if self._birth is not None:
            result = self._birth(ctypes.addressof(args), _CLONE_ARGS.size, rows_at, report_at)
        else:
            result = self._syscall(syscall_number("clone3"), ctypes.addressof(args), _CLONE_ARGS.size, 0, 0, 0, 0)
            if result == 0:
                run_rows(rows_at, report_at)
        if result < 0:
            raise OSError(ctypes.get_errno() if result == -1 else -result, "clone3: helper")
        return int(result)

    def _lay(self, table: Table) -> tuple[int, int]:
        """Write the rows of `table` into our area; return the addresses of the report and of the first row."""
        image, report_at, rows_at = table.layout(b"", self._area_at + _CODE_BYTES)
        self._area[_CODE_BYTES : _CODE_BYTES + len(image)] = image
        return report_at, rows_at

    def _bear_python(
        self, table: Table, args: ctypes.Array[ctypes.c_char], flags: int, pidfd_word: ctypes.c_int, program_fd: int
    ) -> int:
        report_at, rows_at = self._lay(table)
        result = self._syscall(syscall_number("clone3"), ctypes.addressof(args), _CLONE_ARGS.size, 0, 0, 0, 0)
        if result == -1 and ctypes.get_errno() == errno.ENOSYS and not flags & CLONE_INTO_CGROUP:
            # clone(2): the pidfd comes back through the third argument; the flags above 2^32 do not exist there
            result = self._syscall(
                syscall_number("clone"), flags | signal.SIGCHLD, 0, ctypes.addressof(pidfd_word), 0, 0, 0
            )
        if result == 0:
            if self._machine in CODES:
                run_rows(rows_at, report_at)
            run_rows(rows_at, report_at, count=len(table.rows))
            run_program(program_fd, self._machine)
        return int(result) if result != -1 else -ctypes.get_errno()


@contextlib.contextmanager
def _acting_as(uid: int) -> Iterator[None]:
    """Have `uid` for the effective id, with all our capabilities.

    What a user namespace uses of inotify, queued signals, timers, locked memory, message queues and namespaces counts for
    the effective id that made it as well. As host root's, 128 inotify instances in one container were the whole host's,
    root's included (kernel/ucount.c). The real and saved ids stay root's: nobody of that id may signal or trace us.
    """
    os.seteuid(uid)
    try:
        raise_effective()
        yield
    finally:
        os.seteuid(0)
        prctl(PR_SET_DUMPABLE, 0)  # a change of ids sets it anew, to fs.suid_dumpable

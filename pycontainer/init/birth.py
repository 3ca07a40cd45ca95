"""The clone of a child, by machine code where we have it, by a forked Python elsewhere. clone3(2), clone(2).

The child is a copy of the monitor (no CLONE_VM: an out-of-memory kill in the child's cgroup would take every process of
a shared memory with it), runs the few rows of the bridge without executing any Python, and becomes the sealed program.
The fork hooks of Python are left out on purpose: the monitor is single-threaded and the child goes straight to an exec.
"""

from __future__ import annotations

import errno
import os
import struct

from pycontainer.init.interpreter import run_program, run_rows
from pycontainer.init.machine import CODES
from pycontainer.init.table import Table
from pycontainer.linux import ffi
from pycontainer.linux.capabilities import raise_effective
from pycontainer.linux.libc import declare, syscall_number
from pycontainer.linux.memory import PROT_EXEC, PROT_READ, PROT_WRITE, Area, Spared
from pycontainer.linux.namespaces import CLONE_FILES, CLONE_NEWUSER
from pycontainer.linux.process import PR_SET_DUMPABLE, prctl

CLONE_PIDFD = 0x00001000
CLONE_PARENT = 0x00008000
CLONE_CLEAR_SIGHAND = 0x100000000  # 5.5: no handler of ours runs in the child
CLONE_INTO_CGROUP = 0x200000000
_CLONE_ARGS = struct.Struct(
    "11Q"
)  # struct clone_args: flags pidfd child_tid parent_tid exit_signal stack size tls set_tid n cgroup
_CODE_BYTES = 4096
_AREA_BYTES = 65536
_SIGCHLD = 17


class Bearer:
    """Clones children. `use_machine_code` False forces the portable way, for tests and foreign machines."""

    __slots__ = ("_area", "_birth", "_machine", "_spared", "_syscall")

    def __init__(self, machine: str, *, use_machine_code: bool = True) -> None:
        code = CODES.get(machine) if use_machine_code else None
        self._machine = machine
        self._syscall = declare("syscall", *([ffi.c_long] * 7), restype=ffi.c_long)
        # Each child keeps the rows it was born with, in its copy, and can never write to ours.
        self._area = Area(_AREA_BYTES, PROT_READ | PROT_WRITE | (PROT_EXEC if code else 0))
        self._birth = None
        if code:
            self._area.write(0, code.data)
            # It keeps the GIL: the child must not come back into Python to take it, and never does.
            self._birth = ffi.prototype(ffi.c_long, *([ffi.c_void_p] * 4))(self._area.address)
            self._spared = Spared(self._area)

    def runs_programs(self) -> bool:
        """Say whether a bridge ends with the execveat of its program; else the interpreter goes on from there."""
        return self._machine in CODES

    def bear(self, table: Table, *, flags: int, cgroup_fd: int, program_fd: int, owner: int) -> tuple[int, int]:
        """Clone one child with namespaces `flags` and return (pid, pidfd); it runs the bridge `table`, whose last row
        executes `program_fd` where we have machine code.

        With CLONE_PARENT it is a child of our parent, who is told of its end as of ours. A user namespace among the flags is
        `owner`'s, see `_ActingAs`; 0: of whoever we are. `cgroup_fd` is the child's cgroup v2 directory or -1. Raises
        OSError of the clone.
        """
        pidfd_word = ffi.c_int(-1)
        clone_flags = flags | CLONE_PIDFD | CLONE_CLEAR_SIGHAND | (CLONE_INTO_CGROUP if cgroup_fd >= 0 else 0)
        args = ffi.create_string_buffer(
            _CLONE_ARGS.pack(
                clone_flags,
                ffi.addressof(pidfd_word),
                0,
                0,
                0 if flags & CLONE_PARENT else _SIGCHLD,
                0,
                0,
                0,
                0,
                0,
                max(cgroup_fd, 0),
            ),
            _CLONE_ARGS.size,
        )
        result = -errno.ENOSYS
        with _ActingAs(owner if flags & CLONE_NEWUSER else 0):
            if self._birth is not None:
                report_at, rows_at = self._lay(table)
                with self._spared:
                    result = self._birth(ffi.addressof(args), _CLONE_ARGS.size, rows_at, report_at)
            # No machine code, a filter that knows no clone3, a kernel before 5.5.
            if result in (-errno.ENOSYS, -errno.EINVAL):
                result = self._bear_python(table, args, clone_flags, pidfd_word, program_fd)
        if result < 0:
            raise OSError(-result, f"clone3: {os.strerror(-result)}")
        return result, pidfd_word.value

    def bear_helper(self, table: Table) -> int:
        """Clone a helper in the pid namespace chosen by setns(2); it runs `table` and ends. The caller reaps the pid."""
        report_at, rows_at = self._lay(table)
        args = ffi.create_string_buffer(_CLONE_ARGS.pack(0, 0, 0, 0, _SIGCHLD, 0, 0, 0, 0, 0, 0), _CLONE_ARGS.size)
        if self._birth is not None:
            result = self._birth(ffi.addressof(args), _CLONE_ARGS.size, rows_at, report_at)
        else:
            result = self._syscall(syscall_number("clone3"), ffi.addressof(args), _CLONE_ARGS.size, 0, 0, 0, 0)
            if result == 0:
                run_rows(rows_at, report_at)
        if result < 0:
            raise OSError(ffi.get_errno() if result == -1 else -result, "clone3: helper")
        return int(result)

    def _lay(self, table: Table) -> tuple[int, int]:
        """Write the rows of `table` into our area; return the addresses of the report and of the first row."""
        image, report_at, rows_at = table.layout(b"", self._area.address + _CODE_BYTES)
        self._area.write(_CODE_BYTES, image)
        return report_at, rows_at

    def _bear_python(
        self, table: Table, args: ffi.Array[ffi.c_char], flags: int, pidfd_word: ffi.c_int, program_fd: int
    ) -> int:
        report_at, rows_at = self._lay(table)
        flags &= ~(CLONE_CLEAR_SIGHAND | CLONE_FILES)  # whatever Python closes in the child is the child's
        ffi.c_uint64.from_address(ffi.addressof(args)).value = flags
        result = self._syscall(syscall_number("clone3"), ffi.addressof(args), _CLONE_ARGS.size, 0, 0, 0, 0)
        if result == -1 and ffi.get_errno() == errno.ENOSYS and not flags & CLONE_INTO_CGROUP:
            # clone(2): the pidfd comes back through the third argument; the flags above 2^32 do not exist there
            result = self._syscall(syscall_number("clone"), flags | _SIGCHLD, 0, ffi.addressof(pidfd_word), 0, 0, 0)
        if result == 0:
            if self.runs_programs():
                run_rows(rows_at, report_at)
            run_rows(rows_at, report_at, count=len(table.rows))
            run_program(program_fd, self._machine)
        return int(result) if result != -1 else -ffi.get_errno()


class _ActingAs:
    """Have `uid` for the effective id in a `with` block, with all our capabilities; 0 changes nothing.

    What a user namespace uses of inotify, queued signals, timers, locked memory, message queues and namespaces counts for
    the effective id that made it as well. As host root's, 128 inotify instances in one container were the whole host's,
    root's included (kernel/ucount.c). The real and saved ids stay root's: nobody of that id may signal or trace us.
    """

    __slots__ = ("_uid",)

    def __init__(self, uid: int) -> None:
        self._uid = uid

    def __enter__(self) -> None:
        if self._uid:
            os.seteuid(self._uid)
            try:
                raise_effective()
            except OSError:
                self.__exit__()
                raise

    def __exit__(self, *_: object) -> None:
        if self._uid:
            os.seteuid(0)
            prctl(PR_SET_DUMPABLE, 0)  # a change of ids sets it anew, to fs.suid_dumpable

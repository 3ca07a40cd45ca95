"""The Python executor: runs the rows of a program in a forked child where no machine code is at hand.

Portable and readable; the sealed program is faster, smaller and safer. Both run the same bytes, so a test that passes
on one holds for the other. `--init` needs the reaper, which exists in machine code only.
"""

import os

from pycontainer.init.sealed import addresses
from pycontainer.init.table import (
    BASE,
    MODE_CHECK,
    MODE_EXACT,
    MODE_SEARCH,
    REAPER_NUMBER,
    ROW_BYTES,
)
from pycontainer.linux import ffi
from pycontainer.linux.libc import declare
from pycontainer.linux.memory import PROT_READ, PROT_WRITE, Area

_syscall = declare("syscall", *([ffi.c_long] * 7), restype=ffi.c_long)
_SEARCH_GOES_ON = (-2, -20, -13)  # ENOENT, ENOTDIR, EACCES


def run_program(memfd: int, machine: str) -> None:
    """Map the program in `memfd` at its address and run it. Returns never: it ends in execve or exits with 127."""
    image = os.pread(memfd, os.fstat(memfd).st_size, 0)
    try:
        area = Area(len(image), PROT_READ | PROT_WRITE, at=BASE)
    except OSError:
        os._exit(127)
    area.write(0, image)
    rows, report = addresses(image, machine)
    run_rows(rows, report)


def run_rows(rows_at: int, report_at: int, count: int = -1) -> None:
    """Run rows from address `rows_at`, exactly as the machine code does; a failure is reported and the process exits.

    With `count` it returns after as many rows; without, the last row is one that does not come back.
    """
    at = rows_at
    end = rows_at + count * ROW_BYTES if count >= 0 else -1
    while at != end:
        row = (ffi.c_int64 * 10).from_address(at)
        if row[0] == REAPER_NUMBER:
            _fail(at, -38, report_at)  # ENOSYS
        result = _syscall(*row[0:7])
        if result == -1:
            result = -ffi.get_errno()
        ffi.c_int64.from_address(row[7]).value = result
        mode, failed = row[8], -4095 <= result < 0
        if (
            (mode == MODE_EXACT and result != row[9])
            or (mode == MODE_CHECK and failed)
            or (mode == MODE_SEARCH and failed and result not in _SEARCH_GOES_ON)
        ):
            _fail(at, result, report_at)
        at += ROW_BYTES


def _fail(row_at: int, result: int, report_at: int) -> None:
    ffi.c_int64.from_address(report_at).value = row_at
    ffi.c_int64.from_address(report_at + 8).value = result
    descriptor, length = (ffi.c_int64 * 2).from_address(report_at - 16)[0:2]
    os.write(descriptor, ffi.string_at(report_at, length))
    os._exit(127)

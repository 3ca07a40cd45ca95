"""When the steps of a child's table were over: rows that ask the clock, and one that tells, for a start that is traced.

A table has no Python that could look at a clock, so it gets rows of clock_gettime, one where a step begins and one where the
last ends, into memory that they share. One more row writes that to the report, before a filter is loaded that might forbid
it; so what is told of in rows ends there, and the rest is over when the report closes, at execve.

    report    any number of {0, count, count timespecs}, then nothing, or that a row failed: an address, which is not 0
"""

from __future__ import annotations

import struct

from pycontainer.init.table import MODE_IGNORE, REAPER_NUMBER, At, Table
from pycontainer.linux.libc import syscall_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontainer.trace import Recorder

_CLOCK_MONOTONIC = 1
_HEAD = struct.Struct("<qq")
_TIMESPEC_BYTES = 16
_LAST = ("seccomp", "execve", "sealed program")  # a filter from here on, or another program


def add(table: Table) -> list[str]:
    """Have `table` tell when each of its steps was over; return their names."""
    rows, table.rows = table.rows, []
    end = next(
        (at for at, row in enumerate(rows) if row.step in _LAST or row.number == REAPER_NUMBER), len(rows)
    )  # what follows the reaper is another process
    begins = [at for at in range(end) if at == 0 or rows[at].step != rows[at - 1].step]
    count = len(begins) + 1
    memory = bytearray(_HEAD.pack(0, count)) + bytearray(count * _TIMESPEC_BYTES)

    def ask(number: int) -> None:
        place = At(memory, _HEAD.size + number * _TIMESPEC_BYTES)
        table.call("times", syscall_number("clock_gettime"), _CLOCK_MONOTONIC, place, mode=MODE_IGNORE)

    for number, begin in enumerate(begins):
        ask(number)
        table.rows += rows[begin : (*begins, end)[number + 1]]
    ask(len(begins))
    table.call("times", syscall_number("write"), table.report_fd, At(memory, 0), len(memory), mode=MODE_IGNORE)
    table.rows += rows[end:]
    return [rows[at].step for at in begins]


def record(recorder: Recorder, steps: list[str], stamps: list[int]) -> None:
    """Record what `add` named, with the times that the table then told."""
    for name, begin_ns, end_ns in zip(steps, stamps, stamps[1:], strict=False):
        recorder.add(name, begin_ns, end_ns, process="init")


def split(report: bytes) -> tuple[list[list[int]], bytes]:
    """Return the times, in nanoseconds, of each table that told some, and what else the report says."""
    told = []
    while len(report) >= _HEAD.size:
        zero, count = _HEAD.unpack_from(report)
        length = _HEAD.size + count * _TIMESPEC_BYTES
        if zero or not count > 0 or len(report) < length:
            break
        stamps = struct.iter_unpack("<qq", report[_HEAD.size : length])
        told.append([seconds * 1_000_000_000 + nanoseconds for seconds, nanoseconds in stamps])
        report = report[length:]
    return told, report

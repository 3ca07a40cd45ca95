"""The rows that ask the clock: where they stand, what they tell, and that the bytes run."""

import os
import struct
import time

import pytest

from pycontainer.init import times
from pycontainer.init.interpreter import run_rows
from pycontainer.init.table import BASE, REAPER_NUMBER, Table, call_by_name, describe_rows, read_report
from pycontainer.linux.libc import syscall_number
from pycontainer.linux.memory import PROT_READ, PROT_WRITE, Area


def table_of(*steps: str) -> Table:
    table = Table(3)
    for step in steps:
        call_by_name(table, step, "umask", 0o22, mode=1)
    return table


def steps_of(table: Table) -> list[str]:
    return [row.step for row in table.rows]


@pytest.mark.parametrize("last", ["seccomp", "execve", "sealed program"])
def test_a_clock_between_two_steps_and_none_behind_a_filter(last: str) -> None:
    table = table_of("user", "ids", "ids", "user", last, "signals", "execve")
    assert times.add(table) == ["user", "ids", "user"]
    t = "times"
    assert steps_of(table) == [t, "user", t, "ids", "ids", t, "user", t, t, last, "signals", "execve"]
    assert table.rows[8].number == syscall_number("write")


def test_what_follows_the_reaper_is_another_process() -> None:
    table = table_of("user")
    table.call("reaper", REAPER_NUMBER)
    call_by_name(table, "execve", "umask", 0)
    assert times.add(table) == ["user"]
    assert steps_of(table) == ["times", "user", "times", "times", "reaper", "execve"]


def test_a_table_that_ends_without_an_execve() -> None:
    table = table_of("user")
    assert times.add(table) == ["user"]
    assert steps_of(table) == ["times", "user", "times", "times"]


def run(table: Table) -> bytes:
    """Run the rows of `table` in a child; return its report."""
    read_fd, table.report_fd = os.pipe()
    for row in table.rows:
        if row.step == "times" and row.number == syscall_number("write"):
            row.arguments = (table.report_fd, *row.arguments[1:])
    pid = os.fork()
    if pid == 0:
        area = Area(65536, PROT_READ | PROT_WRITE)
        image, report_at, rows_at = table.layout(b"", area.address)
        area.write(0, image)
        run_rows(rows_at, report_at, count=len(table.rows))
        os._exit(0)
    os.close(table.report_fd)
    with open(read_fd, "rb") as file:
        report = file.read()
    os.waitpid(pid, 0)
    return report


def test_the_rows_tell_the_time() -> None:
    table = table_of("user", "ids")
    assert times.add(table) == ["user", "ids"]
    before_ns = time.monotonic_ns()
    told, rest = times.split(run(table))
    assert rest == b"" and len(told) == 1 and len(told[0]) == 3
    assert before_ns <= told[0][0] <= told[0][1] <= told[0][2] <= time.monotonic_ns()


def test_a_failure_behind_the_times_is_told_as_ever() -> None:
    table = table_of("user")
    call_by_name(table, "execve", "chdir", b"/no/such", path="/no/such")
    times.add(table)
    told, rest = times.split(run(table))
    assert len(told) == 1
    (address,) = struct.unpack_from("<q", rest)
    rows = describe_rows(table)
    failed = read_report(rest, rows, address - 80 * (len(rows) - 1))
    assert (failed.step, failed.errno, failed.path) == ("execve", 2, "/no/such")


def test_split() -> None:
    one = struct.pack("<qq", 0, 1) + struct.pack("<qq", 2, 5)
    two = struct.pack("<qq", 0, 2) + struct.pack("<qqqq", 3, 1, 3, 2)
    failure = struct.pack("<qqq", BASE + 80, -2, 0)
    assert times.split(b"") == ([], b"")
    assert times.split(one + two) == ([[2_000_000_005], [3_000_000_001, 3_000_000_002]], b"")
    assert times.split(one + failure) == ([[2_000_000_005]], failure)
    assert times.split(failure) == ([], failure)
    for damaged in (one[:-1], struct.pack("<qq", 0, -1), struct.pack("<qq", 0, 1 << 40), b"\0" * 15, b"\0" * 64):
        assert times.split(damaged) == ([], damaged)

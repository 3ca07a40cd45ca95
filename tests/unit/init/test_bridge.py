"""The rows between the clone and the sealed program: what the child keeps of the monitor's descriptors, and when."""

from pycontainer.init.child import bridge
from pycontainer.init.table import Table
from pycontainer.linux.libc import syscall_number

HIGHEST = 0xFFFFFFFF


def rows(*, program_fd: int | None = 30, **given: int) -> Table:
    table = Table(9)
    fds = {"go_read_fd": 5, "go_write_fd": 6, "report_fd": 9, "join_fd": -1, "procfs_fd": -1} | given
    bridge(table, stdio_fds=(0, 12, 13), program_fd=program_fd, open_files=(64, 64), doors=(20, 21), **fds)
    return table


def closed(table: Table) -> list[tuple[object, object]]:
    return [(row.arguments[0], row.arguments[1]) for row in table.rows if row.number == syscall_number("close_range")]


def test_all_is_closed_but_what_is_needed_while_the_child_waits() -> None:
    table = rows()
    assert closed(table) == [(3, 4), (6, 8), (10, 11), (14, 29), (31, HIGHEST)]
    assert closed(rows(join_fd=31, procfs_fd=3)) == [(4, 4), (6, 8), (10, 11), (14, 29), (32, HIGHEST)]
    numbers = [row.number for row in table.rows]
    doors = max(at for at, number in enumerate(numbers) if number == syscall_number("write"))
    first, last = (at for at in (numbers.index(syscall_number("close_range")), numbers.index(syscall_number("read"))))
    assert doors < first < last  # not before it has gone through the doors, and before it waits


def test_an_interpreter_that_goes_on_keeps_what_it_has() -> None:
    assert closed(rows(program_fd=None)) == []

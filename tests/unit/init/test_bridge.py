"""The rows between the clone and the sealed program: what the child keeps of the monitor's descriptors, and when."""

from pycontainer.init.child import FIRST_FREE_FD, GO_FD, REPORT_FD, TOLD_FD, bridge
from pycontainer.init.table import Table
from pycontainer.linux.descriptors import CLOSE_RANGE_UNSHARE, LAST_FD
from pycontainer.linux.libc import syscall_number


def rows(*, go_write_fd: int = -1, executes: bool = True) -> Table:
    table = Table(REPORT_FD)
    bridge(table, go_write_fd=go_write_fd, joins=False, executes=executes, open_files=(64, 64), doors=(20, 21))
    return table


def calls(table: Table, name: str) -> list[tuple[int, tuple[object, ...]]]:
    return [(at, row.arguments) for at, row in enumerate(table.rows) if row.number == syscall_number(name)]


def test_it_has_descriptors_of_its_own_after_the_doors_and_before_it_waits() -> None:
    table = rows()
    [(closed, arguments)] = calls(table, "close_range")
    assert arguments == (FIRST_FREE_FD, LAST_FD, CLOSE_RANGE_UNSHARE)
    writes = calls(table, "write")
    assert [row[0] for _, row in writes] == [20, 21, TOLD_FD]
    [(waits, (waits_at, *_))] = calls(table, "read")
    assert waits_at == GO_FD
    assert writes[1][0] < closed < writes[2][0] < waits
    assert calls(table, "close") == []  # it would be the monitor's


def test_a_copy_of_all_descriptors_is_closed_while_it_waits() -> None:
    table = rows(go_write_fd=33)
    assert [row[0] for _, row in calls(table, "close")] == [33]
    [(closed, arguments)] = calls(table, "close_range")
    assert arguments == (FIRST_FREE_FD, LAST_FD, 0)
    assert closed < calls(table, "read")[0][0]
    assert [row[0] for _, row in calls(table, "write")] == [20, 21]


def test_an_interpreter_that_goes_on_keeps_what_it_has() -> None:
    assert calls(rows(go_write_fd=33, executes=False), "close_range") == []

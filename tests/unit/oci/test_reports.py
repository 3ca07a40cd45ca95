"""What a child says, in whatever pieces it comes."""

import os
import struct
import threading

from pycontainer.init.table import MODE_SEARCH, Table, describe_rows
from pycontainer.oci import reports, state


def unexpected() -> None:
    raise AssertionError("there is no listener")


def test_a_failure_that_no_pipe_takes_in_one_piece() -> None:
    """A PATH of a thousand directories: each attempt has its word in the report. What does not fit was `internal error`."""
    table = Table(3)
    for number in range(1000):
        table.call_keeping("execve", 59, b"x", mode=MODE_SEARCH, path=f"/d{number}/x")
    table.call("execve", 59, b"x", path="/last/x")
    row_at = 4096 + 80 * 1000
    said = struct.pack("<qq", row_at, -2) + struct.pack("<q", -2) * 998 + struct.pack("<qq", -13, -2)
    read_fd, write_fd = os.pipe()

    def say() -> None:
        for start in range(0, len(said), 4096):
            os.write(write_fd, said[start : start + 4096])
        os.close(write_fd)

    teller = threading.Thread(target=say)
    teller.start()
    report = reports.read(read_fd, unexpected)
    teller.join()
    os.close(read_fd)
    assert report == said
    assert 'exec: "/d998/x": permission denied' in reports.failure(describe_rows(table), 4096, report).message


def test_a_listener_is_told_of_before_the_rest() -> None:
    """The child's next call may be one that the listener answers: it is handed over before we wait on."""
    for together in (True, False):
        read_fd, write_fd = os.pipe()
        os.write(write_fd, state.LISTENS + state.PARKED if together else state.LISTENS)
        handed: list[int] = []

        def hand_over(handed: list[int] = handed, fd: int = write_fd, late: bool = not together) -> None:
            handed.append(1)
            if late:
                os.write(fd, state.PARKED)

        assert reports.read(read_fd, hand_over) == state.PARKED and handed == [1]
        os.close(read_fd)
        os.close(write_fd)


def test_a_report_is_not_taken_for_a_listener() -> None:
    assert ord(state.LISTENS) % 8 != 0

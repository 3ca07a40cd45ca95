"""What a child says when one of its rows fails, in words; kept for `start`, which did not make the rows.

The words are what engines look for: podman answers 127 to "no such file or directory" and 126 to "permission denied".
"""

import os

from pycontainer.errors import StartFailed
from pycontainer.init.table import ROW_BYTES, Table, describe_rows, read_report
from pycontainer.oci import text
from pycontainer.oci.state import LISTENS, PARKED, write_whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pycontainer.oci.state import State

FAILED = "unable to start container process"
_FILE = "rows.json"


def read(fd: int, at_listener: "Callable[[], None]") -> bytes:
    """Return what a child says until it waits for us, executes its program, or ends.

    `at_listener` is called when its filter has a listener, which somebody else has to answer for the child to go on.
    """
    report = os.read(fd, 4096)
    if report[:1] == LISTENS:
        at_listener()
        report = report[1:] or os.read(fd, 4096)
    if report and report != PARKED:  # a failure; with a long PATH it comes in more than one piece
        while more := os.read(fd, 65536):
            report += more
    return report


def keep(state: "State", table: Table, rows_at: int) -> None:
    """Keep what the rows after the parking mean, and where they lie."""
    described = describe_rows(table)
    parked = max((number for number, row in enumerate(described) if row[0] == "park"), default=len(described))
    kept = text.dumps([rows_at + parked * ROW_BYTES, described[parked:]]).encode()
    write_whole(f"{state.directory}/{_FILE}", kept)


def explain(state: "State", report: bytes) -> StartFailed:
    """Turn the report of a child that was started into words."""
    with open(f"{state.directory}/{_FILE}", "rb") as file:
        rows_at, described = text.loads(file.read(), _FILE)  # type: ignore[misc]  # written by `keep`
    return failure([tuple(row) for row in described], rows_at, report)  # type: ignore[has-type]


def failure(described: "list[tuple[str, str, int, int]]", rows_at: int, report: bytes) -> StartFailed:
    """Turn the report of a child that failed, or the silence of one that is gone, into words."""
    if not report:
        return StartFailed(f"{FAILED}: it was killed before it was ready", step="park")
    failed = read_report(report, described, rows_at)
    why = os.strerror(failed.errno).lower()
    if failed.step == "execve":
        return StartFailed(f'{FAILED}: exec: "{failed.path}": {why}', step="execve", errno=failed.errno)
    what = f"{failed.step} '{failed.path}'" if failed.path else failed.step
    return StartFailed(f"{FAILED}: {what}: {why}", step=failed.step, errno=failed.errno)

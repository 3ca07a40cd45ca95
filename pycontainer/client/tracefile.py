"""The file of a trace: what this process did, and what the others did for it, in Chrome's format.

One object {"traceEvents": [..]}, which https://ui.perfetto.dev and chrome://tracing open: a complete event ("ph": "X") for
each span, with its begin and its length in microseconds, and names for the processes ("ph": "M"). See "Trace Event Format"
of the Chromium project; docs/tracing.md says what the spans mean.

The processes bear numbers of ours, not their pids. A "thread" is a row of spans: where two overlap without one being within
the other, as those of several requests at once, the later one gets the next row.
"""

import json
import os
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from pycontainer.errors import InvalidInput, PycontainerError
from pycontainer.trace import PROCESSES, Recorder, Span, span

if TYPE_CHECKING:
    from pycontainer.client.connection import Pool


class Trace:
    """What one client did, and had done, on its way to a file."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Begin; `write` makes the file."""
        self._path = os.path.abspath(path)  # a caller may go elsewhere meanwhile
        self._began_ns = self._since_ns = time.monotonic_ns()
        self._tokens: list[str] = []
        self.recorder = Recorder("client")

    def began(self, at_ns: int) -> None:
        """Say that this process is older than this object."""
        self._began_ns = self._since_ns = at_ns

    def step(self, name: str, end_ns: int | None = None) -> None:
        """Say what has just been done, or had been at `end_ns`, since the step before it."""
        end_ns = end_ns or time.monotonic_ns()
        self.recorder.add(name, self._since_ns, end_ns)
        self._since_ns = end_ns

    def take(self, told: object) -> None:
        """Take in what a reply says of the others."""
        if not isinstance(told, dict):
            return
        self.recorder.add_told(told.get("spans"))
        if isinstance(lost := told.get("lost"), int):
            self.recorder.lost += lost
        if token := told.get("token"):
            self._tokens.append(str(token))

    def ask(self, pool: "Pool") -> None:
        """Ask how the runs ended that were begun meanwhile; no supervisor is started for that."""
        tokens, self._tokens = self._tokens, []
        for token in tokens:
            with span("ask how the run ended", self.recorder):
                try:
                    self.take(pool.request("trace", {"token": token}, start=False))
                except (PycontainerError, OSError):  # its supervisor is no more, or newer runs took the place
                    continue

    def write(self, title: str) -> None:
        """Write all to the file, `title` being what it all was; InvalidInput if that cannot be."""
        self.recorder.add(title, self._began_ns, time.monotonic_ns())
        self.recorder.close()
        document = {
            "traceEvents": [*events(self.recorder.spans)],
            "displayTimeUnit": "ms",
            "otherData": {"clock": "CLOCK_MONOTONIC", "lost": self.recorder.lost},
        }
        try:
            _write(self._path, json.dumps(document, indent=0).encode() + b"\n")
        except OSError as error:
            raise InvalidInput(
                f"cannot write the trace to '{self._path}': {error.strerror or error}", field="trace"
            ) from error


def _write(path: str, data: bytes) -> None:
    """Replace the file `path`, so that who reads it finds one that is whole; into a pipe or a device just write."""
    if os.path.exists(path) and not os.path.isfile(path):  # a rename would put a file in the place of /dev/null
        with open(path, "wb") as file:
            file.write(data)
        return
    path = os.path.realpath(path)
    temporary = f"{path}.{os.urandom(4).hex()}.new"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        with open(fd, "wb") as file:
            file.write(data)
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def events(spans: Iterable[Span]) -> list[dict[str, Any]]:
    """Return the events of a trace file: the names of the processes that appear, then the spans by their begin."""
    found: list[dict[str, Any]] = []
    rows: dict[
        str, list[list[int]]
    ] = {}  # of each process, what each row has open: when that ends, the outermost first
    for process, name, begin_ns, end_ns in sorted(spans, key=lambda each: (each[2], -each[3])):
        row = _row(rows.setdefault(process, []), begin_ns, end_ns)
        found.append(
            {
                "name": name,
                "cat": process,
                "ph": "X",
                "ts": begin_ns / 1000,
                "dur": (end_ns - begin_ns) / 1000,
                "pid": PROCESSES.index(process) + 1,
                "tid": row + 1,
            }
        )
    return [*_names(rows), *found]


def _row(rows: list[list[int]], begin_ns: int, end_ns: int) -> int:
    """Return the first row in which a span lies within what is open there, and open it."""
    for number, open_ends in enumerate(rows):
        while open_ends and open_ends[-1] <= begin_ns:
            open_ends.pop()
        if not open_ends or end_ns <= open_ends[-1]:
            open_ends.append(end_ns)
            return number
    rows.append([end_ns])
    return len(rows) - 1


def _names(rows: dict[str, list[list[int]]]) -> Iterable[dict[str, Any]]:
    for number, process in enumerate(PROCESSES, 1):
        if process not in rows:
            continue
        yield _metadata("process_name", number, 0, name=process)
        yield _metadata("process_sort_index", number, 0, sort_index=number)
        for row in range(1, len(rows[process]) + 1):
            yield _metadata("thread_name", number, row, name=process if row == 1 else f"{process}, beside it")


def _metadata(what: str, pid: int, tid: int, **arguments: object) -> dict[str, Any]:
    return {"name": what, "ph": "M", "pid": pid, "tid": tid, "args": arguments}


def process_began_ns(at_ns: int, computed_ns: int) -> int:
    """Return when this process began, by CLOCK_MONOTONIC; by `at_ns` it had used `computed_ns` of a processor.

    The kernel tells the begin in ticks of 10 ms. Within that tick the processor's time says it better: an interpreter that
    starts waits for nothing but, perhaps, a disk or a processor. What a fork remembers may be older than it is.
    """
    with open("/proc/self/stat", "rb") as file:
        ticks = int(file.read().rpartition(b")")[2].split()[19])
    tick_ns = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    slept_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.monotonic_ns()  # the host, since it booted
    earliest_ns = ticks * tick_ns - slept_ns
    if at_ns < earliest_ns:
        return earliest_ns
    return min(max(at_ns - computed_ns, earliest_ns), earliest_ns + tick_ns, at_ns)

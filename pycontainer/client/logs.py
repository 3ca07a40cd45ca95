"""Reading the log files of a container, over their rotations, without losing or repeating a line.

The monitor appends to `log`; at its size limit it renames log.1 to log.2, log to log.1, and makes a new `log`
(paths.py). Lines are those of the CRI: `2026-11-23T18:00:00.123456789Z stdout F text`, where P instead of F says
that the line goes on in the next record of the same stream.

A reader keeps the file it is in open, so it may be renamed or removed meanwhile. Names are opened from the newest to
the oldest, against the direction of the renames: a rotation in between shows a file twice, but hides none. Who may not open
them (the files are root's, an operator may be of the group) is handed them open by the supervisor.
"""

import os
import re
import time
from collections import deque
from collections.abc import Callable, Iterator

MAX_ROTATED = 9  # how many older files are looked for
MAX_LINE_BYTES = 1 << 18  # the monitor writes what it reads at once, 64 KiB, and a head; more is no log
_BLOCK_BYTES = 1 << 16
_HEAD = re.compile(
    rb"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{9}Z) (stdout|stderr) ([FP]) ", re.ASCII
)
_IDLE_MSECS_MIN, _IDLE_MSECS_MAX = 10, 200


class LogLine:
    """One record: `time` in RFC 3339 (UTC, nanoseconds), `stream` stdout or stderr, `data` with its newline if any."""

    __slots__ = ("time", "stream", "data")

    def __init__(self, time: str, stream: str, data: bytes) -> None:
        self.time = time
        self.stream = stream
        self.data = data

    @property
    def text(self) -> str:
        """The data as text, without the newline; bytes that are not UTF-8 become U+FFFD."""
        return self.data.decode(errors="replace").removesuffix("\n")

    @property
    def is_whole(self) -> bool:
        """Tell whether the line ends here; otherwise the next record of the stream continues it."""
        return self.data.endswith(b"\n")

    def __repr__(self) -> str:
        return f"LogLine({self.time!r}, {self.stream!r}, {self.data!r})"


def parse_line(line: bytes) -> LogLine | None:
    """Parse one line of a log file (without its newline); None for what a crash has torn."""
    head = _HEAD.match(line)
    if head is None or len(line) > MAX_LINE_BYTES:
        return None
    time, stream, tag = head.groups()
    return LogLine(time.decode(), stream.decode(), line[head.end() :] + (b"\n" if tag == b"F" else b""))


def format_time(epoch_seconds: float) -> str:
    """Write a time as log lines do, so that the two compare as strings."""
    seconds = int(epoch_seconds // 1)
    nanoseconds = int((epoch_seconds - seconds) * 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{nanoseconds:09d}Z"


class LogReader:
    """A position in the log whose newest file is `path`; starts before the oldest line there is."""

    def __init__(self, path: str, ask: Callable[[], list[int]] | None = None) -> None:
        """`ask` returns the log's files as descriptors, now ours, newest first: for who cannot open them by name."""
        self._path, self._ask = path, ask
        self._fds = self._open_files()  # the file we are in, then the newer ones
        self._rest = b""

    def close(self) -> None:
        for fd in self._fds:
            os.close(fd)
        self._fds = []

    def read(self) -> Iterator[LogLine]:
        """Yield every line from the position to the end there is now."""
        if not self._fds:
            self._fds = self._open_files()
        while self._fds:
            yield from self._read_file()
            if len(self._fds) < 2:
                self._find_newer()
            if len(self._fds) < 2:
                return
            yield from self._read_file()  # what was appended before the writer went on to the newer file
            os.close(self._fds.pop(0))
            self._rest = b""

    def _read_file(self) -> Iterator[LogLine]:
        while True:
            block = os.read(self._fds[0], _BLOCK_BYTES)
            if not block:
                return
            *lines, rest = (self._rest + block).split(b"\n")
            self._rest = rest[: MAX_LINE_BYTES + 1]  # of a line that never ends, enough to know it by
            for line in lines:
                record = parse_line(line)
                if record is not None:
                    yield record

    def _find_newer(self) -> None:
        """Open what came after the file we are in; if that was removed meanwhile, all there is came after it."""
        current_fd = self._fds[0]
        try:
            if self._ask is None and os.path.samestat(os.stat(self._path), os.fstat(current_fd)):
                return
        except FileNotFoundError:  # between the renames and the new file
            return
        found = self._open_files()
        for index, fd in enumerate(found):
            if os.path.sameopenfile(fd, current_fd):
                for known_fd in found[: index + 1]:
                    os.close(known_fd)
                found = found[index + 1 :]
                break
        self._fds = [current_fd, *found]

    def _open_files(self) -> list[int]:
        """Open all files of the log, oldest first, each once."""
        fds: list[int] = []
        for fd in self._ask() if self._ask is not None else open_by_name(self._path):
            if fds and os.path.sameopenfile(fd, fds[-1]):
                os.close(fd)
            else:
                fds.append(fd)
        fds.reverse()
        return fds


def open_by_name(path: str) -> Iterator[int]:
    """Open the files of the log whose newest one is `path`, from that to the oldest."""
    for name in [path, *(f"{path}.{number}" for number in range(1, MAX_ROTATED + 1))]:
        try:
            yield os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            continue


def last_lines(records: Iterator[LogLine], count: int) -> list[LogLine]:
    """Return the records of the last `count` lines; an unfinished line at the end counts as one."""
    kept: deque[LogLine] = deque()
    lines = 0  # whole ones
    for record in records:
        kept.append(record)
        lines += record.is_whole
        if lines + (not record.is_whole) > count:
            while kept and not kept.popleft().is_whole:
                pass
            lines = max(0, lines - 1)
    return list(kept)


def follow(reader: LogReader, has_ended: Callable[[int], bool]) -> Iterator[LogLine]:
    """Yield lines as they come, until `has_ended` says so and all are read.

    `has_ended(msecs)` waits at most so long for the container's end, and returns whether it came.
    """
    msecs = _IDLE_MSECS_MIN
    while True:
        got = False
        for record in reader.read():
            got = True
            yield record
        msecs = _IDLE_MSECS_MIN if got else min(msecs * 2, _IDLE_MSECS_MAX)
        if has_ended(msecs):
            yield from reader.read()
            return

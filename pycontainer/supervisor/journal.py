"""The events on disk: a line of JSON each, appended by one write(2), so that nothing is lost when we are killed.

    STATE/events/0000000000000001.jsonl     named by the number of its first event
                 0000000000004711.jsonl     the newest is appended to, up to 1 MiB; the newest 16 are kept

A power cut may take what was not synced yet and leave a line that is torn, or zeros: what is behind the last whole line of
the newest file is cut off. Numbers only grow. They go on where they ended if the last event is that we left in peace; else
more may have been given out than the disk knows, and the next one is beyond the next million, so that no reader's cursor
ever stands for another event. Files that others could have written are not read.
"""

import contextlib
import errno
import json
import os
import re
from collections.abc import Callable, Iterable
from typing import Any

from pycontainer.record import read_own

Event = dict[str, Any]

SEGMENT_BYTES, SEGMENTS, MAX_LINE_BYTES = 1 << 20, 16, 1 << 16
LAST_WORD = "supervisor-stop"  # the type of the event after which nothing was given out
_STRETCHED_BYTES = 4 * SEGMENT_BYTES  # of a file that no other can follow: there are no inodes left
_MAX_BYTES = _STRETCHED_BYTES + MAX_LINE_BYTES
_JUMP = 1_000_000
MAX_TRUSTED_SEQ = 10**14  # a damaged digit must not lead to where numbers end
_NAME = re.compile(r"([0-9]{16})\.jsonl", re.ASCII)
_HEAD = re.compile(rb'\{"seq":([0-9]{1,15}),"time":[0-9]{1,12}(?:\.[0-9]{1,9})?,"type":"[^"\\]{1,64}"')
_SEQ = re.compile(rb'^\{"seq":([0-9]{1,15}),', re.ASCII | re.MULTILINE)
_encode = json.JSONEncoder(separators=(",", ":"), default=str).encode


def to_line(event: Event) -> bytes:
    """Return an event as its line; what would be longer than a line may be has its texts cut."""
    line = _encode(event).encode() + b"\n"
    if len(line) > MAX_LINE_BYTES:
        short = {key: f"{value[:2000]}..." if _is_long(value) else value for key, value in event.items()}
        line = _encode(short).encode() + b"\n"
    if len(line) > MAX_LINE_BYTES:
        kept = {key: value for key, value in event.items() if isinstance(value, int | float) or len(str(value)) < 300}
        line = _encode({**kept, "detail": "too long to be kept"}).encode() + b"\n"
    return line


def _is_long(value: object) -> bool:
    return isinstance(value, str) and len(value) > 2000


def from_line(line: bytes) -> Event | None:
    """Return the event of a line; None for what is none of ours, torn or damaged."""
    head = _HEAD.match(line)
    if head is None or len(line) > MAX_LINE_BYTES:
        return None
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return event if event["seq"] == int(head[1]) and isinstance(event["type"], str) else None


class Journal:
    """The files of one world. One thread appends; any number read, each its own pages."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._path, self._size, self._fd = "", 0, -1
        self._retired: list[int] = []  # descriptors of files that are full, and perhaps not on the disk yet
        self._is_dirty = self._has_new_name = False

    def open(self) -> tuple[int, str]:
        """Find the end of what there is; return the number for the next event, and what was damaged, in a sentence."""
        firsts = self.firsts()
        if not firsts:
            return 1, ""
        path = self._path_of(firsts[-1])
        try:
            data = read_own(path, _MAX_BYTES)
        except (OSError, ValueError) as error:
            self._path, self._size = "", 0  # it stays as it is; the next event begins another
            return _beyond(firsts[-1]), f"'{path}' cannot be read: {getattr(error, 'strerror', None) or error}"
        size, last = _last_whole(data)
        self._path, self._size = path, size
        lost = len(data) - size
        notice = f"'{path}': {lost} bytes behind the last whole event were damaged, and cut off" if lost else ""
        # A damaged number in the midst may be higher than the last one; readers go by the highest that they have seen.
        highest = max(
            (seq for seq in map(int, _SEQ.findall(data, 0, size)) if seq <= MAX_TRUSTED_SEQ), default=firsts[-1]
        )
        if last is not None and last["type"] == LAST_WORD and not lost and last["seq"] == highest:
            return highest + 1, notice
        return _beyond(highest), notice

    def append(self, seq: int, line: bytes) -> None:
        """Append one line. Raises OSError when it could not be kept; then nothing of it is there."""
        if not self._path or self._size >= SEGMENT_BYTES:
            self._begin(seq)
        if self._fd < 0:
            self._reopen()
        written = os.write(self._fd, line)
        if written < len(line):
            fd = self._fd
            self._retire()  # opened again, what is behind `_size` is cut off, if that fails now
            os.ftruncate(fd, self._size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self._path)
        self._size += written
        self._is_dirty = True

    def unsynced(self) -> list[int]:
        """Return a descriptor of each file and directory that has to reach the disk, for `sync`; none if all has."""
        fds, self._retired = self._retired, []
        if self._is_dirty and self._fd >= 0:
            fds.append(os.dup(self._fd))
            self._is_dirty = False
        if self._has_new_name:
            fds.append(os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
            self._has_new_name = False
        return fds

    def close(self) -> None:
        """Bring everything to the disk and close."""
        self._retire()
        sync(self.unsynced())

    # -- reading -------------------------------------------------------------------------------------------------------

    def firsts(self) -> list[int]:
        """Return the number in the name of each file, oldest first. None of its events has a lower one."""
        try:
            names = os.listdir(self._directory)
        except FileNotFoundError:
            return []
        numbers = (int(match[1]) for match in map(_NAME.fullmatch, names) if match)
        return sorted(number for number in numbers if number <= MAX_TRUSTED_SEQ)

    def page(self, first: int, after: int, upto: int, is_wanted: Callable[[bytes], bool]) -> list[Event] | None:
        """Return the events of one file with `after` < seq <= `upto` whose line is wanted; None if it is gone or damaged.

        May run in a thread beside appends: what is appended meanwhile is beyond `upto`.
        """
        try:
            data = read_own(self._path_of(first), _MAX_BYTES)
        except (OSError, ValueError):
            return None
        events = []
        for line in data.split(b"\n")[:-1]:
            head = _HEAD.match(line)
            if head is None or not after < int(head[1]) <= min(upto, MAX_TRUSTED_SEQ) or not is_wanted(line):
                continue
            event = from_line(line)
            if event is not None:
                after = event["seq"]  # in order, whatever somebody did to the file
                events.append(event)
        return events

    # -- files ---------------------------------------------------------------------------------------------------------

    def _path_of(self, first: int) -> str:
        return f"{self._directory}/{first:016d}.jsonl"

    def _begin(self, seq: int) -> None:
        """Begin the next file; where that cannot be, a file that has room for more goes on."""
        path = self._path_of(seq)
        try:
            os.makedirs(self._directory, mode=0o700, exist_ok=True)
            for first in self.firsts()[: 1 - SEGMENTS]:  # first: the new one may need just that inode
                os.unlink(self._path_of(first))
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(path, flags, 0o600)
        except OSError:
            if not self._path or self._size >= _STRETCHED_BYTES:
                raise
            return
        self._retire()
        self._path, self._size, self._fd, self._has_new_name = path, 0, fd, True

    def _reopen(self) -> None:
        """Open the file that is appended to, and cut off what is behind its last whole line."""
        fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if os.fstat(fd).st_size != self._size:
                os.ftruncate(fd, self._size)
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd

    def _retire(self) -> None:
        if self._fd >= 0:
            self._retired.append(self._fd)
            self._fd, self._is_dirty = -1, False


def sync(fds: Iterable[int]) -> None:
    """Bring files to the disk and close them; the first OSError is raised after all were tried."""
    with contextlib.ExitStack() as stack:
        for fd in fds:
            stack.callback(_sync_one, fd)


def _sync_one(fd: int) -> None:
    try:
        os.fdatasync(fd)
    finally:
        os.close(fd)


def _last_whole(data: bytes) -> tuple[int, Event | None]:
    """Return where the last whole line ends, and its event; 0 and None if there is none."""
    end = data.rfind(b"\n") + 1
    while end:
        begin = data.rfind(b"\n", 0, end - 1) + 1
        event = from_line(data[begin : end - 1])
        if event is not None and event["seq"] <= MAX_TRUSTED_SEQ:
            return end, event
        end = begin
    return 0, None


def _beyond(seq: int) -> int:
    """Return a number that nobody can have seen, if at most a million events after `seq` were lost."""
    return (seq // _JUMP + 2) * _JUMP

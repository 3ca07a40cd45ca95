"""One container's log: the lines of both streams, timestamped, rotated by size, readable while written.

A line is `2026-11-23T18:00:00.123456789Z stdout F text`, as the CRI of Kubernetes has it: F ends with the newline that was
in the output, P does not (more of the same line follows). `log` is the newest file, `log.1` and `log.2` are older.
"""

import os
import time

DEFAULT_MAX_BYTES = 10 * 1024 * 1024
DEFAULT_FILES = 3


class LogFile:
    """Appends to `ID/log` beneath a directory descriptor."""

    __slots__ = ("_containers_fd", "_fd", "_files", "_max_bytes", "_path", "_size", "dropped_bytes")

    def __init__(self, containers_fd: int, container_id: str, *, max_bytes: int, files: int) -> None:
        self._containers_fd, self._path = containers_fd, f"{container_id}/log"
        self._max_bytes, self._files = max_bytes, files
        self._fd, self._size = -1, 0
        self.dropped_bytes = 0  # output that a full disk did not take
        try:
            self._open()
        except OSError:
            pass  # no inode left: every write fails and is counted

    def write(self, stream: bytes, data: bytes) -> None:
        """Append what was read at once from `stream` (stdout or stderr)."""
        now = time.time_ns()
        seconds, nanoseconds = divmod(now, 1_000_000_000)
        head = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)).encode() + b".%09dZ " % nanoseconds + stream
        lines = data.split(b"\n")
        last = lines.pop()
        out = b"".join([head + b" F " + line + b"\n" for line in lines])
        if last:
            out += head + b" P " + last + b"\n"
        if self._size and self._size + len(out) > self._max_bytes:
            self._rotate()
        try:
            written = os.write(self._fd, out)
        except OSError:  # ENOSPC, EIO, no log at all: the container goes on; the loss is counted, never hidden
            written = 0
        self._size += written
        if written < len(out):
            self.dropped_bytes += min(len(data), len(out) - written)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open(self) -> None:
        """Open the newest file in place of the one that is open, which stays if there is no room for another."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(self._path, flags, 0o600, dir_fd=self._containers_fd)
        self.close()
        self._fd, self._size = fd, os.fstat(fd).st_size

    def _rotate(self) -> None:
        try:
            self._shift()
            self._open()
        except OSError:
            self._size = 0  # as much again goes to the old file before the next try

    def _shift(self) -> None:
        for number in range(self._files - 1, 0, -1):
            older = self._path if number == 1 else f"{self._path}.{number - 1}"
            try:
                os.rename(
                    older, f"{self._path}.{number}", src_dir_fd=self._containers_fd, dst_dir_fd=self._containers_fd
                )
            except FileNotFoundError:
                pass

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
        self._open()

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
            self._size += os.write(self._fd, out)
        except OSError:  # ENOSPC, EIO: the container goes on; the loss is counted, never hidden
            self.dropped_bytes += len(data)

    def close(self) -> None:
        os.close(self._fd)

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        self._fd = os.open(self._path, flags, 0o600, dir_fd=self._containers_fd)
        self._size = os.fstat(self._fd).st_size

    def _rotate(self) -> None:
        for number in range(self._files - 1, 0, -1):
            older = self._path if number == 1 else f"{self._path}.{number - 1}"
            try:
                os.rename(
                    older, f"{self._path}.{number}", src_dir_fd=self._containers_fd, dst_dir_fd=self._containers_fd
                )
            except FileNotFoundError:
                pass
        os.close(self._fd)
        self._open()

"""A terminal with a person at it: starts a command on a pty of its own and types and reads."""

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time

from tests.support.poll import SLOWNESS


class Terminal:
    """A command that runs on a pty; `seen` is all it has written so far that `expect` has not consumed."""

    def __init__(self, argv: list[str], environment: dict[str, str], *, rows: int = 24, columns: int = 80) -> None:
        self.seen = b""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execvpe(argv[0], argv, environment)
        self.resize(rows, columns)

    def resize(self, rows: int, columns: int) -> None:
        """Change the window's size; the kernel tells the foreground program with SIGWINCH."""
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, keys: str | bytes) -> None:
        os.write(self.fd, keys.encode() if isinstance(keys, str) else keys)

    def expect(self, pattern: str, *, timeout_seconds: float = 10) -> "re.Match[bytes]":
        """Read until `pattern` matches; what was read up to its end is consumed. AssertionError after the timeout."""
        expression = re.compile(pattern.encode(), re.MULTILINE)
        deadline = time.monotonic() + timeout_seconds * SLOWNESS
        while True:
            match = expression.search(self.seen)
            if match:
                self.seen = self.seen[match.end() :]
                return match
            if not self._read(deadline - time.monotonic()):
                raise AssertionError(f"no {pattern!r} on the terminal; it shows {self.seen!r}")

    def wait(self, *, timeout_seconds: float = 10) -> int:
        """Read to the end and return the exit code of the command, 128+n after signal n."""
        deadline = time.monotonic() + timeout_seconds * SLOWNESS
        while self._read(deadline - time.monotonic()):
            pass
        while time.monotonic() < deadline:
            pid, wait_status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.pid = 0
                code = os.waitstatus_to_exitcode(wait_status)
                return code if code >= 0 else 128 - code
            time.sleep(0.01)
        raise AssertionError(f"the command did not end; the terminal shows {self.seen!r}")

    def settings(self) -> list[object]:
        """Return the terminal's settings as termios has them, to see whether they were put back."""
        return list(termios.tcgetattr(self.fd))

    def close(self) -> None:
        """Hang up, and make sure that the command is gone."""
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _read(self, timeout_seconds: float) -> bool:
        """Read once; False at the end of the output or when the time is over."""
        if timeout_seconds <= 0 or not select.select([self.fd], [], [], timeout_seconds)[0]:
            return False
        try:
            data = os.read(self.fd, 65536)
        except OSError:  # EIO: the last process has closed the other end
            return False
        self.seen += data
        return bool(data)

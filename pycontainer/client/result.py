"""What a finished command left: its exit code and its output."""

from pycontainer.errors import PycontainerError


class Completed:
    """The end of an `exec`, or of a `run` that was waited for; with a terminal all output is in `stdout`."""

    __slots__ = ("exit_code", "stdout_bytes", "stderr_bytes")

    def __init__(self, exit_code: int, stdout_bytes: bytes, stderr_bytes: bytes) -> None:
        self.exit_code = exit_code
        self.stdout_bytes = stdout_bytes
        self.stderr_bytes = stderr_bytes

    @property
    def stdout(self) -> str:
        """The standard output as text; bytes that are not UTF-8 become U+FFFD."""
        return self.stdout_bytes.decode(errors="replace")

    @property
    def stderr(self) -> str:
        """The standard error as text; bytes that are not UTF-8 become U+FFFD."""
        return self.stderr_bytes.decode(errors="replace")

    def check(self) -> "Completed":
        """Return self, or raise PycontainerError if the command did not end with 0."""
        if self.exit_code:
            last_line = self.stderr.strip().rpartition("\n")[2]
            said = f": {last_line}" if last_line else ""
            raise PycontainerError(f"the command ended with exit code {self.exit_code}{said}")
        return self

    def __repr__(self) -> str:
        return f"Completed(exit_code={self.exit_code}, stdout={self.stdout!r}, stderr={self.stderr!r})"

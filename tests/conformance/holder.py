"""Namespaces of a test's own in which a runtime is started: a process that sleeps in them holds them."""

import os
import signal
import subprocess

from tests.support.poll import poll_until


class Holder:
    """New namespaces, as unshare(1) is told to make them; `flags` are also how nsenter(1) enters them."""

    def __init__(self, *flags: str, more: tuple[str, ...] = (), prefix: tuple[str, ...] = ()) -> None:
        """`more` are further options of unshare; `prefix` is a command that starts it as somebody else."""
        self._flags = flags
        self._process = subprocess.Popen(
            [*prefix, "unshare", *flags, *more, "sleep", "infinity"], stdin=subprocess.PIPE
        )
        self.pid = self._process.pid
        poll_until(self._is_up, what="the namespaces are there")

    def _is_up(self) -> bool:
        assert self._process.poll() is None, "unshare failed"
        with open(f"/proc/{self.pid}/comm") as file:
            return file.read() == "sleep\n"

    def wrapper(self) -> tuple[str, ...]:
        """Return the command that starts another one in them."""
        return ("/usr/bin/nsenter", f"--target={self.pid}", *self._flags, "--")

    def run(self, *command: str) -> str:
        """Run a command in them, which must succeed; return its output."""
        done = subprocess.run([*self.wrapper(), *command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def close(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.communicate()

    def namespace(self, kind: str) -> str:
        return os.readlink(f"/proc/{self.pid}/ns/{kind}")

"""The receiver of a terminal, as engines have one: a unix socket over which the runtime sends the master's descriptor."""

import os
import select
import socket
import time

from tests.support.poll import SLOWNESS


class ConsoleSocket:
    """Listens at `path`, whose length stays below the kernel's 107 bytes."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(path)
        self._listener.listen(1)
        self._listener.settimeout(10 * SLOWNESS)
        self.master_fd = -1
        self.seen = b""

    def receive(self) -> None:
        """Take the one descriptor that comes."""
        connection, _ = self._listener.accept()
        with connection:
            connection.settimeout(10 * SLOWNESS)
            _, fds, _, _ = socket.recv_fds(connection, 4096, 4)
        assert len(fds) == 1, f"{len(fds)} descriptors came over the console socket"
        self.master_fd = fds[0]

    def type(self, text: str) -> None:
        os.write(self.master_fd, text.encode())

    def expect(self, text: str, *, timeout_seconds: float = 10) -> None:
        """Read until `text` has been seen; AssertionError at the end of the output or of the time."""
        deadline = time.monotonic() + timeout_seconds * SLOWNESS
        while text.encode() not in self.seen:
            rest = deadline - time.monotonic()
            if rest <= 0 or not select.select([self.master_fd], [], [], rest)[0]:
                raise AssertionError(f"no {text!r} on the terminal; it shows {self.seen!r}")
            try:
                data = os.read(self.master_fd, 65536)
            except OSError as error:  # EIO: nobody has the other end open any more
                raise AssertionError(f"no {text!r} before the end; the terminal shows {self.seen!r}") from error
            self.seen += data

    def close(self) -> None:
        self._listener.close()
        if self.master_fd >= 0:
            os.close(self.master_fd)
        os.unlink(self.path)

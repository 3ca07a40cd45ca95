"""Bytes on their way into a container: read from a descriptor or given at once, kept until the other side has room.

`sys.stdin` of the operator, a file, or `input=b"..."` look the same to the relays of attach.py and exec.py: while
`pending` is not empty nothing more is read, so that a container that does not read costs no memory here.
"""

import os

from pycontainer.client.terminal import DetachKeys

READ_BYTES = 32000


class Feed:
    """What goes to the workload's standard input."""

    def __init__(self, source_fd: int | None = None, data: bytes = b"", detach_keys: DetachKeys | None = None) -> None:
        """Feed `data`, then what `source_fd` gives (None: nothing); the caller keeps the descriptor."""
        self.source_fd = source_fd
        self.pending = memoryview(data)
        self.is_detached = False
        self._detach_keys = detach_keys

    @property
    def wants_to_read(self) -> bool:
        """Tell whether `read` should be called once the source is readable."""
        return self.source_fd is not None and not self.pending

    @property
    def is_finished(self) -> bool:
        """Tell whether everything was taken and nothing more will come."""
        return self.source_fd is None and not self.pending

    def read(self) -> None:
        """Read once from the source; its end, or its failure, ends the feed."""
        assert self.source_fd is not None
        try:
            data = os.read(self.source_fd, READ_BYTES)
        except BlockingIOError:
            return
        except OSError:  # EIO: the operator's terminal is gone
            data = b""
        if not data:
            self.source_fd = None
            return
        if self._detach_keys:
            data, self.is_detached = self._detach_keys.feed(data)
        self.pending = memoryview(data)

    def took(self, count: int) -> None:
        """Drop the first `count` pending bytes: they were delivered."""
        self.pending = self.pending[count:]

    def drop(self) -> None:
        """Deliver nothing more: the workload has closed its standard input."""
        self.source_fd = None
        self.pending = memoryview(b"")

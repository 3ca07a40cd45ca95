"""One epoll set: a descriptor, what it waits for, and who is called. epoll(7)."""

import select
from collections.abc import Callable

Handler = Callable[[int], object]


class Poller:
    """Calls a handler with the events of its descriptor. A handler may add and remove any descriptor."""

    __slots__ = ("_epoll", "_handlers")

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Handler] = {}

    def add(self, fd: int, interest: int, handler: Handler) -> None:
        self._epoll.register(fd, interest)
        self._handlers[fd] = handler

    def change(self, fd: int, interest: int) -> None:
        self._epoll.modify(fd, interest)

    def remove(self, fd: int) -> None:
        """Stop waiting for `fd`; before it is closed."""
        self._epoll.unregister(fd)
        del self._handlers[fd]

    def discard(self, fd: int) -> None:
        """As `remove`, but no error when it is not there."""
        if fd in self._handlers:
            self.remove(fd)

    def wait(self, timeout_seconds: float) -> None:
        """Wait for events and call their handlers."""
        for fd, events in self._epoll.poll(timeout_seconds):
            handler = self._handlers.get(fd)
            if handler is not None:  # an earlier handler of this round may have removed it
                handler(events)

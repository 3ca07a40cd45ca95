"""One epoll set: a descriptor, what it waits for, and who is called. epoll(7)."""

import os
import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Handler = Callable[[int], object]

_MAX_FAILURES = 100


class Poller:
    """Calls a handler with the events of its descriptor. A handler may add and remove any descriptor."""

    __slots__ = ("_epoll", "_failures", "_handlers")

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Handler] = {}
        self._failures: dict[int, int] = {}

    def add(self, fd: int, interest: int, handler: "Handler") -> None:
        self._epoll.register(fd, interest)
        self._handlers[fd] = handler

    def change(self, fd: int, interest: int) -> None:
        self._epoll.modify(fd, interest)

    def remove(self, fd: int) -> None:
        """Stop waiting for `fd`; before it is closed."""
        self._epoll.unregister(fd)
        del self._handlers[fd]
        self._failures.pop(fd, None)

    def discard(self, fd: int) -> None:
        """As `remove`, but no error when it is not there."""
        if fd in self._handlers:
            self.remove(fd)

    def wait(self, timeout_seconds: float) -> None:
        """Wait for events and call their handlers."""
        for fd, events in self._epoll.poll(timeout_seconds):
            handler = self._handlers.get(fd)
            if handler is None:  # an earlier handler of this round removed it
                continue
            try:
                handler(events)
                self._failures.pop(fd, None)
            except Exception as error:  # a full disk, a hostile size: not a reason to end all others' parent
                report(error)
                self._failures[fd] = self._failures.get(fd, 0) + 1
                if self._failures[fd] >= _MAX_FAILURES:  # it would be called again and again
                    self.discard(fd)


def report(error: Exception) -> None:
    """Write where it happened to our log; the traceback module would triple what the monitor holds."""
    places, trace = [], error.__traceback__
    while trace is not None:
        places.append(f"{trace.tb_frame.f_code.co_qualname}:{trace.tb_lineno}")
        trace = trace.tb_next
    os.write(2, f"{' > '.join(places)}: {type(error).__name__}: {error}\n".encode(errors="replace"))

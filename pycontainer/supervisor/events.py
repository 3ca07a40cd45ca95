"""What happened, told to everybody who listens."""

import contextlib
from collections.abc import Callable, Iterator

from pycontainer.runtime.container import Container, now

Event = dict[str, object]
Listener = Callable[[Event], None]


class Events:
    """The events of one world."""

    def __init__(self) -> None:
        self._listeners: set[Listener] = set()

    def emit(self, kind: str, container: Container | None = None, **details: object) -> None:
        """Tell everybody who listens; `kind` is create, start, die, oom, stop, pause, ..."""
        event: Event = {"time": now(), "type": kind, **details}
        if container is not None:
            event.update(id=container.id, name=container.spec.name)
        for listener in list(self._listeners):
            listener(event)

    @contextlib.contextmanager
    def listening(self, listener: Listener) -> Iterator[None]:
        """Have `listener` called with every event while the block runs."""
        self._listeners.add(listener)
        try:
            yield
        finally:
            self._listeners.discard(listener)

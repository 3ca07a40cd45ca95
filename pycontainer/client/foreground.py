"""A container in the foreground of this process, as a service manager wants one: until it has ended for good."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pycontainer.client.connection import Connection, ConnectionLost, Pool
from pycontainer.errors import NotFound

if TYPE_CHECKING:
    from pycontainer.client.container import Container

_UP = ("running", "paused", "restarting")


def stay(container: "Container", pool: Pool, on_start: Callable[[], None]) -> int | None:
    """Start a container unless it runs, call `on_start`, and return its exit code when no restart follows any more.

    None if that could not be learnt. Goes on over the death of a supervisor, and over restarts by the container's policy.
    """
    has_begun = is_asked = False
    before: float | None = None
    while True:
        try:
            with _listening(pool) as connection:  # from before the first look on: nothing is missed
                if not has_begun:
                    info = container.info
                    # The answer to a start may be lost with its supervisor, and what was started may have ended since.
                    if info["status"] not in _UP and not (is_asked and info["started"] != before):
                        before, is_asked = info["started"], True
                        container.start()
                    has_begun = True
                    on_start()
                while (info := container.info)["status"] in _UP:
                    _await_news(connection, container.id)
                return info["exit_code"]
        except ConnectionLost:
            continue
        except NotFound:
            if not has_begun:
                raise
            return None  # removed meanwhile


@contextmanager
def _listening(pool: Pool) -> Iterator[Connection]:
    connection = pool.take()
    try:
        connection.send("events", {})
        connection.receive()  # it listens
        yield connection
    finally:
        connection.close()


def _await_news(connection: Connection, container_id: str) -> None:
    """Wait for any event about the container: whatever it is, a look tells what it means."""
    while True:
        _, event, _ = connection.receive()
        if event.get("id") == container_id:
            return

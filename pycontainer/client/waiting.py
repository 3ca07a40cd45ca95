"""Learning of a container's end: a connection on which the supervisor answers, or tells of it among its events."""

import contextlib
import select
from collections.abc import Callable

from pycontainer.client.connection import Connection, ConnectionLost, Pool
from pycontainer.errors import NotFound


class Waiter:
    """Waits for the end of one container.

    `watch` before the start listens to the events: a container that removes itself may be gone before it can be asked
    about. Otherwise the question is `wait`: `ask` puts it now, of the run that is on, and else it is put when it is needed. A
    supervisor that goes away is started again and asked again.
    """

    def __init__(self, pool: Pool, container_id: str, asked: Connection | None = None) -> None:
        """`asked` is a connection on which the end is going to be answered; it is the Waiter's from now on."""
        self._pool = pool
        self._container_id = container_id
        self._connection = asked

    def __enter__(self) -> "Waiter":
        return self

    def __exit__(self, *exception: object) -> None:
        self._let_go()

    def watch(self) -> None:
        """Listen from now on."""
        with self._pool.span("listen to events"):
            filters = {"container": [self._container_id], "type": ["die"]}
            self._connection, _ = self._pool.begin("events", {"filters": filters})  # the first: it listens

    def ask(self) -> None:
        """Have the end of what runs now answered, unless that is asked already; what goes wrong is seen by who waits."""
        with contextlib.suppress(ConnectionLost):
            self._ask()

    def _ask(self) -> Connection:
        if self._connection is None:
            self._connection = self._pool.take()
            self._connection.send("wait", {"container": self._container_id})
        return self._connection

    def has_ended(self, msecs: int) -> bool:
        """Wait at most so long for the end; a container that is gone has ended."""
        poller = select.poll()
        try:
            poller.register(self._ask(), select.POLLIN)
            if not poller.poll(msecs):
                return False
            self._receive()
        except ConnectionLost:
            return False
        except NotFound:
            pass
        return True

    def exit_code(self, wait: Callable[[Connection], None] = lambda connection: None) -> int | None:
        """Wait for the end and return the exit code; None if it could not be learnt. `wait` as of `Pool.begin`."""
        while True:
            try:
                return self._receive(wait)
            except ConnectionLost:
                continue
            except NotFound:
                return None  # removed before we could ask

    def _receive(self, wait: Callable[[Connection], None] = lambda connection: None) -> int | None:
        connection = self._ask()
        try:
            while True:
                wait(connection)
                is_result, payload, _ = connection.receive()
                if is_result:
                    return payload["exit_code"]  # type: ignore[no-any-return]
                if payload.get("id") == self._container_id and payload["type"] == "die":
                    return payload["exit_code"]  # type: ignore[no-any-return]
        finally:
            self._let_go()

    def _let_go(self) -> None:
        if self._connection is not None:
            self._pool.give_back(self._connection)
            self._connection = None

"""A container that one request makes, starts and sees end: `run` in the foreground.

    client                                   supervisor
    run {spec, attach}, its socket    ──▶    makes it, starts it
                                      ◀──    {"event": {"started": ContainerInfo}}
    relays until the output ends
                                      ◀──    {"result": {"exit_code": ..}}

If it cannot be started nothing of it remains. A supervisor that goes away later is started again, and asked for the end.
"""

import socket
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from pycontainer.client.connection import Connection, Pool
from pycontainer.client.container import Container, known
from pycontainer.client.result import Completed
from pycontainer.client.waiting import Waiter

if TYPE_CHECKING:
    from pycontainer.client.types import ContainerInfo


_TRUE = (True, "true")  # as spec/values.py has it, which the client does not load


class _Running:
    """What was started, and the way to its output and its end, while the context lasts."""

    def __init__(
        self,
        pool: Pool,
        spec: dict[str, Any],
        size: tuple[int, int] | None = None,
        wait: Callable[[Connection], None] = lambda connection: None,
    ) -> None:
        """`wait` as of `Pool.begin`: who leaves it has nothing run."""
        self._pool = pool
        window = {} if size is None else {"rows": size[0], "columns": size[1]}
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with theirs:
                args = {"spec": spec, "attach": True, **window}
                connection, event = pool.begin("run", args, [theirs.fileno()], wait)
        except BaseException:
            self.socket.close()
            raise
        self.info: ContainerInfo = event["started"]
        self._waiter = Waiter(pool, self.info["id"], connection)

    def exit_code(self, wait: Callable[[Connection], None] = lambda connection: None) -> int:
        """Wait for its end and return its exit code; `wait` may wait until a reply can be read."""
        with self._pool.span("end of the run"):
            return known(self._waiter.exit_code(wait), self.info["name"])

    def __enter__(self) -> "_Running":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()
        self._waiter.__exit__(kind, error, trace)


def run_captured(pool: Pool, spec: dict[str, Any], stdin: bytes) -> Completed:
    """Run a container to its end, fed `stdin`; return its exit code and output."""
    from pycontainer.client.attach import relay_attach  # 1 ms
    from pycontainer.client.feed import Feed

    out: list[bytes] = []
    err: list[bytes] = []
    with _Running(pool, spec) as running:
        feed = Feed(data=stdin) if running.info["stdin_open"] else None
        with pool.span("output"):
            relay_attach(running.socket, feed, out.append, err.append)
        return Completed(running.exit_code(), b"".join(out), b"".join(err))


def run_attached(
    pool: Pool,
    spec: dict[str, Any],
    *,
    interactive: bool,
    detach_keys: str,
    proxy_signals: bool,
    on_start: Callable[[Container], None],
) -> int | None:
    """Run a container with this process's input and output, as `Container.start_attached`."""
    from pycontainer.client.session import Session  # 3 ms

    session = Session(
        tty=spec.get("tty") in _TRUE,
        interactive=interactive and spec.get("stdin_open") in _TRUE,
        detach_keys=detach_keys,
        proxy_signals=proxy_signals,
    )
    with session, _Running(pool, spec, session.size, session.wait) as running:
        container = Container(pool, running.info["id"], running.info)
        on_start(container)
        with pool.span("output"):
            ended = session.relay(running.socket, container.pass_signal)
        if not ended:
            return None
        return running.exit_code(lambda connection: session.wait_for_end(connection, container.pass_signal))

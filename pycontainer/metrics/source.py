"""What the supervisor says for the metrics, in one request over a connection that is kept; a lost one is made again.

A supervisor that is not there is not started: who stopped it meant that, and containers go on without it.
"""

import contextlib
import socket
from typing import Any, NamedTuple

from pycontainer.api.messages import receive_frame, send_frame
from pycontainer.client.connection import close_all, connect
from pycontainer.errors import SupervisorUnavailable, from_wire
from pycontainer.paths import HostPaths

TIMEOUT_SECONDS = 4.0  # less than the 10 s that Prometheus waits by default


class Answer(NamedTuple):
    """All rows of containers, and the rest of the result of `metrics` (supervisor/verbs/metrics.py)."""

    containers: list[dict[str, Any]]
    rest: dict[str, Any]


class Supervisor:
    """The supervisor of a world, as far as it is there."""

    def __init__(self, paths: HostPaths, *, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._paths, self._timeout_seconds = paths, timeout_seconds
        self._sock: socket.socket | None = None

    def close(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def ask(self) -> Answer:
        """Return what it says now. Raises SupervisorUnavailable, NotPermitted, or another error that it answered with."""
        if self._sock is not None:
            with contextlib.suppress(SupervisorUnavailable):  # it went, or was replaced, since the last time
                return self._ask(self._sock)
            self.close()
        self._sock = connect(self._paths, start=False)
        self._sock.settimeout(self._timeout_seconds)
        try:
            return self._ask(self._sock)
        except BaseException:
            self.close()
            raise

    def _ask(self, sock: socket.socket) -> Answer:
        containers: list[dict[str, Any]] = []
        try:
            send_frame(sock, {"verb": "metrics", "args": {}})
            while (received := receive_frame(sock)) is not None:
                frame, fds = received
                close_all(fds)
                if not isinstance(frame, dict):
                    break
                if "error" in frame:
                    raise from_wire(frame["error"])
                if "result" in frame:
                    containers += frame["result"]["containers"]
                    return Answer(containers, frame["result"])
                containers += frame["event"]["containers"]
        except (OSError, KeyError, TypeError) as error:  # ConnectionError and TimeoutError are of the first
            raise SupervisorUnavailable(f"the supervisor gave no answer: {error or type(error).__name__}") from error
        raise SupervisorUnavailable("the supervisor closed the connection")

"""The supervisor as a thing to start, to stop, and to open to a group; the containers of a host that comes up or goes down.

What the group means: supervisor/operators.py. What comes up and goes down, and when: supervisor/boot.py.
"""

import contextlib
import grp
import os
import select
import time
from collections.abc import Callable
from typing import Any

from pycontainer.client.connection import Connection, ConnectionLost, Pool, connect
from pycontainer.errors import InvalidInput, NotPermitted, SupervisorUnavailable
from pycontainer.linux.files import write_atomically
from pycontainer.linux.sockets import peer_pid
from pycontainer.paths import HostPaths

_LEAVING_SECONDS = 20.0
_TRIES, _RETRY_SECONDS = 5, 1.0
Listener = Callable[[dict[str, Any]], None]


def stop(paths: HostPaths) -> bool:
    """End the supervisor, if it runs (True), and wait for that; containers go on, and the next request starts it again."""
    try:
        Pool(paths).asked(lambda: _shut_down(paths))
    except ConnectionLost:
        raise
    except SupervisorUnavailable:
        return False
    return True


def _shut_down(paths: HostPaths) -> None:
    connection = Connection(paths, start=False)
    pidfd = -1
    try:
        with contextlib.suppress(OSError):  # it has gone already, or is in a PID namespace that we cannot see
            pidfd = os.pidfd_open(peer_pid(connection.fileno()))
        connection.request("shutdown", {})
        if pidfd >= 0:
            poller = select.poll()
            poller.register(pidfd, select.POLLIN)
            poller.poll(_LEAVING_SECONDS * 1000)
    finally:
        connection.close()
        if pidfd >= 0:
            os.close(pidfd)


def reload(paths: HostPaths) -> str:
    """Have supervisor and monitor become the code that is installed now; return its version, "" if there is none running."""
    pool = Pool(paths)
    try:
        return str(pool.request("reload", {}, start=False)["version"])
    except ConnectionLost:
        raise
    except SupervisorUnavailable:
        return ""
    finally:
        pool.close()


def start(paths: HostPaths, group: str | None = None) -> bool:
    """Start the supervisor, unless it runs (False).

    `group` is who may drive it beside root from now on, "" for nobody, None for who might before; a supervisor that runs
    is started anew for that. Raises InvalidInput for a group that there is not.
    """
    if os.geteuid() != 0:
        raise NotPermitted("only root can start the supervisor", hint="try the same command with sudo")
    if group is not None and _set_group(paths.operator_group_file, group):
        stop(paths)
    try:
        connect(paths, start=False).close()
    except SupervisorUnavailable:
        connect(paths).close()
        return True
    return False


def _set_group(path: str, group: str) -> bool:
    """Write down which group it is; False if it was that already."""
    if not group:
        try:
            os.unlink(path)
        except FileNotFoundError:
            return False
        return True
    try:
        grp.getgrgid(int(group)) if group.isascii() and group.isdigit() else grp.getgrnam(group)
    except (KeyError, ValueError, OverflowError):
        raise InvalidInput(
            f"this host has no group {group!a}", hint=f"make it: groupadd --system {group!a}", field="group"
        ) from None
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    write_atomically(path, f"{group}\n".encode(), mode=0o644)
    return True


def boot(pool: Pool, parallel: int | None, on_outcome: Listener | None) -> dict[str, Any]:
    """Start what starts with the host. A supervisor that dies meanwhile goes on when it is started again: we see to that."""
    return _insist(pool, "boot", {} if parallel is None else {"parallel": parallel}, on_outcome)


def stop_all(pool: Pool, timeout_seconds: float | None, on_outcome: Listener | None) -> dict[str, Any]:
    """Stop all containers; a supervisor that dies meanwhile is started again, and asked again for the rest."""
    args = {} if timeout_seconds is None else {"timeout_seconds": timeout_seconds}
    return _insist(pool, "stop_all", args, on_outcome)


def _insist(pool: Pool, verb: str, args: dict[str, Any], on_outcome: Listener | None) -> dict[str, Any]:
    """Request what may be asked again at any time, until it has been answered."""
    told: set[str] = set()

    def tell(outcome: dict[str, Any]) -> None:
        if outcome["id"] not in told and on_outcome is not None:
            on_outcome(outcome)
        told.add(outcome["id"])

    for _ in range(_TRIES - 1):
        try:
            return pool.request(verb, args, on_event=tell)  # type: ignore[no-any-return]
        except ConnectionLost:
            time.sleep(_RETRY_SECONDS)
    return pool.request(verb, args, on_event=tell)  # type: ignore[no-any-return]

"""The supervisor as a thing to start, to stop, and to open to a group. What the group means: supervisor/operators.py."""

import grp
import os
import time

from pycontainer.client.connection import Connection, connect
from pycontainer.errors import InvalidInput, NotPermitted, SupervisorUnavailable
from pycontainer.linux.files import write_atomically
from pycontainer.paths import HostPaths

_LEAVING_SECONDS, _LOOK_SECONDS = 20.0, 0.02


def stop(paths: HostPaths) -> bool:
    """End the supervisor, if it runs (True); containers go on, and the next request starts it again."""
    try:
        connection = Connection(paths, start=False)
    except SupervisorUnavailable:
        return False
    try:
        connection.request("shutdown", {})
    finally:
        connection.close()
    return True


def start(paths: HostPaths, group: str | None = None) -> bool:
    """Start the supervisor, unless it runs (False).

    `group` is who may drive it beside root from now on, "" for nobody, None for who might before; a supervisor that runs
    is started anew for that. Raises InvalidInput for a group that there is not.
    """
    if os.geteuid() != 0:
        raise NotPermitted("only root can start the supervisor", hint="try the same command with sudo")
    if group is not None and _set_group(paths.operator_group_file, group) and stop(paths):
        _await_end(paths)
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


def _await_end(paths: HostPaths) -> None:
    deadline = time.monotonic() + _LEAVING_SECONDS
    while time.monotonic() < deadline:
        try:
            connect(paths, start=False).close()
        except SupervisorUnavailable:
            return
        time.sleep(_LOOK_SECONDS)

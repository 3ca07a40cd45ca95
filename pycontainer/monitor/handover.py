"""From one program of the monitor to the next: the process stays, and with it its children, their streams and its socket.

    supervisor ── reload ──▶ monitor        nobody may be on his way into life; then all of it goes into a memfd
                             │ setns        out of the room: the new program is found among the host's mounts
                             │ execve       same pid; descriptors stay, and have no close-on-exec for a moment
                             ▼
                             monitor        a room of its own; takes over what the memfd says; "reloaded"

What a client could not take yet and what a container has not read yet goes along. A program that cannot be executed changes
nothing: the old one goes back into its room and says so.
"""

import os

from pycontainer import jsontext
from pycontainer.linux.namespaces import CLONE_NEWNS, setns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

VERSION = 1
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}


def leave(argv: list[str], mounts_fd: int, state: dict[str, object], fds: "Iterable[int]") -> None:
    """Become `argv`, found in the mount namespace `mounts_fd`, with the number of a memfd of `state` as its last argument.

    `fds` go along. Returns only by an OSError, with everything as it was.
    """
    state_fd = os.memfd_create("monitor", 0)
    room_fd = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    kept = list(fds)
    try:
        with open(state_fd, "wb", closefd=False) as file:
            file.write(jsontext.dumps({"version": VERSION, **state}).encode())
        for fd in kept:
            os.set_inheritable(fd, True)
        setns(mounts_fd, CLONE_NEWNS)
        try:
            os.execve(argv[0], [*argv, str(state_fd)], _ENVIRONMENT)
        except OSError:
            setns(room_fd, CLONE_NEWNS)
            os.chdir("/stage")
            raise
    finally:
        for fd in kept:
            os.set_inheritable(fd, False)
        os.close(room_fd)
        os.close(state_fd)


def arrive(state_fd: int) -> "dict[str, Any]":
    """Return what the program before wrote; ValueError if it is of a version that we do not know."""
    with open(state_fd, "rb") as file:
        file.seek(0)
        state = jsontext.loads_own(file.read())
    if state["version"] != VERSION:
        raise ValueError(f"the monitor before handed over version {state['version']}, this one knows {VERSION}")
    return dict(state)


def closed_on_exec(fds: "Iterable[int]") -> None:
    """Take back what let descriptors pass through execve."""
    for fd in fds:
        os.set_inheritable(fd, False)

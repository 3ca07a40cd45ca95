"""A container whose own monitor has died."""

import os
from types import SimpleNamespace
from typing import Any, cast

from pycontainer.monitor.child import Child, Room
from pycontainer.monitor.poller import Poller


def test_a_terminal_whose_ends_nobody_has_is_adopted(tmp_path: Any) -> None:
    """Supervisor and monitor died together, and its terminal with them; the new monitor must not die of it."""
    os.mkdir(tmp_path / "0123456789ab")
    containers_fd = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    pidfd = os.pidfd_open(os.getpid())
    try:
        room = cast(Room, SimpleNamespace(poller=Poller(), containers_fd=containers_fd))
        message: dict[str, object] = {"id": "0123456789ab", "pid": os.getpid(), "streams": [], "tty": True}
        child = Child.adopted(room, message, [pidfd], (1 << 20, 3))
        assert child.output is not None and child.output.ended
        assert child.fds() == [pidfd]
    finally:
        os.close(pidfd)
        os.close(containers_fd)

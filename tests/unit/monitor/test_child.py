"""A container whose own monitor has died; a process that ended and is held by another one."""

import ctypes
import os
import select
import signal
from types import SimpleNamespace
from typing import Any, cast

from pycontainer.monitor.child import Child, Room
from pycontainer.monitor.poller import Poller
from tests.support.poll import SLOWNESS


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


_SEIZE = 0x4206  # PTRACE_SEIZE


def test_one_that_is_traced_is_waited_for_asleep() -> None:
    """Until its tracer lets go of it nobody else can wait for it, and its pidfd is ready all the while."""
    go_read, go_write = os.pipe()
    seized_read, seized_write = os.pipe()
    free_read, free_write = os.pipe()
    traced = os.fork()
    if traced == 0:
        os.close(go_write)
        os.read(go_read, 1)
        os._exit(3)
    tracer = os.fork()
    if tracer == 0:
        os.close(free_write)
        os.write(seized_write, b"0" if ctypes.CDLL(None).ptrace(_SEIZE, traced, None, None) == 0 else b"1")
        os.read(free_read, 1)
        os._exit(0)
    try:
        assert os.read(seized_read, 1) == b"0"
        child, poller, told = Child.__new__(Child), Poller(), list[bool]()
        child._room = cast(Room, SimpleNamespace(poller=poller))
        child.pidfd, child.kind, child.output = os.pidfd_open(traced), "exec", None
        child._go_fd = child._report_fd = -1
        child._is_adopted = child._is_held = False
        child.started = child.lingers = True
        poller.add(child.pidfd, select.EPOLLIN, lambda events: told.append(child.end()))
        os.write(go_write, b"x")
        for _ in range(50):
            poller.wait(0.02)
        assert 0 < len(told) < 4 and not any(told)
        os.kill(tracer, signal.SIGKILL)
        os.waitpid(tracer, 0)
        tracer = 0
        poller.wait(10 * SLOWNESS)
        assert told[-1] and child.wait_status == 3 << 8
    finally:
        if tracer:
            os.kill(tracer, signal.SIGKILL)
            os.waitpid(tracer, 0)
        for fd in (go_read, go_write, seized_read, seized_write, free_read, free_write):
            os.close(fd)

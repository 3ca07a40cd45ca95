"""Another version of the code, in the place of this one: the process stays, and nobody who waits for an answer notices.

    reload ──▶ the new code is loaded once, by a process of its own: what cannot be loaded is not executed
               the monitor becomes it (monitor/handover.py)
               requests that change something end; those that only wait stay where they are
               execve: the lock, the listening socket, the monitor's and the clients' go along
           ◀── the new supervisor answers

Everything else is what a supervisor finds again after it was killed: it is recovered from the records and the kernel.
"""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from pycontainer.errors import Busy, PycontainerError
from pycontainer.linux.descriptors import close_all_on_exec

if TYPE_CHECKING:
    from pycontainer.supervisor.server import Server
    from pycontainer.supervisor.world import World

VERSION = 1
OPTION = "--reloaded-fd"
_PATIENCE_SECONDS, _PROBE_SECONDS, _MONITOR_SECONDS, _LOOK_SECONDS = 60.0, 30.0, 10.0, 0.02
_PROBES = (
    ("-I", "import pycontainer.supervisor.main"),
    ("-SI", "import sys; sys.path.insert(0, {parent!r}); import pycontainer.monitor.main"),
)
_PACKAGE_PARENT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


async def load_new_code(world: "World") -> None:
    """See that the new code can be loaded, and have the monitor become it. PycontainerError: nothing has changed."""
    if world.runs and world.link.fileno() < 0:  # we alone have the pipes into which they write
        raise Busy("containers run without a monitor just now", hint="another one is tried for: try again")
    for option, program in _PROBES:
        await asyncio.to_thread(_probe, option, program.format(parent=_PACKAGE_PARENT))
    deadline = time.monotonic() + _MONITOR_SECONDS
    while (why_not := await world.link.reload()) and time.monotonic() < deadline:
        await asyncio.sleep(_LOOK_SECONDS)
    if why_not:
        raise Busy(f"the monitor stays as it is: {why_not}", hint="try again")


def _probe(option: str, program: str) -> None:
    done = subprocess.run(
        [sys.executable, option, "-c", program], capture_output=True, text=True, timeout=_PROBE_SECONDS
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["it ended"])[-1]
        raise PycontainerError(
            f"the new code cannot be loaded: {reason}", hint="repair the installation; nothing was changed"
        )


async def quiet(world: "World", server: "Server") -> list[dict[str, object]]:
    """Take no more requests, wait until none changes anything, and return who waits. Busy when that lasts too long."""
    server.hold()
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while (clients := server.waiting()) is None or world.link.is_bearing() or world.is_at_work():
        if world.is_ending:
            raise PycontainerError("the supervisor was told to end")
        if time.monotonic() > deadline:
            raise Busy(
                f"requests have been at work for {_PATIENCE_SECONDS:g} seconds",
                hint="'pycontainer service reload' again, later",
            )
        await asyncio.sleep(_LOOK_SECONDS)
    return clients


def become(state: dict[str, Any]) -> None:
    """Execute the code anew with `state`, whose descriptors go along. Raises OSError if it cannot be executed."""
    fds = _fds(state)
    arguments = list(sys.orig_argv)
    for option in (OPTION, "--ready-fd"):
        while option in arguments:
            at = arguments.index(option)
            del arguments[at : at + 2]
    state_fd = os.memfd_create("supervisor", os.MFD_CLOEXEC)
    try:
        with open(state_fd, "w", closefd=False) as file:
            json.dump({"version": VERSION, **state}, file)
        close_all_on_exec()
        for fd in (state_fd, *fds):
            os.set_inheritable(fd, True)
        sys.stderr.flush()
        os.execv(sys.executable, [sys.executable, *arguments[1:], OPTION, str(state_fd)])
    finally:
        for fd in fds:
            os.set_inheritable(fd, False)
        os.close(state_fd)


def arrive(state_fd: int) -> dict[str, Any]:
    """Return what the program before handed over; its descriptors are close-on-exec again."""
    with open(state_fd) as file:
        file.seek(0)
        state: dict[str, Any] = json.load(file)
    if state["version"] != VERSION:
        raise PycontainerError(
            f"the supervisor before handed over version {state['version']}, this one knows {VERSION}"
        )
    for fd in _fds(state):
        os.set_inheritable(fd, False)
    _reap_inherited()
    return state


def _fds(state: dict[str, Any]) -> list[int]:
    ours = [state[name] for name in ("lock_fd", "listener_fd", "monitor_fd")]
    return [fd for fd in (*ours, *(each["fd"] for each in (*state["clients"], *state["speakers"]))) if fd >= 0]


def _reap_inherited() -> None:
    """Reap what the program before us started when it ends: nobody else waits for it."""
    try:
        with open("/proc/thread-self/children") as file:
            inherited = set(map(int, file.read().split()))
    except FileNotFoundError:  # a kernel without CONFIG_PROC_CHILDREN: they stay zombies until we end
        return

    def reap() -> None:
        for pid in list(inherited):
            with contextlib.suppress(ChildProcessError):
                if os.waitpid(pid, os.WNOHANG) == (0, 0):
                    continue
            inherited.discard(pid)

    reap()
    asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, reap)

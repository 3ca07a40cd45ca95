"""Processes of a world that die at a named moment, and what the world holds when all of it is at rest."""

import os
import signal

from pycontainer.failpoints import VARIABLE
from tests.support.leaks import Lines, difference, take_snapshot
from tests.support.poll import SLOWNESS, poll_until
from tests.support.world import Result, World

_LOGS = ("supervisor.log", "monitor.log")


def kill_supervisor(world: World) -> bool:
    """Kill the supervisor with SIGKILL, and see it gone; False if there is none."""
    pid = world.supervisor_pid()
    if pid not in world.processes():  # the number may be another's by now
        return False
    os.kill(pid, signal.SIGKILL)
    poll_until(lambda: pid not in world.processes(), what="the supervisor is gone")
    return True


def stop_services(world: World, *, monitor: bool = False) -> None:
    """Let the supervisor leave, if there is one; with `monitor` wait until that has left as well: nothing must run then."""
    if os.path.exists(world.paths.supervisor_socket):
        world.cli("service", "stop")
    pid = world.supervisor_pid()
    poll_until(lambda: pid not in world.processes(), what="the supervisor has left")
    if monitor:
        poll_until(lambda: not world.processes(), what="nothing of the world runs")


def die_at(world: World, failpoint: str, *command: str, stdin: str | None = None) -> tuple[bool, Result]:
    """Run a command for which the services come up with a failpoint; tell whether it was reached, and how the command ended.

    They must not run before. What is reached is reached when the command has ended, or within a second after it.
    """
    sizes = {name: _size(world, name) for name in _LOGS}
    result = world.cli(*command, stdin=stdin, environment={VARIABLE: failpoint})
    name = failpoint.rstrip("0123456789").rstrip(":")
    said = f"failpoint {name}: killed\n".encode()

    def is_reached() -> bool:
        return any(said in _read(world, log, size) for log, size in sizes.items())

    try:
        poll_until(is_reached, timeout_seconds=1)
    except AssertionError:
        return False, result
    return True, result


def at_rest(world: World, before: Lines | None = None) -> Lines:
    """Return what the host and the world hold when its services have left; wait until that is `before`, if given."""
    stop_services(world)
    if before is None:
        return _held(world)
    try:
        poll_until(lambda: _held(world) == before, interval_seconds=0.1, what="as before")
    except AssertionError:
        raise AssertionError(
            f"not as before, {10 * SLOWNESS:g} s after all was removed:\n{difference(before, _held(world))}"
        ) from None
    return before


def _held(world: World) -> Lines:
    """Return what is held but for the monitor, which leaves two seconds after all others."""
    lines = take_snapshot([("the world's host", world.network.inside)], [world.root])
    return frozenset(line for line in lines if "pycontainer.monitor.main" not in line)


def _size(world: World, log: str) -> int:
    try:
        return os.path.getsize(f"{world.paths.run_dir}/{log}")
    except FileNotFoundError:
        return 0


def _read(world: World, log: str, start: int) -> bytes:
    try:
        with open(f"{world.paths.run_dir}/{log}", "rb") as file:
            file.seek(start)
            return file.read()
    except FileNotFoundError:
        return b""

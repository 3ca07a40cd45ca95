"""Processes of a world that die at a named moment, and what the world holds when all of it is at rest."""

import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from pycontainer.failpoints import VARIABLE
from tests.support.leaks import Lines, difference, take_snapshot
from tests.support.poll import SLOWNESS, poll_until
from tests.support.stillness import until_still
from tests.support.world import Result, World

_LOGS = ("supervisor.log", "monitor.log")


def kill_supervisor(world: World) -> bool:
    """Kill the supervisor, and one that is coming up in its place, and see them gone; False if there is none."""
    found = [pid for pid in world.processes() if b"pycontainer.supervisor.main" in _command(pid)]
    last = world.supervisor_pid()
    if last not in found and not _command(
        last
    ):  # it is dying: as long as a thread of it waits for a disk, its socket is open
        found.append(last)
    was_there = False
    for pid in found:
        with suppress(ProcessLookupError):
            pidfd = os.pidfd_open(pid)
            was_there = True
            try:
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                _see_gone(pidfd)
            finally:
                os.close(pidfd)
    return was_there


def _command(pid: int) -> bytes:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def stop_services(world: World, *, monitor: bool = False) -> None:
    """Let the supervisor leave, if there is one; with `monitor` wait until that has left as well: nothing must run then."""
    with _supervisor(world) as pidfd:
        if pidfd is not None:
            world.cli("service", "stop")
            _see_gone(pidfd)
    if monitor:
        poll_until(lambda: not world.processes(), what="nothing of the world runs")


@contextmanager
def _supervisor(world: World) -> Iterator[int | None]:
    """A descriptor of the supervisor, for poll(2) and signals; None if there is none."""
    pid = world.supervisor_pid()
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        yield None
        return
    try:
        yield pidfd if pid in world.processes() else None  # the number may be another's by now
    finally:
        os.close(pidfd)


def _see_gone(pidfd: int) -> None:
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    assert poller.poll(10_000 * SLOWNESS), "the supervisor does not leave"


@contextmanager
def armed(world: World, failpoint: str) -> Iterator[None]:
    """Meanwhile services come up with a failpoint."""
    world.environment[VARIABLE] = failpoint
    try:
        yield
    finally:
        del world.environment[VARIABLE]


def die_at(world: World, failpoint: str, *command: str) -> tuple[bool, Result]:
    """Run a command by services with a failpoint; tell whether it was reached, and how the command ended.

    They have come up with it, or must not run before. It may be reached after the command, until all of the world is still.
    """
    sizes = {name: _size(world, name) for name in _LOGS}
    with armed(world, failpoint):
        result = world.cli(*command)
    name = failpoint.rstrip("0123456789").rstrip(":")
    said = f"failpoint {name}: killed\n".encode()

    def is_reached() -> bool:
        return any(said in _read(world, log, size) for log, size in sizes.items())

    until_still(world, is_reached)
    return is_reached(), result


def at_rest(world: World, before: Lines | None = None) -> Lines:
    """Return what the host and the world hold when its services have left; wait until that is `before`, if given."""
    with suppress(AssertionError):  # what stays is told of below
        poll_until(
            lambda: _is_erased(world, before), what="what was removed is erased: who leaves, leaves that to the next"
        )
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


def _is_erased(world: World, before: Lines | None) -> bool:
    """Tell whether no container is there, and no file of the state that was not there before."""
    if before is None:
        return not os.listdir(world.paths.containers_dir)
    state, of_ledger = f"file: {os.path.dirname(world.paths.containers_dir)}/", f"file: {world.paths.ledger_file}-"
    new = take_snapshot(roots=[world.root]) - before
    return not any(
        line.startswith(state) and not line.startswith(of_ledger) for line in new
    )  # its log goes when it is closed


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

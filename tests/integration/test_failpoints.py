"""Each step of each operation is the last one of who works on it. FLT-01, FLT-04. The operations: tests/failpoints."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from pycontainer.failpoints import NAMES
from tests.failpoints.common import IMAGE, RICH, SERVE, STOCKED, Operation, drop_volumes, is_there, remove
from tests.failpoints.containers import end
from tests.failpoints.table import EVERY_RECORD, MONITORS, OF_A_RUN, OPERATIONS, POINTS, PREPARED_APART
from tests.integration.conftest import make_world
from tests.support.deaths import armed, at_rest, die_at, kill_supervisor, stop_services
from tests.support.hostns import HostNetwork
from tests.support.leaks import Lines
from tests.support.poll import poll_until
from tests.support.world import World


@pytest.fixture(scope="module")
def mortal(host_network: HostNetwork, busybox_rootfs: str) -> Iterator[World]:
    """A world whose services die all the time, with images `busybox` and `stocked`."""
    for world in make_world(host_network, busybox_rootfs):
        world.ok("image", "import", "-v", "/srv", busybox_rootfs, STOCKED)
        with world.forking():
            yield world
        world.ok("ps")


@pytest.fixture(autouse=True)
def cleared(mortal: World) -> Iterator[None]:
    """What a failed test leaves has names and ports that those after it would want."""
    yield
    paths = mortal.paths
    places = (paths.containers_dir, paths.tenants_dir, paths.volumes_dir)
    if any(os.path.isdir(place) and os.listdir(place) for place in places):
        mortal.clear()
        mortal.ok("volume", "create", "first")  # makes their directory, which is there when all is at rest
        mortal.ok("volume", "rm", "first")


@pytest.fixture(scope="module")
def rested(mortal: World) -> Lines:
    """What the world holds with nothing in it."""
    mortal.ok("volume", "create", "first")
    mortal.ok("run", "--rm", *RICH, IMAGE, "true")
    mortal.ok("volume", "rm", "first", "named")
    container = "warm"
    mortal.ok("create", "--name", container, IMAGE, *SERVE)
    mortal.ok("snapshot", "create", container, "one")
    mortal.ok("rm", container)
    return at_rest(mortal)


def test_every_failpoint_has_an_operation() -> None:
    assert {EVERY_RECORD, *(point for point, _ in POINTS)} == set(NAMES)


def cut_off(world: World, failpoint: str, operation: Operation, *, prepared_apart: bool) -> bool:
    """Do an operation, dying at a failpoint, and look at what is left; tell whether it was reached.

    With `prepared_apart` only the services that do the command itself have the failpoint.
    """
    steps = operation(world)
    if operation in MONITORS:
        stop_services(world, monitor=True)
    if prepared_apart:
        command = next(steps)
        stop_services(world)
    else:
        with armed(world, failpoint):
            command = next(steps)
    is_reached, result = die_at(world, failpoint, *command)
    if is_reached:
        assert result.exit_code in (0, 1, 8, 125), result
    else:
        assert result.exit_code == 0, result
    kill_supervisor(world)  # if it lost only its monitor or worker: it has the failpoint all the same
    world.ok("ps")
    with suppress(StopIteration):
        next(steps)
    return is_reached


@pytest.mark.parametrize(("point", "operation"), POINTS, ids=[point for point, _ in POINTS])
def test_killed_there(mortal: World, rested: Lines, point: str, operation: Operation) -> None:
    """FLT-01"""
    assert cut_off(mortal, point, operation, prepared_apart=operation in PREPARED_APART), f"{point} was not reached"
    at_rest(mortal, rested)


@pytest.mark.parametrize(
    "operation",
    [each for each in OPERATIONS if each not in MONITORS],
    ids=lambda each: each.__name__,
)
def test_killed_before_each_record_counts(mortal: World, rested: Lines, operation: Operation) -> None:
    """FLT-01. Before each rename that makes a record the one that counts, until the operation has no further one."""
    for number in range(1, 30):
        if not cut_off(mortal, f"{EVERY_RECORD}:{number}", operation, prepared_apart=True):
            break
    else:
        raise AssertionError("there is no end of records")
    at_rest(mortal, rested)


@pytest.mark.parametrize("point", OF_A_RUN)
def test_a_run_that_was_cut_off_has_not_happened(mortal: World, rested: Lines, point: str) -> None:
    """Its client was told that it failed: also where it ran already. A volume with a name may stay."""
    is_reached, result = die_at(mortal, point, "run", "-d", "--name", "one", *RICH, STOCKED, *SERVE)
    assert is_reached and result.exit_code in (1, 125), result
    kill_supervisor(mortal)
    assert mortal.ok("ps", "-aq") == ""
    assert mortal.ok("volume", "list", "-q") in ("", "named")
    drop_volumes(mortal, "named")
    remove(mortal, "one")
    at_rest(mortal, rested)


@pytest.mark.parametrize("point", OPERATIONS[end])
@pytest.mark.parametrize("policy", ["--restart=always", "--rm"])
def test_what_was_to_follow_an_end_follows(
    mortal: World, rested: Lines, tmp_path: Path, point: str, policy: str
) -> None:
    """FLT-01. A policy, or the removal that was promised, is not lost with who was about to see to it."""
    world = mortal
    stop_services(world)
    tmp_path.chmod(0o777)
    script = "echo x >> /count/runs; [ $(wc -l < /count/runs) -gt 1 ] && sleep 1000; exit 3"
    command = ("run", "-d", policy, "--name", "one", "-v", f"{tmp_path}:/count", IMAGE, "sh", "-c", script)
    is_reached, _ = die_at(world, point, *command)
    assert is_reached
    kill_supervisor(world)  # what it said was its last word, but it may not be dead yet
    world.ok("ps")
    if policy == "--rm":
        poll_until(lambda: not is_there(world, "one"), what="it is removed")
    else:
        world.wait_for_status("one", "running")
    remove(world, "one")
    at_rest(world, rested)

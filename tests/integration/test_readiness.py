"""READY=1 from inside: who waits for it, what comes when it does not come, and what else may be said."""

import contextlib
import os
import signal
import subprocess
import time

import pytest

from tests.integration.conftest import IMAGE
from tests.integration.test_oom import Listener
from tests.support.poll import SLOWNESS, poll_until
from tests.support.world import World, unique_name

READY_LATER = ("sh", "-c", "until test -e /go; do sleep 0.05; done; payload notify READY=1; payload sleep 0")


@pytest.mark.parametrize("verb", ["run", "start", "restart"])
def test_a_start_waits(world: World, verb: str) -> None:
    name = unique_name()
    arguments: tuple[str, ...] = (verb, name)
    world.ok(
        "create", "--name", name, "--notify", "--health-cmd", "true", "--health-interval", "1h", IMAGE, *READY_LATER
    )
    if verb == "run":
        world.ok("rm", name)
        arguments = ("run", "-d", "--name", name, "--notify", IMAGE, *READY_LATER)
    starting = world.popen(*arguments)
    poll_until(lambda: world.cli("exec", name, "true").exit_code == 0, timeout_seconds=30, what="it runs")
    assert world.inspect(name)["health"] == "starting"
    with contextlib.suppress(subprocess.TimeoutExpired):
        starting.wait(1)
    assert starting.poll() is None, "nobody is told that it has started"
    world.ok("exec", name, "touch", "/go")
    out, err = starting.communicate(timeout=30 * SLOWNESS)
    assert (starting.returncode, err) == (0, b""), out
    assert world.inspect(name)["health"] == "ready"
    assert world.ok("logs", name) == "notify: ok"


def test_a_run_that_waits_goes_on_after_reloads(own_world: World) -> None:
    """And its client is answered; but one that waits while the supervisor is told to end has no answer, and runs on."""
    world = own_world
    starting = {name: world.popen("run", "-d", "--name", name, "--notify", IMAGE, *READY_LATER) for name in ("a", "b")}
    for name in starting:
        poll_until(lambda name=name: world.cli("exec", name, "true").exit_code == 0, what="it runs")  # type: ignore[misc]
    for _ in range(2):
        world.ok("service", "reload")
    assert [process.poll() for process in starting.values()] == [None, None]
    world.ok("exec", "a", "touch", "/go")
    out, err = starting["a"].communicate(timeout=30 * SLOWNESS)
    assert (starting["a"].returncode, err, len(out)) == (0, b"", 13)
    supervisor, pid = world.supervisor_pid(), world.inspect("b")["pid"]
    world.ok("service", "stop")
    poll_until(lambda: not os.path.exists(f"/proc/{supervisor}"), what="the supervisor is gone")
    assert starting["b"].wait(30 * SLOWNESS) == 125
    assert (world.status("b"), world.inspect("b")["pid"]) == ("running", pid)


def test_not_in_time(world: World) -> None:
    listener = Listener(world)
    name = unique_name()
    options = ("--notify", "--notify-timeout", "1", "--stop-timeout", "0")
    world.ok("create", "--name", name, *options, IMAGE, "payload", "sleep", "0")
    message = world.refused(125, "start", name)
    assert message.startswith(
        f"pycontainer: container '{name}' did not say READY=1 within 1 seconds\nhint: NOTIFY_SOCKET"
    )
    world.wait_for_status(name, "stopped")
    assert world.inspect(name)["cause"] == "not-ready"
    assert "not ready in time)" in world.ok("ps", "-a", "--filter", f"name={name}")
    assert listener.first("die", name)["cause"] == "not-ready"
    world.ok("rm", name)
    world.refused(125, "run", "-d", "--name", name, *options, IMAGE, "payload", "sleep", "0")
    poll_until(lambda: name not in world.ok("ps", "-a"), what="nothing remains")


def test_a_policy_takes_it_for_a_failure(world: World) -> None:
    name = unique_name()
    options = ("--notify", "--notify-timeout", "1", "--stop-timeout", "0", "--restart", "on-failure:1")
    world.ok("create", "--name", name, *options, IMAGE, "payload", "sleep", "0")
    world.refused(125, "start", name)
    world.wait_for_status(name, "stopped", timeout_seconds=20)
    assert world.inspect(name)["restart_count"] == 1


def test_it_ends_before(world: World) -> None:
    name = unique_name()
    message = world.refused(125, "run", "-d", "--name", name, "--notify", IMAGE, "payload", "exit", "3")
    assert message.startswith(f"pycontainer: container '{name}' ended before it said READY=1, exit code 3\n")
    name = unique_name()
    world.ok("run", "-d", "--name", name, "--notify", IMAGE, "payload", "notify", "READY=1", "exit", "3")
    world.wait_for_status(name, "stopped")


def test_in_the_foreground_nobody_waits(world: World) -> None:
    result = world.cli("run", "--rm", "--notify", IMAGE, "payload", "out", "done", "exit", "4")
    assert (result.exit_code, result.stdout) == (4, "done\n")


def test_the_way_there_is_not_the_container_s(world: World) -> None:
    """FD-04: the variable is there for the first process alone; nobody inside removes or replaces the socket."""
    name = unique_name()
    world.ok("run", "-d", "--name", name, "--notify", IMAGE, "payload", "env", "notify", "READY=1", "sleep", "0")
    assert "NOTIFY_SOCKET=/dev/pycontainer/notify" in world.ok("logs", name).split("\n")
    assert "NOTIFY_SOCKET" not in world.ok("exec", name, "env")
    for command in ("rm /dev/pycontainer/notify", "touch /dev/pycontainer/x", "umount /dev/pycontainer"):
        assert world.cli("exec", name, *command.split()).exit_code != 0, command
    assert world.ok("exec", name, "ls", "/dev/pycontainer") == "notify"
    assert world.ok("run", "--rm", IMAGE, "sh", "-c", "payload notify READY=1; ls -d /dev/pycontainer || :") == (
        "notify: nowhere"
    )
    user = unique_name()
    world.ok(
        "run",
        "-d",
        "--name",
        user,
        "--notify",
        "-u",
        "33",
        "--read-only",
        IMAGE,
        *("payload", "notify", "READY=1", "sleep", "0"),
    )


def test_whatever_it_says(world: World) -> None:
    """RES-04: a flood, with descriptors; others are served, and nothing of it stays with the supervisor."""
    name = unique_name()
    flood = "payload notify READY=1; while :; do payload notify STATUS=$((i = i + 1)); done"
    world.ok("run", "-d", "--name", name, "--notify", IMAGE, "sh", "-c", flood)
    before = _held_descriptors(world)
    seen = poll_until(lambda: world.inspect(name)["health_check"]["said"])
    poll_until(lambda: world.inspect(name)["health_check"]["said"] != seen)
    for _ in range(5):
        assert world.ok("run", "--rm", IMAGE, "echo", "served") == "served"
    poll_until(lambda: _held_descriptors(world) <= before, what="descriptors as before")


def _held_descriptors(world: World) -> int:
    """Return how many the supervisor has all the time: more are open while it answers, or hears something."""
    counts = []
    for _ in range(20):
        counts.append(len(os.listdir(f"/proc/{world.supervisor_pid()}/fd")))
        time.sleep(0.01)
    return min(counts)


def test_over_the_death_of_the_supervisor(own_world: World) -> None:
    """FLT-03: the next one hears it in the same place; a socket of a container that ended meanwhile goes."""
    world = own_world
    name, ended = unique_name(), unique_name()
    world.ok("create", "--name", name, "--notify", IMAGE, *READY_LATER)
    starting = world.popen("start", name)
    poll_until(lambda: world.cli("exec", name, "true").exit_code == 0, timeout_seconds=30, what="it runs")
    world.ok("run", "-d", "--name", ended, "--notify", IMAGE, "payload", "notify", "READY=1", "sleep", "0")
    pid = world.inspect(ended)["pid"]
    os.kill(world.supervisor_pid(), signal.SIGKILL)
    starting.communicate(timeout=30 * SLOWNESS)
    assert starting.returncode != 0
    os.kill(pid, signal.SIGKILL)
    poll_until(lambda: world.status(ended) == "stopped")
    assert world.inspect(name)["health"] == "starting"
    assert os.listdir(world.paths.notify_dir) == [world.inspect(name)["id"]]
    world.ok("exec", name, "touch", "/go")
    poll_until(lambda: world.inspect(name)["health"] == "ready")
    world.ok("rm", "-f", name, ended)
    assert not os.path.exists(world.paths.notify_dir)

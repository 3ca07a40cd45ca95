"""`service reload`: supervisor and monitor become another program in their own place, and nobody notices."""

import json
import os
import signal
import subprocess
import threading
import time
from typing import Any

import pytest

from tests.integration.conftest import IMAGE
from tests.integration.test_supervisor_death import SERVE, TICK, monitor_of, monitor_pid, start_time
from tests.support.poll import SLOWNESS, poll_until
from tests.support.world import World


def programs_began(world: World, pids: tuple[int, ...]) -> list[str]:
    """Return what each process executes, as its address space tells: a new program has another one."""
    return [open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[25] for pid in pids]  # startstack


@pytest.mark.vm
def test_all_goes_on_in_the_same_processes(own_world: World) -> None:
    world = own_world
    world.ok("run", "-d", "--name", "tick", IMAGE, *TICK)
    poll_until(lambda: "tick 3" in world.ok("logs", "tick"))
    before = world.inspect("tick")
    pids = world.supervisor_pid(), monitor_pid(world)
    times = [start_time(pid) for pid in pids]
    stacks = programs_began(world, pids)
    assert world.ok("service", "reload").startswith("the service is version ")
    assert (world.supervisor_pid(), monitor_pid(world)) == pids
    assert [start_time(pid) for pid in pids] == times
    assert all(new != old for new, old in zip(programs_began(world, pids), stacks, strict=True))
    after = world.inspect("tick")
    assert (after["status"], after["pid"], after["started"]) == ("running", before["pid"], before["started"])
    os.kill(after["pid"], signal.SIGUSR1)
    world.wait_for_status("tick", "stopped")
    assert world.inspect("tick")["exit_code"] == 6
    lines = world.ok("logs", "tick").splitlines()
    assert lines == [f"tick {number}" for number in range(len(lines))]  # none is missing, none is there twice


def test_whoever_waits_is_answered(own_world: World) -> None:
    """exec, wait, events and attach, across three reloads, one of which finds a container being started."""
    world = own_world
    world.ok("run", "-d", "--name", "box", IMAGE, "payload", "sleep", "0")
    script = "read line; echo got $line; exit 7"
    running = subprocess.Popen(
        world.argv("exec", "-i", "box", "sh", "-c", script), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    waiting = world.popen("wait", "box", stdout=subprocess.PIPE)
    foreground = world.popen(
        "run", "--rm", "-i", "--name", "front", IMAGE, "sh", "-c", script, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    poll_until(lambda: "front" in world.ok("ps"), what="one more runs")
    events = world.popen("events", "--format", "json", stdout=subprocess.PIPE)
    poll_until(lambda: "read line" in world.ok("top", "box"), what="exec runs")
    for _ in range(3):
        world.ok("service", "reload")
    out, _ = running.communicate(b"this\n", timeout=30 * SLOWNESS)
    assert (out, running.returncode) == (b"got this\n", 7)
    out, _ = foreground.communicate(b"that\n", timeout=30 * SLOWNESS)
    assert (out, foreground.returncode) == (b"got that\n", 7)
    world.ok("stop", "-t", "0", "box")
    assert waiting.communicate(timeout=30 * SLOWNESS)[0] == b"137\n"
    assert events.stdout is not None
    told: list[dict[str, Any]] = []
    while not told or told[-1]["type"] != "die":
        told.append(json.loads(events.stdout.readline()))
    numbers = [each["seq"] for each in told]
    assert numbers == list(range(told[0]["seq"], told[-1]["seq"] + 1))  # each once, those between two programs as well
    reloads = [(each["type"], each["cause"]) for each in told if str(each["type"]).startswith("supervisor-")]
    assert reloads == [("supervisor-stop", "reload"), ("supervisor-start", "")] * 3
    events.kill()
    events.communicate()


def test_no_descriptor_is_left_behind(own_world: World) -> None:
    """Reloads, and monitors that die, leave as many descriptors as there were."""
    world = own_world
    for name, terminal in (("pipes", ()), ("terminal", ("-t",))):
        world.ok("run", "-d", *terminal, "--name", name, IMAGE, "payload", "sleep", "0")
    monitor = monitor_pid(world)
    world.ok("service", "reload")  # from here on it is as a reload leaves it
    pids = world.supervisor_pid(), monitor
    poll_until(lambda: f"{world.paths.ledger_file}-wal" in open_files(pids[0]), what="a thread has opened the ledger")
    before = [open_files(pid) for pid in pids]
    for _ in range(3):
        world.ok("service", "reload")
    poll_until(lambda: [open_files(pid) for pid in pids] == before, what="both have what they had")
    os.kill(monitor, signal.SIGKILL)
    poll_until(lambda: monitor_of(world) not in (0, monitor), what="another monitor")
    world.ok("service", "reload")
    poll_until(lambda: open_files(pids[0]) == before[0], what="the supervisor has what it had")
    pipes = [name for name in open_files(monitor_of(world)) if name.startswith("pipe")]
    assert len(pipes) == 2  # stdout and stderr of one; the new monitor inherited nothing


def open_files(pid: int) -> list[str]:
    """Return what a process has open, sorted; of sockets and pipes, that there is one."""
    names = (os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd"))
    return sorted(name.partition(":[")[0] for name in names)


def test_no_request_to_a_server_fails(own_world: World) -> None:
    world = own_world
    world.ok("run", "-d", "--name", "web", "-p", "8080:80", IMAGE, *SERVE)
    assert world.network.inside.http_get_soon("http://127.0.0.1:8080/") == "hello\n"
    answers: list[str] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            answers.append(world.network.inside.http_get("http://127.0.0.1:8080/"))
            answers.append(world.network.outside.http_get("http://192.0.2.1:8080/"))

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        for _ in range(3):
            world.ok("service", "reload")
            world.ok("ps")
    finally:
        stop.set()
        asking.join()
    assert len(answers) > 4
    assert set(answers) == {"hello\n"}


def test_commands_at_the_same_time_succeed(own_world: World) -> None:
    world = own_world
    world.ok("run", "-d", "--name", "box", IMAGE, "payload", "sleep", "0")
    commands = [world.popen("run", "--rm", IMAGE, "echo", str(number), stdout=subprocess.PIPE) for number in range(8)]
    for _ in range(2):
        world.ok("service", "reload")
        time.sleep(0.1)
    results = [(command.communicate(timeout=60 * SLOWNESS)[0], command.returncode) for command in commands]
    assert results == [(f"{number}\n".encode(), 0) for number in range(8)]


def test_without_a_service_there_is_nothing_to_do(own_world: World) -> None:
    own_world.cli("service", "stop")
    assert own_world.ok("service", "reload") == "the service was not running"


def test_what_ends_between_two_programs(own_world: World) -> None:
    """Its exit code reaches who waited, though it goes with its end; what starts again is not taken for what has ended."""
    world = own_world
    world.ok("run", "-d", "--name", "again", "--restart", "always", IMAGE, "payload", "sleep", "0")
    script = "trap 'exit 7' TERM; echo set; while :; do sleep 0.05; done"
    world.ok("run", "-d", "--rm", "--name", "gone", IMAGE, "sh", "-c", script)
    poll_until(lambda: "set" in world.ok("logs", "gone"))
    first = world.inspect("again")["pid"]
    pids = {first: signal.SIGKILL, world.inspect("gone")["pid"]: signal.SIGTERM}
    waiting = [world.popen("wait", name, stdout=subprocess.PIPE) for name in ("again", "gone")]
    poll_until(lambda: len(clients_of(world)) >= 2, what="both wait")
    supervisor = (world.supervisor_pid(),)
    before = programs_began(world, supervisor)
    reloading = world.popen("service", "reload", stdout=subprocess.PIPE)
    while programs_began(world, supervisor) == before:
        time.sleep(0.001)
    for pid, number in pids.items():
        os.kill(pid, number)
    assert reloading.communicate(timeout=60 * SLOWNESS)[0].startswith(b"the service is version ")
    assert [each.communicate(timeout=30 * SLOWNESS)[0] for each in waiting] == [b"137\n", b"7\n"]
    poll_until(lambda: world.inspect("again")["status"] == "running", what="it runs again")
    second = world.inspect("again")["pid"]
    time.sleep(1)  # longer than the first restarts would take that follow one another
    after = world.inspect("again")
    assert (after["pid"], after["restart_count"]) == (second, 1) and second != first
    assert "gone" not in world.ok("ps", "--all")


def clients_of(world: World) -> list[str]:
    """Return the lines of the connections that the supervisor's socket has accepted."""
    with open(f"/proc/{world.supervisor_pid()}/net/unix") as file:
        return [line for line in file if line.rstrip().endswith(world.paths.supervisor_socket) and " 03 " in line]


def test_one_reload_at_a_time(own_world: World) -> None:
    world = own_world
    world.ok("run", "-d", "--name", "box", IMAGE, "payload", "sleep", "0")
    reloads = [world.popen("service", "reload", stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(4)]
    results = [(*each.communicate(timeout=60 * SLOWNESS), each.returncode) for each in reloads]
    done = [out for out, _, code in results if code == 0]
    refused = [error for _, error, code in results if code]
    assert done and all(out.startswith(b"the service is version ") for out in done)
    assert all(b"is just being replaced by new code" in error for error in refused)
    assert world.inspect("box")["status"] == "running"


def test_who_waits_for_a_container_to_be_ready(own_world: World) -> None:
    """How long it takes to say READY=1 is the container's: nobody has to wait for it but who started it."""
    world = own_world
    say = "until [ -e /go ]; do sleep 0.05; done; payload notify READY=1; sleep 1000"
    world.ok("create", "--name", "slow", "--notify", IMAGE, "sh", "-c", say)
    starting = world.popen("start", "slow", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    poll_until(lambda: world.inspect("slow")["status"] == "running")
    for _ in range(2):
        assert world.ok("service", "reload").startswith("the service is version ")
    assert starting.poll() is None
    assert world.inspect("slow")["health"] == "starting"
    world.ok("exec", "slow", "touch", "/go")
    _, error = starting.communicate(timeout=30 * SLOWNESS)
    assert (error, starting.returncode) == (b"", 0)
    assert world.inspect("slow")["health"] == "ready"
    world.ok("rm", "-f", "slow")


def test_ready_is_heard_between_two_programs(own_world: World) -> None:
    """Its socket stays open: what is said then waits."""
    world = own_world
    world.ok(
        "create",
        "--name",
        "box",
        "--notify",
        IMAGE,
        "sh",
        "-c",
        "trap 'payload notify READY=1' USR1; while :; do sleep 0.05; done",
    )
    starting = world.popen("start", "box", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    poll_until(lambda: world.inspect("box")["status"] == "running")
    time.sleep(0.3)  # the shell has set its trap
    pid, supervisor = world.inspect("box")["pid"], (world.supervisor_pid(),)
    before = programs_began(world, supervisor)
    reloading = world.popen("service", "reload", stdout=subprocess.PIPE)
    while programs_began(world, supervisor) == before:
        time.sleep(0.001)
    os.kill(pid, signal.SIGUSR1)
    assert reloading.communicate(timeout=60 * SLOWNESS)[0].startswith(b"the service is version ")
    assert (starting.communicate(timeout=30 * SLOWNESS)[1], starting.returncode) == (b"", 0)

"""The supervisor and the monitor die; containers go on, and nothing about them is lost."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from tests.integration.conftest import IMAGE
from tests.support.deaths import kill_supervisor
from tests.support.poll import SLOWNESS, poll_until
from tests.support.world import World, process_commands

TICK = ("sh", "-c", 'trap "exit 6" USR1; i=0; while [ $i -lt 1000 ]; do echo tick $i; i=$((i+1)); sleep 0.05; done')
SERVE = ("sh", "-c", "mkdir -p /www; echo hello > /www/index.html; exec httpd -f -h /www -p 80")

# Four threads of one client ask until there is no more input; it tells how many supervisors answered, and what was lost.
_ASK = """
import json, sys, threading
from pycontainer import Client
from pycontainer.errors import PycontainerError
answered, lost, over = [], [], threading.Event()
def ask():
    while not over.is_set():
        try:
            answered.append(host.info()["supervisor_pid"])
        except PycontainerError as error:
            lost.append(str(error))
with Client(root=sys.argv[1]) as host:
    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    over.set()
    for thread in threads:
        thread.join()
print(json.dumps([len(set(answered)), lost]))
"""


def monitor_pid(world: World) -> int:
    """Return the pid of the world's monitor, the parent of every container's init."""
    world.ok("run", "-d", "--name", "probe", IMAGE, "payload", "sleep", "0")
    with open(f"/proc/{world.inspect('probe')['pid']}/status") as file:
        parent = next(int(line.split()[1]) for line in file if line.startswith("PPid:"))
    world.ok("rm", "-f", "probe")
    return parent


def monitor_of(world: World) -> int:
    """Return the pid of the world's monitor, 0 without one."""
    commands = ((pid, command) for pid, command in process_commands() if world.root in command)
    return next((pid for pid, command in commands if "pycontainer.monitor.main" in command), 0)


def start_time(pid: int) -> str:
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rsplit(")", 1)[1].split()[19]


def test_requests_are_answered_while_it_is_dead(own_world: World) -> None:
    world = own_world
    world.ok("run", "-d", "--name", "web", "-p", "8080:80", IMAGE, *SERVE)
    before = world.inspect("web")
    inside, outside = world.network.inside, world.network.outside
    assert inside.http_get_soon("http://127.0.0.1:8080/") == "hello\n"
    kill_supervisor(world)
    assert inside.http_get("http://127.0.0.1:8080/") == "hello\n"
    assert inside.http_get("http://[::1]:8080/") == "hello\n"
    assert outside.http_get("http://192.0.2.1:8080/") == "hello\n"
    after = world.inspect("web")  # the next command starts a new supervisor, which finds it running
    assert (after["status"], after["pid"], after["started"]) == ("running", before["pid"], before["started"])
    assert inside.http_get("http://127.0.0.1:8080/") == "hello\n"
    world.ok("stop", "-t", "0", "web")
    assert world.inspect("web")["exit_code"] == 137


def test_logs_and_exit_code_are_complete(own_world: World) -> None:
    world = own_world
    world.ok("run", "-d", "--name", "tick", IMAGE, *TICK)
    poll_until(lambda: "tick 3" in world.ok("logs", "tick"))
    pid = world.inspect("tick")["pid"]
    kill_supervisor(world)
    time.sleep(0.5)
    os.kill(pid, signal.SIGUSR1)
    poll_until(lambda: not os.path.exists(f"/proc/{pid}"), what="the container ends without a supervisor")
    record = world.inspect("tick")
    assert (record["status"], record["exit_code"]) == ("stopped", 6)
    lines = world.ok("logs", "tick").split("\n")
    assert lines == [f"tick {number}" for number in range(len(lines))]
    assert len(lines) > 5
    assert world.ok("wait", "tick") == "6"


def test_twenty_containers_are_found_undisturbed(own_world: World) -> None:
    """FLT-03"""
    world = own_world
    names = [f"c{number}" for number in range(20)]
    for name in names:
        world.ok("run", "-d", "--name", name, "-m", "64M", IMAGE, "payload", "sleep", "0")
    identities = {}
    for name in names:
        pid = world.inspect(name)["pid"]
        identities[name] = (pid, start_time(pid))
    kill_supervisor(world)
    began = time.monotonic()
    world.ok("ps")
    assert time.monotonic() - began < 5 * SLOWNESS
    for name in names:
        record = world.inspect(name)
        assert (record["status"], record["memory_bytes"]) == ("running", 64 << 20)
        assert (record["pid"], start_time(record["pid"])) == identities[name]
    assert world.cli("exec", "c7", "payload", "exit", "3").exit_code == 3


def test_auto_remove_happens_after_a_death(own_world: World) -> None:
    world = own_world
    world.ok("run", "-d", "--rm", "--name", "brief", IMAGE, *TICK)
    poll_until(lambda: "tick 0" in world.ok("logs", "brief"))
    pid = world.inspect("brief")["pid"]
    kill_supervisor(world)
    os.kill(pid, signal.SIGUSR1)
    poll_until(lambda: not os.path.exists(f"/proc/{pid}"))
    poll_until(lambda: world.ok("ps", "-aq") == "", what="the removal that was promised")


def test_killed_in_the_middle_of_operations(own_world: World) -> None:
    """FLT-01 in small: at moments not chosen; afterwards each container is whole or gone, its name usable."""
    world = own_world
    for number in range(10):
        process = world.popen("run", "-d", "--name", "half", IMAGE, "payload", "sleep", "0")
        time.sleep(0.01 * number)
        kill_supervisor(world)
        process.communicate(timeout=60)
        world.ok("ps", "-a")
        world.cli("rm", "-f", "half")
        world.ok("run", "--rm", "--name", "half", IMAGE, "true")
    assert world.ok("ps", "-aq") == ""


def test_killed_init_is_reported(own_world: World) -> None:
    """FLT-04"""
    world = own_world
    world.ok("run", "-d", "--name", "one", IMAGE, "payload", "sleep", "0")
    world.ok("run", "-d", "--name", "two", IMAGE, "payload", "sleep", "0")
    os.kill(world.inspect("one")["pid"], signal.SIGKILL)
    world.wait_for_status("one", "stopped")
    assert world.inspect("one")["exit_code"] == 137
    assert world.status("two") == "running"


def test_a_cgroup_that_was_removed_hides_nothing_else(own_world: World) -> None:
    """A supervisor that dies while it removes one leaves the next with a run without it, until its end is looked at."""
    world = own_world
    world.ok("run", "-d", "--name", "one", IMAGE, "payload", "sleep", "0")
    record = world.inspect("one")
    (directory,) = [path for name, path in record["cgroup"]["paths"].items() if name in ("devices", "unified", "")][:1]
    with open(f"{directory}/cgroup.procs") as file:
        pids = file.read().split()
    for pid in pids:  # out of it, as a cgroup with processes cannot be removed
        with open(f"{os.path.dirname(os.path.dirname(directory))}/cgroup.procs", "w") as file:
            file.write(pid)
    os.rmdir(directory)
    found = world.inspect("one")
    assert (found["status"], found["limits"], found["pid"]) == ("running", {}, record["pid"])
    assert found["security"]["devices"] == record["security"]["devices"]
    world.ok("rm", "-f", "one")


def test_killed_monitor_disturbs_no_container(own_world: World) -> None:
    """FLT-04: the containers go on, and new ones start; an exit code that cannot be known is not made up."""
    world = own_world
    parent = monitor_pid(world)
    world.ok("run", "-d", "--name", "tick", IMAGE, *TICK)
    poll_until(lambda: "tick 3" in world.ok("logs", "tick"))
    pid = world.inspect("tick")["pid"]
    os.kill(parent, signal.SIGKILL)
    poll_until(lambda: parent not in world.processes(), what="the monitor is gone")
    assert world.status("tick") == "running"
    assert world.inspect("tick")["pid"] == pid
    assert world.cli("exec", "tick", "payload", "exit", "3").exit_code == 3
    world.ok("run", "--rm", IMAGE, "true")
    world.ok("stop", "-t", "1", "tick")
    assert world.inspect("tick")["exit_code"] in (137, None)


def test_services_go_when_idle_and_come_back(own_world: World) -> None:
    world = own_world
    world.ok("service", "stop")
    poll_until(lambda: not world.processes(), what="supervisor and monitor have ended")
    assert world.ok("run", "--rm", IMAGE, "payload", "out", "again") == "again"


def test_what_is_asked_while_it_ends_is_answered(own_world: World) -> None:
    """By the one that ends, or by the next: a unit's `stop` may come just as the host's end stops the service."""
    world = own_world
    asking = subprocess.Popen(
        world.network.inside.argv(sys.executable, "-c", _ASK, world.root),
        env=world.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    ends = 0
    while ends < 10:
        ends += world.ok("service", "stop") == "supervisor stopped"
    supervisors, lost = json.loads(asking.communicate(timeout=60 * SLOWNESS)[0])
    assert lost == []
    assert supervisors >= 5  # on a busy host one or the other ends before it was asked


def test_a_stop_that_is_under_way_ends_before_it(own_world: World) -> None:
    world = own_world
    world.ok("run", "-d", "--name", "deaf", IMAGE, "sh", "-c", "trap '' TERM; while :; do sleep 0.1; done")
    stopping = world.popen("stop", "-t", "2", "deaf")
    poll_until(lambda: "kill" in world.ok("events", "--since", "1h", "--no-follow", "--filter", "type=kill"))
    world.ok("service", "stop")
    output = stopping.communicate(timeout=30 * SLOWNESS)
    assert (stopping.returncode, output) == (0, (b"deaf\n", b""))
    assert world.inspect("deaf")["exit_code"] == 137


@pytest.mark.parametrize("how", ["asked to end", "killed"])
def test_run_in_the_foreground_has_its_exit_code(own_world: World, how: str) -> None:
    """Though the container removes itself, and its end is what the next supervisor hears of it first."""
    world = own_world
    running = world.popen("run", "--rm", IMAGE, "sh", "-c", "echo up; sleep 1; exit 9")
    assert running.stdout is not None and running.stdout.readline() == b"up\n"
    if how == "killed":
        kill_supervisor(world)
    else:
        world.ok("service", "stop")
    assert (running.communicate(timeout=30 * SLOWNESS), running.returncode) == ((b"", b""), 9)
    assert world.ok("ps", "-aq") == ""


def test_first_starts_at_the_same_time_share_one_monitor(own_world: World) -> None:
    """Four commands meet a world where nothing runs: one supervisor, one monitor, four results."""
    world = own_world
    world.ok("service", "stop")
    poll_until(lambda: not world.processes(), what="the services are gone")
    commands = [world.popen("run", "--rm", IMAGE, "payload", "out", str(number)) for number in range(4)]
    outputs = [command.communicate(timeout=30 * SLOWNESS)[0] for command in commands]
    assert [command.returncode for command in commands] == [0, 0, 0, 0]
    assert outputs == [b"0\n", b"1\n", b"2\n", b"3\n"]


def test_containers_survive_both_services(own_world: World) -> None:
    """The monitor dies, then the supervisor: the next one finds the container running, and sees its end."""
    world = own_world
    world.ok("run", "-d", "--name", "tick", IMAGE, *TICK)
    pid = world.inspect("tick")["pid"]
    for victim in (monitor_pid(world), world.supervisor_pid()):
        os.kill(victim, signal.SIGKILL)
        poll_until(lambda gone=victim: gone not in world.processes(), what="it is gone")  # type: ignore[misc]
    assert (world.status("tick"), world.inspect("tick")["pid"]) == ("running", pid)
    world.ok("stop", "-t", "1", "tick")
    assert world.inspect("tick")["exit_code"] is None


def test_pending_restart_survives_the_supervisor(own_world: World) -> None:
    world = own_world
    world.ok("run", "-d", "--name", "again", "--restart", "always", IMAGE, "sh", "-c", "sleep 0.2; exit 1")
    poll_until(lambda: world.inspect("again")["restart_count"] >= 3)
    os.kill(world.supervisor_pid(), signal.SIGKILL)
    count = world.inspect("again")["restart_count"]
    poll_until(lambda: world.inspect("again")["restart_count"] > count, timeout_seconds=30)
    world.ok("stop", "-t", "0", "again")
    os.kill(world.supervisor_pid(), signal.SIGKILL)
    assert world.status("again") == "stopped"


def test_killed_monitor_breaks_no_stream(own_world: World) -> None:
    """FLT-04: a new monitor reads on from the ends that the supervisor kept, also after a new supervisor."""
    world = own_world
    parent = monitor_pid(world)
    world.ok("run", "-d", "--name", "tick", IMAGE, *TICK)
    world.ok("run", "-d", "-i", "-t", "--name", "term", IMAGE, "sh", "-c", "while read line; do echo heard $line; done")
    poll_until(lambda: "tick 3" in world.ok("logs", "tick"))
    kill_supervisor(world)
    world.ok("ps")  # a new one, which asks the monitor for the ends
    os.kill(parent, signal.SIGKILL)
    poll_until(lambda: monitor_of(world) not in (0, parent), what="there is a new monitor")
    seen = len(world.ok("logs", "tick").splitlines())
    poll_until(lambda: len(world.ok("logs", "tick").splitlines()) > seen + 5, what="output goes on")
    lines = world.ok("logs", "tick").splitlines()
    assert lines == [f"tick {number}" for number in range(len(lines))]
    attached = world.popen("attach", "term", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert attached.stdin is not None and attached.stdout is not None
    attached.stdin.write(b"hello\n")
    attached.stdin.flush()
    while b"heard hello" not in attached.stdout.readline():
        pass
    attached.kill()
    attached.communicate()
    world.ok("stop", "-t", "0", "tick", "term")
    assert world.inspect("tick")["exit_code"] in (137, None)


def test_who_is_attached_is_told_of_a_killed_monitor(own_world: World) -> None:
    """FLT-04: no end is made up for him: it goes on, and its log with it."""
    world = own_world
    running = world.popen("run", "--name", "tick", IMAGE, *TICK)
    poll_until(lambda: "tick 3" in world.cli("logs", "tick").stdout, what="it ticks")
    os.kill(monitor_of(world), signal.SIGKILL)
    out, errors = running.communicate(timeout=30 * SLOWNESS)
    assert running.returncode == 125 and b"the container's output ends here" in errors
    assert out.startswith(b"tick 0\ntick 1\n")
    seen = len(world.ok("logs", "tick").splitlines())
    poll_until(lambda: len(world.ok("logs", "tick").splitlines()) > seen, what="it goes on")
    world.ok("rm", "-f", "tick")


def test_an_end_without_a_parent_is_told_once(own_world: World) -> None:
    """Supervisor and monitor die; what goes on without a monitor is given to the next one but one. One end, one restart."""
    world = own_world
    world.ok("run", "-d", "--name", "box", "--restart", "on-failure", IMAGE, "payload", "sleep", "0")
    monitor, pid = monitor_of(world), world.inspect("box")["pid"]
    kill_supervisor(world)
    os.kill(monitor, signal.SIGKILL)
    world.ok("run", "-d", "--name", "other", IMAGE, "payload", "sleep", "0")  # by a monitor of its own
    monitor = monitor_of(world)
    os.kill(monitor, signal.SIGKILL)
    poll_until(lambda: monitor_of(world) not in (0, monitor), what="another monitor")
    poll_until(lambda: "monitor-lost" in types_of_events(world, "box"))
    os.kill(pid, signal.SIGKILL)
    poll_until(lambda: world.inspect("box")["pid"] not in (0, pid), what="it was started again")
    assert types_of_events(world, "box")[-3:] == ["die", "restarting", "start"]
    time.sleep(0.5)  # longer than a second restart would wait
    assert types_of_events(world, "box").count("die") == 1
    assert world.inspect("box")["restart_count"] == 1


def types_of_events(world: World, name: str) -> list[str]:
    lines = world.ok(
        "events", "--since", "1h", "--no-follow", "--filter", f"container={name}", "--format", "json"
    ).splitlines()
    return [json.loads(line)["type"] for line in lines]

"""What happened is kept, in order, with who did it: over kills of the supervisor, a full disk, and for who comes late."""

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from pycontainer import InvalidInput
from pycontainer.linux.mounts import umount2
from tests.integration.conftest import IMAGE
from tests.integration.test_oom import Listener
from tests.support.deaths import kill_supervisor
from tests.support.poll import poll_until
from tests.support.world import World, unique_name

ASKING = re.compile(r"uid 0 \(pid [0-9]+, pycontainer\)")


def told(world: World, *options: str) -> list[dict[str, Any]]:
    """Return the events that are kept, oldest first."""
    text = world.ok("events", "--since", "0", "--no-follow", "--format", "json", *options)
    return [json.loads(line) for line in text.splitlines()]


def told_of(world: World, name: str) -> list[dict[str, Any]]:
    return told(world, "--filter", f"container={name}")


def test_a_life_with_who_and_why(world: World) -> None:
    name = unique_name()
    world.ok(
        "run", "-d", "--name", name, IMAGE, "sh", "-c", "trap 'exit 3' TERM; echo ready; while :; do sleep 0.05; done"
    )
    poll_until(lambda: "ready" in world.ok("logs", name))
    world.ok("stop", name)
    world.ok("rm", name)
    found = told_of(world, name)
    assert [(event["type"], event["cause"]) for event in found] == [
        ("create", ""),
        ("start", ""),
        ("kill", "stop"),
        ("die", "asked"),
        ("stop", "stop"),
        ("remove", ""),
    ]
    assert all(ASKING.fullmatch(event["actor"]) for event in found)
    create, start, kill, die, stop, _ = found
    assert create["actor"] == start["actor"] != kill["actor"] == die["actor"] == stop["actor"]
    assert (kill["signal"], die["exit_code"]) == (15, 3)
    with open("/proc/sys/kernel/random/boot_id") as file:
        assert {event["boot"] for event in found} == {file.read().strip()}
    assert [event["seq"] for event in found] == sorted({event["seq"] for event in found})


def test_what_nobody_asked_for(world: World) -> None:
    name = unique_name()
    world.ok("run", "-d", "--name", name, "--restart", "on-failure:1", IMAGE, "sh", "-c", "exit 7")
    poll_until(lambda: len([event for event in told_of(world, name) if event["type"] == "die"]) == 2)
    starts = [event["actor"] for event in told_of(world, name) if event["type"] == "start"]
    assert ASKING.fullmatch(starts[0]) and starts[1:] == ["policy restart"]
    deaths = [event for event in told_of(world, name) if event["type"] == "die"]
    assert [(event["actor"], event["cause"], event["exit_code"]) for event in deaths] == [("kernel", "failure", 7)] * 2
    short = unique_name()
    world.ok("run", "--rm", "--name", short, IMAGE, "true")
    assert told_of(world, short)[-1]["actor"] == "policy auto_remove"


def test_a_signal_from_outside(world: World) -> None:
    name = unique_name()
    world.ok("run", "-d", "--name", name, IMAGE, "sleep", "1000")
    os.kill(world.inspect(name)["pid"], signal.SIGKILL)
    world.wait_for_status(name, "stopped")
    die = told_of(world, name)[-1]
    assert (die["type"], die["cause"], die["signal"], die["actor"]) == ("die", "signal", 9, "kernel")


def test_what_keeps_one_from_starting(world: World) -> None:
    name = unique_name()
    world.ok("create", "--name", name, IMAGE, "no-such-command")
    assert world.cli("start", name).exit_code == 127
    failed = told_of(world, name)[-1]
    assert failed["type"] == "start-failed" and "no-such-command" in failed["detail"]
    assert ASKING.fullmatch(failed["actor"])


def test_a_cursor_over_kills_of_the_supervisor(own_world: World) -> None:
    """FLT-01: what was told before a kill keeps its place; who comes back with his cursor misses nothing, sees none twice."""
    world = own_world
    names: list[str] = []
    heard: list[dict[str, Any]] = []
    for _ in range(3):
        with world.client() as host:
            after = heard[-1]["seq"] if heard else 0
            stream = host.events(after=after)
            names.append(unique_name())
            world.ok("create", "--name", names[-1], IMAGE, "true")
            for event in stream:
                heard.append(dict(event))
                if event["type"] == "create" and event["name"] == names[-1]:
                    break
            names.append(unique_name())
            world.ok("create", "--name", names[-1], IMAGE, "true")  # told to nobody
            kill_supervisor(world)
    world.ok("rm", *names)
    late = told(world, "--filter", "type=create", "--filter", "type=remove")
    assert [event["name"] for event in late if event["name"] in names] == names + names
    everything = told(world)
    seqs = [event["seq"] for event in everything]
    assert seqs == sorted(set(seqs))
    assert [event for event in everything if event["seq"] <= heard[-1]["seq"]] == heard
    assert [event["type"] for event in everything].count("supervisor-start") >= 4
    for line in world.ok("events", "--since", str(heard[-1]["seq"]), "--no-follow", "--format", "json").splitlines():
        assert json.loads(line)["seq"] > heard[-1]["seq"]


def test_the_end_in_peace_is_told(own_world: World) -> None:
    """It is over when `service stop` is: nothing that we use is busy then, no process of ours is there."""
    world = own_world
    world.ok("service", "stop")
    poll_until(lambda: not world.processes(), timeout_seconds=1, what="the monitor has followed")
    (stop, start) = told(world)[-2:]
    assert (stop["type"], start["type"]) == ("supervisor-stop", "supervisor-start")
    assert start["seq"] == stop["seq"] + 1 and start["pid"] != stop["pid"]


def test_a_torn_tail_is_cut_off_and_said(own_world: World) -> None:
    """FLT-09: what a power cut leaves."""
    world = own_world
    world.ok("create", "--name", "one", IMAGE, "true")
    kill_supervisor(world)
    (name,) = os.listdir(world.paths.events_dir)
    with open(f"{world.paths.events_dir}/{name}", "ab") as file:
        file.write(b'{"seq":99,"time":17' + b"\0" * 500)
    world.ok("create", "--name", "two", IMAGE, "true")
    found = told(world)
    assert [event["name"] for event in found if event["type"] == "create"][-2:] == ["one", "two"]
    (damaged,) = [event for event in found if event["type"] == "events-damaged"]
    assert f"{name}': 519 bytes behind the last whole event were damaged, and cut off" in damaged["detail"]


@pytest.fixture
def small_journal(own_world: World) -> Iterator[World]:
    """A world whose events are on a file system of their own, of 64 KiB."""
    world = own_world
    world.ok("service", "stop")
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "none", world.paths.events_dir], check=True, timeout=60
    )
    try:
        yield world
    finally:
        world.cli("service", "stop")
        umount2(world.paths.events_dir, 0)


def test_a_full_disk_stops_nothing(small_journal: World) -> None:
    """FLT-05: containers live and die, listeners hear of it, and what waited is kept when there is room again."""
    world = small_journal
    world.ok("info")
    filler = f"{world.paths.events_dir}/filler"
    listener = Listener(world)
    with open(filler, "wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        while True:
            file.write(b"x" * 4096)
    count = 0
    while "events wait in memory: No space left on device" not in log_of(world) or count % 3:
        count += 1  # until the page that events have is full, too, and some more
        world.ok("run", "--rm", "--name", f"n{count}", IMAGE, "true")
    live = [listener.first("remove", f"n{number}")["seq"] for number in range(1, count + 1)]
    assert live == sorted(set(live))
    os.unlink(filler)
    poll_until(lambda: kept_removals(world) == [f"n{number}" for number in range(1, count + 1)], what="all is on disk")
    kill_supervisor(world)
    removals = [event["name"] for event in told(world, "--filter", "type=remove")]
    assert removals == [f"n{number}" for number in range(1, count + 1)]


def log_of(world: World) -> str:
    with open(world.paths.supervisor_log) as file:
        return file.read()


def kept_removals(world: World) -> list[str]:
    """Return who was removed, by what is in the files."""
    lines = []
    for name in sorted(os.listdir(world.paths.events_dir)):
        with open(f"{world.paths.events_dir}/{name}", "rb") as file:
            lines += [json.loads(line) for line in file if line.endswith(b"\n")]
    return [event["name"] for event in lines if event["type"] == "remove"]


def test_the_command_line(world: World) -> None:
    name = unique_name()
    world.ok("create", "--name", name, IMAGE, "true")
    (line,) = world.ok("events", "--since", "1m", "--no-follow", "-f", f"container={name}").splitlines()
    assert re.fullmatch(
        rf"[0-9T:-]+ create seq=[0-9]+ actor=uid 0 \(pid [0-9]+, pycontainer\) id=[0-9a-f]+ name={name}", line
    )
    newest = told(world)[-1]["seq"]
    assert f"no event {newest + 10**6} yet, the newest is {newest}" in world.refused(
        2, "events", "--since", str(newest + 10**6)
    )
    assert "unknown filter 'colour'" in world.refused(2, "events", "--filter", "colour=red")
    assert "'red' is no filter" in world.refused(2, "events", "--filter", "red")
    assert "'soon' is not a time" in world.refused(2, "events", "--until", "soon")
    assert world.ok("events", "--since", str(newest), "--until", "1s") == ""
    with world.client() as host, pytest.raises(InvalidInput, match="'after' is the number of an event"):
        host.events(after=-1)


def test_modes(world: World) -> None:
    """They tell who does what on this host."""
    world.ok("info")
    assert os.stat(world.paths.events_dir).st_mode & 0o7777 == 0o700
    for name in os.listdir(world.paths.events_dir):
        assert os.stat(f"{world.paths.events_dir}/{name}").st_mode & 0o7777 == 0o600

"""The wall clock is set, a day back and ten years on, while all that waits for something waits: nobody notices. FLT-08."""

import json
import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from pycontainer import Client
from pycontainer.supervisor.restarts import MAX_SECONDS
from tests.integration.conftest import IMAGE
from tests.support.deaths import kill_supervisor
from tests.support.doctor import GONE
from tests.support.poll import poll_until
from tests.support.world import World

pytestmark = [pytest.mark.vm, pytest.mark.requires("own_clock")]
DAY = 86400.0
DEAF = ["sh", "-c", "trap '' TERM; while :; do sleep 1; done"]
AGE = re.compile(r"(less than a second|\d+ (second|minute|hour|day|week|month|year)s?)")


def uptime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@contextmanager
def clock() -> Iterator[Callable[[float], None]]:
    """Yield what sets the wall clock to so many days from the right time; in the end it is right."""
    distance = time.time() - uptime()

    def set_to(days: float) -> None:
        time.clock_settime(time.CLOCK_REALTIME, distance + uptime() + days * DAY)

    try:
        yield set_to
    finally:
        set_to(0)


class Beside:
    """Does something in a thread, with a client of its own; `heard` is what it has told so far."""

    def __init__(self, world: World, work: Callable[[Client, list[Any]], object]) -> None:
        self.heard: list[Any] = []
        self.error: BaseException | None = None
        self._client = Client(root=world.root)
        self._thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        self._thread.start()

    def _run(self, work: Callable[[Client, list[Any]], object]) -> None:
        try:
            work(self._client, self.heard)
        except BaseException as error:
            self.error = error
        finally:
            self._client.close()

    def has_heard(self, kind: str, name: str) -> bool:
        return any(event["type"] == kind and event.get("name") == name for event in self.heard)

    def is_done(self) -> bool:
        if self.error is not None:
            raise self.error
        return not self._thread.is_alive()


def listen(**asked: Any) -> Callable[[Client, list[Any]], None]:
    def work(host: Client, heard: list[Any]) -> None:
        for event in host.events(**asked):
            heard.append(event)

    return work


def restart_supervisor(world: World) -> None:
    kill_supervisor(world)
    world.ok("ps")


def wait_for_a_minute(world: World, name: str) -> float:
    """Have a container that always fails wait as long as one does at most; return the uptime of its next start."""
    path = world.paths.runtime_state(world.inspect(name)["id"])
    while True:
        poll_until(lambda: world.inspect(name)["restart_count"] >= 4, timeout_seconds=20)
        kill_supervisor(world)
        with open(path) as file:
            state = json.load(file)
        if state["restarting"]:
            break
        world.ok("ps")
    with open(path, "w") as file:
        json.dump({**state, "restart_count": 20}, file)
    next_start = uptime() + MAX_SECONDS
    world.ok("ps")
    return next_start


def snapshots(world: World, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(world.ok("snapshot", "list", "--format", "json", name))
    return found


def test_jumps_change_nothing(own_world: World) -> None:
    world = own_world
    with world.client() as host:
        host.run(
            IMAGE, ["sh", "-c", "touch /up; sleep 10000"], name="well",
            health_cmd="sleep 2; test -e /up", health_interval="1s", health_retries=1, health_action="restart",
        )  # fmt: skip
        for name in ("deaf", "soon"):
            host.run(IMAGE, DEAF, name=name, restart="always")
        host.create(IMAGE, ["true"], name="kept", snapshots="every=1d,keep=9")
        host.run(IMAGE, ["false"], name="back", restart="always")
        poll_until(lambda: host.container("well").inspect()["health"] == "healthy", timeout_seconds=30)
    next_start = wait_for_a_minute(world, "back")
    with Client(root=world.root) as host, clock() as set_clock:
        while_one_supervisor_runs(world, host, set_clock, next_start)
    with clock() as set_clock:
        between_two_supervisors(world, set_clock)


def while_one_supervisor_runs(
    world: World, host: Client, set_clock: Callable[[float], None], next_start: float
) -> None:
    names = ("well", "deaf", "back")
    before = {name: host.container(name).inspect() for name in names}

    def nothing_has_happened() -> None:
        now = {name: host.container(name).inspect() for name in names}
        for name in names if uptime() < next_start else names[:-1]:
            for key in ("pid", "started", "restart_count", "status"):
                assert now[name][key] == before[name][key], (name, key)
        assert now["well"]["health"] == "healthy"
        for line in world.ok("ps", "-a", "--filter", "name=well", "--filter", "name=back").splitlines()[1:]:
            assert AGE.search(line) and not re.search(r" -\d", line), line
        assert host.container("kept").snapshots.list() == []

    listening = Beside(world, listen(until=time.time() + 3600))
    brief = Beside(world, listen(until=time.time() + 6))
    patient = Beside(world, lambda other, heard: other.container("deaf").stop(900))
    impatient = Beside(world, lambda other, heard: other.container("soon").stop(5))
    asking = world.popen("exec", "-i", "well", "sh", "-c", "read line; echo got $line", stdin=subprocess.PIPE)
    for kind, name in (("kill", "deaf"), ("kill", "soon"), ("exec", "well")):
        poll_until(lambda: listening.has_heard(kind, name), timeout_seconds=20, what=f"{kind} {name}")  # noqa: B023
    os.mkdir(young := world.paths.container_dir(GONE))  # somebody is just making it, says its age

    set_clock(-1)
    poll_until(lambda: brief.is_done() and impatient.is_done(), timeout_seconds=30, what="what was to end has ended")
    assert host.container("soon").inspect()["status"] == "stopped"
    nothing_has_happened()
    set_clock(3650)
    nothing_has_happened()
    assert [found for found in host.doctor()["findings"] if found["where"] == young] == []
    set_clock(0)
    nothing_has_happened()
    os.rmdir(young)

    assert not patient.is_done() and not listening.is_done()
    host.container("deaf").kill()
    poll_until(patient.is_done, what="the stop of one that has ended")
    assert asking.communicate(b"this\n", timeout=60)[0] == b"got this\n" and asking.returncode == 0
    poll_until(lambda: listening.has_heard("stop", "deaf"))
    numbers, times = [each["seq"] for each in listening.heard], [each["time"] for each in listening.heard]
    assert numbers == sorted(set(numbers))
    assert times != sorted(times), "what happened meanwhile bears the time of then"
    assert {event["name"] for event in listening.heard if event["type"] in ("start", "restarting")} <= {"back"}


def between_two_supervisors(world: World, set_clock: Callable[[float], None]) -> None:
    """Who comes up knows the wall clock alone: one snapshot is made at once, and they keep their order."""
    before = world.inspect("well")
    for days, made in ((3650, 1), (0, 2)):
        set_clock(days)
        restart_supervisor(world)
        poll_until(lambda: len(snapshots(world, "kept")) == made, what=f"snapshot {made}")  # noqa: B023
    restart_supervisor(world)
    first, second = snapshots(world, "kept")
    assert first["created"] > second["created"] + 3000 * DAY
    after = world.inspect("well")
    assert [after[key] for key in ("pid", "started", "restart_count")] == [
        before[key] for key in ("pid", "started", "restart_count")
    ]

"""The order of a boot and of a shutdown, what starts with the host, and what is known after the host went down."""

import asyncio
import errno
import json
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from pycontainer.errors import Busy, PycontainerError
from pycontainer.linux.hostboot import name_of_boot
from pycontainer.paths import HostPaths
from pycontainer.runtime.container import Container, load
from pycontainer.security.idranges import COUNT, FIRST
from pycontainer.spec.model import ContainerSpec, RestartPolicy
from pycontainer.supervisor import boot as module
from pycontainer.supervisor.boot import Boot, Work, in_order
from pycontainer.supervisor.world import World

OTHER_BOOT = "2d0ffbf7-0000-4000-8000-d6a1d3c1f3a1/1"


class Host:
    """A world whose containers start and stop by a word; `said` has what was done, in order."""

    def __init__(self, directory: Path) -> None:
        self.paths = HostPaths(str(directory))
        for each in (self.paths.containers_dir, self.paths.layers_dir, self.paths.run_containers_dir):
            os.makedirs(each, exist_ok=True)
        self.said: list[str] = []
        self.at_once = self.most_at_once = 0
        self.begin()

    def begin(self) -> None:
        """Another supervisor begins."""
        self.world = World(self.paths, open_files_soft=1024)
        self.boot.start, self.boot.stop = self.start, self.stop
        for container_id in sorted(os.listdir(self.paths.containers_dir)):
            self.world.add(load(self.paths, container_id))
        self.boot.load()

    @property
    def boot(self) -> Boot:
        return self.world.boot

    def add(self, name: str, **settings: Any) -> Container:
        number = len(self.world.containers)
        base = FIRST + number * COUNT
        spec = ContainerSpec(name=name, image="a", **settings)
        container = Container(self.paths, f"{number:012x}", spec, None, base=base, created=1000.0 - number)
        os.makedirs(container.directory)
        container.save()
        self.world.add(container)
        return container

    async def start(self, container: Container) -> None:
        self.boot.require_up()
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0)
        self.at_once -= 1
        if dict(container.spec.labels).get("broken"):
            raise PycontainerError("no such command")
        self.said.append(f"+{container.spec.name}")
        self.world.runs[container.id] = None  # type: ignore[assignment]
        self.boot.note(container)

    async def stop(self, container: Container, seconds: float) -> None:
        container.stopping = True
        self.boot.forget(container)  # as `stop` does with one that waits for its restart
        self.said.append(f"-{container.spec.name} {seconds:g}")
        self.end(container)

    def end(self, container: Container) -> None:
        del self.world.runs[container.id]
        container.exit_code = 0
        self.boot.after_end(container)

    async def come_up(self, parallel: int = 1) -> list[str]:
        """Return the names of those that could not be started."""
        work = self.boot.come_up(parallel)
        assert work is not None
        return await failures(work)

    async def settle(self) -> None:
        await asyncio.gather(*self.world._tasks)


async def failures(work: Work) -> list[str]:
    return [f"{outcome['name']}: {outcome['error']}" async for outcome in work.follow() if "error" in outcome]


def run(act: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(act())


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_the_order(host: Host) -> None:
    for name, order in (("late", 20), ("none", None), ("early", 0), ("older", 20)):
        host.add(name, boot_order=order)
    assert [[c.spec.name for c in group] for group in in_order(host.world.containers.values())] == [
        ["early"], ["older", "late"], ["none"],
    ]  # fmt: skip


def test_who_starts_with_the_host(host: Host) -> None:
    """FLT-07"""
    host.add("yes", onboot="yes")
    host.add("no")
    host.add("always", restart=RestartPolicy("always"))
    host.add("last-not", onboot="last")
    host.add("last", onboot="last").note_running()
    host.add("unless", restart=RestartPolicy("unless-stopped")).note_running()
    host.add("no-but-ran").note_running()

    async def act() -> None:
        assert await host.come_up(2) == []
        assert sorted(host.said) == ["+always", "+last", "+unless", "+yes"]
        assert host.most_at_once == 2
        assert host.boot.come_up(2) is None  # it was done
        await host.settle()

    run(act)


def test_places_wait_for_one_another_and_delays_for_themselves(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.add("third", onboot="yes")
    host.add("second", onboot="yes", boot_order=5)
    host.add("first", onboot="yes", boot_order=1, boot_delay_seconds=7)
    sleep = asyncio.sleep

    async def note(seconds: float) -> None:
        if seconds:
            host.said.append(f"{seconds:g} s")
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", note)

    async def act() -> None:
        await host.come_up(3)

    run(act)
    assert host.said == ["+first", "7 s", "+second", "+third"]


def test_one_that_fails_leaves_the_others_their_turn(host: Host) -> None:
    host.add("broken", onboot="yes", boot_order=1, labels=(("broken", "1"),))
    host.add("whole", onboot="yes")

    async def act() -> None:
        assert await host.come_up() == ["broken: no such command"]
        assert host.said == ["+whole"]
        assert host.world.find("broken").warnings == ["the start at boot failed: no such command"]

    run(act)


def test_a_supervisor_that_was_killed_leaves_the_rest_to_the_next(host: Host) -> None:
    """FLT-01: what was started, and has ended since, is not started again."""
    ended = host.add("ended", onboot="yes")
    host.add("rest", onboot="yes")
    record = {"boot": name_of_boot(), "phase": "starting", "parallel": 1, "tried": [ended.id]}
    Path(host.paths.run_dir, "boot.json").write_text(json.dumps(record))

    async def act() -> None:
        host.begin()
        host.boot.go_on()
        await host.settle()
        assert host.said == ["+rest"]
        assert host.boot.phase == "up"

    run(act)


def test_shutdown_stops_the_other_way_round_and_each_place_has_its_share(host: Host) -> None:
    for name, order, seconds in (("db", 1, 60), ("web", 2, 10), ("job", None, 60)):
        host.add(name, onboot="last", boot_order=order, stop_timeout_seconds=seconds).note_running()

    async def act() -> None:
        await host.come_up()
        host.said.clear()
        clock = asyncio.get_running_loop()
        now = clock.time()
        clock.time = lambda: now  # type: ignore[method-assign]
        assert await failures(host.boot.go_down(30)) == []
        assert host.said == ["-job 10", "-web 10", "-db 30"]  # what is left over, the last ones have
        assert all(container.ran_in for container in host.world.containers.values())  # they are to come back
        host.said.clear()
        await host.come_up()
        assert host.said == ["+db", "+web", "+job"]

    run(act)


def test_nothing_starts_while_all_are_stopped(host: Host) -> None:
    container = host.add("web", onboot="yes")

    async def act() -> None:
        await host.come_up()
        work = host.boot.go_down(30)
        assert host.boot.go_down(5) is work
        with pytest.raises(Busy, match="the host goes down"):
            await host.start(container)
        with pytest.raises(Busy, match="are being stopped"):
            host.boot.come_up(1)
        await failures(work)
        await host.start(container)  # whoever wants it so

    run(act)


def test_shutdown_ends_a_boot_that_is_under_way(host: Host) -> None:
    host.add("first", onboot="yes", boot_order=1, boot_delay_seconds=1000)
    host.add("second", onboot="yes")

    async def act() -> None:
        boot = host.boot.come_up(1)
        assert boot is not None
        async for _ in boot.follow():
            break
        await failures(host.boot.go_down(30))
        await failures(boot)
        assert host.said == ["+first", "-first 10"]
        assert host.boot.phase == "down"

    run(act)


def test_what_ends_by_itself_is_forgotten_unless_we_end_soon_after(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """The host's end reaches containers first: they ran until then."""
    stopped, ended = host.add("stopped", onboot="last"), host.add("ended", onboot="last")

    async def act() -> None:
        for container in (stopped, ended):
            await host.start(container)
        await host.stop(stopped, 1)
        host.end(ended)
        assert [bool(container.ran_in) for container in (stopped, ended)] == [False, True]
        monkeypatch.setattr(module, "_ENDED_WITH_HOST_SECONDS", 0)
        host.world.runs[ended.id] = None  # type: ignore[assignment]
        host.end(ended)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not ended.ran_in
        assert not os.path.exists(f"{ended.directory}/running.json")
        await host.settle()

    run(act)


def came_up_again(host: Host) -> None:
    """Let all notes be of another boot."""
    for path in (
        *Path(host.paths.run_dir).glob("boot.json"),
        *Path(host.paths.containers_dir).glob("*/running.json"),
        *Path(host.paths.run_containers_dir).glob("*.json"),
    ):
        path.write_text(json.dumps({**json.loads(path.read_text()), "boot": OTHER_BOOT}))


def test_what_ran_when_the_host_went_down(host: Host) -> None:
    """FLT-07: no pid of another boot is believed, no exit code made up, and one that removes itself goes."""
    names = ("web", "brief")
    for name in names:
        container = host.add(name, auto_remove=name == "brief")
        container.pid, container.start_ticks, container.started = os.getpid(), 0, 12.5
        container.save_run()
        container.note_running()
    came_up_again(host)
    told: list[tuple[object, object, object]] = []

    async def act() -> None:
        host.begin()
        assert host.boot.is_first_look
        assert os.listdir(host.paths.run_containers_dir) == []
        with host.world.events.listening(lambda event: told.append((event["type"], event["name"], event.get("cause")))):
            for container in list(host.world.containers.values()):
                assert (container.pid, container.started, container.exit_code) == (0, 12.5, None)
                assert host.world.status(container) == "stopped"
                host.boot.recovered(container)
            await host.settle()
        assert told == [("die", name, "host-down") for name in names] + [("remove", "brief", "")]
        assert [c.spec.name for c in host.world.containers.values()] == ["web"]
        host.begin()  # another supervisor of the same boot has nothing to tell
        assert not host.boot.is_first_look

    run(act)


def test_what_ended_while_nobody_looked_is_no_wish_for_the_next_boot(host: Host) -> None:
    container = host.add("job", onboot="last")
    container.note_running()
    host.begin()

    async def act() -> None:
        again = host.world.find("job")
        host.boot.recovered(again)
        assert not again.ran_in
        await host.settle()

    run(act)
    assert not os.path.exists(f"{container.directory}/running.json")


@pytest.mark.parametrize("damage", ["", "{", '{"boot": 7}', "[]", '{"boot": "x"}'])
def test_a_note_that_the_power_took_says_that_it_ran(host: Host, damage: str) -> None:
    """FLT-09"""
    container = host.add("web", onboot="last")
    Path(container.directory, "running.json").write_text(damage)
    Path(host.paths.run_dir, "boot.json").write_text(damage)
    host.begin()
    again = host.world.find("web")
    assert again.ran_in
    assert host.world.status(again) == "stopped"
    assert host.boot.phase == ""


def test_a_full_disk_leaves_no_note_behind(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """FLT-05: what runs goes on, and its end is noted all the same."""
    container = host.add("web", onboot="last")

    def full(fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    async def act() -> None:
        with monkeypatch.context() as patched:
            patched.setattr(os, "write", full)
            await host.start(container)
        assert container.warnings == ["a boot may not know that it ran: No space left on device"]
        await host.stop(container, 1)
        await host.settle()

    run(act)
    assert not os.path.exists(f"{container.directory}/running.json")

"""When something that was found is repaired, and when not: findings that come and go, without a kernel."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from pycontainer.errors import Busy
from pycontainer.paths import HostPaths
from pycontainer.runtime.container import Container
from pycontainer.spec.model import ContainerSpec
from pycontainer.supervisor import finding as finding_module
from pycontainer.supervisor import hostcheck, reconcile
from pycontainer.supervisor.finding import Finding, repair
from pycontainer.supervisor.journal import Event
from pycontainer.supervisor.world import World
from tests.support.doctor import GONE


class Host:
    """One thing that may be damaged; `helps` says whether a repair lasts."""

    def __init__(self) -> None:
        self.is_damaged, self.helps = True, True
        self.looks = self.repairs = 0

    def mend(self) -> None:
        self.repairs += 1
        self.is_damaged = not self.helps

    def check(self, world: World) -> list[Finding]:
        if not self.is_damaged:
            return []
        return [Finding("damage", "there", "it is so", "mends it", self.mend, check=self.check, container_id=GONE)]

    async def look(self, world: World) -> AsyncIterator[Finding]:
        self.looks += 1
        for each in self.check(world):
            yield each


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    made = Host()
    monkeypatch.setattr(hostcheck, "look", made.look)
    monkeypatch.setattr(reconcile, "_AGAIN_SECONDS", 0)
    return made


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(HostPaths(str(tmp_path)), open_files_soft=1024)
    made.add(Container(made.paths, GONE, ContainerSpec(name="x"), None, base=0, created=0.0))
    return made


def told(world: World, work: Callable[[], object]) -> list[Event]:
    """Return the events that come while an awaitable is awaited."""
    events: list[Event] = []

    async def listen() -> None:
        with world.events.listening(events.append):
            await work()  # type: ignore[misc]

    asyncio.run(listen())
    return events


def test_it_is_repaired_and_told(world: World, host: Host, capfd: pytest.CaptureFixture[str]) -> None:
    (event,) = told(world, world.reconcile.round)
    assert (event["type"], event["cause"], event["detail"]) == ("repaired", "damage", "there: it is so")
    assert event["name"] == "x"
    assert capfd.readouterr().err == "repaired: damage: there: it is so\n"
    assert told(world, world.reconcile.round) == []
    assert host.repairs == 1


def test_what_is_gone_a_moment_later_was_none(world: World, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    async def pass_by(seconds: float) -> None:
        host.is_damaged = False

    monkeypatch.setattr(asyncio, "sleep", pass_by)
    assert told(world, world.reconcile.round) == []
    assert (host.repairs, host.looks) == (0, 2)


def test_what_no_repair_helps_against_is_said_once(world: World, host: Host, capfd: pytest.CaptureFixture[str]) -> None:
    """And tried again after it was well."""
    host.helps = False
    for _ in range(3):
        assert told(world, world.reconcile.round) == []
    assert host.repairs == 1
    assert capfd.readouterr().err == "cannot repair damage: there: it is so: it is so again: it is so\n"
    host.is_damaged = False
    told(world, world.reconcile.round)
    host.is_damaged = host.helps = True
    assert len(told(world, world.reconcile.round)) == 1


def test_nobody_is_disturbed_who_holds_the_lock(
    world: World, host: Host, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(finding_module, "_LOCK_SECONDS", 0.01)

    async def hold() -> None:
        async with world.lock(world.containers[GONE]):
            await world.reconcile.round()
            with pytest.raises(Busy, match=r"another operation is at work on container 'x'"):
                await repair(world, host.check(world)[0])
        assert host.repairs == 0
        await world.reconcile.round()
        assert host.repairs == 1

    asyncio.run(hold())
    assert capfd.readouterr().err == "repaired: damage: there: it is so\n"


def test_without_containers_nobody_looks(world: World, host: Host) -> None:
    world.containers.clear()
    told(world, world.reconcile.round)
    assert host.looks == 0


def test_who_wants_to_start_with_the_host(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told from ten minutes on, unless `service boot` was called, and is a person's to put right."""
    boot = hostcheck._boot
    monkeypatch.setattr(hostcheck, "_BOOT_SECONDS", 0)
    assert list(boot(world)) == []
    wishes = ContainerSpec(name="wishes", onboot="yes")
    world.add(Container(world.paths, "ba9876543210", wishes, None, base=0, created=0.0))
    (found,) = boot(world)
    assert found.repair is None and found.what.startswith("'wishes' ask to start with the host")
    world.boot.phase = "up"
    assert list(boot(world)) == []
    world.boot.phase = ""
    monkeypatch.setattr(hostcheck, "_BOOT_SECONDS", float("inf"))
    assert list(boot(world)) == []

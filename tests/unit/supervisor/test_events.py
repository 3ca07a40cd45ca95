"""Events are numbered, kept, told in order; who comes back with a cursor misses none; who caused them is known."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pycontainer.errors import InvalidInput
from pycontainer.runtime.container import now
from pycontainer.supervisor import events as module
from pycontainer.supervisor import eventstream
from pycontainer.supervisor.call import Call
from pycontainer.supervisor.events import Allowance, Events, acting
from pycontainer.supervisor.eventstream import Scope, Wanted, stream
from pycontainer.supervisor.journal import Event, Journal, sync, to_line
from pycontainer.supervisor.verbs import observe
from pycontainer.supervisor.world import World
from tests.unit.supervisor.test_journal import no_file_beyond


def opened(directory: Path) -> Events:
    events = Events(Journal(str(directory)))
    events.open()
    return events


async def kept(events: Events, after: int = 0) -> list[Event]:
    return [event async for event in events.history(after, events.last)]


def within(work: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await work()

    asyncio.run(bounded())


def test_an_event_has_number_time_boot_actor_and_cause(tmp_path: Path) -> None:
    async def work() -> None:
        events, heard = opened(tmp_path), list[Event]()
        with events.listening(heard.append), acting("uid 0 (pid 1, x)"):
            events.emit("image-tag", image="a")
            events.emit("die", cause="oom", actor="kernel", exit_code=137)
        tag, die = heard
        assert list(tag) == ["seq", "time", "type", "boot", "actor", "cause", "image"]
        assert (tag["actor"], die["actor"], die["cause"]) == ("uid 0 (pid 1, x)", "kernel", "oom")
        assert tag["boot"] == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        assert (await kept(events))[-2:] == heard

    within(work)


def test_numbers_go_on_and_nothing_is_lost_without_a_last_word(tmp_path: Path) -> None:
    """FLT-01: the first supervisor is not closed, as if it were killed."""

    async def work() -> None:
        first = opened(tmp_path)
        first.emit("one")
        cursor = first.last
        first.emit("two")
        second = opened(tmp_path)
        second.emit("three")
        assert [event["type"] for event in await kept(second, cursor)] == ["two", "supervisor-start", "three"]
        second.close(cause="asked")
        third = opened(tmp_path)
        seqs = [event["seq"] for event in await kept(third)]
        assert seqs == sorted(set(seqs)) and seqs[-1] == seqs[-2] + 1 == third.last
        assert (await kept(third))[-2]["cause"] == "asked"

    within(work)


def test_a_timer_that_acts_does_not_act_for_who_set_it(tmp_path: Path) -> None:
    async def work() -> None:
        events, heard, done = opened(tmp_path), list[Event](), asyncio.Event()

        def due() -> None:
            with acting("policy restart"):
                events.emit("start")
            events.emit("leftover")
            done.set()

        with events.listening(heard.append):
            with acting("uid 0"):
                asyncio.get_running_loop().call_soon(due)
            await done.wait()
        assert [event["actor"] for event in heard] == ["policy restart", "uid 0"]

    within(work)


def test_while_the_disk_is_full_events_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FLT-05"""
    monkeypatch.setattr(module, "_MAX_UNWRITTEN", 3)

    async def work() -> None:
        events = opened(tmp_path)
        (path,) = tmp_path.iterdir()
        before = events.last
        heard: list[Event] = []
        with no_file_beyond(path.stat().st_size + 10), events.listening(heard.append):
            for number in range(3):
                events.emit("exec", pid=number)
            assert [event["pid"] for event in await kept(events, before)] == [0, 1, 2]  # from memory
            for number in range(3, 5):
                events.emit("exec", pid=number)
        assert [event["pid"] for event in heard] == [0, 1, 2, 3, 4]
        events.emit("start")
        again = Events(Journal(str(tmp_path)))
        again.last = events.last
        found = await kept(again, before)
        assert [event["seq"] for event in found] == [*range(before + 3, before + 8)]
        assert [event["type"] for event in found] == ["exec"] * 3 + ["events-lost", "start"]
        lost = found[3]
        assert (lost["count"], lost["first"], lost["last"]) == (2, before + 1, before + 2)

    within(work)


def test_what_waits_is_written_without_another_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FLT-05: recovery after space returns without help."""
    monkeypatch.setattr(module, "_SYNC_SECONDS", 0.01)

    async def work() -> None:
        events = opened(tmp_path)
        (path,) = tmp_path.iterdir()
        size = path.stat().st_size
        with no_file_beyond(size):
            events.emit("exec")
            await asyncio.sleep(0.05)
            assert path.stat().st_size == size
        while path.stat().st_size == size:
            await asyncio.sleep(0.01)

    within(work)


def test_it_reaches_the_disk_beside_the_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a second gathers is synced once, by another thread."""
    monkeypatch.setattr(module, "_SYNC_SECONDS", 0.01)
    synced: list[list[int]] = []

    def noted(fds: list[int]) -> None:
        synced.append(list(fds))
        sync(fds)

    async def work() -> None:
        events = opened(tmp_path)
        monkeypatch.setattr("pycontainer.supervisor.events.sync", noted)
        before = set(os.listdir("/proc/self/fd"))
        for _ in range(50):
            events.emit("exec")
        while not synced or len(os.listdir("/proc/self/fd")) > len(before):
            await asyncio.sleep(0.005)
        assert len(synced) == 1 and len(synced[0]) == 1
        events.close()

    within(work)


def test_a_cursor_that_is_too_old_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        events = opened(tmp_path)
        monkeypatch.setattr("pycontainer.supervisor.journal.SEGMENT_BYTES", 500)
        for _ in range(200):
            events.emit("exec")
        found = await kept(events, 1)
        assert found[0]["type"] == "events-lost" and "seq" not in found[0]
        assert (found[0]["first"], found[0]["last"]) == (2, found[1]["seq"] - 1)
        assert [event["seq"] for event in found[1:]] == [*range(found[1]["seq"], events.last + 1)]

    within(work)


# -- what a client hears -------------------------------------------------------------------------------------------------


async def all_of(events: Events, **asked: Any) -> list[Event]:
    heard: list[Event] = []

    async def send(event: Event) -> None:
        heard.append(event)

    default: dict[str, Any] = {"after": None, "since": None, "until": None, "follows": False}
    cursor = await stream(events, Wanted(**{**default, **asked}), send)
    assert heard[0]["type"] == "listening" and cursor == events.last
    return heard[1:]


def test_old_and_new_come_in_order_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events that come while the old ones are read, more than may wait, to a client that is slow."""
    monkeypatch.setattr(eventstream, "_MAX_WAITING", 5)

    async def work() -> None:
        events = opened(tmp_path)
        for _ in range(20):
            events.emit("exec")
        heard: list[int] = []

        async def send(event: Event) -> None:
            if event["type"] == "listening":
                return
            heard.append(event["seq"])
            if len(heard) < 100:
                for _ in range(1 + len(heard) % 3):
                    events.emit("exec")
            await asyncio.sleep(0)

        task = asyncio.create_task(stream(events, Wanted(5, None, None, True), send))
        while len(heard) < events.last - 5:
            await asyncio.sleep(0.001)
        events.emit("exec")
        await asyncio.sleep(0.01)
        assert heard == [*range(6, events.last + 1)] and len(heard) > 200
        task.cancel()

    within(work)


def test_from_now_on_there_is_nothing_old(tmp_path: Path) -> None:
    async def work() -> None:
        events = opened(tmp_path)
        events.emit("exec")
        assert await all_of(events) == []
        assert [event["type"] for event in await all_of(events, after=0)] == ["supervisor-start", "exec"]

    within(work)


def test_filters(tmp_path: Path) -> None:
    async def work() -> None:
        events = opened(tmp_path)
        for kind, name, tenant in (
            ("create", "web", "acme"),
            ("start", "web", "acme"),
            ("start", "db", "acme"),
            ("die", "web2", ""),
        ):
            details: dict[str, Any] = {"id": name.encode().hex().ljust(12, "0"), "name": name, "tenant": tenant}
            events.emit(kind, **{key: value for key, value in details.items() if value})
        events.emit("rename", id="64620000abcd", name="neu", old_name="db")

        async def found(**filters: set[str]) -> list[tuple[str, str]]:
            asked = {key: frozenset(values) for key, values in filters.items()}
            return [(event["type"], event["name"]) for event in await all_of(events, after=1, **asked)]

        assert await found(types={"start"}) == [("start", "web"), ("start", "db")]
        assert await found(containers={"web"}) == [("create", "web"), ("start", "web")]
        assert await found(containers={"web", "db"}, types={"start", "rename"}) == [
            ("start", "web"),
            ("start", "db"),
            ("rename", "neu"),
        ]
        assert await found(tenants={"acme"}, containers={"db"}) == [("start", "db")]
        assert await found(containers={"77656232"}) == [("die", "web2")]  # the beginning of its id
        assert await found(containers={"776"}) == []
        when = (await kept(events))[3]["time"]
        assert len(await all_of(events, since=when)) == 3
        assert (await all_of(events, since=0.0, until=when))[-1]["name"] == "db"

    within(work)


def test_until_ends_a_stream_that_waits(tmp_path: Path) -> None:
    async def work() -> None:
        events = opened(tmp_path)
        assert await all_of(events, after=0, until=now() + 0.05, follows=True) != []

    within(work)


def test_a_cursor_of_the_future_is_refused(tmp_path: Path) -> None:
    async def work() -> None:
        events = opened(tmp_path)
        with pytest.raises(InvalidInput, match=r"no event 1764000000 yet, the newest is 1$"):
            await all_of(events, after=1764000000)

    within(work)


def request(arguments: dict[str, object]) -> Wanted:
    """Do what the verb does, as far as a stream begins."""
    heard: list[Wanted] = []

    async def begin(events: Events, asked: Wanted, *_: object, **__: object) -> int:
        heard.append(asked)
        return 0

    names = {"web": "0123456789ab"}
    world = cast(World, SimpleNamespace(seen_names=lambda: names, scope=lambda: None, events=None))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(observe, "stream", begin)
        asyncio.run(observe.events(world, Call("events", arguments, [], cast(Any, None))))
    return heard[0]


@pytest.mark.parametrize(
    "arguments",
    [
        {"filters": {"colour": ["red"]}},
        {"filters": {"type": [1]}},
        {"filters": {"type": ["\u00e9"]}},
        {"filters": {"type": {"a": "b"}}},
        {"after": -1},
        {"after": 1.5},
        {"after": 1e300},
        {"after": "5"},
        {"since": 1e12},
        {"until": True},
        {"follow": "yes"},
    ],
)
def test_what_cannot_be_asked_for(arguments: dict[str, object]) -> None:
    """VAL-02"""
    with pytest.raises(InvalidInput):
        request(arguments)


def test_a_container_is_known_by_its_id_too() -> None:
    asked = request({"filters": {"container": "web"}, "after": 5})
    assert asked.containers == {"web", "0123456789ab"} and asked.after == 5 and asked.follows


def test_a_tenant_hears_of_its_own_alone() -> None:
    """API-01: nor of what happened to one of the same name that was removed; what it asks for narrows that down."""
    scope = Scope("acme", 100.0)
    asked = Wanted(None, 0.0, None, False, scope=scope)
    mine: Event = {"type": "start", "time": 100.0, "tenant": "acme", "id": "0123456789ab", "name": "web.acme"}
    assert asked.matches(mine) and asked.may_match(to_line(mine))
    others: list[Event] = [{**mine, "time": 99.9}, {**mine, "tenant": "beta"}, {"type": "start", "time": 101.0}]
    assert not any(asked.matches(event) for event in others)
    assert [asked.may_match(to_line(event)) for event in others] == [True, False, False]
    assert not asked._replace(types=frozenset({"die"})).matches(mine)
    assert not asked._replace(tenants=frozenset({"beta"})).matches({**mine, "tenant": "beta"})


def test_one_container_cannot_fill_the_journal() -> None:
    """Of what it causes itself twenty events are told at once, and then one a minute; others are not touched."""
    allowance = Allowance()
    assert [allowance.take("a", 10.0) for _ in range(21)] == [True] * 20 + [False]
    assert allowance.take("b", 10.0)
    assert not allowance.take("a", 69.0)
    assert allowance.take("a", 70.5)
    assert not allowance.take("a", 70.6)
    allowance.forget("a")
    assert allowance.take("a", 71.0)


def test_who_listens_hears_what_happens_whatever_the_clock_is_set_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FLT-08: the times are those that were asked for by the clock of then; what was there already is judged by them."""

    async def work() -> None:
        events, heard = opened(tmp_path), list[str]()
        events.emit("exec")

        async def send(event: Event) -> None:
            heard.append(event["type"])

        began = now()
        task = asyncio.create_task(stream(events, Wanted(None, began + 1, began + 60, True), send))
        await asyncio.sleep(0.01)
        events.emit("pause")  # before the time that is asked for
        later = asyncio.create_task(stream(events, Wanted(None, began - 60, began + 60, True), send))
        await asyncio.sleep(0.01)
        assert heard == ["listening", "listening", "supervisor-start", "exec", "pause"]
        heard.clear()
        for days in (-1, 3650):
            monkeypatch.setattr("pycontainer.supervisor.events.now", lambda days=days: began + days * 86400)
            events.emit("unpause")
        await asyncio.sleep(0.01)
        assert heard == ["unpause", "unpause"]
        for each in (task, later):
            each.cancel()

    within(work)

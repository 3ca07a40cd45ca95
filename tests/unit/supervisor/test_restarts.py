"""Which end of which container is followed by another start, when, and when no more."""

import asyncio
import signal
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pycontainer.paths import HostPaths
from pycontainer.runtime.container import Container
from pycontainer.spec.model import ContainerSpec, RestartPolicy
from pycontainer.supervisor.restarts import Restarts, delay_seconds, is_tired, is_wanted

PATHS = HostPaths("/nowhere")


def container(policy: str = "no", retries: int = 0, *, init: bool = False) -> Container:
    spec = ContainerSpec(image="x", restart=RestartPolicy(policy, retries), init=init)
    return Container(PATHS, "0123456789ab", spec, None, base=0x10000000, created=0.0)


def ended(number: int) -> int:
    """Return the wait status of a process that a signal ended."""
    return number


@pytest.mark.parametrize(
    ("wait_status", "state", "cause"),
    [
        (0, {}, "exit"),
        (3 << 8, {}, "failure"),
        (137 << 8, {}, "failure"),
        (ended(signal.SIGSEGV), {}, "signal"),
        (ended(signal.SIGKILL), {}, "signal"),
        (ended(signal.SIGKILL), {"oom_killed": True}, "oom"),
        (0, {"oom_killed": True}, "exit"),  # one of its processes was killed, and it went on
        (ended(signal.SIGHUP), {}, "reboot"),
        (ended(signal.SIGINT), {}, "exit"),  # poweroff, see pid_namespaces(7)
        (ended(signal.SIGTERM), {"stopping": True}, "asked"),
        (0, {"stopping": True}, "asked"),
        (ended(signal.SIGTERM), {"ending": "health"}, "health"),
        (ended(signal.SIGTERM), {"ending": "health", "stopping": True}, "health"),
        (ended(signal.SIGTERM), {"ending": "not-ready"}, "not-ready"),
        (None, {}, "unknown"),
    ],
)
def test_the_cause_of_an_end(wait_status: int | None, state: dict[str, object], cause: str) -> None:
    made = container()
    if wait_status is not None:
        made.ended(wait_status)
    for name, value in state.items():
        setattr(made, name, value)
    assert made.cause_of_end() == cause


def test_behind_the_reaper_a_signal_is_an_exit_code() -> None:
    made = container(init=True)
    made.ended((128 + signal.SIGSEGV) << 8)
    assert made.cause_of_end() == "signal"


@pytest.mark.parametrize(
    ("cause", "no", "on_failure", "always"),
    [
        ("exit", False, False, True),
        ("failure", False, True, True),
        ("signal", False, True, True),
        ("oom", False, True, True),
        ("unknown", False, True, True),
        ("not-ready", False, True, True),
        ("start-failed", False, True, True),
        ("health", True, True, True),
        ("reboot", True, True, True),
    ],
)
def test_what_follows(cause: str, no: bool, on_failure: bool, always: bool) -> None:
    for policy, expected in (("no", no), ("on-failure", on_failure), ("always", always), ("unless-stopped", always)):
        made = container(policy)
        made.cause = cause
        assert is_wanted(made) is expected, policy
        made.stopping = True
        assert not is_wanted(made), f"{policy}: somebody asked for the end"


@pytest.mark.parametrize("policy", ["on-failure", "always", "unless-stopped"])
def test_giving_up(policy: str) -> None:
    made = container(policy, 3)
    made.cause = "health"
    found = []
    for made.restart_count in range(5):
        found.append(is_tired(made))
    assert found == [False, False, False, True, True]
    made.cause = "reboot"
    assert not is_tired(made), "it asked for that itself"
    made = container(policy)
    made.restart_count = 10**6
    assert not is_tired(made)


def test_later_each_time_and_not_for_ever() -> None:
    assert [delay_seconds(count) for count in (0, 1, 2, 9, 10, 10**6)] == pytest.approx([0.1, 0.2, 0.4, 51.2, 60, 60])


def test_a_restart_that_is_due_is_cancelled_by_who_has_the_lock() -> None:
    """A `stop` that is done stays true: the start that waited for the lock meanwhile does not take place."""
    made = container("always")
    made.cause = "failure"
    started: list[str] = []

    async def stop_while_it_is_due() -> None:
        lock, tasks = asyncio.Lock(), list[asyncio.Task[None]]()
        world = SimpleNamespace(
            lock=lambda container: lock,
            spawn=lambda coroutine: tasks.append(asyncio.create_task(coroutine)),
            transfer=SimpleNamespace(holds=lambda container: False),
            events=SimpleNamespace(emit=lambda *arguments, **details: None),
            runs={},
            containers={made.id: made},
        )
        restarts = Restarts(cast(Any, world))

        async def start(container: Container) -> None:
            started.append(container.id)

        restarts.start = start
        async with lock:
            restarts._due(made)
            await asyncio.sleep(0)
            assert made.id in restarts and len(restarts) == 1, "it counts as restarting until it runs"
            assert restarts.cancel(made)
        await asyncio.gather(*tasks)
        assert started == [] and made.id not in restarts
        restarts._due(made)
        await asyncio.gather(*tasks)
        assert started == [made.id] and made.id not in restarts

    asyncio.run(stop_while_it_is_due())


@pytest.mark.parametrize("is_stopped", [False, True])
def test_a_supervisor_that_ends_amid_a_restart_leaves_it_to_the_next(
    monkeypatch: pytest.MonkeyPatch, is_stopped: bool
) -> None:
    """What the start has noted is undone with it; without a note of ours nobody would start it again."""
    made = container("always")
    saved: list[bool] = []
    monkeypatch.setattr(Container, "save_run", lambda container: saved.append(container.restarting))

    async def end() -> None:
        tasks = list[asyncio.Task[None]]()
        lock = asyncio.Lock()
        world = SimpleNamespace(
            lock=lambda container: lock,
            spawn=lambda coroutine: tasks.append(asyncio.create_task(coroutine)),
            transfer=SimpleNamespace(holds=lambda container: False),
        )
        restarts = Restarts(cast(Any, world))
        under_way = asyncio.Event()

        async def start(container: Container) -> None:
            container.restarting = False
            under_way.set()
            await asyncio.sleep(100)

        restarts.start = start
        restarts._due(made)
        await under_way.wait()
        if is_stopped:
            monkeypatch.setattr(Container, "forget_run", lambda container: None)
            restarts.cancel(made)
        tasks[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await tasks[0]
        assert made.id not in restarts

    asyncio.run(end())
    assert saved == ([] if is_stopped else [True])


@pytest.mark.parametrize(
    ("lasted_seconds", "was_well", "count", "delay"),
    [(9.0, True, 5, 1.6), (11.0, True, 1, 0.1), (1000.0, False, 5, 1.6)],
)
def test_what_begins_a_new_row(
    monkeypatch: pytest.MonkeyPatch, lasted_seconds: float, was_well: bool, count: int, delay: float
) -> None:
    """A run that lasted, and was well if anybody asks: one that never gets well is not restarted at full speed for ever."""
    made = container("always")
    made.cause, made.restart_count = "health", 4
    monkeypatch.setattr(Container, "save_run", lambda container: None)
    told: list[dict[str, object]] = []

    async def end() -> None:
        events = SimpleNamespace(emit=lambda kind, container, **details: told.append({"type": kind, **details}))
        restarts = Restarts(cast(Any, SimpleNamespace(events=events)))
        restarts.after_end(made, lasted_seconds=lasted_seconds, was_well=was_well)
        restarts.cancel(made)

    asyncio.run(end())
    assert made.restart_count == count
    assert told == [
        {
            "type": "restarting",
            "cause": "health",
            "actor": "policy restart",
            "delay_seconds": pytest.approx(delay),
            "attempt": count,
        }
    ]

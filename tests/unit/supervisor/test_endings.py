"""The ends of runs, and who waits for one."""

import asyncio
import os
import threading
from types import SimpleNamespace
from typing import cast

import pytest

from pycontainer.cgroup.base import Cgroup
from pycontainer.runtime.container import Container
from pycontainer.runtime.start import Run
from pycontainer.supervisor.endings import Endings
from pycontainer.supervisor.world import World
from tests.support.descriptors import is_open


@pytest.mark.parametrize("ends", [True, False])
def test_an_end_in_the_moment_in_which_the_time_is_over_is_one(ends: bool) -> None:
    """Who is told otherwise sends a signal to a descriptor that is closed, and may be another run's by now."""

    async def wait() -> bool:
        endings = Endings(cast(World, SimpleNamespace()))
        endings._exits["one"] = event = asyncio.Event()
        if ends:
            asyncio.get_running_loop().call_soon(event.set)
        return await endings.wait_exit(cast(Container, SimpleNamespace(id="one")), 0)

    assert asyncio.run(wait()) is ends


@pytest.mark.parametrize(("auto_remove", "rootfs"), [(True, ""), (True, "/srv/root"), (False, "")])
def test_the_root_of_what_removes_itself_is_closed_beside_others(
    auto_remove: bool, rootfs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What needs the layer waits for that; all others find it closed. A directory of the host's is free at once."""
    goes = auto_remove and not rootfs
    may_close = threading.Event()
    close = os.close

    def close_slowly(fd: int) -> None:
        if fd == root_fd and goes:
            assert may_close.wait(10)
        close(fd)

    async def end() -> None:
        spawn = asyncio.get_running_loop().create_task
        endings = Endings(cast(World, SimpleNamespace(spawn=spawn)))
        container = SimpleNamespace(id="one", spec=SimpleNamespace(auto_remove=auto_remove, rootfs=rootfs))
        left = endings._close(cast(Container, container), Run(cast(Cgroup, None), 0, os.dup(root_fd), [], root_fd))
        endings._unmount(cast(Container, container), left)
        assert is_open(root_fd) is goes
        may_close.set()
        await endings.unmounted("one")
        assert not is_open(root_fd)
        await endings.unmounted("one")

    root_fd = os.open("/", os.O_PATH)
    monkeypatch.setattr(os, "close", close_slowly)
    asyncio.run(end())


def test_what_is_left_of_an_end_is_done_once() -> None:
    order: list[str] = []

    async def end() -> None:
        endings = Endings(cast(World, SimpleNamespace()))
        for name in ("one", "two", "three"):
            endings._left[name] = lambda name=name: order.append(name)  # type: ignore[misc]
        endings.settle("two")
        endings.settle("two")
        assert order == ["two"]
        endings.settle()
        assert order == ["two", "one", "three"]
        endings.settle()
        assert order == ["two", "one", "three"]

    asyncio.run(end())


def test_a_monitor_that_cannot_be_replaced_at_once_is_tried_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody reads what the containers write meanwhile; a monitor that a start brings later would not know of them."""
    adopted: list[str] = []
    failures = [OSError(12, "Cannot allocate memory"), OSError(12, "Cannot allocate memory")]
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def connect(*, start: bool) -> bool:
        if failures:
            raise failures.pop()
        return True

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        await endings._replace_monitor()  # another one died meanwhile: there is one who tries
        await sleep(0)

    async def lose() -> None:
        with os.fdopen(os.pidfd_open(os.getpid())) as pidfd:
            run = Run(cast(Cgroup, None), os.getpid(), pidfd.fileno(), [], -1)
            world.runs["one"] = run
            await endings._replace_monitor()
            assert not asyncio.get_running_loop().remove_reader(run.pidfd), "its monitor tells of its end now"

    link = SimpleNamespace(connect=connect, adopt=lambda container_id, *rest, tty: adopted.append(container_id))
    world = SimpleNamespace(runs={}, containers={"one": SimpleNamespace(spec=SimpleNamespace(tty=False))}, link=link)
    endings = Endings(cast(World, world))
    monkeypatch.setattr(asyncio, "sleep", pause)
    asyncio.run(lose())
    assert (adopted, pauses) == (["one"], [1, 2])

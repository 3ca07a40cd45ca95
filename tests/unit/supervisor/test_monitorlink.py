"""The supervisor's end of the monitor's socket, with a monitor that dies in the middle."""

import asyncio
import contextlib
import gc
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pycontainer.errors import Busy, InvalidInput, PycontainerError, StartFailed
from pycontainer.monitor import channel
from pycontainer.paths import HostPaths
from pycontainer.supervisor.monitorlink import MonitorLink


def open_fds() -> list[str]:
    """Return what is open, without what tests before have left to the collector of garbage."""
    gc.collect()
    return sorted(os.listdir("/proc/self/fd"))


def listen(paths: HostPaths) -> socket.socket:
    os.makedirs(paths.run_dir)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(paths.monitor_socket)
    listener.listen()
    return listener


def link_of(paths: HostPaths, heard: list[str]) -> MonitorLink:
    return MonitorLink(paths, lambda message: None, lambda: heard.append("lost"), open_files_soft=1024, scope=None)


@contextlib.asynccontextmanager
async def connected(directory: Path) -> AsyncIterator[tuple[MonitorLink, socket.socket]]:
    """A link, and what stands for the monitor at its other end."""
    paths = HostPaths(str(directory))
    with listen(paths) as listener:
        link = link_of(paths, [])
        await link.connect(start=False)
        monitor, _ = listener.accept()
        with monitor:
            yield link, monitor
        link.close()


def test_a_monitor_that_dies_while_it_is_asked(tmp_path: Path) -> None:
    """Who comes up then must not wait for ever for its children."""
    paths, heard = HostPaths(str(tmp_path)), list[str]()

    async def ask() -> None:
        with listen(paths) as listener:
            link = link_of(paths, heard)
            assert await link.connect(start=False)
            monitor, _ = listener.accept()
            asking = asyncio.create_task(link.children())
            await asyncio.sleep(0)
            assert channel.receive(monitor) == ({"op": "list"}, [])
            monitor.close()
            with pytest.raises(PycontainerError, match="the monitor died while it was asked"):
                await asyncio.wait_for(asking, 10)

    asyncio.run(ask())
    assert heard == ["lost"]


def test_descriptors_for_nobody_are_closed(tmp_path: Path) -> None:
    """Of a birth whose asker has gone, and of streams that nobody took."""

    async def hear() -> None:
        async with connected(tmp_path) as (link, monitor):
            before = open_fds()
            null_fd = os.open("/dev/null", os.O_RDONLY)
            channel.send(monitor, {"op": "born", "id": "a", "pid": 1}, [null_fd])
            for name in ("b", "c"):
                channel.send(monitor, {"op": "streams", "id": name, "streams": [1]}, [null_fd])
            os.close(null_fd)
            channel.send(monitor, {"op": "children", "children": []})
            assert await link.children() == []
            link.drop_streams(keep=["c"])
            ((kept_fd, kind),) = link.take_streams("c")
            os.close(kept_fd)
            assert kind == 1
            assert open_fds() == before

    asyncio.run(hear())


def test_one_new_program_at_a_time(tmp_path: Path) -> None:
    async def reload() -> None:
        async with connected(tmp_path) as (link, monitor):
            first = asyncio.create_task(link.reload())
            await asyncio.sleep(0)
            with pytest.raises(Busy):
                await link.reload()
            channel.send(monitor, {"op": "reloaded", "text": ""})
            assert await asyncio.wait_for(first, 10) == ""

    asyncio.run(reload())


BIRTH: dict[str, object] = {"op": "birth", "id": "a", "stdio": [0, 1, 2], "program": 3, "cgroup": -1, "doors": [4]}


async def heard(monitor: socket.socket) -> tuple[dict[str, object], list[int]]:
    """Return the next message; a test that waits for one that does not come fails."""
    monitor.setblocking(False)
    for _ in range(1000):
        with contextlib.suppress(BlockingIOError):
            received = channel.receive(monitor)
            assert received is not None
            return received
        await asyncio.sleep(0.01)
    raise AssertionError("nothing was heard")


async def called_off(monitor: socket.socket, *before: dict[str, object]) -> None:
    """Hear these messages, then that the child is called off; end it."""
    for message in (*before, {"op": "abort", "id": "a"}):
        told, fds = await heard(monitor)
        assert (told, fds) == (message, [])
    channel.send(monitor, {"op": "exit", "id": "a", "pid": 7, "started": False})


def test_a_birth_is_asked_for_before_what_is_done_meanwhile(tmp_path: Path) -> None:
    """And called off when that is broken: nobody would let the child go on."""

    async def ask() -> None:
        async with connected(tmp_path) as (link, monitor):

            def meanwhile(_: object) -> None:
                assert channel.receive(monitor) == (BIRTH, [])
                null_fd = os.open("/dev/null", os.O_RDONLY)
                channel.send(monitor, {"op": "born", "id": "a", "pid": 7}, [null_fd])
                os.close(null_fd)
                raise ZeroDivisionError

            before = open_fds()
            ending = asyncio.create_task(called_off(monitor))
            with pytest.raises(ZeroDivisionError):
                await asyncio.wait_for(link.birth(BIRTH, [], action="start", meanwhile=meanwhile), 10)
            await ending
            assert open_fds() == before

    asyncio.run(ask())


@contextlib.asynccontextmanager
async def connected_to_one_that_mounts(directory: Path) -> AsyncIterator[tuple[MonitorLink, socket.socket]]:
    async with connected(directory) as (link, monitor):
        channel.send(monitor, {"op": "children", "children": [], "mounts": True})
        assert await link.children() == []
        assert await heard(monitor) == ({"op": "list"}, [])
        yield link, monitor


def test_mounts_follow_the_birth_that_they_are_of(tmp_path: Path) -> None:
    async def ask() -> None:
        async with connected_to_one_that_mounts(tmp_path) as (link, monitor):
            null_fd = os.open("/dev/null", os.O_RDONLY)
            asking = asyncio.create_task(
                link.birth(BIRTH, [null_fd], action="start", mounts=lambda: ({"steps": [["Dev"]]}, [null_fd]))
            )
            for message in (BIRTH, {"op": "mount", "id": "a", "steps": [["Dev"]]}):
                told, fds = await heard(monitor)
                assert told == message and len(fds) == 1
                os.close(fds[0])
            channel.send(monitor, {"op": "born", "id": "a", "pid": 7}, [null_fd])
            birth = await asyncio.wait_for(asking, 10)
            assert birth.pid == 7
            for fd in (birth.pidfd, null_fd):
                os.close(fd)

    asyncio.run(ask())


def test_a_monitor_of_before_gets_no_doors_where_all_is_too_much_for_a_message(tmp_path: Path) -> None:
    async def ask(count: int) -> tuple[dict[str, object], int]:
        async with connected(tmp_path / f"{count}") as (link, monitor):
            null_fd = os.open("/dev/null", os.O_RDONLY)
            birth = {**BIRTH, "stdio": [0, 0, 0], "program": 0, "cgroup": -1, "doors": [1, 2]}
            asking = asyncio.create_task(
                link.birth(birth, [null_fd] * 3, action="start", mounts=lambda: ({"steps": []}, [null_fd] * count))
            )
            told, fds = await heard(monitor)
            channel.send(monitor, {"op": "failed", "id": "a", "step": "clone", "text": "no room", "errno": 12})
            with pytest.raises(StartFailed):
                await asyncio.wait_for(asking, 10)
            for fd in (*fds, null_fd):
                os.close(fd)
            return told, len(fds)

    told, count = asyncio.run(ask(channel.MAX_MESSAGE_FDS - 3))
    assert (told["doors"], told["program"], count) == ([251, 252], 250, channel.MAX_MESSAGE_FDS)
    told, count = asyncio.run(ask(channel.MAX_MESSAGE_FDS - 2))
    assert (told["doors"], told["program"], count) == ([], 251, channel.MAX_MESSAGE_FDS - 1)


def test_who_has_no_mounts_has_ended_when_that_is_raised(tmp_path: Path) -> None:
    """Its cgroup is deleted next."""

    async def ask() -> None:
        async with connected_to_one_that_mounts(tmp_path) as (link, monitor):

            def no_mounts() -> tuple[dict[str, object], list[int]]:
                raise InvalidInput("no such source")

            null_fd = os.open("/dev/null", os.O_RDONLY)
            channel.send(monitor, {"op": "exit", "id": "a", "pid": 6, "started": False})  # of one before
            channel.send(monitor, {"op": "born", "id": "a", "pid": 7}, [null_fd])
            os.close(null_fd)
            before = open_fds()
            ending = asyncio.create_task(called_off(monitor, BIRTH))
            with pytest.raises(InvalidInput, match="no such source"):
                await asyncio.wait_for(link.birth(BIRTH, [], action="start", mounts=no_mounts), 10)
            assert ending.done() and open_fds() == before
            await ending

    asyncio.run(ask())


def test_who_could_not_be_cloned_is_not_waited_for(tmp_path: Path) -> None:
    async def ask() -> None:
        async with connected(tmp_path) as (link, monitor):
            asking = asyncio.create_task(link.birth(BIRTH, [], action="start"))
            assert await heard(monitor) == (BIRTH, [])
            channel.send(monitor, {"op": "failed", "id": "a", "step": "clone", "text": "no room", "errno": 12})
            with pytest.raises(StartFailed, match="start: clone: no room"):
                await asyncio.wait_for(asking, 10)
            with pytest.raises(BlockingIOError):
                channel.receive(monitor)

    asyncio.run(ask())


def test_one_message_to_a_monitor_that_knows_no_mount(tmp_path: Path) -> None:
    """Until it has become one that does: trees come first then, and all places move up."""

    async def ask() -> None:
        async with connected(tmp_path) as (link, monitor):
            fds = [os.open(path, os.O_PATH) for path in ("/dev/null", "/", "/etc")]
            for knows, sent in ((False, ["/", "/etc", "/dev/null"]), (True, ["/dev/null"])):
                reloading = asyncio.create_task(link.reload())
                (message, mounts) = await heard(monitor)
                assert message["op"] == "reload"
                os.close(mounts[0])
                channel.send(monitor, {"op": "reloaded", "text": "", **({"mounts": True} if knows else {})})
                assert await reloading == ""
                steps: dict[str, object] = {"steps": [["Tree", 1]], "base": 5}
                asking = asyncio.create_task(
                    link.birth(BIRTH, fds[:1], action="start", mounts=lambda told=steps: (told, fds[1:]))  # type: ignore[misc]
                )
                told, got = await heard(monitor)
                assert [os.readlink(f"/proc/self/fd/{fd}") for fd in got] == sent
                moved = {"stdio": [2, 3, 4], "program": 5, "doors": [6]}
                assert told == (BIRTH if knows else {**BIRTH, **steps, **moved})
                if knows:
                    told, more = await heard(monitor)
                    assert told == {"op": "mount", "id": "a", **steps} and len(more) == 2
                    got += more
                for fd in got:
                    os.close(fd)
                channel.send(monitor, {"op": "failed", "id": "a", "step": "clone", "text": "no room", "errno": 12})
                with pytest.raises(StartFailed):
                    await asyncio.wait_for(asking, 10)
            for fd in fds:
                os.close(fd)

    asyncio.run(ask())


def test_a_root_that_nobody_took_is_closed(tmp_path: Path) -> None:
    """It is a mount: of a birth that is aborted, and of one whose asker leaves before it is born."""

    async def ask() -> None:
        async with connected(tmp_path) as (link, monitor):
            before = open_fds()
            for asker_leaves in (False, True):
                asking = asyncio.create_task(link.birth({"op": "birth", "id": "a"}, [], action="start"))
                await asyncio.sleep(0)
                if asker_leaves:
                    asking.cancel()
                    await asyncio.wait([asking])
                null_fd = os.open("/dev/null", os.O_RDONLY)
                channel.send(monitor, {"op": "born", "id": "a", "pid": os.getpid()}, [null_fd])
                channel.send(monitor, {"op": "ready", "id": "a"}, [null_fd])
                os.close(null_fd)
                if not asker_leaves:
                    birth = await asking
                    birth.pidfd, pidfd = -1, birth.pidfd  # /dev/null cannot be killed
                    os.close(pidfd)
                channel.send(monitor, {"op": "exit", "id": "a", "started": False})
                if asker_leaves:
                    await asyncio.sleep(0.05)
                else:
                    await birth.abort()
                assert open_fds() == before

    asyncio.run(ask())

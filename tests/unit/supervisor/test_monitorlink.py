"""The supervisor's end of the monitor's socket, with a monitor that dies in the middle."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pycontainer.errors import Busy, InvalidInput, PycontainerError, StartFailed
from pycontainer.monitor import channel
from pycontainer.paths import HostPaths
from pycontainer.supervisor.monitorlink import MonitorLink


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
            before = sorted(os.listdir("/proc/self/fd"))
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
            assert sorted(os.listdir("/proc/self/fd")) == before

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


def test_a_birth_is_asked_for_before_what_is_done_meanwhile(tmp_path: Path) -> None:
    """And called off when that is broken: nobody would let the child go on."""

    async def ask() -> None:
        async with connected(tmp_path) as (link, monitor):

            def meanwhile(_: object) -> None:
                assert channel.receive(monitor) == ({"op": "birth", "id": "a"}, [])
                asyncio.get_running_loop().call_later(0.02, end)
                raise ZeroDivisionError

            def end() -> None:
                assert channel.receive(monitor) == ({"op": "abort", "id": "a"}, [])
                channel.send(monitor, {"op": "exit", "id": "a", "started": False})

            with pytest.raises(ZeroDivisionError):
                await link.birth({"op": "birth", "id": "a"}, [], action="start", meanwhile=meanwhile)

    asyncio.run(ask())


def test_mounts_follow_the_birth_that_they_are_of(tmp_path: Path) -> None:
    """And where they cannot be made the child is called off, and has ended by the time that this is raised."""

    async def ask() -> None:
        async with connected(tmp_path) as (link, monitor):
            channel.send(monitor, {"op": "children", "children": [], "mounts": True})
            assert await link.children() == []
            assert channel.receive(monitor) == ({"op": "list"}, [])
            null_fd = os.open("/dev/null", os.O_RDONLY)

            def mounts() -> tuple[dict[str, object], list[int]]:
                assert channel.receive(monitor) == ({"op": "birth", "id": "a"}, [])
                return {"steps": [["Dev"]]}, [null_fd]

            def meanwhile(_: object) -> None:
                message, trees = channel.receive(monitor) or ({}, [])
                assert message == {"op": "mount", "id": "a", "steps": [["Dev"]]} and len(trees) == 1
                os.close(trees[0])
                channel.send(monitor, {"op": "born", "id": "a", "pid": os.getpid()}, [null_fd])

            birth = await link.birth({"op": "birth", "id": "a"}, [], action="start", mounts=mounts, meanwhile=meanwhile)
            assert birth.pid == os.getpid()
            os.close(birth.pidfd)
            link.forget("a")

            def no_mounts() -> tuple[dict[str, object], list[int]]:
                assert channel.receive(monitor) == ({"op": "birth", "id": "b"}, [])
                channel.send(monitor, {"op": "born", "id": "b", "pid": os.getpid()}, [null_fd])
                asyncio.get_running_loop().call_later(0.02, end)
                raise InvalidInput("no such source")

            def end() -> None:
                assert channel.receive(monitor) == ({"op": "abort", "id": "b"}, [])
                channel.send(monitor, {"op": "exit", "id": "b", "started": False})

            before = sorted(os.listdir("/proc/self/fd"))
            with pytest.raises(InvalidInput, match="no such source"):
                await link.birth({"op": "birth", "id": "b"}, [], action="start", mounts=no_mounts)
            assert sorted(os.listdir("/proc/self/fd")) == before
            os.close(null_fd)

    asyncio.run(ask())


def test_who_could_not_be_cloned_is_not_waited_for(tmp_path: Path) -> None:
    async def ask() -> None:
        async with connected(tmp_path) as (link, monitor):
            asking = asyncio.create_task(link.birth({"op": "birth", "id": "a"}, [], action="start"))
            await asyncio.sleep(0)
            channel.send(monitor, {"op": "failed", "id": "a", "step": "clone", "text": "no room", "errno": 12})
            with pytest.raises(StartFailed, match="start: clone: no room"):
                await asyncio.wait_for(asking, 10)
            assert channel.receive(monitor) == ({"op": "birth", "id": "a"}, [])
            monitor.setblocking(False)
            with pytest.raises(BlockingIOError):
                channel.receive(monitor)

    asyncio.run(ask())


@pytest.mark.parametrize("why_not", ["", "a container is just being started"])
def test_a_monitor_that_knows_no_mount_becomes_ours_first(tmp_path: Path, why_not: str) -> None:
    async def ask() -> None:
        async with connected(tmp_path) as (link, monitor):
            asking = asyncio.create_task(
                link.birth({"op": "birth", "id": "a"}, [], action="start", mounts=lambda: ({"steps": []}, []))
            )
            await asyncio.sleep(0.01)
            message, fds = channel.receive(monitor) or ({}, [])
            assert message["op"] == "reload"
            os.close(fds[0])
            channel.send(monitor, {"op": "reloaded", "text": why_not})
            if why_not:
                with pytest.raises(
                    Busy, match=f"start: the monitor is of another version, and stays as it is: {why_not}"
                ):
                    await asyncio.wait_for(asking, 10)
                return
            await asyncio.sleep(0.01)
            told = [channel.receive(monitor) for _ in range(2)]
            assert told == [({"op": "birth", "id": "a"}, []), ({"op": "mount", "id": "a", "steps": []}, [])]
            channel.send(monitor, {"op": "failed", "id": "a", "step": "clone", "text": "no room", "errno": 12})
            with pytest.raises(StartFailed):
                await asyncio.wait_for(asking, 10)

    asyncio.run(ask())


def test_a_root_that_nobody_took_is_closed(tmp_path: Path) -> None:
    """It is a mount: of a birth that is aborted, and of one whose asker leaves before it is born."""

    async def ask() -> None:
        async with connected(tmp_path) as (link, monitor):
            before = sorted(os.listdir("/proc/self/fd"))
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
                assert sorted(os.listdir("/proc/self/fd")) == before

    asyncio.run(ask())

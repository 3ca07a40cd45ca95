"""How the server ends: what it has read is answered, what it has not read is there for the next one."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pycontainer.api.messages import receive_frame, send_frame
from pycontainer.linux.descriptors import receive_fds
from pycontainer.supervisor import server as module
from pycontainer.supervisor.caller import Caller
from pycontainer.supervisor.measures import Measures
from pycontainer.supervisor.operators import Operators
from pycontainer.supervisor.server import Server
from pycontainer.supervisor.world import World


class Ours(Operators):
    """Takes everybody for the host's own."""

    __slots__ = ()

    def caller(self, sock_fd: int) -> Caller | None:
        return None


def with_server(directory: Path, work: Callable[[Server, str], Awaitable[None]]) -> None:
    async def run() -> None:
        path = str(directory / "sock")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen()
        listener.setblocking(False)
        endings = SimpleNamespace(settle=lambda: None)
        world = cast(World, SimpleNamespace(last_activity=0.0, paths=None, measures=Measures(), endings=endings))
        server = Server(world, listener, Ours())
        server.accept()
        async with asyncio.timeout(60):
            await work(server, path)

    asyncio.run(run())


def connect(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(path)
    sock.settimeout(10)
    return sock


def ask(sock: socket.socket) -> None:
    send_frame(sock, {"verb": "ping", "args": {}}, [])


def answer(sock: socket.socket) -> object:
    with sock:
        received = receive_frame(sock)
    return received[0] if received else None


def test_who_was_read_is_answered_and_who_was_not_can_ask_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(server: Server, path: str) -> None:
        is_at_work, may_end = asyncio.Event(), asyncio.Event()

        async def slow(world: object, call: object) -> object:
            is_at_work.set()
            await may_end.wait()
            return "done"

        monkeypatch.setitem(module.VERBS, "ping", slow)
        late, idle, read = connect(path), connect(path), connect(path)
        ask(read)
        await is_at_work.wait()
        is_at_work.clear()
        server.hold()
        ask(late)
        finishing = asyncio.create_task(server.finish(60))
        await asyncio.sleep(0.05)
        with pytest.raises(ConnectionRefusedError):
            connect(path)
        assert not finishing.done()
        with pytest.raises(ConnectionResetError):  # at once, which the client takes for leave to send it again
            answer(late)
        assert answer(idle) is None  # so that nobody sends another request on it
        may_end.set()
        await finishing
        assert answer(read) == {"result": "done"}
        assert not is_at_work.is_set()

    with_server(tmp_path, work)


def test_what_takes_too_long_is_cut_off_and_has_undone_what_it_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(server: Server, path: str) -> None:
        is_at_work, undone = asyncio.Event(), list[str]()

        async def endless(world: object, call: object) -> object:
            is_at_work.set()
            try:
                return await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0.05)
                undone.append("all")

        monkeypatch.setitem(module.VERBS, "ping", endless)
        read = connect(path)
        ask(read)
        await is_at_work.wait()
        await server.finish(0.02)
        assert undone == ["all"]
        assert answer(read) is None

    with_server(tmp_path, work)


def test_a_request_whose_descriptors_are_lost_is_not_carried_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client learns that it was not read, and may ask again."""
    asked: list[object] = []

    def lose(*arguments: Any) -> object:
        receive_fds(*arguments)
        raise ConnectionError("no room")

    monkeypatch.setattr(module, "receive_fds", lose)

    async def ping(world: object, call: object) -> None:
        asked.append(call)

    async def work(server: Server, path: str) -> None:
        monkeypatch.setitem(module.VERBS, "ping", ping)
        sock = connect(path)
        ask(sock)
        with pytest.raises(ConnectionResetError):
            await asyncio.to_thread(answer, sock)
        assert not asked

    with_server(tmp_path, work)


def test_a_client_that_has_just_left_is_not_handed_over(tmp_path: Path) -> None:
    async def work(server: Server, path: str) -> None:
        sock = connect(path)
        while not server.connections:
            await asyncio.sleep(0)
        (connection,) = server.connections.values()
        assert server.waiting() == [{"fd": connection._sock.fileno(), "verb": "", "arguments": {}}]
        task = asyncio.ensure_future(asyncio.sleep(0))
        gone, _ = socket.socketpair()
        server.connections[task] = module.Connection(
            server._world, gone, server._budgets, server._operators, server._listens
        )
        gone.close()
        assert server.waiting() == [{"fd": connection._sock.fileno(), "verb": "", "arguments": {}}]
        del server.connections[task]
        await task
        sock.close()

    with_server(tmp_path, work)

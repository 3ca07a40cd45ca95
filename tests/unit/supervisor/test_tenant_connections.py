"""The server and a client it does not trust: what comes over the socket, and that nothing of it keeps the server waiting."""

import asyncio
import contextlib
import json
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pycontainer.errors import NotFound, NotPermitted
from pycontainer.supervisor.caller import Caller
from pycontainer.supervisor.measures import Measures
from pycontainer.supervisor.operators import Operators
from pycontainer.supervisor.server import Server
from pycontainer.supervisor.world import World


class Strangers(Operators):
    """Takes everybody for a user of tenant acme."""

    __slots__ = ()

    def caller(self, sock_fd: int) -> Caller | None:
        return Caller("acme")


_NO_ENDS = SimpleNamespace(settle=lambda: None)


class Nobodies(Operators):
    """Takes everybody for nobody."""

    __slots__ = ()

    def caller(self, sock_fd: int) -> Caller | None:
        raise NotPermitted("nobody")


def frame(verb: str, **arguments: object) -> bytes:
    body = json.dumps({"verb": verb, "args": arguments}).encode()
    return struct.pack(">I", len(body)) + body


def served(directory: Path, work: Callable[[str], Awaitable[None]], operators: Operators | None = None) -> None:
    """Run `work`, which is given the path of a server's socket."""

    async def run() -> None:
        path = str(directory / "sock")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen(128)
            listener.setblocking(False)
            tenants = SimpleNamespace(find=lambda name: None)
            world = cast(
                World,
                SimpleNamespace(tenants=tenants, last_activity=0.0, paths=None, measures=Measures(), endings=_NO_ENDS),
            )
            server = Server(world, listener, operators or Strangers())
            server.accept()
            try:
                async with asyncio.timeout(60):
                    await work(path)
            finally:
                server.close()
                for task in list(server.connections):
                    task.cancel()
                await asyncio.sleep(0)
                while _peers:  # with bytes unread: that is a reset, for which nobody waits
                    _peers.pop().close()

    asyncio.run(run())


async def ask(path: str, *parts: bytes, fds: tuple[int, ...] = (), at: int = 0) -> dict[str, Any]:
    """Send a request in parts, with descriptors at one of them; return the reply, {} if there is none."""
    with connect(path) as sock:
        for index, part in enumerate(parts):
            socket.send_fds(sock, [part], fds if index == at else ())
            if index == at:
                for fd in fds:  # at once: the other end's is the last
                    os.close(fd)
            await asyncio.sleep(0.01)
        return await reply(sock)


@contextlib.contextmanager
def connect(path: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)
        sock.setblocking(False)
        yield sock


async def reply(sock: socket.socket) -> dict[str, Any]:
    loop, data = asyncio.get_running_loop(), b""
    with contextlib.suppress(ConnectionError):
        while len(data) < 4 or len(data) < 4 + struct.unpack(">I", data[:4])[0]:
            if not (part := await loop.sock_recv(sock, 1 << 16)):
                return {}
            data += part
        return dict(json.loads(data[4:]))
    return {}


_peers: list[socket.socket] = []  # of connections that linger, until a test is over


def lingering() -> int:
    """Return a connection to somebody who does not read: who closes it last waits for ten minutes. socket(7), SO_LINGER"""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 600))
        sock.connect(listener.getsockname())
        _peers.append(listener.accept()[0])
    sock.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            sock.send(bytes(1 << 16))
    return sock.detach()


def test_requests_whole_and_in_pieces(tmp_path: Path) -> None:
    async def work(path: str) -> None:
        whole = frame("ping")
        for parts in ([whole], [whole[:1], whole[1:3], whole[3:9], whole[9:]]):
            assert (await ask(path, *parts))["result"]["pid"] == os.getpid()
        assert "the most is 262144" in (await ask(path, struct.pack(">I", 262145)))["error"]["message"]
        assert (await ask(path, frame("reload")))["error"]["class"] == "NotPermitted"

    served(tmp_path, work)


def test_descriptors_are_taken_by_somebody_else(tmp_path: Path) -> None:
    """API-05: those that do no harm arrive, others do not."""

    async def work(path: str) -> None:
        assert "result" in await ask(path, frame("ping"), fds=os.pipe())
        assert "result" in await ask(path, frame("ping"), fds=(os.memfd_create("x"), os.open(tmp_path, os.O_RDONLY)))
        for fds in ((os.open("/proc/self/maps", os.O_RDONLY),), (*os.pipe(), socket.socket().detach())):
            said = (await ask(path, frame("ping"), fds=fds))["error"]
            assert said["class"] == "NotPermitted" and "may not hand over a" in said["message"]
        whole = frame("ping")
        assert await ask(path, whole[:2], whole[2:], fds=os.pipe(), at=1) == {}
        assert await ask(path, whole[:6], whole[6:], fds=os.pipe(), at=1) == {}

    served(tmp_path, work)


def test_a_connection_that_lingers_keeps_nobody_waiting(tmp_path: Path) -> None:
    """API-05: with a request, in the midst of one, behind one, and behind what is turned away."""

    async def work(path: str) -> None:
        whole = frame("ping")
        for split in (0, 2, 4, 9):
            parts = [part for part in (whole[:split], whole[split:]) if part]
            said = await ask(path, *parts, fds=(lingering(),), at=len(parts) - 1)
            assert "result" not in said
        with connect(path) as sock:
            fd = lingering()
            sock.sendall(frame("nothing"))
            socket.send_fds(sock, [frame("ping")], [fd])
            os.close(fd)
        assert "result" in await ask(path, whole)

    served(tmp_path, work)


def test_nobody_is_turned_away_without_being_waited_for(tmp_path: Path) -> None:
    """API-05"""

    async def work(path: str) -> None:
        for _ in range(3):
            assert (await ask(path, frame("ping"), fds=(lingering(),)))["error"]["message"] == "nobody"

    served(tmp_path, work, Nobodies())


def test_connections_and_requests_of_a_tenant_have_an_end(tmp_path: Path) -> None:
    """API-05"""

    async def work(path: str) -> None:
        with contextlib.ExitStack() as stack:
            socks = [stack.enter_context(connect(path)) for _ in range(66)]
            for sock in socks:
                sock.sendall(frame("ping"))
            replies = [await reply(sock) for sock in socks]
        assert ["result" in each for each in replies] == [True] * 64 + [False] * 2
        assert replies[-1]["error"]["class"] == "Busy"
        await asyncio.sleep(0.1)
        loop = asyncio.get_running_loop()
        began = loop.time()
        with connect(path) as sock:
            for _ in range(120):
                sock.sendall(frame("ping"))
                assert "result" in await reply(sock)
        assert loop.time() - began > 0.9  # 100 at once, 64 of which are gone, and 50 in a second

    served(tmp_path, work)


def test_a_tenant_that_goes_has_no_users(tmp_path: Path) -> None:
    """API-01: from its next request on."""

    async def work(path: str) -> None:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"{path}2")
            listener.listen(8)
            listener.setblocking(False)
            there = {"acme"}

            def find(name: str) -> None:
                if name not in there:
                    raise NotFound(f"no tenant '{name}'")

            world = cast(
                World,
                SimpleNamespace(
                    tenants=SimpleNamespace(find=find),
                    last_activity=0.0,
                    paths=None,
                    measures=Measures(),
                    endings=_NO_ENDS,
                ),
            )
            server = Server(world, listener, Strangers())
            server.accept()
            with connect(f"{path}2") as sock:
                sock.sendall(frame("ping"))
                assert "result" in await reply(sock)
                there.clear()
                sock.sendall(frame("ping"))
                said = (await reply(sock))["error"]
                assert said["message"] == "tenant 'acme', for which you may act, does not exist on this host"
            server.close()

    served(tmp_path, work)


@pytest.mark.parametrize("verb", ["doctor", "shutdown", "tenant_set"])
def test_what_is_refused_costs_no_connection(tmp_path: Path, verb: str) -> None:
    async def work(path: str) -> None:
        with connect(path) as sock:
            sock.sendall(frame(verb))
            assert (await reply(sock))["error"]["class"] == "NotPermitted"
            sock.sendall(frame("ping"))
            assert "result" in await reply(sock)

    served(tmp_path, work)

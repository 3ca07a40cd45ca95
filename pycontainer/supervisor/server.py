"""The control socket: who may connect, how frames become calls, how results and errors go back.

One task per connection, requests one after the other. A client that leaves cancels a request that waits or streams;
one that breaks the protocol costs its own connection only. No traceback ever reaches a client.
"""

import asyncio
import contextlib
import json
import os
import socket
import struct
import time
import traceback
from collections.abc import Callable, Coroutine

from pycontainer.api.messages import MAX_FRAME_BYTES, MAX_FRAME_FDS
from pycontainer.errors import InvalidInput, NotPermitted, PycontainerError
from pycontainer.supervisor.call import Call
from pycontainer.supervisor.verbs import copy, images, lifecycle, limits, networks, observe, processes, tenants
from pycontainer.supervisor.world import World

Verb = Callable[[World, Call], Coroutine[object, object, object]]
_MAX_CONNECTIONS = 1024
_HEADER = struct.Struct(">I")


def _verbs() -> dict[str, Verb]:
    found: dict[str, Verb] = {}
    for module in (copy, images, lifecycle, limits, networks, observe, processes, tenants):
        for name, value in vars(module).items():
            if asyncio.iscoroutinefunction(value) and not name.startswith("_") and value.__module__ == module.__name__:
                found[name] = value
    return found


VERBS = {name: verb for name, verb in _verbs().items() if name not in ("start_now", "stop_now")}


class Connection:
    """One client."""

    def __init__(self, world: World, sock: socket.socket) -> None:
        self._world, self._sock = world, sock
        self._loop = asyncio.get_running_loop()

    async def serve(self) -> None:
        try:
            self._check_peer()
            while True:
                frame = await self._receive()
                if frame is None:
                    return
                self._world.last_activity = time.monotonic()
                await self._answer(*frame)
                self._world.last_activity = time.monotonic()
        except (ConnectionError, BrokenPipeError):
            pass
        except NotPermitted as error:
            await self._send({"error": error.to_wire()})
        finally:
            self._sock.close()

    def _check_peer(self) -> None:
        """Root alone may drive the runtime; the socket's mode says so too. SO_PEERCRED, unix(7)."""
        _, uid, _ = struct.unpack("iII", self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if uid != 0:
            raise NotPermitted(f"user {uid} may not control containers", hint="run as root")

    async def _answer(self, data: bytes, fds: list[int]) -> None:
        call = None
        try:
            verb, call = self._parse(data, fds)
            result = await self._run(verb, call)
            await self._send({"result": result})
        except PycontainerError as error:
            await self._send({"error": error.to_wire()})
        except (ConnectionError, asyncio.CancelledError):
            raise
        except OSError as error:
            traceback.print_exc()
            where = f" on '{error.filename}'" if error.filename else ""
            failed = PycontainerError(f"cannot {call.verb if call else 'serve'}: {error.strerror or error}{where}")
            await self._send({"error": failed.to_wire()})
        except Exception as error:
            traceback.print_exc()
            failed = PycontainerError(
                f"internal error: {type(error).__name__}: {error}",
                hint=f"the supervisor's log has the details: {self._world.paths.supervisor_log}",
            )
            await self._send({"error": failed.to_wire()})
        finally:
            if call is not None:
                call.close()

    def _parse(self, data: bytes, fds: list[int]) -> tuple[Verb, Call]:
        call = Call("", {}, fds, self._send_event)
        try:
            message = json.loads(data, parse_constant=_refuse_constant)
            verb, arguments = message["verb"], message.get("args", {})
            if not isinstance(verb, str) or not isinstance(arguments, dict):
                raise ValueError("verb or args of a wrong type")
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            call.close()
            raise InvalidInput(f"not a request: {error}") from None
        if verb not in VERBS:
            call.close()
            raise InvalidInput(f"unknown verb '{verb[:60]}'", hint="client and supervisor may be of different versions")
        return VERBS[verb], Call(verb, arguments, fds, self._send_event)

    async def _run(self, verb: Verb, call: Call) -> object:
        """Run a verb; a client that hangs up meanwhile cancels it if it only waits or streams."""
        task = self._loop.create_task(verb(self._world, call))
        if call.verb not in ("wait", "events", "exec"):
            return await asyncio.shield(task)
        gone = self._loop.create_task(self._hung_up())
        try:
            await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                task.cancel()
                raise ConnectionError("the client left")
            return task.result()
        finally:
            gone.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await gone  # its reader is off the socket before the next request puts its own there

    async def _hung_up(self) -> None:
        """Wait until the client closes; what it sends meanwhile stays where it is."""
        readable = asyncio.Event()
        self._loop.add_reader(self._sock.fileno(), readable.set)
        try:
            while True:
                await readable.wait()
                if not self._peek():
                    return
                readable.clear()
                await asyncio.sleep(0.05)
        finally:
            self._loop.remove_reader(self._sock.fileno())

    def _peek(self) -> bytes:
        try:
            return self._sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return b"."
        except OSError:
            return b""

    async def _send_event(self, event: object, fds: list[int]) -> None:
        await self._send({"event": event}, fds)

    async def _send(self, message: object, fds: list[int] | None = None) -> None:
        body = json.dumps(message, separators=(",", ":")).encode()
        data = _HEADER.pack(len(body)) + body
        if fds:
            sent = socket.send_fds(self._sock, [data], fds)
            data = data[sent:]
        if data:
            await self._loop.sock_sendall(self._sock, data)

    async def _receive(self) -> tuple[bytes, list[int]] | None:
        fds: list[int] = []
        header = b""
        while len(header) < _HEADER.size:
            await self._readable()
            try:
                part, new_fds, _, _ = socket.recv_fds(
                    self._sock, _HEADER.size - len(header), MAX_FRAME_FDS, socket.MSG_CMSG_CLOEXEC
                )
            except BlockingIOError:
                continue
            fds += new_fds
            if not part:
                for fd in fds:
                    os.close(fd)
                return None
            header += part
        (length,) = _HEADER.unpack(header)
        try:
            if length > MAX_FRAME_BYTES:
                raise ConnectionError(f"a frame of {length} bytes")
            body = bytearray()
            while len(body) < length:
                piece = await self._loop.sock_recv(self._sock, min(length - len(body), 1 << 20))
                if not piece:
                    raise ConnectionError("closed in the middle of a frame")
                body += piece
        except BaseException:
            for fd in fds:
                os.close(fd)
            raise
        return bytes(body), fds

    async def _readable(self) -> None:
        readable = asyncio.Event()
        self._loop.add_reader(self._sock.fileno(), readable.set)
        try:
            await readable.wait()
        finally:
            self._loop.remove_reader(self._sock.fileno())


class Server:
    """Accepts clients until told to leave."""

    def __init__(self, world: World, listener: socket.socket) -> None:
        self._world, self._listener = world, listener
        self.connections: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            sock, _ = await loop.sock_accept(self._listener)
            sock.setblocking(False)
            if len(self.connections) >= _MAX_CONNECTIONS:
                sock.close()
                continue
            task = loop.create_task(Connection(self._world, sock).serve())
            self.connections.add(task)
            task.add_done_callback(self.connections.discard)


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")

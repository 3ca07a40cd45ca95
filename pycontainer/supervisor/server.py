"""The control socket: who may connect, how frames become calls, how results and errors go back.

One task per connection, requests one after the other. A client that leaves cancels a request that waits or streams;
one that breaks the protocol costs its own connection only. No traceback ever reaches a client.

What one client can take of us has an end: connections (all, and of one user), the bytes of a frame, how many large
ones are on their way at once, the time for the rest of a frame once it has begun, the time that a reply waits for its reader.
What a client sends ahead stays in its socket's buffer. The users of one tenant together have fewer connections, smaller
frames, and so many requests in a second; and all tenants leave room for the host's own.
"""

import asyncio
import contextlib
import functools
import json
import os
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable, Coroutine

from pycontainer.api import messages
from pycontainer.api.messages import MAX_FRAME_BYTES, MAX_FRAME_FDS
from pycontainer.errors import Busy, InvalidInput, NotPermitted, PycontainerError
from pycontainer.linux.descriptors import receive_fds
from pycontainer.linux.sockets import peer_ids, peer_pid
from pycontainer.runtime.foreign import are_waiting, part_without
from pycontainer.supervisor import authorise, log
from pycontainer.supervisor.call import Call, parse_request
from pycontainer.supervisor.caller import Caller, calling
from pycontainer.supervisor.descriptors import Porter
from pycontainer.supervisor.events import acting
from pycontainer.supervisor.operators import Operators
from pycontainer.supervisor.tracing import TracedRequest
from pycontainer.supervisor.verbs import (
    copy,
    creation,
    doctor,
    exchange,
    host,
    images,
    instances,
    lifecycle,
    limits,
    metrics,
    networks,
    observe,
    processes,
    running,
    save,
    snapshots,
    system,
    tenants,
    usage,
    volumes,
)
from pycontainer.supervisor.world import World
from pycontainer.units import shown

Verb = Callable[[World, Call], Coroutine[object, object, object]]
_MAX_CONNECTIONS, _MAX_CONNECTIONS_OF_A_USER = 1024, 512
_MAX_CONNECTIONS_OF_TENANTS, _MAX_CONNECTIONS_OF_A_TENANT = 512, 64
_REQUESTS_PER_SECOND, _REQUESTS_AT_ONCE = 50, 100  # of a tenant
_TOO_MANY = Busy("the supervisor has too many connections", hint="close some; each runs one request at a time")
_MAX_FRAME_BYTES_OF_TENANTS = 256 * 1024
_FRAME_SECONDS = 10.0  # from the first byte of a request to its last
_REPLY_SECONDS = 30.0  # that a client takes nothing of what waits for it
_FULL_SECONDS = 0.1
_LOOK_SECONDS, _UNDO_SECONDS = 0.005, 3.0  # between looks whether all are answered; for what was cut off to clean up
_STREAMED = ("events", "cp_from", "cp_to")  # which last as long as their client likes
_LARGE_BYTES, _LARGE_AT_ONCE = 1 << 20, 4
_HEADER = struct.Struct(">I")


def _verbs() -> dict[str, Verb]:
    found: dict[str, Verb] = {}
    for module in (copy, creation, doctor, exchange, host, images, instances, lifecycle, limits, metrics, networks, observe,
                   processes, running, save, snapshots, system, tenants, usage, volumes):  # fmt: skip
        for name, value in vars(module).items():
            if asyncio.iscoroutinefunction(value) and name in messages.VERBS and value.__module__ == module.__name__:
                found[name] = value
    return found


VERBS = _verbs()
# How those go on who waited while a new program took our place. They are told what they left in `Call.waits_for`.
WAITING: dict[str, Verb] = {
    "events": observe.events,
    "exec": processes.exec_ended,
    "reload": observe.reloaded,
    "restart": lifecycle.became_ready,
    "run": running.ran,
    "start": lifecycle.became_ready,
    "wait": lifecycle.ended,
}


class Budgets:
    """What all clients share: turns for large frames; of each tenant what its users have us do, and when the next may ask."""

    def __init__(self) -> None:
        self.large = asyncio.Semaphore(_LARGE_AT_ONCE)
        self.at_work: Counter[str] = Counter()
        self.porter = Porter()
        self.works: set[asyncio.Task[object]] = set()  # requests that go on without their clients
        self._turns: dict[str, float] = {}

    async def turn(self, caller: Caller | None) -> None:
        """Wait until a request of this caller's tenant is due."""
        if caller is None:
            return
        loop_time = asyncio.get_running_loop().time()
        turn = max(self._turns.get(caller.tenant, 0.0), loop_time - _REQUESTS_AT_ONCE / _REQUESTS_PER_SECOND)
        self._turns[caller.tenant] = turn + 1 / _REQUESTS_PER_SECOND
        if turn > loop_time:
            await asyncio.sleep(turn - loop_time)

    def charge(self, caller: Caller | None, verb: str) -> None:
        """Let the tenant's next request come later by what this one costs."""
        if caller is not None:
            self._turns[caller.tenant] += (authorise.COSTS.get(verb, 1) - 1) / _REQUESTS_PER_SECOND


class Connection:
    """One client."""

    def __init__(
        self, world: World, sock: socket.socket, budgets: Budgets, operators: Operators, listens: asyncio.Event
    ) -> None:
        """While `listens` is not set no request is taken."""
        self._world, self._sock, self._budgets, self._operators, self._listens = (
            world,
            sock,
            budgets,
            operators,
            listens,
        )
        self._caller: Caller | None = None
        self._is_trusted = False
        self._is_over = False  # all that the client has sent was read
        self._loop = asyncio.get_running_loop()
        self._is_asked = False  # from the first byte of a request to the last of its reply
        self._call: Call | None = None

    def is_open(self) -> bool:
        """Tell whether its socket is there: it is closed a moment before its task has ended."""
        return self._sock.fileno() >= 0

    def waiting(self) -> dict[str, object] | None:
        """Return what the next program needs to serve this client, None while it is being served."""
        waits_for = self._call.waits_for if self._call is not None and not self._call.is_answered() else None
        if self._is_asked and waits_for is None:
            return None
        verb = self._call.verb if self._call is not None and self._is_asked else ""
        return {"fd": self._sock.fileno(), "verb": verb, "arguments": waits_for or {}}

    def is_at_work(self) -> bool:
        """Tell whether a request is carried out that neither waits for something nor streams: it is answered soon."""
        if self._call is None:  # on its way; who has us wait for the rest of a frame is nobody but the host's own
            return self._is_asked and self._is_trusted
        return self._call.verb not in _STREAMED and self.waiting() is None

    async def serve(self, verb: str = "", arguments: dict[str, object] | None = None) -> None:
        """Serve until the client leaves, beginning with a request that waits already, if there is one."""
        try:
            self._recognize()
            with acting(_describe_peer(self._sock.fileno())):
                if verb:
                    call = Call(verb, arguments or {}, [], self._send_event)
                    call.waits_for = arguments or {}
                    with calling(self._caller):
                        await self._answer_call(WAITING[verb], call, goes_on=True)
                await self._serve_requests()
        except ConnectionError:
            pass
        except PycontainerError as error:  # nothing that follows on this connection can be trusted
            with contextlib.suppress(ConnectionError):
                await self._send({"error": error.to_wire()})
        finally:
            if self._is_trusted or self._is_over:
                self._sock.close()
            else:
                self._budgets.porter.bury(self._sock)

    async def _serve_requests(self) -> None:
        while (frame := await self._receive()) is not None:
            self._world.last_activity = time.monotonic()
            try:
                await self._budgets.turn(self._caller)
                self._recognize()
            except BaseException:
                for fd in frame[1]:
                    os.close(fd)
                raise
            with calling(self._caller):
                await self._answer(*frame)
            self._is_asked = False
            self._world.last_activity = time.monotonic()

    def _recognize(self) -> None:
        """Learn for whom this client acts now; NotPermitted if for nobody any more."""
        self._operators.refresh()
        self._caller = self._operators.caller(self._sock.fileno())
        self._is_trusted = self._caller is None
        if self._caller is not None:
            authorise.require_tenant(self._world, self._caller)

    async def _answer(self, data: bytes, fds: list[int]) -> None:
        try:
            verb, call = self._parse(data, fds)
        except PycontainerError as error:
            await self._send({"error": error.to_wire()})
        else:
            await self._answer_call(verb, call)

    async def _answer_call(self, verb: Verb, call: Call, *, goes_on: bool = False) -> None:
        """Run a verb and send what comes of it; one that `goes_on` was allowed by the program before us."""
        self._call = call
        self._is_asked = True
        self._world.endings.settle()  # nobody meets what is left of a run whose end was told
        began, has_failed, has_left = self._loop.time(), True, False
        traced = TracedRequest(call)
        try:
            if not goes_on:
                authorise.require(self._world, self._caller, call)
                self._budgets.charge(self._caller, call.verb)
            with traced, authorise.at_work(self._caller, call.verb, self._budgets.at_work):
                result = await self._run(verb, call)
            has_failed = False
            await self._send({"result": result, **traced.told()})
        except PycontainerError as error:
            await self._send({"error": error.to_wire(), **traced.told()})
        except (ConnectionError, asyncio.CancelledError):
            has_left = True
            raise
        except OSError as error:
            log.failure(f"a fault in '{call.verb}'", verb=call.verb)
            where = f" on '{error.filename}'" if error.filename else ""
            failed = PycontainerError(f"cannot {call.verb}: {error.strerror or error}{where}")
            await self._send({"error": failed.to_wire(), **traced.told()})
        except Exception:
            log.failure(f"a fault in '{call.verb}'", verb=call.verb)
            failed = PycontainerError(
                f"internal error in '{call.verb}'",
                hint=f"the supervisor's log has the details: {self._world.paths.supervisor_log}",
            )
            await self._send({"error": failed.to_wire(), **traced.told()})
        finally:
            if call.began_at is not None:  # what follows is as long as its container likes
                self._world.measures.count(call.verb, call.began_at - began, failed=False)
            elif not has_left:
                self._world.measures.count(call.verb, self._loop.time() - began, failed=has_failed)
            self._call = None
            self._is_asked = False
            call.close()

    def _parse(self, data: bytes, fds: list[int]) -> tuple[Verb, Call]:
        call = Call("", {}, fds, self._send_event)
        try:
            verb, arguments, is_traced = parse_request(data)
        except ValueError as error:
            call.close()
            raise InvalidInput(f"not a request: {error}") from None
        if verb not in VERBS:
            call.close()
            raise InvalidInput(f"unknown verb {shown(verb)}", hint="client and supervisor may be of different versions")
        call = Call(verb, arguments, fds, self._send_event)
        call.is_traced = is_traced
        return VERBS[verb], call

    async def _run(self, verb: Verb, call: Call) -> object:
        """Run a verb; a client that hangs up meanwhile cancels it if it only waits or streams."""
        call.while_there, call.has_left = self._while_there, self.has_left
        if call.verb in ("wait", "events", "why", "capacity", "exec", "cp_from", "cp_to"):
            return await self._while_there(verb(self._world, call))
        work = self._loop.create_task(verb(self._world, call))
        self._budgets.works.add(work)
        work.add_done_callback(self._budgets.works.discard)
        return await asyncio.shield(work)

    async def _while_there(self, work: Coroutine[object, object, object]) -> object:
        """Await some work, and cancel it if the client hangs up before it is done."""
        task = self._loop.create_task(work)
        gone = self._loop.create_task(self._hung_up())
        try:
            await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                task.cancel()
                task.add_done_callback(_forget)
                raise ConnectionError("the client left")
            return task.result()
        finally:
            gone.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await gone  # its reader is off the socket before the next request puts its own there

    async def _hung_up(self) -> None:
        """Wait until the client closes; what it sends meanwhile stays where it is."""
        readable, fd = asyncio.Event(), self._sock.fileno()
        self._loop.add_reader(fd, readable.set)
        try:
            while True:
                await readable.wait()
                if self.has_left():
                    return
                # It has sent the next request already. Its bytes stay, and would wake us all the time.
                self._loop.remove_reader(fd)
                await asyncio.sleep(0.5)
                readable.clear()
                self._loop.add_reader(fd, readable.set)
        finally:
            if self._sock.fileno() == fd:  # else it was closed, as we all end
                self._loop.remove_reader(fd)

    def has_left(self) -> bool:
        """Tell whether the client has hung up, of one that waits for an answer."""
        try:
            return not self._sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True

    async def _send_event(self, event: object, fds: list[int]) -> None:
        await self._send({"event": event}, fds)

    async def _send(self, message: object, fds: list[int] | None = None) -> None:
        body = json.dumps(message, separators=(",", ":")).encode()
        data = memoryview(_HEADER.pack(len(body)) + body)
        while data:
            try:
                data = data[socket.send_fds(self._sock, [data], fds or []) :]
                fds = None  # they went with the first byte
            except BlockingIOError:
                try:
                    async with asyncio.timeout(_REPLY_SECONDS):
                        await self._ready(self._loop.add_writer, self._loop.remove_writer)
                except TimeoutError:
                    raise ConnectionError("the client does not read its replies") from None

    async def _receive(self) -> tuple[bytes, list[int]] | None:
        """Return the next request and its descriptors, now the caller's; None when the client has left."""
        await self._ready(self._loop.add_reader, self._loop.remove_reader)
        await self._listens.wait()
        self._is_asked = True
        fds: list[int] = []
        try:
            async with asyncio.timeout(_FRAME_SECONDS):
                body = await self._receive_frame(fds)
        except BaseException as error:
            for fd in fds:
                os.close(fd)
            if isinstance(error, TimeoutError):
                raise InvalidInput(f"the request did not come whole within {_FRAME_SECONDS:g} seconds") from None
            raise
        if body is None:
            for fd in fds:
                os.close(fd)
            return None
        return body, fds

    async def _receive_frame(self, fds: list[int]) -> bytes | None:
        header = b""
        while len(header) < _HEADER.size:
            try:
                part, new_fds = await self._receive_some(_HEADER.size - len(header), MAX_FRAME_FDS - len(fds))
            except BlockingIOError:
                await self._ready(self._loop.add_reader, self._loop.remove_reader)
                continue
            fds += new_fds
            if not part:
                return None
            header += part
        (length,) = _HEADER.unpack(header)
        most = MAX_FRAME_BYTES if self._caller is None else _MAX_FRAME_BYTES_OF_TENANTS
        if length > most:
            raise InvalidInput(f"a request of {length} bytes; the most is {most}")
        async with self._budgets.large if length > _LARGE_BYTES else contextlib.nullcontext():
            body = bytearray()
            while len(body) < length:
                piece = await self._receive_piece(min(length - len(body), 1 << 20))
                if not piece:
                    raise ConnectionError("closed in the middle of a frame")
                body += piece
            return bytes(body)

    async def _receive_piece(self, size: int) -> bytes:
        if self._caller is None:
            return await self._loop.sock_recv(self._sock, size)
        while True:
            try:
                return self._read(size)
            except BlockingIOError:
                await self._ready(self._loop.add_reader, self._loop.remove_reader)

    async def _receive_some(self, size: int, most_fds: int) -> tuple[bytes, list[int]]:
        """Return the next bytes of a header and what came with them; what a tenant's user sends is taken by somebody else."""
        if self._caller is None:
            return receive_fds(self._sock, size, most_fds)
        if size == _HEADER.size and are_waiting(self._sock):
            return await self._budgets.porter.take(self._sock, self._caller.tenant)
        return self._read(size), []

    def _read(self, size: int) -> bytes:
        """Read from a client that we do not trust what has no descriptors with it; BlockingIOError while nothing is there."""
        count = part_without(self._sock, size)
        if count is None:
            raise ConnectionError("descriptors in the middle of a request")
        if not count:
            self._is_over = True
        return self._sock.recv(count) if count else b""

    async def _ready(self, add: Callable[..., object], remove: Callable[[int], object]) -> None:
        """Wait until the socket can be read from, or written to: `add` and `remove` are the loop's, for one or the other."""
        ready = asyncio.Event()
        add(self._sock.fileno(), ready.set)
        try:
            await ready.wait()
        finally:
            remove(self._sock.fileno())


class Server:
    """Accepts clients until told to leave."""

    def __init__(self, world: World, listener: socket.socket, operators: Operators) -> None:
        self._world, self._listener, self._operators = world, listener, operators
        self.connections: dict[asyncio.Task[None], Connection] = {}
        self._listens = asyncio.Event()
        self._listens.set()
        self._pause: asyncio.TimerHandle | None = None
        self._of_user: Counter[int] = Counter()
        self._of_tenant: Counter[str] = Counter()
        self._budgets = Budgets()
        world.measures.count_connections = lambda: len(self.connections)

    def accept(self) -> None:
        """Accept from here on. What was accepted is among the connections at once: none is lost in a reload."""
        asyncio.get_running_loop().add_reader(self._listener.fileno(), self._accept)

    def close(self) -> None:
        """Accept no more."""
        asyncio.get_running_loop().remove_reader(self._listener.fileno())
        if self._pause is not None:
            self._pause.cancel()
        self._listener.close()

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError:  # no descriptor left: the next one who goes makes room
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._listener.fileno())
            self._pause = loop.call_later(_FULL_SECONDS, self.accept)
            return
        sock.setblocking(False)
        uid, _ = peer_ids(sock.fileno())
        try:
            self._operators.refresh()
            caller = self._operators.caller(sock.fileno())
        except NotPermitted as error:
            self._turn_away(sock, error, is_trusted=False)
            return
        if len(self.connections) >= _MAX_CONNECTIONS or self._of_user[uid] >= _MAX_CONNECTIONS_OF_A_USER:
            self._turn_away(sock, _TOO_MANY, is_trusted=caller is None)
            return
        tenant = "" if caller is None else caller.tenant
        if tenant and (
            self._of_tenant[tenant] >= _MAX_CONNECTIONS_OF_A_TENANT
            or self._of_tenant.total() >= _MAX_CONNECTIONS_OF_TENANTS
        ):
            self._turn_away(sock, _TOO_MANY, is_trusted=False)
            return
        self._serve(sock, uid, tenant)

    def take_over(self, sock: socket.socket, verb: str, arguments: dict[str, object]) -> None:
        """Serve a client of the program before us, which has been waiting for an answer to `verb` if that is given."""
        sock.setblocking(False)
        try:
            caller = self._operators.caller(sock.fileno())
        except NotPermitted as error:
            self._turn_away(sock, error, is_trusted=False)
            return
        self._serve(sock, peer_ids(sock.fileno())[0], "" if caller is None else caller.tenant, verb, arguments)

    async def finish(self, most_seconds: float) -> None:
        """Accept no more, and end each connection as soon as the request on it is answered; after `most_seconds`, all.

        Requests that only wait, or stream, are not waited for. What was sent and is not read stays so: its client sends it
        again, to the next supervisor (client/connection.py, NotRead). What is cut off has undone what it did when we return.
        """
        self.close()
        self.hold()
        deadline, told = time.monotonic() + most_seconds, set[asyncio.Task[None]]()
        while self.connections and time.monotonic() < deadline + _UNDO_SECONDS:
            for task, connection in list(self.connections.items()):
                if task not in told and (time.monotonic() >= deadline or not connection.is_at_work()):
                    told.add(task)
                    task.cancel()
            await asyncio.sleep(_LOOK_SECONDS if self.connections.keys() - told else 0)
        works = set(self._budgets.works)
        for work in works:
            work.cancel()
        if works:
            await asyncio.wait(works, timeout=_UNDO_SECONDS)

    def hold(self) -> None:
        """Take no request any more; those that are at work go on."""
        self._listens.clear()

    def go_on(self) -> None:
        self._listens.set()

    def waiting(self) -> list[dict[str, object]] | None:
        """Return what the next program needs to serve these clients, None while one of them is being served."""
        found = [connection.waiting() for connection in self.connections.values() if connection.is_open()]
        return None if None in found else [each for each in found if each is not None]

    def _serve(
        self, sock: socket.socket, uid: int, tenant: str, verb: str = "", arguments: dict[str, object] | None = None
    ) -> None:
        self._of_user[uid] += 1
        if tenant:
            self._of_tenant[tenant] += 1
        connection = Connection(self._world, sock, self._budgets, self._operators, self._listens)
        task = asyncio.get_running_loop().create_task(connection.serve(verb, arguments))
        self.connections[task] = connection
        task.add_done_callback(functools.partial(self._left, uid, tenant))

    def _turn_away(self, sock: socket.socket, error: PycontainerError, *, is_trusted: bool) -> None:
        """Say why, if that can be said at once, and close."""
        body = json.dumps({"error": error.to_wire()}).encode()
        with contextlib.suppress(OSError):
            sock.send(_HEADER.pack(len(body)) + body)
        if is_trusted:
            sock.close()
        else:
            self._budgets.porter.bury(sock)

    def _left(self, uid: int, tenant: str, task: asyncio.Task[None]) -> None:
        del self.connections[task]
        self._of_user[uid] -= 1
        if not self._of_user[uid]:
            del self._of_user[uid]
        if tenant:
            self._of_tenant[tenant] -= 1
            if not self._of_tenant[tenant]:
                del self._of_tenant[tenant]


def _forget(task: "asyncio.Task[object]") -> None:
    """Look at how a task ended that nobody waits for: a cancel that came too late lets it go on to its reply."""
    if not task.cancelled():
        task.exception()


def _describe_peer(sock_fd: int) -> str:
    """Say who connected, for the events: "uid 0 (pid 123, pycontainer)". The name is the program's own word, for people."""
    uid, _ = peer_ids(sock_fd)
    pid = peer_pid(sock_fd)
    try:
        with open(f"/proc/{pid}/comm", "rb") as file:
            command = file.read(64).decode(errors="replace").strip()
    except OSError:  # it has ended, or cannot be seen from here
        return f"uid {uid} (pid {pid})" if pid else f"uid {uid}"
    return f"uid {uid} (pid {pid}, {command})"

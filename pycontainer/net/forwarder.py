"""The program behind published ports on the loopback: 127.0.0.1:P and ::1:P to an instance.

Runs as `python -SI forwarder.py FD`. The kernel cannot translate ::1, and 127.0.0.1 only by opening the host's loopback
services to instances, so these two are carried in user space. The listening sockets also reserve the port against other
programs of the host. They are made by the supervisor, which sends them over a unix seqpacket socket; this program opens
nothing, and gives up root.

    request, JSON in one packet                                           reply
    {"add": [[owner, protocol, [[ip, port], ...]], ...]} + descriptors    none: targets are tried in order
    {"remove": owner}   closes its listeners and connections              {"removed": number of listeners}
    {"list": true}                                                        {"owners": [...]}
    {"quit": true}                                                        none: the connection ends

FD is the control socket, listening. The supervisor may die and come back; without it and without listeners this program
ends after a few seconds. One thread, one epoll, at most 64 KiB buffered each way of a connection. These may take all
descriptors but those kept for a request, which without its sockets would be another one.
"""

import array
import contextlib
import errno
import json
import os
import resource
import select
import socket
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

Handler = Callable[[int], None]

IDLE_EXIT_SECONDS = 5
BUFFER_BYTES = 65536
UDP_IDLE_SECONDS = 60
UDP_FLOWS_PER_LISTENER = 1024
PACKET_BYTES = 65536
MAX_CONTROL_BYTES = 200_000
MAX_DESCRIPTORS = 253
RESERVE = MAX_DESCRIPTORS + 1  # of a request, and of the connection that it comes by
NOBODY = 65534
READ, WRITE, ENDED = select.EPOLLIN, select.EPOLLOUT, select.EPOLLHUP | select.EPOLLERR


class Loop:
    """The sockets that are waited for, and what to call when one is ready."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Handler] = {}

    def watch(self, sock: socket.socket, events: int, handler: Handler) -> None:
        """Wait for `events` on the socket; 0 goes on waiting for its end alone."""
        if sock.fileno() in self._handlers:
            self._epoll.modify(sock.fileno(), events)
        else:
            self._epoll.register(sock.fileno(), events)
        self._handlers[sock.fileno()] = handler

    def forget(self, sock: socket.socket) -> None:
        if self._handlers.pop(sock.fileno(), None) is not None:
            self._epoll.unregister(sock.fileno())

    def run_once(self, timeout_seconds: float) -> None:
        for fd, events in self._epoll.poll(timeout_seconds):
            handler = self._handlers.get(fd)
            if handler is not None:  # a handler before it in this round may have closed it
                handler(events)


@contextlib.contextmanager
def all_descriptors() -> Iterator[None]:
    """Take also those that are kept for the supervisor, beyond the soft limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Relay:
    """One TCP connection and the one to the instance that belongs to it; what ends one way, ends that way only."""

    def __init__(
        self, loop: Loop, client: socket.socket, targets: list[tuple[str, int]], closed: Callable[["Relay"], None]
    ) -> None:
        self._loop, self._closed = loop, closed
        self._client = client
        self._server: socket.socket | None = None
        self._targets = list(targets)
        self._buffers = {True: bytearray(), False: bytearray()}  # True: on the way to the server
        self._read_ended = {True: False, False: False}
        self._write_ended = {True: False, False: False}
        client.setblocking(False)
        self._dial()

    def close(self) -> None:
        for sock in (self._client, self._server):
            if sock is not None and sock.fileno() >= 0:
                self._loop.forget(sock)
                sock.close()
        self._closed(self)

    def _dial(self) -> None:
        while self._targets:
            ip, port = self._targets.pop(0)
            try:
                server = socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET)
            except OSError:  # no descriptor is free
                break
            server.setblocking(False)
            if server.connect_ex((ip, port)) in (0, errno.EINPROGRESS):
                self._server = server
                self._loop.watch(server, WRITE, self._dialled)
                return
            server.close()
        self.close()

    def _dialled(self, _events: int) -> None:
        assert self._server is not None
        if self._server.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._loop.forget(self._server)
            self._server.close()
            self._server = None
            self._dial()
            return
        self._update()

    def _on_client(self, events: int) -> None:
        self._move(events, self._client, from_client=True)

    def _on_server(self, events: int) -> None:
        if self._server is not None:
            self._move(events, self._server, from_client=False)

    def _move(self, events: int, sock: socket.socket, *, from_client: bool) -> None:
        """Read from `sock` what there is room for, write to it what waits for it."""
        try:
            incoming, outgoing = self._buffers[from_client], self._buffers[not from_client]
            if events & (READ | ENDED) and not self._read_ended[from_client] and len(incoming) < BUFFER_BYTES:
                data = sock.recv(BUFFER_BYTES - len(incoming))
                incoming += data
                self._read_ended[from_client] = not data
                self._flush(to_server=from_client)
            elif events & ENDED and self._read_ended[from_client]:  # nothing can be written to it any more either
                outgoing.clear()
                self._write_ended[not from_client] = True
            if events & WRITE and outgoing:
                self._flush(to_server=not from_client)
        except BlockingIOError:
            pass
        except OSError:
            self.close()
            return
        self._update()

    def _flush(self, *, to_server: bool) -> None:
        target = self._server if to_server else self._client
        buffer = self._buffers[to_server]
        assert target is not None
        if buffer:
            try:
                del buffer[: target.send(buffer)]
            except BlockingIOError:
                return
        if not buffer and self._read_ended[to_server] and not self._write_ended[to_server]:
            self._write_ended[to_server] = True
            target.shutdown(socket.SHUT_WR)

    def _update(self) -> None:
        if all(self._write_ended.values()):
            self.close()
            return
        assert self._server is not None
        ends = ((self._client, True, self._on_client), (self._server, False, self._on_server))
        for sock, from_client, handler in ends:
            is_over = self._read_ended[from_client] and self._write_ended[not from_client]
            has_room = len(self._buffers[from_client]) < BUFFER_BYTES
            reading = READ if has_room and not self._read_ended[from_client] else 0
            interest = reading | (WRITE if self._buffers[not from_client] else 0)
            if is_over or not (has_room or interest):
                self._loop.forget(sock)  # its end would be reported for as long as the other side takes to read
            else:
                self._loop.watch(sock, interest, handler)


class TcpListener:
    """A listening TCP socket and the connections it brought."""

    def __init__(self, loop: Loop, sock: socket.socket, targets: list[tuple[str, int]]) -> None:
        self._loop, self._socket, self._targets = loop, sock, targets
        self._relays: set[Relay] = set()
        sock.setblocking(False)
        loop.watch(sock, READ, self._accept)

    def close(self) -> None:
        self._loop.forget(self._socket)
        self._socket.close()
        for relay in list(self._relays):
            relay.close()

    def sweep(self, _now: float) -> None:
        """Listen again if there were too many connections before."""
        self._loop.watch(self._socket, READ, self._accept)

    def _accept(self, _events: int) -> None:
        try:
            client, _ = self._socket.accept()
        except BlockingIOError:
            return
        except OSError:  # no descriptor is free: until the next sweep, let them wait in the queue
            self._loop.watch(self._socket, 0, self._accept)
            return
        relay = Relay(self._loop, client, self._targets, self._relays.discard)
        if client.fileno() >= 0:
            self._relays.add(relay)


class UdpListener:
    """A bound UDP socket; each sender gets a socket of its own towards the instance, so that answers find back."""

    def __init__(self, loop: Loop, sock: socket.socket, targets: list[tuple[str, int]]) -> None:
        self._loop, self._socket, self._target = loop, sock, targets[0]
        self._flows: dict[tuple[Any, ...], tuple[socket.socket, list[float]]] = {}
        sock.setblocking(False)
        loop.watch(sock, READ, self._receive)

    def close(self) -> None:
        self._loop.forget(self._socket)
        self._socket.close()
        for sender in list(self._flows):
            self._drop(sender)

    def sweep(self, now: float) -> None:
        """Forget the senders that have been silent."""
        for sender, (_, used) in list(self._flows.items()):
            if now - used[0] > UDP_IDLE_SECONDS:
                self._drop(sender)

    def _receive(self, _events: int) -> None:
        try:
            data, sender = self._socket.recvfrom(PACKET_BYTES)
            flow = self._flows.get(sender) or self._open(sender)
            flow[1][0] = time.monotonic()
            flow[0].send(data)
        except OSError:  # as with UDP everywhere: lost
            return

    def _open(self, sender: tuple[Any, ...]) -> tuple[socket.socket, list[float]]:
        if len(self._flows) >= UDP_FLOWS_PER_LISTENER:
            self._drop(min(self._flows, key=lambda other: self._flows[other][1][0]))
        ip, _ = self._target
        upstream = socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET, socket.SOCK_DGRAM)
        upstream.setblocking(False)
        upstream.connect(self._target)
        flow = self._flows[sender] = (upstream, [0.0])
        self._loop.watch(upstream, READ, lambda _events: self._answer(upstream, sender))
        return flow

    def _answer(self, upstream: socket.socket, sender: tuple[Any, ...]) -> None:
        try:
            self._socket.sendto(upstream.recv(PACKET_BYTES), sender)
        except OSError:
            return

    def _drop(self, sender: tuple[Any, ...]) -> None:
        upstream, _ = self._flows.pop(sender)
        self._loop.forget(upstream)
        upstream.close()


class Forwarder:
    """All listeners by owner, and the supervisor's connections."""

    def __init__(self, control: socket.socket) -> None:
        self._loop = Loop()
        self._control = control
        self._connections: set[socket.socket] = set()
        self._listeners: dict[str, list[TcpListener | UdpListener]] = {}
        self._quit = False
        control.setblocking(False)
        self._loop.watch(control, READ, self._accept)

    def run(self) -> None:
        idle_since = swept = time.monotonic()
        while not self._quit:
            self._loop.run_once(1.0)
            now = time.monotonic()
            if self._connections or self._listeners:
                idle_since = now
            elif now - idle_since > IDLE_EXIT_SECONDS:
                return
            if now - swept > 1.0:
                swept = now
                self._loop.watch(self._control, READ, self._accept)
                for listeners in self._listeners.values():
                    for listener in listeners:
                        listener.sweep(now)

    def _accept(self, _events: int) -> None:
        try:
            with all_descriptors():
                connection, _ = self._control.accept()
        except BlockingIOError:
            return
        except OSError:  # no descriptor is free: until the next sweep, it waits in the queue
            self._loop.watch(self._control, 0, self._accept)
            return
        connection.setblocking(False)
        self._connections.add(connection)
        self._loop.watch(connection, READ, lambda _events: self._request(connection))

    def _request(self, connection: socket.socket) -> None:
        try:
            with all_descriptors():
                data, ancillary, _, _ = connection.recvmsg(
                    MAX_CONTROL_BYTES, socket.CMSG_SPACE(MAX_DESCRIPTORS * 4), socket.MSG_CMSG_CLOEXEC
                )
            if data:
                reply = self._answer(json.loads(data), _descriptors(ancillary))
                if reply is not None:
                    connection.send(json.dumps(reply).encode())
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self._loop.forget(connection)
        self._connections.discard(connection)
        connection.close()

    def _answer(self, request: dict[str, object], fds: list[int]) -> dict[str, object] | None:
        if "add" in request:
            self._add(request["add"], fds)
            return None
        if "remove" in request:
            listeners = self._listeners.pop(str(request["remove"]), [])
            for listener in listeners:
                listener.close()
            return {"removed": len(listeners)}
        if "list" in request:
            return {"owners": sorted(self._listeners)}
        self._quit = "quit" in request
        return None

    def _add(self, entries: object, fds: list[int]) -> None:
        assert isinstance(entries, list)
        for (owner, protocol, targets), fd in zip(entries, fds, strict=True):
            sock = socket.socket(fileno=fd)
            kind = TcpListener if protocol == "tcp" else UdpListener
            listener = kind(self._loop, sock, [(ip, port) for ip, port in targets])
            self._listeners.setdefault(owner, []).append(listener)


def _descriptors(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    fds = array.array("i")
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return list(fds)


def main() -> None:
    control = socket.socket(fileno=int(sys.argv[1]))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(hard - RESERVE, hard // 2), hard))
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    os.chdir("/")
    os.umask(0o077)
    Forwarder(control).run()


if __name__ == "__main__":
    main()

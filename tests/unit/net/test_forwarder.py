"""Connections through the forwarder whose two ends do not go at the same pace, and too many of them, over real sockets."""

import json
import os
import resource
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pycontainer.net.forwarder import BUFFER_BYTES, Forwarder, Loop, Relay, TcpListener

RESET = struct.pack("ii", 1, 0)  # SO_LINGER
PIECE = bytes(range(256)) * 32


class Road:
    """A client, a server, and the forwarder between them; `turns` are the calls that its sockets cost it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.turns = 0
        move = Relay._move

        def count(relay: Relay, events: int, sock: socket.socket, *, from_client: bool) -> None:
            self.turns += 1
            move(relay, events, sock, from_client=from_client)

        monkeypatch.setattr(Relay, "_move", count)
        self._loop, self._target, outer = (
            Loop(),
            socket.create_server(("127.0.0.1", 0)),
            socket.create_server(("127.0.0.1", 0)),
        )
        self._listener = TcpListener(self._loop, outer, [self._target.getsockname()])
        self.client = socket.create_connection(outer.getsockname())
        self.turn(until=lambda: bool(self._listener._relays))
        self.server, _ = self._target.accept()
        (self.relay,) = self._listener._relays
        for sock in (self.client, self.server):
            sock.setblocking(False)

    def turn(self, until: Callable[[], bool] = lambda: False, rounds: int = 100) -> None:
        for _ in range(rounds):
            self._loop.run_once(0.01)
            if until():
                return

    def fill(self, sock: socket.socket, *, to_server: bool) -> int:
        """Send until the forwarder has no room any more, and a little; return how much."""
        sent = 0
        while len(self.relay._buffers[to_server]) < BUFFER_BYTES:
            sent += sock.send(PIECE)
            for _ in range(3):  # it has come by now: both ends are here
                self._loop.run_once(0)
        return sent + sock.send(PIECE)

    def read_all(self, sock: socket.socket) -> int:
        """Read to the end, while the forwarder goes on; return how much that was."""
        received = 0
        for _ in range(10_000):
            try:
                data = sock.recv(1 << 16)
            except BlockingIOError:
                self._loop.run_once(0.01)
                continue
            if not data:
                return received
            received += len(data)
        raise AssertionError("there is no end")

    def close(self) -> None:
        self._listener.close()
        for sock in (self.client, self.server, self._target):
            sock.close()


@pytest.fixture
def road(monkeypatch: pytest.MonkeyPatch) -> Iterator[Road]:
    made = Road(monkeypatch)
    yield made
    made.close()


def test_a_long_answer_to_a_slow_client_costs_nothing_while_it_waits(road: Road) -> None:
    """The client has said all, the instance has said all and is gone; what is on the way arrives when it is taken."""
    road.client.shutdown(socket.SHUT_WR)
    road.turn(until=lambda: road.relay._write_ended[True])
    sent = road.fill(road.server, to_server=False)
    road.server.close()
    road.turn(rounds=10)
    road.turns = 0
    road.turn()
    assert road.turns < 10
    assert road.read_all(road.client) == sent
    road.turn(until=lambda: not road._listener._relays)
    assert not road._listener._relays


def test_a_client_that_is_gone_costs_nothing_while_the_instance_does_not_read(road: Road) -> None:
    road.fill(road.client, to_server=True)
    road.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    road.client.close()
    road.turn(rounds=10)
    road.turns = 0
    road.turn()
    assert road.turns < 10
    assert road.read_all(road.server) >= BUFFER_BYTES
    assert not road._listener._relays


def test_ports_are_taken_when_connections_have_all_descriptors(tmp_path: Path) -> None:
    control, supervisor = (socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(2))
    control.bind(f"{tmp_path}/control")
    control.listen()
    supervisor.connect(f"{tmp_path}/control")
    forwarder = Forwarder(control)
    limits, connections = resource.getrlimit(resource.RLIMIT_NOFILE), list[int]()
    ports = [socket.create_server(("127.0.0.1", 0)) for _ in range(5)]
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + 20, limits[1]))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            while True:
                connections.append(os.dup(0))
        request = {"add": [["c", "tcp", [["127.0.0.1", 1]]] for _ in ports]}
        socket.send_fds(supervisor, [json.dumps(request).encode()], [port.fileno() for port in ports])
        for _ in range(3):
            forwarder._loop.run_once(0.1)
        assert len(forwarder._listeners["c"]) == len(ports)
        with pytest.raises(OSError, match="Too many open files"):
            os.dup(0)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for fd in connections:
            os.close(fd)
    assert forwarder._answer({"remove": "c"}, []) == {"removed": len(ports)}
    supervisor.close()
    forwarder._loop.run_once(0.1)
    assert not forwarder._connections
    for each in (control, *ports):
        each.close()

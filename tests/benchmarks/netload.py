"""The two ends of a TCP load, each a process of its own in the network where it belongs.

    python -m tests.benchmarks.netload serve PORT
    python -m tests.benchmarks.netload try NETWORK ADDRESS PORT
    python -m tests.benchmarks.netload bulk SECONDS NETWORK ADDRESS PORT
    python -m tests.benchmarks.netload turns KIND ROUNDS NETWORK ADDRESS PORT ...

A client connects from the network namespace of that path. `try` fails unless there is an answer. `bulk` prints MB/s as
the far end received it. `turns` goes to several servers, for some milliseconds to one and then to the next: what else the
machine does meets all of a round. It prints for each of them a JSON array with a figure of each round:

    bursts         MB/s of 32 MB over a connection that stays, until the server has it all
    latency        the median round trip of a byte over a connection that stays, in us
    connections    how many were made, answered and closed in a second, one after the other

The client's first byte says what it is. Both ends stay on the last processor: all steps of the way add up, and where the
scheduler likes to put them is not measured.
"""

import json
import os
import random
import socket
import statistics
import struct
import sys
import threading
import time
from collections.abc import Callable

from pycontainer.linux.namespaces import CLONE_NEWNET, setns

_CHUNK_BYTES = 1 << 17
_BURST_BYTES = 256 * _CHUNK_BYTES  # some 15 ms
_BUFFER_BYTES = 1 << 20  # what a cap has not let through yet when the client ends
_ROUND_TRIPS, _CONNECTIONS = 300, 100  # of one turn
_FIRST_TURNS = 15  # until a way is as it will be
_LONGEST_SECONDS = 40  # of all turns: of a slow machine there are fewer
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: no TIME_WAIT, whose tuples of one client would clash


def serve(port: int) -> None:
    server = socket.create_server(("", port), backlog=1024)
    while True:
        sock, _ = server.accept()
        kind = sock.recv(1)
        if kind in _ANSWERS:
            threading.Thread(target=_answer, args=(kind, sock), daemon=True).start()
        else:
            sock.close()


def _answer(kind: bytes, sock: socket.socket) -> None:
    with sock:
        _ANSWERS[kind](sock)


def _answer_bulk(sock: socket.socket) -> None:
    buffer, size, began = bytearray(_CHUNK_BYTES), 0, time.monotonic()
    while count := sock.recv_into(buffer):
        size += count
    sock.sendall(f"{size / 1e6 / (time.monotonic() - began)}".encode())


def _answer_bursts(sock: socket.socket) -> None:
    buffer, missing = bytearray(_CHUNK_BYTES), _BURST_BYTES
    while count := sock.recv_into(buffer, min(_CHUNK_BYTES, missing)):
        missing -= count
        if missing == 0:
            sock.sendall(b"x")
            missing = _BURST_BYTES


def _answer_bytes(sock: socket.socket) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while byte := sock.recv(1):
        sock.sendall(byte)


_ANSWERS = {b"b": _answer_bulk, b"t": _answer_bursts, b"l": _answer_bytes}


def bulk(seconds: float, network: str, address: str, port: int) -> float:
    with _enter(network) as sock:
        _begin(sock, address, port, b"b")
        chunk, ends = bytes(_CHUNK_BYTES), time.monotonic() + seconds
        while time.monotonic() < ends:
            sock.sendall(chunk)
        sock.shutdown(socket.SHUT_WR)
        return float(sock.recv(64))


def _begin(sock: socket.socket, address: str, port: int, kind: bytes) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
    sock.connect((address, port))
    sock.sendall(kind)


def _bursts(network: str, address: str, port: int) -> Callable[[], float]:
    sock, chunk = _enter(network), bytes(_CHUNK_BYTES)
    _begin(sock, address, port, b"t")

    def turn() -> float:
        began = time.monotonic()
        for _ in range(_BURST_BYTES // _CHUNK_BYTES):
            sock.sendall(chunk)
        sock.recv(1)
        return _BURST_BYTES / 1e6 / (time.monotonic() - began)

    return turn


def _latency(network: str, address: str, port: int) -> Callable[[], float]:
    sock = _enter(network)
    _begin(sock, address, port, b"l")
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def turn() -> float:
        usecs = []
        for _ in range(_ROUND_TRIPS):
            began = time.monotonic()
            sock.sendall(b"x")
            sock.recv(1)
            usecs.append((time.monotonic() - began) * 1e6)
        return statistics.median(usecs)

    return turn


def _connections(network: str, address: str, port: int) -> Callable[[], float]:
    def turn() -> float:
        _enter(network).close()
        began = time.monotonic()
        for _ in range(_CONNECTIONS):
            with socket.create_connection((address, port)) as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                sock.sendall(b"c")
                sock.recv(1)
        return _CONNECTIONS / (time.monotonic() - began)

    return turn


def _enter(network: str) -> socket.socket:
    """Go into a network namespace; return a socket of it."""
    with open(network) as namespace:
        setns(namespace.fileno(), CLONE_NEWNET)
    return socket.socket()


_TURNS = {"bursts": _bursts, "latency": _latency, "connections": _connections}


def turns(kind: str, rounds: int, ways: list[tuple[str, str, int]]) -> list[list[float]]:
    each = [_TURNS[kind](*way) for way in ways]
    taken: list[list[float]] = [[] for _ in each]
    ends = time.monotonic() + _LONGEST_SECONDS
    for number in range(_FIRST_TURNS + rounds):
        for place in random.Random(number).sample(range(len(each)), len(each)):
            taken[place].append(round(each[place](), 2))
        if time.monotonic() > ends:
            break
    return [values[_FIRST_TURNS:] or values[-1:] for values in taken]


def main(verb: str, *rest: str) -> None:
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    if verb == "serve":
        serve(int(rest[0]))
    elif verb == "try":
        network, address, port = rest
        with _enter(network) as sock:
            _begin(sock, address, int(port), b"l")
            sock.sendall(b"x")
            sys.exit(sock.recv(1) != b"x")
    elif verb == "bulk":
        seconds, network, address, port = rest
        print(bulk(float(seconds), network, address, int(port)))
    else:
        kind, rounds, *ways = rest
        print(json.dumps(turns(kind, int(rounds), [*zip(ways[::3], ways[1::3], map(int, ways[2::3]), strict=True)])))


if __name__ == "__main__":
    main(*sys.argv[1:])

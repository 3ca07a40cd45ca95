"""The two ends of a TCP load, each a process of its own in the network where it belongs.

    python -m tests.benchmarks.netload serve PORT
    python -m tests.benchmarks.netload bulk|latency|connections ADDRESS PORT SECONDS      prints a figure

`bulk` is MB/s as the far end received it, `latency` the median round trip of a byte in us, `connections` how many were made,
answered and closed in a second, one after the other. The client's first byte says what it is.

Both ends stay on the last processor: all steps of the way add up, and where the scheduler likes to put them is not measured.
"""

import os
import socket
import statistics
import struct
import sys
import threading
import time

_CHUNK_BYTES = 1 << 17
_BUFFER_BYTES = 1 << 20  # what a cap has not let through yet when the client ends
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: no TIME_WAIT, whose tuples of one client would clash


def serve(port: int) -> None:
    server = socket.create_server(("", port), backlog=1024)
    while True:
        sock, _ = server.accept()
        kind = sock.recv(1)
        if kind == b"c":
            sock.close()
        else:
            threading.Thread(target=_answer, args=(sock, kind), daemon=True).start()


def _answer(sock: socket.socket, kind: bytes) -> None:
    with sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if kind == b"l":
            while byte := sock.recv(1):
                sock.sendall(byte)
            return
        buffer, size, began = bytearray(_CHUNK_BYTES), 0, time.monotonic()
        while count := sock.recv_into(buffer):
            size += count
        sock.sendall(f"{size / 1e6 / (time.monotonic() - began)}".encode())


def bulk(address: str, port: int, seconds: float) -> float:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
        sock.connect((address, port))
        sock.sendall(b"b")
        chunk, ends = bytes(_CHUNK_BYTES), time.monotonic() + seconds
        while time.monotonic() < ends:
            sock.sendall(chunk)
        sock.shutdown(socket.SHUT_WR)
        return float(sock.recv(64))


def latency(address: str, port: int, seconds: float) -> float:
    with socket.create_connection((address, port)) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(b"l")
        usecs, ends = [], time.monotonic() + seconds
        while (began := time.monotonic()) < ends:
            sock.sendall(b"x")
            sock.recv(1)
            usecs.append((time.monotonic() - began) * 1e6)
        return statistics.median(usecs)


def connections(address: str, port: int, seconds: float) -> float:
    count, began = 0, time.monotonic()
    while time.monotonic() - began < seconds:
        with socket.create_connection((address, port)) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            sock.sendall(b"c")
            sock.recv(1)
        count += 1
    return count / (time.monotonic() - began)


if __name__ == "__main__":
    verb, *rest = sys.argv[1:]
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    if verb == "serve":
        serve(int(rest[0]))
    print({"bulk": bulk, "latency": latency, "connections": connections}[verb](rest[0], int(rest[1]), float(rest[2])))

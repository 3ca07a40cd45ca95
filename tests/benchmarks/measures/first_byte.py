"""From the command to the first byte of an answer: a container with a web server, asked from beyond the host."""

import socket
import time
from collections.abc import Iterator, Sequence

from tests.benchmarks.bed import Bed
from tests.benchmarks.figures import Row, row
from tests.benchmarks.peers.base import Peer
from tests.benchmarks.rounds import interleave
from tests.support.hostns import INSIDE_IP

NAME = "first-byte"
TITLE = "Time to the first HTTP byte"
COMPARES = True
TEXT = (
    "From the command until a client beyond the host has the first byte of busybox httpd. The client asks again and "
    "again once the command has returned, where that leaves the container running, and else from the beginning. "
    "pycontainer, Podman and Docker publish a port of a container with a network of its own; all others listen in the "
    "host's network, which costs them nothing."
)
_PORT = 8099
_TIMEOUT_SECONDS = 20.0
_ANSWER_SECONDS = 0.05  # a proxy accepts before there is a server
_CONNECT_SECONDS = (
    0.01  # a packet that came before the container's link was up is lost, and repeated after a second only
)


def measure(bed: Bed, peers: Sequence[Peer]) -> Iterator[Row]:
    works = {peer.name: lambda peer=peer: first_byte(bed, peer) for peer in peers}
    for name, values in interleave(works, 2 if bed.quick else 15).items():
        yield row(NAME, name, "first byte", "ms", [value * 1000 for value in values])


def first_byte(bed: Bed, peer: Peer) -> float:
    """Return the seconds."""

    def ask() -> float:
        give_up = time.monotonic() + _TIMEOUT_SECONDS
        while time.monotonic() < give_up:
            try:
                with socket.create_connection((INSIDE_IP, _PORT), timeout=_CONNECT_SECONDS) as sock:
                    sock.settimeout(_ANSWER_SECONDS)
                    sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
                    if sock.recv(1):
                        return time.monotonic()
            except OSError:
                pass
            time.sleep(0.0005)
        raise TimeoutError(f"{peer.name}: no answer within {_TIMEOUT_SECONDS:g} s")

    began = time.monotonic()
    try:
        peer.serve(_PORT)
        return bed.network.outside.call(ask) - began
    finally:
        peer.unserve()

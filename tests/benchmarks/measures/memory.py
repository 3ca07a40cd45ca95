"""Memory of each runtime for each container that it runs, from a few of them."""

from collections.abc import Iterator, Sequence

from tests.benchmarks.bed import Bed
from tests.benchmarks.figures import Row, row
from tests.benchmarks.memory import runtime_bytes
from tests.benchmarks.peers.base import Peer

NAME = "memory"
TITLE = "Memory for each container"
COMPARES = True
TEXT = (
    "PSS of everything that a container adds and that is not its payload: monitors, shims, proxies. What the kernel needs "
    "for a few is lost in what else the host does: it is in the next table, for many of ours."
)


def measure(bed: Bed, peers: Sequence[Peer]) -> Iterator[Row]:
    count, rounds = (3, 1) if bed.quick else (10, 3)
    for peer in peers:
        added = []
        network = bed.network.inside
        peer.hold("warm")
        peer.release("warm")
        for number in range(rounds):
            before = runtime_bytes(network)
            held: list[str] = []
            try:
                for each in range(count):
                    peer.hold(f"m{number}-{each}")
                    held.append(f"m{number}-{each}")
                added.append(max(0, runtime_bytes(network) - before) / count / 1024)
            finally:
                for name in held:
                    peer.release(name)
        yield row(NAME, peer.name, "each", "KB", added)

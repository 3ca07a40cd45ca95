"""Commands that are run in one container at the same time."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from tests.benchmarks.bed import TRUE, Bed
from tests.benchmarks.figures import Row, absent, row
from tests.benchmarks.peers.base import Peer
from tests.benchmarks.peers.ours import Library, timed
from tests.benchmarks.rounds import interleave

NAME = "parallel-exec"
TITLE = "Parallel exec"
COMPARES = True
TEXT = "Eight times `/bin/true` in one container, all asked for at once: milliseconds until the last has ended."
_AT_ONCE = 8


def measure(bed: Bed, peers: Sequence[Peer]) -> Iterator[Row]:
    able = [peer for peer in peers if peer.exec_argv("x", *TRUE)]
    held: list[Peer] = []
    try:
        for peer in able:
            peer.hold(peer.slug)
            held.append(peer)
        works = {peer.name: lambda peer=peer: all_at_once(peer) for peer in able}
        for name, values in interleave(works, 2 if bed.quick else 15).items():
            yield row(NAME, name, f"{_AT_ONCE} at once", "ms", [value * 1000 for value in values])
    finally:
        for peer in held:
            peer.release(peer.slug)
    for peer in peers:
        if peer not in able:
            yield absent(NAME, peer.name, "has no exec")


def all_at_once(peer: Peer) -> float:
    if isinstance(peer, Library):
        container = peer.host.container(peer.slug)
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return timed(lambda: list(pool.map(lambda _: container.exec(TRUE), range(_AT_ONCE))))
    return peer.runner.time_all([peer.exec_argv(peer.slug, *TRUE) for _ in range(_AT_ONCE)])

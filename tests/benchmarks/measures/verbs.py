"""Each verb by itself, of a container that waits until it is asked to end."""

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence

from tests.benchmarks.bed import Bed
from tests.benchmarks.figures import Row, absent, row
from tests.benchmarks.peers.base import VERBS, Peer

NAME = "verbs"
TITLE = "Create, start, exec, stop, delete"
COMPARES = True
TEXT = (
    "Each verb by itself; `exec` runs `/bin/true`, and `state` is what engines ask an OCI runtime most often. `stop` "
    "includes the end of the container, except for runc, crun, pycontainer-oci and ctr, where it only sends the signal. "
    "LXC's `start` creates, and its `stop` deletes."
)
_TRAP_SECONDS = 0.05  # until the payload listens to SIGTERM


def measure(bed: Bed, peers: Sequence[Peer]) -> Iterator[Row]:
    taken: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for number in range(-1, 2 if bed.quick else 20):
        for peer in peers:
            for verb, work in peer.steps().items():
                if verb == "stop":
                    time.sleep(_TRAP_SECONDS)
                seconds = work(f"v{number + 1}")
                if number >= 0:  # the first finds what is made once
                    taken[peer.name][verb].append(seconds * 1000)
    for peer in peers:
        if peer.name not in taken:
            yield absent(NAME, peer.name, "has no verbs for a container that stays")
        for verb in VERBS:
            if values := taken[peer.name].get(verb):
                yield row(NAME, peer.name, verb, "ms", values)

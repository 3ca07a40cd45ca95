"""From the command to its end: a container that executes /bin/true."""

from collections.abc import Iterator, Sequence

from tests.benchmarks.bed import Bed
from tests.benchmarks.figures import Row, row
from tests.benchmarks.peers.base import Peer
from tests.benchmarks.rounds import interleave

NAME = "start-to-exit"
TITLE = "Start to exit of /bin/true"
COMPARES = True
TEXT = (
    "A container is made, runs `/bin/true`, ends, and is gone for whoever asks next. The library is warm; each command is a "
    "new process. pycontainer answers before it takes down links and cgroups, which it does before the next request."
)


def measure(bed: Bed, peers: Sequence[Peer]) -> Iterator[Row]:
    works = {subject: work for peer in peers for subject, work in peer.runs().items()}
    for subject, values in interleave(works, 3 if bed.quick else 40).items():
        yield row(NAME, subject, "run", "ms", [value * 1000 for value in values])

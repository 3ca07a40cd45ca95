"""From the request to the command: a container that tells what time it is, as the first that it does."""

import time
from collections.abc import Callable, Iterator, Sequence

from pycontainer import Client
from tests.benchmarks.bed import CLOCK, Bed
from tests.benchmarks.figures import SUBJECT_LIBRARY, Row, row
from tests.benchmarks.peers.base import Peer
from tests.benchmarks.peers.ours import Library
from tests.support.poll import poll_until

NAME = "start-to-exec"
TITLE = "Start to exec"
COMPARES = False
TEXT = (
    "From the request of a warm library until the command is at work, which reads the clock as the first that it does: "
    "a static program, so that its loader is not in it. `start` is of a container that was created before, `run` makes and "
    "starts one. What is `answered` is the same request, until the library returns: by then it is known that the command "
    "runs. One follows the other, with no peer between them whose traces ours would meet: in the table of verbs there are."
)


def measure(bed: Bed, peers: Sequence[Peer]) -> Iterator[Row]:
    for host in (peer.host for peer in peers if isinstance(peer, Library)):
        for item, work in (("start", _start), ("run", _run)):
            taken = [_times(host, work, f"{item}{number}") for number in range(4 if bed.quick else 41)]
            executed, answered = zip(*taken[1:], strict=True)  # the first finds what is made once
            yield row(NAME, SUBJECT_LIBRARY, item, "ms", executed)
            yield row(NAME, SUBJECT_LIBRARY, f"{item}, answered", "ms", answered)


def _times(host: Client, work: Callable[[Client, str], int], name: str) -> tuple[float, float]:
    """Return the milliseconds until the command was at work, and until that was answered."""
    began_ns = work(host, name)
    answered_ns = time.monotonic_ns()
    container = host.container(name)
    container.wait()
    executed_ns = int(poll_until(lambda: "".join(line.text for line in container.logs()), what="it has told the time"))
    container.remove()
    return (executed_ns - began_ns) / 1e6, (answered_ns - began_ns) / 1e6


def _start(host: Client, name: str) -> int:
    container = host.create("busybox", CLOCK, name=name)
    began_ns = time.monotonic_ns()
    container.start()
    return began_ns


def _run(host: Client, name: str) -> int:
    began_ns = time.monotonic_ns()
    host.run("busybox", CLOCK, name=name)
    return began_ns

"""What a container writes and reads in its root, against the host on the same file system."""

import re
from collections.abc import Callable, Iterator, Sequence

from tests.benchmarks.bed import TRUE, Bed
from tests.benchmarks.figures import Row, absent, row
from tests.benchmarks.peers.base import Peer
from tests.benchmarks.rounds import interleave
from tests.benchmarks.runner import Runner

NAME = "root-io"
TITLE = "The root file system"
COMPARES = True
TEXT = (
    "busybox in the container: `dd` writes a file to the disk and reads it from the cache, and a shell makes 2000 "
    "small files (quick: 200). `host` is the same program in a plain directory of the same file system. What is "
    "written stays in memory in the end: it is the way there that is compared."
)
_READS = 5  # of the same file


def measure(bed: Bed, peers: Sequence[Peer]) -> Iterator[Row]:
    able = [peer for peer in peers if peer.exec_argv("x", *TRUE)]
    megabytes, files = (4, 200) if bed.quick else (128, 2000)
    held: list[Peer] = []
    runner = Runner((), bed.environment)
    host = script(f"{bed.directory}/io", megabytes, files)
    busybox = f"{bed.rootfs}/bin/busybox"
    works: dict[str, Callable[[], str]] = {"host": lambda: runner.output(busybox, "sh", "-c", host)}
    try:
        for peer in able:
            peer.hold(peer.slug)
            held.append(peer)
            works[peer.name] = lambda peer=peer: peer.inside(
                peer.slug, "/bin/sh", "-c", script("/root/io", megabytes, files)
            )  # type: ignore[misc]
        outputs = interleave(works, 1 if bed.quick else 6)
    finally:
        runner.close()
        for peer in held:
            peer.release(peer.slug)
    for name, said in outputs.items():
        rounds = [_rates(each, megabytes, files) for each in said]
        for item, unit in rounds[0]:
            yield row(NAME, name, item, unit, [each[item, unit] for each in rounds])
    for peer in peers:
        if peer not in able:
            yield absent(NAME, peer.name, "has no exec")


def script(directory: str, megabytes: int, files: int) -> str:
    """Return the shell script; `time` tells of each of its three parts, in hundredths of a second."""
    return f"""set -e; export b=/bin/busybox; $b mkdir -p {directory}; cd {directory}
    time $b dd if=/dev/zero of=large bs=1M count={megabytes} conv=fsync 2>&1
    time $b sh -c 'i=0; while [ $i -lt {_READS} ]; do $b dd if=large of=/dev/null bs=1M; i=$((i+1)); done' 2>&1
    time $b sh -c 'i=0; while [ $i -lt {files} ]; do echo x >f$i; i=$((i+1)); done' 2>&1
    cd /; $b rm -r {directory}"""


def _rates(output: str, megabytes: int, files: int) -> dict[tuple[str, str], float]:
    """Return the figures by item and unit, from what `time` says."""
    seconds = [int(minutes) * 60 + float(rest) for minutes, rest in re.findall(r"real\s+(\d+)m\s*([\d.]+)s", output)]
    amounts = {
        ("write and sync", "MB/s"): megabytes,
        ("read, cached", "MB/s"): megabytes * _READS,
        ("small files", "/s"): files,
    }
    return {key: amount / max(each, 0.01) for (key, amount), each in zip(amounts.items(), seconds, strict=True)}

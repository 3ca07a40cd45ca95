"""What counting usage costs the supervisor: reading, adding up and writing, as a share of one processor.

    .venv/bin/python -m tests.benchmarks.usage [--instances 1000] [--rounds 5] [--real CGROUP]

Every instance is looked at once a minute, in slices, each of which is written and brought to the disk. The cgroups are made
for this, empty, below a directory of their own; with --real they are those that are there below CGROUP (a name such as
`pycontainer` or `pycontainer-1a2b`). The links are `lo`, read by the same request as any. What is measured is processor time
of the thread, the kernel's included, and the longest slice; the ledger lies in --directory.
"""

import argparse
import functools
import os
import statistics
import tempfile
import time

from pycontainer.cgroup.base import Cgroup
from pycontainer.cgroup.detect import detect
from pycontainer.cgroup.hierarchy import Hierarchy
from pycontainer.net.linkcounts import link_bytes
from pycontainer.net.messages import Netlink
from pycontainer.store.ledgerfile import Owner
from pycontainer.supervisor.books import Books, Sample
from pycontainer.supervisor.ledger import clock, read_counters

_INTERVAL_SECONDS, _SLICES = 60.0, 12
_LOOPBACK_INDEX = 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instances", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--real", metavar="CGROUP", help="take the containers below this cgroup")
    parser.add_argument("--directory", default="/var/tmp", help="on the file system to measure")
    arguments = parser.parse_args()
    name = arguments.real or f"pct-usage-{os.getpid()}"
    hierarchy = Hierarchy(detect(name=name), name)
    if arguments.real:
        measure([hierarchy.open(*each) for each in hierarchy.containers()], arguments.rounds, arguments.directory)
        return
    cgroups = []
    try:
        for number in range(arguments.instances):
            cgroups.append(hierarchy.create(f"{number:012x}"))
        measure(cgroups, arguments.rounds, arguments.directory)
    finally:
        for cgroup in cgroups:
            cgroup.delete()
        hierarchy.remove_parent()


def measure(cgroups: list[Cgroup], rounds: int, directory: str) -> None:
    """Print the processor time of a round, and what that is of a minute."""
    totals, reads, longest = [], [], 0.0
    with tempfile.TemporaryDirectory(prefix="pct-bench-", dir=directory) as place, Netlink() as netlink:
        books = Books(f"{place}/ledger.db", "boot", clock)
        ids = [f"{number:012x}" for number in range(len(cgroups))]
        books.open(ids)
        for container in ids:
            books.hold(container, Owner("acme", container), 1 << 30)
        size = -(-len(cgroups) // _SLICES)
        for _ in range(rounds):
            total = read = 0.0
            for first in range(0, len(cgroups), size):
                began = time.thread_time()
                samples = [
                    Sample(
                        container,
                        Owner("acme", container),
                        "1",
                        0.0,
                        clock(),
                        read_counters(cgroup, functools.partial(link_bytes, netlink, {_LOOPBACK_INDEX: False})),
                    )
                    for container, cgroup in list(zip(ids, cgroups, strict=True))[first : first + size]
                ]
                read += time.thread_time() - began
                books.add(samples, passes_time=first + size >= len(cgroups), sync=True)
                spent = time.thread_time() - began
                total, longest = total + spent, max(longest, spent)
            totals.append(total)
            reads.append(read)
        size_bytes = os.path.getsize(f"{place}/ledger.db")
        books.close()
    total, read = statistics.median(totals), statistics.median(reads)
    print(f"{len(cgroups)} instances, medians of {rounds} rounds")
    print(f"{'a round':24} {total * 1e3:8.1f} ms    {total / _INTERVAL_SECONDS:.3%} of a processor")
    print(f"{'  reading':24} {read * 1e3:8.1f} ms    {read / len(cgroups) * 1e6:.0f} us each")
    print(f"{'  adding up, writing':24} {(total - read) * 1e3:8.1f} ms")
    print(f"{'longest slice':24} {longest * 1e3:8.1f} ms")
    print(f"{'ledger.db':24} {size_bytes / 1e6:8.2f} MB")


if __name__ == "__main__":
    main()

"""All measures, for all peers that are there; writes docs/performance.md and what it is made of.

python -m tests.benchmarks.bench [--quick] [--only MEASURE,...] [--out DIRECTORY]
"""

import argparse
import contextlib
import importlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks import facts
from tests.benchmarks.bed import Bed, leave_mounts
from tests.benchmarks.figures import Row
from tests.benchmarks.measures.all import MEASURES
from tests.benchmarks.peers.all import PEERS
from tests.benchmarks.peers.base import Peer
from tests.benchmarks.report import write
from tests.support.images import CHECKOUT


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few rounds and small numbers")
    parser.add_argument("--only", metavar="MEASURE,...", help=f"of {', '.join(MEASURES)}")
    parser.add_argument("--out", metavar="DIRECTORY", default=f"{CHECKOUT}/docs", help="where the document goes")
    arguments = parser.parse_args()
    names = arguments.only.split(",") if arguments.only else list(MEASURES)
    if unknown := set(names) - set(MEASURES):
        parser.error(f"no measure {', '.join(sorted(unknown))}")
    for number in (signal.SIGTERM, signal.SIGINT):  # which a shell has its background ignore
        signal.signal(number, signal.default_int_handler)
    os.umask(0o022)
    command = " ".join(["tests/benchmarks/run.sh", *sys.argv[1:]])
    found = run(names, quick=arguments.quick) | {"command": command, "quick": arguments.quick}
    print(write(found, Path(arguments.out)))
    for name, why in found["broken"].items():
        say(f"broken: {name}: {why}")
    return 1 if found["broken"] else 0


def run(names: Sequence[str], *, quick: bool) -> dict[str, Any]:
    """Measure; return what the document is made of."""
    began = time.monotonic()
    about = facts.machine() | leave_mounts() | {"load_before": facts.load()}
    rows: list[Row] = []
    broken: dict[str, str] = {}
    seconds: dict[str, float] = {}
    with contextlib.ExitStack() as stack:
        bed = Bed(quick=quick)
        stack.callback(bed.close)
        peers, missing = prepare(bed, stack, broken)
        about["peers"] = {peer.name: {"version": peer.version(), "isolation": peer.isolation} for peer in peers}
        for name in names:
            since = time.monotonic()
            try:
                rows += importlib.import_module(MEASURES[name]).measure(bed, peers)
            except Exception as error:  # one that breaks does not keep the others from being measured
                traceback.print_exc()
                broken[name] = f"{type(error).__name__}: {error}"
            seconds[name] = round(time.monotonic() - since, 1)
            say(f"{name}: {seconds[name]} s")
    about |= {"load_after": facts.load(), "seconds": round(time.monotonic() - began)}
    texts = {name: importlib.import_module(MEASURES[name]) for name in names}
    return {
        "facts": about,
        "missing": missing,
        "broken": broken,
        "seconds": seconds,
        "measures": {
            name: {"title": each.TITLE, "text": each.TEXT, "compares": each.COMPARES} for name, each in texts.items()
        },
        "rows": [each._asdict() for each in rows],
    }


def prepare(bed: Bed, stack: contextlib.ExitStack, broken: dict[str, str]) -> tuple[list[Peer], dict[str, str]]:
    """Return the peers that are ready, and why others are not."""
    ready, missing = [], {}
    for kind in PEERS:
        peer = kind(bed)
        if why := peer.why_not():
            missing[peer.name] = why
            continue
        stack.callback(peer.close)
        try:
            peer.prepare()
        except Exception as error:
            missing[peer.name] = str(error)
            if peer.name != "crun":  # which refuses some hosts
                broken[peer.name] = str(error)
        else:
            ready.append(peer)
            say(f"{peer.name} is ready")
    return ready, missing


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

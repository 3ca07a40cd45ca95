"""What a scrape costs: the metrics process with a made-up supervisor of many containers, or both with real ones.

    .venv/bin/python -m tests.benchmarks.metrics [--containers 1000] [--rounds 10]
    .venv/bin/python -m tests.benchmarks.metrics --real 100

The first makes that many cgroups, a tenth of them with a process, and a supervisor that answers with as many
rows. The second runs so many containers in a world of its own, with the network that they have. Needs
root.
"""

import argparse
import contextlib
import gzip
import os
import resource
import shutil
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator

from pycontainer.cgroup.base import Cgroup
from pycontainer.cgroup.detect import detect
from pycontainer.cgroup.hierarchy import Hierarchy
from pycontainer.client.client import Client
from pycontainer.metrics.collector import Collector
from pycontainer.metrics.source import Answer, Supervisor
from pycontainer.paths import HostPaths

_NAME = "pycontainer-bench"
_SCRAPE_SECONDS = 15


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--containers", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--real", type=int, default=0, metavar="N", help="run N containers instead")
    arguments = parser.parse_args()
    if arguments.real:
        with_containers(arguments.real, arguments.rounds)
    else:
        with_cgroups(arguments.containers, arguments.rounds)


def with_cgroups(count: int, rounds: int) -> None:
    with cgroups(count) as made, tempfile.TemporaryDirectory() as root:
        version = made[0].version
        rows = [
            {
                "id": cgroup.container_id, "name": f"web-{number}", "image": "debian-nginx", "tenant": f"t{number % 50}",
                "status": "running", "health": "healthy", "restarts": 0, "restart_attempts": 0, "started": time.time(),
                "links": [["eth0", "lo", number + 1]], "disk": [1 << 20, 100, 1 << 30, 1000], "cgroups": cgroup.paths(),
            }
            for number, cgroup in enumerate(made)
        ]  # fmt: skip
        said = {
            "version": "0", "started": time.time(), "cpu_seconds": 0.0, "resident_bytes": 0, "open_fds": 0,
            "connections": 1, "events": 1, "damaged": 0, "served": {},
        }  # fmt: skip
        answer = Answer(rows, {"cgroup_version": version, "tenants": [], "supervisor": said})
        collector = Collector(HostPaths(root), lambda: answer)
        print(f"{count} cgroups of version {version}, {rounds} rounds, medians")
        measure(collector, rounds)


def with_containers(count: int, rounds: int) -> None:
    root = tempfile.mkdtemp(prefix="pct-bench-", dir="/var/tmp")
    paths = HostPaths(root)
    try:
        with Client(root) as host:
            rootfs = os.path.join(root, "tree")
            for name in ("bin", "proc", "sys", "dev", "tmp", "etc", "run"):
                os.makedirs(f"{rootfs}/{name}")
            shutil.copy(shutil.which("busybox") or "/bin/busybox", f"{rootfs}/bin/sleep")
            for number in range(count):
                host.run(rootfs=rootfs, name=f"b{number}", command=["/bin/sleep", "1000000"], memory="20M", cpus=0.1)
            supervisor = Supervisor(paths)
            print(f"{count} containers, {rounds} rounds, medians")
            said = [supervisor.ask().rest["supervisor"]]
            began = time.perf_counter()
            for _ in range(rounds):
                said.append(supervisor.ask().rest["supervisor"])
            show("supervisor: time to answer", [(time.perf_counter() - began) / rounds * 1e3], "ms")
            used = said[-1]["cpu_seconds"] - said[0]["cpu_seconds"]
            show("supervisor: CPU of a scrape", [used / rounds * 1e3], "ms")
            show("supervisor: memory", [said[-1]["resident_bytes"] / 1e6], "MB")
            measure(Collector(paths, supervisor.ask), rounds)
            for container in host.containers(all=True):
                container.remove(force=True)
            host.shutdown()
    finally:
        shutil.rmtree(root, ignore_errors=True)


def measure(collector: Collector, rounds: int) -> None:
    page = collector.page()  # what is found out once
    collecting, rendering, used, packing = [], [], [], []
    for _ in range(rounds):
        before, began = time.process_time(), time.perf_counter()
        page = collector.page()
        collecting.append((time.perf_counter() - began) * 1e3)
        began = time.perf_counter()
        text = page.text(openmetrics=True)
        rendering.append((time.perf_counter() - began) * 1e3)
        used.append((time.process_time() - before) * 1e3)
        began = time.perf_counter()
        packed = gzip.compress(text, 1)
        packing.append((time.perf_counter() - began) * 1e3)
    show("gather", collecting, "ms")
    show("write", rendering, "ms")
    show("CPU of both", used, "ms")
    show(f"share of a CPU, each {_SCRAPE_SECONDS} s", [each / 10 / _SCRAPE_SECONDS for each in used], "%")
    show("gzip, if it is asked for", packing, "ms")
    print(f"{'series':32} {text.count(b'{'):8d}")
    show("text", [len(text) / 1e6], "MB")
    show("packed", [len(packed) / 1e6], "MB")
    show("peak memory of this process", [resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3], "MB")


def show(what: str, values: list[float], unit: str) -> None:
    print(f"{what:32} {statistics.median(values):8.2f} {unit}")


@contextlib.contextmanager
def cgroups(count: int) -> Iterator[list[Cgroup]]:
    """Make cgroups of a world of their own, some with a process."""
    hierarchy = Hierarchy(detect(name=_NAME), _NAME)
    made: list[Cgroup] = []
    sleepers: list[subprocess.Popen[bytes]] = []
    try:
        for number in range(count):
            made.append(hierarchy.create(f"{number:012x}"))
            if number % 10 == 0:
                sleepers.append(subprocess.Popen(["sleep", "1000"]))
                made[-1].attach(sleepers[-1].pid)
        yield made
    finally:
        for sleeper in sleepers:
            sleeper.send_signal(signal.SIGKILL)
            sleeper.wait()
        for cgroup in made:
            cgroup.delete()
        hierarchy.remove_parent()


if __name__ == "__main__":
    main()

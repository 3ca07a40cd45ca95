"""How long it takes until a supervisor that was killed has a successor that answers, with many containers running.

    .venv/bin/python -m tests.benchmarks.adoption [--containers N] [--rounds N]

Each round kills the supervisor with SIGKILL and runs `ps`, which starts another: its own start, the look at records and
kernel, and the reply count. All containers must be the same processes afterwards. Then one `service reload`. Needs root; the
containers are in a world and a network of their own.
"""

import argparse
import os
import signal
import statistics
import time

from tests.support.deaths import kill_supervisor
from tests.support.hostns import HostNetwork
from tests.support.images import build_rootfs
from tests.support.world import World


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--containers", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    world = World(HostNetwork())
    try:
        world.import_image(build_rootfs(f"{world.root}/rootfs"), "busybox")
        began = time.monotonic()
        with world.client() as host:
            for number in range(arguments.containers):
                host.run("busybox", ["sleep", "1000000"], name=f"c{number}")
        print(f"{arguments.containers} containers started in {time.monotonic() - began:.1f} s")
        print(f"killed: answers after {measure(world, arguments.rounds)}")
        began = time.monotonic()
        world.ok("service", "reload")
        print(f"reloaded in {time.monotonic() - began:.2f} s")
    finally:
        world.close()
        world.scrub()


def measure(world: World, rounds: int) -> str:
    seconds: list[float] = []
    before = pids(world)
    for _ in range(rounds):
        kill_supervisor(world)
        began = time.monotonic()
        world.ok("ps", "-q")
        seconds.append(time.monotonic() - began)
        assert pids(world) == before
    return f"{statistics.median(seconds):.2f} s (median of {rounds}; {min(seconds):.2f} to {max(seconds):.2f})"


def pids(world: World) -> dict[str, int]:
    with world.client() as host:
        return {info["name"]: info["pid"] for info in host.list_containers()}


if __name__ == "__main__":
    os.umask(0o022)
    main()

"""How close shaped traffic comes to its cap, both ways."""

import contextlib
from collections.abc import Iterator, Sequence

from tests.benchmarks.bed import SLEEPER, Bed
from tests.benchmarks.figures import Row, row
from tests.benchmarks.measures.port import LOAD, SERVER_PORT, Way, client_of, runner_in, spawn, wait_for
from tests.benchmarks.peers.base import Peer
from tests.support.hostns import INSIDE_IP, OUTSIDE_IP, HostNetwork
from tests.support.world import World

NAME = "shaping"
TITLE = "Shaped traffic"
COMPARES = False
TEXT = (
    "What one TCP connection carries of its container's cap, with headers counted as the cap counts them: 1.00 is "
    "exact. `in` is by a published port, `out` by a connection of the container's."
)
_CAPS_MBIT = (10, 100, 1000)
_PORT = 20000
_HEADERS = 1514 / 1448  # a full frame, and what TCP has in it


def measure(bed: Bed, peers: Sequence[Peer]) -> Iterator[Row]:
    seconds, rounds, caps = (1.0, 1, _CAPS_MBIT[1:2]) if bed.quick else (3.0, 3, _CAPS_MBIT)
    with contextlib.ExitStack() as stack:
        network = HostNetwork()
        stack.callback(network.close)
        world = World(network)
        stack.callback(world.scrub)
        stack.callback(world.close)
        world.import_image(str(bed.rootfs), "busybox")
        client = client_of(bed, stack)
        spawn(stack, runner_in(bed, stack, network.outside), (*LOAD, "serve", str(SERVER_PORT)))
        for number, cap in enumerate(caps):
            port = _PORT + number
            with world.client() as host:
                limit, ports = f"{cap}mbit", {port: SERVER_PORT}
                container = host.run("busybox", SLEEPER, ports=ports, net_in=limit, net_out=limit)
                pid = container.info["pid"]
            inside = runner_in(bed, stack, network.inside, "nsenter", f"--target={pid}", "--net", "--")
            spawn(stack, inside, (*LOAD, "serve", str(SERVER_PORT)))
            ways = {
                "in": Way(network.outside.path, INSIDE_IP, port),
                "out": Way(f"/proc/{pid}/ns/net", OUTSIDE_IP, SERVER_PORT),
            }
            for direction, way in ways.items():
                wait_for(client, way)
                argv = *LOAD, "bulk", str(seconds), *map(str, way)
                shares = [float(client.output(*argv)) * 8 * _HEADERS / cap for _ in range(rounds)]
                yield row(NAME, f"pycontainer, {direction}", f"{cap} Mbit/s", "of the cap", shares)

"""A published port against bare veth pairs: bulk, round trips and new connections, by a client beyond the host."""

import contextlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from tests.benchmarks.bed import SLEEPER, Bed
from tests.benchmarks.figures import Row, row
from tests.benchmarks.peers.base import Peer
from tests.benchmarks.peers.engine import DockerPeer, PodmanPeer
from tests.benchmarks.runner import CommandFailed, Runner
from tests.support.hostns import INSIDE_IP, HostNetwork, NetworkNamespace
from tests.support.poll import poll_until
from tests.support.world import World

NAME = "port"
TITLE = "A published port"
COMPARES = False
TEXT = (
    "One client beyond the host: bulk over one connection, in bursts of 32 MB; the median round trip of a byte; and "
    "connections that are made, answered and closed one after the other. The server is the same program in each "
    "network, so that only the way to it differs. `bare veth` has no host between; `routed veth` is the least that a "
    "container with a network of its own needs: two pairs, and a host that routes between them and has no rules. The "
    "port that is measured is the last one of those published. `fast path` is a network made with `--fast-path` "
    "([networks](network.md)): a connection that goes on is handed over after some milliseconds, by rules that the "
    "host has; a new one, and its first packets, take the way of all others. Client and server share a processor, so "
    "that each step of the way costs time here. All take turns, some milliseconds each, and a ratio is the median of "
    "those of all rounds: what else the machine does meets both of a round."
)
BARE, ROUTED = "bare veth", "routed veth, no rules"
FEW = "10 ports"
FAST = "fast path"
SERVER_PORT = 9000
_FIRST_PORT = 20000
_KINDS = {  # item, unit, rounds of each series
    "bursts": ("bulk", "MB/s", 60),
    "latency": ("round trip", "us", 20),
    "connections": ("connections", "/s", 30),
}
_SERIES = 10  # each has connections of its own
LOAD = (sys.executable, "-m", "tests.benchmarks.netload")


class Way(NamedTuple):
    """A way to a server: the client's network namespace, by its path, and where it connects to."""

    network: str
    address: str
    port: int


def measure(bed: Bed, peers: Sequence[Peer]) -> Iterator[Row]:
    with contextlib.ExitStack() as stack:
        ways = {BARE: _bare(bed, stack), ROUTED: _routed(bed, stack)}
        many = 50 if bed.quick else 1000
        for ports in (10, many):
            ways[f"pycontainer, {ports} ports"] = _ours(bed, stack, ports)
            ways[f"pycontainer, {ports} ports, {FAST}"] = _ours(bed, stack, ports, fast_path=True)
        for number, peer in enumerate(peers):
            if isinstance(peer, DockerPeer | PodmanPeer):
                pid = peer.publish(number + _FIRST_PORT, SERVER_PORT)
                stack.callback(peer.unserve)
                server = ("nsenter", f"--target={pid}", "--net", "--", *LOAD, "serve", str(SERVER_PORT))
                spawn(stack, peer.runner, server)
                ways[f"{peer.name}, 1 port"] = Way(bed.network.outside.path, INSIDE_IP, number + _FIRST_PORT)
        client = client_of(bed, stack)
        for way in ways.values():
            wait_for(client, way)
        for kind, (item, unit, rounds) in _KINDS.items():
            series = [_take(client, kind, 5 if bed.quick else rounds, ways) for _ in range(1 if bed.quick else _SERIES)]
            taken = {subject: [value for each in series for value in each[subject]] for subject in ways}
            for subject, values in taken.items():
                yield row(NAME, subject, item, unit, values)
            if kind == "bursts":
                yield from _ratios(taken, f"bulk of {BARE}", dict.fromkeys(taken, BARE))
            if kind != "latency":
                fewer = {subject: subject.replace(f"{many} ports", FEW) for subject in taken}
                yield from _ratios(taken, f"{item} of {FEW}", fewer)


def _ratios(taken: Mapping[str, Sequence[float]], item: str, others: Mapping[str, str]) -> Iterator[Row]:
    """What each had of what another had in the same round."""
    for subject, values in taken.items():
        if (other := others[subject]) != subject:
            ratios = [value / of for value, of in zip(values, taken[other], strict=True)]
            yield row(NAME, subject, item, "ratio", ratios)


def _take(client: Runner, kind: str, rounds: int, ways: Mapping[str, Way]) -> dict[str, list[float]]:
    """Return the figures of all rounds for each way."""
    argv = [str(item) for way in ways.values() for item in way]
    return dict(zip(ways, json.loads(client.output(*LOAD, "turns", kind, str(rounds), *argv)), strict=True))


def _answers(client: Runner, way: Way) -> bool:
    with contextlib.suppress(CommandFailed):
        client.output(*LOAD, "try", *map(str, way))
        return True
    return False


def wait_for(client: Runner, way: Way) -> None:
    """Wait until its server answers."""
    poll_until(lambda: _answers(client, way), what="the server answers", interval_seconds=0.1)


def client_of(bed: Bed, stack: contextlib.ExitStack) -> Runner:
    """Return a runner of clients, which go to the networks of their ways themselves."""
    client = Runner((), bed.environment)
    stack.callback(client.close)
    return client


def runner_in(bed: Bed, stack: contextlib.ExitStack, network: NetworkNamespace, *prefix: str) -> Runner:
    runner = Runner(network.argv(*prefix), bed.environment)
    stack.callback(runner.close)
    return runner


def spawn(stack: contextlib.ExitStack, runner: Runner, argv: Sequence[str]) -> None:
    stack.callback(runner.end, runner.spawn(*argv))


def _network(stack: contextlib.ExitStack) -> HostNetwork:
    network = HostNetwork()
    stack.callback(network.close)
    return network


def _bare(bed: Bed, stack: contextlib.ExitStack) -> Way:
    network = _network(stack)
    spawn(stack, runner_in(bed, stack, network.inside), (*LOAD, "serve", str(SERVER_PORT)))
    return Way(network.outside.path, INSIDE_IP, SERVER_PORT)


def _routed(bed: Bed, stack: contextlib.ExitStack) -> Way:
    network, far = _network(stack), NetworkNamespace()
    stack.callback(far.close)
    network.inside.run("ip", "link", "add", "far", "type", "veth", "peer", "name", "eth0", "netns", far.path)
    network.inside.run("ip", "address", "add", "10.99.0.1/24", "dev", "far")
    network.inside.run("ip", "link", "set", "far", "up")
    network.inside.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
    far.run("ip", "address", "add", "10.99.0.2/24", "dev", "eth0")
    far.run("ip", "link", "set", "eth0", "up")
    far.run("ip", "route", "add", "default", "via", "10.99.0.1")
    network.outside.run("ip", "route", "add", "10.99.0.0/24", "via", INSIDE_IP)
    spawn(stack, runner_in(bed, stack, far), (*LOAD, "serve", str(SERVER_PORT)))
    return Way(network.outside.path, "10.99.0.2", SERVER_PORT)


def _ours(bed: Bed, stack: contextlib.ExitStack, ports: int, *, fast_path: bool = False) -> Way:
    network = _network(stack)
    world = World(network)
    stack.callback(world.scrub)
    stack.callback(world.close)
    world.import_image(str(bed.rootfs), "busybox")
    last = _FIRST_PORT + ports - 1
    with world.client() as host:
        if fast_path:
            host.network("default").set(fast_path=True)
        published = [f"{port}:{SERVER_PORT}" for port in range(_FIRST_PORT, last + 1)]
        container = host.run("busybox", SLEEPER, ports=published)
        pid = container.info["pid"]
    server = ("nsenter", f"--target={pid}", "--net", "--", *LOAD, "serve", str(SERVER_PORT))
    spawn(stack, runner_in(bed, stack, network.inside), server)
    return Way(network.outside.path, INSIDE_IP, last)

"""Network caps under real TCP load, both ways: held within 5 %, changed live, shared by tenants, and gone afterwards."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.support.hostns import OUTSIDE_IP
from tests.support.poll import poll_until
from tests.support.traffic import FarEnd
from tests.support.world import World, unique_name

pytestmark = pytest.mark.measures

SECONDS = 4.0


@pytest.fixture
def sink(world: World) -> Iterator[FarEnd]:
    far = FarEnd(world.network.outside, OUTSIDE_IP)
    yield far
    far.close()


@pytest.fixture
def source(world: World) -> Iterator[FarEnd]:
    far = FarEnd(world.network.outside, OUTSIDE_IP, sends=True)
    yield far
    far.close()


def run_sender(world: World, far: FarEnd, *options: str) -> str:
    """Start a container that sends as fast as it can."""
    name = unique_name()
    program = f"dd if=/dev/zero bs=64k 2>/dev/null | nc {OUTSIDE_IP} {far.port}"
    world.ok("run", "-d", "--name", name, *options, "busybox", "sh", "-c", program)
    return name


def run_receiver(world: World, far: FarEnd, *options: str) -> str:
    """Start a container that receives as fast as it can."""
    name = unique_name()
    program = f"sleep 1000 | nc {OUTSIDE_IP} {far.port} >/dev/null"
    world.ok("run", "-d", "--name", name, *options, "busybox", "sh", "-c", program)
    return name


def limit_of(world: World, container: str, resource: str) -> dict[str, object]:
    with world.client() as client:
        return dict(next(row for row in client.limits([container]) if row["resource"] == resource))


def received_mbit(world: World, container: str) -> float:
    """Return what a container is sent, by its own count of frames."""
    with world.client() as client:
        time.sleep(1)
        first = client.container(container).stats()
        time.sleep(SECONDS)
        second = client.container(container).stats()
    elapsed = second["monotonic_seconds"] - first["monotonic_seconds"]
    return (second["net_rx_bytes"] - first["net_rx_bytes"]) * 8 / elapsed / 1e6


@pytest.mark.parametrize(("text", "mbit"), [("5mbit", 5.0), ("100mbit", 100.0)])
def test_what_it_sends(world: World, sink: FarEnd, text: str, mbit: float) -> None:
    run_sender(world, sink, "--net-out", text)
    assert sink.mbit_per_second(SECONDS) == pytest.approx(mbit, rel=0.05)


@pytest.mark.parametrize(("text", "mbit"), [("5mbit", 5.0), ("100mbit", 100.0)])
def test_what_it_is_sent(world: World, source: FarEnd, text: str, mbit: float) -> None:
    name = run_receiver(world, source, "--net-in", text)
    assert received_mbit(world, name) == pytest.approx(mbit, rel=0.05)


def test_a_neighbour_does_not_notice(world: World, sink: FarEnd) -> None:
    """One floods against its cap; another, with a cap of its own, gets all of that."""
    run_sender(world, sink, "--net-out", "50mbit")
    other = FarEnd(world.network.outside, OUTSIDE_IP)
    try:
        run_sender(world, other, "--net-out", "20mbit")
        assert other.mbit_per_second(SECONDS) == pytest.approx(20.0, rel=0.05)
    finally:
        other.close()


def test_without_a_cap_nothing_is_redirected(world: World) -> None:
    """A clsact stands on the links of capped containers alone (and on the device that keeps the blocks)."""
    for options, count in (((), 0), (("--net-out", "1gbit"), 1)):
        world.ok("run", "-d", *options, "busybox", "sleep", "1000")
        done = subprocess.run(world.network.inside.argv("tc", "qdisc"), capture_output=True, text=True, check=True)
        links = [line for line in done.stdout.splitlines() if "clsact" in line and "hold" not in line]
        assert len(links) == count, links


def test_it_is_changed_while_a_connection_goes_on(world: World, sink: FarEnd) -> None:
    name = run_sender(world, sink)  # without a cap at first
    for text, mbit in (("20mbit", 20.0), ("5mbit", 5.0)):
        world.ok("set", name, "--net-out", text)
        time.sleep(1)  # what was in flight arrives
        assert sink.mbit_per_second(SECONDS) == pytest.approx(mbit, rel=0.05)
    assert limit_of(world, name, "net_out")["limit"] == 5_000_000
    world.ok("set", name, "--net-out", "unlimited")
    assert limit_of(world, name, "net_out")["limit"] is None
    poll_until(lambda: sink.mbit_per_second(1) > 50, what="it is fast again")


def test_it_outlives_the_supervisor(own_world: World) -> None:
    sink = FarEnd(own_world.network.outside, OUTSIDE_IP)
    try:
        name = run_sender(own_world, sink, "--net-out", "10mbit", "--net-packets", "100000")
        os.kill(own_world.supervisor_pid(), signal.SIGKILL)
        assert limit_of(own_world, name, "net_out")["limit"] == 10_000_000  # the kernel was asked
        assert limit_of(own_world, name, "net_packets")["limit"] == 100_000
        assert sink.mbit_per_second(SECONDS) == pytest.approx(10.0, rel=0.05)
        own_world.ok("set", name, "--net-out", "20mbit")
        time.sleep(1)
        assert sink.mbit_per_second(SECONDS) == pytest.approx(20.0, rel=0.05)
    finally:
        sink.close()


def test_two_networks_share_one_cap(world: World, sink: FarEnd) -> None:
    """The cap is the container's, whatever it sends through."""
    network = unique_name("n")
    world.ok("network", "create", "--driver", "bridge", network)
    name, neighbour = unique_name(), unique_name()
    world.ok("run", "-d", "--name", neighbour, "--network", network, "busybox", "sh", "-c",
             "sleep 1000 | nc -l -p 5000 >/dev/null")  # fmt: skip
    ip = world.inspect(neighbour)["networks"][network]["ip"]
    program = (
        f"for to in '{OUTSIDE_IP} {sink.port}' '{ip} 5000'; do dd if=/dev/zero bs=64k 2>/dev/null | nc $to & done; wait"
    )
    world.ok("run", "-d", "--name", name, "--net-out", "10mbit", "--network", "default", "--network", network,
             "busybox", "sh", "-c", program)  # fmt: skip
    before = sink.received_bytes
    through_bridge = received_mbit(world, neighbour)
    through_both = (sink.received_bytes - before) * 8 / (SECONDS + 1) / 1e6 + through_bridge
    assert through_bridge > 1
    assert through_both == pytest.approx(10.0, rel=0.07)  # two clocks
    world.ok("rm", "-f", name, neighbour)
    world.ok("network", "rm", network)


def test_packets_beyond_the_guard_are_dropped_and_counted(world: World) -> None:
    name = unique_name()
    with world.network.outside.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as receiver:
        receiver.bind((OUTSIDE_IP, 0))
        flood = f"while true; do payload udp-send 0.0.0.0,{OUTSIDE_IP},{receiver.getsockname()[1]}; done"
        world.ok("run", "-d", "--name", name, "--net-packets", "100", "busybox", "sh", "-c", flood)
        poll_until(
            lambda: int(str(limit_of(world, name, "net_packets")["fail_count"])) > 100, what="packets are dropped"
        )
        receiver.setblocking(False)
        while True:  # what came before
            try:
                receiver.recv(65536)
            except BlockingIOError:
                break
        time.sleep(2)
        arrived = 0
        with contextlib.suppress(BlockingIOError):
            while receiver.recv(65536):
                arrived += 1
        assert arrived == pytest.approx(200, rel=0.1)


def test_twenty_containers_of_a_tenant_are_held_together(world: World, sink: FarEnd) -> None:
    """Each may use all of it alone; together they never exceed it, and a neighbour outside keeps its share."""
    tenant = unique_name("acme")
    world.ok("tenant", "create", tenant, "--net-out", "40mbit")
    members = [run_sender(world, sink, "--tenant", tenant, "--net-out", "40mbit") for _ in range(20)]
    other = FarEnd(world.network.outside, OUTSIDE_IP)
    try:
        run_sender(world, other, "--net-out", "20mbit")
        assert sink.mbit_per_second(SECONDS) == pytest.approx(40.0, rel=0.05)
        assert other.mbit_per_second(SECONDS) == pytest.approx(20.0, rel=0.05)
        world.ok("rm", "-f", *members[1:])
        time.sleep(1)
        assert sink.mbit_per_second(SECONDS) == pytest.approx(40.0, rel=0.05)  # the last one borrows all of it
        world.ok("tenant", "set", tenant, "--net-out", "10mbit")
        time.sleep(1)
        assert sink.mbit_per_second(SECONDS) == pytest.approx(10.0, rel=0.05)
    finally:
        other.close()
    world.ok("rm", "-f", members[0])
    world.ok("tenant", "rm", tenant)


def test_a_guarantee_within_a_tenant(world: World, sink: FarEnd) -> None:
    """With a guarantee of 15 of 20 one keeps them against four others that want everything."""
    tenant = unique_name("acme")
    world.ok("tenant", "create", tenant, "--net-out", "20mbit")
    others = FarEnd(world.network.outside, OUTSIDE_IP)
    try:
        members = [run_sender(world, others, "--tenant", tenant) for _ in range(4)]
        members.append(run_sender(world, sink, "--tenant", tenant, "--net-out-min", "15mbit"))
        assert sink.mbit_per_second(SECONDS) >= 15.0 * 0.95
        assert others.mbit_per_second(SECONDS) <= 5.0 * 1.05
        refused = world.refused(125, "run", "-d", "--tenant", tenant, "--net-out-min", "6mbit", "busybox", "sleep", "9")
        assert "net_out: 21mbit would be guaranteed in all, and the tenant may use 20mbit" in refused
    finally:
        others.close()
    world.ok("rm", "-f", *members)
    world.ok("tenant", "rm", tenant)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--net-out", "10M"), "net_out: '10M' is not a rate of a network"),
        (("--net-out", "10"), "net_out: '10' is not a rate of a network"),
        (("--net-in", "nan"), "net_in: 'nan' is not a rate of a network"),
        (("--net-in", "-5mbit"), "net_in: '-5mbit' is not a rate of a network"),
        (("--net-in", "1kbit"), "net_in: '1kbit' is less than the least rate, 8kbit"),
        (("--net-in", "200gbit"), "net_in: '200gbit' is more than the largest rate, 100gbit"),
        (("--net-in", "5mbit", "--net-in-min", "6mbit"), "net_in_min: 6mbit is more than the 5mbit of net_in"),
        (("--net-in", "5mbit", "--network", "host"), "net_in: on network 'host' the container has no link of its own"),
        (("--tenant", "nobody"), "no tenant 'nobody'"),
    ],
)
def test_bad_input(world: World, options: tuple[str, ...], words: str) -> None:
    result = world.cli("create", *options, "busybox", "true")
    assert (result.stdout, result.exit_code) == ("", 3 if "--tenant" in options else 2)
    assert words in result.stderr

"""The host's table of connections is one for all: a container has a share of it, and its neighbours do not notice. NET-09"""

import errno
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from socket import AF_INET, AF_INET6, IPPROTO_ICMP, SOCK_DGRAM, SOCK_RAW

import pytest

from pycontainer.net.manager import default_share
from pycontainer.spec.model import Port
from tests.integration.net.conftest import HTTP, Instance, Server, Site, ask
from tests.support.hostns import INSIDE_IP, INSIDE_IP6, OUTSIDE_IP, OUTSIDE_IP6
from tests.support.poll import SLOWNESS, poll_until

SHARE = 40
DRIVERS = pytest.mark.parametrize("driver", ["routed", "bridge"])


def give(site: Site, instance: Instance, connections: int | None) -> None:
    site.do(lambda: site.manager.bandwidth(instance.id).share(connections))


def refused(site: Site, instance: Instance) -> int:
    return site.do(lambda: site.manager.bandwidth(instance.id).refused())


def tracked(site: Site) -> int:
    """Return how many connections the host tracks."""
    return int(site.inside.run("cat", "/proc/sys/net/netfilter/nf_conntrack_count"))


def open_flows(instance: Instance, target: str, count: int) -> None:
    """Send one datagram to each of so many ports, from one that nobody else had."""
    with instance.namespace.make_socket(AF_INET6 if ":" in target else AF_INET, SOCK_DGRAM) as sock:
        for port in range(10_000, 10_000 + count):
            sock.sendto(b"one of many", (target, port))


class Echoes:
    """Echo requests to an address, many at once, and how many are answered."""

    def __init__(self, instance: Instance, target: str) -> None:
        self._target = target
        self._socket = instance.namespace.make_socket(AF_INET, SOCK_RAW, IPPROTO_ICMP)

    def send(self, count: int) -> None:
        for number in range(count):
            head = struct.pack("!BBHHH", 8, 0, 0, 1, number)
            checksum = 0xFFFF - sum(struct.unpack("!4H", head)) % 0xFFFF
            self._socket.sendto(head[:2] + struct.pack("!H", checksum) + head[4:], (self._target, 0))

    def answers(self) -> int:
        """Return how many come until it is quiet, and end."""
        count = 0
        self._socket.settimeout(0.3 * SLOWNESS)
        with self._socket:
            try:
                while True:
                    count += self._socket.recv(100)[20] == 0
            except TimeoutError:
                return count


@pytest.fixture
def service(site: Site) -> Iterator[None]:
    server = Server(site.outside, 9000)
    yield
    server.close()


@pytest.mark.vm
@DRIVERS
def test_flows_beyond_the_share_are_dropped_and_counted(site: Site, driver: str, service: None) -> None:
    """IPv4 and IPv6 together are one share; a neighbour opens new ones all the while."""
    site.do(lambda: site.manager.create("segment", driver, "10.77.0.0/24"))
    greedy, modest = (site.instance(name, networks=("segment",)) for name in ("greedy", "modest"))
    give(site, greedy, SHARE)
    before = tracked(site)
    for target in (OUTSIDE_IP, OUTSIDE_IP6):
        open_flows(greedy, target, 4 * SHARE)
    assert tracked(site) - before == SHARE
    assert refused(site, greedy) == 7 * SHARE
    for ip, seen in ((OUTSIDE_IP, INSIDE_IP), (OUTSIDE_IP6, INSIDE_IP6)):
        assert ask(modest.namespace, ip, 9000) == seen
        with pytest.raises(TimeoutError):
            ask(greedy.namespace, ip, 9000, timeout_seconds=0.3)
    assert refused(site, modest) == 0


def test_share_of_an_instance_on_several_networks_is_one(site: Site) -> None:
    site.do(lambda: site.manager.create("segment", "bridge", "10.77.0.0/24"))
    site.do(lambda: site.manager.create("second", "routed", "10.78.0.0/24"))
    greedy = site.instance("greedy", networks=("segment", "second"))
    give(site, greedy, SHARE)
    gateway = str(site.manager.inspect("segment")["gateway"])
    for device in ("eth0", "eth1"):
        source = greedy.addresses["segment" if device == "eth0" else "second"]["ip"]
        hop = ["via", gateway] if device == "eth0" else []
        greedy.namespace.run("ip", "route", "replace", "default", *hop, "dev", device, "src", source, "metric", "1")
        open_flows(greedy, OUTSIDE_IP, SHARE)
    assert refused(site, greedy) == SHARE


@pytest.mark.parametrize("target", [INSIDE_IP, INSIDE_IP6])
def test_connections_to_a_published_port_count_until_they_end(site: Site, target: str) -> None:
    web = site.instance("web", Port(8080, 81))
    give(site, web, SHARE)
    with web.namespace.make_socket(AF_INET6) as listener, ExitStack() as held:
        listener.bind(("", 81))
        listener.listen(4 * SHARE)
        for _ in range(SHARE):
            held.enter_context(site.outside.connect(target, 8080))
        assert refused(site, web) == 0
        with site.outside.make_socket(AF_INET6 if ":" in target else AF_INET) as late:
            late.settimeout(0.3 * SLOWNESS)
            with pytest.raises(TimeoutError):
                late.connect((target, 8080))
        assert refused(site, web) > 0
        for _ in range(SHARE):
            listener.accept()[0].close()
        held.close()
        poll_until(lambda: is_answered(site, target), what="a connection finds room again")


def is_answered(site: Site, target: str) -> bool:
    try:
        site.outside.connect(target, 8080).close()
    except TimeoutError:
        return False
    return True


def test_half_open_connections_count(site: Site) -> None:
    """Nobody answers the SYNs, and the flood ends where the share does."""
    greedy, modest = site.instance("greedy"), site.instance("modest")
    site.outside.run(
        "nft", "add table inet silent; add chain inet silent in { type filter hook prerouting priority raw; }"
    )
    site.outside.run("nft", "add rule inet silent in tcp dport 9 drop")
    give(site, greedy, SHARE)
    before = tracked(site)
    with ExitStack() as held:
        for _ in range(3 * SHARE):
            sock = held.enter_context(greedy.namespace.make_socket())
            sock.setblocking(False)
            assert sock.connect_ex((OUTSIDE_IP, 9)) == errno.EINPROGRESS
        assert tracked(site) - before == SHARE
        assert refused(site, greedy) >= 2 * SHARE
        assert ask(site.inside, modest.ip, HTTP)
    site.outside.run("nft", "delete", "table", "inet", "silent")


@pytest.mark.parametrize("ip", [OUTSIDE_IP, OUTSIDE_IP6])
def test_closed_connections_are_forgotten_in_seconds(site: Site, ip: str, service: None) -> None:
    """The kernel does not count them, so that it remembers them for two minutes would be a way past the share."""
    web = site.instance("web")
    assert ask(web.namespace, ip, 9000)
    poll_until(lambda: closed(site), what="the connection is closed from both sides")
    (line,) = closed(site)
    assert int(line.split()[4]) <= 10


def closed(site: Site) -> list[str]:
    """Return the connections, as the host tracks them, that ended in order."""
    return [line for line in site.inside.run("cat", "/proc/net/nf_conntrack").splitlines() if "TIME_WAIT" in line]


def test_share_changes_while_it_is_used_and_survives_the_supervisor(site: Site) -> None:
    greedy = site.instance("greedy")
    give(site, greedy, SHARE)
    open_flows(greedy, OUTSIDE_IP, SHARE + 1)
    assert refused(site, greedy) == 1
    site.restart_manager()
    site.do(lambda: site.manager.reconcile({greedy.id: True}))
    assert site.manager.bandwidth(greedy.id).shared() == SHARE
    open_flows(greedy, OUTSIDE_IP, SHARE + 1)
    assert refused(site, greedy) == 1
    give(site, greedy, None)
    assert site.manager.bandwidth(greedy.id).shared() == site.do(default_share)
    open_flows(greedy, OUTSIDE_IP, 4 * SHARE)
    assert refused(site, greedy) == 0


def test_echoes_to_the_host_are_limited_one_by_one(site: Site) -> None:
    """One that asks the host all the time leaves the others their 100 a second."""
    greedy, modest = site.instance("greedy"), site.instance("modest")
    gateway = str(site.manager.inspect("default")["gateway"])
    many, few = Echoes(greedy, gateway), Echoes(modest, gateway)
    many.send(200)
    few.send(3)
    assert few.answers() == 3
    assert 0 < many.answers() < 100


def test_default_share_leaves_most_of_the_table_to_others(site: Site) -> None:
    share = site.do(default_share)
    assert 0 < share <= 8192
    assert 8 * share <= int(site.inside.run("cat", "/proc/sys/net/netfilter/nf_conntrack_max"))

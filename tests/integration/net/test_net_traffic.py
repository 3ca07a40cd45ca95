"""Real packets through the default network: published ports, neighbours, the outside, and what must not pass."""

import os
import socket
import struct
import threading
from socket import SOCK_DGRAM, SOCK_STREAM

import pytest

from pycontainer.net.manager import NetworkManager
from pycontainer.spec.model import Port
from tests.integration.net.conftest import HTTP, Instance, Server, Site, ask, is_closed
from tests.support import frames
from tests.support.hostns import INSIDE_IP, INSIDE_IP6, OUTSIDE_IP, OUTSIDE_IP6, NetworkNamespace
from tests.support.poll import SLOWNESS

BOTH = (Port(8080, HTTP), Port(8080, HTTP, "udp"))
KINDS = pytest.mark.parametrize("kind", [SOCK_STREAM, SOCK_DGRAM], ids=["tcp", "udp"])


@KINDS
@pytest.mark.parametrize(("target", "seen"), [(INSIDE_IP, OUTSIDE_IP), (INSIDE_IP6, OUTSIDE_IP6)])
def test_published_port_from_outside_keeps_the_source(site: Site, kind: int, target: str, seen: str) -> None:
    site.instance("web", *BOTH)
    assert ask(site.outside, target, 8080, kind) == seen


@KINDS
def test_published_port_on_every_address_of_the_host(site: Site, kind: int) -> None:
    web = site.instance("web", *BOTH)
    info = site.manager.inspect("default")
    gateway6 = str(info["subnet6"]).replace("/64", "1")
    assert ask(site.inside, INSIDE_IP, 8080, kind) == INSIDE_IP
    assert ask(site.inside, INSIDE_IP6, 8080, kind) == INSIDE_IP6
    assert ask(site.inside, "127.0.0.1", 8080, kind) == info["gateway"]
    assert ask(site.inside, "::1", 8080, kind) == gateway6
    assert ask(site.inside, web.ip, HTTP, kind) == info["gateway"]
    assert ask(site.inside, web.ip6, HTTP, kind) == gateway6


@KINDS
@pytest.mark.parametrize("target", [INSIDE_IP, INSIDE_IP6])
def test_published_port_from_the_instance_itself(site: Site, kind: int, target: str) -> None:
    web = site.instance("web", *BOTH)
    assert ask(web.namespace, target, 8080, kind) not in (web.ip, web.ip6)


@KINDS
def test_published_port_from_neighbours(site: Site, kind: int) -> None:
    site.do(lambda: site.manager.create("other"))
    site.instance("web", *BOTH)
    same, other = site.instance("same"), site.instance("other", networks=("other",))
    assert ask(same.namespace, INSIDE_IP, 8080, kind) == same.ip
    assert ask(other.namespace, INSIDE_IP6, 8080, kind) == other.ip6


def test_port_on_one_address(site: Site) -> None:
    site.inside.run("ip", "address", "add", "192.0.2.77/24", "dev", "eth0")
    site.instance("web", Port(8080, HTTP, host_ip="192.0.2.77"), Port(8081, HTTP, host_ip="127.0.0.1"))
    assert ask(site.outside, "192.0.2.77", 8080) == OUTSIDE_IP
    assert ask(site.inside, "192.0.2.77", 8080)
    assert ask(site.inside, "127.0.0.1", 8081)
    for namespace, ip, port in (
        (site.outside, INSIDE_IP, 8080),
        (site.inside, "127.0.0.1", 8080),
        (site.outside, INSIDE_IP, 8081),
        (site.inside, INSIDE_IP, 8081),
        (site.inside, "::1", 8081),
    ):
        with pytest.raises(ConnectionRefusedError):
            ask(namespace, ip, port)
    for instance in list(site.instances):
        instance.end()
    site.inside.run("ip", "address", "del", "192.0.2.77/24", "dev", "eth0")


@KINDS
def test_instances_of_one_network_reach_each_other_and_no_other(site: Site, kind: int) -> None:
    site.do(lambda: site.manager.create("other"))
    one, two, far = site.instance("one"), site.instance("two"), site.instance("far", networks=("other",))
    assert ask(one.namespace, two.ip, HTTP, kind) == one.ip
    assert ask(one.namespace, two.ip6, HTTP, kind) == one.ip6
    for source, target in ((one, far), (far, one)):
        assert is_closed(source.namespace, target.ip, HTTP, kind)
        assert is_closed(source.namespace, target.ip6, HTTP, kind)


@KINDS
def test_outside_is_reached_masqueraded(site: Site, kind: int) -> None:
    web = site.instance("web")
    server = Server(site.outside, 9000)
    assert ask(web.namespace, OUTSIDE_IP, 9000, kind) == INSIDE_IP
    assert ask(web.namespace, OUTSIDE_IP6, 9000, kind) == INSIDE_IP6
    server.close()


def test_outside_does_not_reach_an_instance_directly(site: Site) -> None:
    web = site.instance("web")
    site.outside.run("ip", "route", "add", f"{web.ip}/32", "via", INSIDE_IP)
    site.outside.run("ip", "-6", "route", "add", f"{web.ip6}/128", "via", INSIDE_IP6)
    assert is_closed(site.outside, web.ip, HTTP)
    assert is_closed(site.outside, web.ip6, HTTP)
    site.outside.run("ip", "route", "del", f"{web.ip}/32")
    site.outside.run("ip", "-6", "route", "del", f"{web.ip6}/128")


@KINDS
def test_services_of_the_host_are_closed(site: Site, kind: int) -> None:
    web = site.instance("web")
    server = Server(site.inside, 7777)
    gateway = str(site.manager.inspect("default")["gateway"])
    assert ask(site.outside, INSIDE_IP, 7777, kind) == OUTSIDE_IP
    for target in (INSIDE_IP, INSIDE_IP6, gateway):
        assert is_closed(web.namespace, target, 7777, kind)
    server.close()


def _send(instance: Instance, kind: int, packet: bytes) -> None:
    mac = frames.mac_of(instance.namespace)  # both ends of a routed link have the same
    frames.send_frame(instance.namespace, frames.ethernet(mac, mac, kind, packet))


def test_forged_sources_go_nowhere(site: Site) -> None:
    thief, victim = site.instance("thief"), site.instance("victim")
    with (
        site.outside.make_socket(socket.AF_INET, SOCK_DGRAM) as outside4,
        site.outside.make_socket(socket.AF_INET6, SOCK_DGRAM) as outside6,
    ):
        outside4.bind((OUTSIDE_IP, 9000))
        outside6.bind((OUTSIDE_IP6, 9000))
        for forged in (victim.ip, INSIDE_IP, "198.51.100.7", "0.0.0.0", "127.0.0.1"):
            _send(thief, frames.IPV4, frames.udp4(forged, OUTSIDE_IP, 9000, b"forged"))
        for forged in (victim.ip6, INSIDE_IP6, "2001:db8:7::7", "fe80::7", "::1"):
            _send(thief, frames.IPV6, frames.udp6(forged, OUTSIDE_IP6, 9000, b"forged"))
        _send(thief, frames.IPV4, frames.udp4(thief.ip, OUTSIDE_IP, 9000, b"honest"))
        _send(thief, frames.IPV6, frames.udp6(thief.ip6, OUTSIDE_IP6, 9000, b"honest"))
        assert outside4.recvfrom(100) == (b"honest", (INSIDE_IP, 5000))
        assert outside6.recvfrom(100)[0] == b"honest"
        outside4.settimeout(0.2 * SLOWNESS)
        with pytest.raises(TimeoutError):
            outside4.recvfrom(100)


def test_forged_source_does_not_reach_a_neighbour(site: Site) -> None:
    thief, victim, third = site.instance("thief"), site.instance("victim"), site.instance("third")
    with third.namespace.make_socket(socket.AF_INET, SOCK_DGRAM) as sock:
        sock.bind((third.ip, 9000))
        _send(thief, frames.IPV4, frames.udp4(victim.ip, third.ip, 9000, b"forged"))
        _send(thief, frames.IPV4, frames.udp4(thief.ip, third.ip, 9000, b"honest"))
        assert sock.recvfrom(100) == (b"honest", (thief.ip, 5000))


def test_metadata_and_loopback_addresses_are_blocked(site: Site) -> None:
    web = site.instance("web")
    site.outside.run("ip", "address", "add", "169.254.169.254/32", "dev", "lo")
    server = Server(site.outside, 9000)
    assert is_closed(web.namespace, "169.254.169.254", 9000)
    assert ask(web.namespace, OUTSIDE_IP, 9000) == INSIDE_IP
    server.close()
    site.outside.run("ip", "address", "del", "169.254.169.254/32", "dev", "lo")


def test_large_transfer_through_the_forwarder_in_both_directions(site: Site) -> None:
    """Half-closing works: the answer begins when the request has ended, and neither loses a byte."""
    web = site.instance("web", Port(8080, 81))
    payload = os.urandom(1 << 20) * 4
    with web.namespace.make_socket() as listener:
        listener.bind((web.ip, 81))
        listener.listen()
        client = site.inside.connect("127.0.0.1", 8080)
        connection, _ = listener.accept()
        with client, connection:
            connection.settimeout(20 * SLOWNESS)
            client.settimeout(20 * SLOWNESS)
            received = _exchange(client, connection, payload)
            assert received == payload
            assert connection.recv(1) == b""
            assert _exchange(connection, client, payload) == payload
            assert client.recv(1) == b""


def test_slow_reader_gets_all_that_was_sent_before_both_ends_closed(site: Site) -> None:
    web = site.instance("web", Port(8080, 81))
    payload = os.urandom(1 << 23)
    with web.namespace.make_socket() as listener:
        listener.bind((web.ip, 81))
        listener.listen()
        with site.inside.make_socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", 8080))
            client.sendall(b"request")
            client.shutdown(socket.SHUT_WR)
            connection, _ = listener.accept()
            assert connection.recv(100) == b"request"
            assert connection.recv(1) == b""

            def answer() -> None:
                with connection:
                    connection.sendall(payload)

            thread = threading.Thread(target=answer)
            thread.start()
            received = bytearray()
            while data := client.recv(200):  # slower than it comes: the buffers on the way are full to the end
                received += data
            thread.join()
    assert received == payload


def test_client_that_resets_ends_the_connection_inside(site: Site) -> None:
    web = site.instance("web", Port(8080, 81))
    with web.namespace.make_socket() as listener:
        listener.bind((web.ip, 81))
        listener.listen()
        client = site.inside.connect("127.0.0.1", 8080)
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(5 * SLOWNESS)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
            assert connection.recv(1) == b""


def _exchange(source: socket.socket, target: socket.socket, payload: bytes) -> bytes:
    def send() -> None:
        source.sendall(payload)
        source.shutdown(socket.SHUT_WR)

    thread = threading.Thread(target=send)
    thread.start()
    received = bytearray()
    while len(received) < len(payload):
        data = target.recv(1 << 16)
        assert data, f"the connection ended after {len(received)} of {len(payload)} bytes"
        received += data
    thread.join()
    return bytes(received)


def test_stats_count_as_the_instance_does(site: Site) -> None:
    web = site.instance("web")

    def counted() -> tuple[int, int]:
        before = site.do(lambda: site.manager.stats(web.id))
        with site.inside.make_socket(socket.AF_INET, SOCK_DGRAM) as sock:
            sock.sendto(bytes(1000), (web.ip, 9))
        after = site.do(lambda: site.manager.stats(web.id))
        return after[0] - before[0], after[1] - before[1]

    counts = [counted() for _ in range(5)]  # a kernel that looks for IPv6 neighbours may say something in between
    assert 1000 + 8 + 20 + 14 in [received for received, _ in counts], counts
    assert all(sent < 1000 for _, sent in counts)


def test_table_that_another_tool_flushed_comes_back_with_the_next_instance(site: Site) -> None:
    web = site.instance("web", Port(8080, HTTP))
    site.inside.run("nft", "flush", "ruleset")
    second = site.instance("second", Port(8081, HTTP))
    assert ask(site.outside, INSIDE_IP, 8080) == OUTSIDE_IP
    assert ask(site.outside, INSIDE_IP, 8081) == OUTSIDE_IP
    assert ask(second.namespace, web.ip, HTTP) == second.ip
    server = Server(site.inside, 7777)
    assert is_closed(web.namespace, INSIDE_IP, 7777)
    server.close()


def test_nothing_is_left_of_an_attach_that_failed(site: Site) -> None:
    def attach_to_a_file() -> None:
        manager: NetworkManager = site.manager
        manager.reserve("c" * 12, "bad", "bad", ["default"])
        with open("/proc/self/status") as not_a_namespace, pytest.raises(OSError, match="create the veth pair"):
            manager.attach("c" * 12, not_a_namespace.fileno())
        manager.release("c" * 12)

    site.instance("web")
    before = site.state()
    site.do(attach_to_a_file)
    assert site.state() == before


def test_nothing_is_left_of_a_start_that_was_expected_alone(site: Site) -> None:
    """Its process was not born: the walls were opened for it meanwhile."""

    def expect() -> None:
        manager: NetworkManager = site.manager
        manager.reserve("c" * 12, "bad", "bad", ["default"])
        manager.claim_ports("c" * 12, [Port(8081, HTTP)])
        manager.expect("c" * 12)
        manager.detach("c" * 12, alive=False)
        manager.release("c" * 12)

    site.instance("web")
    before = site.state()
    site.do(expect)
    assert site.state() == before


def test_name_and_address_are_free_at_once_for_a_restart(site: Site) -> None:
    web = site.instance("web", Port(8080, HTTP))
    for _ in range(5):
        web.server.close()
        site.do(lambda: site.manager.detach(web.id, alive=False))
        web.namespace.close()
        web.namespace = NetworkNamespace()
        site.do(lambda: site.manager.claim_ports(web.id, [Port(8080, HTTP)]))
        site.do(lambda: site.manager.attach(web.id, web.namespace.fd))
        web.server = Server(web.namespace, HTTP)
        assert ask(site.outside, INSIDE_IP, 8080) == OUTSIDE_IP
        assert ask(site.inside, "127.0.0.1", 8080)

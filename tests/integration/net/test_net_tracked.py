"""Who goes on sending to a UDP port of the host, before there is its container and after another has it."""

import ipaddress
import socket
from socket import SOCK_DGRAM

import pytest

from pycontainer.net.tracked import Published, forget
from pycontainer.spec.model import Port
from tests.integration.net.conftest import HTTP, Site
from tests.support.hostns import INSIDE_IP, INSIDE_IP6, OUTSIDE_IP, OUTSIDE_IP6
from tests.support.poll import SLOWNESS, poll_until

BOTH = pytest.mark.parametrize("target", [INSIDE_IP, INSIDE_IP6])
UDP = Port(8080, HTTP, "udp")


def sender(site: Site, target: str) -> socket.socket:
    sock = site.outside.make_socket(socket.AF_INET6 if ":" in target else socket.AF_INET, SOCK_DGRAM)
    sock.settimeout(0.3 * SLOWNESS)
    sock.connect((target, 8080))
    return sock


def answer(sock: socket.socket) -> str:
    """Return what comes back, empty if nothing does."""
    try:
        sock.send(b"who am I")
        return sock.recv(100).decode()
    except OSError:  # refused, or silence
        return ""


def tracked_lines(site: Site, target: str) -> list[str]:
    lines = site.inside.run("cat", "/proc/net/nf_conntrack").splitlines()
    wide = ipaddress.ip_address(target).exploded
    return [line for line in lines if " udp " in line and f"dst={wide} " in line and "dport=8080" in line]


def forgotten(site: Site, *ports: Port, keep: tuple[str, ...] = ()) -> int:
    return site.do(lambda: forget([Published(ports, frozenset(keep))]))


@BOTH
def test_who_sent_before_is_heard_as_soon_as_there_is_a_container(site: Site, target: str) -> None:
    site.instance("other")  # so that the host tracks
    with sender(site, target) as sock:
        assert answer(sock) == ""
        assert len(tracked_lines(site, target)) == 1
        site.instance("dns", UDP)
        seen = OUTSIDE_IP6 if ":" in target else OUTSIDE_IP
        poll_until(lambda: answer(sock) == seen, what="an answer")


@BOTH
def test_who_goes_on_sending_reaches_the_next_container_and_never_the_address_of_the_last(
    site: Site, target: str
) -> None:
    first = site.instance("first", UDP)
    with sender(site, target) as sock:
        assert answer(sock)
        assert len(tracked_lines(site, target)) == 1
        first.end()
        poll_until(lambda: not tracked_lines(site, target), what="nothing is tracked any more")
        assert answer(sock) == ""
        second = site.instance("second", UDP)
        assert second.ip != first.ip
        poll_until(lambda: bool(answer(sock)), what="an answer of the second")
        assert len(tracked_lines(site, target)) == 1


def test_others_are_left_alone(site: Site) -> None:
    """What leads to this container, to another port, and to another host by the same port."""
    web = site.instance("web", UDP, Port(8081, HTTP, "udp"))
    with sender(site, INSIDE_IP) as sock, web.namespace.make_socket(socket.AF_INET, SOCK_DGRAM) as away:
        assert answer(sock)
        away.sendto(b"hello", (OUTSIDE_IP, 8080))
        before = site.inside.run("cat", "/proc/net/nf_conntrack").count("dport=8080")
        assert forgotten(site, *web.ports, keep=(web.ip,)) == 0
        assert site.inside.run("cat", "/proc/net/nf_conntrack").count("dport=8080") == before
        assert forgotten(site, Port(8081, HTTP, "udp")) == 0
        assert forgotten(site, Port(8080, HTTP, "udp", host_ip="192.0.2.99")) == 0
        assert forgotten(site, Port(8080, HTTP, "udp", host_ip=INSIDE_IP)) == 1
        left = site.inside.run("cat", "/proc/net/nf_conntrack")
        assert f"dst={OUTSIDE_IP} " in left  # the instance's own, to the same port of another host


def test_many_ports_are_looked_for_at_once(site: Site) -> None:
    ports = [Port(8080 + number, HTTP, "udp") for number in range(20)]
    web = site.instance("web", *ports)
    with sender(site, INSIDE_IP) as sock, sender(site, INSIDE_IP6) as sock6:
        assert answer(sock)
        assert answer(sock6)
        assert forgotten(site, *web.ports, keep=(web.ip, web.ip6)) == 0
        assert forgotten(site, *web.ports) == 2
        assert answer(sock)


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_who_talked_to_a_container_does_not_reach_the_next_one_with_its_address(
    site: Site, family: int, *, restarts: bool
) -> None:
    """Its packets are those of an established connection, which no wall looks at."""
    spy, last = site.instance("spy", tenant="acme"), site.instance("last", tenant="acme")
    target = last.ip6 if family == socket.AF_INET6 else last.ip
    with spy.namespace.make_socket(family, SOCK_DGRAM) as sock, spy.namespace.make_socket(family, SOCK_DGRAM) as other:
        sock.settimeout(0.3 * SLOWNESS)
        sock.connect((target, HTTP))
        other.connect((spy.ip6 if family == socket.AF_INET6 else spy.ip, HTTP))
        assert answer(sock)
        assert len(named_lines(site, target)) == 1
        last.end()
        if restarts:
            site.restart_manager()
            site.do(lambda: site.manager.reconcile({spy.id: True}, {spy.id: "acme"}))
        heir = site.instance("heir", tenant="zoo", ip=last.ip)
        assert heir.ip6 == last.ip6
        assert named_lines(site, target) == []
        assert answer(sock) == ""
        with site.inside.make_socket(family, SOCK_DGRAM) as ours:  # the heir itself is heard
            ours.connect((target, HTTP))
            assert answer(ours)


def named_lines(site: Site, address: str) -> list[str]:
    wide = ipaddress.ip_address(address).exploded
    return [line for line in site.inside.run("cat", "/proc/net/nf_conntrack").splitlines() if f"={wide} " in line]


def test_addresses_that_were_left_are_seen_to_now_and_then(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pycontainer.net.tracked._LEFT_MOST", 4)
    spy, *others = [site.instance(name) for name in ("spy", "first", "second")]
    for other in others:
        with spy.namespace.make_socket(socket.AF_INET, SOCK_DGRAM) as sock:
            sock.connect((other.ip, HTTP))
            assert answer(sock)
    others[0].end()
    assert named_lines(site, others[0].ip)
    others[1].end()
    poll_until(lambda: not any(named_lines(site, other.ip) for other in others), what="nothing is tracked any more")

"""What root inside may forge, written frame by frame: nobody hears it, on a routed link and on a bridge, IPv4 and IPv6.

Every list of frames is also sent with the walls taken down, so that one which could not arrive anyway proves nothing.
"""

import os
from collections.abc import Callable, Iterator
from socket import AF_INET, AF_INET6, SOCK_DGRAM, SOCK_STREAM
from typing import NamedTuple

import pytest

from pycontainer.errors import InvalidInput
from pycontainer.spec.model import Port
from tests.integration.net.conftest import HTTP, Instance, Server, Site, ask, is_closed
from tests.support.frames import (
    ALL_NODES_MAC,
    ARP,
    EVERYBODY,
    IPV4,
    IPV6,
    QINQ,
    REPLY,
    REQUEST,
    VLAN,
    Listener,
    advertisement,
    arp,
    ethernet,
    mac_of,
    redirect,
    router_advertisement,
    send_frame,
    udp4,
    udp6,
)
from tests.support.hostns import INSIDE_IP, INSIDE_IP6, OUTSIDE_IP, OUTSIDE_IP6, NetworkNamespace
from tests.support.poll import SLOWNESS

KINDS = pytest.mark.parametrize("kind", [SOCK_STREAM, SOCK_DGRAM], ids=["tcp", "udp"])
STRANGER = bytes.fromhex("02badbadbad0")
HONEST = b"an honest datagram"
LINK_LOCAL = "fe80::50:1"


class Cast(NamedTuple):
    """Who is on a segment: one that forges, one that is meant, and the gateway."""

    site: Site
    thief: Instance
    victim: Instance
    gateway: str
    gateway6: str

    @property
    def own(self) -> bytes:
        return mac_of(self.thief.namespace)

    @property
    def theirs(self) -> bytes:
        return mac_of(self.victim.namespace)

    @property
    def bridge(self) -> str:
        return f"{self.site.paths.interface_prefix}b{self.site.manager.inspect('segment')['number']}"


def frames_of_a_segment(cast: Cast) -> dict[str, bytes]:
    """Return what a port of a bridge has no business to send; each is addressed so that the victim would hear it."""
    own, theirs = cast.own, cast.theirs
    ip, ip6, victim, victim6 = cast.thief.ip, cast.thief.ip6, cast.victim.ip, cast.victim.ip6
    honest4, honest6 = udp4(ip, victim, 7, b"payload"), udp6(ip6, victim6, 7, b"payload")
    return {
        "source MAC of the victim": ethernet(EVERYBODY, theirs, IPV4, honest4),
        "source MAC of nobody": ethernet(theirs, STRANGER, IPV4, honest4),
        "source MAC of nobody, IPv6": ethernet(theirs, STRANGER, IPV6, honest6),
        "ARP: I am the victim": ethernet(EVERYBODY, own, ARP, arp(REQUEST, own, victim, bytes(6), victim)),
        "ARP: I am the gateway": ethernet(theirs, own, ARP, arp(REPLY, own, cast.gateway, theirs, victim)),
        "ARP: the gateway is at nobody's": ethernet(
            theirs, own, ARP, arp(REPLY, STRANGER, cast.gateway, theirs, victim)
        ),
        "ARP: I am at nobody's": ethernet(EVERYBODY, own, ARP, arp(REQUEST, STRANGER, ip, bytes(6), victim)),
        "ARP: reverse": ethernet(EVERYBODY, own, ARP, arp(3, own, ip, own, ip)),
        "IPv4 of the gateway": ethernet(theirs, own, IPV4, udp4(cast.gateway, victim, 7, b"payload")),
        "IPv4 of somebody outside": ethernet(theirs, own, IPV4, udp4("198.51.100.7", victim, 7, b"payload")),
        "IPv4 of nobody": ethernet(theirs, own, IPV4, udp4("0.0.0.0", victim, 7, b"payload")),
        "IPv6 of the gateway": ethernet(theirs, own, IPV6, udp6(cast.gateway6, victim6, 7, b"payload")),
        "IPv6 of somebody outside": ethernet(theirs, own, IPV6, udp6("2001:db8:7::7", victim6, 7, b"payload")),
        "IPv6 of a link": ethernet(theirs, own, IPV6, udp6(LINK_LOCAL, victim6, 7, b"payload")),
        "ND: the gateway is here": ethernet(
            ALL_NODES_MAC, own, IPV6, advertisement(ip6, "ff02::1", cast.gateway6, own)
        ),
        "ND: the victim is here": ethernet(ALL_NODES_MAC, own, IPV6, advertisement(ip6, "ff02::1", victim6, own)),
        "ND: the gateway says it": ethernet(
            theirs, own, IPV6, advertisement(cast.gateway6, victim6, cast.gateway6, own)
        ),
        "RA from a link-local address": ethernet(ALL_NODES_MAC, own, IPV6, router_advertisement(LINK_LOCAL, "ff02::1")),
        "RA from its own address": ethernet(ALL_NODES_MAC, own, IPV6, router_advertisement(ip6, "ff02::1")),
        "redirect": ethernet(theirs, own, IPV6, redirect(ip6, victim6, ip6, OUTSIDE_IP6)),
        "DHCP offer": ethernet(EVERYBODY, own, IPV4, udp4(ip, "255.255.255.255", 68, b"offer", source_port=67)),
        "DHCPv6 reply": ethernet(theirs, own, IPV6, udp6(ip6, victim6, 546, b"reply", source_port=547)),
        "VLAN 5": ethernet(theirs, own, IPV4, honest4, tags=((VLAN, 5),)),
        "VLAN 0": ethernet(theirs, own, IPV6, honest6, tags=((VLAN, 0),)),
        "Q-in-Q": ethernet(theirs, own, IPV4, honest4, tags=((QINQ, 5), (VLAN, 6))),
        "STP": ethernet(bytes.fromhex("0180c2000000"), own, 38, bytes.fromhex("424203") + bytes(35)),
        "LLDP to everybody": ethernet(EVERYBODY, own, 0x88CC, b"a neighbour of yours" + bytes(40)),
        "MPLS": ethernet(theirs, own, 0x8847, b"a label" + bytes(40)),
        "PPPoE discovery": ethernet(EVERYBODY, own, 0x8863, b"a session" + bytes(40)),
        "EAPOL to everybody": ethernet(EVERYBODY, own, 0x888E, b"a key" + bytes(40)),
    }


def honest(cast: Cast) -> bytes:
    """Return a frame that everybody on the segment may hear."""
    return ethernet(EVERYBODY, cast.own, IPV4, udp4(cast.thief.ip, cast.victim.ip, 7, HONEST))


def packet_of(frame: bytes) -> bytes:
    """Return what stays of a frame however it was tagged: 30 bytes of the packet within."""
    start = 12
    while frame[start : start + 2] in (b"\x81\x00", b"\x88\xa8"):
        start += 4
    return frame[start + 2 : start + 32]


def heard_by_victim(cast: Cast, frames: dict[str, bytes]) -> set[str]:
    """Send frames, then an honest one, and return which of them the victim heard before that."""
    listener = Listener(cast.victim.namespace)
    try:
        for frame in frames.values():
            send_frame(cast.thief.namespace, frame)
        send_frame(cast.thief.namespace, honest(cast))
        heard = listener.heard_until(HONEST, timeout_seconds=5 * SLOWNESS)
    finally:
        listener.close()
    return {
        name
        for name, frame in frames.items()
        for found in heard
        if packet_of(frame) in found and found[6:12] == frame[6:12]
    }


def what_is_believed(cast: Cast) -> list[str]:
    """Return what host, bridge and victim know of addresses and routes, without the states and ages of entries."""
    found = []
    for namespace in (cast.site.inside, cast.victim.namespace):
        for command in ("ip neigh", "ip -6 neigh", "ip route", "ip -6 route"):
            lines = namespace.run(*command.split()).splitlines()
            neighbours = [line for line in lines if "lladdr" in line and not is_uplink(cast, namespace, line)]
            found += [f"{command}: {line.partition(' lladdr ')[0:3:2]}" for line in neighbours]
            found += [f"{command}: {line}" for line in lines if "route" in command]
    found += [line for line in cast.site.inside.run("bridge", "fdb", "show").splitlines() if "master" in line]
    states = ("REACHABLE", "STALE", "DELAY", "PROBE", "router")
    return sorted(
        {" ".join(word for word in line.replace("'", " ").split() if word.strip("),") not in states) for line in found}
    )


def is_uplink(cast: Cast, namespace: NetworkNamespace, line: str) -> bool:
    return namespace is cast.site.inside and " dev eth0 " in line


@pytest.fixture
def segment(site: Site) -> Iterator[Cast]:
    """Two instances on a bridge that have talked to each other and to the host."""
    site.do(lambda: site.manager.create("segment", "bridge", "10.77.0.0/24"))
    thief, victim = (site.instance(name, networks=("segment",)) for name in ("thief", "victim"))
    gateway6 = str(site.manager.inspect("segment")["subnet6"]).replace("/64", "1")
    for ip in (victim.ip, victim.ip6):
        assert ask(thief.namespace, ip, HTTP)
        assert ask(site.inside, ip, HTTP)
    yield Cast(site, thief, victim, "10.77.0.1", gateway6)


@pytest.mark.vm
@pytest.mark.parametrize("with_ip_filters", [True, False], ids=["br_netfilter", "bridge-alone"])
def test_nobody_on_a_bridge_hears_what_is_forged(segment: Cast, with_ip_filters: bool) -> None:
    """NET-01, NET-02, NET-04, NET-10: for every kind of frame, and nobody believes any of it.

    Where br_netfilter is on, bridged packets meet the host's IP filters as well; the walls do not need it.
    """
    if not with_ip_filters:
        keep_from_ip_filters(segment.site)
    before = what_is_believed(segment)
    assert heard_by_victim(segment, frames_of_a_segment(segment)) == set()
    assert set(what_is_believed(segment)) <= set(before)  # entries may grow old meanwhile
    for ip in (segment.thief.ip, segment.thief.ip6):
        assert ask(segment.victim.namespace, ip, HTTP)


def test_forged_frames_arrive_where_there_are_no_walls(segment: Cast) -> None:
    """The control of the test above: it is our table alone that stops them, so each could have been heard."""
    table = segment.site.paths.marker.replace("-", "_")
    keep_from_ip_filters(segment.site)
    segment.site.inside.run("nft", "delete", "table", "bridge", table)
    frames = frames_of_a_segment(segment)
    heard = set()
    for name, frame in frames.items():
        here_i_am = ethernet(EVERYBODY, segment.theirs, 0x88B5, bytes(46))  # the bridge learns anew where the victim is
        send_frame(segment.victim.namespace, here_i_am)
        heard |= heard_by_victim(segment, {name: frame})
    assert heard == set(frames)


def keep_from_ip_filters(site: Site) -> None:
    """Switch br_netfilter off, where it is loaded."""
    if os.path.isdir("/proc/sys/net/bridge"):
        for name in ("iptables", "ip6tables", "arptables"):
            site.inside.run("sysctl", "-qw", f"net.bridge.bridge-nf-call-{name}=0")


def test_bridge_does_not_learn_from_frames_to_reserved_addresses(segment: Cast) -> None:
    """Frames to 01:80:c2:00:00:0e end at the host and pass by prerouting, but a bridge learns from their source. NET-01"""
    frame = ethernet(bytes.fromhex("0180c200000e"), segment.theirs, 0x88CC, b"a neighbour of yours" + bytes(40))
    for _ in range(3):
        send_frame(segment.thief.namespace, frame)
    assert ask(segment.site.inside, segment.victim.ip, HTTP)
    thief_port = port_of(segment, segment.own)
    learnt = segment.site.inside.run("bridge", "fdb", "show", "dev", thief_port)
    assert segment.theirs.hex(":") not in learnt
    assert port_of(segment, segment.theirs) != thief_port


def port_of(cast: Cast, mac: bytes) -> str:
    """Return the port behind which the bridge believes a MAC to be."""
    lines = cast.site.inside.run("bridge", "fdb", "show").splitlines()
    return next(line.split()[2] for line in lines if line.startswith(mac.hex(":")) and "permanent" not in line)


@pytest.mark.vm
@pytest.mark.parametrize("driver", ["routed", "bridge"])
def test_interface_that_is_renamed_moved_to_another_mac_and_set_up_again(site: Site, driver: str) -> None:
    """NET-01: what root inside does with its end of the link changes nothing at ours."""
    site.do(lambda: site.manager.create("segment", driver, "10.77.0.0/24"))
    thief, victim = (site.instance(name, networks=("segment",)) for name in ("thief", "victim"))
    inside = thief.namespace
    original = mac_of(inside).hex(":")
    inside.run("ip", "link", "set", "eth0", "down")
    inside.run("ip", "link", "set", "eth0", "name", "wan0", "address", STRANGER.hex(":"))
    inside.run("ip", "link", "set", "wan0", "arp", "on", "up")
    give_default_routes(site, thief, "wan0", driver)
    inside.run("ip", "address", "add", "198.51.100.9/32", "dev", "wan0")
    inside.run("ip", "address", "add", "2001:db8:9::9/128", "dev", "wan0", "nodad")
    if driver == "bridge":  # a routed link has no segment: there its own address with any MAC is still its own
        for ip in (victim.ip, victim.ip6):
            assert is_closed(inside, ip, HTTP)
    inside.run("ip", "link", "set", "wan0", "arp", "on" if driver == "bridge" else "off", "address", original)
    for source, target in (("198.51.100.9", victim.ip), ("2001:db8:9::9", victim.ip6)):
        assert not answers_from(inside, source, target)
    assert answers_from(inside, thief.ip, victim.ip)
    assert answers_from(inside, thief.ip6, victim.ip6)


def give_default_routes(site: Site, instance: Instance, device: str, driver: str) -> None:
    """Do what an instance's init does after it has set its link down: IPv6 addresses and all routes went with that."""
    info = site.manager.inspect("segment")
    gateway6 = str(info["subnet6"]).replace("/64", "1")
    length, via6 = ("/64", ["via", gateway6]) if driver == "bridge" else ("/128", [])
    inside = instance.namespace
    inside.run("ip", "route", "replace", "default", "via", str(info["gateway"]), "dev", device, "onlink")
    inside.run("ip", "-6", "address", "replace", f"{instance.ip6}{length}", "dev", device, "nodad")
    inside.run("ip", "-6", "route", "replace", "default", *via6, "dev", device)


def answers_from(namespace: NetworkNamespace, source: str, target: str) -> bool:
    """Tell whether a Server at `target` answers a datagram that is sent from `source`."""
    with namespace.make_socket(AF_INET6 if ":" in source else AF_INET, SOCK_DGRAM) as sock:
        sock.bind((source, 0))
        sock.settimeout(0.4 * SLOWNESS)
        for _ in range(5):  # the first ones may fall to neighbour discovery that begins anew
            sock.sendto(b"who am I", (target, HTTP))
            try:
                return bool(sock.recv(100))
            except TimeoutError:
                continue
    return False


@pytest.mark.vm
def test_routed_link_has_no_segment_to_lie_on(site: Site) -> None:
    """NET-02, NET-04, NET-10: of all those frames nothing reaches a neighbour, and the host believes none of it."""
    thief, victim = site.instance("thief"), site.instance("victim")
    info = site.manager.inspect("default")
    cast = Cast(site, thief, victim, str(info["gateway"]), str(info["subnet6"]).replace("/64", "1"))
    for ip in (victim.ip, victim.ip6):
        assert ask(thief.namespace, ip, HTTP)
    before = what_is_believed(cast)
    frames = frames_of_a_segment(cast)
    own = cast.own
    # a source MAC is nobody's business on a routed link; what holds is the packet within
    may_pass = {"VLAN 0", *(name for name in frames if name.startswith("source MAC"))}
    listener, gate = Listener(victim.namespace), Listener(site.outside)
    for name, frame in frames.items():
        if name not in may_pass:
            send_frame(thief.namespace, own + frame[6:])  # as if for the host, which is whom a link leads to
    send_frame(thief.namespace, ethernet(own, own, IPV4, udp4(thief.ip, victim.ip, 7, HONEST)))
    send_frame(thief.namespace, ethernet(own, own, IPV4, udp4(thief.ip, OUTSIDE_IP, 7, HONEST)))
    for heard in (listener, gate):
        assert [frame for frame in heard.heard_until(HONEST, timeout_seconds=5 * SLOWNESS) if b"payload" in frame] == []
        heard.close()
    assert what_is_believed(cast) == before


@pytest.mark.parametrize("driver", ["routed", "bridge"])
def test_host_believes_no_announcement(site: Site, driver: str) -> None:
    """Were the firewall away for a moment, routes of the host still would not come from a container. NET-04, NET-10"""
    for name in ("ipv6/conf/default/accept_ra", "ipv4/conf/all/route_localnet"):
        set_host(site, name, "2" if "ra" in name.rpartition("/")[2] else "1")
    site.do(lambda: site.manager.create("segment", driver, "10.77.0.0/24"))
    one = site.instance("one", networks=("segment",))
    ours = [name for name in site.inside.links() if name.startswith(site.paths.interface_prefix)]
    ends = [name for name in ours if driver == "routed" or name.startswith(f"{site.paths.interface_prefix}b")]
    assert len(ends) == 1
    for setting in ("ipv6/conf/{}/accept_ra", "ipv6/conf/{}/accept_redirects", "ipv4/conf/{}/route_localnet"):
        assert site.inside.run("cat", f"/proc/sys/net/{setting.format(ends[0])}").strip() == "0"
    site.inside.run("nft", "flush", "ruleset")
    before = site.inside.run("ip", "-6", "route", "show", "default")
    for source in (LINK_LOCAL, one.ip6):
        send_frame(
            one.namespace, ethernet(ALL_NODES_MAC, mac_of(one.namespace), IPV6, router_advertisement(source, "ff02::1"))
        )
    assert ask(site.inside, one.ip6, HTTP)
    assert site.inside.run("ip", "-6", "route", "show", "default") == before
    set_host(site, "ipv4/conf/all/route_localnet", "0")
    set_host(site, "ipv6/conf/default/accept_ra", "1")


def set_host(site: Site, name: str, value: str) -> None:
    def write() -> None:
        with open(f"/proc/sys/net/{name}", "w") as file:
            file.write(value)

    site.do(write)


@pytest.mark.parametrize("driver", ["routed", "bridge"])
def test_loopback_services_stay_closed_with_route_localnet(site: Site, driver: str) -> None:
    """Kubernetes and others switch route_localnet on for all links: 127.0.0.1 of the host is still not for us. NET-05"""
    set_host(site, "ipv4/conf/all/route_localnet", "1")
    site.do(lambda: site.manager.create("segment", driver, "10.77.0.0/24"))
    one = site.instance("one", networks=("segment",))
    with site.inside.make_socket(AF_INET, SOCK_DGRAM) as service:
        service.bind(("127.0.0.1", 7777))
        own = mac_of(one.namespace)
        host_end = own if driver == "routed" else bytes.fromhex("02510000") + (1).to_bytes(2, "big")
        target = host_end if driver == "routed" else mac_of(site.inside, bridge_of(site))
        for source in (one.ip, "127.0.0.1"):
            send_frame(one.namespace, ethernet(target, own, IPV4, udp4(source, "127.0.0.1", 7777, b"knock")))
        service.settimeout(0.3 * SLOWNESS)
        with pytest.raises(TimeoutError):
            service.recv(100)
    set_host(site, "ipv4/conf/all/route_localnet", "0")


def bridge_of(site: Site) -> str:
    return next(name for name in site.inside.links() if name.startswith(f"{site.paths.interface_prefix}b"))


@pytest.mark.parametrize("driver", ["routed", "bridge"])
@KINDS
def test_host_is_closed_on_all_its_addresses(site: Site, kind: int, driver: str) -> None:
    """NET-05: the uplink's, the gateway's, those of other networks; and what is for the metadata service stays here."""
    site.do(lambda: site.manager.create("segment", driver, "10.77.0.0/24"))
    one, other = site.instance("one", networks=("segment",)), site.instance("other", networks=("default",))
    services = Server(site.inside, 7777)
    gateways = [str(site.manager.inspect(name)["gateway"]) for name in ("segment", "default")]
    gateways6 = [str(site.manager.inspect(name)["subnet6"]).replace("/64", "1") for name in ("segment", "default")]
    for ip in (INSIDE_IP, INSIDE_IP6, *gateways, *gateways6):
        assert ask(site.inside, ip, 7777, kind)
        assert is_closed(one.namespace, ip, 7777, kind), ip
    for ip in (other.ip, other.ip6):
        assert is_closed(one.namespace, ip, HTTP, kind), ip
    services.close()
    gate = Listener(site.outside)
    for target in ("169.254.169.254", "fd00:ec2::254"):
        assert is_closed(one.namespace, target, HTTP, kind)
    with one.namespace.make_socket(AF_INET, SOCK_DGRAM) as sock:
        sock.sendto(HONEST, (OUTSIDE_IP, 9))
    left = gate.heard_until(HONEST, timeout_seconds=5 * SLOWNESS)
    gate.close()
    assert [
        frame for frame in left if frame[0x1E:0x22] == bytes((169, 254, 169, 254)) or b"\x0e\xc2" in frame[38:54]
    ] == []


@KINDS
def test_tenants_of_one_network_do_not_reach_each_other(site: Site, kind: int) -> None:
    """Default deny between tenants, and between a tenant and those of none; what is published is for everybody."""
    one, two = site.instance("one", tenant="acme"), site.instance("two", Port(8080, HTTP), tenant="acme")
    other, free = site.instance("other", tenant="rival"), site.instance("free")
    for ip in (two.ip, two.ip6):
        assert ask(one.namespace, ip, HTTP, kind)
    for source, target in ((one, other), (other, one), (one, free), (free, one)):
        for ip in (target.ip, target.ip6):
            assert is_closed(source.namespace, ip, HTTP, kind), (source.name, target.name)
    if kind == SOCK_STREAM:
        assert ask(other.namespace, INSIDE_IP, 8080) == other.ip
    names = read_hosts(site, one)
    assert "\ttwo" in names
    assert "other" not in names
    assert "free" not in names
    assert "two" not in read_hosts(site, free)


def read_hosts(site: Site, instance: Instance) -> str:
    with open(site.manager.hosts_path(instance.id)) as file:
        return file.read()


def test_tenants_stay_apart_after_a_restart_of_the_supervisor(site: Site) -> None:
    one, two = site.instance("one", tenant="acme"), site.instance("two", tenant="acme")
    other = site.instance("other", tenant="rival")
    site.restart_manager()
    live = {instance.id: True for instance in (one, two, other)}
    site.do(lambda: site.manager.reconcile(live, {one.id: "acme", two.id: "acme", other.id: "rival"}))
    assert ask(one.namespace, two.ip, HTTP)
    assert is_closed(one.namespace, other.ip6, HTTP)
    assert "other" not in read_hosts(site, one)


def test_bridge_is_one_tenants(site: Site) -> None:
    site.do(lambda: site.manager.create("segment", "bridge"))
    site.instance("one", networks=("segment",), tenant="acme")
    for tenant in ("rival", ""):
        with pytest.raises(InvalidInput) as caught:
            site.instance("other", networks=("segment",), tenant=tenant)
        assert caught.value.message == (
            "bridge network 'segment' has containers of tenant 'acme': one bridge, one tenant"
        )
    site.instance("two", networks=("segment",), tenant="acme")


@pytest.mark.vm
@pytest.mark.parametrize("driver", ["routed", "bridge"])
def test_walls_stand_before_the_link_is_up_and_until_it_is_gone(
    site: Site, driver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every change of links finds the instance's elements in the tables; after its end there is none of them. NET-02"""
    site.do(lambda: site.manager.create("segment", driver, "10.77.0.0/24"))
    seen: list[tuple[str, bool]] = []

    def note(name: str) -> Callable[..., object]:
        real = getattr(site.manager._links, name)

        def noting(*arguments: object, **options: object) -> object:
            seen.append((f"before {name}", "10.77.0.2" in site.inside.run("nft", "list", "ruleset")))
            result = real(*arguments, **options)
            seen.append((f"after {name}", "10.77.0.2" in site.inside.run("nft", "list", "ruleset")))
            return result

        return noting

    for name in ("attach", "detach"):
        monkeypatch.setattr(site.manager._links, name, note(name))
    one = site.instance("one", networks=("segment",))
    one.end()
    assert seen == [(f"{when} {name}", True) for name in ("attach", "detach") for when in ("before", "after")]
    listing = site.inside.run("nft", "list", "ruleset")
    assert "10.77.0.2" not in listing
    assert "table bridge" not in listing

"""The fast path: long connections to published ports are handed over, and nothing that the host decides is lost by it."""

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import re
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pycontainer.errors import InvalidInput, Unsupported
from pycontainer.linux import bpf
from pycontainer.linux.bpfcode import STACK, U32, Code
from pycontainer.linux.release import kernel_version
from pycontainer.net import tracked
from pycontainer.net.ctnetlink import Ends, packed
from pycontainer.net.fastpath import host, program, worker
from pycontainer.net.fastpath.flows import Flows
from pycontainer.net.fastpath.program import Flow
from pycontainer.net.linkcounts import received_inside
from pycontainer.net.messages import Netlink
from pycontainer.spec.model import Port
from tests.integration.net.conftest import Instance, Site
from tests.support.hostns import INSIDE_IP, INSIDE_IP6, OUTSIDE_IP, HostNetwork, NetworkNamespace
from tests.support.poll import SLOWNESS, poll_until

STREAM = 9000
PORT = Port(8080, STREAM)
PATTERN = bytes(range(256)) * 256


@pytest.fixture
def fast(site: Site) -> Site:
    try:
        site.do(lambda: site.manager.set_fast_path("default", True))
    except Unsupported as error:  # Linux before 6.6
        pytest.skip(str(error))
    return site


def count(site: Site) -> int:
    found = site.do(lambda: site.manager.inspect("default"))["fast_connections"]
    assert isinstance(found, int)
    return found


class Stream:
    """A connection from outside to `instance` by a published port; what is sent, one way, is compared where it arrives."""

    def __init__(self, site: Site, instance: Instance, target: str = INSIDE_IP, *, out: bool = False) -> None:
        family = socket.AF_INET6 if ":" in target else socket.AF_INET
        self.received = 0
        self.is_intact = True
        self.is_broken = False  # whoever receives was told of a reset
        self._may_send = threading.Event()
        self._may_send.set()
        self._is_over = self._is_aborted = False
        with instance.namespace.make_socket(family) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("", STREAM))
            listener.listen()
            self.client = site.outside.connect(target, PORT.host_port)
            self.server, _ = listener.accept()
        for sock in (self.client, self.server):
            sock.settimeout(60 * SLOWNESS)
        source, sink = (self.server, self.client) if out else (self.client, self.server)
        self._threads = [
            threading.Thread(target=self._send, args=(source,)),
            threading.Thread(target=self._receive, args=(sink,)),
        ]
        for thread in self._threads:
            thread.start()

    def _send(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError):  # reset by `abort`
            while self._may_send.wait() and not self._is_over:
                sock.sendall(PATTERN)
            if not self._is_aborted:
                sock.shutdown(socket.SHUT_WR)

    def _receive(self, sock: socket.socket) -> None:
        try:
            while data := sock.recv(len(PATTERN)):
                begin = self.received % 256
                self.is_intact = self.is_intact and data == (PATTERN + PATTERN)[begin : begin + len(data)]
                self.received += len(data)
        except OSError:
            self.is_broken = True

    def goes_on(self) -> None:
        before = self.received
        poll_until(lambda: self.received > before + 1_000_000, what="more arrives")

    def pause(self) -> None:
        self._may_send.clear()

    def resume(self) -> None:
        self._may_send.set()

    def finish(self) -> int:
        """End it in good order; return how much arrived."""
        self._is_over = True
        self._join()
        assert self.is_intact
        return self.received

    def abort(self) -> None:
        """End it by a reset from the client."""
        self._is_over = self._is_aborted = True
        self.resume()
        with contextlib.suppress(OSError):  # it is over already
            self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._threads[0].join(1)
        if self._threads[0].is_alive():  # it waits for room that will not be
            self.client.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        self.client.close()
        self._threads[1].join(1)
        with contextlib.suppress(OSError):
            self.server.shutdown(socket.SHUT_RDWR)  # a link that is gone brings no reset
        self._join()

    def _join(self) -> None:
        for thread in self._threads:
            thread.join()
        self.client.close()
        self.server.close()


@contextlib.contextmanager
def stream(site: Site, instance: Instance, target: str = INSIDE_IP, *, out: bool = False) -> Iterator[Stream]:
    """Run a stream that is handed over."""
    made = Stream(site, instance, target, out=out)
    try:
        poll_until(lambda: count(site) == 1, what="it is handed over")
        yield made
    finally:
        made.abort()


@pytest.mark.parametrize(
    ("target", "out"),
    [
        pytest.param(INSIDE_IP, False, marks=pytest.mark.vm),
        (INSIDE_IP, True),
        (INSIDE_IP6, False),
        pytest.param(INSIDE_IP6, True, marks=pytest.mark.vm),
    ],
)
def test_what_is_sent_arrives_whole_and_is_counted(fast: Site, target: str, *, out: bool) -> None:
    if ":" in target and not program.takes_ipv6():
        pytest.skip("this kernel's helper gets sums of IPv6 wrong: IPv6 takes the kernel's way")
    web = fast.instance("web", PORT)
    fast.inside.run(
        "nft", "table inet spy { chain seen { type filter hook forward priority 10; ct state invalid counter; }; }"
    )
    before = fast.do(lambda: fast.manager.stats(web.id))
    with stream(fast, web, target, out=out) as made:
        handed_at = made.received
        poll_until(lambda: made.received > handed_at + 20_000_000, what="20 MB have gone the fast way")
        assert count(fast) == 1
        sent = made.finish()
    received_bytes, sent_bytes = (
        after - had for after, had in zip(fast.do(lambda: fast.manager.stats(web.id)), before, strict=True)
    )
    ((index, is_read_inside),) = fast.manager.links(web.id).items()
    assert is_read_inside
    if not out and kernel_version() >= (6, 7):  # it went past the host's end of the link
        with fast.do(Netlink) as netlink:
            assert netlink.byte_counts(index)[1] < received_bytes - 10_000_000
    packets = received_packets(web.namespace, "eth0")
    (inside,) = fast.do(lambda: received_inside(fast.manager.links(web.id))).values()
    assert inside is not None
    assert packets <= inside[1] <= received_packets(web.namespace, "eth0")
    assert (sent_bytes if out else received_bytes) > sent
    poll_until(lambda: count(fast) == 0, what="it has ended")
    rules = fast.inside.run("nft", "list", "table", "inet", "spy")
    assert "counter packets 0 bytes 0" in rules  # the end of it is taken for what it is
    lines = [line for line in fast.inside.run("cat", "/proc/net/nf_conntrack").splitlines() if " dport=8080 " in line]
    assert all("ESTABLISHED" not in line for line in lines)
    fast.inside.run("nft", "delete", "table", "inet", "spy")


BAN = f"ip saddr {OUTSIDE_IP} drop"


@pytest.mark.vm
def test_a_ban_of_the_administrator_holds_at_once(fast: Site) -> None:
    web = fast.instance("web", PORT)
    with stream(fast, web) as made:
        fast.inside.run("nft", f"table inet ban {{ chain banned {{ type filter hook forward priority 0; {BAN}; }}; }}")
        time.sleep(0.2 * SLOWNESS)
        assert count(fast) == 0
        before = made.received
        time.sleep(1)
        assert made.received - before < 1_000_000  # what lay in the receiver's queue
        fast.inside.run("nft", "delete", "table", "inet", "ban")
        made.goes_on()
        poll_until(lambda: count(fast) == 1, what="it is handed over again")


@pytest.mark.parametrize("where", ["forward priority 10", "postrouting priority 500", "forward priority 0"])
def test_who_is_banned_late_is_not_handed_over_for_sending_on(fast: Site, where: str) -> None:
    """Its packets are of an established connection, and pass our rules before those that drop them."""
    chain = f"table inet ban {{ chain banned {{ type filter hook {where}; }}; }}"
    fast.inside.run("nft", chain)  # an older table of the same priority comes after ours
    web = fast.instance("web", PORT)
    fast.do(lambda: fast.manager._firewall.rebuild())
    with stream(fast, web) as made:
        fast.inside.run("nft", f"insert rule inet ban banned {BAN}")
        poll_until(lambda: count(fast) == 0, what="it is given back")
        blast(fast.outside, frame(made.client.getsockname(), made.client.getpeername()))
        assert count(fast) == 0
        fast.inside.run("nft", "delete", "table", "inet", "ban")
        poll_until(lambda: count(fast) == 1, what="it is handed over again")


def test_a_packet_of_one_direction_does_not_open_the_other(fast: Site) -> None:
    web = fast.instance("web", PORT)
    with stream(fast, web) as made:
        early = "type filter hook prerouting priority -160"
        fast.inside.run("nft", f"table inet ban {{ chain banned {{ {early}; {BAN}; }}; }}")
        poll_until(lambda: count(fast) == 0, what="it is given back")
        blast(web.namespace, frame(made.server.getsockname(), made.server.getpeername()))
        assert count(fast) == 0
        fast.inside.run("nft", "delete", "table", "inet", "ban")
        poll_until(lambda: count(fast) == 1, what="it is handed over again")


def blast(namespace: NetworkNamespace, packet: bytes) -> None:
    """Send a packet again and again, as who is root there can, some 4000 times."""
    with namespace.make_socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        address = socket.inet_ntoa(packet[14 + 16 : 14 + 20])
        for _ in range(40):
            for _ in range(100):
                raw.sendto(packet[14:], (address, 0))
            time.sleep(0.005)


def test_what_tells_nobody_holds_when_it_has_been_handed_over_for_long(
    fast: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An element of a set runs out, and the kernel sends no word of it."""
    monkeypatch.setattr(worker, "_LOOK_SECONDS", 0.2 * SLOWNESS)
    web = fast.instance("web", PORT)
    seconds = int(3 * SLOWNESS)
    allowed = f"set ok {{ type ipv4_addr; flags timeout; elements = {{ {OUTSIDE_IP} timeout {seconds}s }}; }}"
    chain = f"chain late {{ type filter hook forward priority 20; ip saddr {OUTSIDE_IP} ip saddr != @ok drop; }}"
    fast.inside.run("nft", f"table inet wall {{ {allowed}; {chain}; }}")
    with stream(fast, web) as made:
        time.sleep(seconds)
        poll_until(lambda: count(fast) == 0, what="it is given back")
        time.sleep(0.5)
        before = made.received
        time.sleep(1)
        assert made.received - before < 1_000_000
        assert count(fast) == 0
        fast.inside.run("nft", "delete", "table", "inet", "wall")


def test_a_reset_after_more_than_2_gb_is_told(fast: Site) -> None:
    """Half of the numbers that TCP has are before the last one that connection tracking saw acknowledged."""
    web = fast.instance("web", PORT)
    with stream(fast, web) as made:
        poll_until(lambda: made.received > 2_500_000_000, timeout_seconds=60, what="2.5 GB arrive")
        made.pause()
        time.sleep(0.5)  # what is not acknowledged yet would leave the kernel in doubt of any reset
        made.abort()
        assert made.is_broken
    own = [line for line in fast.inside.run("cat", "/proc/net/nf_conntrack").splitlines() if " dport=8080 " in line]
    assert not any("ESTABLISHED" in line for line in own)


def test_a_cap_holds_at_once(fast: Site) -> None:
    web = fast.instance("web", PORT)
    with stream(fast, web) as made:
        fast.do(lambda: fast.manager.bandwidth(web.id).cap("in", None, 80_000_000))
        assert count(fast) == 0
        time.sleep(1)  # what was on its way
        before, began = made.received, time.monotonic()
        time.sleep(3)
        assert (made.received - before) * 8 / (time.monotonic() - began) < 88_000_000
        assert count(fast) == 0
        fast.do(lambda: fast.manager.bandwidth(web.id).release())


def test_a_cap_that_is_mended_holds_at_once(fast: Site) -> None:
    """While somebody had taken it away, nothing said that there is one."""
    web = fast.instance("web", PORT)
    ((_, link, _),) = fast.manager.links_of(web.id)
    with stream(fast, web):
        fast.do(lambda: fast.manager.bandwidth(web.id).cap("in", None, 80_000_000))
        fast.inside.run("tc", "qdisc", "del", "dev", link, "clsact")
        poll_until(lambda: count(fast) == 1, what="it is handed over")
        fast.do(lambda: fast.manager.mend_shaping(web.id))
        assert count(fast) == 0
        fast.do(lambda: fast.manager.bandwidth(web.id).release())


def test_a_record_that_is_lost_loses_no_counts(fast: Site) -> None:
    """The next default network was no fast one, but what its containers received went by the inner ends of their links."""
    web = fast.instance("web", PORT)
    (index,) = fast.manager.links(web.id)
    fast.do(lambda: fast.manager.close(remove=False))
    (Path(fast.paths.networks_dir) / "default.json").unlink()
    fast.restart_manager()
    assert fast.do(fast.manager.list)[0]["fast_path"] is False
    fast.do(lambda: fast.manager.reconcile({web.id: True}))
    assert fast.manager.links(web.id) == {index: True}


def test_what_an_instance_may_send_is_counted_packet_by_packet(fast: Site) -> None:
    web = fast.instance("web", PORT)
    with stream(fast, web, out=True) as made:
        fast.do(lambda: fast.manager.bandwidth(web.id).guard(1_000_000))
        assert count(fast) == 0
        made.goes_on()
        assert count(fast) == 0
        fast.do(lambda: fast.manager.bandwidth(web.id).guard(None))
        poll_until(lambda: count(fast) == 1, what="it is handed over again")


def test_a_connection_that_is_tracked_no_more_is_given_back(fast: Site) -> None:
    """The kernel then tracks it anew, from the middle, by the rules as they are; that one may be handed over again."""
    web = fast.instance("web", PORT)
    with stream(fast, web):
        before = handed_ids(fast)
        address = socket.inet_aton(web.ip)
        assert fast.do(lambda: tracked.forget_addresses([lambda one: one == address])) >= 1
        poll_until(lambda: handed_ids(fast).isdisjoint(before), what="it is given back")


def handed_ids(site: Site) -> set[bytes]:
    """Return what the kernel calls the connections that are handed over."""
    fast_path = site.manager._fast_path
    assert fast_path is not None
    return {handed.connection.id for handed in [*fast_path._handed.values()]}


BETWEEN = {
    "traffic control": ("tc qdisc add dev eth0 clsact", "tc qdisc del dev eth0 clsact"),
    "smaller MTU": ("ip link set eth0 mtu 1400", "ip link set eth0 mtu 1500"),
    "a tunnel of the route's own": (
        f"ip route add {OUTSIDE_IP}/32 encap ip id 7 dst 192.0.2.9 dev eth0",
        f"ip route del {OUTSIDE_IP}/32",
    ),
    "another way back": (f"ip route add {OUTSIDE_IP}/32 dev lo", f"ip route del {OUTSIDE_IP}/32 dev lo"),
    "no way in": (
        f"ip rule add from {OUTSIDE_IP} iif eth0 prohibit",
        f"ip rule del from {OUTSIDE_IP} iif eth0 prohibit",
    ),
    "no forwarding": ("sysctl -qw net.ipv4.conf.eth0.forwarding=0", "sysctl -qw net.ipv4.conf.eth0.forwarding=1"),
    "a queue": ("tc qdisc add dev LINK root pfifo", "tc qdisc del dev LINK root"),
    "rules where it leaves": (
        "nft table netdev spy { chain leaving { type filter hook egress device LINK priority 0; }; }",
        "nft delete table netdev spy",
    ),
}


def stays_so(site: Site, made: Stream) -> None:
    """Check that a connection that goes on is not handed over for as long as that takes at other times, and longer."""
    for _ in range(10):
        made.goes_on()
        time.sleep(0.1 * SLOWNESS)
        assert count(site) == 0


@pytest.mark.parametrize("what", BETWEEN)
def test_what_a_host_puts_between_is_heeded(fast: Site, what: str) -> None:
    web = fast.instance("web", PORT)
    ((_, link, _),) = fast.manager.links_of(web.id)
    do, undo = (command.replace("LINK", link) for command in BETWEEN[what])
    with stream(fast, web) as made:
        fast.inside.run(*do.split())
        poll_until(lambda: count(fast) == 0, what="it is given back")
        if what in ("traffic control", "a queue", "rules where it leaves"):
            stays_so(fast, made)
        assert count(fast) == 0
        fast.inside.run(*undo.split())
        poll_until(lambda: count(fast) == 1, what="it is handed over again")


GATEWAYS = [(INSIDE_IP, "192.0.2.77"), (INSIDE_IP, "fd00:99::77"), (INSIDE_IP6, "fe80::77")]


@pytest.mark.parametrize(("target", "gateway"), GATEWAYS, ids=["IPv4", "IPv4 by IPv6", "IPv6, by its link"])
def test_who_is_the_gateway_now_gets_what_is_for_beyond(fast: Site, target: str, gateway: str) -> None:
    """A rule of the host leads by it what comes from the instance's port, and nothing else."""
    if ":" in target and not program.takes_ipv6():
        pytest.skip("this kernel's helper gets sums of IPv6 wrong: IPv6 takes the kernel's way")
    web = fast.instance("web", PORT)
    family, via = ("-6" if ":" in target else "-4"), ("inet6 " if ":" in gateway and ":" not in target else "")
    rule = f"ipproto tcp sport {STREAM} lookup 99"
    fast.outside.run("sysctl", "-qw", "net.ipv4.conf.all.arp_ignore=1")  # each address is its own link's
    fast.outside.run("ip", "link", "add", "gateway", "link", "eth0", "type", "macvlan", "mode", "bridge")
    fast.outside.run(*f"ip address add {gateway} dev gateway {'nodad' if ':' in gateway else ''}".split())
    fast.outside.run("ip", "link", "set", "gateway", "up")
    with stream(fast, web, target) as made:
        fast.inside.run(*f"ip {family} route add default via {via}{gateway} dev eth0 onlink table 99".split())
        fast.inside.run(*f"ip {family} rule add {rule}".split())
        poll_until(lambda: next_hops(fast) == {packed(gateway)}, what="it is handed over by the gateway")
        before = received_packets(fast.outside, "gateway")
        made.goes_on()
        poll_until(
            lambda: received_packets(fast.outside, "gateway") > before + 100, what="the gateway gets its packets"
        )
        assert next_hops(fast) == {packed(gateway)}
        fast.inside.run(*f"ip {family} rule del {rule}".split())
        poll_until(
            lambda: next_hops(fast) == {packed(made.client.getsockname()[0])}, what="it is handed over as before"
        )


def received_packets(namespace: NetworkNamespace, link: str) -> int:
    (found,) = json.loads(namespace.run("ip", "-json", "-s", "link", "show", "dev", link))
    return int(found["stats64"]["rx"]["packets"])


def next_hops(site: Site) -> set[bytes]:
    fast_path = site.manager._fast_path
    assert fast_path is not None
    return {handed.flow.next_hop for handed in [*fast_path._handed.values()]}


_XDP, _XDP_PASS, _AT_XDP = 6, 2, 37  # BPF_PROG_TYPE_XDP, what it returns, where it hangs


@pytest.mark.parametrize("where", ["at the uplink", "behind the link", "inside"])
def test_a_program_of_others_sees_each_packet(fast: Site, where: str) -> None:
    web = fast.instance("web", PORT)
    ((_, link, _),) = fast.manager.links_of(web.id)
    with stream(fast, web) as made:
        code = Code()
        code.leave(_XDP_PASS if where == "inside" else -1)
        kind = _XDP if where == "inside" else bpf._PROG_TYPE_SCHED_CLS
        program_fd = bpf._load(kind, bytes(code), "others")
        attach_type, device, place = {
            "at the uplink": (bpf._TCX_INGRESS, "eth0", fast.do),
            "behind the link": (bpf._TCX_EGRESS, link, fast.do),
            "inside": (_AT_XDP, "eth0", web.namespace.call),
        }[where]
        hook_fd = place(
            lambda: bpf._call(
                bpf._LINK_CREATE, bpf._LINK.pack(program_fd, socket.if_nametoindex(device), attach_type, 0)
            )
        )
        os.close(program_fd)
        poll_until(lambda: count(fast) == 0, what="it is given back")
        stays_so(fast, made)
        os.close(hook_fd)
        poll_until(lambda: count(fast) == 1, what="it is handed over again")


def test_what_has_a_mark_takes_the_kernels_way(fast: Site) -> None:
    """Rules, routes and queues of the host may go by it."""
    chain = "chain marking { type filter hook prerouting priority mangle; tcp dport 8080 meta mark set 7; }"
    fast.inside.run("nft", f"table inet marks {{ {chain}; }}")
    web = fast.instance("web", PORT)
    made = Stream(fast, web)
    try:
        made.goes_on()
        time.sleep(0.3)
        assert count(fast) == 0
        fast.inside.run("nft", "delete", "table", "inet", "marks")
        poll_until(lambda: count(fast) == 1, what="it is handed over")
    finally:
        made.abort()


@pytest.mark.parametrize("of", ["iptables-legacy", "IPsec"])
def test_rules_that_nobody_is_told_of_are_an_obstacle(
    fast: Site, of: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    web = fast.instance("web", PORT)
    with stream(fast, web) as made:
        if of == "IPsec":
            if not _add_ipsec(fast):
                pytest.skip("this kernel has no IPsec")
        else:
            (tmp_path / "names").write_text("filter\n")
            monkeypatch.setattr(host, "_LEGACY", (str(tmp_path / "names"),))
        poll_until(lambda: count(fast) == 0, what="it is given back")
        made.goes_on()
        assert count(fast) == 0
        assert of in str(fast.do(lambda: fast.manager.inspect("default"))["fast_obstacle"])


def _add_ipsec(site: Site) -> bool:
    """Add a policy for others; False if the kernel has none."""
    policy = "ip xfrm policy add src 203.0.113.0/24 dst 198.51.100.0/24 dir out tmpl proto esp mode tunnel"
    try:
        site.inside.run(*policy.split())
    except AssertionError:
        return False
    return site.do(host.has_ipsec)


def test_nothing_that_is_idle_is_kept(fast: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "_LOOK_SECONDS", 0.2 * SLOWNESS)
    web = fast.instance("web", PORT)
    with stream(fast, web) as made:
        made.pause()
        poll_until(lambda: count(fast) == 0, what="it is given back")
        made.resume()
        poll_until(lambda: count(fast) == 1, what="it is handed over again")
        assert made.finish()


def test_without_it_a_connection_goes_on_by_the_kernel(fast: Site) -> None:
    """Connection tracking has missed most of it, and lets it pass all the same."""
    web = fast.instance("web", PORT)
    with stream(fast, web) as made:
        fast.do(lambda: fast.manager.set_fast_path("default", False))
        assert count(fast) == 0
        made.goes_on()
        assert "numgen" not in fast.inside.run("nft", "list", "ruleset")
        assert made.finish()


def test_a_supervisor_that_comes_up_hands_over_again(fast: Site) -> None:
    web = fast.instance("web", PORT)
    with stream(fast, web) as made:
        fast.do(lambda: fast.manager.close(remove=False))
        made.goes_on()
        fast.restart_manager()
        assert fast.do(lambda: fast.manager.reconcile({web.id: True})) == []
        poll_until(lambda: count(fast) == 1, what="it is handed over again")
        made.goes_on()
        assert made.finish()


def test_an_instance_that_ends_leaves_nothing(fast: Site) -> None:
    web, other = fast.instance("web", PORT), fast.instance("other")
    with stream(fast, web):
        fast.do(lambda: fast.manager.detach(web.id, alive=True))
        assert count(fast) == 0
    assert count(fast) == 0
    other.end()


@pytest.mark.parametrize("network", ["default", "slow"])
def test_connections_between_containers_take_the_kernels_way(fast: Site, network: str) -> None:
    """Who asks may have a guard, or a cap, that is to see its packets, whether its own network is a fast one or not."""
    if network == "slow":
        fast.do(lambda: fast.manager.create("slow"))
    web, peer = fast.instance("web", PORT), fast.instance("peer", networks=(network,))
    made = Stream(replace_outside(fast, peer), web)
    try:
        made.goes_on()
        time.sleep(0.2)
        assert count(fast) == 0
        assert made.finish()
    finally:
        made.abort()


def replace_outside(site: Site, peer: Instance) -> Site:
    """Return the site as a client in `peer` sees it."""
    seen = object.__new__(Site)
    seen.__dict__.update({**site.__dict__, "outside": peer.namespace})
    return seen


def test_only_routed_networks_have_it_and_the_record_keeps_it(site: Site) -> None:
    with pytest.raises(InvalidInput, match="only a routed network has a fast path"):
        site.do(lambda: site.manager.create("segment", "bridge", fast_path=True))
    try:
        info = site.do(lambda: site.manager.create("quick", fast_path=True))
    except Unsupported as error:
        pytest.skip(str(error))
    assert (info["fast_path"], info["fast_connections"], info["fast_obstacle"]) == (True, 0, "")
    record = json.loads((Path(site.paths.networks_dir) / "quick.json").read_text())
    assert record["fast_path"] is True
    site.do(lambda: site.manager.close(remove=False))
    site.restart_manager()
    assert site.do(lambda: site.manager.inspect("quick"))["fast_path"] is True
    assert site.do(lambda: site.manager.set_fast_path("quick", False))["fast_path"] is False


def test_a_kernel_that_refuses_the_rules_has_no_fast_path_and_a_firewall_all_the_same(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pycontainer.net.firewall._SAMPLE", " chain odd { nothing of nft; } ")
    for is_used in (False, True):
        if is_used:
            site.instance("web")
        with pytest.raises(Unsupported, match="cannot hand connections over"):
            site.do(lambda: site.manager.set_fast_path("default", True))
        assert site.do(lambda: site.manager.inspect("default"))["fast_path"] is False
        site.do(site.manager._firewall.rebuild)
    site.instance("another")


def test_of_what_is_half_handed_over_nothing_stays(fast: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    flows = Flows()
    put, keys = bpf.HashMap.put, []

    def put_one(self: bpf.HashMap, key: bytes, value: bytes) -> None:
        keys.append(key)
        if len(keys) == 2:
            raise OSError(errno.ENOMEM, "no memory")
        put(self, key, value)

    monkeypatch.setattr(bpf.HashMap, "put", put_one)
    with pytest.raises(OSError, match="no memory"):
        flows.put(FLOW)
    assert [flows._map.get(key) for key in keys] == [None, None]
    flows.close()


def test_what_is_idle_costs_nothing(fast: Site) -> None:
    """With nothing handed over the thread sleeps, also while containers come and go; without any fast network it ends."""
    assert any(thread.name == "fastpath" for thread in threading.enumerate())
    fast_path = fast.manager._fast_path
    assert fast_path is not None
    thread = Path(f"/proc/self/task/{fast_path._thread.native_id}/status")
    before = re.findall("voluntary_ctxt_switches:\\s*([0-9]+)", thread.read_text())
    fast.instance("web", PORT)
    time.sleep(3)
    assert re.findall("voluntary_ctxt_switches:\\s*([0-9]+)", thread.read_text()) == before
    fast.do(lambda: fast.manager.set_fast_path("default", False))
    assert not any(thread.name == "fastpath" for thread in threading.enumerate())


def test_what_is_handed_over_wakes_nobody(fast: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread sleeps until its next look: it has nothing to say to who tells of rules."""
    web, turns, hear = fast.instance("web", PORT), [], worker.FastPath._hear

    def count_turns(fast_path: worker.FastPath) -> None:
        turns.append(time.monotonic())
        hear(fast_path)

    monkeypatch.setattr(worker.FastPath, "_hear", count_turns)
    with stream(fast, web) as made:
        made.goes_on()
        turns.clear()
        time.sleep(1)
        assert len(turns) < 20
        assert count(fast) == 1


# -- the program, frame by frame

CLIENT, CLIENT6 = "198.51.100.7", "2001:db8:1::7"
FLOW, FLOW6 = (
    Flow(
        Ends(packed(client), 40000, packed(at_host), 8080, packed(instance), 80),
        uplink=1,
        link=1,
        mac=b"\x02\x50\x0a\x40\x00\x02",
        next_hop=packed(client),
    )
    for client, at_host, instance in ((CLIENT, INSIDE_IP, "10.64.0.2"), (CLIENT6, INSIDE_IP6, "fd00:1::2"))
)
NEXT, REDIRECT = 0xFFFFFFFF, 7


def checksum(data: bytes) -> bytes:
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack(">H", total ^ 0xFFFF)


def frame(
    source: tuple[Any, ...],
    destination: tuple[Any, ...],
    *,
    hops: int = 64,
    flags: int = 0x10,
    fragment: int = 0x4000,
    payload: bytes = b"an odd number of bytes"[:21],
) -> bytes:
    """Return a frame to this host with TCP in it and every sum right."""
    (address, port), (to_address, to_port) = (
        (socket.inet_aton(ip) if isinstance(ip, str) else ip, number) for ip, number, *_ in (source, destination)
    )
    tcp = struct.pack(">HHIIBBHHH", port, to_port, 1, 2, 0x50, flags, 100, 0, 0) + payload
    is_wide = len(address) == 16
    pseudo = (
        address + to_address + struct.pack(">II" if is_wide else ">HH", *((len(tcp), 6) if is_wide else (6, len(tcp))))
    )
    tcp = tcp[:16] + checksum(pseudo + tcp) + tcp[18:]
    if is_wide:
        return bytes(12) + b"\x86\xdd" + struct.pack(">IHBB", 6 << 28, len(tcp), 6, hops) + address + to_address + tcp
    ip = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(tcp), 7, fragment, hops, 6, 0) + address + to_address
    return bytes(12) + b"\x08\x00" + ip[:10] + checksum(ip) + ip[12:] + tcp


FLOWS = pytest.mark.parametrize("flow", [FLOW, FLOW6], ids=["IPv4", "IPv6"])


@pytest.fixture
def loaded(flow: Flow) -> Iterator[tuple[bpf.HashMap, int]]:
    """A map with both directions of `flow` in it, and the descriptor of the program that reads it."""
    if flow is FLOW6 and not program.takes_ipv6():
        pytest.skip("this kernel's helper gets sums of IPv6 wrong")
    flows = bpf.HashMap("pyc_flows", program.KEY_BYTES, program.VALUE_BYTES, 16)
    try:
        program_fd = program.load(flows.fd)
        for key, value in flow.entries():
            flows.put(key, value)
        yield flows, program_fd
        os.close(program_fd)
    finally:
        flows.close()


@pytest.mark.vm
@FLOWS
def test_both_directions_are_translated_with_every_sum_right(loaded: tuple[bpf.HashMap, int], flow: Flow) -> None:
    flows, program_fd = loaded
    client, at_host = flow.ends[:2], flow.ends[2:4]
    instance = flow.ends[4:]
    said, there = bpf.run_classifier(program_fd, frame(client, at_host))
    assert (said, there[:12]) == (REDIRECT, flow.mac * 2)
    assert there[14:] == frame(client, instance, hops=63)[14:]
    said, back = bpf.run_classifier(program_fd, frame(instance, client))
    assert said == REDIRECT
    assert back[14:] == frame(at_host, client, hops=63)[14:]
    for key, _ in flow.entries():
        counted = flows.get(key)
        assert counted is not None
        assert program.bytes_in(counted) == len(there)


@pytest.mark.vm
@FLOWS
def test_what_is_not_known_or_not_plain_is_left_as_it_is(loaded: tuple[bpf.HashMap, int], flow: Flow) -> None:
    _, program_fd = loaded
    client, at_host = flow.ends[:2], flow.ends[2:4]
    plain = frame(client, at_host)
    others = {
        "another port": frame((flow.ends.client, 40001), at_host),
        "at the end of its life": frame(client, at_host, hops=1),
        "short": plain[: 60 if flow is FLOW6 else 40],
        "UDP": plain[: 14 + (9 if flow is FLOW else 6)] + b"\x11" + plain[14 + (10 if flow is FLOW else 7) :],
        "for another host": b"\x02\x00\x00\x00\x00\x01" + plain[6:],
        "another protocol": plain[:12] + b"\x08\x06" + plain[14:],
    }
    if flow is FLOW:
        others["the first of some fragments"] = frame(client, at_host, fragment=0x2000)
        others["a later fragment"] = frame(client, at_host, fragment=0x0010)
        others["with options"] = plain[:14] + b"\x46" + plain[15:]
    for what, other in others.items():
        assert bpf.run_classifier(program_fd, other) == (NEXT, other), what
    assert bpf.run_classifier(program_fd, plain)[0] == REDIRECT


@pytest.mark.parametrize("flags", [0x11, 0x12, 0x14], ids=["FIN", "SYN", "RST"])
@FLOWS
def test_the_end_and_a_new_beginning_are_the_kernels(loaded: tuple[bpf.HashMap, int], flow: Flow, flags: int) -> None:
    flows, program_fd = loaded
    client, at_host = flow.ends[:2], flow.ends[2:4]
    last = frame(client, at_host, flags=flags)
    assert bpf.run_classifier(program_fd, last) == (NEXT, last)
    after = frame(client, at_host)
    assert bpf.run_classifier(program_fd, after) == (NEXT, after)
    (to_it, _), (from_it, _) = flow.entries()
    assert flows.get(to_it) is None
    assert flows.get(from_it) is not None


@FLOWS
def test_headers_that_lie_in_pieces_are_the_kernels(loaded: tuple[bpf.HashMap, int], flow: Flow) -> None:
    """A card may leave all but the first bytes of a frame in pages of their own."""
    flows, program_fd = loaded
    network = HostNetwork()
    with contextlib.ExitStack() as stack:
        stack.callback(network.close)
        tap = network.inside.call(lambda: os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC))
        stack.callback(os.close, tap)
        set_interface, is_tap, no_information, vnet_header = 0x400454CA, 0x2, 0x1000, 0x4000  # <linux/if_tun.h>
        named = struct.pack("16sH22x", b"tap0", is_tap | no_information | vnet_header)
        network.inside.call(lambda: fcntl.ioctl(tap, set_interface, named))
        network.inside.run("ip", "link", "set", "tap0", "address", "02:00:00:00:00:01", "up")
        for namespace in (network.inside, network.outside):
            namespace.run("ip", "link", "set", "eth0", "mtu", "9000")
        uplink, link = network.inside.call(lambda: (socket.if_nametoindex("tap0"), socket.if_nametoindex("eth0")))
        to_it, _ = flow._replace(uplink=uplink, link=link).entries()
        flows.put(*to_it)
        hook = network.inside.call(lambda: bpf.attach_to_link(uplink, program_fd))
        stack.callback(os.close, hook)
        far = stack.enter_context(network.outside.make_socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)))
        payload = os.urandom(5000)  # less than a page is in one piece, whatever is asked for
        given = frame(flow.ends[:2], flow.ends[2:4], payload=payload)
        for in_one_piece in (20, 200):
            no_offload = struct.pack("=HH6x", 0, in_one_piece)  # struct virtio_net_hdr
            os.write(tap, no_offload + bytes.fromhex("020000000001") + given[6:])
            counted = flows.get(to_it[0])
            assert counted is not None
            assert program.bytes_in(counted) == (len(given) if in_one_piece == 200 else 0)
        wanted = flow.mac * 2 + frame(flow.ends[:2], flow.ends[4:], hops=63, payload=payload)[12:]
        poll_until(lambda: far.recv(1 << 16) == wanted, what="it arrives as it should")


# -- what a link took of all bytes of a packet (CHECKSUM_COMPLETE)


@pytest.mark.parametrize(("target", "ip_bytes"), [("203.0.113.1", 20), ("2001:db8:5::1", 40)], ids=["IPv4", "IPv6"])
def test_a_sum_of_all_bytes_stays_right(fast: Site, target: str, ip_bytes: int) -> None:
    """Many cards hand it up, and a tunnel that has checked what came by it: the kernel complains of a card whose is wrong."""
    if ":" in target and not program.takes_ipv6():
        pytest.skip("this kernel's helper gets sums of IPv6 wrong: IPv6 takes the kernel's way")
    fill_in_sums(fast.outside, "eth0")  # or the tunnel has nothing to check
    for namespace, near, far in ((fast.inside, INSIDE_IP, OUTSIDE_IP), (fast.outside, OUTSIDE_IP, INSIDE_IP)):
        namespace.run("ip", "link", "set", "eth0", "mtu", "1600")
        tunnel = "type", "vxlan", "id", "5", "dstport", "4789", "udpcsum", "local", near, "remote", far
        namespace.run("ip", "link", "add", "vx0", *tunnel)
        last = near.rpartition(".")[2]
        namespace.run("ip", "address", "add", f"203.0.113.{last}/24", "dev", "vx0")
        namespace.run("ip", "address", "add", f"2001:db8:5::{last}/64", "dev", "vx0", "nodad")
        namespace.run("ip", "link", "set", "vx0", "up")
    web = fast.instance("web", PORT)
    found = bpf.HashMap("found", 4, 8, 2)
    program_fd = bpf.load_classifier(sum_is_right(found.fd, ip_bytes + 32))  # acknowledgements, with time stamps
    for key in (WRONG, RIGHT):
        found.put(key, bytes(8))
    with stream(fast, web, target, out=True) as made:
        made.goes_on()
        index = web.namespace.call(lambda: socket.if_nametoindex("eth0"))
        hook = web.namespace.call(lambda: bpf.attach_to_link(index, program_fd))
        poll_until(lambda: any(number(found.get(key)) > 100 for key in (WRONG, RIGHT)), what="some were looked at")
        os.close(hook)
    assert number(found.get(WRONG)) == 0
    os.close(program_fd)
    found.close()
    fast.inside.run("ip", "link", "delete", "vx0")
    fast.inside.run("ip", "link", "set", "eth0", "mtu", "1500")


def number(value: bytes | None) -> int:
    return int.from_bytes(value or b"", sys.byteorder)


WRONG, RIGHT = struct.pack("=I", 0), struct.pack("=I", 1)


def sum_is_right(counts_fd: int, length: int) -> bytes:
    """A program that compares the sum that the kernel has of a packet of this length, if any, with that of its bytes."""
    code = Code()
    context, theirs, bytes_at, verdict_at = 6, 8, -length, -length - 4
    load_bytes, sum_of, update_sum, lookup, not_supported = 26, 28, 40, 1, -524
    code.copy(context, 1)
    code.load(U32, 1, context, 0)
    code.jump_unless(1, 14 + length, "leave")
    code.copy(1, context)
    code.set(2, 0)
    code.call(update_sum)
    code.jump_if(0, not_supported, "leave")
    code.copy(theirs, 0)
    code.copy(1, context)
    code.set(2, 14)
    code.point(3, STACK, bytes_at)
    code.set(4, length)
    code.call(load_bytes)
    code.set(1, 0)
    code.set(2, 0)
    code.point(3, STACK, bytes_at)
    code.set(4, length)
    code.set(5, 0)
    code.call(sum_of)
    for register in (0, theirs):
        for _ in range(3):
            code.copy(1, register)
            code.shift_right(1, 16)
            code.mask(register, 0xFFFF)
            code.add_register(register, 1)
    code.set(1, 0)
    code.jump_unless_alike(0, theirs, "count")
    code.set(1, 1)
    code.label("count")
    code.store(U32, 1, STACK, verdict_at)
    code.point_to_map(1, counts_fd)
    code.point(2, STACK, verdict_at)
    code.call(lookup)
    code.jump_if(0, 0, "leave")
    code.set(1, 1)
    code.add_atomically(1, 0, 0)
    code.label("leave")
    code.leave(-1)
    return bytes(code)


def fill_in_sums(namespace: NetworkNamespace, link: str) -> None:
    """Have the kernel fill in all checksums of what a link sends. ethtool(8), -K LINK tx off"""
    set_tx, ethtool = 0x17, 0x8946  # ETHTOOL_STXCSUM, SIOCETHTOOL
    value = ctypes.create_string_buffer(struct.pack("=II", set_tx, 0))
    with namespace.make_socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, ethtool, struct.pack("16sP16x", link.encode(), ctypes.addressof(value)))

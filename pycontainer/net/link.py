"""An instance's links: a veth pair, its addresses and its routes, made with two sends on the host and one inside.

    host                                                 inside
    pc-v7  same MAC, NOARP, no link-local address  ───   eth0  same MAC, NOARP
    10.64.0.2 dev pc-v7 src 10.64.0.1 (the gateway,      10.64.0.2/32
        an address of the host's lo)                     default via 10.64.0.1 dev eth0 onlink
    fd..::2 dev pc-v7 src fd..::1                        fd..::2/128, default dev eth0
    unreachable 10.64.0.0/16 and fd..::/64: who does not run is not looked for at the uplink

Nothing resolves addresses on such a pair, so there is no ARP, ND, DAD or RA to attack and no neighbour table to fill.
On a bridge the host's end is a port of it instead, ARP stays on and the address has the subnet's length.
An instance with several networks has one default route each, told apart by metric: if eth0 goes, eth1 takes over.
"""

import errno
import re
import socket
from collections.abc import Callable, Collection, Container, Sequence
from functools import lru_cache
from typing import NamedTuple, TypeVar

from pycontainer.linux.namespaces import CLONE_NEWNET, visiting
from pycontainer.net.messages import (
    ACK,
    BRIDGE_INDEX,
    CREATE,
    DEL_ADDRESS,
    DEL_LINK,
    DEL_ROUTE,
    GATEWAY,
    GATEWAY6,
    GROUP,
    INDEX,
    INNER_INDEX,
    INNER_NAME,
    IP,
    IP6,
    MAC,
    METRIC,
    NAME,
    NETNS_FD,
    NEW_ADDRESS,
    NEW_LINK,
    NEW_ROUTE,
    REPLACE,
    SET_LINK,
    SUBNET,
    SUBNET6,
    Marker,
    Netlink,
    Template,
    address,
    link,
    route,
)

T = TypeVar("T")

UP, NOARP = 0x1, 0x80  # IFF_*
SCOPE_GLOBAL, SCOPE_LINK = 0, 253
UNREACHABLE = 7  # RTN_UNREACHABLE
LAST_METRIC = 0xFFFFFFFE  # an administrator's own route comes before
ONLINK = 4  # RTNH_F_ONLINK: the gateway need not lie in a connected subnet
NODAD = 2  # IFA_F_NODAD
LOOPBACK_INDEX = 1
ETH0_INDEX = 2
NO_LINK_LOCAL = ("IFLA_AF_SPEC", {"attrs": [("AF_INET6", {"attrs": [("IFLA_INET6_ADDR_GEN_MODE", 1)]})]})
# Back out of the port it came from: its own published port (br_netfilter).
HAIRPIN = {"attrs": [("IFLA_BRPORT_MODE", 1)]}
LINKS_MAX = 0xBFFF  # of a world; the low half of an index is also a traffic class, and shaping.py needs some more


class Wire(NamedTuple):
    """All that one link needs: names, addresses (`ip6` empty: no IPv6 on this host) and what it hangs on."""

    name: str
    device: str  # eth0, eth1 ... inside
    ip: str
    ip6: str
    gateway: str
    gateway6: str
    subnet: str
    subnet6: str
    bridge_index: int = 0  # 0: routed

    @property
    def metric(self) -> int:
        return 100 + int(self.device.removeprefix("eth"))

    @property
    def mac(self) -> bytes:
        return mac_address(self.ip)


def mac_address(ip: str) -> bytes:
    """Return the locally administered MAC that belongs to an IPv4 address."""
    return b"\x02\x50" + socket.inet_aton(ip)


class Links:
    """Makes and removes links in the namespace that this process is in."""

    def __init__(self, prefix: str, world: str) -> None:
        self._prefix = prefix
        self._base = (0x10 + int(world or "0", 16) % 0x7FE0) << 16  # a block of indexes for each world of the host
        self._count = 0
        self._parked: set[int] = set()
        self._fresh: list[int] = []  # links whose hosts' ends have their multicast route still
        self._netlink: Netlink | None = None

    @property
    def netlink(self) -> Netlink:
        if self._netlink is None:
            self._netlink = Netlink()
        return self._netlink

    def close(self) -> None:
        if self._netlink is not None:
            self._netlink.close()
            self._netlink = None

    def attach(
        self, wire: Wire, netns_fd: int, *, fresh: bool = True, before_up: Callable[[int], None] = lambda index: None
    ) -> int:
        """Make the pair and everything on both ends; return the index of the host's end.

        `fresh` says that the namespace holds nothing but lo, so that the inner index can be chosen beforehand.
        `before_up` is called with the index while nothing can pass yet. What was made is removed again on failure. The
        caller keeps `netns_fd`.
        """
        inner_index = ETH0_INDEX + wire.metric - 100 if fresh else 0
        self.delete_multicast_routes()
        index = self._create_pair(wire, netns_fd, inner_index)
        try:
            before_up(index)
            values = _values(wire, index, inner_index)
            self._lead(wire, values)
            in_namespace(netns_fd, lambda: _configure_inside(wire, values))
        except BaseException:
            self.delete(index)
            raise
        if wire.ip6 and not wire.bridge_index:
            self._fresh.append(index)
        return index

    def delete_multicast_routes(self) -> None:
        """Take from the host's ends that `attach` made the IPv6 route which the kernel gives each: ff00::/8.

        Nothing is sent there, and what an instance sends to a group is for nobody on the host. The routes of all links are
        one list, at whose end the kernel puts each new one: with a thousand of them a start took 0.3 ms of it for that. It
        does so by itself once both ends are up, so they are deleted when the next link is made.
        """
        fresh, self._fresh = self._fresh, []
        for index in fresh:
            self.netlink.send(_multicast_template(), {INDEX: index}, ignore=(errno.ESRCH, errno.ENODEV))

    def route(self, wire: Wire, index: int) -> None:
        """Set the host's end up and lead there what is for the instance; nothing happens if that is so."""
        self._lead(wire, _values(wire, index, 0))

    def _lead(self, wire: Wire, values: dict[Marker, int | bytes]) -> None:
        self.netlink.send(_host_template(bool(wire.ip6), bool(wire.bridge_index)), values, wire.name)

    def detach(self, index: int) -> None:
        """Take a link whose namespace is dying out of service: its routes and its name are free at once.

        The end of the namespace removes it; deleting it here would block for 23 ms. Nothing happens if it is gone.
        """
        values: dict[Marker, int | bytes] = {INDEX: index, NAME: self.dying_name(index).encode()}
        self.netlink.send(_park_template(), values, ignore=(errno.ENODEV,))
        self._parked.add(index)

    def delete_parked(self) -> None:
        """Delete links that `detach` left to the end of their namespaces, and that have not gone with them.

        A connection that was cut off while it sent keeps its namespace for minutes.
        """
        left = [index for index in self._parked if is_there(index)]
        self._parked.clear()
        if left:
            self.delete(*left)

    def parked(self) -> Collection[int]:
        """Return the links that `detach` left to the end of their namespaces."""
        return self._parked

    def delete(self, *indexes: int) -> None:
        """Delete links, and their other ends. Blocks for 23 ms, however many; it does not matter if they are gone."""
        values: dict[Marker, int | bytes] = {GROUP: self._base}
        for index in indexes:
            self.netlink.send(_mark_template(), {**values, INDEX: index}, ignore=(errno.ENODEV,))
        self.netlink.send(_delete_template(), values, ignore=(errno.ENODEV,))

    def dying_name(self, index: int) -> str:
        return f"{self._prefix}x{index & 0xFFFF:x}"

    def next_index(self) -> int:
        """Return an index of this world's block, never the one used last."""
        self._count = self._count % LINKS_MAX + 1
        return self._base + self._count

    def block_numbers(self) -> tuple[int, int]:
        """Return this world's two numbers of blocks of filters, which all worlds of a network namespace share."""
        return self._base >> 15, (self._base >> 15) + 1

    def add_gateway(
        self, gateway: str, gateway6: str, index: int = LOOPBACK_INDEX, lengths: tuple[int, int] = (32, 128)
    ) -> None:
        """Give the host a network's gateway addresses; nothing happens if it has them."""
        values: dict[Marker, int | bytes] = {INDEX: index, IP: socket.inet_aton(gateway), IP6: packed6(gateway6)}
        self.netlink.send(_gateway_template(NEW_ADDRESS, bool(gateway6), *lengths), values)

    def remove_gateway(self, gateway: str, gateway6: str) -> None:
        """Take a routed network's gateway addresses off lo; nothing happens if they are not there."""
        values: dict[Marker, int | bytes] = {
            INDEX: LOOPBACK_INDEX,
            IP: socket.inet_aton(gateway),
            IP6: packed6(gateway6),
        }
        gone = (errno.EADDRNOTAVAIL, errno.ENODEV)
        self.netlink.send(_gateway_template(DEL_ADDRESS, bool(gateway6), 32, 128), values, ignore=gone)

    def close_subnets(self, subnet: str, subnet6: str) -> None:
        """Have nothing that is for a routed network leave by another route than those to its instances."""
        self._subnets(NEW_ROUTE, subnet, subnet6)

    def open_subnets(self, subnet: str, subnet6: str) -> None:
        """Undo that; nothing happens if it is undone."""
        self._subnets(DEL_ROUTE, subnet, subnet6, ignore=(errno.ESRCH,))

    def _subnets(self, kind: int, subnet: str, subnet6: str, *, ignore: Sequence[int] = ()) -> None:
        (ip, _, length), (ip6, _, length6) = subnet.partition("/"), subnet6.partition("/")
        values: dict[Marker, int | bytes] = {SUBNET: socket.inet_aton(ip), SUBNET6: packed6(ip6)}
        self.netlink.send(_subnets_template(kind, int(length), int(length6 or 0)), values, ignore=ignore)

    def leftovers(self, known: Container[int] = ()) -> list[tuple[int, str]]:
        """Return index and name of every link that is named as ours are, but of those that are `known`.

        A dump of all links: not for the fast path.
        """
        ours = re.compile(re.escape(self._prefix) + r"(?:[vb][0-9]+|x[0-9a-f]+)")
        names = ((index, name_of(index)) for index in self.netlink.links() if index not in known)
        return [(index, name) for index, name in names if ours.fullmatch(name)]

    def _create_pair(self, wire: Wire, netns_fd: int, inner_index: int) -> int:
        """Create the pair alone: the messages that follow go by index, which must be ours for certain."""
        while True:
            index = self.next_index()
            values: dict[Marker, int | bytes] = {
                INDEX: index,
                INNER_INDEX: inner_index,
                NAME: wire.name.encode(),
                INNER_NAME: wire.device.encode(),
                MAC: wire.mac,
                NETNS_FD: netns_fd,
                BRIDGE_INDEX: wire.bridge_index,
            }
            try:
                self.netlink.send(_pair_template(bool(wire.bridge_index)), values, wire.name)
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.EBUSY):
                    raise
                if stale := index_of(wire.name):
                    self.detach(stale)
                elif not is_there(index):
                    raise
            else:
                self._parked.discard(index)  # of a link that is gone: another supervisor had counted as we do
                return index


def in_namespace(netns_fd: int, work: Callable[[], T]) -> T:
    """Call `work` with this thread in another network namespace."""
    with visiting(netns_fd, CLONE_NEWNET):
        return work()


def index_of(name: str) -> int:
    """Return the index of link `name`, 0 if there is none."""
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return 0


def packed6(ip6: str) -> bytes:
    """Return the 16 bytes of an IPv6 address, or of `::` for an empty one."""
    return socket.inet_pton(socket.AF_INET6, ip6 or "::")


def warm_up() -> None:
    """Encode the templates of an ordinary attach and detach, which imports pyroute2 (150-200 ms)."""
    _pair_template(False)
    _host_template(True, False)
    _inside_template(True, 0, 0)
    _park_template()
    _multicast_template()
    _gateway_template(NEW_ADDRESS, True, 32, 128)
    _subnets_template(NEW_ROUTE, 16, 64)


def is_there(index: int) -> bool:
    """Tell whether there is a link of this index; none has 0."""
    return bool(name_of(index))


def name_of(index: int) -> str:
    """Return the name of a link, empty if there is none of this index."""
    try:
        return socket.if_indextoname(index)
    except OSError:
        return ""


def _values(wire: Wire, index: int, inner_index: int) -> dict[Marker, int | bytes]:
    return {
        INDEX: index,
        INNER_INDEX: inner_index,
        METRIC: wire.metric,
        BRIDGE_INDEX: wire.bridge_index,
        IP: socket.inet_aton(wire.ip),
        IP6: packed6(wire.ip6),
        GATEWAY: socket.inet_aton(wire.gateway),
        GATEWAY6: packed6(wire.gateway6),
        SUBNET: socket.inet_aton(wire.subnet.partition("/")[0]),
        SUBNET6: packed6(wire.subnet6.partition("/")[0]),
    }


def _configure_inside(wire: Wire, values: dict[Marker, int | bytes]) -> None:
    if not values[INNER_INDEX]:
        values = {**values, INNER_INDEX: socket.if_nametoindex(wire.device)}
    length, length6 = (int(subnet.partition("/")[2] or 0) for subnet in (wire.subnet, wire.subnet6))
    if not wire.bridge_index and wire.device == "eth0":
        length = length6 = 0  # the default route covers the own subnet: no route of its own is needed
    with Netlink() as netlink:
        template = _inside_template(bool(wire.ip6), length, length6, bridged=bool(wire.bridge_index))
        netlink.send(template, values, wire.device)


@lru_cache
def _pair_template(bridged: bool) -> Template:
    flags = {"flags": 0, "change": NOARP} if bridged else {"flags": NOARP, "change": NOARP}
    inner_mac = ("IFLA_ADDRESS", MAC.mark)
    own = [("IFLA_MASTER", BRIDGE_INDEX.mark)] if bridged else [inner_mac]
    # Or a pair has as many as the host has processors, each with files in sysfs; without NAPI nobody uses more than one.
    queues = [("IFLA_NUM_TX_QUEUES", 1), ("IFLA_NUM_RX_QUEUES", 1)]
    peer = {
        "index": INNER_INDEX.mark,
        **flags,
        "attrs": [("IFLA_IFNAME", INNER_NAME.mark), inner_mac, *queues, ("IFLA_NET_NS_FD", NETNS_FD.mark)],
    }
    veth = {"attrs": [("IFLA_INFO_KIND", "veth"), ("IFLA_INFO_DATA", {"attrs": [("VETH_INFO_PEER", peer)]})]}
    attributes = [("IFLA_IFNAME", NAME.mark), *own, ("IFLA_TXQLEN", 1000), *queues, ("IFLA_LINKINFO", veth)]
    pair = link(NEW_LINK, CREATE, {"index": INDEX.mark, **flags}, attributes)
    return Template([("create the veth pair", pair)])


@lru_cache
def _host_template(ipv6: bool, bridged: bool) -> Template:
    up = link(SET_LINK, ACK, {"index": INDEX.mark, "flags": UP, "change": UP}, [])
    messages = [("set the host's end up", up)]
    if (
        ipv6
    ):  # By itself, and before: of a change of what is up and has no carrier yet each IPv6 route of the host is told.
        messages.insert(
            0, ("give it no link-local address", link(SET_LINK, ACK, {"index": INDEX.mark}, [NO_LINK_LOCAL]))
        )
    if bridged:
        port = {"attrs": [("IFLA_INFO_SLAVE_KIND", "bridge"), ("IFLA_INFO_SLAVE_DATA", HAIRPIN)]}
        messages.append(("set up the port", link(NEW_LINK, ACK, {"index": INDEX.mark}, [("IFLA_LINKINFO", port)])))
    else:
        to4 = route(
            NEW_ROUTE,
            REPLACE,
            {"family": socket.AF_INET, "dst_len": 32, "scope": SCOPE_LINK},
            [("RTA_DST", IP.mark), ("RTA_OIF", INDEX.mark), ("RTA_PREFSRC", GATEWAY.mark)],
        )
        messages.append(("add the IPv4 route to the instance", to4))
    if ipv6 and not bridged:
        to6 = route(
            NEW_ROUTE,
            REPLACE,
            {"family": socket.AF_INET6, "dst_len": 128, "scope": SCOPE_GLOBAL},
            [("RTA_DST", IP6.mark), ("RTA_OIF", INDEX.mark), ("RTA_PREFSRC", GATEWAY6.mark)],
        )
        messages.append(("add the IPv6 route to the instance", to6))
    return Template(messages)


@lru_cache
def _inside_template(ipv6: bool, length: int, length6: int, *, bridged: bool = False) -> Template:
    """The instance's end; a `length` other than 0 is that of a connected subnet: a bridge's, or a second network's."""
    index, oif = {"index": INNER_INDEX.mark}, ("RTA_OIF", INNER_INDEX.mark)
    v4, v6 = {"family": socket.AF_INET}, {"family": socket.AF_INET6}
    via, metric = ("RTA_GATEWAY", GATEWAY.mark), ("RTA_PRIORITY", METRIC.mark)
    own4 = {**v4, **index, "prefixlen": length if bridged else 32}
    own6 = {**v6, **index, "prefixlen": length6 if bridged else 128, "flags": NODAD}
    lo_up = link(SET_LINK, ACK, {"index": LOOPBACK_INDEX, "flags": UP, "change": UP}, [])
    up = link(SET_LINK, ACK, {**index, "flags": UP, "change": UP}, [NO_LINK_LOCAL] if ipv6 else [])
    address4 = address(NEW_ADDRESS, REPLACE, own4, [("IFA_LOCAL", IP.mark), ("IFA_ADDRESS", IP.mark)])
    default4 = route(NEW_ROUTE, REPLACE, {**v4, "flags": ONLINK}, [via, oif, metric])
    messages = [
        ("set lo up", lo_up),
        ("add the IPv4 address", address4),
        ("set the instance's end up", up),
        ("add the IPv4 default route", default4),
    ]
    if length and not bridged:
        subnet = {**v4, "dst_len": length, "scope": SCOPE_LINK}
        messages.append(("add the IPv4 subnet", route(NEW_ROUTE, REPLACE, subnet, [("RTA_DST", SUBNET.mark), oif])))
    if ipv6:
        messages.insert(3, ("add the IPv6 address", address(NEW_ADDRESS, REPLACE, own6, [("IFA_ADDRESS", IP6.mark)])))
        via6 = [("RTA_GATEWAY", GATEWAY6.mark)] if bridged else []
        messages.append(("add the IPv6 default route", route(NEW_ROUTE, REPLACE, v6, [*via6, oif, metric])))
    if ipv6 and length6 and not bridged:
        subnet6 = {**v6, "dst_len": length6}
        messages.append(("add the IPv6 subnet", route(NEW_ROUTE, REPLACE, subnet6, [("RTA_DST", SUBNET6.mark), oif])))
    return Template(messages)


@lru_cache
def _park_template() -> Template:
    down = link(SET_LINK, ACK, {"index": INDEX.mark, "flags": 0, "change": UP}, [])
    rename = link(SET_LINK, ACK, {"index": INDEX.mark}, [("IFLA_IFNAME", NAME.mark)])
    return Template([("set the link down", down), ("rename the link", rename)])


@lru_cache
def _multicast_template() -> Template:
    fields = {"family": socket.AF_INET6, "dst_len": 8, "table": 255, "type": 0, "proto": 0}
    message = route(DEL_ROUTE, ACK, fields, [("RTA_DST", "ff00::"), ("RTA_OIF", INDEX.mark)])
    return Template([("delete the multicast route", message)])


@lru_cache
def _mark_template() -> Template:
    return Template([("mark the link", link(SET_LINK, ACK, {"index": INDEX.mark}, [("IFLA_GROUP", GROUP.mark)]))])


@lru_cache
def _delete_template() -> Template:
    return Template([("delete the links", link(DEL_LINK, ACK, {}, [("IFLA_GROUP", GROUP.mark)]))])


@lru_cache
def _gateway_template(kind: int, ipv6: bool, length: int, length6: int) -> Template:
    flags = REPLACE if kind == NEW_ADDRESS else ACK
    index = {"index": INDEX.mark}
    attributes4 = [("IFA_LOCAL", IP.mark), ("IFA_ADDRESS", IP.mark)]
    gateway4 = address(kind, flags, {"family": socket.AF_INET, "prefixlen": length, **index}, attributes4)
    messages = [("set the IPv4 gateway address", gateway4)]
    if ipv6:
        fields6 = {"family": socket.AF_INET6, "prefixlen": length6, "flags": NODAD, **index}
        messages.append(("set the IPv6 gateway address", address(kind, flags, fields6, [("IFA_ADDRESS", IP6.mark)])))
    return Template(messages)


@lru_cache
def _subnets_template(kind: int, length: int, length6: int) -> Template:
    """Without IPv6 `length6` is 0."""
    flags = REPLACE if kind == NEW_ROUTE else ACK
    metric = ("RTA_PRIORITY", LAST_METRIC)
    fields4 = {"family": socket.AF_INET, "dst_len": length, "type": UNREACHABLE}
    messages = [("close the IPv4 subnet", route(kind, flags, fields4, [("RTA_DST", SUBNET.mark), metric]))]
    if length6:
        fields6 = {"family": socket.AF_INET6, "dst_len": length6, "type": UNREACHABLE}
        messages.append(("close the IPv6 subnet", route(kind, flags, fields6, [("RTA_DST", SUBNET6.mark), metric])))
    return Template(messages)

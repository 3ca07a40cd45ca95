"""What a host may have that decides of each packet: where there is any of it, none is handed over.

    rules of iptables-legacy          nobody is told when they change; those of nftables, and of iptables-nft, are watched
    policies of IPsec                 what is for a tunnel must not leave beside it
    rules at the egress of links      they come behind what is looked at to know that a packet is let pass
    traffic control                   our caps on a link, too: of what comes in it comes behind the program, and what leaves
                                      for an instance goes past it
    other programs there              they may drop what they like; at the inner end as well
    another way                       what routes say of either direction: another link, none, or one that takes more than the
                                      address of a gateway (a tunnel of the route's own, a realm for traffic control)
    a smaller MTU                     who sends too much is told so by the kernel
    an uplink without Ethernet        tunnels: the program reads frames
    an instance at the other end      what it sends is counted, too

Source: rtnetlink(7); kernel include/uapi/linux/xfrm.h.
"""

import os
import socket
import struct
import sys
from typing import NamedTuple

from pycontainer.net import sysctl, tc
from pycontainer.net.messages import DUMP, LINK_INFO, NETLINK_NETFILTER, Netlink, attribute, get_link, read_attributes

_LEGACY = ("/proc/net/ip_tables_names", "/proc/net/ip6_tables_names")
_FORWARDING: dict[int, str] = {socket.AF_INET: "ipv4/ip_forward", socket.AF_INET6: "ipv6/conf/all/forwarding"}
_REQUEST = 1
_NLMSG = struct.Struct("=IHHII")
_NETLINK_XFRM, _GET_SPD_INFO, _SPD_INFO = 6, 0x25, 1  # XFRM_MSG_GETSPDINFO, XFRMA_SPD_INFO
_SPD = struct.Struct("=III")  # policies for what comes in, goes out, is forwarded
_GET_CHAIN = 10 << 8 | 4  # NFNL_SUBSYS_NFTABLES, NFT_MSG_GETCHAIN
_NFGENMSG = struct.Struct("!BBH")  # family, version, resource
_FAMILY_OF_LINKS = 5  # NFPROTO_NETDEV
_HOOK, _HOOK_NUMBER, _EGRESS = 4, 1, 1  # NFTA_CHAIN_HOOK, NFTA_HOOK_HOOKNUM, NF_NETDEV_EGRESS
_IFNAME, _MTU, _DISCIPLINE = 3, 4, 6  # IFLA_*
_LINK_KIND = struct.Struct("=BxH")  # of ifinfomsg: family, type
_ETHERNET = 1  # ARPHRD_ETHER
_GET_ROUTE = 26  # RTM_GETROUTE
_RTMSG = struct.Struct("=BBBBBBBBI")  # family, bits of destination and source; ...
_DST, _SRC, _IIF, _OIF, _GATEWAY, _METRICS, _VIA = 1, 2, 3, 4, 5, 8, 18  # RTA_*
_IP_PROTO, _SOURCE_PORT, _DESTINATION_PORT = 27, 28, 29  # RTA_IP_PROTO, RTA_SPORT, RTA_DPORT
_MORE = {11, 21, 22}  # RTA_FLOW, RTA_ENCAP_TYPE, RTA_ENCAP: of the route that a packet bears, and ours bears none
_METRIC_MTU = 2  # RTAX_MTU


def obstacle() -> str:
    """Say what of the whole host stands against handing packets over, or that it cannot be asked; empty if nothing does."""
    for path in _LEGACY:
        try:
            with open(path, encoding="ascii") as file:
                if file.read().strip():
                    return "it has rules of iptables-legacy, whose changes nobody is told of"
        except OSError:  # there are none
            pass
    try:
        if has_egress_rules():
            return "it has rules of nftables at the egress of links, which a packet that is shown has yet to pass"
        if has_ipsec():
            return "it has policies of IPsec"
    except OSError as error:
        return f"what it has is not known: {error.strerror}"
    return ""


def has_egress_rules() -> bool:
    """Tell whether nftables has a chain at the egress of any link, in this network namespace."""
    question = _message(_GET_CHAIN, _NFGENMSG.pack(_FAMILY_OF_LINKS, 0, 0), DUMP)
    with Netlink(NETLINK_NETFILTER) as netlink:
        for answer in netlink.answers(question, "list chains of nftables"):
            chain = read_attributes(answer[_NLMSG.size + _NFGENMSG.size :])
            number = read_attributes(chain.get(_HOOK, b"")).get(_HOOK_NUMBER, b"")
            if int.from_bytes(number, "big") == _EGRESS:
                return True
    return False


def has_ipsec() -> bool:
    """Tell whether this network namespace has any policy of IPsec."""
    try:
        netlink = Netlink(_NETLINK_XFRM)
    except OSError:  # the kernel was built without
        return False
    with netlink:
        answer = netlink.ask("look for IPsec", _NLMSG.pack(20, _GET_SPD_INFO, _REQUEST, 1, 0) + bytes(4))
    return any(_SPD.unpack_from(read_attributes(answer[20:])[_SPD_INFO]))


def forwards(family: int) -> bool:
    return sysctl.read(_FORWARDING[family]) == "1"


def is_controlled(netlink: Netlink, index: int) -> bool:
    """Tell whether there is traffic control of what comes in on a link, or of what leaves by its side (clsact)."""
    return bool(netlink.find(tc.get_clsact(index)))


class Link(NamedTuple):
    name: str
    is_ethernet: bool
    mtu: int
    has_queue: bool  # traffic control of what leaves by it


def look_at(netlink: Netlink, index: int) -> Link:
    """Return what a link is. OSError(ENODEV) if it is gone."""
    answer = netlink.ask(f"look at link {index}", get_link(index))
    _, kind = _LINK_KIND.unpack_from(answer, _NLMSG.size)
    found = read_attributes(answer[LINK_INFO:])
    (mtu,) = struct.unpack("=I", found[_MTU])
    has_queue = found.get(_DISCIPLINE, b"").rstrip(b"\0") not in (b"", b"noqueue")
    return Link(os.fsdecode(found[_IFNAME].rstrip(b"\0")), kind == _ETHERNET, mtu, has_queue)


class Way(NamedTuple):
    """Where a route leads: by which link, to which gateway (empty: none), which may have an address of the other family."""

    link: int
    gateway: bytes
    is_plain: bool  # it asks for nothing else: it has no MTU of its own, no tunnel, no realm


def way(netlink: Netlink, family: int, source: tuple[bytes, int], destination: tuple[bytes, int], came_by: int) -> Way:
    """Return where a TCP packet that came by a link is sent, of which rules may know the ports. OSError if nowhere."""
    bits = 8 * len(source[0])
    question = (
        _RTMSG.pack(family, bits, bits, 0, 0, 0, 0, 0, 0)
        + attribute(_DST, destination[0])
        + attribute(_SRC, source[0])
        + attribute(_IIF, struct.pack("=I", came_by))
        + attribute(_IP_PROTO, bytes([socket.IPPROTO_TCP]))
        + attribute(_SOURCE_PORT, struct.pack(">H", source[1]))
        + attribute(_DESTINATION_PORT, struct.pack(">H", destination[1]))
    )
    answer = netlink.ask("look for a route", _message(_GET_ROUTE, question))
    found = read_attributes(answer[_NLMSG.size + _RTMSG.size :])
    has_mtu = any(read_attributes(found.get(_METRICS, b"")).get(_METRIC_MTU, b""))
    gateway = found.get(_GATEWAY, b"") or found.get(_VIA, b"")[2:]  # struct rtvia: family, address
    is_plain = not (has_mtu or _MORE & found.keys())
    return Way(int.from_bytes(found.get(_OIF, b""), sys.byteorder), gateway, is_plain)


def _message(kind: int, body: bytes, flags: int = _REQUEST) -> bytes:
    return _NLMSG.pack(_NLMSG.size + len(body), kind, flags, 1, 0) + body

"""`--driver bridge`: a shared segment for those who need one, a Linux bridge with the gateway addresses on it.

    host                                     inside
    pc-b3  10.65.0.1/16  fd..::1/64
      └── pc-v8  a port, no addresses  ───   eth0  10.65.0.2/16  fd..::2/64  default via 10.65.0.1 and fd..::1

ARP and neighbour discovery work here as on any segment, without their lies: each port may only say what its instance is
(the bridge table in firewall.py), to the host and to its neighbours. What it says to all, all hear: one bridge holds the
containers of one tenant. A bridge ends at 1023 ports.
"""

import struct
from functools import lru_cache

from pycontainer.net import sysctl
from pycontainer.net.addresses import Network
from pycontainer.net.link import NO_LINK_LOCAL, UP, Links, index_of
from pycontainer.net.messages import ACK, CREATE, INDEX, MAC, NAME, NEW_LINK, SET_LINK, Template, attribute, link

_LINK_INFO, _INFO_KIND, _INFO_DATA, _MULTI_BOOLOPT = 18, 1, 2, 46  # IFLA_LINKINFO, IFLA_INFO_*, IFLA_BR_MULTI_BOOLOPT
_NO_LL_LEARN = 1 << 0  # BR_BOOLOPT_NO_LL_LEARN


def bridge_name(prefix: str, network: Network) -> str:
    return f"{prefix}b{network.number}"


def ensure_bridge(links: Links, prefix: str, network: Network) -> int:
    """Return the index of the network's bridge, which is made if it is not there."""
    name = bridge_name(prefix, network)
    index = index_of(name)
    if index:
        return index
    mac = b"\x02\x51\x00\x00" + network.number.to_bytes(2, "big")
    links.netlink.send(_create_template(), {NAME: name.encode(), MAC: mac}, name)
    index = index_of(name)
    try:
        sysctl.guard_link(name, ipv6=bool(network.gateway6) and sysctl.has_ipv6(), is_bridge=True)
        links.netlink.run(
            [("have the bridge learn from nothing that no filter sees", _no_link_local_learning(index))], name
        )
        links.netlink.send(_up_template(bool(network.gateway6)), {INDEX: index}, name)
        add_addresses(links, index, network)
    except BaseException:
        links.delete(index)
        raise
    return index


def add_addresses(links: Links, index: int, network: Network) -> None:
    """Give the bridge the network's gateway addresses; nothing happens if it has them."""
    lengths = (int(network.subnet.partition("/")[2]), int(network.subnet6.partition("/")[2] or 0))
    links.add_gateway(network.gateway, network.gateway6, index, lengths)


@lru_cache
def _create_template() -> Template:
    kind = {"attrs": [("IFLA_INFO_KIND", "bridge"), ("IFLA_INFO_DATA", {"attrs": [("IFLA_BR_MCAST_SNOOPING", 0)]})]}
    attributes = [("IFLA_IFNAME", NAME.mark), ("IFLA_ADDRESS", MAC.mark), ("IFLA_LINKINFO", kind)]
    return Template([("create the bridge", link(NEW_LINK, CREATE, {}, attributes))])


def _no_link_local_learning(index: int) -> bytes:
    """Have a bridge learn no MAC from frames to 01:80:c2:00:00:0X: those to :0e (LLDP) pass by every netfilter hook.

    Else one such frame with a neighbour's MAC as source brings his traffic to the sender. Linux 4.20.
    """
    options = attribute(_MULTI_BOOLOPT, struct.pack("=II", _NO_LL_LEARN, _NO_LL_LEARN))
    body = struct.pack("=BxHiII", 0, 0, index, 0, 0)  # ifinfomsg
    body += attribute(_LINK_INFO, attribute(_INFO_KIND, b"bridge\0") + attribute(_INFO_DATA, options))
    return struct.pack("=IHHII", 16 + len(body), NEW_LINK, ACK, 0, 0) + body


@lru_cache
def _up_template(ipv6: bool) -> Template:
    up = link(SET_LINK, ACK, {"index": INDEX.mark, "flags": UP, "change": UP}, [NO_LINK_LOCAL] if ipv6 else [])
    return Template([("set the bridge up", up)])

"""`--driver bridge`: a shared segment for those who need one, a Linux bridge with the gateway addresses on it.

    host                                     inside
    pc-b3  10.65.0.1/16  fd..::1/64
      └── pc-v8  a port, no addresses  ───   eth0  10.65.0.2/16  fd..::2/64  default via 10.65.0.1 and fd..::1

ARP and neighbour discovery work here as on any segment, and so do their lies: what goes through the host is checked for
its source address like that of every instance, what stays on the segment is not. A bridge ends at 1023 ports.
"""

from functools import lru_cache

from pycontainer.net.addresses import Network
from pycontainer.net.link import NO_LINK_LOCAL, UP, Links, index_of
from pycontainer.net.messages import ACK, CREATE, INDEX, MAC, NAME, NEW_LINK, SET_LINK, Template, link


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
        links.netlink.send(_up_template(bool(network.gateway6)), {INDEX: index}, name)
        lengths = (int(network.subnet.partition("/")[2]), int(network.subnet6.partition("/")[2] or 0))
        links.add_gateway(network.gateway, network.gateway6, index, lengths)
    except BaseException:
        links.delete(index)
        raise
    return index


@lru_cache
def _create_template() -> Template:
    kind = {"attrs": [("IFLA_INFO_KIND", "bridge"), ("IFLA_INFO_DATA", {"attrs": [("IFLA_BR_MCAST_SNOOPING", 0)]})]}
    attributes = [("IFLA_IFNAME", NAME.mark), ("IFLA_ADDRESS", MAC.mark), ("IFLA_LINKINFO", kind)]
    return Template([("create the bridge", link(NEW_LINK, CREATE, {}, attributes))])


@lru_cache
def _up_template(ipv6: bool) -> Template:
    up = link(SET_LINK, ACK, {"index": INDEX.mark, "flags": UP, "change": UP}, [NO_LINK_LOCAL] if ipv6 else [])
    return Template([("set the bridge up", up)])

"""The end of a link that is inside an instance, asked for from outside.

The fast path hands frames to this end, past ours (fastpath/program.py): they are counted here alone, beside those that came
by ours. Whatever root inside does to it, its counters stay; only with the link they end.
Source: rtnetlink(7); kernel include/uapi/linux/if_link.h (IFLA_LINK_NETNSID, IFLA_TARGET_NETNSID, struct rtnl_link_stats64).
"""

import errno
import struct
import sys
from typing import NamedTuple

from pycontainer.net.messages import LINK_INFO, Netlink, attribute, get_link, read_attributes

_LINK, _STATS_64, _LINK_NAMESPACE, _XDP, _TARGET_NAMESPACE = 5, 23, 37, 43, 46  # IFLA_*
_XDP_ATTACHED = 2  # IFLA_XDP_ATTACHED: 0 if nothing is
_STATISTICS = struct.Struct("=QQQQ")  # packets received and sent, bytes received and sent; ...


class InnerEnd(NamedTuple):
    """What came in there, and whether a program (XDP) sees it first."""

    received_packets: int
    received_bytes: int
    has_program: bool


def inner_end(netlink: Netlink, index: int) -> InnerEnd:
    """Look at the other end of the link `index` of ours. OSError if there is none, or it moves or goes just now."""
    outer = read_attributes(netlink.ask(f"look at link {index}", get_link(index))[LINK_INFO:])
    if not any(inner := outer.get(_LINK, b"")):
        raise OSError(errno.ENODEV, f"link {index} has no other end")
    where = attribute(_TARGET_NAMESPACE, outer[_LINK_NAMESPACE]) if _LINK_NAMESPACE in outer else b""
    question = get_link(int.from_bytes(inner, sys.byteorder), where, with_statistics=True)
    found = read_attributes(netlink.ask(f"look at the inner end of link {index}", question)[LINK_INFO:])
    packets, _, received, _ = _STATISTICS.unpack_from(found[_STATS_64])
    attached = read_attributes(found.get(_XDP, b"")).get(_XDP_ATTACHED, b"")
    return InnerEnd(packets, received, any(attached))

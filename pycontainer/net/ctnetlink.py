"""Connection tracking by netlink: its messages, and one TCP connection as the kernel's table has it.

    [ tuple of who began it, tuple of the answers, status, timeout, what TCP is at, id, ... ]
    tuple = [ addresses, [ protocol, ports ] ]

Source: kernel include/uapi/linux/netfilter/nfnetlink_conntrack.h, nf_conntrack_common.h, nf_conntrack_tcp.h.
"""

import errno
import socket
import struct
from typing import NamedTuple

from pycontainer.net.messages import ACK, Netlink, attribute, read_attributes

NEW, GET, DELETE = 0x100, 0x101, 0x102  # NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_*
HEADER = struct.Struct("=IHHIIBBH")  # nlmsghdr, nfgenmsg
NESTED = 0x8000
TUPLE_ORIG, TUPLE_REPLY, ID, ZONE, FILTER = 1, 2, 12, 18, 25  # CTA_*
_STATUS, _PROTOINFO, _HELP, _TIMEOUT = 3, 4, 5, 7
TUPLE_IP, TUPLE_PROTO = 1, 2
PROTO_NUM, PROTO_SRC_PORT, PROTO_DST_PORT = 1, 2, 3
SRC: dict[int, int] = {
    socket.AF_INET: 1,
    socket.AF_INET6: 3,
}  # CTA_IP_V4_SRC, CTA_IP_V6_SRC; the destination's are one more
_PROTOINFO_TCP = 1
_TCP_STATE, _TCP_FLAGS_ORIGINAL, _TCP_FLAGS_REPLY = 1, 4, 5
_ESTABLISHED = 3
_BE_LIBERAL, _MAXACK_SET = 0x08, 0x20  # IP_CT_TCP_FLAG_*
_ASSURED, _SRC_NAT, _DST_NAT, _SEQ_ADJUST, _OFFLOAD = 0x04, 0x10, 0x20, 0x40, 0x4000  # IPS_*
_TELLING = _ASSURED | _SRC_NAT | _DST_NAT | _SEQ_ADJUST | _OFFLOAD
_REQUEST = 0x1


class Ends(NamedTuple):
    """Who talks by a published port: packed addresses of one family, ports."""

    client: bytes
    client_port: int
    host: bytes
    host_port: int
    instance: bytes
    instance_port: int

    @property
    def begun(self) -> tuple[bytes, int, bytes, int]:
        """Who began it, and with whom."""
        return self[:4]


class Connection(NamedTuple):
    """A TCP connection to a published port, and what the kernel calls it."""

    family: int
    ends: Ends
    id: bytes
    timeout_seconds: int
    is_plain: bool  # established, translated by its destination and by nothing else, followed by no helper or flowtable
    orig: bytes  # the attribute that names it


def packed(address: str) -> bytes:
    """Return an address of either family as the kernel has it."""
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def message(kind: int, flags: int, family: int, attributes: bytes) -> bytes:
    return HEADER.pack(HEADER.size + len(attributes), kind, flags, 1, 0, family, 0, 0) + attributes


def require(netlink: Netlink) -> None:
    """Ask for a connection that cannot be: OSError if the kernel tells of none (CONFIG_NF_CT_NETLINK)."""
    nobody = bytes(4), 0
    find_begun(netlink, socket.AF_INET, *nobody, *nobody)


def find_begun(
    netlink: Netlink, family: int, client: bytes, client_port: int, host: bytes, host_port: int
) -> Connection | None:
    """Ask for the connection that a client began with the host; None if there is none."""
    return _find(netlink, family, _tuple(TUPLE_ORIG, family, (client, client_port), (host, host_port)))


def find_answered(
    netlink: Netlink, family: int, client: bytes, client_port: int, instance: bytes, instance_port: int
) -> Connection | None:
    """Ask for the connection in which an instance answers a client; None if there is none."""
    return _find(netlink, family, _tuple(TUPLE_REPLY, family, (instance, instance_port), (client, client_port)))


def _find(netlink: Netlink, family: int, wanted: bytes) -> Connection | None:
    try:
        answer = netlink.ask("look for a connection", message(GET, _REQUEST, family, wanted))
    except FileNotFoundError:
        return None
    found = read_attributes(answer[HEADER.size :])
    client, host = _ends(family, found[TUPLE_ORIG])
    instance, answered = _ends(family, found[TUPLE_REPLY])
    tcp = read_attributes(read_attributes(found.get(_PROTOINFO, b"")).get(_PROTOINFO_TCP, b""))
    is_plain = (
        int.from_bytes(found[_STATUS], "big") & _TELLING == _ASSURED | _DST_NAT
        and _TIMEOUT in found
        and _HELP not in found
        and answered == client
        and tcp.get(_TCP_STATE) == bytes([_ESTABLISHED])
    )
    timeout_seconds = int.from_bytes(found.get(_TIMEOUT, b""), "big")
    orig = attribute(TUPLE_ORIG | NESTED, found[TUPLE_ORIG])
    return Connection(family, Ends(*client, *host, *instance), found[ID], timeout_seconds, is_plain, orig)


def be_liberal(netlink: Netlink, connection: Connection) -> bool:
    """Have the kernel not take for a forgery what follows packets that it has not seen; False if the connection is gone.

    An RST is compared with the last acknowledgement that was seen, however liberal it is: that is forgotten, too.
    """
    flags = bytes([_BE_LIBERAL, _BE_LIBERAL | _MAXACK_SET])  # struct nf_ct_tcp_flags: flags, which of them
    tcp = attribute(_TCP_FLAGS_ORIGINAL, flags) + attribute(_TCP_FLAGS_REPLY, flags)
    return _change(netlink, connection, attribute(_PROTOINFO | NESTED, attribute(_PROTOINFO_TCP | NESTED, tcp)))


def expire(netlink: Netlink, connection: Connection, seconds: int) -> bool:
    """Have the kernel forget it if no packet comes for so long; False if the connection is gone."""
    return _change(netlink, connection, attribute(_TIMEOUT, struct.pack(">I", seconds)))


def _change(netlink: Netlink, connection: Connection, attributes: bytes) -> bool:
    try:
        netlink.run([("change a connection", message(NEW, ACK, connection.family, connection.orig + attributes))])
    except OSError as error:
        if error.errno == errno.ENOENT:
            return False
        raise
    return True


def _ends(family: int, data: bytes) -> tuple[tuple[bytes, int], tuple[bytes, int]]:
    """Return address and port of source and destination of a tuple."""
    found = read_attributes(data)
    addresses, ports = read_attributes(found[TUPLE_IP]), read_attributes(found[TUPLE_PROTO])
    return (
        (addresses[SRC[family]], int.from_bytes(ports[PROTO_SRC_PORT], "big")),
        (addresses[SRC[family] + 1], int.from_bytes(ports[PROTO_DST_PORT], "big")),
    )


def _tuple(kind: int, family: int, source: tuple[bytes, int], destination: tuple[bytes, int]) -> bytes:
    addresses = attribute(SRC[family], source[0]) + attribute(SRC[family] + 1, destination[0])
    protocol = attribute(PROTO_NUM, bytes([socket.IPPROTO_TCP]))
    protocol += attribute(PROTO_SRC_PORT, struct.pack(">H", source[1]))
    protocol += attribute(PROTO_DST_PORT, struct.pack(">H", destination[1]))
    return attribute(kind | NESTED, attribute(TUPLE_IP | NESTED, addresses) + attribute(TUPLE_PROTO | NESTED, protocol))

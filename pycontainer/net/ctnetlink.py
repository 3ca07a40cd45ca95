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
_BE_LIBERAL = 0x08
_ASSURED, _SRC_NAT, _DST_NAT, _SEQ_ADJUST = 0x04, 0x10, 0x20, 0x40  # IPS_*
_REQUEST = 0x1


class Connection(NamedTuple):
    """A TCP connection to a published port: packed addresses, ports, and what the kernel calls it."""

    client: bytes
    client_port: int
    host: bytes
    host_port: int
    id: bytes
    timeout_seconds: int
    is_plain: bool  # established, translated by its destination and by nothing else, followed by no helper
    orig: bytes  # the attribute that names it


def message(kind: int, flags: int, family: int, attributes: bytes) -> bytes:
    return HEADER.pack(HEADER.size + len(attributes), kind, flags, 1, 0, family, 0, 0) + attributes


def find(
    netlink: Netlink, family: int, instance: bytes, instance_port: int, client: bytes, client_port: int
) -> Connection | None:
    """Ask for the connection in which an instance answers a client; None if there is none."""
    wanted = _tuple(TUPLE_REPLY, family, (instance, instance_port), (client, client_port))
    try:
        answer = netlink.ask("look for a connection", message(GET, _REQUEST, family, wanted))
    except FileNotFoundError:
        return None
    found = read_attributes(answer[HEADER.size :])
    orig = read_attributes(found[TUPLE_ORIG])
    addresses, ports = read_attributes(orig[TUPLE_IP]), read_attributes(orig[TUPLE_PROTO])
    tcp = read_attributes(read_attributes(found.get(_PROTOINFO, b"")).get(_PROTOINFO_TCP, b""))
    status = int.from_bytes(found[_STATUS], "big")
    is_plain = (
        status & (_ASSURED | _SRC_NAT | _DST_NAT | _SEQ_ADJUST) == _ASSURED | _DST_NAT
        and _HELP not in found
        and tcp.get(_TCP_STATE) == bytes([_ESTABLISHED])
    )
    return Connection(
        addresses[SRC[family]],
        int.from_bytes(ports[PROTO_SRC_PORT], "big"),
        addresses[SRC[family] + 1],
        int.from_bytes(ports[PROTO_DST_PORT], "big"),
        found[ID],
        int.from_bytes(found.get(_TIMEOUT, b""), "big"),
        is_plain,
        attribute(TUPLE_ORIG | NESTED, found[TUPLE_ORIG]),
    )


def be_liberal(netlink: Netlink, family: int, connection: Connection) -> bool:
    """Have the kernel not take for a forgery what follows packets that it has not seen; False if the connection is gone."""
    flags = bytes([_BE_LIBERAL, _BE_LIBERAL])  # struct nf_ct_tcp_flags: flags, which of them
    tcp = attribute(_TCP_FLAGS_ORIGINAL, flags) + attribute(_TCP_FLAGS_REPLY, flags)
    info = attribute(_PROTOINFO | NESTED, attribute(_PROTOINFO_TCP | NESTED, tcp))
    return _change(netlink, family, connection, info)


def extend(netlink: Netlink, family: int, connection: Connection) -> bool:
    """Have the kernel wait for another packet as long as it did when it was asked; False if the connection is gone."""
    return _change(netlink, family, connection, attribute(_TIMEOUT, struct.pack(">I", connection.timeout_seconds)))


def _change(netlink: Netlink, family: int, connection: Connection, attributes: bytes) -> bool:
    try:
        netlink.run([("change a connection", message(NEW, ACK, family, connection.orig + attributes))])
    except OSError as error:
        if error.errno == errno.ENOENT:
            return False
        raise
    return True


def _tuple(kind: int, family: int, source: tuple[bytes, int], destination: tuple[bytes, int]) -> bytes:
    addresses = attribute(SRC[family], source[0]) + attribute(SRC[family] + 1, destination[0])
    protocol = attribute(PROTO_NUM, bytes([socket.IPPROTO_TCP]))
    protocol += attribute(PROTO_SRC_PORT, struct.pack(">H", source[1]))
    protocol += attribute(PROTO_DST_PORT, struct.pack(">H", destination[1]))
    return attribute(kind | NESTED, attribute(TUPLE_IP | NESTED, addresses) + attribute(TUPLE_PROTO | NESTED, protocol))

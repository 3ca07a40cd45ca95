"""Packets as the firewall shows them when all its rules have let them pass: one in 32 (nft: log group).

    [ link it came by, link it leaves by, mark, its first bytes ]

They are translated by then: to an instance they have its address, and from it the host's.
Source: kernel include/uapi/linux/netfilter/nfnetlink_log.h.
"""

import errno
import os
import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

from pycontainer.net.messages import ACK, NETLINK_NETFILTER, attribute, read_attributes

HEADER_BYTES = 64  # of IP and TCP, which is what is wanted of a packet
_PACKET, _CONFIG = 0x400, 0x401  # NFNL_SUBSYS_ULOG, NFULNL_MSG_*
_HEADER = struct.Struct("=IHHIIBBH")  # nlmsghdr, nfgenmsg
_CMD, _MODE, _QTHRESH = 1, 2, 5  # NFULA_CFG_*
_CMD_BIND, _COPY_PACKET = 1, 2
_MARK, _CAME_BY, _LEAVES_BY, _PAYLOAD = 2, 4, 5, 9  # NFULA_MARK, _IFINDEX_INDEV, _IFINDEX_OUTDEV, _PAYLOAD
_ERROR = 2  # NLMSG_ERROR
_GROUPS = range(28700, 28764)  # 16 bits; others like to begin with 0


class Sample(NamedTuple):
    """A packet that leaves the host; addresses are packed, links by their indexes."""

    family: int
    source: bytes
    source_port: int
    destination: bytes
    destination_port: int
    came_by: int
    leaves_by: int
    mark: int

    @property
    def to_it(self) -> tuple[int, bytes, int, bytes, int]:
        """Family, client and instance, of one that is for an instance."""
        return self[:5]

    @property
    def from_it(self) -> tuple[int, bytes, int, bytes, int]:
        """Family, client and host, of one that is from an instance."""
        return self.family, *self[3:5], *self[1:3]


class Samples:
    """Listens to a group that nobody else has, in the network namespace in which it is made."""

    def __init__(self) -> None:
        """OSError if the kernel shows no packets (CONFIG_NETFILTER_NETLINK_LOG)."""
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
        try:
            self._socket.bind((0, 0))
            self.group = self._bind()
        except BaseException:
            self._socket.close()
            raise
        self._socket.setblocking(False)

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def read(self) -> list[Sample]:
        """Return what has come; what was too much for the socket (ENOBUFS) is lost, and there will be more."""
        found: list[Sample] = []
        while True:
            try:
                data = self._socket.recv(1 << 16)
            except BlockingIOError:
                return found
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                continue
            found += list(_samples(data))

    def _bind(self) -> int:
        for group in _GROUPS:
            mode = attribute(_MODE, struct.pack(">IBx", HEADER_BYTES, _COPY_PACKET))
            at_once = attribute(_QTHRESH, struct.pack(">I", 1))
            code = self._configure(group, attribute(_CMD, bytes([_CMD_BIND]))) or self._configure(group, mode + at_once)
            if code == 0:
                return group
            if code != errno.EBUSY:
                raise OSError(code, f"listen to what the firewall shows: {os.strerror(code)}")
        raise OSError(errno.EBUSY, "listen to what the firewall shows: all groups are taken")

    def _configure(self, group: int, attributes: bytes) -> int:
        """Return the kernel's answer, an errno."""
        size = _HEADER.size + len(attributes)
        self._socket.send(_HEADER.pack(size, _CONFIG, ACK, 1, 0, 0, 0, socket.htons(group)) + attributes)
        while True:
            reply = self._socket.recv(1 << 16)
            if _HEADER.unpack_from(reply)[1] == _ERROR:
                return int(-struct.unpack_from("=i", reply, 16)[0])


def _samples(data: bytes) -> Iterator[Sample]:
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, *_ = _HEADER.unpack_from(data, offset)
        if kind == _PACKET:
            sample = _sample(read_attributes(data[offset + _HEADER.size : offset + length]))
            if sample is not None:
                yield sample
        offset += max(16, (length + 3) & ~3)


def _sample(found: dict[int, bytes]) -> Sample | None:
    """Return None for what the fast path has no way for: options of IPv4, extension headers of IPv6, no TCP."""
    packet = found.get(_PAYLOAD, b"")
    if packet[:1] == b"\x45" and len(packet) >= 24 and packet[9] == socket.IPPROTO_TCP:
        family, addresses, ports = socket.AF_INET, packet[12:20], packet[20:24]
    elif packet[:1] and packet[0] >> 4 == 6 and len(packet) >= 44 and packet[6] == socket.IPPROTO_TCP:
        family, addresses, ports = socket.AF_INET6, packet[8:40], packet[40:44]
    else:
        return None
    half = len(addresses) // 2
    source_port, destination_port = struct.unpack(">HH", ports)
    ends = addresses[:half], source_port, addresses[half:], destination_port
    return Sample(family, *ends, *(int.from_bytes(found.get(key, b""), "big") for key in (_CAME_BY, _LEAVES_BY, _MARK)))

"""The program that hangs at both links of a connection that is handed over, and what it finds of it in its map.

For each frame: if it is TCP in IPv4 without options, or in IPv6 without extension headers, is for this host, whole, its
headers in one piece, not at the end of its life, and its connection is in the map, then

    to the instance       destination address and port become the instance's, and it is at the link's inner end at once
    from the instance     source address and port become the host's, and it leaves by the uplink, to the next hop

with one hop less to live, its checksums adjusted. All else goes on as if there were no program. SYN, FIN and RST are for
connection tracking to see: they take the kernel's way, and with them all that follows in that direction, since they
delete the entry. What leaves by the uplink meets traffic control there, and is counted. What goes to the inner end is
counted there (innerend.py), but only from Linux 6.7 on; an older one has it leave by the host's end, which counts.

A checksum that the hardware is to fill in holds that of addresses and lengths by now (CHECKSUM_PARTIAL); the kernel's helper
knows, so it gets the difference that the addresses make, and then that of the ports. A sum that the hardware took of all
bytes (CHECKSUM_COMPLETE) stays what it is, as each change has a sum in the frame that makes up for it; but for the hops of
IPv6, which has none.

The frame is read and written where it lies. Headers that a card left in pieces are not put together: of other protocols the
kernel has frames whose pieces are datagrams of their own. GRO has put those of TCP together before. Since the program
writes, the kernel has each frame that it shares with a listener copied first, whatever is in it.

What a connection had in the map may be another's before a frame of it has left, since the kernel uses memory again at once.
So each entry has a serial, and who finds another one in the end drops the frame.
Source: kernel include/uapi/linux/bpf.h (struct __sk_buff, enum bpf_func_id), bpf-helpers(7).
"""

import os
import socket
import struct
import sys
from collections.abc import Callable
from typing import NamedTuple

from pycontainer.linux import bpf
from pycontainer.linux.bpfcode import STACK, U8, U16, U32, U64, Code
from pycontainer.linux.release import kernel_version
from pycontainer.net.ctnetlink import Ends

NAME = "pyc_fast"
_TCX_NEXT, _TCX_DROP = -1, 2
_ETHERNET_BYTES, _IPV4_BYTES, _IPV6_BYTES, _TCP_BYTES = 14, 20, 40, 20
_IP = _ETHERNET_BYTES  # where its header begins

# struct __sk_buff
_LENGTH, _PACKET_TYPE, _PROTOCOL, _HAS_VLAN, _INDEX, _FRAME_AT, _FRAME_END = 0, 4, 16, 20, 40, 76, 80
_IPV4, _IPV6 = socket.htons(0x0800), socket.htons(0x86DD)
# enum bpf_func_id
_MAP_LOOKUP, _MAP_DELETE, _REPLACE_TCP_SUM, _UPDATE_SUM = 1, 3, 11, 40
_REDIRECT, _REDIRECT_NEIGHBOUR, _REDIRECT_PEER = 23, 152, 155
_COUNTS_PEER = (6, 7)  # Linux that counts at a veth what _REDIRECT_PEER hands to it
_PSEUDO_HEADER, _OF_IPV6 = 0x10, 0x80  # BPF_F_PSEUDO_HDR, BPF_F_IPV6
_FIN_SYN_RST = 0x07
_FRAGMENT = socket.htons(0x3FFF)  # more of them follow, or it is not the first

# Registers that calls keep.
_CONTEXT, _FLOW, _FRAME, _OLD_PORT = 6, 7, 8, 9

# The stack: the key, and below it the serial.
_KEY_AT, _SERIAL_AT = -40, -44

# The key: the link it came in on, both ports as one, both addresses. IPv4 addresses are followed by zeros.
_KEY = struct.Struct("=I2s2s16s16s")
_KEY_LINK, _KEY_PORTS, _KEY_SOURCE, _KEY_DESTINATION = 0, 4, 8, 24

# The value: a serial, the link to leave by, whether it is from the instance, what the address adds to the sums of TCP and of
# IPv4, the new address and port, MAC addresses, how many bytes there were; to whom it goes, as struct bpf_redir_neigh.
_VALUE = struct.Struct("=IIIII16s2s6s6s6xQ20s")
_SERIAL, _LINK, _IS_FROM, _TCP_SUM, _IP_SUM = 0, 4, 8, 12, 16
_ADDRESS, _PORT, _MACS, _BYTES, _NEXT_HOP = 20, 36, 38, 56, 64
_HOP = struct.Struct("=I16s")  # family, address
KEY_BYTES, VALUE_BYTES = _KEY.size, _VALUE.size


class Flow(NamedTuple):
    """A connection that is handed over, and the two links by their indexes.

    `mac` is what both ends of the instance's link have, `next_hop` the packed address of whose MAC the kernel asks for on the
    uplink: a gateway's, of either family, or the client's.
    """

    ends: Ends
    uplink: int
    link: int
    mac: bytes
    next_hop: bytes

    def entries(self, serial: int = 0) -> tuple[tuple[bytes, bytes], tuple[bytes, bytes]]:
        """Return key and value of the direction to the instance, and of the one from it; `serial` as of 32 bits."""
        client, client_port, host, host_port, instance, instance_port = self.ends
        change = _sum_change(host, instance)
        to_it = (
            _KEY.pack(self.uplink, _port(client_port), _port(host_port), client, host),
            _VALUE.pack(
                serial, self.link, 0, change, change, instance, _port(instance_port), self.mac, self.mac, 0, b""
            ),
        )
        change = _sum_change(instance, host)
        unknown = bytes(6)  # until the kernel has asked the next hop
        hop = _HOP.pack(socket.AF_INET6 if len(self.next_hop) == 16 else socket.AF_INET, self.next_hop)
        from_it = (
            _KEY.pack(self.link, _port(instance_port), _port(client_port), instance, client),
            _VALUE.pack(serial, self.uplink, 1, change, change, host, _port(host_port), unknown, unknown, 0, hop),
        )
        return to_it, from_it


def bytes_in(value: bytes) -> int:
    """Return how many bytes a direction had that were handed over."""
    return int.from_bytes(value[_BYTES : _BYTES + 8], sys.byteorder)


def load(flows_fd: int) -> int:
    """Load the program for the map of this descriptor. OSError where the kernel does not take it."""
    goes_inside = kernel_version() >= _COUNTS_PEER
    return bpf.load_classifier(program(flows_fd, has_ipv6=takes_ipv6(), goes_inside=goes_inside), NAME)


def takes_ipv6() -> bool:
    """Tell whether the kernel's helper gets the sums of IPv6 right: it does from Linux 6.16 on, and where that was mended."""
    code = Code()
    code.copy(_CONTEXT, 1)
    _change_sum_of_tcp(code, _IPV6_BYTES, lambda: code.set(4, 0), _PSEUDO_HEADER | _OF_IPV6)
    code.leave()
    program_fd = bpf.load_classifier(bytes(code))
    try:
        frame = bytes(12) + struct.pack(">H", 0x86DD) + bytes(_IPV6_BYTES + _TCP_BYTES)
        return bpf.run_classifier(program_fd, frame)[0] == 0
    finally:
        os.close(program_fd)


def program(flows_fd: int, *, has_ipv6: bool, goes_inside: bool) -> bytes:
    """Return the instructions for the map of this descriptor; `goes_inside`: past the host's end of an instance's link."""
    code = Code()
    code.copy(_CONTEXT, 1)
    code.load(U32, 1, _CONTEXT, _PACKET_TYPE)
    code.jump_unless(1, 0, "next")  # PACKET_HOST: what a bridge or a listener shows us is for others
    code.load(U32, 1, _CONTEXT, _HAS_VLAN)
    code.jump_unless(1, 0, "next")
    code.load(U32, 1, _CONTEXT, _PROTOCOL)
    code.jump_if(1, _IPV4, "ipv4")
    code.jump_unless(1, _IPV6 if has_ipv6 else _IPV4, "next")
    if has_ipv6:
        _take_ipv6(code, flows_fd)
    code.label("ipv4")
    _take_ipv4(code, flows_fd)
    code.label("send")
    code.load(U32, 1, _CONTEXT, _LENGTH)
    code.add_atomically(1, _FLOW, _BYTES)
    code.load(U32, 1, _FLOW, _LINK)
    code.load(U32, 3, _FLOW, _IS_FROM)
    code.jump_unless(3, 0, "to next hop")
    code.set(2, 0)
    code.call(_REDIRECT_PEER if goes_inside else _REDIRECT)
    code.jump("sent")
    code.label("to next hop")
    code.point(2, _FLOW, _NEXT_HOP)
    code.set(3, _HOP.size)
    code.set(4, 0)
    code.call(_REDIRECT_NEIGHBOUR)
    code.label("sent")
    code.load(U32, 1, _FLOW, _SERIAL)
    code.load(U32, 2, STACK, _SERIAL_AT)
    code.jump_unless_alike(1, 2, "drop")
    code.leave()
    code.label("last")
    code.call(_MAP_DELETE)
    code.label("next")
    code.leave(_TCX_NEXT)
    code.label("drop")  # half of it is changed, or as for another: the sender sends it again
    code.leave(_TCX_DROP)
    return bytes(code)


def _take_ipv4(code: Code, flows_fd: int) -> None:
    """Go to "send" with a frame that is translated, or to "next", with one that is as it was."""
    _reach_frame(code, _IPV4_BYTES)
    code.load(U8, 1, _FRAME, _IP)
    code.jump_unless(1, 0x45, "next")  # version 4, five words: no options
    code.load(U16, 1, _FRAME, _IP + 6)
    code.jump_if_set(1, _FRAGMENT, "next")
    _require_tcp(code, protocol=9, hops=8)
    code.set(1, 0)
    for place in range(_KEY_SOURCE, KEY_BYTES, 8):
        code.store(U64, 1, STACK, _KEY_AT + place)
    for place, key_place in ((12, _KEY_SOURCE), (16, _KEY_DESTINATION), (_IPV4_BYTES, _KEY_PORTS)):
        code.load(U32, 1, _FRAME, _IP + place)
        code.store(U32, 1, STACK, _KEY_AT + key_place)
    _find_flow(code, _IPV4_BYTES, flows_fd)
    _change_sum_of_ipv4(code)
    _translate(code, _IPV4_BYTES, hops=8, source=12, address_bytes=4, flags=0)


def _take_ipv6(code: Code, flows_fd: int) -> None:
    """Do the same."""
    _reach_frame(code, _IPV6_BYTES)
    _require_tcp(code, protocol=6, hops=7)
    for place in range(0, 32, 4):
        code.load(U32, 1, _FRAME, _IP + 8 + place)
        code.store(U32, 1, STACK, _KEY_AT + _KEY_SOURCE + place)
    code.load(U32, 1, _FRAME, _IP + _IPV6_BYTES)
    code.store(U32, 1, STACK, _KEY_AT + _KEY_PORTS)
    _find_flow(code, _IPV6_BYTES, flows_fd)
    code.copy(1, _CONTEXT)
    code.set(2, 0xFFFF - socket.htons(0x0001))  # one hop less
    code.call(_UPDATE_SUM)
    _translate(code, _IPV6_BYTES, hops=7, source=8, address_bytes=16, flags=_OF_IPV6)


def _reach_frame(code: Code, ip_bytes: int) -> None:
    """Have a register point to the frame; go to "next" if not all headers are there in one piece."""
    code.load(U32, _FRAME, _CONTEXT, _FRAME_AT)
    code.load(U32, 1, _CONTEXT, _FRAME_END)
    code.point(2, _FRAME, _ETHERNET_BYTES + ip_bytes + _TCP_BYTES)
    code.jump_if_more(2, 1, "next")


def _require_tcp(code: Code, *, protocol: int, hops: int) -> None:
    code.load(U8, 1, _FRAME, _IP + protocol)
    code.jump_unless(1, socket.IPPROTO_TCP, "next")
    code.load(U8, 1, _FRAME, _IP + hops)
    code.jump_if_at_most(1, 1, "next")  # the kernel tells the sender


def _find_flow(code: Code, ip_bytes: int, flows_fd: int) -> None:
    """Find what the key is of; go to "next" if it is none of ours, or to "last" if it is the end of it."""
    code.load(U32, 1, _CONTEXT, _INDEX)
    code.store(U32, 1, STACK, _KEY_AT + _KEY_LINK)
    code.point_to_map(1, flows_fd)
    code.point(2, STACK, _KEY_AT)
    code.load(U8, 3, _FRAME, _IP + ip_bytes + 13)  # the flags of TCP
    code.jump_if_set(3, _FIN_SYN_RST, "last")
    code.call(_MAP_LOOKUP)
    code.jump_if(0, 0, "next")
    code.copy(_FLOW, 0)
    code.load(U32, 1, _FLOW, _SERIAL)
    code.store(U32, 1, STACK, _SERIAL_AT)


def _translate(code: Code, ip_bytes: int, *, hops: int, source: int, address_bytes: int, flags: int) -> None:
    """Change the headers but for the sum of IPv4, and go to "send"; labels bear `ip_bytes`."""
    for size, place in ((U16, 0), (U32, 2), (U32, 6), (U16, 10)):
        code.load(size, 1, _FLOW, _MACS + place)
        code.store(size, 1, _FRAME, place)
    code.load(U8, 1, _FRAME, _IP + hops)
    code.add(1, -1)
    code.store(U8, 1, _FRAME, _IP + hops)
    code.load(U32, 1, _FLOW, _IS_FROM)
    code.jump_unless(1, 0, f"from {ip_bytes}")
    _replace(code, _IP + source + address_bytes, _IP + ip_bytes + 2, address_bytes)
    code.jump(f"sums {ip_bytes}")
    code.label(f"from {ip_bytes}")
    _replace(code, _IP + source, _IP + ip_bytes, address_bytes)
    code.label(f"sums {ip_bytes}")
    _change_sum_of_tcp(code, ip_bytes, lambda: code.load(U32, 4, _FLOW, _TCP_SUM), _PSEUDO_HEADER | flags)
    code.jump_unless(0, 0, "drop")
    _change_sum_of_tcp(code, ip_bytes, lambda: code.load(U16, 4, _FLOW, _PORT), 2, old=_OLD_PORT)
    code.jump_unless(0, 0, "drop")
    code.jump("send")


def _replace(code: Code, address_at: int, port_at: int, address_bytes: int) -> None:
    """Replace an address and a port, and keep the old port."""
    for place in range(0, address_bytes, 4):
        code.load(U32, 1, _FLOW, _ADDRESS + place)
        code.store(U32, 1, _FRAME, address_at + place)
    code.load(U16, _OLD_PORT, _FRAME, port_at)
    code.load(U16, 1, _FLOW, _PORT)
    code.store(U16, 1, _FRAME, port_at)


def _change_sum_of_ipv4(code: Code) -> None:
    """Add to the sum of the header what address and hops change. RFC 1624"""
    one_hop_less = 0xFFFF - socket.htons(0x0100)
    code.load(U16, 1, _FRAME, _IP + 10)
    code.flip(1, 0xFFFF)
    code.load(U32, 2, _FLOW, _IP_SUM)
    code.add_register(1, 2)
    code.add(1, one_hop_less)
    for _ in range(2):
        code.copy(2, 1)
        code.shift_right(2, 16)
        code.mask(1, 0xFFFF)
        code.add_register(1, 2)
    code.flip(1, 0xFFFF)
    code.store(U16, 1, _FRAME, _IP + 10)


def _change_sum_of_tcp(code: Code, ip_bytes: int, load_new: Callable[[], None], flags: int, *, old: int = 0) -> None:
    """Have the kernel change the frame's sum by a difference, or with `old` from what that register holds to another.

    `load_new` puts the difference, or what is new, into register 4.
    """
    code.copy(1, _CONTEXT)
    code.set(2, _ETHERNET_BYTES + ip_bytes + 16)
    if old:
        code.copy(3, old)
    else:
        code.set(3, 0)
    load_new()
    code.set(5, flags)
    code.call(_REPLACE_TCP_SUM)


def _sum_change(old: bytes, new: bytes) -> int:
    """Return what a ones' complement sum of 16-bit words changes by, in the order of bytes that this machine reads."""
    words = struct.Struct(f"={len(old) // 2}H")
    total = sum(0xFFFF - int(word) for word in words.unpack(old)) + sum(map(int, words.unpack(new)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def _port(number: int) -> bytes:
    return number.to_bytes(2, "big")

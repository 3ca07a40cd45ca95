"""Traffic control in messages: encode queueing disciplines, classes and filters, decode what the kernel holds.

A message here is 20 to 200 bytes of plain structures, so `struct` writes it in some microseconds; pyroute2 knows neither
the blocks of clsact nor a way to fill its messages twice. Handles are 32 bits, MAJOR:MINOR; ours have major 1.
Source: kernel include/uapi/linux/rtnetlink.h, pkt_sched.h, pkt_cls.h, tc_act/tc_mirred.h; tc-htb(8).
"""

import socket
import struct
import sys
from typing import NamedTuple

from pycontainer.net.messages import attribute, read_attributes

NEW_QDISC, DEL_QDISC, GET_QDISC, NEW_CLASS, DEL_CLASS, GET_CLASS, NEW_FILTER, GET_FILTER = (
    36,
    37,
    38,
    40,
    41,
    42,
    44,
    46,
)
ACK, CREATE, REPLACE = 0x5, 0x605, 0x505  # as in messages.py
ECHO = 0x9  # NLM_F_REQUEST | NLM_F_ECHO: a class that is asked for is sent to who asked
_DUMP = 0x301  # NLM_F_REQUEST | NLM_F_DUMP

ROOT = 0xFFFFFFFF
HTB = 0x10000  # 1:
_CLSACT_PARENT, _CLSACT_HANDLE = 0xFFFFFFF1, 0xFFFF0000
_CLSACT_INGRESS, _CLSACT_EGRESS = 0xFFFFFFF2, 0xFFFFFFF3
_BLOCK = 0xFFFFFFFF  # TCM_IFINDEX_MAGIC_BLOCK: the parent is a block's number

_NLMSG = struct.Struct("=IHHII")
_TCMSG = struct.Struct("=BxHiIII")  # family, (pad,) ifindex, handle, parent, info
_RATE = struct.Struct("=BBHhHI")  # cell_log, linklayer, overhead, cell_align, mpu, bytes per second
_HTB_OPT = struct.Struct("=12s12sIIIII")  # rate, ceil, buffer, cbuffer, quantum, level, prio
_ETHERNET = 1  # linklayer: the kernel then computes by itself and wants no table
_MAX32 = 0xFFFFFFFF
_TICK_NSEC = 64
_KIND, _OPTIONS, _STATS2, _INGRESS_BLOCK, _EGRESS_BLOCK = 1, 2, 7, 13, 14  # TCA_*
_FILTER_INFO = 1 << 16 | socket.htons(0x0003)  # preference 1, ETH_P_ALL


class Class(NamedTuple):
    """A class of HTB as the kernel holds it; rates in bytes per second."""

    minor: int
    parent: int  # handle
    rate: int
    ceiling: int
    sent_bytes: int
    dropped_packets: int


def htb(ifindex: int, default_minor: int) -> bytes:
    """Make HTB the root of a device; what no filter knows goes to `default_minor`."""
    options = attribute(2, struct.pack("=IIIII", 3, 10, default_minor, 0, 0))  # TCA_HTB_INIT
    return _message(NEW_QDISC, CREATE, ifindex, HTB, ROOT, 0, _kind("htb") + attribute(_OPTIONS, options))


def htb_class(ifindex: int, minor: int, parent: int, rate: int, ceiling: int, *, replace: bool = False) -> bytes:
    """Make or change a class: `rate` of its own, `ceiling` with what its parent can lend, in bytes per second.

    A bucket holds 4 ms of its rate, two packets at least. The quantum, what a class sends before its neighbour's turn
    when both borrow, is 10 ms of its ceiling within what the kernel likes.
    """
    fields = _HTB_OPT.pack(
        _rate(rate), _rate(ceiling), _bucket(rate), _bucket(ceiling), min(60_000, max(1514, ceiling // 100)), 0, 0
    )
    options = attribute(1, fields)  # TCA_HTB_PARMS
    options += attribute(6, struct.pack("=Q", rate)) + attribute(7, struct.pack("=Q", ceiling))  # RATE64, CEIL64
    flags = REPLACE if replace else CREATE
    return _message(NEW_CLASS, flags, ifindex, HTB | minor, parent, 0, _kind("htb") + attribute(_OPTIONS, options))


def delete_class(ifindex: int, minor: int) -> bytes:
    """Remove a class that has no children."""
    return _message(DEL_CLASS, ACK, ifindex, HTB | minor, 0, 0, b"")


def get_class(ifindex: int, minor: int) -> bytes:
    """Ask for a class; `read_class` reads the answer."""
    return _message(GET_CLASS, ECHO, ifindex, HTB | minor, 0, 0, b"")


def fq_codel(ifindex: int, minor: int) -> bytes:
    """Let the flows of a class take turns and keep their queues short."""
    return _message(NEW_QDISC, REPLACE, ifindex, 0, HTB | minor, 0, _kind("fq_codel"))


def byte_fifo(ifindex: int, minor: int, limit_bytes: int) -> bytes:
    """Give a class a queue of so many bytes, for kernels without fq_codel."""
    options = attribute(_OPTIONS, struct.pack("=I", limit_bytes))
    return _message(NEW_QDISC, REPLACE, ifindex, 0, HTB | minor, 0, _kind("bfifo") + options)


def classify_by_program(ifindex: int, program_fd: int) -> bytes:
    """Have an eBPF program say the class of each packet."""
    options = attribute(6, struct.pack("=I", program_fd)) + attribute(7, b"pycontainer\0")  # TCA_BPF_FD, _NAME
    attributes = _kind("bpf") + attribute(_OPTIONS, options)
    return _message(NEW_FILTER, CREATE, ifindex, 0, HTB, _FILTER_INFO, attributes)


def clsact(ifindex: int, ingress_block: int, egress_block: int) -> bytes:
    """Give a device the filters of two blocks, for what comes in and what goes out."""
    blocks = attribute(_INGRESS_BLOCK, struct.pack("=I", ingress_block))
    blocks += attribute(_EGRESS_BLOCK, struct.pack("=I", egress_block))
    return _message(NEW_QDISC, CREATE, ifindex, _CLSACT_HANDLE, _CLSACT_PARENT, 0, _kind("clsact") + blocks)


def get_clsact(ifindex: int) -> bytes:
    """Ask for what hangs where clsact does, with an acknowledgement: where nothing does, some kernels answer nothing."""
    return _message(GET_QDISC, ECHO | ACK, ifindex, 0, _CLSACT_PARENT, 0, b"")


def delete_clsact(ifindex: int) -> bytes:
    """Take clsact from a device, with the filters that are its own."""
    return _message(DEL_QDISC, ACK, ifindex, _CLSACT_HANDLE, _CLSACT_PARENT, 0, b"")


def read_clsact(reply: bytes) -> tuple[int, int] | None:
    """Decode the answer to `get_clsact`, empty if there was none.

    Return the blocks for what comes in and what goes out, 0 for a direction without; None if it is no clsact."""
    if not reply:
        return None
    length = _NLMSG.unpack_from(reply)[0]
    attributes = read_attributes(reply[_NLMSG.size + _TCMSG.size : length])
    if attributes.get(_KIND) != b"clsact\0":
        return None
    none = bytes(4)
    ingress, egress = (attributes.get(kind, none) for kind in (_INGRESS_BLOCK, _EGRESS_BLOCK))
    return int.from_bytes(ingress, sys.byteorder), int.from_bytes(egress, sys.byteorder)


def block_filters(block: int) -> bytes:
    """Ask for all filters of a block."""
    return _message(GET_FILTER, _DUMP, -1, 0, block, 0, b"")


def class_filters(ifindex: int) -> bytes:
    """Ask for all filters that say the class of what a device sends."""
    return _message(GET_FILTER, _DUMP, ifindex, 0, HTB, 0, b"")


def link_filters(ifindex: int, *, ingress: bool) -> bytes:
    """Ask for all filters of a device's own clsact, for one direction."""
    return _message(GET_FILTER, _DUMP, ifindex, 0, _CLSACT_INGRESS if ingress else _CLSACT_EGRESS, 0, b"")


def own_clsact(ifindex: int) -> bytes:
    """Let a device have filters of its own."""
    return _message(NEW_QDISC, CREATE, ifindex, _CLSACT_HANDLE, _CLSACT_PARENT, 0, _kind("clsact"))


def redirect_all(block: int, to_ifindex: int) -> bytes:
    """Have every packet that meets a block sent out of another device."""
    return _message(NEW_FILTER, CREATE, -1, 0, block, _FILTER_INFO, _on_all([_mirred(to_ifindex)]))


def redirect_link(ifindex: int, to_ifindex: int, minor: int, *, ingress: bool) -> bytes:
    """Have what comes in at a device, or goes out, sent out of another one with the priority that is HTB's class 1:minor."""
    parent = _CLSACT_INGRESS if ingress else _CLSACT_EGRESS
    return _message(
        NEW_FILTER, CREATE, ifindex, 0, parent, _FILTER_INFO, _on_all([_skbedit(minor), _mirred(to_ifindex)])
    )


def _on_all(actions: list[bytes]) -> bytes:
    """Return a filter that does the actions, in their order, with every packet."""
    selector = struct.pack("=BBBxHHhhI", 1, 0, 1, 0, 0, 0, 0, 0) + struct.pack("=IIii", 0, 0, 0, 0)
    numbered = b"".join(attribute(number, action) for number, action in enumerate(actions, 1))
    return _kind("u32") + attribute(_OPTIONS, attribute(5, selector) + attribute(7, numbered))  # TCA_U32_SEL, _ACT


def _mirred(to_ifindex: int) -> bytes:
    parameters = struct.pack("=IIiiiiI", 0, 0, 4, 0, 0, 1, to_ifindex)  # TC_ACT_STOLEN, TCA_EGRESS_REDIR
    return attribute(1, b"mirred\0") + attribute(2, attribute(2, parameters))


def _skbedit(minor: int) -> bytes:
    parameters = struct.pack("=IIiii", 0, 0, 3, 0, 0)  # TC_ACT_PIPE: the next action follows
    priority = attribute(3, struct.pack("=I", HTB | minor))  # TCA_SKBEDIT_PRIORITY
    return attribute(1, b"skbedit\0") + attribute(2, attribute(2, parameters) + priority)


def read_class(reply: bytes) -> Class:
    """Decode the answer to `get_class`."""
    _, _, _, handle, parent, _ = struct.unpack_from("=BxHiIII", reply, _NLMSG.size)
    length = _NLMSG.unpack_from(reply)[0]
    attributes = read_attributes(reply[_NLMSG.size + _TCMSG.size : length])
    options = read_attributes(attributes[_OPTIONS])
    rate, ceiling = (_RATE.unpack_from(options[1], at)[5] for at in (0, _RATE.size))
    if 6 in options:  # the kernel sends it only if 32 bits do not hold the rate
        (rate,) = struct.unpack("=Q", options[6])
    if 7 in options:
        (ceiling,) = struct.unpack("=Q", options[7])
    statistics = read_attributes(attributes[_STATS2])
    (sent_bytes,) = struct.unpack_from("=Q", statistics[1])  # gnet_stats_basic
    dropped_packets = struct.unpack_from("=IIIII", statistics[3])[2]  # gnet_stats_queue: length, backlog, drops, ...
    return Class(handle & 0xFFFF, parent, rate, ceiling, sent_bytes, dropped_packets)


def _rate(bytes_per_second: int) -> bytes:
    return _RATE.pack(0, _ETHERNET, 0, 0, 0, min(bytes_per_second, _MAX32))


def _bucket(bytes_per_second: int) -> int:
    """Return the size of a bucket as the time that its rate takes to fill it, in ticks."""
    size_bytes = max(3028, bytes_per_second // 250)
    return size_bytes * 10**9 // bytes_per_second // _TICK_NSEC


def _address_info(minor: int, address_bytes: int) -> int:
    return minor << 16 | socket.htons(0x0800 if address_bytes == 4 else 0x86DD)


def _message(kind: int, flags: int, ifindex: int, handle: int, parent: int, info: int, attributes: bytes) -> bytes:
    body = _TCMSG.pack(0, 0, ifindex, handle, parent, info) + attributes
    return _NLMSG.pack(_NLMSG.size + len(body), kind, flags, 0, 0) + body


def _kind(name: str) -> bytes:
    return attribute(_KIND, name.encode() + b"\0")

"""What a network namespace holds, as lines of text: links, routes of all tables, rules of routing, and nftables' rules.

Read in this process, in a thread that is in that namespace: four programs for each look were most of a test's time where the
processor is emulated. A route or a rule is its message in hexadecimal, without what the kernel changes by itself; to read one
that was left behind, look for its address: c0000201 is 192.0.2.1. rtnetlink(7), libnftables(3).
"""

import ctypes
import re
import socket
import struct
from collections.abc import Iterator

from pycontainer.net.messages import read_attributes

_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence number, port id
_ROUTE = struct.Struct(
    "=8BI"
)  # rtmsg: family, lengths of destination and source, tos, table, protocol, scope, type, flags
_GET_ROUTE, _GET_RULE = 26, 34
_DUMP = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
_ERROR, _DONE = 2, 3
_DESTINATION, _CACHE_INFO, _EXPIRES = 1, 12, 23
_CLONED = 0x200  # RTM_F_CLONED: learnt
_OWN_DOING = (4, 5)  # RTN_ANYCAST, RTN_MULTICAST: with each link and address
_LINK_LOCAL = b"\xfe\x80"


def network_lines(name: str) -> list[str]:
    """Return what the namespace of this thread holds; `name` tells which it is."""
    lines = [f"link in {name}: {link}" for _, link in socket.if_nameindex()]
    lines += [f"route in {name}: {route}" for route in _routes()]
    lines += [f"rule in {name}: {rule.hex()}" for rule in _answers(_GET_RULE)]
    lines += [f"nftables in {name}: {line.strip()}" for line in _nftables().splitlines() if line.strip()]
    return lines


def _routes() -> Iterator[str]:
    """Yield each route that somebody made and that stays until it is removed."""
    for answer in _answers(_GET_ROUTE):
        kind, flags = _ROUTE.unpack_from(answer)[7:]
        attributes = read_attributes(answer[_ROUTE.size :])
        learnt = flags & _CLONED or _EXPIRES in attributes or _seconds_left(attributes.pop(_CACHE_INFO, b""))
        if not learnt and kind not in _OWN_DOING and not attributes.get(_DESTINATION, b"").startswith(_LINK_LOCAL):
            rest = " ".join(f"{number}={value.hex()}" for number, value in sorted(attributes.items()))
            yield f"{answer[: _ROUTE.size - 4].hex()} {rest}"  # without flags: they tell whether the link has a carrier


def _seconds_left(cache_info: bytes) -> int:
    """Return rta_expires of struct rta_cacheinfo; 0 for a route that stays."""
    return int(struct.unpack_from("=i", cache_info, 8)[0]) if cache_info else 0


def _answers(question: int) -> Iterator[bytes]:
    """Yield what answers a dump, of all families, without the headers."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as sock:
        sock.send(_HEADER.pack(_HEADER.size + _ROUTE.size, question, _DUMP, 1, 0) + bytes(_ROUTE.size))
        while True:
            data = sock.recv(1 << 20)
            while data:
                length, kind, *_ = _HEADER.unpack_from(data)
                assert kind != _ERROR, f"netlink question {question}: {data!r}"
                if kind == _DONE:
                    return
                yield data[_HEADER.size : length]
                data = data[(length + 3) & ~3 :]


def _nftables() -> str:
    """Return all rules, without their counts; empty where there is no nftables."""
    try:
        library = ctypes.CDLL("libnftables.so.1")
    except OSError:
        return ""
    library.nft_ctx_new.restype = ctypes.c_void_p
    library.nft_ctx_get_output_buffer.restype = ctypes.c_char_p
    context = ctypes.c_void_p(library.nft_ctx_new(0))
    try:
        library.nft_ctx_buffer_output(context)
        library.nft_ctx_buffer_error(context)  # it warns of tables that iptables made
        code = library.nft_run_cmd_from_buffer(context, b"list ruleset")
        assert code == 0, "nftables: cannot list the rules"
        text = library.nft_ctx_get_output_buffer(context).decode()
    finally:
        library.nft_ctx_free(context)
    return re.sub(r"packets \d+ bytes \d+", "packets N", text)

"""Elements of nftables sets and maps, put in and taken out in one transaction, without a look at what else is there.

libnftables reads the host's tables, chains and sets before each command: 0.3 ms of each start and each end. What one of our
elements consists of is known here, so it goes to the kernel as it is:

    BATCH_BEGIN   DELSETELEM ...   NEWSETELEM ...   BATCH_END         all of them or none

    NEWSETELEM    table, set, [ [ key, data of a map, expressions ] ... ]
    key, data     the bytes of each field, filled up to a multiple of four

Source: kernel include/uapi/linux/netfilter/nf_tables.h, nfnetlink.h.
"""

import errno
import os
import socket
import struct
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from pycontainer.net.messages import NETLINK_NETFILTER, Netlink, attribute

_SUBSYSTEM = 10  # NFNL_SUBSYS_NFTABLES
_NEW, _DELETE = _SUBSYSTEM << 8 | 12, _SUBSYSTEM << 8 | 14  # NFT_MSG_*SETELEM
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_REQUEST, _ACK, _CREATE = 0x1, 0x4, 0x400
_HEADER = struct.Struct("=IHHIIBB")  # nlmsghdr, nfgenmsg but for its resource
_INET = 1  # NFPROTO_INET
_NESTED = 0x8000
_TABLE, _SET, _ELEMENTS = 1, 2, 3  # NFTA_SET_ELEM_LIST_*
_KEY, _DATA, _EXPRESSIONS = 1, 2, 11  # NFTA_SET_ELEM_*
_VALUE, _ITEM = 1, 1  # NFTA_DATA_VALUE, NFTA_LIST_ELEM
_NAME, _CONTENT = 1, 2  # NFTA_EXPR_*
_COUNT, _FLAGS, _OVER = 1, 2, 1  # NFTA_CONNLIMIT_*, NFT_CONNLIMIT_F_INV
_BYTES, _PACKETS = 1, 2  # NFTA_COUNTER_*
_LINK_NAME_BYTES = 16  # IFNAMSIZ
_AT_ONCE = 200  # elements of one change: a list of them is an attribute of 64 KB at most
_PROTOCOLS: Mapping[str, int] = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP}


class Element(NamedTuple):
    """One element of a set or map: `key` and, in a map, `value`, as nft writes them."""

    where: str
    key: str
    value: str = ""
    connections: int = 0  # more than these meet it; it counts the packets that do
    statements: str = ""  # others that a packet is put to

    def text(self, *, is_complete: bool = True) -> str:
        """Return it as nft adds it; what is not `is_complete` suffices to find it."""
        if not is_complete:
            return self.key
        limit = f" ct count over {self.connections} counter" if self.connections else ""
        return f"{self.key}{limit} {self.statements}".rstrip() + (f" : {self.value}" if self.value else "")


class Elements:
    """A connection to nftables in the namespace in which it is made, for the sets of an inet table."""

    def __init__(self, table: str) -> None:
        self._table = attribute(_TABLE, table.encode() + b"\0")
        self._netlink = Netlink(NETLINK_NETFILTER)

    def close(self) -> None:
        self._netlink.close()

    @staticmethod
    def can_change(elements: Sequence[Element]) -> bool:
        """Tell whether these are few, and it is known here what each of them consists of."""
        return len(elements) <= _AT_ONCE and all(each.where in _FIELDS and not each.statements for each in elements)

    def change(self, old: Iterable[Element], new: Iterable[Element]) -> None:
        """Take elements out, then put others in: all of them, or none and the OSError of the first that is refused."""
        lists = [(_DELETE, 0, body) for body in self._lists(old, is_complete=False)]
        lists += [(_NEW, _CREATE, body) for body in self._lists(new, is_complete=True)]
        if not lists:
            return
        # What fails is always answered, as is the last one here; the end of a batch is not.
        batch = [_message(_BATCH_BEGIN, _REQUEST, 0, 0, b"", _SUBSYSTEM)]
        for number, (kind, more, body) in enumerate(lists, start=1):
            flags = _REQUEST | more | (_ACK if number == len(lists) else 0)
            batch.append(_message(kind, flags, number, _INET, body))
        batch.append(_message(_BATCH_END, _REQUEST, 0, 0, b"", _SUBSYSTEM))
        codes = self._netlink.codes(b"".join(batch)) or [errno.EPROTO]
        if code := next(filter(None, codes), 0):
            raise OSError(code, f"elements of nftables: {os.strerror(code)}")

    def _lists(self, elements: Iterable[Element], *, is_complete: bool) -> Iterator[bytes]:
        """Yield the attributes of one message for each set that gets or loses elements."""
        of_sets: dict[str, bytes] = {}
        for element in elements:
            listed = attribute(_NESTED | _ITEM, _encode(element, is_complete=is_complete))
            of_sets[element.where] = of_sets.get(element.where, b"") + listed
        for where, listed in of_sets.items():
            named = attribute(_SET, where.encode() + b"\0")
            yield self._table + named + attribute(_NESTED | _ELEMENTS, listed)


def _message(kind: int, flags: int, number: int, family: int, body: bytes, resource: int = 0) -> bytes:
    size = _HEADER.size + 2
    return _HEADER.pack(size + len(body), kind, flags, number, 0, family, 0) + resource.to_bytes(2, "big") + body


def _encode(element: Element, *, is_complete: bool) -> bytes:
    key, value = _FIELDS[element.where]
    found = _data(_KEY, key, element.key)
    if is_complete and element.value:
        found += _data(_DATA, value, element.value)
    if is_complete and element.connections:
        limit = attribute(_COUNT, element.connections.to_bytes(4, "big")) + attribute(_FLAGS, _OVER.to_bytes(4, "big"))
        found += attribute(_NESTED | _EXPRESSIONS, _expression("connlimit", limit) + _COUNTER)
    return found


def _data(kind: int, fields: "_Fields", text: str) -> bytes:
    """Encode the fields that nft writes with dots between them."""
    values = b"".join(field(each) for field, each in zip(fields, text.split(" . "), strict=True))
    return attribute(_NESTED | kind, attribute(_VALUE, values))


def _expression(name: str, content: bytes) -> bytes:
    named = attribute(_NAME, name.encode() + b"\0")
    return attribute(_NESTED | _ITEM, named + attribute(_NESTED | _CONTENT, content))


def _link(text: str) -> bytes:
    return text.strip('"').encode().ljust(_LINK_NAME_BYTES, b"\0")


def _mark(text: str) -> bytes:
    return int(text).to_bytes(4, sys.byteorder)


def _ip6(text: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6, text)


def _protocol(text: str) -> bytes:
    return bytes((_PROTOCOLS[text], 0, 0, 0))


def _port(text: str) -> bytes:
    return int(text).to_bytes(2, "big") + b"\0\0"


_ip4 = socket.inet_aton
_Fields = Sequence[Callable[[str], bytes]]
# The sets and maps of the inet table that change with the instances: what a key consists of, and a value.
_FIELDS: Mapping[str, tuple[_Fields, _Fields]] = {
    "own4": ((_link, _ip4), ()),
    "own6": ((_link, _ip6), ()),
    "network": ((_link,), (_mark,)),
    "member": ((_link, _mark), ()),
    "pub4": ((_protocol, _port), (_ip4, _port)),
    "pub6": ((_protocol, _port), (_ip6, _port)),
    "at4": ((_ip4, _protocol, _port), (_ip4, _port)),
    "at6": ((_ip6, _protocol, _port), (_ip6, _port)),
    "who4": ((_ip4,), (_mark,)),
    "who6": ((_ip6,), (_mark,)),
    "share": ((_mark,), ()),
}
_COUNTER = _expression("counter", attribute(_BYTES, bytes(8)) + attribute(_PACKETS, bytes(8)))

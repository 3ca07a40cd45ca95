"""rtnetlink in templates: pyroute2 encodes each message once, an instance patches bytes, one send carries a batch.

pyroute2's encoder costs 0.3 ms a message and its import 150-200 ms, so it is imported when the first template is made
and never runs again for that template. A field that differs from instance to instance is encoded as a marker that
occurs nowhere else; where the markers came to lie is noted, and `fill` writes there.

    encode(LINK, NEW_LINK, ..., {"index": INDEX.mark}, ...) → bytes with 5a01a5c1 in them
    Template([("create the pair", bytes), ...])             → offsets of every marker
    template.fill({INDEX: 0x100001, MAC: b"\x02..."})       → the batch, ready for Netlink.send

The messages of one send run in order and do not stop at an error. A message that fails is always answered, so the last one
alone asks for an acknowledgement, and all that comes before that is read.
Source: rtnetlink(7), netlink(7), kernel include/uapi/linux/if_link.h.
"""

import os
import socket
import struct
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

NEW_LINK, DEL_LINK, SET_LINK, NEW_ADDRESS, DEL_ADDRESS, NEW_ROUTE, DEL_ROUTE, GET_STATS = 16, 17, 19, 20, 21, 24, 25, 94
GET_LINK, GET_CLASS = 18, 42
ACK = 0x5  # NLM_F_REQUEST | NLM_F_ACK
CREATE = 0x605  # ... | NLM_F_CREATE | NLM_F_EXCL
REPLACE = 0x505  # ... | NLM_F_CREATE | NLM_F_REPLACE

NETLINK_NETFILTER = 12
_ACK = 0x4  # NLM_F_ACK
_SOL_NETLINK, _NETLINK_CAP_ACK = 270, 10
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_REPLY_BYTES = 1 << 16
DUMP = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
_TC_SIZE = 20  # of struct tcmsg
_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence number, port id
_IF_STATS = struct.Struct("=BBHII")  # if_stats_msg: family, pads, index, filter mask
_IF_INDEX = 4  # where in if_stats_msg the index is
_STATS_LINK_64 = 1
_IF_INFO = struct.Struct("=BxHiII")  # ifinfomsg: family, type, index, flags, changes
_EXT_MASK, _SKIP_STATISTICS = 29, 8  # IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS
LINK_INFO = _HEADER.size + _IF_INFO.size  # where in an answer to `get_link` the attributes begin


class Marker(NamedTuple):
    """A field to be patched: what pyroute2 is given (`mark`), and the bytes that this becomes in the message."""

    mark: Any
    data: bytes


def _number(value: int) -> Marker:
    return Marker(value, value.to_bytes(4, sys.byteorder))


INDEX, INNER_INDEX, NETNS_FD = _number(0x5A01A5C1), _number(0x5A02A5C1), _number(0x5A03A5C1)
METRIC, BRIDGE_INDEX, GROUP = _number(0x5A04A5C1), _number(0x5A05A5C1), _number(0x5A06A5C1)
NAME, INNER_NAME = Marker("@our-name-here@", b"@our-name-here@\0"), Marker("@its-name-here@", b"@its-name-here@\0")
MAC = Marker("02:fa:ce:0f:f1:ce", bytes.fromhex("02face0ff1ce"))
IP = Marker("203.0.113.201", bytes((203, 0, 113, 201)))
GATEWAY = Marker("203.0.113.202", bytes((203, 0, 113, 202)))
SUBNET = Marker("203.0.113.203", bytes((203, 0, 113, 203)))
IP6 = Marker("fdfa:ce01::5a5a", socket.inet_pton(socket.AF_INET6, "fdfa:ce01::5a5a"))
GATEWAY6 = Marker("fdfa:ce02::5a5a", socket.inet_pton(socket.AF_INET6, "fdfa:ce02::5a5a"))
SUBNET6 = Marker("fdfa:ce03::5a5a", socket.inet_pton(socket.AF_INET6, "fdfa:ce03::5a5a"))
MARKERS = (
    INDEX,
    INNER_INDEX,
    NETNS_FD,
    METRIC,
    BRIDGE_INDEX,
    GROUP,
    NAME,
    INNER_NAME,
    MAC,
    IP,
    GATEWAY,
    SUBNET,
    IP6,
    GATEWAY6,
    SUBNET6,
)


def link(kind: int, flags: int, fields: Mapping[str, Any], attributes: Sequence[tuple[str, Any]]) -> bytes:
    """Encode one message about a link (ifinfomsg)."""
    from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg  # saves 150-200 ms until the first network is touched

    return _encode(ifinfmsg(), kind, flags, fields, attributes)


def address(kind: int, flags: int, fields: Mapping[str, Any], attributes: Sequence[tuple[str, Any]]) -> bytes:
    """Encode one message about an address (ifaddrmsg)."""
    from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg  # as above

    return _encode(ifaddrmsg(), kind, flags, fields, attributes)


def route(kind: int, flags: int, fields: Mapping[str, Any], attributes: Sequence[tuple[str, Any]]) -> bytes:
    """Encode one message about a route of the main table, a unicast one unless `fields` say otherwise (rtmsg)."""
    from pyroute2.netlink.rtnl.rtmsg import rtmsg  # as above

    return _encode(rtmsg(), kind, flags, {"table": 254, "type": 1, "proto": 4, **fields}, attributes)


def _encode(
    message: Any, kind: int, flags: int, fields: Mapping[str, Any], attributes: Sequence[tuple[str, Any]]
) -> bytes:
    message["attrs"] = list(attributes)
    for name, value in fields.items():
        message[name] = value
    message["header"]["type"], message["header"]["flags"] = kind, flags
    message.encode()
    return bytes(message.data)


def get_link(index: int, attributes: bytes = b"", *, with_statistics: bool = False) -> bytes:
    """Encode the question for what the kernel has to say of a link; it counts only `with_statistics`."""
    mask = 0 if with_statistics else _SKIP_STATISTICS
    body = _IF_INFO.pack(0, 0, index, 0, 0) + attribute(_EXT_MASK, struct.pack("=I", mask)) + attributes
    return _HEADER.pack(_HEADER.size + len(body), GET_LINK, 1, 1, 0) + body


def attribute(kind: int, payload: bytes) -> bytes:
    """Encode one attribute (rtattr) of what pyroute2 does not know."""
    return struct.pack("=HH", 4 + len(payload), kind) + payload + bytes(-len(payload) % 4)


def read_attributes(data: bytes) -> dict[int, bytes]:
    """Return the attributes (rtattr, nlattr) that `data` consists of, by kind, without the flags of netlink(7) in that."""
    found = {}
    offset = 0
    while offset + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, offset)
        found[kind & 0x3FFF] = data[offset + 4 : offset + length]
        offset += max(4, (length + 3) & ~3)
    return found


class Template:
    """A batch of encoded messages, each with the words that name it in an error."""

    def __init__(self, messages: Sequence[tuple[str, bytes]]) -> None:
        self.steps, self._data = _numbered(messages)
        self._places = {marker: places for marker in MARKERS if (places := _find_all(self._data, marker.data))}

    def fill(self, values: Mapping[Marker, int | bytes]) -> bytearray:
        """Return the batch with every marker replaced; KeyError if a value is missing.

        Numbers are 32 bits in the machine's order; bytes shorter than the marker are padded with NUL (names).
        """
        data = bytearray(self._data)
        for marker, places in self._places.items():
            value = values[marker]
            size = len(marker.data)
            patch = value.to_bytes(4, sys.byteorder) if isinstance(value, int) else value.ljust(size, b"\0")
            if len(patch) != size:
                raise ValueError(f"{value!r} does not fit into {size} bytes")
            for place in places:
                data[place : place + size] = patch
        return data


class Netlink:
    """A raw netlink socket, rtnetlink's unless told otherwise, of the network namespace in which it was made."""

    def __init__(self, protocol: int = socket.NETLINK_ROUTE) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> "Netlink":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(
        self, template: Template, values: Mapping[Marker, int | bytes], name: str = "", *, ignore: Sequence[int] = ()
    ) -> None:
        """Send the batch and read what is answered; OSError of the first step that failed, on the link `name`.

        The kernel answers within the send, so nothing is waited for. All steps run, also those after a failed one.
        """
        self._run(template.steps, template.fill(values), name, ignore)

    def run(self, messages: Sequence[tuple[str, bytes]], name: str = "", *, ignore: Sequence[int] = ()) -> None:
        """Send messages that are encoded already, each with its words, like `send`; none is nothing."""
        if messages:
            self._run(*_numbered(messages), name, ignore)

    def ask(self, words: str, message: bytes) -> bytes:
        """Send one question and return the message that answers it."""
        self._socket.send(message)
        reply = self._socket.recv(_REPLY_BYTES)
        if _HEADER.unpack_from(reply)[1] == _NLMSG_ERROR:
            code = -struct.unpack_from("=i", reply, _HEADER.size)[0]
            raise OSError(code, f"{words}: {os.strerror(code)}")
        return reply

    def classes(self, index: int) -> list[int]:
        """Return the handles of all traffic classes of a link."""
        size = _HEADER.size + _TC_SIZE
        question = _HEADER.pack(size, GET_CLASS, DUMP, 1, 0) + struct.pack("=BxHiIII", 0, 0, index, 0, 0, 0)
        return [struct.unpack_from("=I", answer, _HEADER.size + 8)[0] for answer in self.answers(question)]

    def find(self, question: bytes) -> bytes:
        """Send a question that wants an acknowledgement as well, and return what answers it; empty if nothing does."""
        return ([b""] + self.answers(question))[-1]

    def count(self, question: bytes) -> int:
        """Return how many messages answer a question that asks for all of something; none where there is nothing."""
        return len(self.answers(question))

    def answers(self, question: bytes, words: str = "") -> list[bytes]:
        """Send a question and return all messages before the acknowledgement, or the end of a dump.

        A refusal is an end as well, and an OSError that begins with `words` if there are any.
        """
        return list(self.each_answer(question, words))

    def each_answer(self, question: bytes, words: str = "") -> Iterator[bytes]:
        """Yield these as they come; nothing else may be sent before the last one."""
        self._socket.send(question)
        while True:
            reply = self._socket.recv(_REPLY_BYTES)
            offset = 0
            while offset < len(reply):
                length, kind, _, _, _ = _HEADER.unpack_from(reply, offset)
                if kind in (_NLMSG_ERROR, _NLMSG_DONE):
                    code = -struct.unpack_from("=i", reply, offset + _HEADER.size)[0] if kind == _NLMSG_ERROR else 0
                    if code and words:
                        raise OSError(code, f"{words}: {os.strerror(code)}")
                    return
                yield reply[offset : offset + length]
                offset += (length + 3) & ~3

    def _run(self, steps: Sequence[str], data: bytes | bytearray, name: str, ignore: Sequence[int]) -> None:
        self._socket.send(data)
        codes: dict[int, int] = {}
        while len(steps) not in codes:
            codes.update(_codes_in(self._socket.recv(_REPLY_BYTES)))
        for number, words in enumerate(steps, start=1):
            if (code := codes.get(number, 0)) and code not in ignore:
                raise OSError(code, f"{words}: {os.strerror(code)}", name or None)

    def codes(self, data: bytes) -> list[int]:
        """Send messages; return the codes of all that the kernel has answered when the send returns, 0 of what was done."""
        self._socket.send(data)
        found: list[int] = []
        while True:
            try:
                reply = self._socket.recv(_REPLY_BYTES, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return found
            found += (code for _, code in _codes_in(reply))

    def links(self) -> list[int]:
        """Return the indexes of all links. It costs a tenth of RTM_GETLINK, which tells everything of each."""
        size = _HEADER.size + _IF_STATS.size
        question = _HEADER.pack(size, GET_STATS, DUMP, 1, 0) + _IF_STATS.pack(0, 0, 0, 0, 1 << (_STATS_LINK_64 - 1))
        replies = self.answers(question, "list the links")
        return [struct.unpack_from("=I", reply, _HEADER.size + _IF_INDEX)[0] for reply in replies]

    def byte_counts(self, index: int) -> tuple[int, int]:
        """Return (received, sent) bytes of a link; OSError(ENODEV) if it is gone. RTM_GETSTATS, kernel 4.7."""
        size = _HEADER.size + _IF_STATS.size
        mask = 1 << (_STATS_LINK_64 - 1)
        question = _HEADER.pack(size, GET_STATS, 1, 1, 0) + _IF_STATS.pack(0, 0, 0, index, mask)
        reply = self.ask(f"read statistics of link {index}", question)
        _, _, received, sent = struct.unpack_from("=4Q", reply, size + 4)  # rtnl_link_stats64, behind a 4-byte header
        return received, sent


def _codes_in(reply: bytes) -> Iterator[tuple[int, int]]:
    """Yield number and code of each message that a datagram answers."""
    offset = 0
    while offset < len(reply):
        length, kind, _, number, _ = _HEADER.unpack_from(reply, offset)
        if kind == _NLMSG_ERROR:
            yield number, -struct.unpack_from("=i", reply, offset + _HEADER.size)[0]
        offset += (length + 3) & ~3


def _numbered(messages: Sequence[tuple[str, bytes]]) -> tuple[tuple[str, ...], bytes]:
    """Return the words of each message, and all of them in one piece, numbered from 1 so that answers can be told apart.

    Only the last one asks for an acknowledgement.
    """
    data = bytearray()
    for number, (_, message) in enumerate(messages, start=1):
        padded = bytearray(message + bytes(-len(message) % 4))
        length, kind, flags, _, port = _HEADER.unpack_from(padded)
        flags = flags | _ACK if number == len(messages) else flags & ~_ACK
        _HEADER.pack_into(padded, 0, length, kind, flags, number, port)
        data += padded
    return tuple(words for words, _ in messages), bytes(data)


def _find_all(data: bytes, part: bytes) -> tuple[int, ...]:
    places = []
    place = data.find(part)
    while place >= 0:
        places.append(place)
        place = data.find(part, place + len(part))
    return tuple(places)

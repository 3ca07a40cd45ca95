"""What the host still remembers of a published UDP port, and of an address, from before it was somebody else's.

Connection tracking translates by the first packet of a sender, and UDP has no end: as long as somebody goes on sending, all
that he sends goes where the first one went - to nobody, if he came before the port was published, and else to the address of
the last container, which may be another's by now. So these entries are deleted when a port is published and when it ceases to
be; the next packet is translated by the rules as they are then. TCP needs none of that: a new connection is a new entry.

What is established passes every wall. So of an address that nobody has any more all entries are deleted, whatever their
protocol, before somebody else gets it. That is seldom soon, so nothing is done when it is left: the kernel would look through
its table for each end.

CTA_FILTER, from Linux 5.8 on, has the kernel choose; before, it tells all and we choose. Messages: ctnetlink.py.
"""

import errno
import itertools
import re
import socket
import struct
import sys
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import NamedTuple

from pycontainer.net import sysctl
from pycontainer.net.ctnetlink import (
    DELETE,
    FILTER,
    GET,
    HEADER,
    ID,
    NESTED,
    PROTO_DST_PORT,
    PROTO_NUM,
    SRC,
    TUPLE_IP,
    TUPLE_ORIG,
    TUPLE_PROTO,
    TUPLE_REPLY,
    ZONE,
    message,
    packed,
)
from pycontainer.net.messages import ACK, DUMP, NETLINK_NETFILTER, Netlink, attribute, read_attributes
from pycontainer.net.ports import WILDCARDS
from pycontainer.spec.model import Port

_FILTER_ORIG_FLAGS = 1
_BY_NUM, _BY_DST_PORT = 1 << 3, 1 << 5
_AT_ONCE = 100  # acknowledgements that wait in the socket's buffer
_PORTS_ONE_BY_ONE = 4  # of more ports all that is UDP is asked for, and read here
_FINISH_SECONDS = 1.0
_LEFT_MOST = 4096  # addresses that were left, until they are seen to all the same
ANY_PORT = 9
_WILDCARD: dict[int, str] = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}
_FAMILY_AT = 16  # nfgen_family, behind nlmsghdr


def _pair(source: int, length: int) -> re.Pattern[bytes]:
    """Return what finds a tuple's source and destination ten times as fast as reading all attributes does."""
    source_is, destination_is = (re.escape(struct.pack("=HH", 4 + length, kind)) for kind in (source, source + 1))
    return re.compile(b"%s(.{%d})%s(.{%d})" % (source_is, length, destination_is, length), re.DOTALL)


_PAIRS: dict[int, re.Pattern[bytes]] = {
    socket.AF_INET: _pair(SRC[socket.AF_INET], 4),
    socket.AF_INET6: _pair(SRC[socket.AF_INET6], 16),
}

IsLeft = Callable[[bytes], bool]  # of a packed address


class _Entry(NamedTuple):
    destination: bytes  # whom the sender addresses
    port: int
    answered_by: bytes  # who gets it, by what is translated
    names_it: bytes  # the attributes by which the kernel finds it again


class Tracked:
    """Forgets beside what else is going on: for each look the kernel goes through its whole table, some 10 ms.

    What is asked for meanwhile is done by one more look, however much it is.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked: list[Published] = []
        self._asked_left: list[IsLeft] = []
        self._left: set[bytes] = set()
        self._awaited: list[tuple[IsLeft, threading.Thread]] = []  # who looks to which addresses
        self._is_at_work = False
        self._thread: threading.Thread | None = None

    def forget(self, ports: Iterable[Port], *, keep: Iterable[str] = ()) -> None:
        """Delete soon what is remembered of the senders to these ports, but for what leads to the addresses `keep`."""
        published = Published(tuple(port for port in ports if port.protocol == "udp"), frozenset(filter(None, keep)))
        if published.ports:
            with self._lock:
                self._asked.append(published)
            self._begin()

    def leave(self, *addresses: str) -> None:
        """Note that nobody has these addresses any more; `settle` is for who gets one of them."""
        self._left.update(map(packed, filter(None, addresses)))
        if len(self._left) >= _LEFT_MOST:
            self._forget_left()

    def settle(self, *addresses: str) -> None:
        """Return when nothing is remembered of these addresses from before; that is nearly always at once."""
        wanted = [*map(packed, filter(None, addresses))]
        if not self._left.isdisjoint(wanted):
            self._forget_left()
        self._awaited = [(is_left, thread) for is_left, thread in self._awaited if thread.is_alive()]
        for is_left, thread in self._awaited:
            if any(map(is_left, wanted)):
                thread.join()

    def forget_left(self, is_left: IsLeft) -> None:
        """Delete soon what names an address of which `is_left` is true; `settle` waits for it."""
        with self._lock:
            self._asked_left.append(is_left)
        self._begin()
        if self._thread is not None:
            self._awaited.append((is_left, self._thread))

    def _forget_left(self) -> None:
        left, self._left = frozenset(self._left), set()
        self.forget_left(left.__contains__)

    def _begin(self) -> None:
        with self._lock:
            if self._is_at_work:
                return
            self._is_at_work = True
        self._thread = threading.Thread(target=self._work, name="tracked", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # no more threads: those who wait for us have to wait for this, too
            self._thread = None
            self._work()

    def finish(self) -> None:
        """Wait for what was asked for, not for long: what is left is forgotten with the pause of the senders."""
        if self._thread is not None:
            self._thread.join(_FINISH_SECONDS)

    def _work(self) -> None:
        while True:
            with self._lock:
                asked, self._asked = self._asked, []
                left, self._asked_left = self._asked_left, []
                if not asked and not left:
                    self._is_at_work = False
                    return
            try:
                if left:
                    forget_addresses(left)
                if asked:
                    forget(asked)
            except Exception as error:  # also what nobody thought of: the next one is to be tried
                print(f"what is tracked of former containers is not forgotten: {error}", file=sys.stderr, flush=True)


class Published(NamedTuple):
    """Ports, and the addresses of who has them from now on; none if nobody has."""

    ports: tuple[Port, ...]
    keep: frozenset[str]


def forget(published: Iterable[Published]) -> int:
    """Delete what is remembered of the senders to these UDP ports; return how many entries that were.

    Of a port that is there twice, the last one says whose it is. Only what was sent to an address of this host is looked at:
    others may have the same port, and be far away. OSError if the kernel does not delete what it has told of.
    """
    places: dict[tuple[int, str], frozenset[bytes]] = {}  # port and address of the host -> whom it leads to
    for ports, keep in published:
        for port in ports:
            for host_ip in WILDCARDS.get(port.host_ip, (port.host_ip,)):
                places[port.host_port, host_ip] = frozenset(map(packed, keep))
    own: dict[str, bool] = {}

    def is_stale(family: int, entry: _Entry) -> bool:
        address = socket.inet_ntop(family, entry.destination)
        keep = places.get((entry.port, address))
        if keep is None:
            keep = places.get((entry.port, _WILDCARD[family]))
            if keep is not None and address not in own:
                own[address] = is_own(address)
            if keep is None or not own[address]:
                return False
        return entry.answered_by not in keep

    with Netlink(NETLINK_NETFILTER) as netlink:
        stale = [
            (family, entry)
            for family, entry in _entries(netlink, {port for port, _ in places})
            if is_stale(family, entry)
        ]
        _delete(netlink, [(family, entry.names_it) for family, entry in stale])
    return len(stale)


def forget_addresses(left: Iterable[IsLeft]) -> int:
    """Delete all that names an address of which one of `left` is true; return how many entries that were. Errors as above."""
    if sysctl.read("netfilter/nf_conntrack_count") in ("", "0"):
        return 0

    def is_stale(answer: bytes) -> bool:
        addresses = {*itertools.chain(*_PAIRS[answer[_FAMILY_AT]].findall(answer))}
        return any(is_left(address) for is_left in left for address in addresses)

    with Netlink(NETLINK_NETFILTER) as netlink:
        answers = netlink.each_answer(message(GET, DUMP, socket.AF_UNSPEC, b""), "look at what is tracked")
        stale = [
            (answer[_FAMILY_AT], _names_it(read_attributes(answer[HEADER.size :])))
            for answer in answers
            if answer[_FAMILY_AT] in _PAIRS and is_stale(answer)
        ]
        _delete(netlink, stale)
    return len(stale)


def _delete(netlink: Netlink, stale: Iterable[tuple[int, bytes]]) -> None:
    deletes = [("forget a connection", message(DELETE, ACK, family, names_it)) for family, names_it in stale]
    for first in range(0, len(deletes), _AT_ONCE):
        netlink.run(deletes[first : first + _AT_ONCE], ignore=(errno.ENOENT,))


def _entries(netlink: Netlink, ports: Collection[int]) -> Iterator[tuple[int, _Entry]]:
    """Tell what is tracked of UDP that goes to these ports, with its family."""
    for family in SRC:
        for only in ports if len(ports) <= _PORTS_ONE_BY_ONE else (0,):
            for answer in netlink.answers(_question(family, only), "look at what is tracked"):
                entry = _read(family, answer)
                if entry is not None and entry.port in ports and only in (0, entry.port):
                    yield family, entry


def _question(family: int, port: int) -> bytes:
    """Ask for all that is UDP; other than 0, `port` is the only one that is wanted."""
    number = attribute(PROTO_NUM, bytes([socket.IPPROTO_UDP]))
    wanted = number + (attribute(PROTO_DST_PORT, struct.pack(">H", port)) if port else b"")
    flags = _BY_NUM | (_BY_DST_PORT if port else 0)
    orig = attribute(TUPLE_ORIG | NESTED, attribute(TUPLE_PROTO | NESTED, wanted))
    chosen = attribute(FILTER | NESTED, attribute(_FILTER_ORIG_FLAGS, struct.pack("=I", flags)))
    return message(GET, DUMP, family, orig + chosen)


def _read(family: int, answer: bytes) -> _Entry | None:
    found = read_attributes(answer[HEADER.size :])
    try:
        orig, reply = read_attributes(found[TUPLE_ORIG]), read_attributes(found[TUPLE_REPLY])
        proto = read_attributes(orig[TUPLE_PROTO])
        if proto[PROTO_NUM] != bytes([socket.IPPROTO_UDP]):
            return None
        return _Entry(
            read_attributes(orig[TUPLE_IP])[SRC[family] + 1],
            int.from_bytes(proto[PROTO_DST_PORT], "big"),
            read_attributes(reply[TUPLE_IP])[SRC[family]],
            _names_it(found),
        )
    except KeyError:  # of another family or protocol, where the kernel tells all
        return None


def _names_it(found: dict[int, bytes]) -> bytes:
    named = attribute(TUPLE_ORIG | NESTED, found[TUPLE_ORIG])
    return named + b"".join(attribute(kind, found[kind]) for kind in (ID, ZONE) if kind in found)


def is_own(address: str) -> bool:
    """Tell whether this host has an address: what it sends there comes from there. (It may be let bind any address.)"""
    if address.startswith("fe80:"):  # reached on a link, and from nowhere else
        return True
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((address, ANY_PORT))
        except OSError:
            return False
        return str(probe.getsockname()[0]) == address

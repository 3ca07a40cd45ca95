"""Which connections are handed over, and until when: a thread that sleeps until the firewall shows it a packet.

    a packet of each direction has passed all rules  →  what does the kernel track of it?  →  is it plain?
    →  does the host have what must not be passed by?  →  it is told to be liberal, and handed over

A connection is given back to the kernel's way, which has known it all along, when
    its instance, a cap or a guard of it changes                                     at once (`dismiss`, `forget`)
    anybody but us changes nftables                                                  at once, all of them
    it ends                                                                          at once (program.py)
    connection tracking has it no more, or otherwise; the host has an obstacle       within 2 s
    it was handed over for long enough: much of what decides tells nobody            after 10 s
If it goes on, and the rules still let both directions, it is handed over again, some milliseconds later. What was shown
before rules changed, or at that moment, says nothing of them: for a twentieth of a second nothing is believed, nor what
lay in the socket at its end.
"""

import errno
import os
import re
import select
import sys
import threading
import time
from collections.abc import Collection, Iterable
from contextlib import ExitStack, suppress

from pycontainer.net.ctnetlink import Connection, be_liberal, expire, find_answered, find_begun, packed, require
from pycontainer.net.fastpath import host
from pycontainer.net.fastpath.flows import MOST, Flows
from pycontainer.net.fastpath.program import Flow
from pycontainer.net.fastpath.samples import HEADER_BYTES, Sample, Samples
from pycontainer.net.innerend import inner_end
from pycontainer.net.link import is_there
from pycontainer.net.messages import NETLINK_NETFILTER, Netlink
from pycontainer.net.rulesetwatch import RulesetWatch

__all__ = ["HEADER_BYTES", "FastPath"]
_OF_AN_INSTANCE = re.compile(r"pc-|px[0-9a-f]{4}-")  # of any world: HostPaths.interface_prefix
_LOOK_SECONDS = 2.0
_LEASE_LOOKS = 5
_UNUSED_LOOKS = (
    30  # of a link, until the program is taken from it: it takes longer to hang it there than to be passed by
)
_DEAF_SECONDS = 0.05
_FRESH_SECONDS = 2.0  # between what was shown of the two directions
_REFUSED_SECONDS = 1.0
_MOST_OF_ONE = 128  # of an instance
_ENDING_SECONDS = 10  # as the firewall has it for closed connections


class _Place:
    """An instance's link, and the addresses that are reached by it."""

    __slots__ = ("link", "mac", "addresses")

    def __init__(self, link: int, mac: bytes, addresses: Iterable[str]) -> None:
        self.link, self.mac, self.addresses = link, mac, frozenset(map(packed, addresses))


class _Shown:
    """When which direction of a connection was last let pass, and by which uplink: 0 to the instance, 1 from it."""

    __slots__ = ("times", "uplinks")

    def __init__(self) -> None:
        self.times, self.uplinks = [0.0, 0.0], [0, 0]


class _Handed:
    """A connection that is handed over."""

    __slots__ = ("connection", "flow", "bytes", "looks")

    def __init__(self, connection: Connection, flow: Flow) -> None:
        self.connection, self.flow = connection, flow
        self.bytes = self.looks = 0


class FastPath:
    """Works in the network namespace in which it is made, until `close`; `group` is where the firewall is to show packets."""

    def __init__(self, table: str, writers: Collection[int]) -> None:
        """`table` and `writers` as of RulesetWatch. OSError if the kernel lacks what this takes."""
        self._lock = threading.Lock()  # of what others call for; never held while anybody is asked
        self._places: dict[int, _Place] = {}
        self._handed: dict[bytes, _Handed] = {}  # by Connection.orig, as all that follows
        self._deaf_until: float | None = None
        self._shown: dict[bytes, _Shown] = {}
        self._refused: dict[bytes, float] = {}  # until when nobody asks again
        self._unused_looks: dict[int, int] = {}  # of links
        self._is_over = False
        self._failure = ""
        with ExitStack() as undo:
            self._flows = Flows()
            undo.callback(self._flows.close)
            self._samples = Samples()
            undo.callback(self._samples.close)
            self._watch = RulesetWatch(table, writers)
            undo.callback(self._watch.close)
            self._tracked = Netlink(NETLINK_NETFILTER)
            undo.callback(self._tracked.close)
            require(self._tracked)
            self._routes = Netlink()
            undo.callback(self._routes.close)
            self._wake_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            undo.callback(os.close, self._wake_fd)
            self.group = self._samples.group
            self._thread = threading.Thread(target=self._work, name="fastpath", daemon=True)
            try:
                self._thread.start()
            except RuntimeError as error:
                raise OSError(errno.EAGAIN, "no more threads") from error
            self._closing = undo.pop_all()

    def close(self) -> None:
        """Give everything back to the kernel's way."""
        self._is_over = True
        os.eventfd_write(self._wake_fd, 1)
        self._thread.join()
        self._closing.close()

    def admit(self, link: int, mac: bytes, *addresses: str) -> None:
        """Hand over connections of an instance from now on, which has these addresses and this link."""
        with self._lock:
            if not self._failure:
                self._places[link] = _Place(link, mac, filter(None, addresses))

    def dismiss(self, link: int) -> None:
        """Hand over nothing any more that goes by a link of an instance; nothing happens if there is none such."""
        with self._lock:
            self._places.pop(link, None)
            self._give_back(orig for orig, handed in self._handed.items() if handed.flow.link == link)

    def forget(self) -> None:
        """Have the kernel decide of everything anew."""
        with self._lock:
            self._deaf_until = time.monotonic() + _DEAF_SECONDS
            self._give_back(self._handed)

    def count(self, links: Collection[int]) -> int:
        """Return how many connections of these links are handed over."""
        with self._lock:
            return sum(handed.flow.link in links for handed in self._handed.values())

    def obstacle(self) -> str:
        """Say why nothing can be handed over as the host is; empty if it can."""
        return self._failure or host.obstacle()

    def _give_back(self, origs: Iterable[bytes]) -> None:
        """Have the kernel decide of these again; those that are handed over no more are left out. With the lock."""
        for orig in [*origs]:
            if (handed := self._handed.pop(orig, None)) is not None:
                self._flows.take_out(handed.flow)

    # -- the thread

    def _work(self) -> None:
        try:
            self._serve()
        except Exception as error:  # also what nobody thought of: without us all goes the kernel's way
            self._failure = f"it failed: {error}"
            print(f"fast path: nothing is handed over any more: {error}", file=sys.stderr, flush=True)
            self._flows.unhook_all()  # nothing is translated from here on, whatever the map holds
            self._samples.close()
            with self._lock:
                self._places.clear()
                self._handed.clear()

    def _serve(self) -> None:
        poll = select.poll()
        for fd in (self._samples.fileno(), self._wake_fd):
            poll.register(fd, select.POLLIN)
        is_listening = False
        next_look = 0.0
        while not self._is_over:
            is_busy = bool(self._handed or self._flows.hooked())
            if is_busy != is_listening:  # or each start of a container would wake us
                if is_busy:
                    poll.register(self._watch.fileno(), select.POLLIN)
                else:
                    poll.unregister(self._watch.fileno())
                is_listening = is_busy
            poll.poll(max(0.0, next_look - time.monotonic()) * 1000 if is_busy else None)
            self._hear()
            samples = self._samples.read()
            if not self._is_deaf():
                for sample in samples:
                    self._consider(sample)
            if is_busy and time.monotonic() >= next_look:
                self._look()
                next_look = time.monotonic() + _LOOK_SECONDS

    def _hear(self) -> None:
        """Heed what others changed of nftables until now."""
        self._watch.heard()
        if self._watch.others_changed():
            self.forget()

    def _is_deaf(self) -> bool:
        """Tell whether rules have changed just now, or that was over when packets were read: these say nothing, either."""
        with self._lock:
            if self._deaf_until is None:
                return False
            if time.monotonic() >= self._deaf_until:
                self._samples.read()
                self._deaf_until = None
        self._shown.clear()
        self._refused.clear()
        return True

    def _consider(self, sample: Sample) -> None:
        """Hand a connection over if it may be, now that one of its packets was let pass."""
        self._hear()
        if self._deaf_until is not None:
            return
        is_from = sample.came_by in self._places
        place = self._places.get(sample.came_by if is_from else sample.leaves_by)
        if place is None or sample.mark:
            return
        now = time.monotonic()
        with suppress(OSError):  # it ended, or a link is gone
            connection = (
                find_begun(self._tracked, *sample.from_it) if is_from else find_answered(self._tracked, *sample.to_it)
            )
            if connection is None or not self._is_wanted(connection, place, now):
                return
            uplink = sample.leaves_by if is_from else sample.came_by
            if not self._was_shown_twice(connection, now, uplink, is_from=is_from):
                return
            if self._hand_over(connection, place, uplink):
                return
            if len(self._refused) >= MOST:
                self._refused.clear()
            self._refused[connection.orig] = now + _REFUSED_SECONDS

    def _is_wanted(self, connection: Connection, place: _Place, now: float) -> bool:
        with self._lock:
            of_one = sum(handed.flow.link == place.link for handed in self._handed.values())
            return (
                connection.is_plain
                and connection.ends.instance in place.addresses
                and connection.orig not in self._handed
                and now >= self._refused.get(connection.orig, 0)
                and of_one < _MOST_OF_ONE
                and len(self._handed) < MOST
            )

    def _was_shown_twice(self, connection: Connection, now: float, uplink: int, *, is_from: bool) -> bool:
        """Tell whether a packet of each direction was let pass: rules may well refuse one alone."""
        if len(self._shown) >= MOST:
            self._shown.clear()
        shown = self._shown.setdefault(connection.orig, _Shown())
        shown.times[is_from], shown.uplinks[is_from] = now, uplink
        return now - min(shown.times) < _FRESH_SECONDS and shown.uplinks[0] == shown.uplinks[1]

    def _hand_over(self, connection: Connection, place: _Place, uplink: int) -> bool:
        self._shown.pop(connection.orig, None)
        if host.obstacle() or not self._are_plain(uplink, place.link):
            return False
        next_hop = self._next_hop(connection, uplink, place.link)
        if not next_hop:
            return False
        flow = Flow(connection.ends, uplink, place.link, place.mac, next_hop)
        self._flows.hook(uplink)
        self._flows.hook(place.link)
        if not be_liberal(self._tracked, connection):
            return False
        with self._lock:
            if self._places.get(place.link) is not place or self._deaf_until is not None:
                return False
            self._flows.put(flow)
            self._handed[connection.orig] = _Handed(connection, flow)
        # Again, for the packets that came meanwhile.
        if be_liberal(self._tracked, connection) and self._is_as_it_was(connection):
            return True
        with self._lock:
            self._give_back([connection.orig])
        return False

    def _next_hop(self, connection: Connection, uplink: int, link: int) -> bytes:
        """Return to whom routes lead what is for the client.

        Empty if they lead either direction by other links than these, or ask for more.
        """
        ask, family, ends = self._routes, connection.family, connection.ends
        client, instance = (ends.client, ends.client_port), (ends.instance, ends.instance_port)
        there = host.way(ask, family, client, instance, uplink)
        back = host.way(ask, family, instance, client, link)
        is_by_them = there.link == link and back.link == uplink and there.is_plain and back.is_plain
        return back.gateway or ends.client if is_by_them and host.forwards(family) else b""

    def _are_plain(self, uplink: int, link: int) -> bool:
        """Tell whether there is nothing at the two links themselves, and at the inner end, that decides of each packet."""
        ask = self._routes
        seen, seen_uplink = host.look_at(ask, link), host.look_at(ask, uplink)
        return (
            seen_uplink.is_ethernet
            and seen_uplink.mtu >= seen.mtu
            and not _OF_AN_INSTANCE.match(seen_uplink.name)
            and not seen.has_queue
            and not any(
                host.is_controlled(ask, index) or self._flows.is_beside_others(index) for index in (uplink, link)
            )
            and not self._flows.is_beside_others(link, is_egress=True)
            and not inner_end(ask, link).has_program
        )

    def _is_as_it_was(self, connection: Connection) -> bool:
        now = find_begun(self._tracked, connection.family, *connection.ends.begun)
        return now is not None and now.is_plain and now.id == connection.id

    def _look(self) -> None:
        """Look at everything that nobody tells of."""
        if self._watch.missed() or host.obstacle():
            self.forget()
        with self._lock:
            all_handed = [*self._handed.values()]
        plain: dict[tuple[int, int], bool] = {}
        for handed in all_handed:
            links = handed.flow.uplink, handed.flow.link
            stays = False
            with suppress(OSError):  # something of it is gone
                if links not in plain:
                    plain[links] = self._are_plain(*links)
                stays = plain[links] and self._goes_on(handed)
            if not stays:
                with self._lock:
                    self._give_back([handed.connection.orig])
        used = {index for handed in all_handed for index in (handed.flow.uplink, handed.flow.link)}
        self._unused_looks = {index: self._unused_looks.get(index, 0) + 1 for index in self._flows.hooked() - used}
        for index, looks in self._unused_looks.items():
            if looks >= _UNUSED_LOOKS or (index not in self._places and not is_there(index)):
                self._flows.unhook(index)

    def _goes_on(self, handed: _Handed) -> bool:
        connection, flow, count = handed.connection, handed.flow, self._flows.bytes_of(handed.flow)
        if count is None or not self._is_as_it_was(connection):
            return False
        if self._next_hop(connection, flow.uplink, flow.link) != flow.next_hop:
            return False
        if count != handed.bytes:
            expire(self._tracked, connection, connection.timeout_seconds)
            if not self._is_as_it_was(connection):  # it ended in between, and would be remembered for days
                expire(self._tracked, connection, _ENDING_SECONDS)
                return False
        handed.bytes, handed.looks = count, handed.looks + 1
        return handed.looks < _LEASE_LOOKS

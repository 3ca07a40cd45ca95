"""Which connections are handed over, and until when: a thread that sleeps until the firewall shows it a packet.

    a sample  →  is it of an instance that was admitted?  →  what does the kernel track of it?  →  is it plain?
              →  does the host have what must not be passed by?  →  it is told to be liberal, and handed over

A connection is given back to the kernel's way, which has known it all along, when
    its instance, a cap or a published port of it changes                            at once (`dismiss`, `forget`)
    anybody but us changes nftables                                                  at once, all of them
    it ends                                                                          at once (program.py)
    connection tracking has it no more, or otherwise; the host has an obstacle       within 2 s
    nothing went through it                                                          after 10 s
If it goes on, and the new rules let it, it is sampled again. What was shown before rules changed, or at that moment, says
nothing of them: for a twentieth of a second nothing is believed.
"""

import os
import re
import select
import socket
import sys
import threading
import time
from collections.abc import Collection, Iterable
from contextlib import ExitStack, suppress

from pycontainer.net.ctnetlink import Connection, be_liberal, extend, find
from pycontainer.net.fastpath import host
from pycontainer.net.fastpath.flows import MOST, Flows
from pycontainer.net.fastpath.program import Flow
from pycontainer.net.fastpath.samples import HEADER_BYTES, Sample, Samples
from pycontainer.net.messages import NETLINK_NETFILTER, Netlink
from pycontainer.net.rulesetwatch import RulesetWatch

__all__ = ["HEADER_BYTES", "FastPath"]
_OF_AN_INSTANCE = re.compile(r"pc-|px[0-9a-f]{4}-")  # of any world: HostPaths.interface_prefix
_LOOK_SECONDS = 2.0
_IDLE_LOOKS = 5
_UNUSED_LOOKS = (
    30  # of a link, until the program is taken from it: it takes longer to hang it there than to be passed by
)
_DEAF_SECONDS = 0.05
_REFUSED_SECONDS = 1.0
_MOST_OF_ONE = 128  # of an instance


_Ends = tuple[bytes, int, bytes, int]  # instance and client, each with its port


class _Place:
    """An instance's link, by which its addresses are reached."""

    __slots__ = ("link", "mac")

    def __init__(self, link: int, mac: bytes) -> None:
        self.link, self.mac = link, mac


class _Handed:
    """A connection that is handed over."""

    __slots__ = ("family", "connection", "flow", "bytes", "idle_looks")

    def __init__(self, family: int, connection: Connection, flow: Flow) -> None:
        self.family, self.connection, self.flow = family, connection, flow
        self.bytes = self.idle_looks = 0


class FastPath:
    """Works in the network namespace in which it is made, until `close`; `group` is where the firewall is to show packets."""

    def __init__(self, table: str, writers: Collection[int]) -> None:
        """`table` and `writers` as of RulesetWatch. OSError if the kernel lacks what this takes."""
        self._lock = threading.Lock()  # of places and flows, never while the kernel is asked for more than an entry
        self._places: dict[bytes, _Place] = {}
        self._handed: dict[_Ends, _Handed] = {}
        self._refused: dict[_Ends, float] = {}  # until when nobody asks again
        self._unused_looks: dict[int, int] = {}  # of links
        self._deaf_until = 0.0
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
            self._routes = Netlink()
            undo.callback(self._routes.close)
            self._wake_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            undo.callback(os.close, self._wake_fd)
            self._thread = threading.Thread(target=self._work, name="fastpath", daemon=True)
            self._thread.start()
            self._closing = undo.pop_all()
        self.group = self._samples.group

    def close(self) -> None:
        """Give everything back to the kernel's way."""
        self._is_over = True
        os.eventfd_write(self._wake_fd, 1)
        self._thread.join()
        self._closing.close()

    def admit(self, link: int, mac: bytes, *addresses: str) -> None:
        """Hand over connections of an instance from now on, which has these addresses and this link."""
        place = _Place(link, mac)
        with self._lock:
            if self._failure:
                return
            self._places.update(dict.fromkeys(map(_packed, filter(None, addresses)), place))

    def dismiss(self, link: int) -> None:
        """Hand over nothing any more that goes by a link of an instance; nothing happens if there is none such."""
        with self._lock:
            for address in [address for address, place in self._places.items() if place.link == link]:
                del self._places[address]
            self._give_back(ends for ends, handed in self._handed.items() if handed.flow.link == link)

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

    def _give_back(self, all_ends: Iterable[_Ends]) -> None:
        """Have the kernel decide of these again; those that are handed over no more are left out. With the lock."""
        for ends in [*all_ends]:
            if (handed := self._handed.pop(ends, None)) is not None:
                self._flows.take_out(handed.flow)

    def _work(self) -> None:
        poll = select.poll()
        for fd in (self._samples.fileno(), self._wake_fd):
            poll.register(fd, select.POLLIN)
        is_listening = False
        next_look = 0.0
        try:
            while not self._is_over:
                is_busy = bool(self._handed or self._flows.hooked())
                if is_busy != is_listening:  # or each start of a container would wake us
                    (poll.register if is_busy else poll.unregister)(self._watch.fileno())
                    is_listening = is_busy
                ready = {fd for fd, _ in poll.poll(_LOOK_SECONDS * 1000 if is_busy else None)}
                if self._watch.fileno() in ready:
                    self._hear()
                if self._samples.fileno() in ready:
                    for sample in self._samples.read():
                        self._consider(sample)
                if is_busy and time.monotonic() >= next_look:
                    self._look()
                    next_look = time.monotonic() + _LOOK_SECONDS
        except Exception as error:  # also what nobody thought of: without us all goes the kernel's way
            with self._lock:
                self._failure = f"it failed: {error}"
                self._places.clear()
                self._give_back(self._handed)
            print(f"fast path: nothing is handed over any more: {error}", file=sys.stderr, flush=True)

    def _hear(self) -> None:
        self._watch.heard()
        if self._watch.others_changed():
            self.forget()

    def _consider(self, sample: Sample) -> None:
        """Hand a connection over if it may be."""
        instance, instance_port, client, client_port = sample[1:5]
        if sample.source not in self._places:
            client, client_port, instance, instance_port = sample[1:5]
        ends, place = (instance, instance_port, client, client_port), self._places.get(instance)
        if place is None or client in self._places or ends in self._handed or not self._has_room(place):
            return
        if not self._handed:
            self._hear()
        now = time.monotonic()
        if now < self._deaf_until or now < self._refused.get(ends, 0):
            return
        uplink = sample.leaves_by if instance == sample.source else sample.came_by
        with suppress(OSError):  # it ended, or a link is gone
            if self._hand_over(sample.family, ends, place, uplink, now):
                return
        if len(self._refused) >= MOST:
            self._refused.clear()
        self._refused[ends] = now + _REFUSED_SECONDS

    def _hand_over(self, family: int, ends: _Ends, place: _Place, uplink: int, began: float) -> bool:
        """Do so, if what the kernel and the host say of it `began` to be asked after the last change of rules."""
        instance, instance_port, client, _ = ends
        connection = find(self._tracked, family, *ends)
        if connection is None or not connection.is_plain or connection.client != client:
            return False
        flow = Flow(*connection[:4], instance, instance_port, uplink, place.link, place.mac)
        if host.obstacle() or not self._are_plain(uplink, place.link) or not self._may_pass(family, flow):
            return False
        self._flows.hook(uplink)
        self._flows.hook(place.link)
        if not be_liberal(self._tracked, family, connection):
            return False
        with self._lock:
            if self._places.get(instance) is not place or self._deaf_until > began:
                return False
            self._flows.put(flow)
            self._handed[ends] = handed = _Handed(family, connection, flow)
        if self._is_as_it_was(ends, handed):
            return True
        with self._lock:
            self._give_back([ends])
        return False

    def _has_room(self, place: _Place) -> bool:
        with self._lock:
            of_one = sum(handed.flow.link == place.link for handed in self._handed.values())
            return of_one < _MOST_OF_ONE and len(self._handed) < MOST

    def _may_pass(self, family: int, flow: Flow) -> bool:
        """Tell whether the host has nothing between the two links that decides of each packet."""
        back_by = host.way_back(self._routes, family, flow.instance, flow.client, flow.link)
        return host.forwards(family) and back_by == flow.uplink

    def _are_plain(self, uplink: int, link: int) -> bool:
        """Tell whether there is nothing at the two links themselves that does."""
        routes = self._routes
        seen, seen_uplink = host.look_at(routes, link), host.look_at(routes, uplink)
        return (
            seen_uplink.is_ethernet
            and seen_uplink.mtu >= seen.mtu
            and not _OF_AN_INSTANCE.match(seen_uplink.name)
            and not host.is_controlled(routes, uplink)
            and not host.is_controlled(routes, link)
        )

    def _is_as_it_was(self, ends: _Ends, handed: _Handed) -> bool:
        now = find(self._tracked, handed.family, *ends)
        return now is not None and now.is_plain and now.id == handed.connection.id

    def _look(self) -> None:
        """Look at everything that nobody tells of."""
        self._hear()
        if self._watch.missed() or host.obstacle():
            self.forget()
        plain: dict[tuple[int, int], bool] = {}
        for ends, handed in [*self._handed.items()]:
            links = handed.flow.uplink, handed.flow.link
            stays = False
            with suppress(OSError):  # something of it is gone
                if links not in plain:
                    plain[links] = self._are_plain(*links)
                stays = plain[links] and self._goes_on(ends, handed)
            if not stays:
                with self._lock:
                    self._give_back([ends])
        used = {index for handed in [*self._handed.values()] for index in (handed.flow.uplink, handed.flow.link)}
        self._unused_looks = {index: self._unused_looks.get(index, 0) + 1 for index in self._flows.hooked() - used}
        for index, looks in self._unused_looks.items():
            if looks >= _UNUSED_LOOKS:
                self._flows.unhook(index)

    def _goes_on(self, ends: _Ends, handed: _Handed) -> bool:
        count = self._flows.bytes_of(handed.flow)
        if count is None or not self._is_as_it_was(ends, handed) or not self._may_pass(handed.family, handed.flow):
            return False
        if count == handed.bytes:
            handed.idle_looks += 1
            return handed.idle_looks < _IDLE_LOOKS
        handed.bytes, handed.idle_looks = count, 0
        return extend(self._tracked, handed.family, handed.connection)


def _packed(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)

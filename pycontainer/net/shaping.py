"""Bandwidth of instances and tenants: shaped, both ways, so that nothing inside can lift it.

    veth of an instance ─ clsact ─┬─ what it sends ────▶ PREFIXfrom (ifb) ─ HTB ─▶ the host goes on with it
                                  └─ what it is sent ──▶ PREFIXto   (ifb) ─ HTB ─▶ the instance

    HTB of each ifb:  1:fffd everything ─┬─ group of a tenant ─┬─ group of an instance ─── its links
                                         │                     └─ ...
                                         └─ group of an instance without a tenant ─── its links

A class may use its `rate` always, and up to its `ceiling` what its parent has to spare: instances borrow from each other
beneath their tenant, and together never exceed it, whatever they were promised. A link's class has the low half of its
ifindex as minor, which an eBPF program of four instructions makes of each packet (mirred leaves the ifindex in it); no
filter and no source address tells instances apart, so nobody gets into another's class. Where bpf(2) is shut, a link has
filters of its own instead, which write its class into each packet's priority: HTB reads that first.

The clsact of every link names the same two blocks of filters, which send all to the ifbs. A block lives as long as a
device is in it: the third ifb, which is never up, stays there, and is made last: where it is, everything is.

Only groups with a cap, or with a tenant that has one, are redirected at all. After a restart the kernel is asked which
class a link has and what lies above it. Source: tc-htb(8), kernel net/sched/sch_htb.c, act_mirred.c.
"""

import contextlib
import errno
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from pycontainer.errors import InvalidInput, Unsupported
from pycontainer.linux.bpf import instruction, load_classifier
from pycontainer.net import tc
from pycontainer.net.link import LINKS_MAX, UP, Links, index_of, is_there
from pycontainer.net.messages import ACK, CREATE, NEW_LINK, SET_LINK, Netlink, link
from pycontainer.units import format_bit_rate

IN, OUT = "in", "out"
DIRECTIONS = (IN, OUT)
UNLIMITED_BITS = 100 * 10**9  # per second: more than any link here carries
LEAST_BITS = 8_000  # per second: what a class has of its own where nothing was guaranteed

# HTB counts Ethernet frames, a customer what a download shows: of 1514 bytes, 1448 at best. A cap counts the middle, so
# that whoever measures, on the wire or in an application, finds it within 3 %.
_FRAME_BYTES, _COUNTED_BYTES = 1514, (1514 + 1448) // 2

_DEFAULT_MINOR, _TOP_MINOR = 0xFFFF, 0xFFFD
_FIRST_GROUP_MINOR, _LAST_GROUP_MINOR = LINKS_MAX + 1, 0xFFFC
_TOP = tc.HTB | _TOP_MINOR
_QUEUE_SECONDS = 0.25  # of the ceiling: what waits before a packet is dropped, where there is no fq_codel
_QUEUE_BYTES_MIN = 128 * 1024  # two of the largest packets that segmentation offload makes

_INGRESS_IFINDEX_OFFSET = 36  # of struct __sk_buff
_CLASSIFIER = (
    instruction(0x61, 0, 1, _INGRESS_IFINDEX_OFFSET, 0)  # r0 = skb->ingress_ifindex
    + instruction(0x57, 0, 0, 0, 0xFFFF)  # r0 &= 0xffff
    + instruction(0x47, 0, 0, 0, tc.HTB)  # r0 |= 1:0
    + instruction(0x95, 0, 0, 0, 0)  # return r0
)


class Rates(NamedTuple):
    """Bits per second: what is guaranteed, and what is never exceeded."""

    guaranteed: int | None = None
    ceiling: int | None = None


class Traffic(NamedTuple):
    """What went through a group since it was made."""

    sent_bytes: int
    dropped_packets: int


class _Group:
    """An instance or a tenant: one class on each ifb, and the links beneath."""

    __slots__ = ("links", "minor", "parent", "rates")

    def __init__(self, minor: int, parent: str) -> None:
        self.minor, self.parent = minor, parent
        self.rates: dict[str, Rates] = dict.fromkeys(DIRECTIONS, Rates())
        self.links: set[int] = set()


class Shaping:
    """The groups of one world. Owners are container ids, and tenants as `tenant_owner` names them."""

    def __init__(self, links: Links, prefix: str) -> None:
        self._links = links
        self._names = {OUT: f"{prefix}from", IN: f"{prefix}to"}
        self._keeper = f"{prefix}hold"
        self._blocks = links.block_numbers()
        self._groups: dict[str, _Group] = {}
        self._devices: dict[str, int] = {}
        self._has_fq_codel = True
        self._has_bpf = True

    # -- groups

    def is_shaped(self, owner: str) -> bool:
        return owner in self._groups

    def open(self, owner: str, parent: str = "") -> None:
        """Make the group of `owner`, without a cap, beneath that of its tenant; it may be there already."""
        group = self._groups.get(owner)
        if group is not None and group.parent == parent:
            return
        self._prepare()
        before = group
        if before is not None:  # HTB cannot move a class: it is made anew beneath its tenant
            self.close(owner)
        group = self._groups[owner] = _Group(self._free_minor(), parent)
        try:
            for direction in DIRECTIONS:
                self._write(direction, group)
            if before is not None:
                for direction in DIRECTIONS:
                    self.cap(owner, direction, before.rates[direction])
                for index in before.links:
                    self._add_classes(group, index)
        except BaseException:
            self.close(owner)
            raise

    def cap(self, owner: str, direction: str, rates: Rates) -> None:
        """Set what an open group may send (OUT) or be sent (IN), now; what the kernel holds is read back and compared.

        InvalidInput if the guarantees within a tenant exceed what the tenant may use: they could not all be kept, and
        the kernel would let them exceed the tenant.
        """
        group = self._groups[owner]
        self._check_guarantees(owner, direction, rates)
        before = group.rates[direction]
        group.rates[direction] = rates
        try:
            self._write(direction, group, replace=True)
        except BaseException:
            group.rates[direction] = before
            raise
        for index in group.links:
            self._links.netlink.run(self._link_class(direction, group, index, replace=True))

    def rates(self, owner: str, direction: str) -> Rates:
        group = self._groups.get(owner)
        return group.rates[direction] if group is not None else Rates()

    def traffic(self, owner: str, direction: str) -> Traffic:
        """Return what went through a group; drops are those of all links beneath it."""
        group = self._groups.get(owner)
        if group is None:
            return Traffic(0, 0)
        members = [other for other in self._groups.values() if other is group or other.parent == owner]
        dropped = sum(
            self._read(direction, _minor(index)).dropped_packets for other in members for index in other.links
        )
        return Traffic(self._read(direction, group.minor).sent_bytes, dropped)

    def close(self, owner: str) -> None:
        """Take a group away; nothing happens if there is none. A tenant's goes when no instance is in it."""
        group = self._groups.pop(owner, None)
        if group is None:
            return
        minors = [*(_minor(index) for index in group.links), group.minor]
        messages = [
            (f"remove class 1:{minor:x}", tc.delete_class(self._devices[direction], minor))
            for direction in DIRECTIONS
            for minor in minors
        ]
        self._links.netlink.run(messages, ignore=(errno.ENOENT, errno.ENODEV))

    # -- links

    def join(self, owner: str, index: int) -> None:
        """Send what passes a link of `owner` through its group, if it has one; to be called before the link is up."""
        group = self._groups.get(owner)
        if group is None or index in group.links:
            return
        self._add_classes(group, index)
        self._redirect(index)

    def leave(self, owner: str, index: int) -> None:
        """The link is gone, or about to go; nothing happens if it is in no group."""
        group = self._groups.get(owner)
        if group is None or index not in group.links:
            return
        group.links.discard(index)
        messages = [
            ("remove a link's class", tc.delete_class(device, _minor(index))) for device in self._devices.values()
        ]
        self._links.netlink.run(messages, ignore=(errno.ENOENT, errno.ENODEV))

    # -- what others did to it

    def harm(self, owner: str) -> str:
        """Say what the kernel holds for a group other than was made, in words; empty if all is there. Nothing is changed."""
        group = self._groups.get(owner)
        if group is None:
            return ""
        least = _wire(LEAST_BITS)
        for direction in DIRECTIONS:
            rate, ceiling = self._held_by(group, direction)
            wanted = {group.minor: (self._above(group), rate, ceiling)}
            wanted |= {_minor(index): (tc.HTB | group.minor, min(ceiling, least), ceiling) for index in group.links}
            for minor, values in wanted.items():
                words = f"class 1:{minor:x} of '{self._names[direction]}'"
                try:
                    held = self._read(direction, minor)
                except OSError:
                    return f"{words} is gone"
                if (held.parent, held.rate, held.ceiling) != values:
                    return f"{words} holds {held.rate} and {held.ceiling} bytes/s, not {values[1]} and {values[2]}"
        return "" if all(map(self._is_redirected, group.links)) else "its link is not redirected any more"

    def harm_to_all(self) -> str:
        """Say the same of what all groups need."""
        if not self._groups:
            return ""
        for name, index in ((self._keeper, 0), *((self._names[d], index) for d, index in self._devices.items())):
            if (found := index_of(name)) == 0 or index not in (0, found):
                return f"device '{name}' is gone"
        asked = {f"what '{name}' sends": tc.class_filters(self._devices[d]) for d, name in self._names.items()}
        blocks = {f"block {block}": tc.block_filters(block) for block in self._blocks}
        for words, question in (asked | blocks if self._has_bpf else {}).items():
            if not self._links.netlink.count(question):
                return f"the filters of {words} are gone"
        return ""

    def mend(self, owner: str) -> None:
        """Make a group as it was: its redirections alone if that is enough, else everything anew."""
        if self.harm_to_all() or self.harm(owner):
            for index in self._groups[owner].links if owner in self._groups else ():
                self._take_redirection(index)
                self._redirect(index)
            if self.harm_to_all() or self.harm(owner):
                self.rebuild()

    def rebuild(self) -> None:
        """Make everything anew. What waited in queues is lost, and while it lasts, some milliseconds, nothing is capped."""
        groups = dict(self._groups)
        for group in groups.values():
            group.links = {index for index in group.links if is_there(index)}
            for index in group.links:
                self._take_redirection(index)
        self.remove()
        try:
            self._prepare()
        finally:
            self._groups = groups
        for group in sorted(groups.values(), key=lambda group: bool(group.parent)):  # tenants first
            for direction in DIRECTIONS:
                self._write(direction, group)
        for group in groups.values():
            for index in group.links:
                self._add_classes(group, index)
                self._redirect(index)

    # -- the host

    def adopt(self, live: Mapping[str, tuple[str, Sequence[int]]]) -> None:
        """Learn after a restart what the kernel has: `live` names each running instance's tenant group and links.

        Classes that belong to nobody any more go.
        """
        if not index_of(self._keeper):
            return
        with self._program():  # to know whether links are redirected by the blocks
            self._devices = {direction: index_of(name) for direction, name in self._names.items()}
        known: set[int] = set()
        for owner, (tenant, indexes) in live.items():
            for index in indexes:
                self._adopt_link(owner, tenant, index)
        for group in self._groups.values():
            known |= {group.minor, *(_minor(index) for index in group.links)}
        for direction in DIRECTIONS:
            self._sweep(direction, known)

    def remove(self) -> None:
        """Take everything off the host; nothing happens if there is nothing."""
        self._groups.clear()
        self._devices = {}
        found = [index for name in (self._keeper, *self._names.values()) if (index := index_of(name))]
        if found:
            self._links.delete(*found)

    # -- within

    def _redirect(self, index: int) -> None:
        redirected = [("redirect the link", tc.clsact(index, *self._blocks))]
        if not self._has_bpf:
            redirected = [("give the link filters", tc.own_clsact(index))] + [
                ("redirect the link", tc.redirect_link(index, device, _minor(index), ingress=direction == OUT))
                for direction, device in self._devices.items()
            ]
        self._links.netlink.run(redirected, ignore=(errno.EEXIST,))

    def _take_redirection(self, index: int) -> None:
        message = [("take the filters off the link", tc.delete_clsact(index))]
        self._links.netlink.run(message, ignore=(errno.ENOENT, errno.ENODEV, errno.EINVAL))

    def _is_redirected(self, index: int) -> bool:
        blocks = tc.read_clsact(self._links.netlink.find(tc.get_clsact(index)))
        if self._has_bpf:
            return blocks == self._blocks
        questions = (tc.link_filters(index, ingress=ingress) for ingress in (True, False))
        return blocks is not None and all(map(self._links.netlink.count, questions))

    def _above(self, group: _Group) -> int:
        """Return the handle of what a group's class lies beneath."""
        return tc.HTB | (self._groups[group.parent].minor if group.parent else _TOP_MINOR)

    def _held_by(self, group: _Group, direction: str) -> tuple[int, int]:
        """Return rate and ceiling of a group's class, in bytes per second."""
        rates = group.rates[direction]
        ceiling = _wire(rates.ceiling or UNLIMITED_BITS)
        return min(ceiling, _wire(rates.guaranteed or LEAST_BITS)), ceiling

    def _prepare(self) -> None:
        if self._devices:
            return
        with self._program() as program_fd:
            if not index_of(self._keeper):
                self._make(program_fd)
        self._devices = {direction: index_of(name) for direction, name in self._names.items()}

    @contextlib.contextmanager
    def _program(self) -> Iterator[int]:
        """Give a descriptor of the classifier; -1 where programs are not for us, and links have filters of their own."""
        try:
            program_fd = load_classifier(_CLASSIFIER)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOSYS, errno.EINVAL):
                raise
            self._has_bpf = False
            yield -1
            return
        self._has_bpf = True
        try:
            yield program_fd
        finally:
            os.close(program_fd)

    def _make(self, program_fd: int) -> None:
        """Make the three ifbs and all that hangs on them; what a crash left half made goes first."""
        self.remove()
        try:
            netlink = self._links.netlink
            for direction, name in self._names.items():
                _make_ifb(netlink, name)
                device = index_of(name)
                unlimited = _wire(UNLIMITED_BITS)
                netlink.run(
                    [
                        ("set the device up", link(SET_LINK, ACK, {"index": device, "flags": UP, "change": UP}, [])),
                        ("add htb", tc.htb(device, _DEFAULT_MINOR)),
                        ("add the top class", tc.htb_class(device, _TOP_MINOR, tc.HTB, unlimited, unlimited)),
                        ("add the default class", tc.htb_class(device, _DEFAULT_MINOR, tc.HTB, *[_wire(100_000)] * 2)),
                    ],
                    name,
                )
                if self._has_bpf:
                    netlink.run([("add the classifier", tc.classify_by_program(device, program_fd))], name)
                self._devices[direction] = device
            _make_ifb(netlink, partial := f"{self._keeper}~")
            index = index_of(partial)
            netlink.run(
                [
                    ("add the blocks", tc.clsact(index, *self._blocks)),
                    ("redirect what instances send", tc.redirect_all(self._blocks[0], self._devices[OUT])),
                    ("redirect what they are sent", tc.redirect_all(self._blocks[1], self._devices[IN])),
                    ("rename the device", link(SET_LINK, ACK, {"index": index}, [("IFLA_IFNAME", self._keeper)])),
                ],
                self._keeper,
            )
        except BaseException:
            self._devices = {}
            self._links.delete(*(i for n in (f"{self._keeper}~", *self._names.values()) if (i := index_of(n))))
            raise

    def _write(self, direction: str, group: _Group, *, replace: bool = False) -> None:
        """Write the class of a group, read it back and compare."""
        parent, (rate, ceiling) = self._above(group), self._held_by(group, direction)
        device = self._devices[direction]
        words = f"set class 1:{group.minor:x} of {self._names[direction]}"
        message = tc.htb_class(device, group.minor, parent, rate, ceiling, replace=replace)
        self._links.netlink.run([(words, message)])
        held = self._read(direction, group.minor)
        if (held.parent, held.rate, held.ceiling) != (parent, rate, ceiling):
            # a class whose parent is gone is made a root class without a word
            raise Unsupported(
                f"cannot shape: asked for a class beneath 1:{parent & 0xFFFF:x} with {rate} and {ceiling} bytes/s, "
                f"the kernel holds one beneath {held.parent >> 16:x}:{held.parent & 0xFFFF:x} with "
                f"{held.rate} and {held.ceiling}",
                hint="see what else changes traffic control on this host: tc class show",
                feature="htb",
            )

    def _link_class(
        self, direction: str, group: _Group, index: int, *, replace: bool = False
    ) -> list[tuple[str, bytes]]:
        """Return what makes the class of a link and its queue: the group's class caps it, so it has nearly no rate."""
        device, minor = self._devices[direction], _minor(index)
        ceiling = _wire(group.rates[direction].ceiling or UNLIMITED_BITS)
        least = min(ceiling, _wire(LEAST_BITS))
        made = tc.htb_class(device, minor, tc.HTB | group.minor, least, ceiling, replace=replace)
        messages = [("add a link's class", made)]
        if self._has_fq_codel and not replace:
            messages.append(("add fq_codel", tc.fq_codel(device, minor)))
        elif not self._has_fq_codel:
            size_bytes = max(_QUEUE_BYTES_MIN, int(ceiling * _QUEUE_SECONDS))
            messages.append(("add a queue", tc.byte_fifo(device, minor, min(size_bytes, 1 << 30))))
        return messages

    def _add_classes(self, group: _Group, index: int) -> None:
        for direction in DIRECTIONS:
            try:
                self._links.netlink.run(self._link_class(direction, group, index))
            except OSError as error:
                if error.errno != errno.ENOENT or not self._has_fq_codel:
                    raise
                self._has_fq_codel = False  # this kernel has none
                self._links.netlink.run(self._link_class(direction, group, index, replace=True))
        group.links.add(index)

    def _read(self, direction: str, minor: int) -> tc.Class:
        words = f"read class 1:{minor:x} of {self._names[direction]}"
        return tc.read_class(self._links.netlink.ask(words, tc.get_class(self._devices[direction], minor)))

    def _check_guarantees(self, owner: str, direction: str, rates: Rates) -> None:
        for tenant in (owner, self._groups[owner].parent):
            limit = (rates if tenant == owner else self.rates(tenant, direction)).ceiling
            members = {name: group for name, group in self._groups.items() if group.parent == tenant}
            asked = {name: (rates if name == owner else group.rates[direction]) for name, group in members.items()}
            total = sum(wish.guaranteed or 0 for wish in asked.values())
            if tenant and members and limit is not None and total > limit:
                raise InvalidInput(
                    f"net_{direction}: {format_bit_rate(total)} would be guaranteed in all, "
                    f"and the tenant may use {format_bit_rate(limit)}",
                    hint="guarantee less, or give the tenant more",
                    field=f"net_{direction}_min",
                )

    def _free_minor(self) -> int:
        taken = {group.minor for group in self._groups.values()}
        for minor in range(_FIRST_GROUP_MINOR, _LAST_GROUP_MINOR + 1):
            if minor not in taken:
                return minor
        raise Unsupported(
            f"cannot shape more than {len(taken)} instances and tenants on one host",
            hint="leave net caps out where the tenant's suffices",
            feature="htb",
        )

    def _adopt_link(self, owner: str, tenant: str, index: int) -> None:
        try:
            minor = self._read(OUT, _minor(index)).parent & 0xFFFF
        except OSError as error:
            if error.errno == errno.ENOENT:  # it is not shaped
                return
            raise
        above = self._read(OUT, minor).parent & 0xFFFF
        if tenant and above != _TOP_MINOR:
            self._adopt_group(tenant, "", above)
        self._adopt_group(owner, tenant if above != _TOP_MINOR else "", minor).links.add(index)

    def _adopt_group(self, owner: str, parent: str, minor: int) -> _Group:
        group = self._groups.get(owner)
        if group is None:
            group = self._groups[owner] = _Group(minor, parent)
            for direction in DIRECTIONS:
                held = self._read(direction, minor)
                group.rates[direction] = Rates(_bits(held.rate, LEAST_BITS), _bits(held.ceiling, UNLIMITED_BITS))
        return group

    def _sweep(self, direction: str, known: Iterable[int]) -> None:
        """Remove the classes that nobody owns, those of links before those of groups, instances before tenants."""
        keep = {*known, _TOP_MINOR, _DEFAULT_MINOR}
        device = self._devices[direction]
        stale = [found for found in self._links.netlink.classes(device) if found & 0xFFFF not in keep]
        for _ in range(3):  # the levels of the tree
            messages = [("remove a stale class", tc.delete_class(device, handle & 0xFFFF)) for handle in stale]
            self._links.netlink.run(messages, ignore=(errno.ENOENT, errno.EBUSY))


def tenant_owner(name: str) -> str:
    """Return the owner of a tenant's group; no container id holds a colon."""
    return f"tenant:{name}"


def _wire(bits_per_second: int) -> int:
    """Return the bytes per second that HTB has to count for a rate that people mean."""
    return bits_per_second * _FRAME_BYTES // _COUNTED_BYTES // 8


def _bits(wire_bytes_per_second: int, absent: int) -> int | None:
    """Return the roundest bits per second that `_wire` makes this of; None if it was `absent`, the value of no wish."""
    if wire_bytes_per_second == _wire(absent):
        return None
    least = -(-wire_bytes_per_second * 8 * _COUNTED_BYTES // _FRAME_BYTES)
    rounder = (-(-least // unit) * unit for unit in (10**9, 10**6, 10**3))
    return next((bits for bits in rounder if _wire(bits) == wire_bytes_per_second), least)


def _minor(index: int) -> int:
    return index & 0xFFFF


def _make_ifb(netlink: Netlink, name: str) -> None:
    attributes = [
        ("IFLA_IFNAME", name),
        ("IFLA_TXQLEN", 1000),  # the default of 32 packets is too short
        ("IFLA_LINKINFO", {"attrs": [("IFLA_INFO_KIND", "ifb")]}),
    ]
    try:
        netlink.run([("create the ifb", link(NEW_LINK, CREATE, {}, attributes))], name)
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
        raise Unsupported(
            "cannot shape traffic: this kernel has no ifb devices", hint="load the module: modprobe ifb", feature="ifb"
        ) from error

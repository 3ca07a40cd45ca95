"""Two nftables tables of ours: rules that never change, and maps and sets with the instances in them.

inet, for what goes through the host:

    own4, own6      (link, source address)            anything else that a link sends is dropped
    network         link → number of its group        with `member`: who may talk to whom; a group is a network
    member          (link, number)                    and, on it, a tenant
    pub4, pub6      (protocol, port) → (address, port)           published on every address of the host
    at4, at6        (address, protocol, port) → (address, port)  published on one
    guard           link, with a limit of packets per second: what exceeds it is dropped, and counted
    who4, who6      address → number of its instance
    share           number, with a limit of connections that the host tracks for it; more are dropped, and counted

bridge, made with the first bridge network, for what stays on a segment: each port of a bridge may say what its instance is.

    mac             (port, source MAC)                also what ARP names as sender
    port4, port6    (port, source address)            IPv4, ARP, IPv6
    target6         (port, address)                   what a neighbour advertisement may advertise
    port_guard      as `guard`

A published port asked for from the link that it leads to (`own4` again, in `sources`) needs the host's address as
source, or the answer would not come back this way.

`shares` hangs in a NAT chain: only the first packet of a connection comes by. Counting walks a list of the instance's
live connections, at most once a jiffy, so a share has a price (docs/network.md). Closed TCP connections are not
counted by the kernel, though it remembers them for two minutes: for those of instances it is ten seconds.

Elements name links but do not need them: they are added before the link exists and removed after it is gone. What is in
the sets is also remembered here, so that whatever goes wrong with them - the table flushed by another tool, an element
missing - ends in one atomic replacement of the whole table. A change costs as much at 5000 elements as at 10.

Services of the host are closed to instances (`to_host`), the metadata address of clouds too. Loopback is left to the
forwarder: 127.0.0.0/8 and ::1 are never translated. Tables, and questions about them, go through libnftables, in this
process; what comes and goes with an instance goes to the kernel by itself (elements.py). Source: nft(8), libnftables(3).
"""

import os
import re
import threading
from collections.abc import Collection, Iterable, Mapping, Sequence

from pycontainer.errors import Unsupported
from pycontainer.net.elements import Element, Elements
from pycontainer.net.nft import Nft

_RULES = """
  set own4 { typeof iifname . ip saddr; }
  set own6 { typeof iifname . ip6 saddr; }
  map network { typeof iifname : meta mark; }
  set member { typeof oifname . meta mark; }
  map pub4 { typeof meta l4proto . th dport : ip daddr . th dport; }
  map pub6 { typeof meta l4proto . th dport : ip6 daddr . th dport; }
  map at4 { typeof ip daddr . meta l4proto . th dport : ip daddr . th dport; }
  set guard { typeof iifname; limit rate over 1/second burst 5 packets; counter; }
  map at6 { typeof ip6 daddr . meta l4proto . th dport : ip6 daddr . th dport; }
  map who4 { typeof ip saddr : meta mark; }
  map who6 { typeof ip6 saddr : meta mark; }
  set share { typeof meta mark; ct count over 1; counter; }
  set echoes { typeof iifname; size 65535; flags dynamic, timeout; timeout 1m; }
  ct timeout closed4 { protocol tcp; l3proto ip; policy = { time_wait : 10, close : 5 }; }
  ct timeout closed6 { protocol tcp; l3proto ip6; policy = { time_wait : 10, close : 5 }; }

  chain first { type filter hook prerouting priority raw; policy accept; iifname "PREFIX*" jump from_instance; }
  chain from_instance {
    iifname @guard drop
    ip daddr { 127.0.0.0/8, 169.254.169.254 } counter drop
    ip6 daddr fd00:ec2::254 counter drop
    iifname . ip saddr @own4 accept
    iifname . ip6 saddr @own6 accept
    counter drop
  }
  chain translate {
    ip daddr 127.0.0.0/8 return
    ip6 daddr ::1 return
    dnat ip to ip daddr . meta l4proto . th dport map @at4
    dnat ip6 to ip6 daddr . meta l4proto . th dport map @at6
    dnat ip to meta l4proto . th dport map @pub4
    dnat ip6 to meta l4proto . th dport map @pub6
  }
  chain dnat_in { type nat hook prerouting priority -100; policy accept; fib daddr type local jump translate; }
  chain dnat_out { type nat hook output priority -100; policy accept; fib daddr type local jump translate; }
  chain sources { type nat hook postrouting priority srcnat; policy accept;
    jump shares
    oifname . ip saddr @own4 ct status dnat masquerade
    oifname . ip6 saddr @own6 ct status dnat masquerade
    iifname "PREFIX*" oifname != "PREFIX*" masquerade
  }
  chain shares {
    meta mark set ip saddr map @who4 jump shared
    meta mark set ip6 saddr map @who6 jump shared
    meta mark set ip daddr map @who4 jump shared
    meta mark set ip6 daddr map @who6 jump shared
  }
  chain shared {
    meta mark @share drop
    meta nfproto ipv4 meta l4proto tcp ct timeout set "closed4"
    meta nfproto ipv6 meta l4proto tcp ct timeout set "closed6"
  }
  chain forwarded { type filter hook forward priority filter; policy accept;
    iifname "PREFIX*" jump between
    oifname "PREFIX*" jump between
  }
  chain between {
    ct state vmap { established : accept, related : accept, invalid : drop }
    oifname "PREFIX*" ct status dnat accept
    iifname "PREFIX*" oifname "PREFIX*" meta mark set iifname map @network oifname . meta mark @member accept
    oifname "PREFIX*" counter drop
  }
  chain echo {
    update @echoes { iifname limit rate 100/second } accept
    counter drop
  }
  chain incoming { type filter hook input priority filter; policy accept; iifname "PREFIX*" jump to_host; }
  chain to_host {
    icmp type echo-request jump echo
    icmpv6 type echo-request jump echo
    ct state vmap { established : accept, related : accept, invalid : drop }
    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
    counter drop
  }
"""

# `ether type` is what stands in the frame: a VLAN's tag is none of the three. Frames to 01:80:c2:00:00:0X go to the
# host by another way than prerouting (and LLDP's by none: bridge.py).
_BRIDGE_RULES = """
  set mac { typeof iifname . ether saddr; }
  set port4 { typeof iifname . ip saddr; }
  set port6 { typeof iifname . ip6 saddr; }
  set target6 { typeof iifname . @th,64,128; }
  set port_guard { typeof iifname; limit rate over 1/second burst 5 packets; counter; }

  chain first { type filter hook prerouting priority -300; policy accept; iifname "PREFIXv*" jump from_port; }
  chain reserved { type filter hook input priority -300; policy accept;
    iifname "PREFIXv*" ether daddr & ff:ff:ff:ff:ff:f0 == 01:80:c2:00:00:00 counter drop
  }
  chain from_port {
    iifname @port_guard drop
    ether daddr & ff:ff:ff:ff:ff:f0 == 01:80:c2:00:00:00 counter drop
    iifname . ether saddr != @mac counter drop
    ether type vmap { arp : jump arps, ip : jump ipv4, ip6 : jump ipv6 }
    counter drop
  }
  chain arps {
    iifname . arp saddr ether != @mac counter drop
    arp htype 1 arp ptype ip arp hlen 6 arp plen 4 arp operation { request, reply } iifname . arp saddr ip @port4 accept
    counter drop
  }
  chain ipv4 {
    udp sport 67 counter drop
    iifname . ip saddr @port4 accept
    counter drop
  }
  chain ipv6 {
    icmpv6 type { nd-router-advert, nd-redirect } counter drop
    udp sport 547 counter drop
    icmpv6 type nd-neighbor-advert iifname . @th,64,128 != @target6 counter drop
    iifname . ip6 saddr @port6 accept
    counter drop
  }
"""
_BRIDGE_SETS = frozenset({"mac", "port4", "port6", "target6", "port_guard"})

# Of the packets of published ports that all rules have let pass, those of others too, one in 32 is shown to the fast path,
# 100 a second in the long run. It is the last chain that a packet meets but for the one that confirms what is tracked.
_SAMPLE = """
  chain sampled { type filter hook postrouting priority 2147483646; policy accept;
    iifname "PREFIX*" jump sample
    oifname "PREFIX*" jump sample
  }
  chain sample {
    ct status dnat meta l4proto tcp numgen random mod 32 == 0 limit rate 100/second burst 100 packets \
log group {group} snaplen {bytes} queue-threshold 1
  }
"""

_STATELESS, _HANDLES, _TERSE = 1 << 2, 1 << 3, 1 << 11  # NFT_CTX_OUTPUT_*

# A question about 100 links with IPv6 addresses is too much for libnftables 1.0.6: it dies, and we with it.
_ASKED_AT_ONCE = 16

_COUNTER = re.compile(r"counter packets ([0-9]+)")


class Firewall:
    """The tables named `table`, for links whose names begin with `prefix`."""

    def __init__(self, table: str, prefix: str) -> None:
        self.name = table
        self._inet, self._bridge = f"inet {table}", f"bridge {table}"
        self._prefix = prefix
        self._rules = {
            self._inet: _RULES.replace("PREFIX", prefix),
            self._bridge: _BRIDGE_RULES.replace("PREFIX", prefix),
        }
        self._elements: dict[str, tuple[Element, ...]] = {}
        self._bridged: set[str] = set()  # owners of elements of the bridge table
        self._made: dict[str, str] = {}  # table → its structure as nft listed it when it was made
        self._nft: Nft | None = None
        self._direct: Elements | None = None
        self._low_fd = _low_fd()
        self.writers: set[int] = set()  # ids of the threads that changed something: in a supervisor there is one

    def add(self, groups: Mapping[str, Iterable[Element]]) -> None:
        """Add the elements of each owner, all or none of them. Makes the tables if need be.

        An owner that has elements already gets these instead.
        """
        new = {owner: tuple(elements) for owner, elements in groups.items()}
        before = {owner: self._elements[owner] for owner in new if owner in self._elements}
        self._remember(new)
        try:
            old = [element for elements in before.values() for element in elements]
            added = [element for elements in new.values() for element in elements]
            if self._inet not in self._made or not self._try(old, added):
                self.rebuild()
        except BaseException:
            self._forget(new)
            self._remember(before)
            raise

    def remove(self, *owners: str) -> None:
        """Remove the elements of these owners, and with the last of a bridge its table; nothing happens without any."""
        elements = self._forget(owners)
        if elements and self._made and not self._try(elements, []):
            self.rebuild()

    def has(self, owner: str) -> bool:
        return owner in self._elements

    def elements(self, owner: str) -> list[Element]:
        return list(self._elements.get(owner, ()))

    def counted(self, element: Element) -> int:
        """Return how many packets met the counter of an element."""
        match = _COUNTER.search(self._run(f"get {self._words(element, is_complete=False)}"))
        return int(match[1]) if match else 0

    def adopt(self, groups: Mapping[str, Iterable[Element]]) -> None:
        """Replace all that is known, and the tables with it, in one step that no packet falls through."""
        self._elements.clear()
        self._bridged.clear()
        self._remember({owner: tuple(elements) for owner, elements in groups.items()})
        self._made = dict.fromkeys(self._found(), "")
        self.rebuild()

    def rebuild(self) -> None:
        """Replace the tables atomically by what is remembered. OSError(EIO) if nftables refuses it."""
        filled = "".join(f"add element {where} {{ {', '.join(texts)} }}\n" for where, texts in self._by_set().items())
        needed = self._needed()
        stale = "".join(f"add table {table}\ndelete table {table}\n" for table in {*needed, *self._made})
        self._run(stale + "".join(map(self._fresh, needed)) + filled)
        self._made = {table: self._structure(table) for table in needed}

    def verify(self) -> str:
        """Return in words what nftables lacks of what is remembered here, empty if all is there.

        Rules and chains are compared as they were listed when they were made, handles included. Elements are asked for one
        by one: 0.1 s at 30000, so this is for when somebody else has changed something of ours.
        """
        for table, structure in self._made.items():
            try:
                if self._structure(table) != structure:
                    return f"rules of table '{table}' were changed"
            except OSError:
                return f"table '{table}' is gone"
        for where, keys in self._by_set(is_complete=False).items():
            try:
                self._run(
                    "".join(
                        f"get element {where} {{ {', '.join(keys[first : first + _ASKED_AT_ONCE])} }}\n"
                        for first in range(0, len(keys), _ASKED_AT_ONCE)
                    )
                )
            except OSError:
                return f"elements of '{where}' are gone"
        return ""

    def show_samples(self, group: int | None, header_bytes: int = 0) -> None:
        """Show so many bytes of some packets to a group of listeners (nfnetlink_log); with None to nobody.

        OSError if nftables refuses it; then nothing is changed.
        """
        sample = "" if group is None else _SAMPLE.replace("{group}", str(group)).replace("{bytes}", str(header_bytes))
        before = self._rules[self._inet]
        self._rules[self._inet] = f"{_RULES}{sample}".replace("PREFIX", self._prefix)
        try:
            if self._made:
                self.rebuild()
            elif sample:
                trial = f"inet {self.name}_trial"
                self._run(f"table {trial} {{{self._rules[self._inet]}}}\ndelete table {trial}\n")
        except BaseException:
            self._rules[self._inet] = before
            raise

    def require_bridge(self) -> None:
        """Raise Unsupported if this kernel cannot filter the frames of a bridge."""
        try:
            if self._bridge not in self._made:
                self._run(f"add table {self._bridge}\ndelete table {self._bridge}\n")
        except OSError as error:
            raise Unsupported(
                f"cannot make a bridge network safe: this kernel has no nftables for bridges ({error.strerror})",
                hint="use a kernel with CONFIG_NF_TABLES_BRIDGE, or a routed network",
                feature="nf_tables_bridge",
            ) from error

    def delete_table(self) -> None:
        """Take the tables off the host; nothing happens if there is none."""
        if tables := {*self._found(), *self._made}:
            self._run("".join(f"add table {table}\ndelete table {table}\n" for table in sorted(tables)))
        self._elements.clear()
        self._bridged.clear()
        self._made.clear()

    def close(self) -> None:
        if self._nft is not None:
            self._nft.close()
            self._nft = None
            self._low_fd = _low_fd()
        if self._direct is not None:
            self._direct.close()
            self._direct = None

    def _by_set(self, *, is_complete: bool = True) -> dict[str, list[str]]:
        """Return "FAMILY TABLE SET" → the texts of all elements in it."""
        grouped: dict[str, list[str]] = {}
        for elements in self._elements.values():
            for element in elements:
                where = f"{self._table(element)} {element.where}"
                grouped.setdefault(where, []).append(element.text(is_complete=is_complete))
        return grouped

    def _table(self, element: Element) -> str:
        return self._bridge if element.where in _BRIDGE_SETS else self._inet

    def _remember(self, groups: Mapping[str, tuple[Element, ...]]) -> None:
        for owner, elements in groups.items():
            self._elements[owner] = elements
            if any(element.where in _BRIDGE_SETS for element in elements):
                self._bridged.add(owner)
            else:
                self._bridged.discard(owner)

    def _forget(self, owners: Collection[str]) -> list[Element]:
        """Forget owners; return the elements that they had."""
        self._bridged.difference_update(owners)
        return [element for owner in owners for element in self._elements.pop(owner, ())]

    def _needed(self) -> list[str]:
        """Return the tables that there must be."""
        return [self._inet, self._bridge] if self._bridged else [self._inet]

    def _fresh(self, table: str) -> str:
        return f"table {table} {{{self._rules[table]}}}\n"

    def _found(self) -> list[str]:
        """Return those of our tables that the host has."""
        there = self._run("list tables\n").splitlines()
        return [table for table in (self._inet, self._bridge) if f"table {table}" in there]

    def _structure(self, table: str) -> str:
        return self._run(f"list table {table}\n", flags=_STATELESS | _HANDLES | _TERSE)

    def _words(self, element: Element, *, is_complete: bool) -> str:
        return f"element {self._table(element)} {element.where} {{ {element.text(is_complete=is_complete)} }}\n"

    def _try(self, old: Sequence[Element], new: Sequence[Element]) -> bool:
        """Take elements out and put others in, as one transaction, and the bridge table as it is needed or not."""
        needed = self._needed()
        arriving = [table for table in needed if table not in self._made]
        leaving = [table for table in self._made if table not in needed]
        try:
            if not arriving and not leaving and Elements.can_change([*old, *new]):
                self._change(old, new)
            else:
                self._rewrite(arriving, leaving, old, new)
        except OSError:  # the table was flushed, or holds what it should not: the caller replaces it whole
            return False
        return True

    def _change(self, old: Sequence[Element], new: Sequence[Element]) -> None:
        if self._direct is None:
            self._direct = Elements(self.name)
        self.writers.add(threading.get_native_id())
        self._direct.change(old, new)

    def _rewrite(
        self, arriving: Sequence[str], leaving: Sequence[str], old: Sequence[Element], new: Sequence[Element]
    ) -> None:
        """Do that by libnftables, which knows tables, and elements of every kind."""
        text = "".join(f"add table {table}\ndelete table {table}\n{self._fresh(table)}" for table in arriving)
        text += "".join(f"delete {self._words(element, is_complete=False)}" for element in old)
        text += "".join(f"delete table {table}\n" for table in leaving)
        text += "".join(f"add {self._words(element, is_complete=True)}" for element in new)
        if text:
            self._run(text)
        for table in leaving:
            del self._made[table]
        for table in arriving:
            self._made[table] = self._structure(table)

    def _run(self, commands: str, *, flags: int = 0) -> str:
        if self._nft is None:
            self._nft = self._open()
        self.writers.add(threading.get_native_id())
        return self._nft.run(commands, flags=flags) if flags else self._nft.run(commands)

    def _open(self) -> Nft:
        os.close(self._low_fd)  # for its socket, which takes the lowest one that is free
        try:
            return Nft()
        except BaseException:
            self._low_fd = _low_fd()
            raise


def _low_fd() -> int:
    """Keep a descriptor for libnftables while there are few: it waits by select(2), which ends a process from 1024 on."""
    return os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)

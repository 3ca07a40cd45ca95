"""One nftables table of ours: about twenty rules that never change, and maps and sets with the instances in them.

    own4, own6      (link, source address)            anything else that a link sends is dropped
    network         link → number of its network      with `member`: who may talk to whom
    member          (link, number)
    pub4, pub6      (protocol, port) → (address, port)           published on every address of the host
    at4, at6        (address, protocol, port) → (address, port)  published on one
    guard           link, with a limit of packets per second: what exceeds it is dropped, and counted

A published port asked for from the link that it leads to (`own4` again, in `sources`) needs the host's address as
source, or the answer would not come back this way.

Elements name links but do not need them: they are added before the link exists and removed after it is gone. What is in
the sets is also remembered here, so that whatever goes wrong with them - the table flushed by another tool, an element
missing - ends in one atomic replacement of the whole table. A change costs 0.2 ms at 5000 elements as at 10.

Services of the host are closed to instances (`to_host`), the metadata address of clouds too. Loopback is left to the
forwarder: 127.0.0.0/8 and ::1 are never translated. Commands go through libnftables, in this process.
Source: nft(8), libnftables(3).
"""

import ctypes
import errno
import os
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from pycontainer.errors import Unsupported

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
    oifname . ip saddr @own4 ct status dnat masquerade
    oifname . ip6 saddr @own6 ct status dnat masquerade
    iifname "PREFIX*" oifname != "PREFIX*" masquerade
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
  chain incoming { type filter hook input priority filter; policy accept; iifname "PREFIX*" jump to_host; }
  chain to_host {
    ct state vmap { established : accept, related : accept, invalid : drop }
    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
    meta l4proto { icmp, icmpv6 } limit rate 100/second accept
    counter drop
  }
"""

_COUNTER = re.compile(r"counter packets ([0-9]+)")
_HINT = "install it: apt-get install libnftables1"


class Element(NamedTuple):
    """One element of a set or map: `key` and, in a map, `value`, as nft writes them."""

    where: str
    key: str
    value: str = ""
    statements: str = ""  # what a packet that meets the element is put to

    def text(self, *, is_complete: bool = True) -> str:
        """Return it as it is added; what is not `is_complete` suffices to find it."""
        if not is_complete:
            return self.key
        return f"{self.key} {self.statements}".rstrip() + (f" : {self.value}" if self.value else "")


class Firewall:
    """The table named `table`, for links whose names begin with `prefix`."""

    def __init__(self, table: str, prefix: str) -> None:
        self._table = f"inet {table}"
        self._rules = _RULES.replace("PREFIX", prefix)
        self._elements: dict[str, tuple[Element, ...]] = {}
        self._nft: _Nft | None = None
        self._is_made = False

    def add(self, groups: Mapping[str, Iterable[Element]]) -> None:
        """Add the elements of each owner, all or none of them. Makes the table if need be.

        An owner that has elements already gets these instead.
        """
        before = dict(self._elements)
        new = {owner: tuple(elements) for owner, elements in groups.items()}
        self._elements |= new
        try:
            replaces = any(before.get(owner) for owner in new)
            added = [element for elements in new.values() for element in elements]
            if replaces or not self._is_made or not self._try("add", added):
                self.rebuild()
        except BaseException:
            self._elements = before
            raise

    def remove(self, *owners: str) -> None:
        """Remove the elements of these owners; nothing happens if they have none."""
        elements = [element for owner in owners for element in self._elements.pop(owner, ())]
        if elements and self._is_made and not self._try("delete", elements):
            self.rebuild()

    def has(self, owner: str) -> bool:
        return owner in self._elements

    def elements(self, owner: str) -> list[Element]:
        return list(self._elements.get(owner, ()))

    def counted(self, element: Element) -> int:
        """Return how many packets met the counter of an element."""
        text = self._run(f"get element {self._table} {element.where} {{ {element.text(is_complete=False)} }}\n")
        match = _COUNTER.search(text)
        return int(match[1]) if match else 0

    def adopt(self, groups: Mapping[str, Iterable[Element]]) -> None:
        """Replace all that is known, and the table with it, in one step that no packet falls through."""
        self._elements = {owner: tuple(elements) for owner, elements in groups.items()}
        self.rebuild()

    def rebuild(self) -> None:
        """Replace the whole table atomically by what is remembered. OSError(EIO) if nftables refuses it."""
        grouped: dict[str, list[str]] = {}
        for elements in self._elements.values():
            for element in elements:
                grouped.setdefault(element.where, []).append(element.text())
        filled = "".join(f"add element {self._table} {where} {{ {', '.join(e)} }}\n" for where, e in grouped.items())
        fresh = f"add table {self._table}\ndelete table {self._table}\ntable {self._table} {{{self._rules}}}\n"
        self._run(fresh + filled)
        self._is_made = True

    def delete_table(self) -> None:
        """Take the table off the host; nothing happens if there is none."""
        self._run(f"add table {self._table}\ndelete table {self._table}\n")
        self._elements.clear()
        self._is_made = False

    def close(self) -> None:
        if self._nft is not None:
            self._nft.close()
            self._nft = None

    def _try(self, verb: str, elements: Iterable[Element]) -> bool:
        text = "".join(
            f"{verb} element {self._table} {e.where} {{ {e.text(is_complete=verb == 'add')} }}\n" for e in elements
        )
        try:
            self._run(text)
        except OSError:  # the table was flushed, or holds what it should not: the caller replaces it whole
            return False
        return True

    def _run(self, commands: str) -> str:
        if self._nft is None:
            self._nft = _Nft()
        return self._nft.run(commands)


class _Nft:
    """libnftables, opened when the first rule is needed; its netlink socket stays in that moment's namespace."""

    def __init__(self) -> None:
        try:
            library = ctypes.CDLL("libnftables.so.1")
        except OSError as error:
            raise Unsupported("cannot load libnftables.so.1", hint=_HINT, feature="libnftables") from error
        library.nft_ctx_new.argtypes, library.nft_ctx_new.restype = [ctypes.c_uint32], ctypes.c_void_p
        library.nft_ctx_free.argtypes, library.nft_ctx_free.restype = [ctypes.c_void_p], None
        library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
        library.nft_run_cmd_from_buffer.restype = ctypes.c_int
        for name in ("nft_ctx_buffer_error", "nft_ctx_buffer_output"):
            getattr(library, name).argtypes, getattr(library, name).restype = [ctypes.c_void_p], ctypes.c_int
        for name in ("nft_ctx_get_error_buffer", "nft_ctx_get_output_buffer"):
            getattr(library, name).argtypes, getattr(library, name).restype = [ctypes.c_void_p], ctypes.c_char_p
        self._library = library
        self._context = library.nft_ctx_new(0)
        if not self._context:
            raise OSError(errno.ENOMEM, f"nft_ctx_new: {os.strerror(errno.ENOMEM)}")
        library.nft_ctx_buffer_error(self._context)
        library.nft_ctx_buffer_output(self._context)

    def run(self, commands: str) -> str:
        """Run the commands as one transaction and return what they print; OSError(EIO) with nft's first complaint."""
        if self._library.nft_run_cmd_from_buffer(self._context, commands.encode()) == 0:
            return (self._library.nft_ctx_get_output_buffer(self._context) or b"").decode()
        text = (self._library.nft_ctx_get_error_buffer(self._context) or b"").decode(errors="replace").strip()
        raise OSError(errno.EIO, f"nftables: {text.splitlines()[0] if text else 'no reason given'}")

    def close(self) -> None:
        self._library.nft_ctx_free(self._context)

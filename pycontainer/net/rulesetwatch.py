"""Who changes nftables: the kernel tells every listener of each transaction, what it touched and which process it was.

    NEWTABLE, DELRULE, DELSETELEM ...  each names its table as attribute 1
    NEWGEN                             the end of the transaction: its number, the id and the name of the thread

A transaction that names a table of ours and is not ours is what `heard` reports, at once when it is complete. Messages can be
lost (ENOBUFS), so `missed` compares the number that was heard last with the one that holds; the first is cheap enough
for every transaction of the host, the second for every half minute.
Source: kernel include/uapi/linux/netfilter/nf_tables.h, nfnetlink.h; netlink(7).
"""

import errno
import socket
import struct
from collections.abc import Collection, Iterator

from pycontainer.net.messages import NETLINK_NETFILTER, read_attributes

_SOL_NETLINK, _ADD_MEMBERSHIP = 270, 1
_GROUP_NFTABLES = 7  # NFNLGRP_NFTABLES
_SUBSYSTEM = 10  # NFNL_SUBSYS_NFTABLES, the upper byte of a message's type
_NEWGEN, _GETGEN = 15, 16
_REQUEST = 1
_HEADER = struct.Struct("=IHHII")  # nlmsghdr
_FAMILY = struct.Struct("!BBH")  # nfgenmsg
_TABLE = 1  # NFTA_*_TABLE of all kinds; NFTA_GEN_ID of NEWGEN
_GEN_ID, _GEN_PID, _GEN_NAME = 1, 2, 3
_BUFFER_BYTES = 1 << 20


class RulesetWatch:
    """Listens in the network namespace in which it is made, from then on; `table` is the name of ours.

    `writers` are the ids of the threads whose transactions are our own.
    """

    def __init__(self, table: str, writers: Collection[int]) -> None:
        self._writers = writers
        self._table = table.encode() + b"\0"
        self._is_touched = False
        self._others_changed = False
        self._socket = _open()
        self._questions = _open()
        self._socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, _GROUP_NFTABLES)
        self._socket.setblocking(False)
        self._generation = self._current()

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()
        self._questions.close()

    def heard(self) -> str:
        """Read what has come; return the name of the process that touched our tables, empty if nobody did."""
        culprit = ""
        while True:
            try:
                data = self._socket.recv(1 << 16)
            except BlockingIOError:
                return culprit
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                culprit = culprit or "somebody"  # it is not known who, or whether at all
                self._others_changed = True
                continue
            culprit = self._take(data) or culprit

    def others_changed(self) -> bool:
        """Tell whether anybody but us changed anything of nftables in what was heard since this was asked last."""
        changed, self._others_changed = self._others_changed, False
        return changed

    def missed(self) -> bool:
        """Tell whether there were transactions of which nothing was heard; they count as heard from now on."""
        current = self._current()
        missed = current != self._generation
        self._generation = current
        return missed

    def _take(self, data: bytes) -> str:
        culprit = ""
        for kind, body in _messages(data):
            if kind >> 8 != _SUBSYSTEM:
                continue
            attributes = read_attributes(body)
            if kind & 0xFF != _NEWGEN:
                self._is_touched = self._is_touched or attributes.get(_TABLE) == self._table
                continue
            self._generation = _number(attributes[_GEN_ID])
            is_of_others = _number(attributes[_GEN_PID]) not in self._writers
            self._others_changed = self._others_changed or is_of_others
            if self._is_touched and is_of_others:
                culprit = attributes[_GEN_NAME].rstrip(b"\0").decode(errors="replace") or "somebody"
            self._is_touched = False
        return culprit

    def _current(self) -> int:
        """Ask for the number of the last transaction."""
        size = _HEADER.size + _FAMILY.size
        question = _HEADER.pack(size, _SUBSYSTEM << 8 | _GETGEN, _REQUEST, 1, 0) + _FAMILY.pack(0, 0, 0)
        self._questions.send(question)
        for kind, body in _messages(self._questions.recv(1 << 16)):
            if kind == _SUBSYSTEM << 8 | _NEWGEN:
                return _number(read_attributes(body)[_GEN_ID])
        raise OSError(errno.EPROTO, "nftables does not say which generation its rules are")


def _open() -> socket.socket:
    made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
    made.bind((0, 0))
    return made


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield type and attributes of each message of a datagram."""
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, *_ = _HEADER.unpack_from(data, offset)
        yield kind, data[offset + _HEADER.size + _FAMILY.size : offset + length]
        offset += max(_HEADER.size, (length + 3) & ~3)


def _number(data: bytes) -> int:
    return int.from_bytes(data, "big")

"""Host network interfaces that move into a container's network: `linux.netDevices` of runtime-spec 1.2.1.

They keep their permanent global addresses, get the name that is asked for, and are up there. Raw rtnetlink: it is rare, and a
library for it takes ten times as long to import as all of `create`. rtnetlink(7), netlink(7)
"""

import _socket
import errno
import os
import struct

from pycontainer.errors import StartFailed
from pycontainer.linux.namespaces import CLONE_NEWNET, Home

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_NETLINK_ROUTE = 0
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NEWLINK, _GETLINK, _NEWADDR, _GETADDR = 16, 18, 20, 22
_REQUEST, _ACK, _DUMP, _CREATE = 1, 4, 0x300, 0x400
_IFLA_IFNAME, _IFLA_NET_NS_FD = 3, 28
_IFA_FLAGS, _IFA_F_PERMANENT = 8, 0x80
_SCOPE_GLOBAL = 0
_IFF_UP = 1
_HEADER = struct.Struct("=IHHII")
_LINK = struct.Struct("=BxHiII")  # struct ifinfomsg
_ADDRESS = struct.Struct("=BBBBi")  # struct ifaddrmsg: family, prefix length, flags, scope, index


def move(devices: "dict[str, str]", pidfd: int, home: Home, undo: "Callable[[Callable[[], object]], None]") -> None:
    """Move each (name on the host → name inside) into the network of process `pidfd`. StartFailed names the device.

    `undo` is given what brings a device back as it was, as soon as it has gone: with the container's network it would end,
    or be the host's under another name and without its addresses.
    """
    for outer, inner in devices.items():
        try:
            _move_one(outer, inner, pidfd, home, undo)
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise StartFailed(f"linux.netDevices.{outer}: {why}", step="network", errno=error.errno or 0) from error


def _move_one(outer: str, inner: str, pidfd: int, home: Home, undo: "Callable[[Callable[[], object]], None]") -> None:
    index = _socket.if_nametoindex(outer)

    def look() -> int:  # else it would move first, and go down with the namespace
        read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
        os.write(write_fd, _free_name(inner, {name for _, name in _socket.if_nameindex()}).encode())
        os.close(write_fd)
        return read_fd

    with open(home.fetch(pidfd, CLONE_NEWNET, look)) as file:
        name = file.read()
    netns_fd, home_fd = _namespace(pidfd), os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    with _Route() as route:
        addresses = [body for body in route.dump(_GETADDR, _ADDRESS.pack(0, 0, 0, 0, 0)) if _is_kept(body, index)]
        was_up = route.flags_of(index) & _IFF_UP
        _send(route, index, name, netns_fd)

    def bring_back() -> None:
        def leave() -> int:
            with _Route() as route:
                _send(route, _socket.if_nametoindex(name), outer, home_fd)
            return -1

        home.fetch(netns_fd, CLONE_NEWNET, leave)
        with _Route() as route:
            _settle(route, _socket.if_nametoindex(outer), addresses, was_up)

    undo(bring_back)

    def arrive() -> int:
        with _Route() as route:
            _settle(route, _socket.if_nametoindex(name), addresses, _IFF_UP)
        return -1

    home.fetch(netns_fd, CLONE_NEWNET, arrive)


def _send(route: "_Route", index: int, name: str, netns_fd: int) -> None:
    """Move a device into another network, down, as that wants it."""
    target = _attribute(_IFLA_NET_NS_FD, struct.pack("=i", netns_fd))
    renamed = _attribute(_IFLA_IFNAME, name.encode() + b"\0")
    route.ask(_NEWLINK, 0, _LINK.pack(0, 0, index, 0, _IFF_UP) + target + renamed)


def _settle(route: "_Route", index: int, addresses: "list[bytes]", up: int) -> None:
    """Give a device that has come its addresses, and bring it up if it is to be."""
    for body in addresses:
        family, prefix, flags, scope, _ = _ADDRESS.unpack_from(body)
        head = _ADDRESS.pack(family, prefix, flags & _IFA_F_PERMANENT, scope, index)
        route.ask(_NEWADDR, _CREATE, head + body[_ADDRESS.size :])
    if up:
        route.ask(_NEWLINK, 0, _LINK.pack(0, 0, index, _IFF_UP, _IFF_UP))


def _namespace(pidfd: int) -> int:
    with open(f"/proc/self/fdinfo/{pidfd}") as file:
        pid = next(int(line.split()[1]) for line in file if line.startswith("Pid:"))
    return os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _free_name(wanted: str, taken: "set[str]") -> str:
    """Return the name itself, or with %d the first one that is free, as the kernel would; OSError if it is taken."""
    if not wanted.endswith("%d"):
        if wanted in taken:
            raise OSError(errno.EEXIST, f"'{wanted}' is taken inside")
        return wanted
    stem, number = wanted.removesuffix("%d"), 0
    while f"{stem}{number}" in taken:
        number += 1
    return f"{stem}{number}"


def _is_kept(body: bytes, index: int) -> bool:
    _, _, flags, scope, owner = _ADDRESS.unpack_from(body)
    more = _read_attributes(body[_ADDRESS.size :]).get(_IFA_FLAGS, b"")
    all_flags = struct.unpack("=I", more)[0] if len(more) == 4 else flags
    return bool(owner == index and scope == _SCOPE_GLOBAL and all_flags & _IFA_F_PERMANENT)


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def _read_attributes(data: bytes) -> "dict[int, bytes]":
    found = {}
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        if length < 4:
            break
        found[kind & 0x3FFF] = data[4:length]
        data = data[(length + 3) & ~3 :]
    return found


class _Route:
    """A socket to rtnetlink in the network namespace that we are in."""

    __slots__ = ("_number", "_socket")

    def __enter__(self) -> "_Route":
        self._socket = _socket.socket(_socket.AF_NETLINK, _socket.SOCK_RAW | _socket.SOCK_CLOEXEC, _NETLINK_ROUTE)
        self._number = 0
        return self

    def __exit__(self, *_exc: object) -> None:
        self._socket.close()

    def ask(self, kind: int, flags: int, body: bytes) -> None:
        """Send a request and wait for its acknowledgement; OSError says what the kernel did not like."""
        self._send(kind, _REQUEST | _ACK | flags, body)
        for _ in self._answers():
            pass

    def dump(self, kind: int, body: bytes) -> "list[bytes]":
        """Return the bodies of all objects of a kind."""
        self._send(kind, _REQUEST | _DUMP, body)
        return list(self._answers())

    def flags_of(self, index: int) -> int:
        """Return the IFF_ flags of a device."""
        for body in self.dump(_GETLINK, _LINK.pack(0, 0, 0, 0, 0)):
            _, _, found, flags, _ = _LINK.unpack_from(body)
            if found == index:
                return int(flags)
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))

    def _send(self, kind: int, flags: int, body: bytes) -> None:
        self._number += 1
        self._socket.send(_HEADER.pack(_HEADER.size + len(body), kind, flags, self._number, 0) + body)

    def _answers(self) -> "list[bytes]":
        found: list[bytes] = []
        while True:
            data = self._socket.recv(1 << 16)
            while data:
                length, kind, _, _, _ = _HEADER.unpack_from(data)
                body = data[_HEADER.size : length]
                data = data[(length + 3) & ~3 :]
                if kind == _NLMSG_ERROR:
                    code = -struct.unpack_from("=i", body)[0]
                    if code:
                        raise OSError(code, os.strerror(code))
                    return found
                if kind == _NLMSG_DONE:
                    return found
                found.append(body)

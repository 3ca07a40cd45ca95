"""Names of neighbours: /etc/hosts files that running containers have mounted, and the text of resolv.conf.

    networks/NAME.hosts      for all containers that are on NAME alone; NAME@TENANT for those of a tenant
    networks/A+B.hosts       for those on both
    networks/~ID.hosts       for one with --add-host lines of its own, or without any network left

A container has one of these mounted read-only, so the inode stays: a newcomer is one append to each file that shows its
network, one that goes is overwritten with blanks, and a file that is mostly blank is rewritten in place.
"""

import ipaddress
import os
from collections.abc import Sequence
from typing import NamedTuple

HEAD = b"127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
COMPACT_ABOVE_BYTES = 4096
MAX_SHARED_NAME = 200  # a file name ends at 255
SYSTEMD_RESOLVED = "/run/systemd/resolve/resolv.conf"

Member = tuple[str, str]  # network, container id


class _View:
    """One file and where each member's lines lie in it."""

    def __init__(self, path: str, networks: Sequence[str], add_hosts: Sequence[tuple[str, str]]) -> None:
        self.path = path
        self.networks, self.add_hosts = tuple(networks), tuple(add_hosts)
        self._head = HEAD + b"".join(f"{ip}\t{name}\n".encode() for name, ip in add_hosts)
        self._lines: dict[Member, bytes] = {}
        self._offsets: dict[Member, int] = {}
        self._size = self._blank = 0

    def rewrite(self, lines: dict[Member, bytes]) -> None:
        """Write the whole file anew, into the inode that it has."""
        self._lines, self._offsets = dict(lines), {}
        data = bytearray(self._head)
        for member, text in lines.items():
            self._offsets[member] = len(data)
            data += text
        fd = self._open(os.O_CREAT)
        try:
            old_size = os.fstat(fd).st_size
            os.pwrite(fd, data + b"\n" * max(0, old_size - len(data)), 0)  # one write: readers see no half of a line
            os.ftruncate(fd, len(data))
        finally:
            os.close(fd)
        self._size, self._blank = len(data), 0

    def append(self, member: Member, text: bytes) -> None:
        self.blank(member)
        fd = self._open(0)
        try:
            os.pwrite(fd, text, self._size)
        finally:
            os.close(fd)
        self._lines[member], self._offsets[member] = text, self._size
        self._size += len(text)

    def blank(self, member: Member) -> None:
        text = self._lines.pop(member, None)
        if text is None:
            return
        offset = self._offsets.pop(member)
        self._blank += len(text)
        if self._blank > max(COMPACT_ABOVE_BYTES, self._size // 2):
            self.rewrite(self._lines)
            return
        fd = self._open(0)
        try:
            os.pwrite(fd, b" " * (len(text) - 1) + b"\n", offset)
        finally:
            os.close(fd)

    def _open(self, flags: int) -> int:
        return os.open(self.path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | flags, 0o644)


class Lines(NamedTuple):
    """What a member is called and where it is; becomes one line per address."""

    ip: str
    ip6: str
    name: str
    hostname: str

    def encode(self) -> bytes:
        names = self.name if self.hostname in ("", self.name) else f"{self.name} {self.hostname}"
        return "".join(f"{ip}\t{names}\n" for ip in (self.ip, self.ip6) if ip).encode()


class Hosts:
    """All files of a world; who is attached is known in memory, the files are made from it."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._members: dict[Member, bytes] = {}
        self._views: dict[str, _View] = {}

    def path(self, container_id: str, networks: Sequence[str], add_hosts: Sequence[tuple[str, str]] = ()) -> str:
        """Return the file to mount into a container on these networks; makes it, or changes it in place, if need be."""
        shared = "+".join(networks)
        name = f"~{container_id}" if add_hosts or not shared or len(shared) > MAX_SHARED_NAME else shared
        view = self._views.get(name)
        if view is None or (view.networks, view.add_hosts) != (tuple(networks), tuple(add_hosts)):
            os.makedirs(self._directory, mode=0o700, exist_ok=True)
            view = _View(f"{self._directory}/{name}.hosts", networks, add_hosts)
            view.rewrite({member: text for member, text in self._members.items() if member[0] in view.networks})
            self._views[name] = view
        return view.path

    def join(self, network: str, container_id: str, lines: Lines) -> None:
        """Make a container known to its neighbours; what was known of it before is replaced."""
        text = lines.encode()
        self._members[network, container_id] = text
        for view in self._showing(network):
            view.append((network, container_id), text)

    def leave(self, network: str, container_id: str) -> None:
        """Take a container out of its neighbours' files; nothing happens if it is in none."""
        if self._members.pop((network, container_id), None) is not None:
            for view in self._showing(network):
                view.blank((network, container_id))

    def forget_container(self, container_id: str) -> None:
        """Delete the file that only this container had."""
        self._delete(f"~{container_id}")

    def forget_network(self, network: str) -> None:
        """Delete the files that show a network which is removed."""
        for name in [name for name in self._files() if network in {n.partition("@")[0] for n in name.split("+")}]:
            self._delete(name)

    def forget_tenant(self, tenant: str) -> None:
        """Delete the files that show the containers of a tenant which is removed."""
        for name in [name for name in self._files() if name.partition("+")[0].partition("@")[2] == tenant]:
            self._delete(name)

    def tenants(self) -> set[str]:
        """Return the tenants whose containers a file shows."""
        return {name.partition("+")[0].partition("@")[2] for name in self._files()} - {""}

    def _files(self) -> list[str]:
        found = os.listdir(self._directory) if os.path.isdir(self._directory) else []
        return [name.removesuffix(".hosts") for name in found if name.endswith(".hosts")]

    def _showing(self, network: str) -> list[_View]:
        return [view for view in self._views.values() if network in view.networks]

    def _delete(self, name: str) -> None:
        self._views.pop(name, None)
        try:
            os.unlink(f"{self._directory}/{name}.hosts")
        except FileNotFoundError:
            pass


def resolv_conf(dns: Sequence[str], search: Sequence[str], host_file: str = "/etc/resolv.conf") -> bytes:
    """Return a resolv.conf: the given servers and search list, or the host's without those on its loopback.

    Where the host asks itself (systemd-resolved), the servers behind it are taken from its own file. None may be
    left; no public resolver is made up then, names on the internet do not resolve until --dns names a server.
    """
    servers, host_search, options = _read_resolv_conf(host_file)
    if not servers and host_file != SYSTEMD_RESOLVED:
        servers, systemd_search, systemd_options = _read_resolv_conf(SYSTEMD_RESOLVED)
        host_search, options = host_search or systemd_search, options or systemd_options
    lines = [f"nameserver {server}" for server in dns or servers]
    domains = search or host_search
    if domains and domains != ["."]:
        lines.append(f"search {' '.join(domains)}")
    if options and not dns:
        lines.append(f"options {' '.join(options)}")
    return "".join(f"{line}\n" for line in lines).encode()


def _read_resolv_conf(path: str) -> tuple[list[str], list[str], list[str]]:
    """Return the servers that an instance can reach too, the search list and the options. resolv.conf(5)."""
    servers: list[str] = []
    search: list[str] = []
    options: list[str] = []
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read(65536)
    except FileNotFoundError:
        return servers, search, options
    for line in text.split("\n"):
        line = line.replace("\t", " ")
        if not (line.isascii() and line.isprintable()):
            continue
        word, *rest = line.split() or [""]
        if word == "nameserver" and rest and _is_reachable(rest[0]):
            servers.append(rest[0])
        elif word in ("search", "domain"):
            search = rest
        elif word == "options":
            options += rest
    return servers, search, options


def _is_reachable(server: str) -> bool:
    """Tell whether a server's address means the same inside: not the loopback, and not tied to a link by a zone."""
    try:
        address = ipaddress.ip_address(server)
    except ValueError:
        return False
    return not (address.is_loopback or address.is_link_local or address.is_unspecified)

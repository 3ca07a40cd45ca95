"""A site to test networks on: a private host with an outside, a NetworkManager in it, and namespaces for instances."""

import errno
import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from socket import AF_INET, AF_INET6, SOCK_DGRAM, SOCK_STREAM
from typing import TypeVar

import pytest

from pycontainer.net.manager import NetworkManager
from pycontainer.paths import HostPaths
from pycontainer.spec.model import Port
from tests.support.hostns import HostNetwork, NetworkNamespace
from tests.support.poll import SLOWNESS, poll_until

T = TypeVar("T")

HTTP = 80


class Server:
    """Answers every TCP connection and UDP datagram in a namespace with the address it came from."""

    def __init__(self, namespace: NetworkNamespace, port: int) -> None:
        self._sockets = [
            namespace.call(lambda family=family, kind=kind: _listen(family, kind, port))  # type: ignore[misc]
            for family in (AF_INET, AF_INET6)
            for kind in (SOCK_STREAM, SOCK_DGRAM)
        ]
        self._threads = [threading.Thread(target=self._serve, args=(sock,), daemon=True) for sock in self._sockets]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        for sock in self._sockets:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:  # UDP says so, and wakes its reader all the same
                pass
        for thread in self._threads:
            thread.join()
        for sock in self._sockets:
            sock.close()

    def _serve(self, sock: socket.socket) -> None:
        while True:
            try:
                if sock.type == SOCK_STREAM:
                    connection, peer = sock.accept()
                    with connection:
                        connection.sendall(peer[0].encode())
                else:
                    data, peer = sock.recvfrom(100)
                    if not data:
                        return
                    sock.sendto(peer[0].encode(), peer)
            except OSError:
                return


def _listen(family: int, kind: int, port: int) -> socket.socket:
    sock = socket.socket(family, kind)
    if family == AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.bind(("", port))
    if kind == SOCK_STREAM:
        sock.listen()
    return sock


def ask(namespace: NetworkNamespace, ip: str, port: int, kind: int = SOCK_STREAM, *, timeout_seconds: float = 5) -> str:
    """Return what a Server at `ip` sees as the address of one who asks from `namespace`; OSError without an answer."""
    sock = namespace.make_socket(AF_INET6 if ":" in ip else AF_INET, kind)
    with sock:
        sock.settimeout(timeout_seconds * SLOWNESS)
        sock.connect((ip, port))
        if kind == SOCK_DGRAM:
            sock.send(b"who am I")
        return sock.recv(100).decode()


def is_closed(namespace: NetworkNamespace, ip: str, port: int, kind: int = SOCK_STREAM) -> bool:
    """Tell that nobody at `ip` answers or refuses: silence for a while, or a router that knows no way there."""
    try:
        ask(namespace, ip, port, kind, timeout_seconds=0.4)
    except TimeoutError:
        return True
    except OSError as error:
        return error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH)
    return False


class Instance:
    """A namespace that the site's manager has attached, with a Server on port 80."""

    def __init__(
        self,
        site: "Site",
        name: str,
        networks: tuple[str, ...],
        ports: tuple[Port, ...],
        tenant: str = "",
        ip: str = "",
    ) -> None:
        self._site = site
        self.id = os.urandom(6).hex()
        self.name = name
        self.addresses = site.do(lambda: site.manager.reserve(self.id, name, name, networks, ip, tenant=tenant))
        site.manager.keep(self.id)
        self.ip, self.ip6 = self.addresses[networks[0]]["ip"], self.addresses[networks[0]]["ip6"]
        self.namespace = NetworkNamespace()
        self.ports = site.do(lambda: site.manager.claim_ports(self.id, list(ports)))
        site.do(lambda: site.manager.attach(self.id, self.namespace.fd))
        self.server = Server(self.namespace, HTTP)

    def end(self) -> None:
        """End as a container does: its namespace dies, then it is detached and deleted."""
        self.server.close()
        self.namespace.close()
        self._site.do(lambda: self._site.manager.release(self.id))
        self._site.instances.remove(self)


class Site:
    """A host with networks; the manager's calls are made in the host's namespace with `do`."""

    def __init__(self) -> None:
        self.host = HostNetwork()
        self.inside, self.outside = self.host.inside, self.host.outside
        poll_until(lambda: "linkdown" not in self.inside.run("ip", "route"), what="the uplink has its carrier")
        self.root = tempfile.mkdtemp(prefix="pct-net-", dir="/var/tmp")
        self.paths = HostPaths(self.root)
        self.manager = NetworkManager(self.paths)
        self.instances: list[Instance] = []

    def do(self, work: Callable[[], T]) -> T:
        return self.inside.call(work)

    def instance(
        self, name: str, *ports: Port, networks: tuple[str, ...] = ("default",), tenant: str = "", ip: str = ""
    ) -> Instance:
        made = Instance(self, name, networks, ports, tenant, ip)
        self.instances.append(made)
        return made

    def restart_manager(self) -> None:
        """Forget all that is in memory, as the death of a supervisor does."""
        self.manager = NetworkManager(self.paths)

    def state(self) -> list[str]:
        """Return what the host holds: links, addresses, routes, firewall, and the files of the world."""
        commands = ("ip -o link", "ip -o address", "ip route", "ip -6 route", "nft -s list ruleset")
        lines = [line for command in commands for line in self.inside.run(*command.split()).splitlines()]
        return sorted(line for line in lines if "fe80" not in line)

    def close(self) -> None:
        for instance in list(self.instances):
            instance.end()
        self.do(lambda: self.manager.close(remove=True))
        self.host.close()
        shutil.rmtree(self.root)


@pytest.fixture
def site() -> Iterator[Site]:
    """A site of its own; afterwards its host is as it was before the first network, but for forwarding."""
    made = Site()
    before = made.state()
    host = made.host
    try:
        yield made
        for instance in list(made.instances):
            instance.end()
        made.do(lambda: made.manager.close(remove=True))
        after = made.state()
        assert after == before
        assert not os.path.exists(made.paths.forwarder_socket)
    finally:
        made.host = host
        made.close()

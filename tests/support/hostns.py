"""A private "host" network for a world, so that no test touches the machine's own links and firewall.

    outside                              inside (the world's "host")
    eth0  192.0.2.2/24  2001:db8::2/64 ── eth0  192.0.2.1/24  2001:db8::1/64     lo is up in both
    no route to anything else            default routes by the outside

A namespace lives as long as its descriptor here: nothing is bound to a path, nothing stays behind.
"""

import os
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable
from socket import AF_INET, AF_INET6, SOCK_STREAM
from typing import TYPE_CHECKING, TypeVar

from pycontainer.linux.namespaces import CLONE_NEWNET, setns, unshare
from tests.support.poll import SLOWNESS

if TYPE_CHECKING:
    from tests.support.forked import Forker

T = TypeVar("T")

INSIDE_IP, OUTSIDE_IP = "192.0.2.1", "192.0.2.2"
INSIDE_IP6, OUTSIDE_IP6 = "2001:db8::1", "2001:db8::2"


def in_thread(work: Callable[[], T]) -> T:
    """Run `work` in a thread of its own, which may change namespaces, and return or raise what it does."""
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:  # handed over to the caller whole
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


class NetworkNamespace:
    """A network namespace with lo up, held by a descriptor."""

    def __init__(self) -> None:
        def leave() -> int:
            unshare(CLONE_NEWNET)
            return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

        self.fd = in_thread(leave)
        self.path = f"/proc/{os.getpid()}/fd/{self.fd}"
        self.run("ip", "link", "set", "lo", "up")

    def close(self) -> None:
        os.close(self.fd)

    def argv(self, *command: str) -> list[str]:
        """Return the argv that runs `command` in here."""
        return ["nsenter", f"--net={self.path}", "--", *command]

    def run(self, *command: str) -> str:
        """Run `command` in here and return its output; AssertionError with its stderr if it fails."""
        done = subprocess.run(
            self.argv(*command),
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=30 * SLOWNESS,
            check=False,
        )
        assert done.returncode == 0, f"{' '.join(command)}: exit {done.returncode}: {done.stderr}"
        return done.stdout

    def call(self, work: Callable[[], T]) -> T:
        """Run `work` in here, in a thread; sockets it makes stay in this namespace."""

        def inside() -> T:
            setns(self.fd, CLONE_NEWNET)
            return work()

        return in_thread(inside)

    def make_socket(self, family: int = AF_INET, kind: int = SOCK_STREAM, protocol: int = 0) -> socket.socket:
        """Return a socket of this namespace with a timeout set."""
        made = self.call(lambda: socket.socket(family, kind, protocol))
        made.settimeout(5 * SLOWNESS)
        return made

    def connect(self, address: str, port: int) -> socket.socket:
        """Return a TCP connection made from in here."""
        made = self.make_socket(AF_INET6 if ":" in address else AF_INET)
        try:
            made.connect((address, port))
        except BaseException:
            made.close()
            raise
        return made

    def http_get(self, url: str, *, timeout_seconds: float = 5) -> str:
        """Fetch `url` from in here, without any proxy, and return the body."""

        def fetch() -> str:
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with opener.open(url, timeout=timeout_seconds * SLOWNESS) as reply:
                return str(reply.read().decode())

        return self.call(fetch)

    def http_get_soon(self, url: str, *, timeout_seconds: float = 10) -> str:
        """Fetch `url`, waiting for the server to come up."""
        deadline = time.monotonic() + timeout_seconds * SLOWNESS
        while True:
            try:
                return self.http_get(url, timeout_seconds=2)
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def links(self) -> list[str]:
        """Return the names of the links in here."""
        return self.call(lambda: sorted(name for _, name in socket.if_nameindex()))


class HostNetwork:
    """The pair of namespaces drawn above; `forker` runs the commands of its worlds, if there is one."""

    forker: "Forker | None" = None

    def __init__(self) -> None:
        self.inside = NetworkNamespace()
        self.outside = NetworkNamespace()
        self.inside.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", self.outside.path)
        for namespace, ip, ip6 in ((self.inside, INSIDE_IP, INSIDE_IP6), (self.outside, OUTSIDE_IP, OUTSIDE_IP6)):
            namespace.run("ip", "address", "add", f"{ip}/24", "dev", "eth0")
            namespace.run("ip", "address", "add", f"{ip6}/64", "dev", "eth0", "nodad")
            namespace.run("ip", "link", "set", "eth0", "up")
        self.inside.run("ip", "route", "add", "default", "via", OUTSIDE_IP)
        self.inside.run("ip", "-6", "route", "add", "default", "via", OUTSIDE_IP6)

    def close(self) -> None:
        self.inside.close()
        self.outside.close()

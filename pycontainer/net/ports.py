"""Published ports as reservations: who holds which, the listening sockets on the loopback, the forwarder that has them.

A port is claimed by binding it. On all addresses of the host: tried on the wildcard of each family, then listened to on
127.0.0.1 and ::1; on one address: listened to there. What reaches other addresses is translated by the firewall before
it meets a socket; the socket then only keeps the port from other programs. The forwarder outlives the supervisor.
"""

import errno
import json
import os
import select
import socket
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace

from pycontainer.errors import AlreadyExists, InvalidInput
from pycontainer.spec.model import Port

PROGRAM = os.path.join(os.path.dirname(__file__), "forwarder.py")
REPLY_TIMEOUT_SECONDS = 5.0
FREE_PORT_TRIES = 64
BACKLOG = 1024
DESCRIPTORS_PER_PACKET = 100
WILDCARDS = {"": ("0.0.0.0", "::"), "0.0.0.0": ("0.0.0.0",), "::": ("::",)}
LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}
NO_IPV6 = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)

Targets = dict[str, str]  # "ip" and "ip6" of the instance, the latter may be empty


class Ports:
    """All claims of this world."""

    def __init__(self, socket_path: str) -> None:
        self._forwarder = ForwarderClient(socket_path)
        self._claims: dict[str, tuple[str, list[Port]]] = {}  # owner: (the container's name, its ports)

    def claim(self, owner: str, name: str, ports: Sequence[Port], targets: Targets) -> list[Port]:
        """Claim all of `ports` or none, and return them with every host port known.

        Claims that `owner` has already are given up first. AlreadyExists if a port is taken, InvalidInput if the host
        does not have the address asked for.
        """
        self.release(owner)
        claimed: list[Port] = []
        listeners: list[tuple[Port, socket.socket]] = []
        with ExitStack() as close:
            for port in ports:
                taken = [*self._held(), *((name, other) for other in claimed)]
                port, sockets = _bind_free(port) if port.host_port == 0 else (port, _bind(port, taken))
                listeners += [(port, close.enter_context(sock)) for sock in sockets]
                claimed.append(port)
            if listeners:
                self._forwarder.add(owner, listeners, targets)
        if claimed:
            self._claims[owner] = name, claimed
        return claimed

    def release(self, owner: str) -> None:
        """Give up what `owner` claimed: its ports are free and its connections over the loopback closed on return."""
        if self._claims.pop(owner, None):
            self._forwarder.remove(owner)

    def claimed(self, owner: str) -> list[Port]:
        return self._claims.get(owner, ("", []))[1]

    def adopt(self, claims: dict[str, tuple[str, list[Port], Targets]]) -> list[str]:
        """After a restart: keep the listeners of these owners, make those that are missing, close all others.

        Returns in words what could not be had again because another program took it meanwhile.
        """
        problems: list[str] = []
        serving = self._forwarder.owners()
        for owner in serving - set(claims):
            self._forwarder.remove(owner)
        for owner, (name, ports, targets) in claims.items():
            if owner in serving:
                self._claims[owner] = name, list(ports)
            elif ports:
                problems += self._claim_again(owner, name, ports, targets)
        return problems

    def _claim_again(self, owner: str, name: str, ports: Sequence[Port], targets: Targets) -> list[str]:
        """Claim what a container that runs had; what another program has by now is said, and translated all the same."""
        try:
            self.claim(owner, name, ports, targets)
        except AlreadyExists as error:
            self._claims[owner] = name, list(ports)
            return [f"container '{name}': {error.message}, it is no longer served on the loopback"]
        return []

    def are_served(self) -> bool:
        """Tell whether a forwarder lives that has what is claimed."""
        return not self._claims or self._forwarder.is_alive()

    def serve_again(self, targets: Mapping[str, Targets]) -> list[str]:
        """After the death of the forwarder: claim everything again, with another. Returns problems as `adopt` does."""
        self._forwarder.close(end=False)
        claims = [(owner, *claim) for owner, claim in self._claims.items()]
        return [
            problem
            for owner, name, ports in claims
            for problem in self._claim_again(owner, name, ports, targets[owner])
        ]

    def close(self, *, remove: bool) -> None:
        """Leave the forwarder to itself, or end it."""
        self._forwarder.close(end=remove)
        if remove:
            self._claims.clear()

    def holds(self, port: Port) -> bool:
        """Tell whether somebody has this port of the host, on whatever address."""
        return any((port.protocol, port.host_port) == (held.protocol, held.host_port) for _, held in self._held())

    def _held(self) -> Iterable[tuple[str, Port]]:
        return ((name, port) for name, ports in self._claims.values() for port in ports)


class ForwarderClient:
    """The supervisor's end of the control socket; starts the program when there is something to forward."""

    def __init__(self, socket_path: str) -> None:
        self._path = socket_path
        self._connection: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def add(self, owner: str, listeners: Sequence[tuple[Port, socket.socket]], targets: Targets) -> None:
        """Hand over listening sockets; the caller closes its own copies."""
        entries, fds = [], []
        for port, sock in listeners:
            order = ("ip6", "ip") if sock.family == socket.AF_INET6 else ("ip", "ip6")
            addresses = [targets[key] for key in order if targets[key]]
            entries.append((owner, port.protocol, [(address, port.container_port) for address in addresses]))
            fds.append(sock.fileno())
        for start in range(0, len(fds), DESCRIPTORS_PER_PACKET):
            part = slice(start, start + DESCRIPTORS_PER_PACKET)
            self._send({"add": entries[part]}, fds[part])

    def remove(self, owner: str) -> None:
        """Close the listeners of `owner`; nothing happens if the forwarder is gone, for they went with it."""
        self._ask({"remove": owner})

    def owners(self) -> set[str]:
        """Return whose listeners a running forwarder has."""
        reply = self._ask({"list": True})
        owners = reply.get("owners", [])
        return {str(owner) for owner in owners} if isinstance(owners, list) else set()

    def is_alive(self) -> bool:
        """Tell whether a forwarder runs; it is not asked anything."""
        if not self._connect():
            return False
        assert self._connection is not None
        poll = select.poll()
        poll.register(self._connection, select.POLLRDHUP)
        return not poll.poll(0)

    def close(self, *, end: bool) -> None:
        if end and self._connect():
            assert self._connection is not None
            try:
                self._connection.send(json.dumps({"quit": True}).encode())
                self._connection.settimeout(REPLY_TIMEOUT_SECONDS)
                self._connection.recv(1)
            except OSError:  # it is gone already
                pass
        if end:
            _unlink(self._path)
            if self._process is not None:
                try:
                    self._process.wait(REPLY_TIMEOUT_SECONDS)
                except subprocess.TimeoutExpired:
                    self._process.kill()
                    self._process.wait()
        self._disconnect()

    def _send(self, request: dict[str, object], fds: Sequence[int]) -> None:
        data = json.dumps(request).encode()
        for attempt in (1, 2):
            if not self._connect():
                self._start()
            assert self._connection is not None
            try:
                socket.send_fds(self._connection, [data], list(fds))
                return
            except OSError:  # it ended just now, for want of work
                self._disconnect()
                if attempt == 2:
                    raise

    def _ask(self, request: dict[str, object]) -> dict[str, object]:
        """Send a request to a running forwarder and return its reply, empty if none runs."""
        if not self._connect():
            return {}
        assert self._connection is not None
        try:
            self._connection.settimeout(REPLY_TIMEOUT_SECONDS)
            self._connection.send(json.dumps(request).encode())
            data = self._connection.recv(1 << 20)
        except TimeoutError:
            self._disconnect()  # or its late reply would be taken for the next one
            raise
        except OSError:
            data = b""
        if not data:
            self._disconnect()
            return {}
        reply: dict[str, object] = json.loads(data)
        return reply

    def _connect(self) -> bool:
        if self._connection is not None:
            return True
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        try:
            connection.connect(self._path)
        except (FileNotFoundError, ConnectionRefusedError):
            connection.close()
            return False
        self._connection = connection
        return True

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _start(self) -> None:
        """Start the program; its control socket listens before it runs, so nobody waits for it to come up."""
        if self._process is not None:
            self._process.poll()
        _unlink(self._path)
        os.makedirs(os.path.dirname(self._path), mode=0o700, exist_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC) as control:
            control.bind(self._path)
            os.chmod(self._path, 0o600)
            control.listen(8)
            self._process = subprocess.Popen(
                [sys.executable, "-SI", PROGRAM, str(control.fileno())],
                pass_fds=(control.fileno(),),
                cwd="/",
                env={},
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        self._connect()


def _bind(port: Port, taken: Iterable[tuple[str, Port]]) -> list[socket.socket]:
    """Return the sockets that hold `port`; raises AlreadyExists or InvalidInput as `claim` does."""
    words = f"port {port.host_port}/{port.protocol}"
    for holder, other in taken:
        same_number = (other.host_port, other.protocol) == (port.host_port, port.protocol)
        if same_number and _overlap(port.host_ip, other.host_ip):
            raise AlreadyExists(f"{words} is taken by container '{holder}'", hint="choose another host port")
    try:
        return _sockets(port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            option = "-ltnp" if port.protocol == "tcp" else "-lunp"
            hint = f"'ss {option}' shows which; choose another host port"
            raise AlreadyExists(f"{words} is taken by another program of this host", hint=hint) from error
        if error.errno == errno.EADDRNOTAVAIL:
            raise InvalidInput(
                f"cannot publish {words}: this host has no address {port.host_ip}",
                field="ports",
                hint="ip address shows the addresses there are",
            ) from error
        raise


def _bind_free(port: Port) -> tuple[Port, list[socket.socket]]:
    for _ in range(FREE_PORT_TRIES):
        host_ip = WILDCARDS.get(port.host_ip, (port.host_ip,))[0]
        with _socket(host_ip, port.protocol) as probe:
            probe.bind((host_ip, 0))
            number = probe.getsockname()[1]
        chosen = replace(port, host_port=number)
        try:
            return chosen, _bind(chosen, ())
        except AlreadyExists:
            continue
    raise AlreadyExists(f"no free {port.protocol} port was found", hint="name one: HOSTPORT:CONTAINERPORT")


def _sockets(port: Port) -> list[socket.socket]:
    with ExitStack() as undo:
        made = []
        for wildcard in WILDCARDS.get(port.host_ip, (port.host_ip,)):
            host_ip = LOOPBACK.get(wildcard, wildcard)
            try:
                if host_ip != wildcard:
                    with _socket(wildcard, port.protocol) as probe:
                        probe.bind((wildcard, port.host_port))
                sock = undo.enter_context(_socket(host_ip, port.protocol))
                sock.bind((host_ip, port.host_port))
                if port.protocol == "tcp":
                    sock.listen(BACKLOG)
            except OSError as error:
                if port.host_ip == "" and wildcard == "::" and error.errno in NO_IPV6:
                    continue
                raise
            made.append(sock)
        undo.pop_all()
        return made


def _socket(host_ip: str, protocol: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host_ip else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM)
    if protocol == "tcp":  # connections that are over do not hold the port; a listener still does
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    return sock


def _overlap(first: str, second: str) -> bool:
    """Tell whether two host addresses, either of which may be a wildcard, have one in common."""
    if first == second or "" in (first, second):
        return True
    if (":" in first) != (":" in second):
        return False
    return first in WILDCARDS or second in WILDCARDS


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass

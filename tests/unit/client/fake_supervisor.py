"""A supervisor of a few lines, for the client's tests: a thread that answers frames with what a table of verbs says."""

import json
import os
import socket
import tempfile
import threading
from collections.abc import Callable
from typing import Any

from pycontainer.api.messages import receive_frame, send_frame
from pycontainer.errors import NotFound, PycontainerError
from pycontainer.paths import HostPaths
from pycontainer.supervisor.call import parse_request

Verb = Callable[["Exchange"], object]


class Exchange:
    """One request in the hands of a fake verb; its descriptors are closed when the verb returns."""

    def __init__(self, sock: socket.socket, verb: str, args: dict[str, Any], fds: list[int]) -> None:
        self.sock, self.verb, self.args, self.fds = sock, verb, args, fds

    def event(self, event: object, fds: list[int] | None = None) -> None:
        send_frame(self.sock, {"event": event}, fds)

    def close_fds(self) -> None:
        while self.fds:
            os.close(self.fds.pop())


class HangUp(Exception):
    """Raised by a verb: the fake closes the connection instead of answering."""


class FakeSupervisor:
    """Listens at the socket of a world of its own while the context lasts; `requests` has what was asked, in order."""

    def __init__(self, verbs: dict[str, Verb] | None = None) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="pycontainer-test-")
        self.root = self._directory.name
        self.paths = HostPaths(self.root)
        self.verbs: dict[str, Verb] = verbs or {}
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.connection_count = 0
        self.deaf_count = 0  # so many connections are closed as soon as there is a request, which is not read

    def __enter__(self) -> "FakeSupervisor":
        os.makedirs(self.paths.run_dir)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(self.paths.supervisor_socket)
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._directory.cleanup()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connection_count += 1
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with sock:
            if self.deaf_count:
                self.deaf_count -= 1
                sock.recv(1, socket.MSG_PEEK)
                return
            while True:
                try:
                    received = receive_frame(sock)
                except OSError:
                    return
                if received is None:
                    return
                message, fds = received
                verb, args, _ = parse_request(json.dumps(message).encode())  # as strict as the real one
                exchange = Exchange(sock, verb, args, fds)
                self.requests.append((exchange.verb, exchange.args))
                try:
                    reply: dict[str, object] = {"result": self._answer(exchange)}
                except (HangUp, BrokenPipeError):  # the client may have gone, too
                    return
                except PycontainerError as error:
                    reply = {"error": error.to_wire()}
                finally:
                    exchange.close_fds()
                try:
                    send_frame(sock, reply)
                except OSError:
                    return

    def _answer(self, exchange: Exchange) -> object:
        verb = self.verbs.get(exchange.verb)
        if verb is None:
            raise NotFound(f"the fake has no verb '{exchange.verb}'")
        return verb(exchange)


def container_info(**changes: object) -> dict[str, object]:
    """Return a ContainerInfo with these keys changed."""
    info: dict[str, object] = {
        "id": "0123456789ab", "name": "web", "image": "debian-nginx", "rootfs": "", "command": ["nginx"],
        "status": "running", "created": 1.0, "started": 2.0, "finished": None, "exit_code": None, "oom_killed": False,
        "cause": "", "health": "", "pid": 42, "ports": [], "labels": {},
        "networks": {"default": {"ip": "10.88.0.2", "ip6": "fd00::2"}},
        "restart": "no", "onboot": "no", "restart_count": 0, "auto_remove": False, "tty": False, "stdin_open": False,
        "memory_bytes": None, "profile": "app", "loosened": [], "warnings": [],
    }  # fmt: skip
    return {**info, **changes}

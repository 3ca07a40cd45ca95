"""A web server to stand behind a proxy: it answers by which address it was reached, and what it was sent.

One on all of 127.0.0.0/8 is as many servers as wanted: each of its addresses says its own name.
"""

import hashlib
import http.server
import json
import socket
import threading
from types import TracebackType
from typing import Any


class Origin:
    """A server on a free port of all IPv4 addresses, in the network namespace of the caller; a context manager."""

    def __init__(self, address: str = "0.0.0.0") -> None:
        self.hold = threading.Event()  # cleared: /wait does not answer
        self.began = threading.Event()  # set when a request comes
        self.waiting: list[str] = []  # an entry for each that came for /wait
        self._server = _Server((address, 0), _Handler)
        self._server.hold, self._server.began, self._server.waiting = self.hold, self.began, self.waiting
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> "Origin":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.hold.set()
        self._server.shutdown()
        self._server.server_close()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 1024
    hold: threading.Event
    began: threading.Event
    waiting: list[str]


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        self.server.began.set()
        if self.path == "/wait":
            self.server.waiting.append(self.path)
            self.server.hold.wait()
        if self.headers.get("Upgrade") == "websocket":
            self._echo()
            return
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._answer(
            {
                "address": self.connection.getsockname()[0],
                "method": self.command,
                "path": self.path,
                "headers": {name.lower(): value for name, value in self.headers.items()},
                "body": [len(body), hashlib.sha256(body).hexdigest()],
            }
        )

    do_POST = do_GET

    def _answer(self, said: dict[str, Any]) -> None:
        data = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        if wanted := self.headers.get("X-Answer-With"):  # NAME: VALUE, as a site that does not mean well
            name, _, value = wanted.partition(": ")
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _echo(self) -> None:
        """Leave HTTP, and send back what comes."""
        self.close_connection = True
        self.connection.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
        )
        while data := self.connection.recv(4096):
            self.connection.sendall(data)

    def log_message(self, format: str, *args: object) -> None:
        pass


def free_port(address: str = "127.0.0.1") -> int:
    """Return a port that nobody listens on."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as sock:
        sock.bind((address, 0))
        return int(sock.getsockname()[1])

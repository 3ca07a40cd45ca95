"""The HTTP server of the metrics: few connections, each with one request, a time in which it must come, and an answer.

What one client can take of us has an end: a request's bytes and the time for it, connections (a new one puts out the oldest
whose request has not come), the time that an answer waits for its reader. Pages are made one at a time; who asks while one is
being made waits for it, and who asks within a second of the last gets the same. No traceback ever reaches a client.
"""

import contextlib
import email.utils
import os
import select
import socket
import sys
import threading
import time
import traceback
import zlib
from collections.abc import Sequence
from typing import Protocol

from pycontainer.metrics import exposition
from pycontainer.metrics.request import END, MAX_HEAD_BYTES, Refused, Request, parse, takes_gzip, wants_openmetrics

MAX_CONNECTIONS = 16
REQUEST_SECONDS, ANSWER_SECONDS = 5.0, 30.0
_FRESH_SECONDS = 1.0
_GZIP_FROM_BYTES, _GZIP_LEVEL, _GZIP_WINDOW = 4096, 1, 31
_LINGER_SECONDS, _LINGER_BYTES = 1.0, 1 << 16
_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 408: "Request Timeout",
            414: "URI Too Long", 431: "Request Header Fields Too Large", 500: "Internal Server Error"}  # fmt: skip
_TOO_MANY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_TEXT = "text/plain; charset=utf-8"


class Page(Protocol):
    """What exposition.Exposition is to us."""

    def text(self, *, openmetrics: bool) -> bytes: ...


class Pages(Protocol):
    """What collector.Collector is to us."""

    problem: str

    def page(self) -> Page: ...


class Server:
    """Serves on `listeners` until `stop`."""

    def __init__(
        self,
        pages: Pages,
        listeners: Sequence[socket.socket],
        *,
        request_seconds: float = REQUEST_SECONDS,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        self._pages, self._listeners = pages, listeners
        self._request_seconds, self._answer_seconds = request_seconds, answer_seconds
        self._making = threading.Lock()
        self._page: tuple[float, Page] | None = None
        self._connections: dict[socket.socket, bool] = {}  # oldest first; True while the request has not come
        self._lock = threading.Lock()
        self._stop_read_fd, self._stop_write_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def stop(self, *_: object) -> None:
        """Have `serve` return; may be called by a signal handler or another thread."""
        os.write(self._stop_write_fd, b"1")

    def serve(self) -> None:
        """Accept clients until told to stop; answers on their way are given up then."""
        poller = select.poll()
        for listener in self._listeners:
            listener.setblocking(False)
            poller.register(listener, select.POLLIN)
        poller.register(self._stop_read_fd, select.POLLIN)
        by_fd = {listener.fileno(): listener for listener in self._listeners}
        while True:
            ready = [fd for fd, _ in poller.poll()]
            if self._stop_read_fd in ready:
                return
            for fd in ready:
                self._accept(by_fd[fd])

    def _accept(self, listener: socket.socket) -> None:
        try:
            sock, _ = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError:  # no descriptor left: those who are here go before long
            time.sleep(0.1)
            return
        sock.setblocking(True)
        with self._lock:
            if len(self._connections) >= MAX_CONNECTIONS and not self._put_out_one():
                _turn_away(sock)  # all of them are being answered
                return
            self._connections[sock] = True
        threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _put_out_one(self) -> bool:
        """End the oldest connection whose request has not come; False if there is none."""
        for sock, is_awaited in self._connections.items():
            if is_awaited:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)  # its thread wakes, and closes it
                del self._connections[sock]
                return True
        return False

    def _serve(self, sock: socket.socket) -> None:
        try:
            with contextlib.suppress(OSError):  # it left, or does not read
                try:
                    request = parse(_read_head(sock, self._request_seconds))
                except Refused as refused:
                    self._send(sock, refused.status, f"{refused.reason}\n".encode())
                    _linger(sock)
                    return
                with self._lock:
                    if sock in self._connections:
                        self._connections[sock] = False
                self._answer(sock, request)
        finally:
            with self._lock:
                self._connections.pop(sock, None)
            sock.close()

    def _answer(self, sock: socket.socket, request: Request) -> None:
        if request.path == "/healthz":
            self._send(sock, 200, b"ok\n", is_head=request.is_head)
            return
        openmetrics = wants_openmetrics(request.accept)
        try:
            text = self._fresh_page().text(openmetrics=openmetrics)
        except Exception as error:
            traceback.print_exc()
            print(f"metrics: no page can be made: {error}", file=sys.stderr)
            self._send(sock, 500, b"no page can be made; the log of the metrics process says why\n")
            return
        headers = {
            "Content-Type": exposition.OPENMETRICS if openmetrics else exposition.PLAIN,
            "Vary": "Accept, Accept-Encoding",
        }
        if len(text) >= _GZIP_FROM_BYTES and takes_gzip(request.accept_encoding):
            packer = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)
            text = packer.compress(text) + packer.flush()
            headers["Content-Encoding"] = "gzip"
        self._send(sock, 200, text, headers, is_head=request.is_head)

    def _fresh_page(self) -> Page:
        with self._making:
            if self._page is None or time.monotonic() - self._page[0] > _FRESH_SECONDS:
                self._page = None  # two of them need not be in memory at once
                page = self._pages.page()
                self._page = time.monotonic(), page
            return self._page[1]

    def _send(
        self,
        sock: socket.socket,
        status: int,
        text: bytes,
        headers: dict[str, str] | None = None,
        *,
        is_head: bool = False,
    ) -> None:
        fields = {
            "Date": email.utils.formatdate(usegmt=True),
            "Content-Type": _TEXT,
            "Content-Length": str(len(text)),
            "Connection": "close",
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            **({"Allow": "GET, HEAD"} if status == 405 else {}),
            **(headers or {}),
        }
        lines = [
            f"HTTP/1.1 {status} {_REASONS[status]}",
            *(f"{name}: {value}" for name, value in fields.items()),
            "",
            "",
        ]
        rest = memoryview("\r\n".join(lines).encode() + (b"" if is_head else text))
        deadline = time.monotonic() + self._answer_seconds
        while rest:
            sock.settimeout(max(0.001, deadline - time.monotonic()))
            rest = rest[sock.send(rest) :]  # beyond it, who takes something at once may go on


def _read_head(sock: socket.socket, seconds: float) -> bytes:
    """Return the request up to its empty line. Raises Refused, OSError if the client left."""
    deadline = time.monotonic() + seconds
    data = bytearray()
    while (end := data.find(END)) < 0:
        if len(data) >= MAX_HEAD_BYTES:
            raise Refused(431, f"more than {MAX_HEAD_BYTES} bytes")
        if (left := deadline - time.monotonic()) <= 0:
            raise Refused(408, f"the request did not come whole within {seconds:g} seconds")
        sock.settimeout(left)
        try:
            part = sock.recv(MAX_HEAD_BYTES - len(data))
        except TimeoutError:
            continue
        if not part:
            raise ConnectionResetError("the client left")
        data += part
    if end + len(END) != len(data):
        raise Refused(400, "something follows the request")
    return bytes(data[:end])


def _turn_away(sock: socket.socket) -> None:
    """Say that there are too many, if that can be said at once, and close."""
    with contextlib.suppress(OSError):
        sock.send(_TOO_MANY, socket.MSG_DONTWAIT)
        sock.shutdown(socket.SHUT_WR)
        sock.recv(MAX_HEAD_BYTES, socket.MSG_DONTWAIT)  # what was sent already, lest closing resets our words
    sock.close()


def _linger(sock: socket.socket) -> None:
    """Take what the client still sends, for a while: closing with something unread would reset what it has not read yet."""
    sock.shutdown(socket.SHUT_WR)
    deadline, taken = time.monotonic() + _LINGER_SECONDS, 0
    while taken < _LINGER_BYTES and (left := deadline - time.monotonic()) > 0:
        sock.settimeout(left)
        part = sock.recv(4096)
        if not part:
            return
        taken += len(part)

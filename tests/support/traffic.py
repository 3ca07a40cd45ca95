"""The far end of TCP streams in another network namespace: counts what it is sent, or sends without end."""

import contextlib
import socket
import threading
import time

from tests.support.hostns import NetworkNamespace

_CHUNK_BYTES = 65536


class FarEnd:
    """A listening socket of `namespace`; every connection is served by a thread of its own."""

    def __init__(self, namespace: NetworkNamespace, ip: str, *, sends: bool = False) -> None:
        """With `sends` it sends zeros to whoever connects, else it counts what it receives."""
        self._sends = sends
        self._lock = threading.Lock()
        self._received_bytes = 0
        self._sockets: list[socket.socket] = []
        self._socket = namespace.call(lambda: socket.create_server((ip, 0)))
        self.port = self._socket.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def received_bytes(self) -> int:
        with self._lock:
            return self._received_bytes

    def mbit_per_second(self, seconds: float) -> float:
        """Count for a while, after a second in which streams get going, and return what was received meanwhile."""
        time.sleep(1)
        began, before = time.monotonic(), self.received_bytes
        time.sleep(seconds)
        return (self.received_bytes - before) * 8 / (time.monotonic() - began) / 1e6

    def close(self) -> None:
        """End all streams."""
        self._socket.shutdown(socket.SHUT_RDWR)
        for connection in self._sockets:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._socket.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:  # it was shut down
                return
            self._sockets.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            if self._sends:
                zeros = bytes(_CHUNK_BYTES)
                while True:
                    connection.sendall(zeros)
            while count := len(connection.recv(_CHUNK_BYTES)):
                with self._lock:
                    self._received_bytes += count

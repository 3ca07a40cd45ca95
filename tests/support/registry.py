"""A real registry on loopback, Debian's docker-registry, with its files in a directory of its own; and a slow way to it."""

import contextlib
import os
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.support.poll import poll_until

USER, PASSWORD = "alice", "s3cret"
_HTPASSWD = f"{USER}:$2b$04$1MvQhnhfvYdzpv6RsjdvOO0rBlk2D/uIMC7aSMUukiz4lE9kLgIzS\n"  # bcrypt of PASSWORD, 16 rounds


class Registry:
    """One running registry; `host` is 127.0.0.1:PORT as references have it."""

    def __init__(self, directory: Path, port: int) -> None:
        self.directory, self.port = directory, port
        self.host = f"127.0.0.1:{port}"

    @property
    def requests(self) -> list[str]:
        """What the access log says was asked for, as "GET /v2/... 200"."""
        lines = (self.directory / "log").read_text(errors="replace").splitlines()
        found = []
        for line in lines:
            if '] "' in line and "HTTP/1.1" in line:
                request, _, rest = line.partition('] "')[2].partition('" ')
                found.append(f"{' '.join(request.split()[:2])} {rest.split()[0]}")
        return found

    def fetches(self, digest: str) -> int:
        """Return how often a blob was asked for; sharing a layer's digest means the same blob."""
        return sum(request.startswith("GET ") and f"/blobs/{digest} " in request for request in self.requests)


@contextlib.contextmanager
def registry(*, private: bool = False, tls: bool = False, inside: Sequence[str] = ()) -> Iterator[Registry]:
    """Run a registry; `private` wants USER and PASSWORD, `tls` has a certificate that nobody knows (`directory/ca`).

    `inside` is a command's beginning that enters another network namespace.
    """
    with tempfile.TemporaryDirectory(prefix="pct-registry-") as name:
        made = Registry(Path(name), free_port())
        (made.directory / "config.yml").write_text(_config(made, private, tls))
        (made.directory / "htpasswd").write_text(_HTPASSWD)
        if tls:
            _make_certificate(made.directory)
        with (made.directory / "log").open("wb") as log:
            process = subprocess.Popen(
                [*inside, "docker-registry", "serve", str(made.directory / "config.yml")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"PATH": os.environ["PATH"], "HOME": name, "OTEL_TRACES_EXPORTER": "none"},
            )
        try:
            poll_until(
                lambda: process.poll() is not None or "listening on" in (made.directory / "log").read_text(),
                what="the registry listens",
            )
            assert process.poll() is None, (made.directory / "log").read_text()
            yield made
        finally:
            process.terminate()
            process.wait()


def _config(made: Registry, private: bool, tls: bool) -> str:
    directory = made.directory
    lines = [
        "version: 0.1",
        f"storage: {{filesystem: {{rootdirectory: {directory}/data}}, delete: {{enabled: true}}}}",
        f"http: {{addr: '{made.host}'"
        + (f", tls: {{certificate: {directory}/ca/ca.crt, key: {directory}/key}}" if tls else "")
        + "}",
    ]
    if private:
        lines.append(f"auth: {{htpasswd: {{realm: pct, path: {directory}/htpasswd}}}}")
    return "\n".join(lines) + "\n"


def _make_certificate(directory: Path) -> None:
    (directory / "ca").mkdir()
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=pct", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", directory / "key", "-out", directory / "ca/ca.crt"],
        check=True, capture_output=True,
    )  # fmt: skip


def free_port() -> int:
    """Return a port of loopback that nobody had a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Throttle:
    """A way to a port that stops, without a word, on each connection that has carried `limit_bytes` to the client."""

    def __init__(self, port: int, limit_bytes: int) -> None:
        self._target, self.limit_bytes = port, limit_bytes
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        """End all connections."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        self._listener.close()
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads[1:]:
            thread.join()
        for sock in self._sockets:
            sock.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._target))
            self._sockets += [client, server]
            for source, sink, limit in ((client, server, None), (server, client, self.limit_bytes)):
                thread = threading.Thread(target=self._carry, args=(source, sink, limit))
                thread.start()
                self._threads.append(thread)

    def _carry(self, source: socket.socket, sink: socket.socket, limit: int | None) -> None:
        carried = 0
        with contextlib.suppress(OSError):
            while limit is None or carried < limit:
                data = source.recv(1 << 16)
                if not data:
                    sink.shutdown(socket.SHUT_WR)
                    return
                sink.sendall(data)
                carried += len(data)

"""The HTTP server of the metrics, spoken to over real sockets."""

import contextlib
import gzip
import socket
import threading
from collections.abc import Iterator

import pytest

from pycontainer.metrics import exposition, server
from pycontainer.metrics.server import MAX_CONNECTIONS, Server
from tests.support.poll import poll_until

OPENMETRICS = b"GET /metrics HTTP/1.1\r\nHost: a\r\nAccept: application/openmetrics-text\r\n\r\n"


class FakePages:
    """Counts the pages that are made; makes none while `failure` is set, waits while `gate` is not."""

    def __init__(self) -> None:
        self.problem = ""
        self.made = 0
        self.failure: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.body = b"x" * 10

    def page(self) -> "FakePages":
        self.made += 1
        self.gate.wait()
        if self.failure:
            raise self.failure
        return self

    def text(self, *, openmetrics: bool) -> bytes:
        return self.body + (b"# EOF\n" if openmetrics else b"")


class Site:
    """A server in a thread of its own."""

    def __init__(self, pages: FakePages, **seconds: float) -> None:
        self.pages = pages
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = self.listener.getsockname()
        self.server = Server(pages, [self.listener], **seconds)
        self.thread = threading.Thread(target=self.server.serve)
        self.thread.start()

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, timeout=20)

    def ask(self, request: bytes) -> tuple[int, dict[str, str], bytes]:
        with self.connect() as sock:
            sock.sendall(request)
            return read_answer(sock)

    def close(self) -> None:
        self.server.stop()
        self.thread.join()
        self.listener.close()


def read_answer(sock: socket.socket) -> tuple[int, dict[str, str], bytes]:
    data = b""
    while part := sock.recv(65536):
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    return int(status.split()[1]), dict(line.split(": ", 1) for line in lines), body


@contextlib.contextmanager
def site(**seconds: float) -> Iterator[Site]:
    made = Site(FakePages(), **seconds)
    try:
        yield made
    finally:
        made.pages.gate.set()
        made.close()


def test_a_page() -> None:
    with site() as here:
        status, headers, body = here.ask(OPENMETRICS)
        assert (status, body) == (200, b"x" * 10 + b"# EOF\n")
        assert headers["Content-Type"] == exposition.OPENMETRICS and headers["Content-Length"] == str(len(body))
        assert headers["Connection"] == "close" and headers["Cache-Control"] == "no-store"
        assert "Server" not in headers and "Content-Encoding" not in headers


def test_the_older_format() -> None:
    with site() as here:
        status, headers, body = here.ask(OPENMETRICS.replace(b"application/openmetrics-text", b"text/plain"))
        assert (status, headers["Content-Type"], body) == (200, exposition.PLAIN, b"x" * 10)


def test_head_has_the_length_and_no_text() -> None:
    with site() as here:
        status, headers, body = here.ask(OPENMETRICS.replace(b"GET", b"HEAD"))
        assert (status, headers["Content-Length"], body) == (200, "16", b"")


def test_health_makes_no_page() -> None:
    with site() as here:
        assert here.ask(b"GET /healthz HTTP/1.0\r\n\r\n")[::2] == (200, b"ok\n")
        assert here.ask(b"HEAD /healthz HTTP/1.0\r\n\r\n")[::2] == (200, b"")
        assert here.pages.made == 0


def test_gzip() -> None:
    with site() as here:
        here.pages.body = b"y" * 100_000
        status, headers, body = here.ask(OPENMETRICS.replace(b"Host: a", b"Host: a\r\nAccept-Encoding: gzip"))
        assert (status, headers["Content-Encoding"]) == (200, "gzip")
        assert len(body) < 1000 and gzip.decompress(body) == b"y" * 100_000 + b"# EOF\n"


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"POST /metrics HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        (b"GET /secret HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        (b"nonsense\r\n\r\n", 400),
        (OPENMETRICS + b"GET /metrics", 400),
        (b"GET /metrics HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 20_000, 431),
        (b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
    ],
)
def test_what_is_refused_is_told_so(request_bytes: bytes, status: int) -> None:
    """API-04: an answer of one line, and the server goes on."""
    with site() as here:
        found, headers, body = here.ask(request_bytes)
        assert found == status and body.count(b"\n") == 1 and b"Traceback" not in body
        assert ("Allow" in headers) == (status == 405)
        assert here.pages.made == 0
        assert here.ask(OPENMETRICS)[0] == 200


def test_a_failure_shows_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    with site() as here:
        here.pages.failure = ValueError("secret detail")
        status, _, body = here.ask(OPENMETRICS)
        assert status == 500 and b"secret" not in body and b"Traceback" not in body
        here.pages.failure = None
        assert here.ask(OPENMETRICS)[0] == 200
    assert "secret detail" in capsys.readouterr().err


def test_a_slow_request_is_given_up() -> None:
    """However the bytes trickle in, the time for all of them is one."""
    with site(request_seconds=0.3) as here, here.connect() as sock:
        sock.sendall(b"GET /metrics HTT")
        assert read_answer(sock)[0] == 408


def test_who_asks_meanwhile_gets_the_same_page() -> None:
    with site() as here:
        here.pages.gate.clear()
        answers: list[int] = []
        askers = [threading.Thread(target=lambda: answers.append(here.ask(OPENMETRICS)[0])) for _ in range(4)]
        for asker in askers:
            asker.start()
        poll_until(lambda: here.pages.made == 1, timeout_seconds=10)
        here.pages.gate.set()
        for asker in askers:
            asker.join()
        assert answers == [200] * 4 and here.pages.made == 1


def test_a_page_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_FRESH_SECONDS", 0.0)
    with site() as here:
        assert here.ask(OPENMETRICS)[0] == here.ask(OPENMETRICS)[0] == 200
        assert here.pages.made == 2


def test_idle_connections_keep_nobody_out() -> None:
    """Who opens all connections there may be and says nothing is put out, the oldest first, by who asks."""
    with site(request_seconds=60) as here, contextlib.ExitStack() as stack:
        idle = [stack.enter_context(here.connect()) for _ in range(MAX_CONNECTIONS)]
        poll_until(lambda: len(here.server._connections) == MAX_CONNECTIONS, timeout_seconds=10)
        assert here.ask(OPENMETRICS)[0] == 200
        assert idle[0].recv(10) == b""
        idle[-1].sendall(OPENMETRICS)
        assert read_answer(idle[-1])[0] == 200


def test_too_many_that_are_being_answered() -> None:
    with site() as here, contextlib.ExitStack() as stack:
        here.pages.gate.clear()
        busy = [stack.enter_context(here.connect()) for _ in range(MAX_CONNECTIONS)]
        for sock in busy:
            sock.sendall(OPENMETRICS)
        poll_until(lambda: list(here.server._connections.values()) == [False] * MAX_CONNECTIONS, timeout_seconds=10)
        with here.connect() as one_more:
            assert read_answer(one_more)[0] == 503
        here.pages.gate.set()
        assert {read_answer(sock)[0] for sock in busy} == {200}
        assert here.ask(OPENMETRICS)[0] == 200


def test_who_leaves_or_does_not_read_costs_its_own_connection(capsys: pytest.CaptureFixture[str]) -> None:
    with site(answer_seconds=0.2) as here:
        here.pages.body = b"z" * 30_000_000
        with here.connect() as sock:
            sock.sendall(OPENMETRICS)
            poll_until(lambda: here.pages.made == 1, timeout_seconds=10)
            poll_until(lambda: not here.server._connections, timeout_seconds=20)
        with here.connect() as sock:
            sock.sendall(OPENMETRICS[:10])
        poll_until(lambda: not here.server._connections, timeout_seconds=20)
    assert capsys.readouterr().err == ""


def test_it_ends_when_it_is_told() -> None:
    """Also while a client is connected and says nothing."""
    here = Site(FakePages(), request_seconds=60)
    with here.connect():
        here.close()
    assert not here.thread.is_alive()

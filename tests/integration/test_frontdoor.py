"""The front door as nginx serves it: real sockets on loopback, and servers behind them that say who they are."""

import hashlib
import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pycontainer.errors import AlreadyExists, InvalidInput
from pycontainer.hosting.nginx import Nginx
from pycontainer.hosting.nginxconf import Settings, render
from pycontainer.hosting.routes import Backend, SiteRoute
from tests.support.certificates import make_certificate
from tests.support.origin import Origin, free_port
from tests.support.poll import SLOWNESS, poll_until

pytestmark = pytest.mark.requires("nginx", "openssl")


class Door:
    """One nginx with a directory of its own, and a server behind it; `origin` is reached by any address of 127.0.0.0/8."""

    def __init__(self, directory: str, origin: Origin) -> None:
        self.origin = origin
        for name in ("run", "acme/.well-known/acme-challenge"):
            os.makedirs(f"{directory}/{name}")
        self.directory = Path(directory)
        self.settings = Settings(
            (Backend("127.0.0.1", free_port()), Backend("::1", free_port("::1"))),
            (Backend("127.0.0.1", free_port()),),
            f"{directory}/run",
            f"{directory}/error.log",
            f"{directory}/logs",
            f"{directory}/acme",
            open_files=4096,
            site_requests=1_000_000,
        )

    @property
    def nginx(self) -> Nginx:
        return Nginx(self.settings)

    def route(self, number: int, **fields: Any) -> SiteRoute:
        """Return site `number`, whose replica is reached as 127.1.x.y."""
        made = SiteRoute((f"s{number}.example",), (self.backend(number),), None, None, f"acme/s{number}")
        return replace(made, **fields)

    def backend(self, number: int) -> Backend:
        return Backend(f"127.1.{number // 256}.{number % 256}", self.origin.port)

    def serve(self, *routes: SiteRoute) -> bool:
        os.makedirs(f"{self.settings.logs_dir}/acme", exist_ok=True)
        return self.nginx.serve(*render(routes, self.settings))

    def connect(self) -> http.client.HTTPConnection:
        ip, port = self.settings.http[0]
        return http.client.HTTPConnection(ip, port, timeout=20 * SLOWNESS)

    def get(self, host: str, path: str = "/", **options: Any) -> tuple[int, str]:
        """Ask for a page over a new connection; return the status and the body."""
        connection = self.connect()
        try:
            headers = {"Host": host, **options.pop("headers", {})}
            connection.request(options.pop("method", "GET"), path, headers=headers, **options)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def said(self, host: str, path: str = "/", **options: Any) -> dict[str, Any]:
        """Return what the server behind says of a request that it answers."""
        status, body = self.get(host, path, **options)
        assert status == 200, body
        return dict(json.loads(body))

    def raw(self) -> socket.socket:
        ip, port = self.settings.http[0]
        return socket.create_connection((ip, port), timeout=20 * SLOWNESS)


@pytest.fixture
def door() -> Iterator[Door]:
    """A front door for one test; nothing of it is left."""
    directory = tempfile.mkdtemp(prefix="pct-door-", dir="/var/tmp")
    os.chmod(directory, 0o755)  # the workers read what an ACME client writes
    with Origin() as origin:
        made = Door(directory, origin)
        try:
            yield made
            made.nginx.stop()
            assert made.nginx.master_pid() is None and not made.nginx._ours()
            assert {*os.listdir(made.settings.directory)} <= KEPT
        finally:
            made.nginx.stop()
            shutil.rmtree(directory)


KEPT = {"nginx.conf", "nginx.conf.new", "client_body", "fastcgi", "proxy", "scgi", "uwsgi"}


def test_two_hundred_domains_on_one_address(door: Door) -> None:
    """Each leads to its own site, by either family, and to no other."""
    assert door.serve(*(door.route(number) for number in range(1, 201)))
    for number in range(1, 201):
        assert door.said(f"s{number}.example")["address"] == door.backend(number).ip
    ip, port = door.settings.http[1]
    connection = http.client.HTTPConnection(ip, port)
    connection.request("GET", "/", headers={"Host": "s77.example"})
    assert json.loads(connection.getresponse().read())["address"] == "127.1.0.77"
    connection.close()
    assert door.get("s201.example") == (421, "no site of this name is served here\n")
    log = Path(door.settings.logs_dir, "acme/s77.log").read_text()
    assert len(log.splitlines()) == 2 and '"GET / HTTP/1.1" 200' in log


LIES = (
    "X-Forwarded-For", "X-Real-IP", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Server",
    "X-Forwarded-Prefix", "X-Forwarded-Ssl", "X-Original-URL", "X-Rewrite-URL", "Forwarded", "Proxy",
    "X_Forwarded_For", "X_Real_IP",
)  # fmt: skip


def test_two_thousand_long_names(door: Door) -> None:
    """nginx's tables of names are made for as many, and as long, as there are."""
    long = ".".join(["a" * 61] * 3 + ["b" * 50])
    routes = [door.route(number, domains=(f"s{number:04}.{long}", f"*.{number}.example")) for number in range(2000)]
    assert {len(route.domains[0]) for route in routes} == {242}
    door.serve(*routes)
    for number in (0, 1000, 1999):
        for host in (f"s{number:04}.{long}", f"any.{number}.example"):
            assert door.said(host)["address"] == door.backend(number).ip
    checked = door.nginx._run("-t", "-e", "stderr", "-c", door.settings.conf_file)
    assert checked.returncode == 0 and "hash" not in checked.stderr  # it goes on with worse ones, and warns


class Load(threading.Thread):
    """Asks a site again and again until `stop`; `fresh` opens a connection for each request."""

    def __init__(self, door: Door, *, fresh: bool) -> None:
        super().__init__(daemon=True)
        self._door, self._fresh = door, fresh
        self._leave = threading.Event()
        self.count = self.reopened = 0
        self.failed: list[str] = []

    def run(self) -> None:
        connection = self._door.connect()
        used = 0
        while not self._leave.is_set():
            try:
                connection.request(
                    "GET", "/", headers={"Host": "s1.example", **({"Connection": "close"} if self._fresh else {})}
                )
                answer = connection.getresponse()
                body = answer.read()
                self.count, used = self.count + 1, used + 1
                if answer.status != 200 or json.loads(body)["address"] != "127.1.0.1":
                    self.failed.append(f"{answer.status} {body!r}")
            except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError) as error:
                # RFC 9112, 9.3.1: one that was open for the next request may be closed before the server has seen that.
                if used == 0:
                    self.failed.append(f"new connection: {error!r}")
                self.reopened += 1
                connection.close()
                used = 0
            except (OSError, http.client.HTTPException) as error:
                self.failed.append(repr(error))
            if self._fresh:
                connection.close()
                used = 0
        connection.close()

    def stop(self) -> None:
        self._leave.set()
        self.join(60 * SLOWNESS)
        assert not self.is_alive()


def test_sites_come_and_go_under_load_and_no_request_is_lost(door: Door) -> None:
    door.serve(door.route(1))
    loads = [Load(door, fresh=fresh) for fresh in (True, True, False, False)]
    for load in loads:
        load.start()
    changes = 0
    while changes < 12 or min(load.count for load in loads) < 400:
        changes += 1
        routes = [door.route(number) for number in range(1, 2 + changes % 4)]
        assert door.serve(*routes)
        new = routes[-1]
        assert door.said(new.domains[0])["address"] == new.backends[0].ip  # served when `serve` returns
        gone = f"s{len(routes) + 1}.example"
        assert door.get(gone)[0] == 421  # and nothing of what was before
    for load in loads:
        load.stop()
    assert [load.failed for load in loads] == [[]] * 4
    assert all(load.count >= 400 for load in loads)
    # Each change closes a connection that is kept open at most once.
    assert all(load.reopened <= changes for load in loads), [load.reopened for load in loads]


def test_what_is_being_answered_is_answered(door: Door) -> None:
    """By workers that take no connections any more; `draining` counts them."""
    door.serve(door.route(1))
    with door.raw() as slow:
        slow.sendall(b"GET /wait HTTP/1.1\r\nHost: s1.example\r\nConnection: close\r\n\r\n")
        poll_until(lambda: door.origin.waiting)
        door.serve(door.route(2))
        assert door.nginx.draining() == 1
        assert door.get("s1.example")[0] == 421
        door.origin.hold.set()
        assert slow.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
    poll_until(lambda: door.nginx.draining() == 0)


def test_tls_by_name(door: Door) -> None:
    one, two = (make_certificate(door.directory, f"s{number}.example", name=f"s{number}") for number in (1, 2))
    door.serve(
        door.route(1, certificate=one.certificate, key=one.key),
        door.route(2, certificate=two.certificate, key=two.key, redirect=False),
        door.route(3),
    )
    ip, port = door.settings.https[0]

    def ask(name: str, trusted: Path, host: str = "") -> bytes:
        context = ssl.create_default_context(cafile=str(trusted))
        with socket.create_connection((ip, port), timeout=20 * SLOWNESS) as plain:
            with context.wrap_socket(plain, server_hostname=name) as sock:
                sock.sendall(f"GET /a HTTP/1.1\r\nHost: {host or name}\r\nConnection: close\r\n\r\n".encode())
                answer = b""
                while part := sock.recv(1 << 16):
                    answer += part
        return answer

    assert b'"address": "127.1.0.1"' in ask("s1.example", one.certificate)
    url, told = f"https://s1.example:{port}/", "%{http_version} %{http_code}"
    command = [
        "curl",
        "-s",
        "-o",
        "/dev/null",
        "-w",
        told,
        "--cacert",
        str(one.certificate),
        "--resolve",
        f"s1.example:{port}:{ip}",
    ]
    assert subprocess.run([*command, url], capture_output=True, text=True, check=True).stdout == "2 200"
    answer = ask("s2.example", two.certificate)
    assert b'"address": "127.1.0.2"' in answer and b'"x-forwarded-proto": "https"' in answer
    for name in ("s3.example", "s4.example"):  # no certificate, no site: nobody's is shown
        with pytest.raises(ssl.SSLError, match="UNRECOGNIZED_NAME"):
            ask(name, one.certificate)
    with pytest.raises(ssl.SSLError, match="UNRECOGNIZED_NAME"):
        with socket.create_connection((ip, port), timeout=20 * SLOWNESS) as plain:
            ssl._create_unverified_context().wrap_socket(plain)  # who names nobody
    assert ask("s1.example", one.certificate, host="s9.example").startswith(b"HTTP/1.1 421 ")
    connection = door.connect()
    connection.request("GET", "/a?b=c", headers={"Host": "s1.example"})
    moved = connection.getresponse()
    assert (moved.status, moved.getheader("Location")) == (308, f"https://s1.example:{port}/a?b=c")
    connection.close()
    assert door.get("s2.example")[0] == 200


def test_what_clients_say_of_themselves(door: Door) -> None:
    door.serve(door.route(1, domains=("s1.example", "*.s1.example")))
    lies = dict.fromkeys(LIES, "6.6.6.6")
    heard = door.said("WWW.s1.example:80", headers={**lies, "X-Other": "kept"})["headers"]
    assert "6.6.6.6" not in heard.values()
    assert heard["x-other"] == "kept"
    expected = {"host": "www.s1.example", "x-forwarded-host": "www.s1.example", "x-forwarded-proto": "http"}
    expected |= {"x-forwarded-for": "127.0.0.1", "x-real-ip": "127.0.0.1"}
    assert {name: heard.get(name) for name in expected} == expected
    with door.raw() as sock:  # the name in the first line goes before the header's
        sock.sendall(b"GET http://s1.example/ HTTP/1.1\r\nHost: admin.example\r\nConnection: close\r\n\r\n")
        assert b'"host": "s1.example"' in sock.recv(1 << 16)


def test_an_answer_does_not_tell_the_front_door_what_to_do(door: Door) -> None:
    door.serve(door.route(1))
    Path(door.settings.acme_dir, ".well-known/acme-challenge/token").write_text("ours")
    for header in (
        "X-Accel-Redirect: /.well-known/acme-challenge/token",
        "X-Accel-Redirect: @site",
        "X-Accel-Limit-Rate: 1",
    ):
        assert door.said("s1.example", "/own", headers={"X-Answer-With": header})["path"] == "/own"


def test_websocket_passes_and_nothing_else_leaves_http(door: Door) -> None:
    door.serve(door.route(1))
    with door.raw() as sock:
        sock.sendall(
            b"GET / HTTP/1.1\r\nHost: s1.example\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n\r\n"
        )
        assert sock.recv(1 << 16).startswith(b"HTTP/1.1 101 ")
        sock.sendall(b"over and over")
        assert sock.recv(1 << 16) == b"over and over"
    heard = door.said("s1.example", headers={"Upgrade": "h2c", "Connection": "Upgrade, HTTP2-Settings"})["headers"]
    assert "upgrade" not in heard and "connection" not in heard


def test_a_replica_that_is_dead_is_not_seen(door: Door) -> None:
    """Neither by GET nor by POST, whose body was not sent yet; one of two families, one that refuses."""
    dead = free_port("::1")
    door.serve(door.route(1, backends=(Backend("::1", dead), Backend("127.9.9.9", dead), door.backend(1))))
    for number in range(40):
        method, body = ("POST", b"x" * 70000) if number % 2 else ("GET", None)
        heard = door.said("s1.example", method=method, body=body)
        assert (heard["address"], heard["method"], heard["body"][0]) == ("127.1.0.1", method, len(body or b""))
    assert "502" not in Path(door.settings.logs_dir, "acme/s1.log").read_text().split()


def test_a_site_without_replicas_says_so(door: Door) -> None:
    door.serve(door.route(1, backends=()))
    assert door.get("s1.example") == (503, "this site has no replica that is well\n")


def test_what_nginx_refuses_changes_nothing(door: Door) -> None:
    door.serve(door.route(1))
    served = door.nginx.generation(), door.nginx.master_pid()
    with pytest.raises(InvalidInput, match=r'nginx refuses the new configuration: unknown directive "nonsense" in '):
        door.nginx.serve("nonsense 1;", "x")
    with pytest.raises(InvalidInput, match="cannot load certificate"):
        door.serve(door.route(2, certificate=door.directory / "missing.pem", key=door.directory / "missing.key"))
    assert (door.nginx.generation(), door.nginx.master_pid()) == served
    assert door.said("s1.example")["address"] == "127.1.0.1"
    assert not door.serve(door.route(1))  # it is served: nothing was to do


def test_an_address_that_others_have(door: Door) -> None:
    """At the start, and later: who has it is named, and what was served before still is."""
    first = door.settings
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = Backend("127.0.0.1", taken.getsockname()[1])
        who = rf"cannot listen on 127.0.0.1:{address.port}: 'python[^']*' \(pid {os.getpid()}\) does"
        door.settings = replace(first, http=(address,))
        with pytest.raises(AlreadyExists, match=who):
            door.serve(door.route(1))
        assert door.nginx.master_pid() is None
        door.settings = first
        door.serve(door.route(1))
        served = Path(first.conf_file).read_text()
        door.settings = replace(first, http=(address, *first.http))
        with pytest.raises(AlreadyExists, match=who):
            door.serve(door.route(1))
        door.settings = first
        assert Path(first.conf_file).read_text() == served
        assert door.said("s1.example")["address"] == "127.1.0.1"
    door.settings = replace(first, http=(address, *first.http))
    assert door.serve(door.route(1))  # which is free now
    assert door.said("s1.example")["address"] == "127.1.0.1"


def test_a_crowd_at_one_site_leaves_room_for_others(door: Door) -> None:
    door.settings = replace(door.settings, site_connections=5)
    door.serve(door.route(1), door.route(2))
    crowd = [door.raw() for _ in range(5)]
    for sock in crowd:
        sock.sendall(b"GET /wait HTTP/1.1\r\nHost: s1.example\r\n\r\n")
    poll_until(lambda: len(door.origin.waiting) == 5)
    assert door.get("s1.example")[0] == 503
    assert door.get("s2.example")[0] == 200
    door.origin.hold.set()
    for sock in crowd:
        assert sock.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
        sock.close()
    poll_until(lambda: door.get("s1.example")[0] == 200)


def test_a_flood_of_requests_to_one_site_is_turned_away(door: Door) -> None:
    """And not written down; another site notices nothing."""
    door.settings = replace(door.settings, site_requests=1)
    door.serve(door.route(1), door.route(2))
    assert door.get("s2.example")[0] == 200
    answers = [door.get("s1.example")[0] for _ in range(100)]
    assert {*answers} == {200, 503} and answers[:2] == [200, 200]  # one, and one more in a burst
    assert door.get("s2.example")[0] == 200
    lines = Path(door.settings.logs_dir, "acme/s1.log").read_text().splitlines()
    assert len(lines) == answers.count(200)


def test_who_sends_slowly_is_cut_off(door: Door) -> None:
    """Slowloris: a header that never ends. It takes ten seconds."""
    door.serve(door.route(1))
    with door.raw() as sock:
        sock.settimeout(60 * SLOWNESS)
        sock.sendall(b"GET / HTTP/1.1\r\nHost: s1.example\r\n")
        assert door.get("s1.example")[0] == 200
        try:
            assert sock.recv(1) == b""
        except ConnectionResetError:
            pass


def test_bodies_do_not_touch_the_disk_and_have_a_bound(door: Door) -> None:
    door.serve(door.route(1))
    body = os.urandom(8 << 20)
    with door.raw() as sock:
        sock.sendall(
            b"POST / HTTP/1.1\r\nHost: s1.example\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
        )
        sock.sendall(body[: 1 << 20])
        assert door.origin.began.wait(10 * SLOWNESS)  # before the rest is there
        for kind in ("client_body", "proxy"):
            assert os.listdir(f"{door.settings.directory}/{kind}") == []
        sock.sendall(body[1 << 20 :])
        assert hashlib.sha256(body).hexdigest().encode() in sock.recv(1 << 16)
    with door.raw() as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nHost: s1.example\r\nContent-Length: 68000000\r\n\r\n")
        assert sock.recv(1 << 16).startswith(b"HTTP/1.1 413 ")


def test_what_an_acme_client_writes(door: Door) -> None:
    """Served to whoever asks, also for a name that has no site yet; links lead nowhere; else the site is asked."""
    door.serve(door.route(1))
    challenges = Path(door.settings.acme_dir, ".well-known/acme-challenge")
    path = "/.well-known/acme-challenge/"
    (challenges / "token").write_text("token.thumbprint")
    (challenges / "link").symlink_to("/etc/passwd")
    for host in ("s1.example", "new.example"):
        assert door.get(host, f"{path}token") == (200, "token.thumbprint")
        assert "root:" not in door.get(host, f"{path}link")[1]
    assert door.said("s1.example", f"{path}own")["path"] == f"{path}own"
    assert door.get("new.example", f"{path}own")[0] == 404


def test_a_master_that_was_killed(door: Door) -> None:
    """Its workers finish what they have begun; a new one serves."""
    door.serve(door.route(1))
    master = door.nginx.master_pid()
    assert master is not None
    with door.raw() as slow:
        slow.sendall(b"GET /wait HTTP/1.1\r\nHost: s1.example\r\nConnection: close\r\n\r\n")
        poll_until(lambda: door.origin.waiting)
        os.kill(master, signal.SIGKILL)
        poll_until(lambda: door.nginx.master_pid() is None)
        assert door.nginx._ours()  # orphans, which hold the addresses
        assert door.serve(door.route(1))
        assert door.nginx.master_pid() not in (None, master)
        assert door.said("s1.example")["address"] == "127.1.0.1"
        door.origin.hold.set()
        assert slow.recv(1 << 16).startswith(b"HTTP/1.1 200 ")


def test_workers_have_no_rights(door: Door) -> None:
    door.serve(door.route(1))
    for pid in door.nginx._taking():
        status = Path(f"/proc/{pid}/status").read_text()
        uids = next(line for line in status.splitlines() if line.startswith("Uid:")).split()[1:]
        assert "0" not in uids and "CapEff:\t0000000000000000" in status


def test_another_nginx_is_not_ours(door: Door) -> None:
    """Its pid in our file, as after a reboot, makes it no master of ours."""
    door.serve(door.route(1))
    other_dir = door.directory / "other"
    other_dir.mkdir()
    other = replace(
        door.settings,
        directory=str(other_dir),
        error_log=f"{other_dir}/error.log",
        http=(Backend("127.0.0.1", free_port()),),
        https=(),
    )
    stranger = Nginx(other)
    stranger.serve(*render([], other))
    try:
        door.nginx.stop()
        pid = stranger.master_pid()
        assert pid is not None
        Path(door.settings.pid_file).write_text(f"{pid}\n")
        assert door.nginx.master_pid() is None and not door.nginx.stop()
        assert stranger.master_pid() == pid
    finally:
        stranger.stop()
        subprocess.run(["rm", "-rf", other_dir], check=True)

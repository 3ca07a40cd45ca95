"""The front door of a world: it follows which containers are well, survives deaths, and leaves nothing."""

import json
import os
import shutil
import signal
import socket
import ssl
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest

from pycontainer.client.connection import connect
from pycontainer.errors import InvalidInput, SupervisorUnavailable
from pycontainer.hosting.frontdoor import Backend, FrontDoor, SiteRoute
from tests.integration.conftest import IMAGE
from tests.support.certificates import make_certificate
from tests.support.origin import free_port
from tests.support.poll import poll_until
from tests.support.world import World, unique_name

pytestmark = pytest.mark.requires("nginx", "openssl")

T = TypeVar("T")
SERVER = "touch /well; mkdir /www; hostname >/www/index.html; exec httpd -f -p 8080 -h /www"
CHECK = (
    "--health-cmd",
    "test -e /well",
    "--health-interval",
    "1s",
    "--health-retries",
    "1",
    "--health-start-interval",
    "1s",
)


class Site:
    """What is asked of the front door of a world, from its host network."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.door = FrontDoor(world.paths)
        self.port = self.inside(free_port)
        self.tls_port = self.inside(free_port)

    def inside(self, work: Callable[[], T]) -> T:
        return self.world.network.inside.call(work)

    def start(self) -> str:
        return self.world.ok(
            "frontdoor", "start", "--http", f"127.0.0.1:{self.port}", "--https", f"127.0.0.1:{self.tls_port}"
        )

    def replica(self, name: str, *options: str, site: str = "acme/shop") -> Backend:
        """Start a container that answers with its name, and return where."""
        tenant = site.partition("/")[0]
        self.world.cli("tenant", "create", tenant)  # it may be there already
        of_site = ("--tenant", tenant, "--label", f"hosting.site={site}")
        self.world.ok("run", "-d", "--name", name, *of_site, *options, IMAGE, "sh", "-c", SERVER)
        (network,) = self.world.inspect(name)["networks"].values()
        backend = Backend(network["ip"], 8080)
        self.world.network.inside.http_get_soon(f"http://{backend.ip}:8080/")
        return backend

    def apply(self, *routes: SiteRoute) -> None:
        self.inside(lambda: self.door.apply(routes))

    def ask(self, host: str = "shop.example") -> tuple[int, str]:
        """Return status and body of a request over a new connection."""
        sock = self.world.network.inside.connect("127.0.0.1", self.port)
        with sock:
            sock.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            answer = b""
            while part := sock.recv(1 << 16):
                answer += part
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]), body.decode().strip()

    def answering(self, count: int = 12) -> set[str]:
        """Return who answers; none may fail."""
        answers = [self.ask() for _ in range(count)]
        assert {status for status, _ in answers} == {200}, answers
        return {body for _, body in answers}

    def await_leaving(self, backend: Backend) -> None:
        """Wait until the follower has taken a replica out; what is paused takes requests, and does not answer them."""
        conf = Path(self.world.paths.frontdoor_run_dir, "nginx.conf")
        poll_until(lambda: f"server {backend.ip}:" not in conf.read_text(), what=f"{backend.ip} is left out")
        assert self.world.ok("frontdoor", "reload") == "front door was as it should be"  # it waits for who changes it

    def pids(self) -> dict[str, int]:
        status = json.loads(self.world.ok("frontdoor", "status", "--format", "json"))
        return {"nginx": status["pid"], "follower": status["follower_pid"]}


def made_for(world: World) -> Iterator[Site]:
    """Make the front door of a world, to be started on loopback ports of its host network; nothing of it is left."""
    made = Site(world)
    try:
        yield made
        world.cli("frontdoor", "stop")
        assert {*os.listdir(world.paths.frontdoor_run_dir)} <= {
            "lock", "follower.pid", "nginx.conf", "nginx.conf.new", "client_body", "fastcgi", "proxy", "scgi", "uwsgi",
        }  # fmt: skip
    finally:
        world.cli("frontdoor", "stop")
        for directory in (world.paths.frontdoor_dir, world.paths.frontdoor_run_dir, world.paths.acme_dir):
            shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def site(world: World) -> Iterator[Site]:
    yield from made_for(world)


@pytest.fixture
def own_site(own_world: World) -> Iterator[Site]:
    yield from made_for(own_world)


def shop(*backends: Backend) -> SiteRoute:
    return SiteRoute(("shop.example",), backends, None, None, "acme/shop")


def test_who_is_not_well_is_left_out_and_comes_back(site: Site) -> None:
    world = site.world
    one, two = unique_name("one"), unique_name("two")
    backends = [site.replica(one), site.replica(two, *CHECK)]
    world.wait_for_status(two, "running")
    site.start()
    site.apply(shop(*backends))
    poll_until(lambda: site.answering() == {one, two}, what="both answer, once the second was found healthy")
    world.ok("exec", two, "rm", "/well")
    poll_until(lambda: site.answering() == {one}, what="the unhealthy one is left out")
    assert "left out   1 of acme/shop" in world.ok("frontdoor", "status")
    world.ok("exec", two, "touch", "/well")
    poll_until(lambda: site.answering() == {one, two}, what="the healthy one is back")
    world.ok("pause", two)
    site.await_leaving(backends[1])
    assert site.answering() == {one}
    world.ok("unpause", two)
    poll_until(lambda: site.answering() == {one, two}, what="it is back")
    pid = world.inspect(two)["pid"]
    os.kill(pid, signal.SIGKILL)
    assert site.answering(30) == {one}  # from this moment on: nobody sees that it is dead
    world.ok("start", two)
    poll_until(lambda: site.answering() == {one, two}, what="the one that was started again is back")
    world.ok("rm", "-f", one, two)
    poll_until(lambda: site.ask() == (503, "this site has no replica that is well"))


def test_the_address_of_another_tenant_now(site: Site) -> None:
    """A site's requests do not reach the container that got the address of a replica of it."""
    world = site.world
    one, two, stranger = unique_name("one"), unique_name("two"), unique_name("stranger")
    backends = [site.replica(one), site.replica(two)]
    site.start()
    site.apply(shop(*backends))
    assert site.answering() == {one, two}
    world.ok("rm", "-f", two)
    assert site.replica(stranger, "--ip", backends[1].ip, site="zoo/blog") == backends[1]
    world.ok("frontdoor", "reload")
    assert site.answering(40) == {one}
    site.apply(shop(*backends))  # also if it is asked for
    assert site.answering(40) == {one}
    world.ok("rm", "-f", one, stranger)


def test_deaths(site: Site) -> None:
    """kill -9 of each of the two, and of both: `start` has them again, and who is not well is left out again."""
    world = site.world
    one, two = unique_name("one"), unique_name("two")
    backends = [site.replica(one), site.replica(two)]
    assert site.start() == "front door started"
    site.apply(shop(*backends))
    assert world.ok("frontdoor", "start") == "front door was running"
    for victims in (["follower"], ["nginx"], ["nginx", "follower"]):
        pids = site.pids()
        for victim in victims:
            os.kill(pids[victim], signal.SIGKILL)
        if "nginx" not in victims:
            assert site.answering() == {one, two}
        poll_until(lambda: world.cli("frontdoor", "status").exit_code == 1)
        assert world.ok("frontdoor", "start") == "front door started"
        now = site.pids()
        assert all(now[victim] not in (None, pids[victim]) for victim in victims)
        world.ok("pause", two)
        site.await_leaving(backends[1])
        assert site.answering() == {one}
        world.ok("unpause", two)
        poll_until(lambda: site.answering() == {one, two})
    world.ok("rm", "-f", one, two)


def test_without_a_supervisor(own_site: Site) -> None:
    """It goes on as it was, does not start what somebody has stopped, and follows the next one."""
    site = own_site
    world = site.world
    one, two = unique_name("one"), unique_name("two")
    backends = [site.replica(one), site.replica(two)]
    site.start()
    site.apply(shop(*backends))
    world.ok("service", "stop")
    assert world.ok("frontdoor", "reload") == "front door was as it should be"
    assert "nobody knows which replicas are well" in world.cli("frontdoor", "status").stderr
    assert site.answering() == {one, two}
    follower = site.pids()["follower"]
    before = _wakings(follower)
    poll_until(lambda: _wakings(follower) >= before + 4, what="the follower has looked for a supervisor")
    assert not _supervisor_runs(world)
    world.ok("pause", two)  # which starts one, whose events are heard
    site.await_leaving(backends[1])
    assert site.answering() == {one}
    world.ok("rm", "-f", one, two)


def _wakings(pid: int) -> int:
    """Return how often the threads of a process have gone to sleep of themselves."""
    lines = [line for status in Path(f"/proc/{pid}/task").glob("*/status") for line in status.read_text().splitlines()]
    return sum(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches:"))


def _supervisor_runs(world: World) -> bool:
    try:
        connect(world.paths, start=False).close()
    except SupervisorUnavailable:
        return False
    return True


def test_certificates_that_are_renewed_and_that_are_lost(site: Site, tmp_path: Path) -> None:
    world = site.world
    name = unique_name("one")
    backend = site.replica(name)
    first = make_certificate(tmp_path, "shop.example", name="shop")
    other = make_certificate(tmp_path, "blog.example", name="blog")
    routes = [
        SiteRoute(("shop.example",), (backend,), first.certificate, first.key, "acme/shop", redirect=False),
        SiteRoute(("blog.example",), (), other.certificate, other.key, "zoo/blog"),
    ]
    site.start()
    site.apply(*routes)
    served = _fingerprint(site, "shop.example")
    make_certificate(tmp_path, "shop.example", name="shop")
    world.ok("frontdoor", "reload")
    renewed = _fingerprint(site, "shop.example")
    assert renewed not in ("", served)
    first.key.unlink()
    world.ok("frontdoor", "reload")
    assert _fingerprint(site, "shop.example") == renewed and _fingerprint(site, "blog.example") not in ("", renewed)
    assert f"site acme/shop has only the certificate of before, if any: cannot read '{first.key}'" in (
        world.cli("frontdoor", "status").stderr
    )
    kept = Path(world.paths.frontdoor_dir, "certificates")
    assert sorted(str(path.relative_to(kept)) for path in kept.glob("*/*")) == ["acme/shop.pem", "zoo/blog.pem"]
    other.key.write_bytes(b"none")
    with pytest.raises(InvalidInput) as caught:
        site.apply(*routes)
    assert [line.partition(":")[0] for line in caught.value.message.splitlines()] == ["site acme/shop", "site zoo/blog"]
    site.apply(replace(routes[0], certificate=None, key=None))
    assert _fingerprint(site, "shop.example") == "" and not [*kept.glob("*/*")]
    assert site.ask() == (200, name)
    world.ok("rm", "-f", name)


def _fingerprint(site: Site, name: str) -> str:
    """Return what is shown to who asks for a name by TLS; empty if that is refused."""
    with site.world.network.inside.connect("127.0.0.1", site.tls_port) as plain:
        try:
            with ssl._create_unverified_context().wrap_socket(plain, server_hostname=name) as sock:
                return (sock.getpeercert(binary_form=True) or b"").hex()
        except ssl.SSLError:
            return ""


def test_many_at_once(site: Site) -> None:
    """One after the other: what is wanted in the end is what is served, whole."""
    site.start()
    sets = [[SiteRoute((f"s{number}.{kind}.example",), (), None, None, f"acme/{kind}{number}") for number in range(3)]
            for kind in "abcd"]  # fmt: skip

    def apply(routes: list[SiteRoute]) -> None:
        for _ in range(3):
            site.apply(*routes)

    with ThreadPoolExecutor(len(sets)) as pool:
        for done in [pool.submit(apply, routes) for routes in sets] + [
            pool.submit(site.door.refresh) for _ in range(5)
        ]:
            done.result()
    wanted = site.door.routes()
    assert [*wanted] in sets
    for routes in sets:
        assert {site.ask(route.domains[0])[0] for route in routes} == {503 if routes == [*wanted] else 421}


def test_the_command(site: Site) -> None:
    world = site.world
    assert world.ok("frontdoor", "stop") == "front door was not running"
    status = world.cli("frontdoor", "status")
    assert status.exit_code == 1 and "nginx      not running\nfollower   not running\n" in status.stdout
    assert "http       0.0.0.0:80, [::]:80\nhttps      0.0.0.0:443, [::]:443\n" in status.stdout
    for wrong in ("80", "shop.example:80", "::1:80", "127.0.0.1:0", "127.0.0.1:http"):
        world.refused(2, "frontdoor", "start", "--http", wrong)
    with site.inside(lambda: socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        refused = world.refused(4, "frontdoor", "start", "--http", f"127.0.0.1:{port}")
    assert f"the front door cannot listen on 127.0.0.1:{port}: 'python" in refused and "\nhint: end that" in refused
    assert json.loads(world.cli("frontdoor", "status", "--format", "json").stdout)["http"][0] == ["0.0.0.0", 80]
    assert site.start() == "front door started"
    assert site.ask("other.example")[0] == 421
    assert f"http       127.0.0.1:{site.port}\n" in world.ok("frontdoor", "status")
    name = unique_name()
    publish = ("run", "-d", "--name", name, "-p", f"127.0.0.1:{site.port}:80", IMAGE, "sleep", "1000")
    assert f"port {site.port}" in world.cli(*publish).stderr  # it is the front door's: a container cannot take it
    world.cli("rm", "-f", name)
    assert "does this already" in world.refused(5, "frontdoor", "serve")
    assert world.ok("frontdoor", "stop") == "front door stopped"
    assert world.ok("frontdoor", "start") == "front door started"  # where it was
    assert site.ask("other.example")[0] == 421
    Path(world.paths.frontdoor_file).write_text("{}")
    assert "is damaged: field 'version' is missing" in world.refused(1, "frontdoor", "reload")
    assert site.ask("other.example")[0] == 421  # what was served still is
    assert world.ok("frontdoor", "stop") == "front door stopped"

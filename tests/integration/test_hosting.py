"""Hostings on real containers, behind a real front door: up, up again, cut off, updated under load, and taken down."""

import collections
import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import webload
from tests.support.certificates import make_certificate
from tests.support.images import CHECKOUT
from tests.support.poll import SLOWNESS, poll_until
from tests.support.world import World

pytestmark = pytest.mark.requires("nginx", "openssl")

SERVE = "httpd -f -p 80 -h /www"
EXAMPLE = f"{CHECKOUT}/examples/hosting/hosting.yaml"


@pytest.fixture
def door(world: World) -> Iterator[World]:
    """The world, whose front door goes with the test."""
    yield world
    world.clear()
    world.ok("frontdoor", "stop")
    for directory in (world.paths.frontdoor_dir, world.paths.frontdoor_run_dir, world.paths.acme_dir):
        shutil.rmtree(directory, ignore_errors=True)


def ask(world: World, domain: str, path: str = "/", *, port: int = 80) -> tuple[int, str]:
    """Ask the front door for a page of a domain, over a new connection; return the status and the body."""

    def fetch() -> tuple[int, str]:
        if port == 443:
            unchecked = ssl.create_default_context()
            unchecked.check_hostname, unchecked.verify_mode = False, ssl.CERT_NONE
            plain = http.client.HTTPConnection("127.0.0.1", port, timeout=10 * SLOWNESS)
            plain.connect()
            assert plain.sock is not None
            plain.sock = unchecked.wrap_socket(plain.sock, server_hostname=domain)
            connection = plain
        else:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10 * SLOWNESS)
        try:
            connection.request("GET", path, headers={"Host": domain, "Connection": "close"})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    return world.network.inside.call(fetch)


def up(world: World, file: str | Path, *options: str) -> list[str]:
    """Bring a file up, which must succeed; return what was done."""
    return world.ok("up", "-f", str(file), *options, timeout_seconds=300).splitlines()


def site(name: str, script: str, *settings: str) -> str:
    """Return the lines of a site whose shell says `script`."""
    lines = [
        f"      {name}:",
        "        image: busybox",
        f"        command: [sh, -c, {json.dumps(script)}]",
        "        init: true",
    ]
    return "\n".join([*lines, *(f"        {each}" for each in settings)]) + "\n"


def web(name: str, text: str, *settings: str) -> str:
    """Return the lines of a site that says `text` and which of its containers has said so."""
    script = f"mkdir -p /www; echo {text} $(hostname) >/www/index.html; exec {SERVE}"
    return site(name, script, f"domains: [{name}.example]", *settings)


def write(tmp_path: Path, *sites: str, tenant: str = "acme", limits: str = "{memory: 512M}") -> Path:
    file = tmp_path / "hosting.yaml"
    file.write_text(f"hosting: test\ntenants:\n  {tenant}:\n    limits: {limits}\n    sites:\n" + "".join(sites))
    return file


def containers(world: World) -> dict[str, str]:
    """Return the names of all containers with their ids."""
    return {info["name"]: info["id"] for info in json.loads(world.ok("ps", "-a", "--format", "json"))}


def test_the_ledger_has_what_a_load_sent(door: World, tmp_path: Path) -> None:
    """Through the front door, both ways, within 2 percent: headers and acknowledgements are all that comes on top."""
    world = door
    up(world, write(tmp_path, web("loaded", "page"), web("idle", "page")))
    world.ok("exec", "acme-loaded-0", "sh", "-c", webload.PREPARE)

    def accounted() -> dict[str, tuple[int, int]]:
        rows = json.loads(world.ok("usage", "--tenant", "acme", "--format", "json"))["instances"]
        return {row["name"]: (row["net_in_bytes"], row["net_out_bytes"]) for row in rows}

    before = accounted()
    sent = world.network.inside.call(lambda: webload.exchange("127.0.0.1", "loaded.example", 2))
    after = accounted()
    for start, end in zip(before["acme-loaded-0"], after["acme-loaded-0"], strict=True):
        assert sent <= end - start <= sent * 1.02
    assert all(end - start < 20_000 for start, end in zip(before["acme-idle-0"], after["acme-idle-0"], strict=True))


def test_the_example_as_it_stands(door: World) -> None:
    """Three tenants, twelve sites of four kinds; everyone answers on its own domain, and the second time nothing happens."""
    world = door
    lines = up(world, EXAMPLE)
    assert len(lines) == 3 + 12 and "+ tenant berry: memory 1G" in " ".join(lines)
    for tenant in ("apple", "berry", "cherry"):
        assert "Pages from a directory" in ask(world, f"www.{tenant}.example")[1]
        assert ask(world, f"guests.{tenant}.example", "/cgi-bin/guests?Ann") == (200, f"guests of {tenant}:\nAnn\n")
        version = json.loads(ask(world, f"api.{tenant}.example", "/cgi-bin/version")[1])
        assert version["version"] == "1" and version["container"].startswith(f"{tenant}-api-")
    assert ask(world, "apple.example")[0] == 200 and ask(world, "other.example")[0] == 421
    assert {json.loads(ask(world, "api.berry.example", "/cgi-bin/version")[1])["container"] for _ in range(9)} == {
        f"berry-api-{number}" for number in range(3)
    }
    ours = world.ok("ps", "--tenant", "berry").splitlines()[1:]
    assert len(ours) == 6 and all(" berry-" in line for line in ours)
    assert "no tenant 'bery'" in world.refused(3, "ps", "--tenant", "bery")
    limit = {
        row["resource"]: row["limit"] for row in json.loads(world.ok("limits", "apple-worker-0", "--format", "json"))
    }
    assert (limit["memory"], limit["pids"]) == (32 << 20, 10)

    before = containers(world)
    assert up(world, EXAMPLE) == [f"nothing to do: 12 sites as '{EXAMPLE}' says"]
    assert world.ok("diff", "-f", EXAMPLE) == "" and containers(world) == before
    world.ok("down", "-f", EXAMPLE, "--yes", timeout_seconds=120)
    assert containers(world) == {} and world.ok("tenant", "ls", "-q") == ""
    assert "apple.guests" in world.ok("volume", "list", "-q").split()
    assert ask(world, "www.apple.example")[0] == 421
    assert world.ok("down", "-f", EXAMPLE) == f"nothing to do: nothing of '{EXAMPLE}' is there"
    world.ok("down", "-f", EXAMPLE, "--yes", "--volumes")
    assert world.ok("volume", "list", "-q") == ""


def test_the_example_in_python(door: World) -> None:
    def example(action: str) -> list[str]:
        argv = world.network.inside.argv(sys.executable, "examples/hosting/hosting.py", action, "--root", world.root)
        done = subprocess.run(
            argv,
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            timeout=300 * SLOWNESS,
            env=world.environment,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout.splitlines()

    world = door
    world.ok("info")
    lines = example("up")
    assert len(lines) == 15 and lines[-1].startswith("15 of 15  site ")
    assert ask(world, "guests.cherry.example", "/cgi-bin/guests?Bob") == (200, "guests of cherry:\nBob\n")
    assert example("up") == [] and example("diff") == [""]
    assert len(example("down")) == 15
    assert containers(world) == {}


class Load:
    """Requests for a domain, one after the other from several threads, until it ends; what was answered is counted."""

    def __init__(self, world: World, domain: str, threads: int = 4) -> None:
        self.answers: collections.Counter[str] = collections.Counter()
        self.wrong: list[object] = []
        self._world, self._domain, self._lock = world, domain, threading.Lock()
        self._ends = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(threads)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ends.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        while not self._ends.wait(0.01):  # below what the front door lets one site be asked in a second
            try:
                status, body = ask(self._world, self._domain)
            except (OSError, http.client.HTTPException) as error:
                self.wrong.append(error)
                continue
            with self._lock:
                if status == 200:
                    self.answers[body.strip()] += 1
                else:
                    self.wrong.append((status, body))


@pytest.mark.parametrize("replicas", [1, 3])
def test_a_rolling_update_without_a_failed_request(door: World, tmp_path: Path, replicas: int) -> None:
    world = door
    settings = (f"replicas: {replicas}", "health_interval: 1s")
    up(world, write(tmp_path, web("shop", "one", *settings), web("other", "x")))
    other = containers(world)["acme-other-0"]
    with Load(world, "shop.example") as load:
        poll_until(lambda: sum(load.answers.values()) > 50, what="requests are answered")
        (line,) = up(world, write(tmp_path, web("shop", "two", *settings), web("other", "x")))
        done = sum(load.answers.values())
        poll_until(lambda: sum(load.answers.values()) > done + 20, what="requests are answered by the new ones")
    assert load.wrong == []
    assert {answer.split()[0] for answer in load.answers} == {"one", "two"}
    assert line == (
        f"~ site acme/shop: {replicas} container{'s' if replicas > 1 else ''} made anew for command, one after the other"
    )
    assert {ask(world, "shop.example")[1].split()[0] for _ in range(6)} == {"two"}
    found = containers(world)
    assert len(found) == replicas + 1 and found["acme-other-0"] == other


def test_limits_change_in_place(door: World, tmp_path: Path) -> None:
    world = door
    up(world, write(tmp_path, web("shop", "one")))
    before = containers(world)
    file = write(tmp_path, web("shop", "one", "limits: {memory: 96M, pids: 33}"))
    differs = world.cli("diff", "-f", str(file))
    assert (differs.exit_code, differs.stdout) == (1, "~ site acme/shop: memory 96M; pids 33\n")
    dry = world.ok("up", "-f", str(file), "--dry-run")
    assert dry == "~ site acme/shop: memory 96M; pids 33"
    assert up(world, file) == [dry] and containers(world) == before
    limit = {row["resource"]: row["limit"] for row in json.loads(world.ok("limits", "acme-shop-0", "--format", "json"))}
    assert (limit["memory"], limit["pids"]) == (96 << 20, 33)
    assert world.ok("diff", "-f", str(file)) == ""
    world.ok("set", "acme-shop-0", "--memory", "100M")  # by hand
    assert up(world, file) == ["~ site acme/shop: memory 96M"]


def test_a_failing_site_is_named_and_the_others_are_served(door: World, tmp_path: Path) -> None:
    world = door
    file = write(
        tmp_path,
        web("good", "fine"),
        site("missing", "true").replace("[sh, ", "[/no/such, "),
        site("crashing", "echo out of cheese; exit 3", "domains: [c.example]"),
        site(
            "deaf",
            "sleep 1000",
            "domains: [d.example]",
            "health_start_period: 1s",
            "health_retries: 2",
            "health_interval: 1s",
        ),
        web("good2", "fine"),
    )
    done = world.cli("up", "-f", str(file), timeout_seconds=200)
    assert done.exit_code == 1
    assert sorted(line for line in done.stdout.splitlines() if " site " in line) == [
        "+ site acme/good2: 1 replica of busybox, good2.example",
        "+ site acme/good: 1 replica of busybox, good.example",
    ]
    wrong = [line.removeprefix("pycontainer: ") for line in done.stderr.splitlines() if not line.startswith("hint: ")]
    assert wrong[-1] == "3 of 6 changes failed; the others are done"
    told = {line.partition(": ")[0]: line.partition(": ")[2] for line in wrong[:-1]}
    assert "/no/such" in told["site acme/missing"]
    assert re.fullmatch(
        r"container 'acme-crashing-0' (ends again and again|ended).* exit code 3; its last words: out of cheese",
        told["site acme/crashing"],
    )
    assert "'acme-deaf-0' is unhealthy" in told["site acme/deaf"]
    for name in ("good", "good2"):
        assert ask(world, f"{name}.example")[0] == 200
    again = up(
        world, write(tmp_path, *(web(name, "fine") for name in ("good", "good2", "missing", "crashing", "deaf")))
    )
    assert len(again) == 3 and all("made anew" in line for line in again)
    assert ask(world, "deaf.example")[0] == 200


def test_an_update_that_fails_leaves_the_old_version_serving(door: World, tmp_path: Path) -> None:
    world = door
    up(world, write(tmp_path, web("shop", "one", "replicas: 2")))
    before = containers(world)
    with Load(world, "shop.example", 2) as load:
        bad = write(tmp_path, site("shop", "echo oops; exit 1", "domains: [shop.example]", "replicas: 2"))
        done = world.cli("up", "-f", str(bad), timeout_seconds=200)
    assert done.exit_code == 1 and "its last words: oops" in done.stderr
    assert load.wrong == [] and {answer.split()[0] for answer in load.answers} == {"one"}
    assert containers(world) == before


@pytest.mark.parametrize("after", ["first", "half", "update"])
def test_killed_and_brought_up_again(door: World, tmp_path: Path, after: str) -> None:
    """FLT-09: an `up` that dies at any point is finished by the next one; nothing is there twice."""
    world = door
    file = write(tmp_path, *(web(f"s{number}", "one") for number in range(6)), web("two", "one", "replicas: 2"))
    expected = {f"acme-s{number}" for number in range(6)} | {"acme-two"}
    there = 1 if after == "first" else 4
    if after == "update":
        up(world, file)
        file = write(tmp_path, *(web(f"s{number}", "new") for number in range(6)), web("two", "new", "replicas: 2"))
        there = 10
    with Load(world, "two.example", 2) if after == "update" else contextlib.nullcontext() as load:
        with world.popen("up", "-f", str(file), "--parallel", "2") as cut:
            poll_until(
                lambda: len(os.listdir(world.paths.containers_dir)) >= there,
                timeout_seconds=60,
                what=f"{there} containers",
            )
            cut.send_signal(signal.SIGKILL)
        assert cut.returncode == -signal.SIGKILL
        up(world, file)
    assert load is None or (load.wrong == [] and sum(load.answers.values()) > 100)
    names = sorted(containers(world))
    assert len(names) == 8 and {name.rpartition("-")[0] for name in names} == expected
    for number in range(6):
        assert ask(world, f"s{number}.example")[1].startswith("new" if after == "update" else "one")
    assert up(world, file)[0].startswith("nothing to do")
    status = json.loads(world.ok("frontdoor", "status", "--format", "json"))
    assert status["left_out"] == {} and status["problems"] == []


def test_removal_is_asked_for_and_data_stays(door: World, tmp_path: Path) -> None:
    world = door
    data = site("db", "echo kept >/data/file; sleep 1000", "volumes: ['data:/data']")
    up(world, write(tmp_path, web("shop", "one"), data))
    poll_until(lambda: world.cli("exec", "acme-db-0", "cat", "/data/file").stdout == "kept\n", what="the file is there")
    fewer = write(tmp_path, web("shop", "one"))
    refused = world.refused(2, "up", "-f", str(fewer))
    assert "these would be removed: acme/db" in refused and "--yes" in refused
    assert set(containers(world)) == {"acme-shop-0", "acme-db-0"}
    assert up(world, fewer, "--yes") == ["- site acme/db: 1 container"]
    assert set(containers(world)) == {"acme-shop-0"}
    again = site("db", "cat /data/file; sleep 1000", "volumes: ['data:/data']")
    up(world, write(tmp_path, web("shop", "one"), again))
    assert world.ok("logs", "acme-db-0") == "kept"


def test_everything_wrong_is_told_before_anything_changes(door: World, tmp_path: Path) -> None:
    """VAL-04"""
    world = door
    good = make_certificate(tmp_path, "other.example", name="c")
    world.ok("run", "-d", "--name", "acme-b-0", "-p", "7001:80", "busybox", "sleep", "1000")
    file = write(
        tmp_path,
        web("a", "x", "plan: smal", f"certificate: {good.certificate}", f"key: {good.key}"),
        web("b", "x", "ports: ['7001:80']").replace("image: busybox", "image: bussybox"),
        web("c", "x", "limits: {memory: 1G}").replace("c.example", "a.example"),
    )
    told = world.refused(2, "up", "-f", str(file)).splitlines()
    assert [line.removeprefix(f"pycontainer: {file}:") for line in told if not line.startswith("hint: ")] == [
        "11: tenants.acme.sites.a.plan: no plan 'smal', did you mean 'small'?",
        f"12: tenants.acme.sites.a.certificate: certificate '{good.certificate}' is not for a.example: it has other.example",
        "24: tenants.acme.sites.c.domains[0]: domain 'a.example' belongs to site 'acme/a' already",
        "25: tenants.acme.sites.c.limits.memory: memory: 1GiB, more than the 512MiB of tenant 'acme'",
    ]
    file = write(tmp_path, web("b", "x", "ports: ['7001:80']").replace("image: busybox", "image: bussybox"))
    told = world.refused(2, "up", "-f", str(file)).splitlines()
    assert [line.removeprefix(f"pycontainer: {file}:") for line in told if not line.startswith("hint: ")] == [
        "6: tenants.acme.sites.b: there is a container 'acme-b-0' of no hosting",
        "7: tenants.acme.sites.b.image: no image 'bussybox', did you mean 'busybox'?",
        "11: tenants.acme.sites.b.ports: host port 7001/tcp is that of container 'acme-b-0' already",
    ]
    assert set(containers(world)) == {"acme-b-0"} and world.ok("tenant", "ls", "-q") == ""
    assert world.cli("diff", "-f", str(file)).exit_code == 2
    assert "cannot read" in world.refused(2, "up", "-f", str(tmp_path / "missing.yaml"))


def test_somebody_else_has_the_front_doors_port(door: World, tmp_path: Path) -> None:
    """Told once, and not by each site; nothing was made."""
    world = door
    file = write(tmp_path, web("a", "x"), web("b", "x"))
    with world.network.inside.make_socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of earlier tests linger
        taken.bind(("0.0.0.0", 80))
        taken.listen()
        told = world.refused(4, "up", "-f", str(file)).splitlines()
    assert len([line for line in told if not line.startswith("hint: ")]) == 1 and "80" in told[0]
    assert containers(world) == {} and world.ok("tenant", "ls", "-q") == ""
    assert len(up(world, file)) == 3 and ask(world, "a.example")[0] == 200


def test_more_than_the_host_may_promise(door: World, tmp_path: Path) -> None:
    world = door
    capacity = Path(world.paths.config_dir) / "capacity.yaml"
    capacity.parent.mkdir(parents=True)
    file = write(tmp_path, web("shop", "one"), limits="{memory: 300M}")
    try:
        capacity.write_text("admission: refuse\nratios: {memory: 1}\nphysical: {memory: 200M}\n")
        told = world.refused(2, "up", "-f", str(file))
        assert (
            f"{file}:3: tenants.acme: more than this host may promise: memory: 300MiB would be promised of 200MiB"
            in told
        )
        assert world.ok("tenant", "ls", "-q") == ""
        capacity.write_text("admission: warn\nratios: {memory: 1}\nphysical: {memory: 200M}\n")
        done = world.cli("up", "-f", str(file))
        assert done.exit_code == 0 and "warning: more than this host may promise: memory" in done.stderr
    finally:
        shutil.rmtree(capacity.parent)


def test_tls_and_another_certificate(door: World, tmp_path: Path) -> None:
    world = door
    pair = make_certificate(tmp_path, "shop.example", name="first")
    settings = ("certificate: first.pem", "key: first.key")
    up(world, write(tmp_path, web("shop", "one", *settings)))
    before = containers(world)
    assert pair.certificate.name == "first.pem"
    assert ask(world, "shop.example", port=443)[1].startswith("one")
    assert ask(world, "shop.example")[0] == 308
    assert up(world, write(tmp_path, web("shop", "one"))) == ["~ site acme/shop: served as shop.example"]
    assert ask(world, "shop.example")[0] == 200 and containers(world) == before


def test_two_files_on_one_host(door: World, tmp_path: Path) -> None:
    world = door
    one = write(tmp_path, web("one", "1"), tenant="t1")
    up(world, one)
    (tmp_path / "b").mkdir()
    two = write(tmp_path / "b", web("two", "2"), tenant="t2")
    refused = world.refused(2, "up", "-f", str(two))
    assert "these would be removed: t1/one" in refused  # both are called `test`
    two.write_text(two.read_text().replace("hosting: test", "hosting: another"))
    up(world, two)
    assert ask(world, "one.example")[0] == ask(world, "two.example")[0] == 200
    world.ok("down", "-f", str(two), "--yes")
    assert ask(world, "one.example")[0] == 200 and ask(world, "two.example")[0] == 421


def test_progress_on_a_terminal_and_a_question(door: World, tmp_path: Path) -> None:
    """On a terminal one line tells what goes on, and a removal is asked for; no is no."""
    import pty

    world = door
    up(world, write(tmp_path, web("shop", "one"), web("old", "x")))
    file = write(tmp_path, web("shop", "two"))

    def on_terminal(answer: bytes) -> tuple[int, bytes]:
        ours_fd, theirs_fd = pty.openpty()
        with os.fdopen(ours_fd, "r+b", buffering=0) as ours:
            process = world.popen("up", "-f", str(file), stdin=theirs_fd, stdout=theirs_fd, stderr=theirs_fd)
            os.close(theirs_fd)
            seen = b""
            deadline = time.monotonic() + 60 * SLOWNESS
            with contextlib.suppress(OSError):  # EIO: it has ended
                while b"Go on?" not in seen and time.monotonic() < deadline:
                    seen += ours.read(4096) or b""
                ours.write(answer)
                while block := ours.read(4096):
                    seen += block
            return process.wait(timeout=60 * SLOWNESS), seen

    code, seen = on_terminal(b"n\n")
    assert code == 1 and b"Remove acme/old?" in seen and seen.endswith(b"pycontainer: nothing was removed\r\n")
    assert set(containers(world)) == {"acme-shop-0", "acme-old-0"}
    code, seen = on_terminal(b"y\n")
    assert code == 0 and b"\r\x1b[K" in seen and b"waiting until it is healthy" in seen
    assert set(containers(world)) == {"acme-shop-1"}

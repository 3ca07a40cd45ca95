"""Networks as a user sees them: addresses, published ports, neighbours, isolation. Their host is a private one."""

import hashlib
import ipaddress
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import IMAGE
from tests.support.hostns import INSIDE_IP, INSIDE_IP6, OUTSIDE_IP
from tests.support.poll import poll_until
from tests.support.world import World, unique_name

SERVE = ("sh", "-c", "mkdir -p /www; hostname > /www/index.html; exec httpd -f -h /www -p ${PORT:-80}")
REFUSED = (ConnectionError, TimeoutError, socket.timeout, OSError)


def serving(world: World, *options: str) -> str:
    """Start a web server that answers with its host name; returns the container's name, which is the host name too."""
    name = unique_name("web")
    world.ok("run", "-d", "--name", name, "--hostname", name, *options, IMAGE, *SERVE)
    return name


def address(world: World, name: str, network: str = "default") -> dict[str, Any]:
    return dict(world.inspect(name)["networks"][network])


def network_info(world: World, name: str) -> dict[str, Any]:
    return dict(json.loads(world.ok("network", "inspect", name))[0])


def fetch(world: World, name: str, ip: str) -> str:
    """Fetch the page of the server at `ip` from inside container `name`; empty if it cannot be reached.

    Through nc, because a static busybox cannot resolve names and its wget tries to.
    """
    request = f"printf 'GET /index.html HTTP/1.0\\r\\n\\r\\n' | nc -w 3 {ip} 80"
    return world.cli("exec", name, "sh", "-c", request).stdout.strip().rpartition("\n")[2]


def known_address(world: World, name: str, neighbour: str) -> str:
    """Return the IPv4 address that /etc/hosts of container `name` gives for `neighbour`, or an empty string."""
    lines = [line.split() for line in world.ok("exec", name, "cat", "/etc/hosts").split("\n")]
    return next((words[0] for words in lines if neighbour in words[1:] and "." in words[0]), "")


@pytest.fixture
def web(world: World) -> Iterator[str]:
    name = serving(world, "-p", "8080:80")
    world.network.inside.http_get_soon(f"http://{address(world, name)['ip']}/")
    yield name


# -- the routed default network


def test_container_has_an_address_of_each_family(world: World, web: str) -> None:
    given = address(world, web)
    assert ipaddress.ip_address(given["ip"]).is_private
    assert ipaddress.ip_address(given["ip6"]).is_private
    text = world.ok("exec", web, "ip", "address", "show", "dev", "eth0")
    assert f"inet {given['ip']}/32 " in text
    assert f"inet6 {given['ip6']}/128 " in text


def test_host_reaches_the_container_on_both_families(world: World, web: str) -> None:
    given = address(world, web)
    assert world.network.inside.http_get_soon(f"http://{given['ip']}/").strip() == web
    assert world.network.inside.http_get_soon(f"http://[{given['ip6']}]/").strip() == web


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", INSIDE_IP, f"[{INSIDE_IP6}]"])
def test_published_port_answers_on_the_host(world: World, web: str, host: str) -> None:
    assert world.network.inside.http_get_soon(f"http://{host}:8080/").strip() == web


@pytest.mark.parametrize("host", [INSIDE_IP, f"[{INSIDE_IP6}]"])
def test_published_port_answers_from_outside(world: World, web: str, host: str) -> None:
    assert world.network.outside.http_get_soon(f"http://{host}:8080/").strip() == web


def test_published_port_on_one_address_only(world: World) -> None:
    web = serving(world, "-p", "127.0.0.1:8081:80")
    assert world.network.inside.http_get_soon("http://127.0.0.1:8081/").strip() == web
    with pytest.raises(REFUSED):
        world.network.outside.http_get(f"http://{INSIDE_IP}:8081/", timeout_seconds=1)


def test_published_udp_port(world: World) -> None:
    name = unique_name()
    world.ok("run", "-d", "--name", name, "-p", "5353:5353/udp", IMAGE, "payload", "udp-echo", "5353")
    asker = world.network.outside.make_socket(socket.AF_INET, socket.SOCK_DGRAM)
    asker.settimeout(0.5)

    def answered() -> bool:
        asker.sendto(b"ping", (INSIDE_IP, 5353))
        try:
            return asker.recvfrom(100) == (b"ping", (INSIDE_IP, 5353))
        except OSError:
            return False

    with asker:
        poll_until(answered, what="an answer over udp")


def test_port_command_and_a_free_port(world: World) -> None:
    web = serving(world, "-p", "80")
    line = world.ok("port", web).split("\n")[0]
    assert line.startswith("80/tcp -> ")
    port = int(line.removeprefix("80/tcp -> "))
    assert port != 80
    assert world.network.inside.http_get_soon(f"http://127.0.0.1:{port}/").strip() == web


def test_port_closes_with_the_container(world: World, web: str) -> None:
    world.ok("rm", "-f", web)
    with pytest.raises(REFUSED):
        world.network.inside.http_get("http://127.0.0.1:8080/", timeout_seconds=1)
    again = serving(world, "-p", "8080:80")
    assert world.network.inside.http_get_soon("http://127.0.0.1:8080/").strip() == again


def test_container_reaches_the_outside_masqueraded(world: World, web: str) -> None:
    with world.network.outside.make_socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((OUTSIDE_IP, 8000))
        server.listen()
        process = world.popen("exec", web, "nc", OUTSIDE_IP, "8000")
        connection, (peer, _) = server.accept()
        connection.close()
        process.communicate(timeout=30)
    assert peer == INSIDE_IP


def test_containers_have_different_addresses(world: World) -> None:
    first, second = serving(world), serving(world)
    assert address(world, first)["ip"] != address(world, second)["ip"]
    assert address(world, first)["ip6"] != address(world, second)["ip6"]


def test_address_stays_over_a_restart(world: World, web: str) -> None:
    before = address(world, web)
    world.ok("restart", "-t", "0", web)
    assert address(world, web) == before
    assert world.network.inside.http_get_soon("http://127.0.0.1:8080/").strip() == web


def test_names_resolve_on_the_same_network(world: World, web: str) -> None:
    other = serving(world)
    assert known_address(world, other, web) == address(world, web)["ip"]
    assert known_address(world, web, other) == address(world, other)["ip"]
    assert f"{address(world, web)['ip6']}\t{web}\n" in world.ok("exec", other, "cat", "/etc/hosts") + "\n"
    assert fetch(world, other, known_address(world, other, web)) == web
    world.ok("rm", "-f", web)
    assert known_address(world, other, web) == ""


def test_hosts_and_resolv_conf_are_ours(world: World) -> None:
    options = ("--add-host", "db:10.9.8.7", "--dns", "192.0.2.53", "--hostname", "apple")
    text = world.ok("run", "--rm", *options, IMAGE, "cat", "/etc/hosts", "/etc/resolv.conf", "/etc/hostname")
    assert "10.9.8.7\tdb" in text
    assert "nameserver 192.0.2.53" in text
    assert text.endswith("apple")


def test_ip_option(world: World) -> None:
    world.ok("network", "create", "--subnet", "198.18.5.0/24", "fixed")
    try:
        web = serving(world, "--network", "fixed", "--ip", "198.18.5.9")
        assert address(world, web, "fixed")["ip"] == "198.18.5.9"
        message = world.refused(4, "create", "--network", "fixed", "--ip", "198.18.5.9", IMAGE, "true")
        assert "198.18.5.9" in message
        world.ok("rm", "-f", web)
    finally:
        world.clear()
        world.ok("network", "rm", "fixed")


# -- what a container cannot do


def test_raw_source_address_of_a_neighbour_does_not_leave(world: World, web: str) -> None:
    """NET-02: what A sends with B's source address is dropped."""
    thief = serving(world, "--cap-add", "NET_ADMIN")
    stolen = address(world, web)["ip"]
    with world.network.outside.make_socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((OUTSIDE_IP, 9000))
        server.settimeout(1)
        honest = f"{address(world, thief)['ip']},{OUTSIDE_IP},9000"
        assert world.ok("exec", thief, "payload", "udp-send", honest) == "udp-send: ok"
        assert server.recvfrom(100)[0] == b"datagram"
        world.ok("exec", thief, "ip", "address", "add", f"{stolen}/32", "dev", "eth0")
        world.ok("exec", thief, "payload", "udp-send", f"{stolen},{OUTSIDE_IP},9000")
        with pytest.raises(TimeoutError):
            server.recvfrom(100)
    assert world.network.inside.http_get("http://127.0.0.1:8080/").strip() == web


def test_services_of_the_host_are_closed_to_containers(world: World, web: str) -> None:
    """NET-05"""
    for target in (INSIDE_IP, INSIDE_IP6):
        family = socket.AF_INET6 if ":" in target else socket.AF_INET
        with world.network.inside.make_socket(family) as server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind((target, 7777))
            server.listen()
            world.network.outside.connect(target, 7777).close()
            result = world.cli("exec", web, "nc", "-w", "2", target, "7777")
            assert result.exit_code != 0


# -- other networks


def test_bridge_network(world: World) -> None:
    world.ok("network", "create", "--driver", "bridge", "segment")
    try:
        first, second = serving(world, "--network", "segment"), serving(world, "--network", "segment")
        third = serving(world)
        ip = known_address(world, second, first)
        assert ip == address(world, first, "segment")["ip"]
        poll_until(lambda: fetch(world, second, ip) == first)
        assert fetch(world, third, ip) == ""
        rows = {row["name"]: row for row in json.loads(world.ok("network", "ls", "--format", "json"))}
        assert (rows["segment"]["driver"], rows["default"]["driver"]) == ("bridge", "routed")
        assert "'segment'" in world.refused(5, "network", "rm", "segment")
    finally:
        world.clear()
        world.ok("network", "rm", "segment")


def test_a_download_takes_the_fast_path_of_its_network(world: World) -> None:
    """A page of 400 MB from a published port: the same bytes, and its connection was handed over while they came."""
    assert "only a routed network" in world.refused(2, "network", "create", "--driver", "bridge", "--fast-path", "no")
    assert "--fast-path" in world.refused(2, "network", "set", "default")
    world.ok("network", "create", "--fast-path", "quick")
    try:
        name = serving(world, "--network", "quick", "-p", "8090:80")
        world.ok("exec", name, "sh", "-c", "yes 0123456789abcde | head -c 400000000 > /www/page")
        assert world.network.outside.http_get_soon(f"http://{INSIDE_IP}:8090/").strip() == name
        script = "import time, urllib.request as u, hashlib; r = u.urlopen(sys.argv[1]); h = hashlib.sha256()"
        script = (
            f"import sys; {script}\nwhile d := r.read(1 << 20): h.update(d); time.sleep(0.002)\nprint(h.hexdigest())"
        )
        url = f"http://{INSIDE_IP}:8090/page"
        argv = world.network.outside.argv(sys.executable, "-c", script, url)
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env={}) as client:
            poll_until(lambda: network_info(world, "quick")["fast_connections"] == 1, what="it is handed over")
            output, _ = client.communicate()
        expected = hashlib.sha256(b"0123456789abcde\n" * 25_000_000).hexdigest()
        assert output.strip() == expected
        world.ok("network", "set", "quick", "--no-fast-path")
        assert network_info(world, "quick")["fast_path"] is False
        world.ok("rm", "-f", name)
    finally:
        world.ok("network", "rm", "quick")


def test_connect_and_disconnect(world: World) -> None:
    world.ok("network", "create", "second")
    try:
        one, two = serving(world), serving(world, "--network", "second")
        world.ok("network", "connect", "second", one)
        assert set(world.inspect(one)["networks"]) == {"default", "second"}
        poll_until(lambda: fetch(world, two, known_address(world, two, one)) == one)
        world.ok("network", "disconnect", "second", one)
        assert set(world.inspect(one)["networks"]) == {"default"}
    finally:
        world.clear()
        world.ok("network", "rm", "second")


def test_networks_do_not_reach_one_another(world: World, web: str) -> None:
    world.ok("network", "create", "apart")
    try:
        other = serving(world, "--network", "apart")
        assert fetch(world, other, address(world, web)["ip"]) == ""
        assert known_address(world, other, web) == ""
    finally:
        world.clear()
        world.ok("network", "rm", "apart")


def test_none_has_loopback_only(world: World) -> None:
    text = world.ok("run", "--rm", "--network", "none", IMAGE, "ip", "-o", "link")
    assert [line.split(":")[1].strip() for line in text.split("\n")] == ["lo"]
    text = world.ok("run", "--rm", "--network", "none", IMAGE, "ip", "-o", "address", "show", "dev", "lo")
    assert "inet 127.0.0.1/8 " in text and "inet6 ::1/128 " in text, "a service is reached by what else runs inside"


def test_host_sees_the_links_of_the_host(world: World) -> None:
    text = world.ok("run", "--rm", "--network", "host", IMAGE, "ip", "-o", "address", "show", "dev", "eth0")
    assert INSIDE_IP in text


def test_a_port_is_free_when_its_container_could_not_start(world: World) -> None:
    """Whatever it failed of: here what its last run has left is nothing that could be deleted."""
    first, second = unique_name("first"), unique_name("second")
    world.ok("create", "--name", first, "-p", "8099:80", IMAGE, "sleep", "1000")
    record = Path(world.paths.containers_dir, world.inspect(first)["id"], "exit.json")
    record.mkdir()
    try:
        assert "exit.json" in world.refused(1, "start", first)
        world.ok("run", "-d", "--name", second, "-p", "8099:80", IMAGE, "sleep", "1000")
    finally:
        record.rmdir()
    assert "8099" in world.refused(4, "start", first)
    world.clear()

"""Networks beside the default one, containers on several, ports that are taken, and a supervisor that comes back."""

import os
import signal
import socket
import sys
from pathlib import Path
from socket import AF_INET, SOCK_DGRAM, SOCK_STREAM

import pytest

from pycontainer.errors import AlreadyExists, InvalidInput, InvalidState, NotFound
from pycontainer.net.manager import NetworkManager
from pycontainer.paths import HostPaths
from pycontainer.spec.model import Port
from tests.integration.net.conftest import HTTP, Server, Site, ask, is_closed
from tests.support.hostns import INSIDE_IP, INSIDE_IP6, OUTSIDE_IP, OUTSIDE_IP6
from tests.support.poll import poll_until

KINDS = pytest.mark.parametrize("kind", [SOCK_STREAM, SOCK_DGRAM], ids=["tcp", "udp"])


def create(site: Site, name: str, driver: str = "routed", subnet: str = "") -> None:
    site.do(lambda: site.manager.create(name, driver, subnet))


def hosts(site: Site, container_id: str) -> list[str]:
    with open(site.manager.hosts_path(container_id)) as file:
        return [line.rstrip("\n") for line in file if line.strip()]


# -- bridge


@KINDS
def test_bridge_network(site: Site, kind: int) -> None:
    create(site, "segment", "bridge", "10.77.0.0/24")
    ports = (Port(8080, HTTP), Port(8080, HTTP, "udp"))
    one = site.instance("one", *ports, networks=("segment",))
    two, far = site.instance("two", networks=("segment",)), site.instance("far")
    server, closed = Server(site.outside, 9000), Server(site.inside, 7777)
    assert one.ip == "10.77.0.2"
    assert ask(one.namespace, two.ip, HTTP, kind) == one.ip
    assert ask(one.namespace, two.ip6, HTTP, kind) == one.ip6
    assert ask(one.namespace, OUTSIDE_IP, 9000, kind) == INSIDE_IP
    assert ask(one.namespace, OUTSIDE_IP6, 9000, kind) == INSIDE_IP6
    for target, seen in ((INSIDE_IP, OUTSIDE_IP), (INSIDE_IP6, OUTSIDE_IP6)):
        assert ask(site.outside, target, 8080, kind) == seen
        assert ask(two.namespace, target, 8080, kind)
        assert ask(one.namespace, target, 8080, kind)
    for loopback in ("127.0.0.1", "::1"):
        assert ask(site.inside, loopback, 8080, kind)
    for source, other in ((one, far), (far, one)):
        assert is_closed(source.namespace, other.ip, HTTP, kind)
        assert is_closed(source.namespace, other.ip6, HTTP, kind)
    for ip in (INSIDE_IP, INSIDE_IP6, "10.77.0.1"):
        assert is_closed(one.namespace, ip, 7777, kind)
    server.close()
    closed.close()


def test_forged_source_does_not_leave_a_bridge(site: Site) -> None:
    create(site, "segment", "bridge", "10.77.0.0/24")
    one = site.instance("one", networks=("segment",))
    one.namespace.run("ip", "address", "add", "10.77.0.99/32", "dev", "eth0")
    server = Server(site.outside, 9000)
    sock = one.namespace.make_socket(AF_INET, SOCK_DGRAM)
    with sock:
        sock.bind(("10.77.0.99", 5000))
        sock.settimeout(0.3)
        sock.sendto(b"forged", (OUTSIDE_IP, 9000))
        with pytest.raises(TimeoutError):
            sock.recv(100)
    assert ask(one.namespace, OUTSIDE_IP, 9000, SOCK_DGRAM) == INSIDE_IP
    server.close()


def test_removing_a_network_takes_its_bridge_and_files(site: Site) -> None:
    create(site, "segment", "bridge")
    one = site.instance("one", networks=("segment",))
    assert site.manager.hosts_path(one.id) == f"{site.paths.networks_dir}/segment.hosts"
    with pytest.raises(InvalidState) as caught:
        site.do(lambda: site.manager.remove("segment"))
    assert caught.value.message == "network 'segment' is in use by 'one'"
    one.end()
    site.do(lambda: site.manager.remove("segment"))
    assert [name for name in site.inside.links() if name.startswith(f"{site.paths.interface_prefix}b")] == []
    assert not any("segment" in name for name in os.listdir(site.paths.networks_dir))
    with pytest.raises(NotFound):
        site.do(lambda: site.manager.inspect("segment"))


# -- several networks


def test_connect_and_disconnect_a_running_instance(site: Site) -> None:
    create(site, "second")
    one, two = site.instance("one", Port(8080, HTTP)), site.instance("two", networks=("second",))
    assert is_closed(two.namespace, one.ip, HTTP)
    site.do(lambda: site.manager.connect(one.id, "second", netns_fd=one.namespace.fd))
    given = site.manager.addresses(one.id)["second"]
    assert ask(two.namespace, given["ip"], HTTP) == two.ip
    assert ask(two.namespace, given["ip6"], HTTP) == two.ip6
    assert ask(one.namespace, two.ip, HTTP) == given["ip"]
    assert ask(one.namespace, two.ip6, HTTP) == given["ip6"]
    assert f"{given['ip']}\tone" in hosts(site, two.id)

    site.do(lambda: site.manager.disconnect(one.id, "second", one.namespace.fd))
    assert list(site.manager.addresses(one.id)) == ["default"]
    assert is_closed(two.namespace, given["ip"], HTTP)
    assert f"{given['ip']}\tone" not in hosts(site, two.id)
    assert one.namespace.links() == ["eth0", "lo"]
    assert ask(site.outside, INSIDE_IP, 8080) == OUTSIDE_IP


def test_second_network_takes_over_when_the_first_is_disconnected(site: Site) -> None:
    create(site, "second", "bridge")
    one = site.instance("one", Port(8080, HTTP), networks=("default", "second"))
    server = Server(site.outside, 9000)
    assert one.namespace.links() == ["eth0", "eth1", "lo"]
    site.do(lambda: site.manager.disconnect(one.id, "default", one.namespace.fd))
    assert one.namespace.links() == ["eth1", "lo"]
    assert ask(one.namespace, OUTSIDE_IP, 9000) == INSIDE_IP
    assert ask(one.namespace, OUTSIDE_IP6, 9000) == INSIDE_IP6
    assert ask(site.outside, INSIDE_IP, 8080) == OUTSIDE_IP
    assert ask(site.inside, "127.0.0.1", 8080)
    server.close()


def test_ports_are_back_with_the_first_network_again(site: Site) -> None:
    create(site, "second")
    one = site.instance("one", Port(8080, HTTP))
    site.do(lambda: site.manager.disconnect(one.id, "default", one.namespace.fd))
    assert site.manager.published(one.id) == []
    with pytest.raises(ConnectionRefusedError):
        ask(site.outside, INSIDE_IP, 8080)

    ports = [Port(8080, HTTP)]
    site.do(lambda: site.manager.connect(one.id, "second", netns_fd=one.namespace.fd, ports=ports))
    assert ask(site.outside, INSIDE_IP, 8080) == OUTSIDE_IP
    assert ask(site.inside, "127.0.0.1", 8080)
    assert site.manager.published(one.id) == ports


def test_a_network_is_refused_to_whose_port_is_taken(site: Site) -> None:
    ports = [Port(8080, HTTP)]
    one = site.instance("one", *ports)
    site.do(lambda: site.manager.disconnect(one.id, "default", one.namespace.fd))
    two = site.instance("two", Port(8080, HTTP))
    with pytest.raises(AlreadyExists, match="8080"):
        site.do(lambda: site.manager.connect(one.id, "default", netns_fd=one.namespace.fd, ports=ports))
    assert one.namespace.links() == ["lo"]
    assert site.manager.addresses(one.id) == {}
    assert ask(site.outside, INSIDE_IP, 8080) == OUTSIDE_IP
    two.end()
    site.do(lambda: site.manager.connect(one.id, "default", netns_fd=one.namespace.fd, ports=ports))
    assert ask(site.outside, INSIDE_IP, 8080) == OUTSIDE_IP


def test_connect_what_is_connected_or_unknown(site: Site) -> None:
    one = site.instance("one")
    with pytest.raises(AlreadyExists) as taken:
        site.do(lambda: site.manager.connect(one.id, "default"))
    assert taken.value.message == "container 'one' is on network 'default' already"
    with pytest.raises(NotFound) as unknown:
        site.do(lambda: site.manager.connect(one.id, "nowhere"))
    assert unknown.value.message == "no network 'nowhere'"


# -- ports


@pytest.mark.parametrize(("protocol", "kind"), [("tcp", SOCK_STREAM), ("udp", SOCK_DGRAM)])
@pytest.mark.parametrize("host_ip", ["0.0.0.0", "127.0.0.1", INSIDE_IP, "::1"])
def test_port_of_another_program_is_taken(site: Site, protocol: str, kind: int, host_ip: str) -> None:
    sock = site.inside.make_socket(socket.AF_INET6 if ":" in host_ip else AF_INET, kind)
    with sock:
        sock.bind((host_ip, 8080))
        if kind == SOCK_STREAM:
            sock.listen()
        with pytest.raises(AlreadyExists) as caught:
            site.instance("web", Port(8080, HTTP, protocol))
    assert caught.value.message == f"port 8080/{protocol} is taken by another program of this host"
    assert "'ss -l" in caught.value.hint


@pytest.mark.parametrize(
    ("first", "second"), [("", ""), ("", INSIDE_IP), (INSIDE_IP, ""), ("0.0.0.0", "127.0.0.1"), ("::", "")]
)
def test_port_of_another_instance_is_taken(site: Site, first: str, second: str) -> None:
    site.instance("one", Port(8080, HTTP, host_ip=first))
    with pytest.raises(AlreadyExists) as caught:
        site.instance("two", Port(9999, HTTP), Port(8080, HTTP, host_ip=second))
    assert caught.value.message == "port 8080/tcp is taken by container 'one'"
    site.instance("three", Port(9999, HTTP))


def test_ports_that_do_not_meet(site: Site) -> None:
    ports = (Port(8080, HTTP, host_ip="0.0.0.0"), Port(8080, HTTP, "udp"), Port(8080, HTTP, host_ip="::"))
    web = site.instance("web", *ports)
    assert web.ports == list(ports)
    assert ask(site.outside, INSIDE_IP6, 8080) == OUTSIDE_IP6


def test_address_that_the_host_does_not_have(site: Site) -> None:
    with pytest.raises(InvalidInput) as caught:
        site.instance("web", Port(8080, HTTP, host_ip="198.51.100.1"))
    assert caught.value.message == "cannot publish port 8080/tcp: this host has no address 198.51.100.1"


def test_port_is_reserved_against_other_programs_while_published(site: Site) -> None:
    web = site.instance("web", Port(8080, HTTP), Port(0, HTTP, "udp"))
    free = web.ports[1].host_port
    assert free > 0
    for kind, port in ((SOCK_STREAM, 8080), (SOCK_DGRAM, free)):
        with site.inside.make_socket(AF_INET, kind) as sock, pytest.raises(OSError, match="Address already in use"):
            sock.bind(("", port))
            sock.listen()
    web.end()
    with site.inside.make_socket() as sock:
        sock.bind(("", 8080))
        sock.listen()


# -- a supervisor that died


def test_everything_goes_on_after_a_restart_of_the_supervisor(site: Site) -> None:
    create(site, "segment", "bridge")
    web, gone = site.instance("web", Port(8080, HTTP)), site.instance("gone", Port(8081, HTTP))
    two = site.instance("two", networks=("segment",))
    site.restart_manager()
    gone.server.close()
    gone.namespace.close()
    site.do(lambda: site.manager.reconcile({web.id: True, two.id: True}))
    assert site.manager.published(web.id) == [Port(8080, HTTP)]
    assert site.manager.published(gone.id) == []
    for source, ip in ((site.outside, INSIDE_IP), (site.inside, "127.0.0.1"), (site.inside, "::1")):
        assert ask(source, ip, 8080)
    with pytest.raises(ConnectionRefusedError):
        ask(site.inside, "127.0.0.1", 8081)
    prefix = site.paths.interface_prefix
    assert len([name for name in site.inside.links() if name.startswith(prefix)]) == 3  # web, two and the bridge
    assert any(line.endswith("\tweb") for line in hosts(site, web.id))
    assert not any(line.endswith("\tgone") for line in hosts(site, web.id))
    assert site.manager.addresses(gone.id)["default"]["ip"] == gone.ip
    assert ask(site.instance("new").namespace, web.ip, HTTP)
    site.do(lambda: site.manager.release(gone.id))
    site.instances.remove(gone)


def test_connection_through_the_forwarder_survives_the_supervisor(site: Site) -> None:
    web = site.instance("web", Port(8080, 81))
    with web.namespace.make_socket() as listener:
        listener.bind((web.ip, 81))
        listener.listen()
        with site.inside.connect("127.0.0.1", 8080) as client:
            connection, _ = listener.accept()
            site.do(lambda: site.manager.close(remove=False))
            site.restart_manager()
            site.do(lambda: site.manager.reconcile({web.id: True}))
            with connection:
                client.sendall(b"still here")
                assert connection.recv(100) == b"still here"


def test_forwarder_that_was_killed_is_started_again(site: Site) -> None:
    web = site.instance("web", Port(8080, HTTP))
    assert ask(site.inside, "127.0.0.1", 8080)
    pid = _forwarder_pid(site)
    os.kill(pid, signal.SIGKILL)
    site.restart_manager()
    poll_until(lambda: is_refused(site, 8080), what="the forwarder is dead")
    site.do(lambda: site.manager.reconcile({web.id: True}))
    assert ask(site.inside, "::1", 8080)
    assert _forwarder_pid(site) != pid


def is_refused(site: Site, port: int) -> bool:
    try:
        ask(site.inside, "127.0.0.1", port)
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:  # taken by the kernel for a program that is just dying
        return False
    return False


def _forwarder_pid(site: Site) -> int:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        sock.connect(site.paths.forwarder_socket)
        # the credentials are those of who called listen: the supervisor; the program itself is found by its socket
        lines = site.inside.run("ss", "-Hltnp", "sport", "=", ":8080").splitlines()
    return int(lines[0].partition("pid=")[2].partition(",")[0])


def test_a_forwarder_that_does_not_answer_keeps_no_way_open(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    web, other = site.instance("web", Port(8080, HTTP)), site.instance("other")
    assert ask(site.inside, "127.0.0.1", 8080)
    pid = _forwarder_pid(site)
    monkeypatch.setattr("pycontainer.net.ports.REPLY_TIMEOUT_SECONDS", 0.1)
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(TimeoutError):
            site.do(lambda: site.manager.detach(web.id, alive=True))
        assert is_closed(other.namespace, web.ip, HTTP)
        assert site.manager.links(web.id) == {}
    finally:
        os.kill(pid, signal.SIGCONT)


def test_forwarder_without_work_and_supervisor_ends(site: Site) -> None:
    site.instance("web", Port(8080, HTTP)).end()
    site.do(lambda: site.manager.close(remove=False))

    assert not is_forwarder_gone(site)
    poll_until(
        lambda: is_forwarder_gone(site), timeout_seconds=15, interval_seconds=0.2, what="the forwarder has ended"
    )
    site.restart_manager()
    site.instance("again", Port(8080, HTTP))
    assert ask(site.inside, "127.0.0.1", 8080)


def is_forwarder_gone(site: Site) -> bool:
    """Look for its control socket without connecting, which would keep it alive."""

    def look() -> bool:
        with open("/proc/thread-self/net/unix") as file:
            return site.paths.forwarder_socket not in file.read()

    return site.do(look)


def test_host_without_ipv6(site: Site) -> None:
    site.inside.run("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
    try:
        web, two = site.instance("web", Port(8080, HTTP)), site.instance("two")
        assert site.manager.addresses(web.id) == {"default": {"ip": web.ip, "ip6": ""}}
        assert ask(two.namespace, web.ip, HTTP) == two.ip
        assert ask(site.outside, INSIDE_IP, 8080) == OUTSIDE_IP
        assert ask(site.inside, "127.0.0.1", 8080)
        for instance in (web, two):
            instance.end()
    finally:
        site.do(lambda: site.manager.close(remove=True))
        site.inside.run("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=0")
        for argument in ("address add 2001:db8::1/64 dev eth0 nodad", "route add default via 2001:db8::2"):
            site.inside.run("ip", "-6", *argument.split())


def test_links_of_others_stay(site: Site) -> None:
    prefix = site.paths.interface_prefix
    for name in (f"{prefix}lan", f"{prefix}v1"):
        site.inside.run("ip", "link", "add", name, "type", "bridge")
    site.do(lambda: site.manager.reconcile({}))
    assert [name for name in site.inside.links() if name.startswith(prefix)] == [f"{prefix}lan"]
    site.inside.run("ip", "link", "del", f"{prefix}lan")


# -- addresses


def test_reservation_survives_and_is_given_back(site: Site) -> None:
    manager = site.manager
    first = site.do(lambda: manager.reserve("a" * 12, "a", "a", ["default"]))
    assert (
        site.do(lambda: NetworkManager(site.paths)).addresses("a" * 12) == {}
    )  # not yet: its container may come to nothing
    manager.keep("a" * 12)
    again = site.do(lambda: NetworkManager(site.paths))
    assert again.addresses("a" * 12) == first
    second = site.do(lambda: again.reserve("b" * 12, "b", "b", ["default"], first["default"]["ip"][:-1] + "9"))
    assert second["default"]["ip"] != first["default"]["ip"]
    with pytest.raises(AlreadyExists) as caught:
        site.do(lambda: again.reserve("c" * 12, "c", "c", ["default"], second["default"]["ip"]))
    assert caught.value.message == f"address {second['default']['ip']} of network 'default' is taken by container 'b'"
    again.release("b" * 12)
    site.do(lambda: again.reserve("c" * 12, "c", "c", ["default"], second["default"]["ip"]))
    for container_id in ("a" * 12, "c" * 12):
        again.release(container_id)
    site.restart_manager()


def test_subnets_do_not_overlap(site: Site) -> None:
    create(site, "one", subnet="10.77.0.0/24")
    for subnet, other in (("10.77.0.0/16", "10.77.0.0/24"), ("192.0.2.0/25", "192.0.2.0/24")):
        with pytest.raises(AlreadyExists) as caught:
            create(site, "two", subnet=subnet)
        assert caught.value.message == f"subnet {subnet} overlaps {other}, which is in use"
    with pytest.raises(AlreadyExists):
        create(site, "one")
    assert [info["name"] for info in site.do(lambda: site.manager.list())] == ["default", "one"]


def test_subnet_of_another_world_that_has_no_running_container(site: Site, tmp_path: Path) -> None:
    """Of a network whose containers have ended, its gateway and its route to nowhere are all that another world can see."""
    one, its_links = site.instance("one"), f" dev {site.paths.interface_prefix}"
    network = site.do(lambda: site.manager.inspect("default"))
    assert its_links in site.inside.run("ip", "route")
    one.end()
    poll_until(lambda: its_links not in site.inside.run("ip", "route"), what="the link of the container is gone")
    other = site.do(lambda: NetworkManager(HostPaths(str(tmp_path))))
    with pytest.raises(AlreadyExists) as caught:
        site.do(lambda: other.create("two", "routed", str(network["subnet"])))
    assert caught.value.message == f"subnet {network['subnet']} overlaps {network['subnet']}, which is in use"
    site.do(lambda: other.close(remove=True))


def test_many_descriptors_are_open_before_the_first_rule(site: Site) -> None:
    """As where hundreds of containers are taken over. libnftables waits by select(2), which knows 1024."""
    program = """
import os, resource
from pycontainer.net.firewall import Firewall
limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
firewall = Firewall("pycontainer_many", "pcm-")
many = [os.open("/dev/null", os.O_RDONLY) for _ in range(1100)]
firewall.add({})
firewall.delete_table()
firewall.close()
firewall.add({})
firewall.delete_table()
print(len(many))
"""
    assert site.inside.run(sys.executable, "-c", program) == "1100\n"

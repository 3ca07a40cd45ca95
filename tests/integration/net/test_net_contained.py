"""Root inside a container that forges frames: refused a packet socket by default, and granted one it gets no further."""

from collections.abc import Iterator
from socket import AF_INET, AF_INET6, SOCK_DGRAM
from typing import Any, NamedTuple

import pytest

from tests.integration.conftest import IMAGE
from tests.support.frames import ALL_NODES_MAC, EVERYBODY, IPV4, IPV6, Listener, advertisement, ethernet, udp4, udp6
from tests.support.hostns import OUTSIDE_IP, OUTSIDE_IP6
from tests.support.poll import SLOWNESS
from tests.support.world import World, unique_name

PACKET_SOCKETS = ("--cap-add", "NET_RAW")
DRIVERS = pytest.mark.parametrize("driver", ["routed", "bridge"])
STRANGER = "02:ba:db:ad:ba:d0"


class Segment(NamedTuple):
    """A network of a world with a thief and a victim."""

    world: World
    name: str
    thief: str
    victim: str

    def address(self, container: str) -> dict[str, Any]:
        return dict(self.world.inspect(container)["networks"][self.name])

    def mac(self, container: str) -> bytes:
        return bytes.fromhex(self.world.ok("exec", container, "cat", "/sys/class/net/eth0/address").replace(":", ""))

    def send(self, frame: bytes, device: str = "eth0") -> str:
        return self.world.ok("exec", self.thief, "payload", "frame", f"{device},{frame.hex()}")


@pytest.fixture
def segment(world: World, request: pytest.FixtureRequest) -> Iterator[Segment]:
    """The parameter is the driver and the thief's options."""
    driver, options = request.param
    network, thief, victim = unique_name("net"), unique_name("thief"), unique_name("victim")
    world.ok("network", "create", "--driver", driver, network)
    world.ok("run", "-d", "--name", thief, "--network", network, *options, IMAGE, "payload", "sleep", "0")
    world.ok("run", "-d", "--name", victim, "--network", network, IMAGE, "payload", "udp-echo", "7")
    yield Segment(world, network, thief, victim)
    world.ok("rm", "-f", thief, victim)
    world.ok("network", "rm", network)


def both_drivers(*options: str) -> pytest.MarkDecorator:
    cases = [(driver, options) for driver in ("routed", "bridge")]
    return pytest.mark.parametrize("segment", cases, indirect=True, ids=["routed", "bridge"])


@pytest.mark.vm
@both_drivers()
def test_packet_socket_is_refused_by_default(segment: Segment) -> None:
    """NET-01"""
    assert segment.send(bytes(60)) == "frame: EAFNOSUPPORT"


@pytest.mark.vm
@both_drivers(*PACKET_SOCKETS)
def test_forged_frames_of_one_that_may_have_packet_sockets(segment: Segment) -> None:
    """NET-01, NET-02, NET-10: out to the world, and to the neighbour; its own datagram between them arrives."""
    thief, victim = segment.address(segment.thief), segment.address(segment.victim)
    own, theirs = segment.mac(segment.thief), segment.mac(segment.victim)
    is_bridge = own != host_end(segment, own)
    to_host = host_end(segment, own)
    outside = segment.world.network.outside
    gate = Listener(outside)
    for source4, source6 in ((victim["ip"], victim["ip6"]), ("198.51.100.7", "2001:db8:7::7")):
        for frame in (
            ethernet(to_host, own, IPV4, udp4(source4, OUTSIDE_IP, 9, b"forged")),
            ethernet(to_host, own, IPV6, udp6(source6, OUTSIDE_IP6, 9, b"forged")),
            ethernet(theirs, own, IPV4, udp4(source4, victim["ip"], 9, b"forged")),
            ethernet(ALL_NODES_MAC, own, IPV6, advertisement(thief["ip6"], "ff02::1", source6, own)),
        ):
            assert segment.send(frame) == "frame: ok"
    if is_bridge:
        assert (
            segment.send(ethernet(EVERYBODY, theirs, IPV4, udp4(thief["ip"], OUTSIDE_IP, 9, b"forged"))) == "frame: ok"
        )
    honest = ethernet(to_host, own, IPV4, udp4(thief["ip"], OUTSIDE_IP, 9, b"an honest datagram"))
    assert segment.send(honest) == "frame: ok"
    heard = gate.heard_until(b"an honest datagram", timeout_seconds=5 * SLOWNESS)
    gate.close()
    assert [frame for frame in heard if b"forged" in frame] == []
    assert answers(segment, victim["ip"])
    assert answers(segment, victim["ip6"])


def host_end(segment: Segment, own: bytes) -> bytes:
    """Return the MAC that frames for the host go to: the bridge's, or that of a routed link, the same at both ends."""
    links = segment.world.network.inside.run("ip", "-o", "link", "show", "type", "bridge").splitlines()
    ours = [line for line in links if f": {segment.world.paths.interface_prefix}b" in line]
    return bytes.fromhex(ours[0].partition("link/ether ")[2][:17].replace(":", "")) if ours else own


def answers(segment: Segment, ip: str) -> bool:
    """Tell whether the victim echoes to the host: nobody took its address."""
    with segment.world.network.inside.make_socket(AF_INET6 if ":" in ip else AF_INET, SOCK_DGRAM) as sock:
        sock.sendto(b"are you there", (ip, 7))
        return sock.recv(100) == b"are you there"


@both_drivers("--profile", "system", *PACKET_SOCKETS)
def test_link_that_was_renamed_moved_and_set_up_again_by_root_inside(segment: Segment) -> None:
    """NET-01: NET_ADMIN of a system container reaches to its own end of the link."""
    world, own = segment.world, segment.mac(segment.thief)
    to_host = host_end(segment, own)
    victim = segment.address(segment.victim)
    steps = ("eth0 down", "eth0 name wan0", f"wan0 address {STRANGER}", "wan0 up")
    world.ok("exec", segment.thief, "sh", "-ec", "\n".join(f"ip link set {step}" for step in steps))
    gate = Listener(world.network.outside)
    moved = bytes.fromhex(STRANGER.replace(":", ""))
    for source in (own, moved):
        forged = ethernet(to_host, source, IPV4, udp4(victim["ip"], OUTSIDE_IP, 9, b"forged"))
        assert segment.send(forged, "wan0") == "frame: ok"
    honest = ethernet(
        to_host, own, IPV4, udp4(segment.address(segment.thief)["ip"], OUTSIDE_IP, 9, b"an honest datagram")
    )
    assert segment.send(honest, "wan0") == "frame: ok"
    heard = gate.heard_until(b"an honest datagram", timeout_seconds=5 * SLOWNESS)
    gate.close()
    assert [frame for frame in heard if b"forged" in frame] == []


def test_share_of_connections_is_shown_and_changed(world: World) -> None:
    """NET-09: `inspect` and `limits` tell of it, `set` changes it while the container runs."""
    name = unique_name()
    world.ok("run", "-d", "--name", name, "--net-connections", "300", IMAGE, "payload", "sleep", "0")
    assert world.inspect(name)["limits"]["net_connections"]["limit"] == 300
    world.ok("set", "--net-connections", "50", name)
    assert world.inspect(name)["limits"]["net_connections"]["limit"] == 50
    flows = " ".join(
        f"udp-send {world.inspect(name)['networks']['default']['ip']},{OUTSIDE_IP},{port}" for port in range(9000, 9060)
    )
    assert world.ok("exec", name, "payload", *flows.split()).count("udp-send: ok") == 60
    assert world.inspect(name)["limits"]["net_connections"]["fail_count"] == 10


def test_tenants_on_the_default_network(world: World) -> None:
    """Names and connections of other tenants are out of reach, without any option."""
    tenants = [unique_name("tenant") for _ in range(2)]
    members = [unique_name("member") for _ in range(3)]
    for tenant in tenants:
        world.ok("tenant", "create", tenant)
    for member, tenant in zip(members, (tenants[0], tenants[0], tenants[1]), strict=True):
        world.ok(
            "run", "-d", "--name", member, "--tenant", tenant, IMAGE, "sh", "-c", "echo here > i; exec httpd -f -p 80"
        )
    first, second, third = members
    hosts = world.ok("exec", first, "cat", "/etc/hosts")
    assert second in hosts
    assert third not in hosts
    for family in ("ip", "ip6"):
        for target, reached in ((second, True), (third, False)):
            ip = world.inspect(target)["networks"]["default"][family]
            request = f"printf 'GET /i HTTP/1.0\\r\\n\\r\\n' | nc -w 2 {ip} 80"
            result = world.cli("exec", first, "sh", "-c", request)
            assert ("here" in result.stdout) is reached, (target, family, result)
    world.ok("rm", "-f", *members)
    world.ok("tenant", "rm", *tenants)

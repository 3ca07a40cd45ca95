"""A firewall that another program of the host flushes or edits: it is noticed at once, and put back as a whole."""

import json
import os
import select
import signal
import subprocess
from collections.abc import Iterator
from socket import AF_INET, SOCK_DGRAM

import pytest

from pycontainer.net.rulesetwatch import RulesetWatch
from pycontainer.spec.model import Port
from tests.integration.conftest import IMAGE
from tests.integration.net.conftest import HTTP, Instance, Server, Site, ask, is_closed
from tests.support.frames import IPV4, ethernet, mac_of, send_frame, udp4
from tests.support.hostns import INSIDE_IP, OUTSIDE_IP, NetworkNamespace
from tests.support.poll import SLOWNESS, poll_until
from tests.support.world import World, unique_name


class Damaged:
    """A site with a container of each driver, and the watch that its supervisor would have."""

    def __init__(self, site: Site) -> None:
        self.site = site
        site.do(lambda: site.manager.create("segment", "bridge", "10.77.0.0/24"))
        self.web = site.instance("web", Port(8080, HTTP))
        self.bridged = site.instance("bridged", networks=("segment",))
        self.watch: RulesetWatch = site.do(site.manager.watch)
        self.table = site.paths.marker.replace("-", "_")

    def nft(self, *commands: str) -> None:
        self.site.inside.run("nft", "; ".join(commands))

    def rule_handle(self, table: str, chain: str, words: str) -> str:
        listing = self.site.inside.run("nft", "-a", "list", "chain", *table.split(), chain)
        return next(line.rpartition(" ")[2] for line in listing.splitlines() if words in line)


@pytest.fixture
def damaged(site: Site) -> Iterator[Damaged]:
    made = Damaged(site)
    yield made
    made.watch.close()


def flush(damaged: Damaged) -> str:
    damaged.nft("flush ruleset")
    return f"table 'inet {damaged.table}' is gone"


def delete_inet(damaged: Damaged) -> str:
    damaged.nft(f"delete table inet {damaged.table}")
    return f"table 'inet {damaged.table}' is gone"


def delete_bridge(damaged: Damaged) -> str:
    damaged.nft(f"delete table bridge {damaged.table}")
    return f"table 'bridge {damaged.table}' is gone"


def delete_rule(damaged: Damaged) -> str:
    handle = damaged.rule_handle(f"inet {damaged.table}", "first", "from_instance")
    damaged.nft(f"delete rule inet {damaged.table} first handle {handle}")
    return f"rules of table 'inet {damaged.table}' were changed"


def insert_rule(damaged: Damaged) -> str:
    damaged.nft(f"insert rule bridge {damaged.table} first accept")
    return f"rules of table 'bridge {damaged.table}' were changed"


def flush_table(damaged: Damaged) -> str:
    damaged.nft(f"flush table inet {damaged.table}")
    return f"rules of table 'inet {damaged.table}' were changed"


def flush_set(damaged: Damaged) -> str:
    damaged.nft(f"flush set inet {damaged.table} own6")
    return f"elements of 'inet {damaged.table} own6' are gone"


def delete_element(damaged: Damaged) -> str:
    damaged.nft(f"delete element inet {damaged.table} pub4 {{ tcp . 8080 }}")
    return f"elements of 'inet {damaged.table} pub4' are gone"


def reload_of_a_saved_ruleset(damaged: Damaged) -> str:
    """As `systemctl reload nftables` does, with a file of its own: all in one transaction."""
    damaged.nft("flush ruleset", "add table inet filter", "add chain inet filter input")
    return f"table 'inet {damaged.table}' is gone"


DAMAGES = (
    flush, delete_inet, delete_bridge, delete_rule, insert_rule, flush_table, flush_set, delete_element,
    reload_of_a_saved_ruleset,
)  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_damage_is_heard_and_repaired_once(damaged: Damaged, damage: object) -> None:
    site, watch = damaged.site, damaged.watch
    assert watch.heard() == ""
    assert callable(damage)
    harm = damage(damaged)
    assert watch.heard() == "nft"
    assert site.do(site.manager.repair) == harm
    assert watch.heard() == ""  # what we do ourselves is no damage
    assert site.do(site.manager.repair) == ""
    assert not watch.missed()
    for instance in (damaged.web, damaged.bridged):
        for ip in (instance.ip, instance.ip6):
            assert ask(site.inside, ip, HTTP)
    assert ask(site.outside, INSIDE_IP, 8080) == OUTSIDE_IP
    assert not forged_source_passes(site, damaged.web, "10.77.0.2")
    server = Server(site.inside, 7777)
    for instance in (damaged.web, damaged.bridged):
        assert is_closed(instance.namespace, INSIDE_IP, 7777)
    server.close()
    site.inside.run("nft", "add table inet filter; delete table inet filter")


def forged_source_passes(site: Site, thief: Instance, source: str) -> bool:
    return source_passes(site.outside, thief.namespace, source)


def source_passes(outside: NetworkNamespace, inside: NetworkNamespace, source: str) -> bool:
    """Tell whether a datagram from inside that says it is from `source` arrives outside."""
    with outside.make_socket(AF_INET, SOCK_DGRAM) as sock:
        sock.bind((OUTSIDE_IP, 9000))
        sock.settimeout(0.3 * SLOWNESS)
        mac = mac_of(inside)
        send_frame(inside, ethernet(mac, mac, IPV4, udp4(source, OUTSIDE_IP, 9000, b"forged")))
        try:
            return bool(sock.recv(100))
        except TimeoutError:
            return False


def test_what_others_do_in_tables_of_theirs_is_not_looked_at(damaged: Damaged) -> None:
    damaged.nft("add table inet other", "add set inet other own4 { type ipv4_addr; }")
    damaged.nft("add element inet other own4 { 192.0.2.9 }")
    assert damaged.watch.heard() == ""
    damaged.nft("delete table inet other")
    assert damaged.watch.heard() == ""
    assert not damaged.watch.missed()


def test_our_own_changes_are_no_damage(damaged: Damaged) -> None:
    site = damaged.site
    site.instance("more", Port(8081, HTTP)).end()
    give = site.manager.bandwidth(damaged.web.id).share
    site.do(lambda: give(100))
    assert damaged.watch.heard() == ""
    assert site.do(site.manager.repair) == ""
    assert not damaged.watch.missed()


def test_lost_messages_are_found_out(damaged: Damaged) -> None:
    """A burst of changes overruns the socket's buffer: what cannot be read is taken for damage, and looked at."""
    late = damaged.watch
    elements = ", ".join(f"10.{high}.{low}.1" for high in range(64) for low in range(256))
    damaged.nft("add table inet other", "add set inet other big { type ipv4_addr; }")
    for _ in range(4):
        damaged.nft(
            f"add element inet other big {{ {elements[:120_000].rpartition(',')[0]} }}", "flush set inet other big"
        )
    damaged.nft("delete table inet other", f"delete table inet {damaged.table}")
    assert late.heard() in ("nft", "somebody")
    assert damaged.site.do(damaged.site.manager.repair) == f"table 'inet {damaged.table}' is gone"


def test_missed_transactions_are_seen_by_their_number(damaged: Damaged) -> None:
    damaged.watch.heard()
    damaged.nft("add table inet other")
    assert damaged.watch.missed()  # it was not read: as if it had been lost
    assert not damaged.watch.missed()
    damaged.nft("delete table inet other")


# -- with a supervisor


def serve(world: World, *options: str) -> str:
    name = unique_name("web")
    world.ok("run", "-d", "--name", name, *options, IMAGE, "sh", "-c", "echo here > index.html; exec httpd -f -p 80")
    return name


def container_namespace(world: World, name: str) -> NetworkNamespace:
    namespace = NetworkNamespace.__new__(NetworkNamespace)
    namespace.fd = os.open(f"/proc/{world.inspect(name)['pid']}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    namespace.path = f"/proc/{os.getpid()}/fd/{namespace.fd}"
    return namespace


@pytest.mark.parametrize("driver", ["routed", "bridge"])
def test_supervisor_puts_the_firewall_back_by_itself(world: World, driver: str) -> None:
    """After a flush from outside: the published port answers again, a forged source is refused again, an event tells."""
    network = unique_name("net")
    world.ok("network", "create", "--driver", driver, network)
    name = serve(world, "-p", "8085:80", "--network", network)
    url = f"http://{INSIDE_IP}:8085/"
    assert world.network.outside.http_get_soon(url).strip() == "here"
    inside = container_namespace(world, name)
    events = world.popen("events", "--format", "json")
    try:
        poll_until(lambda: hears_something(world, name, events), what="events are listened to")
        world.network.inside.run("nft", "flush", "ruleset")
        assert events.stdout is not None
        told = next(event for line in events.stdout if (event := json.loads(line))["type"] == "firewall-repaired")
        assert told["by"] == "nft"
        assert told["detail"] == f"table 'inet {world.paths.marker.replace('-', '_')}' is gone"
        assert world.network.outside.http_get_soon(url).strip() == "here"
        assert not source_passes(world.network.outside, inside, "198.51.100.7")
    finally:
        events.kill()
        events.communicate()
        inside.close()
        world.ok("rm", "-f", name)
        world.ok("network", "rm", network)


def hears_something(world: World, name: str, events: "subprocess.Popen[bytes]") -> bool:
    """Make an event happen; tell whether a listener that is just starting has heard one by now."""
    assert events.stdout is not None
    world.ok("pause", name)
    world.ok("unpause", name)
    return bool(select.select([events.stdout], [], [], 0.2)[0])


def test_flush_while_no_supervisor_runs_is_repaired_by_the_next(own_world: World) -> None:
    """While there is none, what keeps the walls is the kernel alone; the next command brings a supervisor, and them."""
    world = own_world
    name = serve(world, "-p", "8086:80")
    url = f"http://{INSIDE_IP}:8086/"
    assert world.network.outside.http_get_soon(url).strip() == "here"
    pid = world.supervisor_pid()
    os.kill(pid, signal.SIGKILL)
    poll_until(lambda: not os.path.exists(f"/proc/{pid}"), what="the supervisor is dead")
    world.network.inside.run("nft", "flush", "ruleset")
    with pytest.raises(OSError):
        world.network.outside.http_get(url, timeout_seconds=1)
    world.ok("ps")
    assert world.network.outside.http_get_soon(url).strip() == "here"
    world.ok("rm", "-f", name)

"""What the host has for a network beside its links: forwarding, gateways, and no other way to those who do not run."""

import errno
import json

import pytest

from tests.integration.net.conftest import HTTP, Instance, Server, Site, ask
from tests.support.poll import poll_until
from tests.support.world import World, unique_name


@pytest.mark.parametrize("version", [4, 6])
def test_who_does_not_run_is_unreachable_at_once(site: Site, version: int) -> None:
    """It is not looked for behind the uplink, where somebody may have its address."""
    asker, stopped = site.instance("asker"), site.instance("stopped")
    target = stopped.ip6 if version == 6 else stopped.ip
    assert ask(asker.namespace, target, HTTP)
    site.outside.run("ip", "address", "add", target, "dev", "lo")
    behind = Server(site.outside, HTTP)
    try:
        site.do(lambda: site.manager.detach(stopped.id, alive=True))
        for namespace in (asker.namespace, site.inside):
            with pytest.raises(OSError) as caught:
                ask(namespace, target, HTTP, timeout_seconds=30)
            assert caught.value.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH)
    finally:
        behind.close()


def routes_to_nowhere(site: Site) -> list[str]:
    lines = [line for family in ("-4", "-6") for line in site.inside.run("ip", family, "route").splitlines()]
    return [line.split()[1] for line in lines if line.startswith("unreachable")]


def test_subnets_are_open_again_without_the_network(site: Site) -> None:
    info = site.do(lambda: site.manager.create("shop"))
    site.instance("web", networks=("shop",)).end()
    assert routes_to_nowhere(site) == [info["subnet"], info["subnet6"]]
    site.inside.run("ip", "address", "delete", f"{info['gateway']}/32", "dev", "lo")
    site.do(lambda: site.manager.remove("shop"))
    assert routes_to_nowhere(site) == []


@pytest.fixture(params=["same supervisor", "another supervisor"])
def pair(site: Site, request: pytest.FixtureRequest) -> tuple[Instance, Instance]:
    """A routed container and one of a bridge."""
    site.do(lambda: site.manager.create("segment", "bridge"))
    routed, bridged = site.instance("routed"), site.instance("bridged", networks=("segment",))
    if request.param == "another supervisor":
        site.restart_manager()
        site.do(lambda: site.manager.reconcile({routed.id: True, bridged.id: True}))
    assert site.do(site.manager.gateway_harm) == {}
    assert site.do(site.manager.forwarding_off) == []
    return routed, bridged


def test_gateways_that_were_flushed(site: Site, pair: tuple[Instance, Instance]) -> None:
    info = {name: site.do(lambda name=name: site.manager.inspect(name)) for name in ("default", "segment")}  # type: ignore[misc]
    bridge = next(name for name in site.inside.links() if name.startswith(f"{site.paths.interface_prefix}b"))
    site.inside.run("ip", "address", "flush", "dev", bridge)
    for gateway in (info["default"]["gateway"], str(info["default"]["subnet6"]).replace("/64", "1")):
        site.inside.run("ip", "address", "delete", str(gateway), "dev", "lo")
    site.inside.run("ip", "route", "flush", "type", "unreachable")
    site.inside.run("ip", "-6", "route", "flush", "type", "unreachable")
    harm = site.do(site.manager.gateway_harm)
    assert list(harm) == ["default", "segment"]
    assert f"gateway {info['default']['gateway']}, " in harm["default"]
    assert f"route 'unreachable {info['default']['subnet6']}'" in harm["default"]
    assert harm["segment"].startswith(f"lost: gateway {info['segment']['gateway']}")
    for name in harm:
        site.do(lambda name=name: site.manager.mend_gateway(name))  # type: ignore[misc]
    assert site.do(site.manager.gateway_harm) == {}
    for instance in pair:
        assert ask(site.inside, instance.ip, HTTP)
        assert ask(site.inside, instance.ip6, HTTP)


def test_a_bridge_without_ports_has_lost_nothing(site: Site) -> None:
    site.do(lambda: site.manager.create("segment", "bridge"))
    site.instance("last", networks=("segment",)).end()
    poll_until(
        lambda: "NO-CARRIER" in site.inside.run("ip", "link", "show", "type", "bridge"), what="it has no carrier"
    )
    assert site.do(site.manager.gateway_harm) == {}


def test_forwarding_that_was_switched_off(site: Site, pair: tuple[Instance, Instance]) -> None:
    site.inside.run("sysctl", "-q", "net.ipv4.ip_forward=0", "net.ipv6.conf.all.forwarding=0")
    off = site.do(site.manager.forwarding_off)
    assert off == ["ipv4/ip_forward", "ipv6/conf/all/forwarding"]
    for setting in off:
        site.do(lambda setting=setting: site.manager.forward(setting))  # type: ignore[misc]
    assert site.do(site.manager.forwarding_off) == []


def test_a_supervisor_puts_it_right_and_tells(unrepaired_world: World) -> None:
    world, name = unrepaired_world, unique_name()
    world.ok("run", "-d", "--name", name, "busybox", "sleep", "1000")
    inside, gateway = world.network.inside, json.loads(world.ok("network", "inspect", "default"))[0]["gateway"]
    inside.run("sysctl", "-q", "net.ipv4.ip_forward=0")
    inside.run("ip", "address", "delete", f"{gateway}/32", "dev", "lo")
    found = json.loads(world.cli("doctor", "--fix", "--format", "json").stdout)["findings"]
    assert [(each["kind"], each["where"], each["repaired"]) for each in found] == [
        ("no forwarding", "net.ipv4.ip_forward", True),
        ("lost gateway", "network 'default'", True),
    ]
    assert inside.run("sysctl", "-n", "net.ipv4.ip_forward").strip() == "1"
    assert json.loads(world.cli("doctor", "--format", "json").stdout)["findings"] == []
    events = world.ok("events", "--since", "0", "--no-follow", "--format", "json", "--filter", "type=repaired")
    assert [json.loads(line)["cause"] for line in events.splitlines()[-2:]] == ["no forwarding", "lost gateway"]
    world.ok("rm", "--force", name)

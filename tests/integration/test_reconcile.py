"""What others do to our objects in the kernel is found, put right by `doctor --fix` or within a minute, and told (issue 7).

What is not ours stays, even where it lies beside.
"""

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pycontainer.cgroup.base import Cgroup
from pycontainer.cgroup.detect import detect
from pycontainer.cgroup.hierarchy import Hierarchy
from tests.support.doctor import GONE
from tests.support.poll import poll_until
from tests.support.world import World, unique_name

pytestmark = pytest.mark.vm

CAPS = ("--memory", "64M", "--cpus", "0.5", "--pids", "50", "--net-out", "10mbit", "-p", "18080:80")


def look(world: World, *options: str) -> list[dict[str, Any]]:
    """Return the findings; the exit code must agree with them."""
    result = world.cli("doctor", "--format", "json", *options)
    found: list[dict[str, Any]] = json.loads(result.stdout)["findings"]
    assert result.exit_code == (1 if any(not finding["repaired"] for finding in found) else 0), result
    return found


def kinds(found: list[dict[str, Any]]) -> list[str]:
    return [finding["kind"] for finding in found]


def check(world: World, kind: str, where: str, container: str = "") -> str:
    """See that exactly this is found, then repaired and told, then no more; return what was found."""
    (finding,) = look(world)
    assert (finding["kind"], finding["where"], finding["repairable"]) == (kind, where, True)
    assert [(each["kind"], each["repaired"], each["error"]) for each in look(world, "--fix")] == [(kind, True, "")]
    assert look(world) == []
    event = json.loads(world.ok("events", "--since", "0", "--no-follow", "--format", "json", "--filter", "type=repaired"
                                ).splitlines()[-1])  # fmt: skip
    assert (event["cause"], event.get("name", "")) == (kind, container)
    assert event["detail"] == f"{where}: {finding['what']}"
    return str(finding["what"])


@pytest.fixture(scope="module")
def world(unrepaired_world: World) -> World:
    return unrepaired_world


@pytest.fixture
def name(world: World) -> Iterator[str]:
    """A container that runs with caps of all kinds; it lives on, whatever is done."""
    name = run(world)
    pid = world.inspect(name)["pid"]
    yield name
    assert world.inspect(name)["pid"] == pid


def run(world: World) -> str:
    name = unique_name()
    world.ok("run", "-d", "--name", name, *CAPS, "busybox", "sleep", "1000")
    return name


def hierarchy(world: World) -> Hierarchy:
    return Hierarchy(detect(name=world.paths.marker), world.paths.marker)


def cgroup(world: World, name: str, tenant: str = "") -> Cgroup:
    return hierarchy(world).open(world.inspect(name)["id"], tenant)


def memory_file(of: Cgroup) -> str:
    return "memory.max" if of.version == 2 else "memory.limit_in_bytes"


def link_of(world: World, kind: str = "v") -> str:
    """Return the one link of a container on the host."""
    (found,) = [line.split(":")[1].split("@")[0].strip()
                for line in world.network.inside.run("ip", "-o", "link").splitlines()
                if f" {world.paths.interface_prefix}{kind}" in line]  # fmt: skip
    return found


def has_network(world: World, name: str) -> bool:
    """Tell whether a container answers the host, be it that nobody listens there."""
    ip = world.inspect(name)["networks"]["default"]["ip"]
    try:
        world.network.inside.connect(ip, 9).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    raise AssertionError("somebody listens")


def test_caps_that_somebody_wrote_over(world: World, name: str) -> None:
    """Each file is found by itself; what is written again is what the record says."""
    of = cgroup(world, name)
    before = {("memory", memory_file(of)): "268435456", ("pids", "pids.max"): "max"}
    before |= {("cpu", "cpu.max"): "max 100000"} if of.version == 2 else {("cpu", "cpu.cfs_quota_us"): "-1"}
    for (controller, file), value in before.items():
        held = of.read(controller, file)
        if file == "memory.limit_in_bytes":
            of.write(controller, "memory.memsw.limit_in_bytes", value)
        of.write(controller, file, value)
        assert of.read(controller, file) != held
        what = check(world, "changed limits", f"container '{name}'", name)
        assert file.split(".")[0] in what and held.split()[0] in what
        assert of.read(controller, file) == held


def test_caps_of_a_tenant(world: World) -> None:
    tenant, name = world.ok("tenant", "create", unique_name(), "--pids", "60", "--memory", "96M"), unique_name()
    world.ok("run", "-d", "--name", name, "--tenant", tenant, "--pids", "40", "busybox", "sleep", "1000")
    assert look(world) == []
    of = hierarchy(world).open_tenant(tenant)
    of.write("pids", "pids.max", "max")
    assert "'max', not '60'" in check(world, "changed limits", f"tenant '{tenant}'")
    assert of.read("pids", "pids.max") == "60"
    cgroup(world, name, tenant).write("pids", "pids.max", "max")
    check(world, "changed limits", f"container '{name}'", name)


def test_a_link_that_was_deleted(world: World, name: str) -> None:
    """It is made anew with its cap, its address, and what the firewall knows of it."""
    ip = world.inspect(name)["networks"]["default"]["ip"]
    world.network.inside.run("ip", "link", "delete", link_of(world))
    assert not has_network(world, name)
    found = look(world, "--fix")
    assert kinds(found) == ["lost link", "changed bandwidth"] and all(each["repaired"] for each in found)
    assert look(world) == []
    assert has_network(world, name)
    assert f"inet {ip}/32" in world.ok("exec", name, "ip", "-4", "address", "show", "dev", "eth0")
    assert link_of(world)


def test_a_link_that_cannot_be_made_again(world: World) -> None:
    """Its place inside is taken: said, and the container goes on without it."""
    name = unique_name()
    world.ok("run", "-d", "--name", name, "--profile", "system", "busybox", "sleep", "1000")
    world.network.inside.run("ip", "link", "delete", link_of(world))
    world.ok("exec", name, "ip", "link", "add", "eth0", "type", "bridge")
    (finding,) = look(world, "--fix")
    assert (finding["kind"], finding["repaired"]) == ("lost link", False)
    assert "File exists" in finding["error"]
    assert world.status(name) == "running"


@pytest.mark.parametrize("damage", [
    ("qdisc", "del", "dev", "LINK", "clsact"),
    ("qdisc", "del", "dev", "FROM", "root"),
    ("class", "change", "dev", "FROM", "classid", "CLASS", "htb", "rate", "1gbit"),
    ("filter", "del", "dev", "FROM"),
    ("link",),
])  # fmt: skip
def test_shaping_that_was_taken_away(world: World, name: str, damage: tuple[str, ...]) -> None:
    inside, prefix = world.network.inside, world.paths.interface_prefix
    link, out = link_of(world), f"{prefix}from"
    before = tree(world, out)
    if damage == ("link",):
        inside.run("ip", "link", "delete", out)
    else:
        minor = before[-1][0]
        values = {"LINK": link, "FROM": out, "CLASS": minor}
        words = [values.get(word, word) for word in damage]
        if "CLASS" in damage:
            words[6:6] = ["parent", before[-1][1]]
        inside.run("tc", *words)
    assert set(kinds(look(world))) == {"changed bandwidth"}
    assert all(finding["repaired"] for finding in look(world, "--fix"))
    assert look(world) == []
    assert tree(world, out) == before
    assert "ingress_block" in inside.run("tc", "qdisc", "show", "dev", link) or "clsact" in inside.run(
        "tc", "qdisc", "show", "dev", link
    )
    assert has_network(world, name)


def tree(world: World, device: str) -> list[tuple[str, ...]]:
    """Return (class, parent, rate, ceiling) of all classes of a device with a rate: fq_codel shows its flows as classes."""
    found = []
    for line in world.network.inside.run("tc", "class", "show", "dev", device).splitlines():
        words = line.split()
        if words[1] != "htb":
            continue
        parent = words[words.index("parent") + 1] if "parent" in words else "root"
        found.append((words[2], parent, words[words.index("rate") + 1], words[words.index("ceil") + 1]))
    return sorted(found, key=lambda each: (each[1] == "1:fffd", each))


@pytest.mark.alike
def test_a_flushed_firewall_is_back(world: World, name: str) -> None:
    """By the watch, within a second, or else by hand: then nothing is left to find."""
    table = world.paths.marker.replace("-", "_")
    world.network.inside.run("nft", "flush", "table", "inet", table)
    look(world, "--fix")
    assert look(world) == []
    assert world.inspect(name)["networks"]["default"]["ip"] in world.network.inside.run("nft", "list", "ruleset")


@pytest.mark.alike
def test_a_port_forwarder_that_died(own_world: World) -> None:
    world = own_world
    world.ok("run", "-d", "-p", "18080:80", "busybox", "sleep", "1000")
    os.kill(forwarder(world), signal.SIGKILL)
    poll_until(lambda: not forwarder(world), what="the forwarder is gone")
    assert ":18080" not in world.network.inside.run("ss", "-Hltn")
    check(world, "no port forwarder", world.paths.forwarder_socket)
    assert "127.0.0.1:18080" in world.network.inside.run("ss", "-Hltn")


def forwarder(world: World) -> int:
    """Return the pid of the process that has the control socket of this world's forwarder; 0 if there is none."""
    inodes = {
        line.split()[6]
        for line in world.network.inside.run("cat", "/proc/net/unix").splitlines()
        if line.endswith(f" {world.paths.forwarder_socket}")
    }
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if b"/net/forwarder.py" not in place.read_bytes():
                continue
            held = {os.readlink(fd) for fd in (place.parent / "fd").iterdir()}
            if held & {f"socket:[{inode}]" for inode in inodes}:
                return int(place.parent.name)
    return 0


def test_cgroups_of_nobody(world: World, name: str) -> None:
    """With a process in it and without; what is named otherwise stays, and its process lives."""
    tree = hierarchy(world)
    foreign = tree.open("somebody-elses")
    tree.create("somebody-elses")
    stray = tree.create(GONE)
    try:
        check(world, "cgroup without a container", next(iter(stray.paths().values())))
        assert not stray.exists()
        stray = tree.create(GONE)
        with subprocess.Popen(["sleep", "1000"]) as inside, subprocess.Popen(["sleep", "1000"]) as beside:
            stray.attach(inside.pid)
            foreign.attach(beside.pid)
            assert "1 processes are in it" in check(
                world, "cgroup without a container", next(iter(stray.paths().values()))
            )
            assert inside.wait(5) == -signal.SIGKILL
            assert beside.poll() is None and foreign.exists()
            beside.kill()
        tenant = tree.create_tenant("never-was")
        check(world, "cgroup without a tenant", next(iter(tenant.paths().values())))
        assert not tenant.exists()
    finally:
        for each in (stray, foreign):
            each.kill()
            each.delete()


@pytest.mark.alike
def test_links_of_nobody(world: World, name: str) -> None:
    """With our prefix and a number; one that only begins so is somebody else's."""
    inside, prefix = world.network.inside, world.paths.interface_prefix
    inside.run("ip", "link", "add", f"{prefix}v900", "type", "bridge")
    inside.run("ip", "link", "add", f"{prefix}mine", "type", "bridge")
    try:
        check(world, "link without a container", f"{prefix}v900")
        links = inside.run("ip", "-o", "link")
        assert f"{prefix}v900" not in links and f"{prefix}mine" in links
    finally:
        inside.run("ip", "link", "delete", f"{prefix}mine")


@pytest.mark.alike
def test_storage_alone(world: World, name: str) -> None:
    world.network.inside.run("ip", "link", "add", f"{world.paths.interface_prefix}v900", "type", "bridge")
    assert look(world, "--storage") == []
    assert kinds(look(world, "--fix")) == ["link without a container"]


# Worlds of their own come last: on a slow machine the shared one would idle out meanwhile.


def test_a_transient_change_is_no_damage(own_world: World) -> None:
    """It holds over the death of the supervisor, and a change behind its back is taken back to it, not to the record."""
    world, name = own_world, run(own_world)
    world.environment["PYCONTAINER_RECONCILE_SECONDS"] = "0"
    of = cgroup(world, name)
    world.ok("set", name, "--transient", "--pids", "77", "--memory", "80M")
    assert look(world) == []
    os.kill(world.supervisor_pid(), signal.SIGKILL)
    assert look(world, "--fix") == []
    assert of.read("pids", "pids.max") == "77"
    of.write("pids", "pids.max", "78")
    check(world, "changed limits", f"container '{name}'", name)
    assert of.read("pids", "pids.max") == "77"
    world.ok("set", name, "--cpus", "0.4")
    assert of.read("pids", "pids.max") == "77" and look(world) == []
    world.ok("set", name, "--pids", "50")
    assert of.read("pids", "pids.max") == "50" and look(world) == []


@pytest.mark.alike
def test_a_link_that_was_lost_while_nobody_watched(own_world: World) -> None:
    """With its cap, which a supervisor that comes up learns from the link."""
    world, name = own_world, run(own_world)
    world.environment["PYCONTAINER_RECONCILE_SECONDS"] = "0"
    os.kill(world.supervisor_pid(), signal.SIGKILL)
    world.network.inside.run("ip", "link", "delete", link_of(world))
    check(world, "lost link", f"container '{name}', network 'default'", name)
    assert has_network(world, name)
    with world.client() as client:
        (row,) = [row for row in client.limits([name]) if row["resource"] == "net_out"]
    assert row["limit"] == 10_000_000


@pytest.mark.alike
def test_rounds(own_world: World) -> None:
    """Nobody asks: it is found, repaired, told as the supervisor's own, and logged. Nothing is told of what is well."""
    world = own_world
    world.environment["PYCONTAINER_RECONCILE_SECONDS"] = "0.5"
    world.ok("service", "stop")  # the next one is told
    name = run(world)
    of = cgroup(world, name)
    stray = hierarchy(world).create(GONE)
    of.write("pids", "pids.max", "max")
    world.network.inside.run("ip", "link", "delete", link_of(world))
    poll_until(lambda: len(repaired(world)) == 3, what="all is repaired", interval_seconds=0.2)
    causes = {event["cause"]: event for event in repaired(world)}
    assert set(causes) == {"changed limits", "cgroup without a container", "lost link"}
    assert {event["actor"] for event in causes.values()} == {"supervisor"}
    assert causes["changed limits"]["name"] == causes["lost link"]["name"] == name
    assert of.read("pids", "pids.max") == "50" and not stray.exists() and has_network(world, name)
    log = Path(world.paths.supervisor_log).read_text()
    assert f"repaired: changed limits: container '{name}': pids.max is 'max', not '50'\n" in log


def repaired(world: World) -> list[dict[str, Any]]:
    lines = world.ok("events", "--since", "0", "--no-follow", "--format", "json", "--filter", "type=repaired")
    return [json.loads(line) for line in lines.splitlines()]

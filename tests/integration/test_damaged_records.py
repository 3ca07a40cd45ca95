"""Every record in every state of damage costs the one object that it is of: that is shown and refused, the others go on.

Each damage is made while things run, and repaired again: what it was about then is as before.
"""

import json
import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.conftest import IMAGE
from tests.integration.test_bad_input import one_clear_line
from tests.support.poll import poll_until
from tests.support.world import World

PORT = 8085


def damages(original: bytes, wrong: str) -> Iterator[tuple[str, bytes | None]]:
    """Yield what a record may have become, None for a directory; `wrong` is the field that is of another type, or missing."""
    record: dict[str, Any] = json.loads(original)
    yield "truncated", original[: len(original) // 2]
    yield "empty", b""
    yield "not JSON", b"\0" * len(original)
    yield "a wrong type", json.dumps({**record, wrong: {"a": []}}).encode()
    yield "a field missing", json.dumps({key: value for key, value in record.items() if key != wrong}).encode()
    yield "a directory", None
    if "version" in record:
        yield "a newer version", json.dumps({**record, "version": 99, "more": 1}).encode()


class Damage:
    """One record, damaged and repaired with the supervisor started anew each time."""

    def __init__(self, world: World, path: str) -> None:
        self._world, self.path = world, path
        with open(path, "rb") as file:
            self.original = file.read()

    def make(self, content: bytes | None) -> None:
        os.unlink(self.path)
        if content is None:
            os.mkdir(self.path)
        else:
            self._write(content)
        self._world.ok("service", "stop")

    def repair(self) -> None:
        shutil.rmtree(self.path) if os.path.isdir(self.path) else os.unlink(self.path)
        self._write(self.original)
        self._world.ok("service", "stop")
        self._world.ok("ps")

    def _write(self, content: bytes) -> None:
        with open(self.path, "wb") as file:
            file.write(content)
        os.chmod(self.path, 0o600)


def shown(world: World, *arguments: str, damage: Damage) -> dict[str, Any]:
    """Return what a list shows, by name or else id, as JSON; the table and the log name the file, too."""
    found = json.loads(world.ok(*arguments, "--format", "json"))
    table = world.cli(*arguments)
    assert table.exit_code == 0 and damage.path in one_clear_line(table.stderr), table
    with open(world.paths.supervisor_log) as log:
        assert damage.path in log.read()
    return {item["name"] or item["id"]: item for item in found}


def refused(world: World, *arguments: str, damage: Damage, hint: str, code: int = 5) -> None:
    """Run what must be refused for the damage, in one line, with a hint that says what to do."""
    message = world.cli(*arguments)
    assert (message.exit_code, message.stdout) == (code, ""), (arguments, message)
    assert damage.path in one_clear_line(message.stderr), message.stderr
    assert world.suggested(hint) in message.stderr, message.stderr


def serving(world: World, name: str, port: int, *options: str) -> dict[str, Any]:
    """Start a web server on a port of the host that says its name."""
    script = f"mkdir -p /www; echo {name} > /www/index.html; exec httpd -f -h /www -p 80"
    world.ok("run", "-d", "--name", name, "-p", f"{port}:80", *options, IMAGE, "sh", "-c", script)
    assert world.network.inside.http_get_soon(f"http://127.0.0.1:{port}/") == f"{name}\n"
    return world.inspect(name)


def begin(world: World, name: str, *options: str) -> dict[str, Any]:
    world.ok("run", "-d", "--name", name, *options, IMAGE, "payload", "sleep", "0")
    return world.inspect(name)


def works(world: World, name: str) -> None:
    assert world.ok("exec", name, "echo", "alive") == "alive"


@pytest.mark.parametrize("which", ["spec.json", "run"])
def test_a_container_that_runs(own_world: World, which: str) -> None:
    """FLT-09"""
    world = own_world
    victim = begin(world, "victim", "-p", f"{PORT}:80")
    good = begin(world, "good")
    directory = victim["directory"]
    damage = Damage(
        world, f"{directory}/spec.json" if which == "spec.json" else world.paths.runtime_state(victim["id"])
    )
    ip, base = victim["networks"]["default"]["ip"], victim["id_map"]["host_base"]
    for kind, content in damages(damage.original, "base" if which == "spec.json" else "pid"):
        damage.make(content)
        listed = shown(world, "ps", damage=damage)
        seen = listed.get("victim") or listed[victim["id"]]
        assert (seen["status"], listed["good"]["status"]) == ("damaged", "running"), kind
        for verb in (["stop", victim["id"]], ["inspect", victim["id"][:6]], ["rm", victim["id"]]):
            refused(world, *verb, damage=damage, hint=f"pycontainer rm --force {victim['id']}")
        works(world, "good")
        # nothing of what it holds is somebody else's
        assert world.cli("run", "--rm", "-p", f"{PORT}:80", IMAGE, "true").exit_code == 125, kind
        other = begin(world, "other")
        assert other["networks"]["default"]["ip"] not in ("", ip), kind
        assert other["id_map"]["host_base"] not in (base, good["id_map"]["host_base"]), kind
        assert world.cli("run", "--rm", "--ip", ip, IMAGE, "true").exit_code == 125, kind
        assert world.cli("image", "rm", IMAGE).exit_code == 5
        world.ok("rm", "-f", "other")
        os.kill(victim["pid"], 0)
        damage.repair()
        assert world.inspect("victim")["pid"] == victim["pid"], kind
        works(world, "victim")
    damage.make(b"")
    world.ok("rm", "--force", victim["id"])
    assert [item["name"] for item in json.loads(world.ok("ps", "-a", "--format", "json"))] == ["good"]
    assert not os.path.exists(f"/proc/{victim['pid']}") and not os.path.exists(damage.path)
    world.ok("run", "--rm", "--name", "victim", "--ip", ip, "-p", f"{PORT}:80", IMAGE, "true")
    works(world, "good")


def test_one_that_runs_until_it_goes_with_its_end(own_world: World) -> None:
    """FLT-09: it runs, so no loss of power has ended it."""
    world = own_world
    world.ok("run", "-d", "--rm", "--name", "brief", IMAGE, "payload", "sleep", "0")
    brief = world.inspect("brief")
    damage = Damage(world, f"{brief['directory']}/spec.json")
    for content in (b"", damage.original[:100]):
        damage.make(content)
        assert shown(world, "ps", damage=damage)[brief["id"]]["status"] == "damaged"
        os.kill(brief["pid"], 0)
        damage.repair()
        works(world, "brief")
    world.ok("stop", "-t", "0", "brief")
    poll_until(lambda: json.loads(world.ok("ps", "-a", "--format", "json")) == [], what="it is gone")


def test_the_end_of_a_container(own_world: World) -> None:
    """FLT-09: of one that has ended, and of one that is damaged and ends."""
    world = own_world
    world.ok("run", "--name", "over", IMAGE, "true")
    over = world.inspect("over")
    damage = Damage(world, f"{over['directory']}/exit.json")
    for kind, content in damages(damage.original, "wait_status"):
        damage.make(content)
        if kind in (
            "empty",
            "not JSON",
        ):  # of zeros, that is: what a loss of power leaves, as nobody waits for the disk
            assert (world.status("over"), world.inspect("over")["exit_code"]) == ("stopped", None)
            damage.repair()
            continue
        assert shown(world, "ps", damage=damage)["over"]["status"] == "damaged", kind
        refused(world, "start", "over", damage=damage, hint=f"pycontainer rm --force {over['id']}")
        damage.repair()
        assert world.inspect("over")["exit_code"] == 0
    victim = begin(world, "victim")
    lost = Damage(world, f"{victim['directory']}/spec.json")
    lost.make(b"")
    assert shown(world, "ps", damage=lost)[victim["id"]]["status"] == "damaged"
    os.kill(victim["pid"], 9)
    cgroup = f"/{victim['id']}"
    poll_until(lambda: not [path for path in world._cgroups() if path.endswith(cgroup)], what="its cgroup is gone")
    lost.repair()
    assert (world.status("victim"), world.inspect("victim")["exit_code"]) == ("stopped", 137)
    world.ok("start", "victim")
    world.ok("rm", "-f", "victim", "over")


def test_a_record_that_is_gone(own_world: World) -> None:
    """FLT-09: of a container that has run its files are kept; a create that was cut off leaves nothing; strangers stay."""
    world = own_world
    world.ok("run", "--name", "lost", IMAGE, "payload", "out", "precious")
    lost = world.inspect("lost")
    damage = Damage(world, f"{lost['directory']}/spec.json")
    os.mkdir(f"{world.paths.containers_dir}/0123456789ab")  # as a create that was cut off
    os.mkdir(f"{world.paths.containers_dir}/backup of mine")
    damage.make(b"")
    os.unlink(damage.path)
    world.ok("service", "stop")
    assert shown(world, "ps", damage=damage)[lost["id"]]["status"] == "damaged"
    assert sorted(os.listdir(world.paths.containers_dir)) == sorted([lost["id"], "backup of mine"])
    damage._write(damage.original)
    world.ok("service", "stop")
    assert world.ok("logs", "lost") == "precious"
    os.rmdir(f"{world.paths.containers_dir}/backup of mine")
    world.ok("rm", "lost")


def test_two_of_one_name(own_world: World) -> None:
    """FLT-09: a record brought back from a copy may bear a name that was given away meanwhile."""
    world = own_world
    first, second = begin(world, "first"), begin(world, "second")
    path = f"{max(first['id'], second['id'])}/spec.json"
    damage = Damage(world, f"{world.paths.containers_dir}/{path}")
    record = json.loads(damage.original)
    kept = "first" if record["spec"]["name"] == "second" else "second"
    record["spec"]["name"] = kept
    damage.make(json.dumps(record).encode())
    listed = json.loads(world.ok("ps", "--format", "json"))
    assert sorted((item["status"], item["name"]) for item in listed) == [("damaged", kept), ("running", kept)]
    works(world, kept)
    damage.repair()
    works(world, "first")
    works(world, "second")
    world.ok("rm", "-f", "first", "second")


def test_addresses(own_world: World) -> None:
    """FLT-09"""
    world = own_world
    world.ok("create", "--name", "victim", IMAGE, "payload", "sleep", "0")
    victim = world.inspect("victim")
    begin(world, "good")
    ip = victim["networks"]["default"]["ip"]
    damage = Damage(world, f"{world.paths.networks_dir}/addresses/{victim['id']}.json")
    for kind, content in damages(damage.original, "endpoints"):
        damage.make(content)
        listed = shown(world, "ps", damage=damage)
        assert (listed["victim"]["status"], listed["good"]["status"]) == ("damaged", "running"), kind
        refused(world, "start", "victim", damage=damage, hint=f"pycontainer rm --force {victim['id']}")
        assert begin(world, "other")["networks"]["default"]["ip"] not in ("", ip), kind
        assert world.cli("run", "--rm", "--ip", ip, IMAGE, "true").exit_code == 125, kind
        world.ok("rm", "-f", "other")
        works(world, "good")
        damage.repair()
        world.ok("start", "victim")
        world.ok("stop", "-t", "0", "victim")
    # An address that is another's, and none at all: the one that was read first keeps it.
    record = json.loads(damage.original)
    for address in (world.inspect("good")["networks"]["default"]["ip"], "192.0.2.1"):
        record["endpoints"][0]["ip"] = address
        damage.make(json.dumps(record).encode())
        assert [item["status"] for item in json.loads(world.ok("ps", "--format", "json"))].count("damaged") == 1
    damage.make(None)
    world.ok("rm", "--force", "victim")
    assert not os.path.exists(damage.path)
    world.ok("run", "--rm", "--ip", ip, IMAGE, "true")
    world.ok("rm", "-f", *world.ok("ps", "-aq").split())


def test_a_network(own_world: World) -> None:
    """FLT-09: who is on it is cut off from it and goes on; its addresses and subnet are nobody else's."""
    world = own_world
    world.ok("network", "create", "net")
    on_it, good = serving(world, "on-it", PORT, "--network", "net"), serving(world, "good", PORT + 1)
    get = world.network.inside.http_get
    world.ok("create", "--name", "waiting", "--network", "net", IMAGE, "payload", "sleep", "0")
    damage = Damage(world, f"{world.paths.networks_dir}/net.json")
    ip, hint = on_it["networks"]["net"]["ip"], "pycontainer network rm net"
    for kind, content in damages(damage.original, "subnet"):
        damage.make(content)
        listed = shown(world, "network", "ls", damage=damage)
        assert (listed["net"]["driver"], listed["default"]["damaged"]) == ("", ""), kind
        for arguments in (
            ["network", "inspect", "net"],
            ["network", "connect", "net", "good"],
            ["network", "create", "net"],
            ["start", "waiting"],
            ["restart", "on-it"],
            ["create", "--network", "net", IMAGE, "true"],
        ):
            refused(world, *arguments, damage=damage, hint=hint)
        assert world.inspect("on-it")["pid"] == on_it["pid"]
        assert world.cli("network", "create", "--subnet", f"{ip.rpartition('.')[0]}.0/24", "second").exit_code == 4, (
            kind
        )
        assert get(f"http://127.0.0.1:{PORT + 1}/") == "good\n"
        with pytest.raises(OSError):
            get(f"http://127.0.0.1:{PORT}/", timeout_seconds=1)
        in_use = world.refused(5, "network", "rm", "net")
        assert "in use by" in one_clear_line(in_use)
        damage.repair()
        assert world.network.inside.http_get_soon(f"http://127.0.0.1:{PORT}/") == "on-it\n", kind
    damage.make(b"")
    world.ok("network", "disconnect", "net", "waiting")
    world.ok("rm", "-f", "waiting", "on-it")
    world.ok("network", "rm", "net")
    assert not os.path.exists(damage.path)
    world.ok("network", "create", "net")
    world.ok("network", "rm", "net")
    assert world.inspect("good")["pid"] == good["pid"]
    # Its record is gone while somebody is on it: that is damage as well.
    world.ok("network", "create", "gone")
    world.ok("create", "--name", "left", "--network", "gone", IMAGE, "true")
    os.unlink(f"{world.paths.networks_dir}/gone.json")
    world.ok("service", "stop")
    assert "it is gone" in one_clear_line(world.refused(5, "start", "left"))
    world.ok("rm", "left", "-f")
    world.ok("network", "rm", "gone")
    world.ok("rm", "-f", "good")


def test_the_default_network(own_world: World) -> None:
    """FLT-09: it is not made anew behind the back of those who are on it."""
    world = own_world
    begin(world, "on-it")
    world.ok("network", "create", "net")
    damage = Damage(world, f"{world.paths.networks_dir}/default.json")
    damage.make(b"{")
    refused(world, "create", IMAGE, "true", damage=damage, hint="pycontainer network rm default")
    world.ok("run", "--rm", "--network", "net", IMAGE, "true")
    world.ok("rm", "-f", "on-it")
    world.ok("network", "rm", "default")
    world.ok("run", "--rm", IMAGE, "true")
    world.ok("network", "rm", "net")


def test_a_tenant(own_world: World) -> None:
    """FLT-09: its containers go on under the limits that the kernel holds; nothing starts without them."""
    world = own_world
    world.ok("tenant", "create", "acme", "--memory", "64M", "--pids-limit", "50")
    member = begin(world, "member", "--tenant", "acme")
    begin(world, "good")
    world.ok("tenant", "create", "other", "--memory", "64M")
    damage = Damage(world, f"{world.paths.tenants_dir}/acme.json")
    hint = "pycontainer tenant create acme"
    for kind, content in damages(damage.original, "spec"):
        damage.make(content)
        listed = shown(world, "tenant", "ls", damage=damage)
        assert (bool(listed["acme"]["damaged"]), listed["other"]["damaged"]) == (True, ""), kind
        for arguments in (
            ["tenant", "inspect", "acme"],
            ["tenant", "set", "acme", "--memory", "1G"],
            ["create", "--tenant", "acme", IMAGE, "true"],
            ["restart", "member"],
            ["set", "member", "--memory", "32M"],
        ):
            refused(world, *arguments, damage=damage, hint=hint)
        assert world.inspect("member")["pid"] == member["pid"]
        works(world, "member")
        world.ok("run", "--rm", "--tenant", "other", IMAGE, "true")
        assert "'member'" in one_clear_line(world.refused(5, "tenant", "rm", "acme"))
        damage.repair()
        world.ok("tenant", "inspect", "acme")
    damage.make(None)
    world.ok("tenant", "create", "acme", "--memory", "96M")
    assert world.inspect("member")["pid"] == member["pid"]
    held = {
        row["resource"]: row["limit"] for row in json.loads(world.ok("limits", "--tenant", "acme", "--format", "json"))
    }
    assert held["memory"] == 96 << 20
    assert os.path.isdir(f"{damage.path}.damaged")  # it might have been a newer version's
    damage.make(b"")
    world.ok("rm", "-f", "member", "good")
    world.ok("tenant", "rm", "acme", "other")
    assert os.listdir(world.paths.tenants_dir) == []


def test_an_image(own_world: World, busybox_rootfs: str) -> None:
    """FLT-09"""
    world = own_world
    world.import_image(busybox_rootfs, "victim")
    begin(world, "good")
    damage = Damage(world, f"{world.paths.images_dir}/refs/victim.json")
    for kind, content in damages(damage.original, "layers"):
        damage.make(content)
        listed = shown(world, "image", "list", damage=damage)
        assert (bool(listed["victim"]["damaged"]), listed[IMAGE]["damaged"]) == (True, ""), kind
        refused(world, "create", "victim", "true", damage=damage, hint="pycontainer image rm victim")
        world.ok("run", "--rm", IMAGE, "true")
        damage.repair()
        world.ok("run", "--rm", "victim", "true")
    for content in (b"", None):
        damage.make(content)
        assert world.import_image(busybox_rootfs, "victim")
        world.ok("run", "--rm", "victim", "true")
    damage.make(None)
    world.ok("image", "rm", "victim")
    assert not os.path.exists(damage.path)
    works(world, "good")
    world.ok("rm", "-f", "good")

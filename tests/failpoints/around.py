"""What is around containers: volumes, networks, tenants."""

import json
import os
import subprocess
from collections.abc import Iterator

from tests.failpoints.common import drop_volumes, remove, running
from tests.support.poll import poll_until
from tests.support.world import World


def create_a_volume(world: World) -> Iterator[tuple[str, ...]]:
    yield ("volume", "create", "v", "--size", "32M")
    if world.ok("volume", "list", "-q"):
        world.ok("volume", "rm", "v")
    world.ok("volume", "create", "v", "--size", "32M")
    world.ok("volume", "rm", "v")


def remove_a_volume(world: World) -> Iterator[tuple[str, ...]]:
    world.ok("volume", "create", "v")
    yield ("volume", "rm", "v")
    assert world.ok("volume", "list", "-q") == ""


def restore_a_volume(world: World) -> Iterator[tuple[str, ...]]:
    with open(f"{world.root}/volume.tar", "wb") as file:
        subprocess.run(["tar", "-c", "-C", "/etc", "hostname", "passwd"], stdout=file, check=True)
    yield ("volume", "restore", "v", f"{world.root}/volume.tar")
    drop_volumes(world, "v")
    world.ok("volume", "restore", "v", f"{world.root}/volume.tar")
    assert sorted(os.listdir(f"{world.paths.volumes_dir}/v/data")) == ["hostname", "passwd"]
    drop_volumes(world, "v")
    os.unlink(f"{world.root}/volume.tar")


def networks(world: World) -> list[str]:
    return world.ok("network", "ls", "-q").split()


def create_a_network(world: World) -> Iterator[tuple[str, ...]]:
    yield ("network", "create", "back")
    if "back" in networks(world):
        world.ok("network", "rm", "back")
    world.ok("network", "create", "back")
    running(world, "--network", "back")
    remove(world, "one")
    world.ok("network", "rm", "back")


def remove_a_network(world: World) -> Iterator[tuple[str, ...]]:
    world.ok("network", "create", "back")
    running(world, "--network", "back")
    world.ok("rm", "-f", "one")
    yield ("network", "rm", "back")
    if "back" in networks(world):
        running(world, "--network", "back")
        remove(world, "one")
        world.ok("network", "rm", "back")


def _links(world: World) -> set[str]:
    return {line.split(":")[0].split()[0] for line in world.ok("exec", "one", "cat", "/proc/net/dev").splitlines()[2:]}


def connect(world: World) -> Iterator[tuple[str, ...]]:
    world.ok("network", "create", "back")
    running(world)
    yield ("network", "connect", "back", "one")
    addresses = world.inspect("one")["networks"]
    poll_until(lambda: _links(world) == {"lo", *(f"eth{n}" for n in range(len(addresses)))}, what="links as recorded")
    if "back" not in addresses:
        world.ok("network", "connect", "back", "one")
    remove(world, "one")
    world.ok("network", "rm", "back")


def disconnect(world: World) -> Iterator[tuple[str, ...]]:
    world.ok("network", "create", "back")
    running(world)
    world.ok("network", "connect", "back", "one")
    yield ("network", "disconnect", "back", "one")
    addresses = world.inspect("one")["networks"]
    poll_until(lambda: _links(world) == {"lo", *(f"eth{n}" for n in range(len(addresses)))}, what="links as recorded")
    if "back" in addresses:
        world.ok("network", "disconnect", "back", "one")
    remove(world, "one")
    world.ok("network", "rm", "back")


def tenants(world: World) -> list[str]:
    return world.ok("tenant", "ls", "-q").split()


def create_a_tenant(world: World) -> Iterator[tuple[str, ...]]:
    yield ("tenant", "create", "acme", "--disk", "64M", "--memory", "256M")
    if "acme" in tenants(world):
        world.ok("tenant", "rm", "acme")
    world.ok("tenant", "create", "acme", "--disk", "64M")
    world.ok("tenant", "rm", "acme")


def change_a_tenant(world: World) -> Iterator[tuple[str, ...]]:
    world.ok("tenant", "create", "acme", "--memory", "256M")
    running(world, "--tenant", "acme")
    yield ("tenant", "set", "acme", "--memory", "512M")
    (info,) = json.loads(world.ok("tenant", "inspect", "acme"))
    rows = json.loads(world.ok("limits", "--tenant", "acme", "--format", "json"))
    held = next(row["limit"] for row in rows if row["resource"] == "memory")
    assert (info["limits"]["memory_bytes"], held) in ((256 << 20, 256 << 20), (512 << 20, 512 << 20))
    remove(world, "one")
    world.ok("tenant", "rm", "acme")


def remove_a_tenant(world: World) -> Iterator[tuple[str, ...]]:
    world.ok("tenant", "create", "acme", "--disk", "64M", "--memory", "256M")
    running(world, "--tenant", "acme")
    world.ok("rm", "-f", "one")
    yield ("tenant", "rm", "acme")
    if "acme" in tenants(world):
        running(world, "--tenant", "acme")
        remove(world, "one")
        world.ok("tenant", "rm", "acme")
    world.ok("tenant", "create", "acme", "--disk", "64M")
    world.ok("tenant", "rm", "acme")

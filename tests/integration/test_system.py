"""`system df` and `system prune`: what takes space, and giving back what nobody uses."""

import fcntl
import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.support.disk import MIB
from tests.support.world import World, unique_name


def usage(world: World) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(world.ok("system", "df", "--format", "json"))
    return found


def row(world: World, kind: str) -> dict[str, Any]:
    return next((row for row in usage(world)["summary"] if row["type"] == kind), {})


def finished(world: World, *options: str) -> str:
    """Return the name of a container that wrote 5 MiB to its layer, 2 MiB to its log, and ended."""
    name = unique_name()
    script = "dd if=/dev/urandom of=/file bs=1M count=5 2>/dev/null; yes 123456789 | head -c 2097152"
    world.ok("run", "--name", name, *options, "busybox", "sh", "-c", script)
    return name


def test_what_takes_space(own_world: World) -> None:
    world = own_world
    name = finished(world, "-v", "kept:/data")
    (volume,) = [volume for volume in usage(world)["volumes"] if volume["name"] == "kept"]
    assert volume["containers"] == [name]
    (container,) = usage(world)["containers"]
    assert (container["name"], container["status"], container["is_exact"]) == (name, "stopped", True)
    assert container["size_bytes"] == pytest.approx(5 * MIB, abs=256 << 10)
    assert container["log_bytes"] > MIB
    containers = row(world, "containers")
    assert (containers["count"], containers["active"]) == (1, 0)
    assert containers["reclaimable_bytes"] == containers["size_bytes"] == container["size_bytes"]
    world.ok("start", name)
    images = row(world, "images")
    assert (images["count"], images["active"], images["reclaimable_bytes"]) == (1, 1, 0)
    assert images["size_bytes"] > MIB
    Path(world.paths.volumes_dir, "kept", "data", "x").write_bytes(os.urandom(3 * MIB))
    assert row(world, "volumes")["size_bytes"] == pytest.approx(3 * MIB, abs=64 << 10)
    assert row(world, "volumes")["reclaimable_bytes"] == 0
    text = world.ok("system", "df", "-v")
    assert [line.split()[0] for line in text.splitlines() if line][:5] == [
        "TYPE", "images", "containers", "volumes", "logs",
    ]  # fmt: skip
    world.ok("rm", "-f", name)
    assert row(world, "volumes")["reclaimable_bytes"] == pytest.approx(3 * MIB, abs=64 << 10)
    assert row(world, "images")["reclaimable_bytes"] == row(world, "images")["size_bytes"]


def test_layers_that_images_share_count_once(own_world: World) -> None:
    world = own_world
    with world.client() as host:
        host.import_image(f"{world.paths.images_dir}/layers/{only_layer(world)}/fs", "other", {"cmd": ["true"]})
    images = {image["name"]: image for image in usage(world)["images"]}
    assert images["other"]["shared_bytes"] == images["other"]["size_bytes"] > MIB
    assert images["busybox"]["unique_bytes"] == 0
    assert row(world, "images")["size_bytes"] < 1.5 * images["other"]["size_bytes"]


def test_interrupted_pulls_are_told_and_go(own_world: World) -> None:
    """One at work, which holds its lock, stays; so does the wait of who wants to go on with one that goes."""
    world = own_world
    assert row(world, "pulls") == {}
    at_work, idle, without_lock = (Path(world.paths.pulls_dir, digit * 64) for digit in "123")
    for place in (at_work, idle, without_lock):
        place.mkdir(parents=True)
        (place / "layer").write_bytes(os.urandom(MIB))
    for place in (at_work, idle):
        (place / "lock").touch()
    with open(at_work / "lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        pulls = row(world, "pulls")
        assert (pulls["count"], pulls["active"]) == (3, 1)
        assert pulls["size_bytes"] == pytest.approx(3 * MIB, abs=64 << 10)
        assert pulls["reclaimable_bytes"] == pytest.approx(2 * MIB, abs=64 << 10)
        said = world.ok("system", "prune", "--yes").splitlines()
        assert said[:-1] == [f"interrupted pull: {place}" for place in (idle, without_lock)]
        assert said[-1].startswith("freed: 2")
        assert os.listdir(world.paths.pulls_dir) == [at_work.name]
    assert f"interrupted pull: {at_work}" in world.ok("system", "prune", "--yes")
    assert os.listdir(world.paths.pulls_dir) == []


def only_layer(world: World) -> str:
    (layer,) = os.listdir(f"{world.paths.images_dir}/layers")
    return layer


def test_prune_takes_what_nobody_uses_and_nothing_else(own_world: World, busybox_rootfs: str) -> None:
    world = own_world
    ended = finished(world, "-v", "named:/data")
    running, created = unique_name(), unique_name()
    world.ok("run", "-d", "--name", running, "busybox", "sleep", "1000")
    world.ok("create", "--name", created, "busybox", "true")
    anonymous = world.ok("volume", "create")
    world.import_image(busybox_rootfs, "unused")
    trash = Path(world.paths.containers_dir, ".removed-0123456789ab")
    trash.mkdir()
    (trash / "file").write_bytes(bytes(MIB))
    assert "give --yes" in world.refused(2, "system", "prune")
    said = world.ok("system", "prune", "--yes").splitlines()
    assert said[:-1] == [f"container {ended}", f"half-removed container: {trash}"]
    assert said[-1].startswith("freed: ")
    assert sorted(world.ok("ps", "-a", "-q").split()) == sorted(
        world.inspect(name)["id"][:12] for name in (running, created)
    )
    assert sorted(world.ok("volume", "list", "-q").split()) == sorted([anonymous, "named"])
    assert sorted(world.ok("image", "list", "-q").split()) == ["busybox", "unused"]

    with world.client() as host:
        pruned = host.prune(all=True, volumes=True)
    assert (pruned["volumes"], pruned["containers"], pruned["leftovers"]) == ([anonymous], [], [])
    assert world.ok("volume", "list", "-q") == "named"
    world.ok("run", "--rm", "busybox", "true")  # containers are made of it
    world.ok("rm", "-f", running, created)
    assert "image busybox" in world.ok("system", "prune", "--all", "--yes")
    assert world.ok("image", "list", "-q") == ""
    assert os.listdir(f"{world.paths.images_dir}/layers") == []

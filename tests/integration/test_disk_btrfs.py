"""Caps on what a container writes, where the state directory lies on a btrfs with quotas: a subvolume for each."""

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator

import pytest

from tests.integration.conftest import IMAGE, make_world
from tests.support.disk import MIB, fill, limit_of, run
from tests.support.hostns import HostNetwork
from tests.support.poll import poll_until
from tests.support.world import World, unique_name

pytestmark = [pytest.mark.vm, pytest.mark.requires("btrfs")]


@pytest.fixture(scope="module")
def world(host_network: HostNetwork, busybox_rootfs: str) -> Iterator[World]:
    """A world on a btrfs with quotas, made in a file."""
    directory = tempfile.mkdtemp(prefix="pct-btrfs-", dir="/var/tmp")
    with contextlib.ExitStack() as undo:
        undo.callback(shutil.rmtree, directory)
        image, mounted = f"{directory}/image", f"{directory}/mounted"
        os.mkdir(mounted)
        with open(image, "wb") as file:
            file.truncate(1 << 30)
        subprocess.run(["mkfs.btrfs", "-q", image], check=True)
        subprocess.run(["mount", "-o", "loop", image, mounted], check=True)
        undo.callback(subprocess.run, ["umount", mounted], check=True)
        subprocess.run(["btrfs", "quota", "enable", mounted], check=True)
        yield from make_world(host_network, busybox_rootfs, mounted)


def test_cap_grow_and_shrink(world: World) -> None:
    name, neighbour = run(world, "--disk", "32M"), run(world)
    assert world.inspect(name)["disk"]["backend"] == "btrfs qgroup"
    written, words = fill(world, name)
    assert "quota exceeded" in words
    assert written == pytest.approx(32 * MIB, rel=0.05)
    world.ok("exec", neighbour, "dd", "if=/dev/zero", "of=/x", "bs=1M", "count=64")
    world.ok("set", name, "--disk", "64M")
    written, _ = fill(world, name, "/more")
    assert written == pytest.approx(32 * MIB, rel=0.06)
    world.ok("exec", name, "rm", "/big", "/more")
    world.ok("exec", name, "sync")
    world.ok("set", name, "--disk", "16M", "--force")
    assert limit_of(world, name, "disk")["limit"] == 16 * MIB


def test_subvolumes_go_with_their_containers(world: World) -> None:
    name = run(world)
    directory = world.inspect(name)["directory"]
    assert os.stat(f"{directory}/rootfs").st_ino == 256  # the root of a subvolume
    world.ok("exec", name, "touch", "/kept")
    world.ok("restart", "-t", "0", name)
    world.ok("exec", name, "ls", "/kept")
    world.ok("rm", "-f", name)
    assert not os.path.exists(directory)


def test_a_volume_is_a_subvolume_too(world: World) -> None:
    """RES-03."""
    world.ok("volume", "create", "--size", "32M", "capped")
    name = run(world, "-v", "capped:/data")
    (info,) = json.loads(world.ok("volume", "inspect", "capped"))
    assert (info["backend"], info["size_bytes"]) == ("btrfs qgroup", 32 * MIB)
    written, words = fill(world, name, "/data/big")
    assert "quota exceeded" in words
    assert written == pytest.approx(32 * MIB, rel=0.05)
    world.ok("volume", "set", "capped", "--size", "64M")
    written, _ = fill(world, name, "/data/more")
    assert written == pytest.approx(32 * MIB, rel=0.06)
    world.ok("rm", "-f", name)
    world.ok("volume", "rm", "capped")
    assert os.listdir(world.paths.volumes_dir) == []


def test_inodes_cannot_be_capped(world: World) -> None:
    said = world.refused(125, "run", "--disk-inodes", "100", "--disk", "64M", IMAGE, "true")
    assert "a quota group of btrfs counts bytes alone" in said


def test_snapshots_copy_nothing_and_need_no_pause(world: World) -> None:
    """A snapshot of a running container is one of the file system; its stack does not grow."""
    name, copy = run(world), unique_name()
    world.ok("exec", name, "sh", "-c", "dd if=/dev/zero of=/big bs=1M count=64; rm -r /var; echo one > /a")
    world.ok("snapshot", "create", name)
    assert world.inspect(name)["frozen_layers"] == []
    (layer,) = os.listdir(world.paths.layers_dir)
    assert os.stat(f"{world.paths.layers_dir}/{layer}/tree").st_ino == 256
    world.ok("exec", name, "sh", "-c", "echo two > /a")
    world.ok("clone", "--snapshot", "snap0", name, copy)
    world.ok("snapshot", "restore", "-f", name, "snap0")
    for each in (name, copy):
        world.ok("start", each)
        assert world.ok("exec", each, "sh", "-c", "cat /a; ls /var 2>&1; stat -c %s /big").splitlines() == [
            "one", "ls: /var: No such file or directory", str(64 * MIB),
        ]  # fmt: skip
    world.ok("snapshot", "rm", name, "snap0")
    world.ok("rm", "-f", name, copy)
    poll_until(lambda: os.listdir(world.paths.layers_dir) == [], what="the subvolume of the layer is gone")

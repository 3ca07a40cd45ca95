"""Containers whose root is a copy of the image: they start, are capped, go back, and are cloned like others."""

import os

from tests.integration.conftest import IMAGE
from tests.support.snapshots import create, inside, layers, names
from tests.support.world import World, unique_name


def test_a_copy_is_a_root_of_its_own(world: World) -> None:
    name, copy = create(world, "--rootfs-driver", "copy"), unique_name()
    record = world.inspect(name)
    assert record["rootfs_driver"] == "copy"
    assert os.path.exists(f"{record['directory']}/rootfs/upper/bin/busybox")
    assert inside(world, name, "grep -c overlay /proc/mounts; echo one > /a; stat -c %u:%g /bin/busybox").startswith(
        "0\n0:0"
    )
    world.ok("snapshot", "create", name)
    assert inside(world, name, "rm -r /a /var; ls /") != ""
    world.ok("clone", "--snapshot", "snap0", name, copy)
    world.ok("snapshot", "restore", name, "snap0")
    for each in (name, copy):
        assert inside(world, each, "cat /a; ls -d /var") == "one\n/var"
        assert world.inspect(each)["rootfs_driver"] == "copy"
    assert (names(world, name), len(layers(world))) == (["snap0"], 1)
    assert "has a copy of its image" in world.refused(5, "diff", name)
    path = world.ok("mount", name)
    assert os.path.exists(f"{path}/bin/busybox")
    world.ok("umount", name)


def test_a_copy_can_be_capped(world: World) -> None:
    name = unique_name()
    world.ok("run", "-d", "--name", name, "--rootfs-driver", "copy", "--disk", "32M", IMAGE, "sleep", "1000")
    assert "No space left" in world.cli("exec", name, "dd", "if=/dev/zero", "of=/big", "bs=1M").stderr

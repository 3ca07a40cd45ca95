"""Where the image is a file system of its own: snapshots, clones, diff, mount and copies work as on unpacked layers."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.snapshots import inside
from tests.support.world import World, unique_name


@pytest.mark.requires("squashfs")
def test_all_of_it(world: World, busybox_rootfs: str, tmp_path: Path) -> None:
    image, name, copy = unique_name(), unique_name(), unique_name()
    subprocess.run(
        ["mksquashfs", busybox_rootfs, f"{tmp_path}/root.squashfs", "-quiet"], check=True, stdout=subprocess.DEVNULL
    )
    world.ok("image", "import", f"{tmp_path}/root.squashfs", image)
    world.ok("create", "--name", name, image, "sleep", "1000")
    inside(world, name, "echo one > /a; rm -r /var")
    world.ok("snapshot", "create", name)
    assert {"A /a", "D /var"} <= set(world.ok("diff", name).splitlines())
    world.ok("clone", name, copy)
    assert inside(world, copy, "cat /a; ls /bin/busybox") == "one\n/bin/busybox"
    path = world.ok("mount", name)
    assert os.path.exists(f"{path}/bin/busybox")
    world.ok("umount", name)
    world.ok("rm", name, copy)
    world.ok("create", "--name", name, "--rootfs-driver", "copy", image, "sleep", "1000")
    assert inside(world, name, "ls /bin/busybox") == "/bin/busybox"
    world.ok("rm", name)
    world.ok("image", "rm", image)


@pytest.mark.requires("squashfs")
@pytest.mark.parametrize("options", [(), ("-no-xattrs",)], ids=["attributes", "none"])
def test_commit_and_export(world: World, busybox_rootfs: str, tmp_path: Path, options: tuple[str, ...]) -> None:
    """The layer of what was written is settled over the file system beneath, which is mounted for that."""
    image, name, other = unique_name(), unique_name(), unique_name()
    committed, archive = f"{unique_name()}:1", f"{tmp_path}/i.tar"
    subprocess.run(
        ["mksquashfs", busybox_rootfs, f"{tmp_path}/root.squashfs", "-quiet", *options],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    before = set(world.ok("image", "list", "-q").split())
    world.ok("image", "import", f"{tmp_path}/root.squashfs", image)
    world.ok("create", "--name", name, image, "sleep", "1000")
    inside(world, name, "echo one > /etc/a; rm -r /var; touch /gone; rm /gone")
    script = "cat /etc/a; ls -d /var /etc/group 2>&1; ls /bin/busybox"
    said = ["one", "ls: /var: No such file or directory", "/etc/group", "/bin/busybox"]
    world.ok("commit", name, committed)
    assert sorted(world.cli("run", "--rm", committed, "sh", "-c", script).stdout.splitlines()) == sorted(said)
    world.ok("export", name, "-o", archive)
    world.ok("import", archive, other)
    assert sorted(inside(world, other, script).splitlines()) == sorted(said)
    world.ok("rm", name, other)
    for each in set(world.ok("image", "list", "-q").split()) - before:
        world.ok("image", "rm", each)

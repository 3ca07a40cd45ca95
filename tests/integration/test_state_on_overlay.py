"""A world inside of another container: its state directory lies on an overlay, which holds no upper layer and maps no ids."""

import os
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.conftest import make_world
from tests.support.archives import E, archive
from tests.support.disk import fill, run
from tests.support.hostns import HostNetwork
from tests.support.poll import poll_until
from tests.support.snapshots import create, inside, layers, names
from tests.support.world import World, unique_name

_CAPABILITY = struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0)  # net_raw, permitted and effective


@pytest.fixture(scope="module")
def on_overlay() -> Iterator[str]:
    """A directory on an overlay, as the root of a container that another engine has made."""
    place = tempfile.mkdtemp(prefix="pct-overlay-", dir="/var/tmp")
    for name in ("lower", "upper", "work", "merged"):
        os.mkdir(f"{place}/{name}")
    options = f"lowerdir={place}/lower,upperdir={place}/upper,workdir={place}/work"
    subprocess.run(["mount", "-t", "overlay", "pct", "-o", options, f"{place}/merged"], check=True)
    try:
        yield f"{place}/merged"
    finally:
        poll_until(  # loop devices of images on it are let go of in the kernel's own time
            lambda: subprocess.run(["umount", f"{place}/merged"], check=False, capture_output=True).returncode == 0,
            what="the overlay is nobody's",
        )
        subprocess.run(["rm", "-rf", "--one-file-system", place], check=True)


@pytest.fixture(scope="module")
def world(host_network: HostNetwork, busybox_rootfs: str, on_overlay: str) -> Iterator[World]:
    yield from make_world(host_network, busybox_rootfs, on_overlay)


def test_all_of_a_life(world: World) -> None:
    """The driver is chosen by itself and said; what an overlay elsewhere does for nothing is copied here."""
    name, copy = create(world), unique_name()
    record = world.inspect(name)
    assert record["rootfs_driver"] == "copy"
    assert record["disk"]["backend"].startswith("loop image (")  # ext4, or xfs where ext4 could not grow
    assert record["spec"]["disk_bytes"] > 64 << 20
    assert inside(world, name, "echo other > /etc/hostname; stat -c %u /etc/hostname; cat /etc/hostname") == "0\nother"
    assert inside(world, name, "grep -c ' / overlay' /proc/mounts; echo one > /a; stat -c %u:%g /a /bin/busybox") == (
        "0\n0:0\n0:0"
    )
    world.ok("snapshot", "create", name, "first")
    assert inside(world, name, "rm -r /a /var; echo two > /b; cat /b") == "two"
    world.ok("clone", "--snapshot", "first", name, copy)
    world.ok("snapshot", "restore", name, "first")
    for each in (name, copy):
        assert inside(world, each, "cat /a; ls -d /var; ls /b 2>&1; true").splitlines() == [
            "one", "/var", "ls: /b: No such file or directory",
        ]  # fmt: skip
        assert world.inspect(each)["rootfs_driver"] == "copy"
    assert (names(world, name), len(layers(world))) == (["first"], 1)
    path = world.ok("mount", name)
    assert Path(path, "a").read_text() == "one\n"
    world.ok("umount", name)
    world.ok("cp", f"{name}:/a", f"{world.root}/out")
    assert Path(world.root, "out").read_text() == "one\n"
    os.unlink(f"{world.root}/out")
    world.ok("rm", name, copy)
    poll_until(lambda: layers(world) == [] and os.listdir(world.paths.containers_dir) == [], what="all of it is gone")


def test_a_snapshot_while_it_runs(world: World) -> None:
    name = run(world)
    world.ok("exec", name, "sh", "-c", "echo one > /a")
    world.ok("snapshot", "create", name)
    assert world.status(name) == "running"
    world.ok("exec", name, "rm", "/a")
    world.ok("snapshot", "restore", "--force", name, "snap0")
    assert inside(world, name, "cat /a") == "one"


def test_files_are_whose_they_were(world: World, busybox_rootfs: str, tmp_path: Path) -> None:
    """Owners, attributes and links, from a directory into the store, a container and a snapshot, without mapped ids."""
    tree, image = tmp_path / "tree", unique_name()
    subprocess.run(["cp", "-a", busybox_rootfs, tree], check=True)
    (tree / "file").write_text("x")
    os.chown(tree / "file", 33, 65535)
    os.chmod(tree / "file", 0o4750)
    os.link(tree / "file", tree / "linked")
    (tree / "program").write_text("x")
    os.setxattr(tree / "program", "security.capability", _CAPABILITY)
    world.import_image(str(tree), image)
    name = unique_name()
    world.ok("create", "--name", name, image, "sleep", "1000")
    assert inside(world, name, "stat -c '%u:%g %a %h' /file").splitlines() == ["33:65535 4750 2"]
    world.ok("snapshot", "create", name)
    (layer,) = layers(world)
    details = os.stat(f"{world.paths.layers_dir}/{layer}/fs/file")
    assert (details.st_uid, details.st_gid, details.st_nlink) == (33, 65535, 2)
    assert os.getxattr(f"{world.paths.layers_dir}/{layer}/fs/program", "security.capability") == _CAPABILITY
    world.ok("rm", name)
    world.ok("image", "rm", image)


def test_volumes_and_tenants(world: World) -> None:
    """A volume without a size has an image, like a tenant's pool: owners in it are those inside."""
    tenant, volume = world.ok("tenant", "create", unique_name(), "--disk", "64M"), unique_name()
    names = run(world, "-v", f"{volume}:/data"), run(world, "-v", f"{volume}:/data", "--tenant", tenant)
    world.ok("exec", names[0], "sh", "-c", "echo x > /data/file; chown 33:44 /data/file")
    assert world.ok("exec", names[1], "stat", "-c", "%u:%g", "/data/file") == "33:44"
    assert world.inspect(names[1])["disk"]["backend"] == "shared in the tenant's pool (ext4)"
    written, words = fill(world, names[1])
    assert "No space left" in words and written < 64 << 20


def test_what_cannot_be_there_is_refused(world: World, tmp_path: Path) -> None:
    said = world.refused(2, "create", "--rootfs-driver", "overlay", "busybox", "true")
    assert "cannot map ids: it can hold no layer of an overlay" in said
    said = world.refused(2, "create", "--disk", "unlimited", "busybox", "true")
    assert "cannot map ids: a container has a disk image there" in said
    (tmp_path / "layer.tar").write_bytes(archive(E("a"), E(".wh.b")))
    said = world.refused(2, "image", "import", f"{tmp_path}/layer.tar", unique_name())
    assert "the layer takes files of those beneath away" in said
    assert world.ok("image", "list", "-q") == "busybox"
    assert os.listdir(f"{world.paths.images_dir}/staging") == []

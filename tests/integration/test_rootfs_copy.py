"""Containers whose root is a copy of the image: they start, are capped, go back, and are cloned and committed like others."""

import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.conftest import IMAGE
from tests.support.poll import poll_until
from tests.support.snapshots import create, inside, layers, names
from tests.support.trees import tree
from tests.support.world import World, unique_name

_CHANGES = """
echo one > /etc/a; rm -r /var; rm /etc/group; mkdir -p /srv/x/y; ln -s /etc /srv/x/link; chown 5:6 /etc/a; chmod 4755 /etc/a
ln /etc/kept /etc/second; echo more >> /usr/lib/file; touch -r /usr/lib/old /usr/lib/same; cp -p /usr/lib/same /usr/lib/again
rm -r /opt/dir; echo file > /opt/dir; rm /opt/file; mkdir /opt/file; echo x > /opt/file/x
rm -r /opt/anew; mkdir /opt/anew; echo new > /opt/anew/new; chmod 700 /opt/mode; printf 2222 > /usr/lib/secret
touch -d '2020-01-02 03:04:05' /usr/lib/secret; mkfifo /srv/fifo
"""


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
    path = world.ok("mount", name)
    assert os.path.exists(f"{path}/bin/busybox")
    world.ok("umount", name)


def test_a_copy_can_be_capped(world: World) -> None:
    name = unique_name()
    world.ok("run", "-d", "--name", name, "--rootfs-driver", "copy", "--disk", "32M", IMAGE, "sleep", "1000")
    assert "No space left" in world.cli("exec", name, "dd", "if=/dev/zero", "of=/big", "bs=1M").stderr


@pytest.fixture
def image(world: World, busybox_rootfs: str, tmp_path: Path) -> Iterator[str]:
    """A busybox with files to change, one of them with two names, one whose time will not tell."""
    rootfs, name = tmp_path / "rootfs", unique_name()
    subprocess.run(["cp", "-a", busybox_rootfs, rootfs], check=True)
    for directory in ("usr/lib", "opt/dir/in", "opt/anew/in", "opt/mode", "var/lib", "srv", "etc"):
        (rootfs / directory).mkdir(parents=True, exist_ok=True)
    for file in ("usr/lib/file", "usr/lib/old", "usr/lib/same", "opt/dir/in/x", "opt/anew/old", "opt/anew/in/x", "opt/file",
                 "var/lib/x", "etc/kept", "etc/group", "usr/lib/untouched"):  # fmt: skip
        (rootfs / file).write_text(file)
    (rootfs / "usr/lib/secret").write_text("1111")
    os.utime(rootfs / "usr/lib/secret", (1577934245, 1577934245))
    os.link(rootfs / "etc/kept", rootfs / "etc/twin")
    world.import_image(str(rootfs), name)
    before = set(world.ok("image", "list", "-q").split())
    yield name
    world.clear()
    for each in (set(world.ok("image", "list", "-q").split()) - before) | {name}:
        world.ok("image", "rm", each)


def pair(world: World, image: str) -> tuple[str, str]:
    """Return an overlay and a copy of an image in which the same was done."""
    made = unique_name(), unique_name()
    for name, driver in zip(made, ("overlay", "copy"), strict=True):
        world.ok("create", "--name", name, "--rootfs-driver", driver, image, "sleep", "1000")
        inside(world, name, _CHANGES)
    return made


def lines(world: World, name: str) -> list[str]:
    return world.ok("diff", name).splitlines()


def files_of(world: World, image: str) -> dict[str, tuple[object, ...]]:
    """Return the tree of an image, each file with its first name, without times: they are of the moment of its making."""
    name = unique_name()
    world.ok("create", "--name", name, image, "true")
    found = tree(Path(world.ok("mount", name)))
    world.ok("umount", name)
    world.ok("rm", name)
    del found["."]
    return {
        path: (node.mode, node.uid, node.gid, node.files[:1], node.attributes, node.content)
        for path, node in found.items()
    }


def test_what_was_changed_is_what_an_overlay_tells(world: World, image: str) -> None:
    overlay, copy = pair(world, image)
    expected = lines(world, overlay)
    assert {"C /usr/lib/secret", "C /etc/kept", "A /etc/second", "D /var", "D /opt/anew/in", "C /opt/dir"} <= set(
        expected
    )
    # An overlay gives a file of several names that is written to a copy of its own; here they stay one file.
    assert sorted(lines(world, copy)) == sorted([*expected, "C /etc/twin"])


def test_a_commit_is_what_an_overlay_gives(world: World, image: str) -> None:
    """Content that its time does not tell of, hard links, deletions, and what came in the place of something else."""
    made = [f"{unique_name()}:1" for _ in range(2)]
    for name, committed in zip(pair(world, image), made, strict=True):
        assert "'./srv/fifo' is a device, fifo or socket" in world.cli("commit", name, committed).stderr
    overlay, copy = (files_of(world, committed) for committed in made)
    first_name = 3
    assert (copy["etc/twin"][first_name], overlay.pop("etc/twin")[first_name]) == (["etc/kept"], ["etc/twin"])
    assert {path: entry for path, entry in copy.items() if path != "etc/twin"} == overlay
    assert copy["etc/second"][first_name] == ["etc/kept"]
    assert copy["usr/lib/secret"][-1] == hashlib.sha256(b"2222").hexdigest()
    infos = [world.ok("image", "inspect", each) for each in (image, made[1])]
    assert [info.count('"diff_id"') for info in infos] == [1, 2]
    poll_until(lambda: len(layers(world)) == 1, what="only what the overlay itself is made of is left")


def test_nothing_changed_is_no_layer(world: World, image: str) -> None:
    name, committed = unique_name(), f"{unique_name()}:1"
    world.ok("create", "--name", name, "--rootfs-driver", "copy", image, "true")
    assert lines(world, name) == []
    world.ok("commit", name, committed)
    assert world.ok("image", "inspect", committed).count('"diff_id"') == 1


def test_an_export_is_the_whole_tree(world: World, image: str, tmp_path: Path) -> None:
    name, other, archive = unique_name(), unique_name(), f"{tmp_path}/i.tar"
    world.ok("create", "--name", name, "--rootfs-driver", "copy", image, "sleep", "1000")
    inside(world, name, "echo one > /a; rm -r /var")
    world.ok("export", name, "-o", archive)
    world.ok("import", archive, other)
    assert inside(world, other, "cat /a; ls -d /var /etc/twin 2>&1; true").splitlines() == [
        "one", "ls: /var: No such file or directory", "/etc/twin",
    ]  # fmt: skip

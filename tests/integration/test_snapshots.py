"""Snapshots, clones and what was changed, where the layer is a plain directory."""

import json
import os
import stat

import pytest

from pycontainer.errors import InvalidState
from pycontainer.runtime import rootfs
from tests.integration.conftest import IMAGE
from tests.support.poll import poll_until
from tests.support.snapshots import create, inside, layers, names
from tests.support.world import World, unique_name


def counted(world: World, name: str) -> int:
    """Return what the container has counted up to; 0 between its opening of the file and its writing."""
    return int(world.cli("exec", name, "cat", "/same").stdout.strip() or 0)


def test_go_back_and_forth(world: World) -> None:
    """A snapshot of a stopped container moves its files; it goes back to any of them, and they survive that."""
    name = create(world)
    inside(world, name, "echo one > /a; rm -r /var; mkdir -p /etc/d; chmod 700 /; ln /a /b")
    upper = f"{world.inspect(name)['directory']}/rootfs/upper"
    inode = os.stat(f"{upper}/a").st_ino
    assert world.ok("snapshot", "create", name) == "snap0"
    (layer,) = world.inspect(name)["frozen_layers"]
    assert os.stat(f"{world.paths.layers_dir}/{layer}/fs/a").st_ino == inode  # moved, not copied
    assert (os.listdir(upper), stat.S_IMODE(os.stat(upper).st_mode)) == ([], 0o700)
    assert inside(world, name, "echo two > /a; mkdir /var; touch /var/x; cat /b; stat -c %a /") == "one\n700"
    assert world.ok("snapshot", "create", name, "two") == "two"
    assert inside(world, name, "rm /a; cat /b; ls /var") == "one\nx"
    world.ok("snapshot", "restore", name, "snap0")
    assert inside(world, name, "cat /a; ls -d /var 2>&1; stat -c %a /; ls -d /etc/d") == (
        "one\nls: /var: No such file or directory\n700\n/etc/d"
    )
    world.ok("snapshot", "restore", name, "two")
    assert inside(world, name, "cat /a; ls /var") == "two\nx"
    assert names(world, name) == ["snap0", "two"]
    world.ok("rm", name)
    poll_until(lambda: layers(world) == [], what="the layers are gone")


def test_unchanged_containers_share_everything(world: World) -> None:
    name = create(world)
    for _ in range(3):
        world.ok("snapshot", "create", name)
    assert (names(world, name), layers(world)) == (["snap0", "snap1", "snap2"], [])
    inside(world, name, "touch /a")
    world.ok("snapshot", "create", name)
    world.ok("snapshot", "create", name)
    assert len(layers(world)) == 1


def test_layers_go_with_the_last_who_names_them(world: World) -> None:
    name, copy = create(world), unique_name()
    inside(world, name, "echo one > /a")
    world.ok("snapshot", "create", name)
    inside(world, name, "echo two > /a")
    world.ok("clone", "--snapshot", "snap0", name, copy)
    assert len(layers(world)) == 1
    world.ok("rm", name)
    assert inside(world, copy, "cat /a") == "one"
    world.ok("rm", copy)
    poll_until(lambda: layers(world) == [], what="the layer is gone")


def test_a_running_one_stands_still_and_goes_on(world: World) -> None:
    name = unique_name()
    count = "i=0; while true; do i=$((i+1)); echo $i > /count; ln -f /count /same; done"
    world.ok(
        "run",
        "-d",
        "--name",
        name,
        IMAGE,
        "sh",
        "-c",
        f"trap 'exit 0' TERM; dd if=/dev/zero of=/sparse bs=1 count=1 seek=1M; rm -r /var; {count}",
    )
    poll_until(lambda: counted(world, name) > 0, what="it counts")
    world.ok("snapshot", "create", name, "live")
    before = counted(world, name)
    poll_until(lambda: counted(world, name) > before, what="it goes on")
    assert world.status(name) == "running"
    assert world.inspect(name)["frozen_layers"] == []
    (layer,) = layers(world)
    frozen = f"{world.paths.layers_dir}/{layer}/fs"
    found = os.stat(f"{frozen}/sparse")
    assert (found.st_size, found.st_blocks <= 8) == (1024 * 1024 + 1, True)
    assert os.stat(f"{frozen}/var").st_rdev == 0
    assert stat.S_ISCHR(os.stat(f"{frozen}/var").st_mode)
    world.ok("snapshot", "create", name, "other")
    world.ok("snapshot", "rm", name, "other")  # what nobody names goes, and no more
    assert "is running" in world.refused(5, "snapshot", "restore", name, "live")
    world.ok("snapshot", "restore", "--force", name, "live")
    assert inside(world, name, "test -e /count && ls /var 2>&1 || true").startswith("ls: /var: No such")


def test_clones_are_apart(world: World) -> None:
    """Another name, other ids, other addresses; what one writes the other does not see. Published ports are the same ones."""
    name, copy = create(world, "-p", "8089:80", "--hostname", "fixed"), unique_name()
    inside(world, name, "echo one > /a")
    world.ok("clone", name, copy)
    first, second = world.inspect(name), world.inspect(copy)
    assert first["frozen_layers"] == second["frozen_layers"] != []
    assert first["id_map"]["host_base"] != second["id_map"]["host_base"]
    assert first["networks"]["default"]["ip"] != second["networks"]["default"]["ip"]
    world.ok("start", name)
    assert "8089" in world.refused(4, "start", copy) + str(second["ports"])
    world.ok("rm", "-f", copy)
    world.ok("clone", "-p", "8090:80", name, copy)
    world.ok("start", copy)
    world.ok("exec", copy, "sh", "-c", "echo two > /a")
    assert world.ok("exec", name, "cat", "/a") == "one"
    assert world.ok("exec", copy, "stat", "-c", "%u", "/a") == "0"
    assert f"the name '{copy}' is taken" in world.refused(4, "clone", name, copy)


def test_diff_tells_what_was_added_changed_and_deleted(world: World) -> None:
    name = create(world)
    inside(
        world,
        name,
        "touch /new; echo x >> /etc/passwd; rm -r /var; mkdir /etc/d; touch /etc/d/f; touch /gone",
    )
    expected = ["A /etc/d", "A /etc/d/f", "A /new", "C /etc", "C /etc/passwd", "D /var"]
    assert sorted([*expected, "A /gone"]) == sorted(world.ok("diff", name).splitlines())
    world.ok("snapshot", "create", name)
    inside(world, name, "rm /gone; rm -r /etc/d; rm /etc/group; rm -r /www; mkdir /www; touch /www/a; ln -s / /var")
    changed = {change["path"]: change["kind"] for change in json.loads(world.ok("diff", "--format", "json", name))}
    assert (changed["/etc/group"], changed["/etc/passwd"], changed["/var"]) == ("D", "C", "C")
    assert (changed["/www"], changed["/www/a"], changed["/www/index.html"]) == ("C", "A", "D")  # made anew: opaque
    assert not changed.keys() & {"/gone", "/etc/d", "/etc/d/f"}
    assert not [path for path in changed if path.startswith("/var/")]  # a link is not followed


def test_a_full_stack_is_copied(world: World) -> None:
    """Beyond 64 layers a snapshot does not lengthen the stack; the root starts with all of them."""
    name = create(world)
    world.ok("start", name)
    upper = f"{world.inspect(name)['directory']}/rootfs/upper"
    world.ok("stop", "-t", "0", name)
    with world.client() as host:
        container = host.container(name)
        for number in range(rootfs.MAX_MOVED + 1):
            with open(f"{upper}/f{number}", "w") as file:
                file.write("x")
            container.snapshots.create(f"s{number}")
    assert len(world.inspect(name)["frozen_layers"]) == rootfs.MAX_MOVED
    assert inside(world, name, "ls -d /f* | wc -l") == str(rootfs.MAX_MOVED + 1)
    world.ok("snapshot", "restore", name, f"s{rootfs.MAX_MOVED}")
    assert inside(world, name, "ls -d /f* | wc -l") == str(rootfs.MAX_MOVED + 1)
    assert len(world.inspect(name)["frozen_layers"]) == rootfs.MAX_MOVED + 1
    with pytest.raises(InvalidState, match="are more than 128"):
        rootfs.check_depth(129)


def test_refusals(world: World) -> None:
    name = create(world)
    assert "has no snapshot 'x'" in world.refused(3, "snapshot", "restore", name, "x")
    assert "is not a snapshot name" in world.refused(2, "snapshot", "create", name, "../x")
    world.ok("snapshot", "create", name, "x")
    assert "has a snapshot 'x' already" in world.refused(4, "snapshot", "create", name, "x")
    assert "is not mounted" in world.refused(5, "umount", name)
    world.ok("snapshot", "rm", name, "x")
    assert names(world, name) == []

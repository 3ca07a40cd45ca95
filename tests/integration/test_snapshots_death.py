"""Snapshots that are cut off, and roots mounted on the host: what the next supervisor makes of it."""

import os
import stat

import pytest

from pycontainer.disk.layers import FrozenLayers, new_layer_id
from pycontainer.runtime import rootfs
from pycontainer.runtime.container import load
from tests.integration.conftest import IMAGE
from tests.support.deaths import kill_supervisor
from tests.support.poll import poll_until
from tests.support.snapshots import create, inside, layers, names
from tests.support.world import World, unique_name


def test_mounted_ones_do_not_start(own_world: World) -> None:
    world = own_world
    name = create(world)
    inside(world, name, "echo one > /a; chmod 4755 /bin/busybox")
    path = world.ok("mount", name)
    assert path == world.ok("mount", name) == world.inspect(name)["mounted"]
    with open(f"{path}/a") as file:
        assert file.read() == "one\n"
    with open("/proc/self/mountinfo") as file:
        (options,) = [line.split()[5] for line in file if line.split()[4] == path]
    assert {"nosuid", "nodev"} <= set(options.split(","))
    assert stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode) == 0o700
    with open(f"{path}/from-outside", "w") as file:
        file.write("x")
    for command in (("start", name), ("snapshot", "create", name), ("clone", name, "other"), ("rm", name)):
        assert "is mounted at" in world.refused(5, *command)
    assert "is mounted at" in world.refused(5, "cp", f"{name}:/a", "/tmp/a")
    kill_supervisor(world)
    assert "is mounted at" in world.refused(5, "start", name)
    busy = os.open(f"{path}/a", os.O_RDONLY)
    assert "in use" in world.refused(5, "umount", name)
    os.close(busy)
    world.ok("umount", name)
    assert not os.path.exists(path)
    assert inside(world, name, "cat /from-outside") == "x"
    world.ok("mount", name)
    world.ok("rm", "-f", name)
    assert not os.path.exists(path)


@pytest.mark.parametrize("point", ["record", "moved", "snapshot"])
def test_a_snapshot_that_is_cut_off(own_world: World, point: str) -> None:
    """Killed after the record, after the rename, before the snapshot's record: nothing is lost, nothing stays behind."""
    world = own_world
    name = create(world)
    inside(world, name, "echo one > /a")
    container_id = world.inspect(name)["id"]
    kill_supervisor(world)
    container, frozen, layer = load(world.paths, container_id), FrozenLayers(world.paths.layers_dir), new_layer_id()
    upper = f"{container.directory}/rootfs/upper"
    if point == "record":
        container.lowers.append(layer)
        container.save()
    elif point == "moved":
        container.lowers.append(layer)
        container.save()
        os.rename(upper, f"{frozen.place(layer)}/fs")
    else:
        rootfs.move_to_frozen(container, frozen)
    os.makedirs(f"{world.paths.layers_dir}/.new-0123456789abcdef/fs/x", exist_ok=True)
    os.makedirs(f"{world.paths.layers_dir}/{'f' * 16}/fs/x", exist_ok=True)
    assert inside(world, name, "cat /a") == "one"
    assert names(world, name) == []
    kept = world.inspect(name)["frozen_layers"]
    poll_until(lambda: layers(world) == kept, what="what nobody claims is gone")
    assert len(kept) == 1
    world.ok("rm", name)


def test_a_restore_that_is_cut_off(own_world: World) -> None:
    world = own_world
    name = create(world)
    inside(world, name, "echo one > /a")
    world.ok("snapshot", "create", name, "one")
    inside(world, name, "echo two > /a; touch /b")
    container_id, stack = world.inspect(name)["id"], world.inspect(name)["frozen_layers"]
    kill_supervisor(world)
    container = load(world.paths, container_id)
    assert container.lowers == stack
    container.clearing = True  # the record's intent was written, and no more
    container.save()
    assert inside(world, name, "cat /a; ls /b 2>&1 || true") == "one\nls: /b: No such file or directory"
    assert names(world, name) == ["one"]
    world.ok("rm", name)


def test_a_damaged_record_keeps_all_layers(own_world: World) -> None:
    """Nobody knows what a damaged record names: nothing is deleted, and the container goes on."""
    world = own_world
    name, other = create(world), create(world)
    for each in (name, other):
        inside(world, each, "echo one > /a")
        world.ok("snapshot", "create", each, "one")
    record = f"{world.inspect(name)['directory']}/snapshots/one.json"
    kill_supervisor(world)
    with open(record, "r+") as file:
        file.write("}")
    world.ok("rm", other)
    assert "snapshot 'one' cannot be read" in world.inspect(name)["warnings"][0]
    assert inside(world, name, "cat /a") == "one"
    assert len(layers(world)) == 2
    world.ok("rm", name)
    poll_until(lambda: layers(world) == [], what="the layers are gone")


def test_killed_in_the_middle_of_a_copy(own_world: World) -> None:
    """The real thing: the container goes on, the half of a copy goes away, the next snapshot is whole."""
    world = own_world
    name = unique_name()
    world.ok("run", "-d", "--name", name, IMAGE, "sleep", "1000")
    world.ok("exec", name, "sh", "-c", "mkdir /d; for i in $(seq 4000); do echo $i > /d/$i; done")
    container_id = world.inspect(name)["id"]
    making = world.popen("snapshot", "create", name, "cut")
    poll_until(
        lambda: [entry for entry in layers(world) if entry.startswith(".new-")] or making.poll() is not None,
        what="the copy has begun",
        interval_seconds=0.001,
    )
    kill_supervisor(world)
    _, said = making.communicate()
    assert making.returncode == 8, said
    assert (world.status(name), names(world, name)) == ("running", [])
    poll_until(lambda: layers(world) == [], what="the half copy is gone")
    assert not os.path.exists(f"{world.paths.run_containers_dir}/{container_id}.copying")
    world.ok("snapshot", "create", name, "whole")
    (layer,) = layers(world)
    assert len(os.listdir(f"{world.paths.layers_dir}/{layer}/fs/d")) == 4000
    world.ok("rm", "-f", name)
    poll_until(lambda: layers(world) == [], what="the layer is gone")


def test_a_container_that_stood_still_goes_on(own_world: World) -> None:
    """The supervisor is killed while a container is frozen for a copy: the next one lets it go on."""
    world = own_world
    name = unique_name()
    world.ok("run", "-d", "--name", name, IMAGE, "sleep", "1000")
    container_id = world.inspect(name)["id"]
    world.ok("pause", name)
    with open(f"{world.paths.run_containers_dir}/{container_id}.copying", "w"):
        pass
    kill_supervisor(world)
    assert world.status(name) == "running"
    assert not os.path.exists(f"{world.paths.run_containers_dir}/{container_id}.copying")
    world.ok("rm", "-f", name)


def test_what_lies_about_does_not_keep_it_from_coming_up(own_world: World) -> None:
    """Files where nothing is mounted any more, a note and a stack that cannot be dealt with: a warning, no more."""
    world = own_world
    name, other = create(world), create(world)
    inside(world, name, "echo one > /a")
    world.ok("snapshot", "create", name)
    world.ok("mount", other)
    mounts = os.path.dirname(world.inspect(other)["mounted"])
    world.ok("umount", other)
    container_id, (layer,) = world.inspect(name)["id"], world.inspect(name)["frozen_layers"]
    note = f"{world.paths.run_containers_dir}/{container_id}.copying"
    kill_supervisor(world)
    os.makedirs(f"{mounts}/{'a' * 12}/x")
    with open(f"{mounts}/{'b' * 12}", "w"):
        pass
    os.mkdir(note)
    assert world.status(name) == "stopped"
    assert any("its layers" in warning for warning in world.inspect(name)["warnings"])
    assert os.path.isdir(f"{mounts}/{'a' * 12}/x")
    kill_supervisor(world)
    os.rmdir(note)
    os.rmdir(f"{mounts}/{'a' * 12}/x")
    os.unlink(f"{mounts}/{'b' * 12}")
    assert layers(world) == [layer]
    assert inside(world, name, "cat /a") == "one"
    world.ok("rm", name, other)

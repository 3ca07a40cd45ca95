"""Caps on what a container writes, driven into with real writes: disk images, where there is no project quota."""

import json

import pytest

from tests.integration.conftest import IMAGE
from tests.support.disk import MIB, fill, free_inside, limit_of, run
from tests.support.world import World, unique_name

pytestmark = pytest.mark.vm


def test_image_is_full_at_the_cap_and_a_neighbour_writes_on(world: World) -> None:
    name, neighbour = run(world, "--disk", "64M"), run(world, "--disk", "64M")
    assert free_inside(world, name) == pytest.approx(64 * MIB, rel=0.05)
    written, words = fill(world, name)
    assert "No space left on device" in words
    assert written == pytest.approx(64 * MIB, rel=0.05)
    world.ok("exec", neighbour, "dd", "if=/dev/zero", "of=/x", "bs=1M", "count=32")
    assert world.inspect(name)["disk"]["backend"] == "loop image (ext4)"
    disk = limit_of(world, name, "disk")
    assert disk["limit"] == 64 * MIB
    assert disk["held"] == pytest.approx(64 * MIB, rel=0.05)


def test_image_holds_what_was_written_over_a_restart_and_for_cp(world: World, tmp_path: object) -> None:
    name = run(world, "--disk", "32M")
    world.ok("exec", name, "sh", "-c", "echo kept > /file")
    world.ok("restart", "-t", "0", name)
    assert world.ok("exec", name, "cat", "/file") == "kept"
    world.ok("stop", "-t", "0", name)
    world.ok("cp", f"{name}:/file", f"{tmp_path}/out")
    with open(f"{tmp_path}/out") as file:
        assert file.read() == "kept\n"
    world.ok("cp", f"{tmp_path}/out", f"{name}:/copied")
    world.ok("start", name)
    assert world.ok("exec", name, "cat", "/copied") == "kept"


@pytest.mark.requires("cap_sys_resource")
def test_image_grows_while_it_is_in_use(world: World) -> None:
    name = run(world, "--disk", "32M")
    fill(world, name)
    world.ok("set", name, "--disk", "64M")
    assert free_inside(world, name) == pytest.approx(32 * MIB, rel=0.06)
    written, _ = fill(world, name, "/more")
    assert written == pytest.approx(32 * MIB, rel=0.06)


@pytest.mark.requires("mkfs_xfs")
def test_large_image_grows_wherever_we_are(world: World) -> None:
    """Without CAP_SYS_RESOURCE a large image is xfs, which grows all the same."""
    name = run(world, "--disk", "320M")
    assert free_inside(world, name) == pytest.approx(320 * MIB, rel=0.05)
    world.ok("exec", name, "dd", "if=/dev/zero", "of=/x", "bs=1M", "count=100")
    world.ok("set", name, "--disk", "400M")
    assert free_inside(world, name) == pytest.approx(300 * MIB, rel=0.05)
    written, _ = fill(world, name)
    assert written == pytest.approx(300 * MIB, rel=0.05)


def test_image_does_not_shrink_and_is_not_made_over_files(world: World) -> None:
    name = run(world, "--disk", "64M")
    assert "cannot shrink a disk image from 64MiB" in world.refused(6, "set", name, "--disk", "32M")
    assert "it is an image, which grows and does not" in world.refused(6, "set", name, "--disk", "96M", "--transient")
    assert limit_of(world, name, "disk")["limit"] == 64 * MIB
    plain = run(world)
    world.ok("exec", plain, "touch", "/x")
    words = world.refused(5, "set", plain, "--disk", "64M")
    assert "has written files already, which a disk image cannot take over" in words


def test_limits_tell_what_is_over_its_soft_limit(world: World) -> None:
    name = run(world, "--disk", "64M", "--disk-soft", "8M")

    def tight() -> list[str]:
        return [row["resource"] for row in json.loads(world.ok("limits", "-q", "--format", "json", name))]

    assert limit_of(world, name, "disk")["soft_limit"] == 8 * MIB
    assert "disk" not in tight()
    world.ok("exec", name, "dd", "if=/dev/zero", "of=/x", "bs=1M", "count=12")
    assert "disk" in tight()
    world.ok("set", name, "--disk-soft", "32M")
    assert "disk" not in tight()


def test_inodes_of_an_image(world: World) -> None:
    name = run(world, "--disk", "64M", "--disk-inodes", "200")
    script = "i=0; while touch /f$i 2>/dev/null; do i=$((i+1)); done; echo $i"
    assert int(world.ok("exec", name, "sh", "-c", script)) == pytest.approx(200, abs=16)


@pytest.mark.parametrize(
    ("exit_code", "options", "words"),
    [
        (2, ("--disk", "4G", "--disk-soft", "5G"), "disk_soft: the soft limit 5GiB exceeds the hard limit 4GiB"),
        (2, ("--disk", "10GB"), "'10GB' is ambiguous"),
        (2, ("--disk", "-1"), "disk: '-1' is not a size"),
        (125, ("--disk", "1M"), "a disk image has 16MiB at least"),
        (125, ("--disk-soft", "32M"), "cannot watch soft limits alone with a disk image"),
    ],
)
def test_bad_input(world: World, exit_code: int, options: tuple[str, ...], words: str) -> None:
    name = unique_name()
    result = world.cli("run", "-d", "--name", name, *options, IMAGE, "true")
    assert result.exit_code in (exit_code, 125)
    assert words in result.stderr
    assert world.cli("inspect", name).exit_code == 3

"""Caps on what a container writes: driven into with real writes, on whatever backend the file system calls for."""

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator

import pytest

from tests.integration.conftest import IMAGE
from tests.support.hostns import HostNetwork
from tests.support.world import World, unique_name

MIB = 1 << 20


def fill(world: World, name: str, path: str = "/big") -> tuple[int, str]:
    """Write until the disk is full; return how many bytes came to be there, and the words of the refusal."""
    result = world.cli("exec", name, "dd", "if=/dev/zero", f"of={path}", "bs=64k")
    assert result.exit_code == 1, result
    return int(world.ok("exec", name, "stat", "-c", "%s", path)), result.stderr


def size_inside(world: World, name: str) -> int:
    """Return what `df` inside says the root file system can hold, bytes."""
    return _df(world, name, -5)


def free_inside(world: World, name: str) -> int:
    """Return what `df` inside says can still be written, bytes."""
    return _df(world, name, -3)


def _df(world: World, name: str, column: int) -> int:
    return int(world.ok("exec", name, "df", "-k", "/").splitlines()[-1].split()[column]) * 1024


def run(world: World, *options: str) -> str:
    name = unique_name()
    world.ok("run", "-d", "--name", name, *options, IMAGE, "sleep", "1000")
    return name


def limit_of(world: World, name: str, resource: str) -> dict[str, object]:
    rows = json.loads(world.ok("limits", name, "--format", "json"))
    return next(row for row in rows if row["resource"] == resource)


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
    assert limit_of(world, name, "disk")["limit"] == 64 * MIB
    plain = run(world)
    world.ok("exec", plain, "touch", "/x")
    words = world.refused(5, "set", plain, "--disk", "64M")
    assert "has written files already, which a disk image cannot take over" in words


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
    ],
)
def test_bad_input(world: World, exit_code: int, options: tuple[str, ...], words: str) -> None:
    name = unique_name()
    result = world.cli("run", "-d", "--name", name, *options, IMAGE, "true")
    assert result.exit_code in (exit_code, 125)
    assert words in result.stderr
    assert world.cli("inspect", name).exit_code == 3


@pytest.fixture(scope="module")
def quota_world(host_network: HostNetwork, busybox_rootfs: str) -> Iterator[World]:
    """A world on a file system with project quotas, made in a file and mounted where nobody else looks."""
    directory = tempfile.mkdtemp(prefix="pct-quota-", dir="/var/tmp")
    kind = "xfs" if shutil.which("mkfs.xfs", path="/usr/sbin:/sbin") else "ext4"
    make = ["mkfs.xfs", "-q"] if kind == "xfs" else ["mkfs.ext4", "-q", "-O", "quota,project", "-E", "quotatype=prjquota"]
    with contextlib.ExitStack() as undo:
        undo.callback(shutil.rmtree, directory)
        image, mounted = f"{directory}/image", f"{directory}/mounted"
        os.mkdir(mounted)
        with open(image, "wb") as file:
            file.truncate(1 << 30)
        subprocess.run([*make, image], check=True, env={"PATH": "/usr/sbin:/sbin:/usr/bin:/bin"})
        subprocess.run(["mount", "-o", "loop,prjquota", image, mounted], check=True)
        undo.callback(subprocess.run, ["umount", mounted], check=True)
        world = World(host_network, mounted)
        undo.callback(world.scrub)
        world.import_image(busybox_rootfs, IMAGE)
        yield world
        world.close()


@pytest.mark.requires("project_quota")
class TestProjectQuota:
    def test_cap_grow_shrink_and_df(self, quota_world: World) -> None:
        name, neighbour = run(quota_world, "--disk", "32M"), run(quota_world)
        assert quota_world.inspect(name)["disk"]["backend"] == "project quota"
        assert size_inside(quota_world, name) == 32 * MIB
        written, words = fill(quota_world, name)
        assert "No space left on device" in words or "quota exceeded" in words
        assert written == pytest.approx(32 * MIB, rel=0.05)
        quota_world.ok("exec", neighbour, "dd", "if=/dev/zero", "of=/x", "bs=1M", "count=64")
        quota_world.ok("set", name, "--disk", "64M")
        assert size_inside(quota_world, name) == 64 * MIB
        assert "are written, more than 16MiB" in quota_world.refused(5, "set", name, "--disk", "16M")
        quota_world.ok("exec", name, "rm", "/big")
        quota_world.ok("set", name, "--disk", "16M")
        assert size_inside(quota_world, name) == 16 * MIB
        quota_world.ok("rm", "-f", name, neighbour)

    def test_cap_on_a_container_that_has_written(self, quota_world: World) -> None:
        name = run(quota_world)
        quota_world.ok("exec", name, "dd", "if=/dev/zero", "of=/x", "bs=1M", "count=20")
        quota_world.ok("set", name, "--disk", "32M")
        written, _ = fill(quota_world, name)
        assert written == pytest.approx(12 * MIB, rel=0.06)
        quota_world.ok("rm", "-f", name)

    def test_inodes_and_soft_limits(self, quota_world: World) -> None:
        name = run(quota_world, "--disk-inodes", "100", "--disk", "64M", "--disk-soft", "32M")
        script = "i=0; while touch /f$i 2>/dev/null; do i=$((i+1)); done; echo $i"
        assert int(quota_world.ok("exec", name, "sh", "-c", script)) == pytest.approx(100, abs=12)
        assert limit_of(quota_world, name, "disk_inodes")["limit"] == 100
        quota_world.ok("rm", "-f", name)

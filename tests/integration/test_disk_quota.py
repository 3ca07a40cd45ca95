"""Caps on what a container writes, where the file system has project quotas: they grow, shrink and come later."""

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pycontainer.disk.project import project_of
from pycontainer.linux import quota
from tests.integration.conftest import make_world
from tests.support.disk import MIB, fill, free_inside, limit_of, run, size_inside
from tests.support.hostns import HostNetwork
from tests.support.poll import poll_until
from tests.support.world import World, unique_name

pytestmark = pytest.mark.vm


@pytest.fixture(scope="module")
def world(host_network: HostNetwork, busybox_rootfs: str) -> Iterator[World]:
    """A world on a file system with project quotas, made in a file and mounted where nobody else looks."""
    directory = tempfile.mkdtemp(prefix="pct-quota-", dir="/var/tmp")
    kind = "xfs" if shutil.which("mkfs.xfs", path="/usr/sbin:/sbin") else "ext4"
    make = (
        ["mkfs.xfs", "-q"] if kind == "xfs" else ["mkfs.ext4", "-q", "-O", "quota,project", "-E", "quotatype=prjquota"]
    )
    with contextlib.ExitStack() as undo:
        undo.callback(shutil.rmtree, directory)
        image, mounted = f"{directory}/image", f"{directory}/mounted"
        os.mkdir(mounted)
        with open(image, "wb") as file:
            file.truncate(1 << 30)
        subprocess.run([*make, image], check=True, env={"PATH": "/usr/sbin:/sbin:/usr/bin:/bin"})
        subprocess.run(["mount", "-o", "loop,prjquota", image, mounted], check=True)
        undo.callback(subprocess.run, ["umount", mounted], check=True)
        yield from make_world(host_network, busybox_rootfs, mounted)


@pytest.mark.requires("project_quota")
def test_cap_grow_shrink_and_df(world: World) -> None:
    name, neighbour = run(world, "--disk", "32M"), run(world)
    assert world.inspect(name)["disk"]["backend"] == "project quota"
    assert size_inside(world, name) == 32 * MIB
    written, words = fill(world, name)
    assert "No space left on device" in words or "quota exceeded" in words
    assert written == pytest.approx(32 * MIB, rel=0.05)
    world.ok("exec", neighbour, "dd", "if=/dev/zero", "of=/x", "bs=1M", "count=64")
    world.ok("set", name, "--disk", "64M")
    assert size_inside(world, name) == 64 * MIB
    assert "are written, more than 16MiB" in world.refused(5, "set", name, "--disk", "16M")
    world.ok("exec", name, "rm", "/big")
    world.ok("set", name, "--disk", "16M")
    assert size_inside(world, name) == 16 * MIB
    world.ok("set", name, "--disk", "48M", "--transient")
    assert size_inside(world, name) == 48 * MIB
    world.ok("restart", "-t", "0", name)
    assert size_inside(world, name) == 16 * MIB
    world.ok("rm", "-f", name, neighbour)


@pytest.mark.requires("project_quota")
def test_a_volume_is_a_project_too(world: World) -> None:
    """RES-03. It grows and shrinks while it is used; half of the file system unless said; its numbers are its own."""
    world.ok("volume", "create", "--size", "32M", "--inodes", "100", "capped")
    world.ok("volume", "create", "plain")
    name = run(world, "-v", "capped:/data", "-v", "plain:/plain")
    infos = {info["name"]: info for info in json.loads(world.ok("volume", "list", "--format", "json"))}
    assert {info["backend"] for info in infos.values()} == {"project quota"}
    assert 400 * MIB < infos["plain"]["size_bytes"] < 600 * MIB
    written, words = fill(world, name, "/data/big")
    assert "No space left on device" in words or "quota exceeded" in words
    assert written == pytest.approx(32 * MIB, rel=0.05)
    world.ok("volume", "set", "capped", "--size", "64M")
    world.ok("exec", name, "dd", "if=/dev/zero", "of=/data/more", "bs=1M", "count=20")
    assert "more than" in world.refused(5, "volume", "set", "capped", "--size", "16M")
    world.ok("exec", name, "rm", "/data/more", "/data/big")
    assert world.cli("exec", name, "sh", "-c", "for i in $(seq 200); do : >/data/$i || exit 1; done").exit_code == 1
    (info,) = json.loads(world.ok("volume", "inspect", "capped"))
    assert info["used_inodes"] == info["inodes"] == 100
    world.ok("rm", "-f", name)
    world.ok("volume", "rm", "capped", "plain")
    assert world.ok("doctor") == "nothing found"  # no limits are left behind


@pytest.mark.requires("project_quota")
def test_doctor_finds_limits_of_projects_that_nothing_is_in(world: World) -> None:
    for project in (0x50431234, 0x51000007):
        quota.write(world.paths.state_dir, project, soft_bytes=None, hard_bytes=MIB, soft_inodes=None, hard_inodes=None)
        said = world.cli("doctor").stdout
        assert said.startswith(f"quota without an owner: project {project} of ") and said.count("\n") == 1
        assert world.cli("doctor", "--fix").exit_code == 0
        assert quota.read(world.paths.state_dir, project).hard_bytes is None


@pytest.mark.requires("project_quota")
def test_who_asks_for_no_cap_gets_half_of_the_file_system(world: World) -> None:
    """I6. No container fills what others live on, unless somebody said that it may."""
    name, free = run(world), run(world, "--disk", "unlimited")
    total_bytes = size_inside(world, free)
    assert total_bytes > 900 * MIB
    assert size_inside(world, name) == pytest.approx(total_bytes / 2, rel=0.02)
    assert limit_of(world, name, "disk_inodes")["limit"]
    world.ok("set", name, "--disk", "unlimited", "--disk-inodes", "unlimited")
    assert size_inside(world, name) == total_bytes
    world.ok("rm", "-f", name, free)


@pytest.mark.requires("project_quota")
def test_an_archive_is_not_who_says_that_a_disk_has_no_cap(world: World, tmp_path: Path) -> None:
    """I6. An instance that had none gets half of the file system where it is brought in, unless who does that trusts it."""
    free, other, archive = run(world, "--disk", "unlimited"), unique_name(), f"{tmp_path}/free.tar"
    total_bytes = size_inside(world, free)
    world.ok("export", free, "-o", archive)
    for options, expected_bytes in (((), total_bytes / 2), (("--trusted",), total_bytes)):
        world.ok("import", *options, archive, other)
        world.ok("start", other)
        assert size_inside(world, other) == pytest.approx(expected_bytes, rel=0.02)
        world.ok("rm", "-f", other)
    world.ok("rm", "-f", free)
    world.ok("image", "rm", *(name for name in world.ok("image", "list", "-q").split() if name.startswith("instance/")))


@pytest.mark.requires("project_quota")
def test_cap_on_a_container_that_has_written(world: World) -> None:
    name = run(world)
    world.ok("exec", name, "dd", "if=/dev/zero", "of=/x", "bs=1M", "count=20")
    world.ok("set", name, "--disk", "32M")
    written, _ = fill(world, name)
    assert written == pytest.approx(12 * MIB, rel=0.06)
    world.ok("rm", "-f", name)


@pytest.mark.requires("project_quota")
def test_inodes_and_soft_limits(world: World) -> None:
    name = run(world, "--disk-inodes", "100", "--disk", "64M", "--disk-soft", "32M")
    script = "i=0; while touch /f$i 2>/dev/null; do i=$((i+1)); done; echo $i"
    assert int(world.ok("exec", name, "sh", "-c", script)) == pytest.approx(100, abs=12)
    assert limit_of(world, name, "disk_inodes")["limit"] == 100
    world.ok("rm", "-f", name)


@pytest.mark.requires("project_quota")
def test_frozen_layers_count_to_who_wrote_them_and_to_nobody_after(world: World) -> None:
    """A snapshot is no way around the cap; what a clone keeps of a container that is gone counts to no later one."""
    name, copy = run(world, "--disk", "64M"), unique_name()
    world.ok("exec", name, "dd", "if=/dev/zero", "of=/big", "bs=1M", "count=40")
    base = int(world.inspect(name)["id_map"]["host_base"])
    world.ok("stop", "-t", "0", name)
    world.ok("snapshot", "create", name)
    world.ok("clone", name, copy)
    world.ok("start", name)
    assert free_inside(world, name) < 25 * MIB
    assert quota.read(world.paths.layers_dir, project_of(base)).used_bytes >= 40 * MIB
    world.ok("rm", "-f", name)
    poll_until(
        lambda: quota.read(world.paths.layers_dir, project_of(base)).used_bytes == 0, what="the project holds nothing"
    )
    world.ok("start", copy)
    assert world.ok("exec", copy, "stat", "-c", "%s", "/big") == str(40 * MIB)
    assert free_inside(world, copy) > 60 * MIB

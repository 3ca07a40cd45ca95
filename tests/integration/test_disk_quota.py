"""Caps on what a container writes, where the file system has project quotas: they grow, shrink and come later."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator

import pytest

from tests.integration.conftest import make_world
from tests.support.disk import MIB, fill, limit_of, run, size_inside
from tests.support.hostns import HostNetwork
from tests.support.world import World

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
    world.ok("rm", "-f", name, neighbour)


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

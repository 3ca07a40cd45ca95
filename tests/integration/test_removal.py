"""The deletion of containers whose trees do not want to go: all of it, or what is left is told and can be repeated."""

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator

import pytest

from tests.integration.conftest import IMAGE
from tests.support.poll import poll_until
from tests.support.world import World, unique_name

pytestmark = pytest.mark.requires("file_flags")


@pytest.fixture
def canary() -> Iterator[str]:
    """An immutable file on the host that must stay so."""
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="pct-canary-") as directory:
        path = f"{directory}/canary"
        with open(path, "w") as file:
            file.write("untouched")
        chattr("+i", path)
        try:
            yield path
            assert flags(path) == "i"
            with open(path) as file:
                assert file.read() == "untouched"
        finally:
            chattr("-i", path)


def chattr(change: str, *paths: str) -> None:
    subprocess.run(["chattr", change, *paths], check=True)


def flags(path: str) -> str:
    """Return which of the flags i and a a file has."""
    shown = subprocess.run(["lsattr", "-d", path], capture_output=True, text=True, check=True).stdout.split()[0]
    return shown.replace("-", "").replace("e", "")


def filled(world: World, script: str) -> tuple[str, str]:
    """Return the id of a container in which `script` has run, and the directory of its layer."""
    container_id = world.inspect(_run(world, script))["id"]
    return container_id, f"{world.paths.rootfs_dir(container_id)}/upper"


def _run(world: World, script: str) -> str:
    name = unique_name()
    world.ok("run", "--name", name, IMAGE, "sh", "-c", script)
    return name


@contextlib.contextmanager
def scrubbable(world: World) -> Iterator[None]:
    """Clear all flags in the containers' trees if the test fails, for they would outlive the world."""
    try:
        yield
    except BaseException:
        subprocess.run(
            ["chattr", "-R", "-f", "-ia", world.paths.containers_dir], check=False, stderr=subprocess.DEVNULL
        )
        raise


def test_large_deep_and_flagged(world: World, busybox_rootfs: str, canary: str) -> None:
    """PATH-08: 10^5 files, 3000 directories deep, names with newlines, immutable and append-only files and directories.

    The many are made from outside, which is five times faster, and the same on disk.
    """
    odd = "mkdir \"$(printf 'a\\nb')\"; touch -- \"$(printf 'a\\nb/c\\nd')\" ' ' '-rf' '*'"
    container_id, upper = filled(world, f"mkdir /odd; cd /odd; {odd}; ln -s {canary} link")
    for verb, count in (("many", "100000"), ("deep", "3000")):
        subprocess.run([f"{busybox_rootfs}/bin/payload", verb, count], cwd=upper, check=True)
    with scrubbable(world):
        chattr("+i", f"{upper}/many/7", f"{upper}/odd/a\nb/c\nd", f"{upper}/odd/a\nb", f"{upper}/deep/d0/d1")
        chattr("+a", f"{upper}/many/8", f"{upper}/many", f"{upper}/odd")
        deletion = world.popen("rm", container_id)
        poll_until(  # other requests are answered meanwhile
            lambda: world.ok("info") and deletion.poll() is not None,
            timeout_seconds=60,
            interval_seconds=0.3,
            what="it is deleted",
        )
        assert (deletion.returncode, *deletion.communicate()) == (0, f"{container_id}\n".encode(), b"")
        assert os.listdir(world.paths.containers_dir) == []


def test_what_is_left_is_told_and_the_deletion_repeated(own_world: World, canary: str) -> None:
    """PATH-08: an administrator mounted a file of the host on one that is immutable, as it is itself: it stays so."""
    world = own_world
    container_id, upper = filled(world, "mkdir -p /etc/kept; touch /etc/kept/file")
    chattr("+i", f"{upper}/etc/kept/file")
    half_made = f"{world.paths.containers_dir}/0123456789ab"
    os.makedirs(f"{half_made}/rootfs/upper/etc/kept")
    with open(f"{half_made}/rootfs/upper/etc/kept/file", "w"):
        pass
    with scrubbable(world):
        for directory in (f"{half_made}/rootfs/upper", upper):
            subprocess.run(["mount", "--bind", canary, f"{directory}/etc/kept/file"], check=True)
        chattr("+i", f"{upper}/etc/kept")
        try:
            first = world.refused(5, "rm", container_id)
            (left,) = [target for target in _kept() if container_id in target]
            assert first.split("\n")[:2] == [
                f"pycontainer: the container is removed, but not all of its files: Device or resource busy; left: '{left}'",
                f"hint: see what holds them (findmnt, lsattr), then: {world.suggested('pycontainer rm')} {container_id}",
            ]
            assert os.listdir(os.path.dirname(left)) == ["file"]
            assert world.ok("ps", "-aq") == ""
            assert world.refused(5, "rm", container_id) == first
            # ... and a supervisor that comes up does not stumble over it, nor over one that was never made whole
            world.ok("service", "stop")
            poll_until(lambda: not world.processes(), what="the services are gone")
            assert world.refused(5, "rm", "-f", container_id) == first
            assert "Device or resource busy; left: " in world.refused(5, "rm", "0123456789ab")
        finally:
            subprocess.run(["umount", *_kept()], check=True)
        world.ok("rm", container_id, "0123456789ab")
        assert os.listdir(world.paths.containers_dir) == []
        world.refused(3, "rm", container_id)


def _kept() -> list[str]:
    """Return where the canary is mounted: it moves along when a container's directory is put aside."""
    with open("/proc/self/mountinfo") as file:
        targets = [line.split()[4] for line in file]
    return [target for target in targets if target.endswith("/upper/etc/kept/file")]

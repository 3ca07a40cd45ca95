"""The state directory's file system is full, has no inodes, or is read-only: nothing is half written, and all can be ended.

FLT-05. The file system is a small one of its own; the run directory lies elsewhere, as it does on a host.
"""

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.conftest import IMAGE
from tests.support.deaths import kill_supervisor
from tests.support.hostns import HostNetwork
from tests.support.poll import poll_until
from tests.support.world import World

SBIN = {"PATH": "/usr/sbin:/sbin:/usr/bin:/bin"}
STUBBORN = ("payload", "ignore", "15", "sleep", "0")


@pytest.fixture
def small(host_network: HostNetwork, busybox_rootfs: str) -> Iterator[World]:
    """A world whose state lies on 96 MiB with 4096 inodes, mounted read-only by an error."""
    world = World(host_network)
    image, state = f"{world.root}/disk", world.paths.state_dir
    try:
        os.mkdir(state)
        with open(image, "wb") as file:
            file.truncate(96 << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", "-N", "4096", image], check=True, env=SBIN)
        mount(world)
        world.import_image(busybox_rootfs, IMAGE)
        world.ok("run", "--rm", IMAGE, "true")
        yield world
        world.close()
    finally:
        world.scrub()


def mount(world: World) -> None:
    options = "loop,errors=remount-ro"
    subprocess.run(["mount", "-o", options, f"{world.root}/disk", world.paths.state_dir], check=True)


def fill_space(world: World) -> None:
    """Leave not one free block that anybody can have."""
    with open(f"{world.paths.state_dir}/ballast", "ab", buffering=0) as file:
        for size in (1 << 20, 1 << 10):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(size))
                    os.fsync(file.fileno())
    assert os.statvfs(world.paths.state_dir).f_bavail <= 4


def fill_inodes(world: World) -> None:
    """Leave not one free inode."""
    os.makedirs(f"{world.paths.state_dir}/many", exist_ok=True)
    with contextlib.suppress(OSError):
        for number in range(100000):
            os.close(os.open(f"{world.paths.state_dir}/many/{number}", os.O_CREAT | os.O_WRONLY))
    assert os.statvfs(world.paths.state_dir).f_ffree == 0


def make_room(world: World) -> None:
    subprocess.run(["rm", "-rf", f"{world.paths.state_dir}/ballast", f"{world.paths.state_dir}/many"], check=True)


def records_are_whole(world: World) -> None:
    """Every record can be read, and no writing left anything."""
    for path in Path(world.paths.state_dir).rglob("*"):
        if "/fs/" not in str(path) and path.suffix == ".json":
            json.loads(path.read_text())
        assert path.suffix != ".new", path


@pytest.mark.parametrize("fill", [fill_space, fill_inodes])
def test_full(small: World, fill: object, tmp_path: Path) -> None:
    world = small
    assert callable(fill)
    world.ok("run", "-d", "--name", "one", "-p", "8080:80", "--restart", "always", IMAGE, *STUBBORN)
    world.ok("run", "-d", "--name", "two", IMAGE, *STUBBORN)
    world.ok("create", "--name", "three", IMAGE, *STUBBORN)
    fill(world)

    (tmp_path / "tree").mkdir()
    for command in (
        ("create", IMAGE, "true"),
        ("clone", "three", "four"),
        ("volume", "create", "v"),
        ("snapshot", "create", "three"),
        ("network", "create", "n"),
        ("tenant", "create", "t"),
        ("image", "import", str(tmp_path / "tree"), "other"),
    ):
        words = world.refused(5, *command)
        assert "has only" in words and "system prune" in words, words

    assert world.ok("exec", "two", "payload", "out", "alive") == "alive"
    world.ok("rename", "three", "drei")  # takes the reserve
    world.ok("stop", "-t", "0", "one")
    fill(world)
    kill_supervisor(world)
    assert (world.status("one"), world.inspect("one")["exit_code"]) == ("stopped", 137)
    assert (world.status("two"), world.status("drei")) == ("running", "created")
    world.ok("rm", "-f", "one", "two")
    records_are_whole(world)

    fill(world)
    assert "has only" in world.refused(5, "create", IMAGE, "true")
    make_room(world)
    assert world.ok("run", "--rm", IMAGE, "payload", "out", "again") == "again"  # nobody had to help
    poll_until(lambda: os.path.exists(f"{world.paths.state_dir}/reserve/space"), what="the reserve is there again")
    world.ok("rm", "drei")


@pytest.mark.parametrize("fill", [fill_space, fill_inodes])
def test_full_without_a_reserve(small: World, fill: object) -> None:
    """Stop and removal write nothing that they cannot do without."""
    world = small
    assert callable(fill)
    world.ok("run", "-d", "--name", "one", "-p", "8080:80", IMAGE, *STUBBORN)
    world.ok("run", "-d", "--name", "two", IMAGE, *STUBBORN)
    fill(world)
    subprocess.run(["rm", "-rf", f"{world.paths.state_dir}/reserve"], check=True)
    fill(world)
    world.ok("stop", "-t", "0", "one")
    assert world.inspect("one")["exit_code"] == 137
    fill(world)  # the note that it runs has gone
    assert world.refused(1, "rename", "two", "zwei")  # which would have to be written
    assert (world.status("two"), world.cli("inspect", "zwei").exit_code) == ("running", 3)
    kill_supervisor(world)
    assert world.ok("exec", "two", "payload", "out", "alive") == "alive"
    world.ok("rm", "-f", "one", "two")
    assert world.ok("ps", "-aq") == ""
    records_are_whole(world)
    make_room(world)
    world.ok("run", "--rm", IMAGE, "true")


def test_output_that_a_full_disk_does_not_take_is_counted(small: World) -> None:
    """The container goes on: output is dropped, never waited for; how much is told."""
    world = small
    world.ok("run", "-d", "-i", "--name", "loud", IMAGE, "sh", "-c", "read x; dd if=/dev/zero bs=64k count=16; exit 4")
    fill_space(world)
    kill_supervisor(world)
    world.popen("attach", "loud", stdin=subprocess.PIPE).communicate(b"go\n", timeout=60)
    world.wait_for_status("loud", "stopped")
    info = world.inspect("loud")
    assert info["exit_code"] == 4
    assert info["dropped_output_bytes"] > 900_000
    make_room(world)


def test_read_only(small: World) -> None:
    """Nothing changes, what was asked is refused with the reason, and when it can be written again all goes on."""
    world = small
    world.ok("create", "--name", "one", IMAGE, *STUBBORN)
    world.ok("service", "stop")
    poll_until(lambda: not world.processes(), what="the services have left")
    subprocess.run(["mount", "-o", "remount,ro", world.paths.state_dir], check=True)
    assert world.status("one") == "created"  # a supervisor comes up all the same
    assert "read-only" in world.refused(5, "create", IMAGE, "true")
    for command in (("rm", "one"), ("rename", "one", "eins"), ("set", "one", "-m", "64M")):
        assert "ead-only file system" in world.refused(1, *command)
    assert len(world.ok("ps", "-aq").split()) == 1
    subprocess.run(["mount", "-o", "remount,rw", world.paths.state_dir], check=True)
    world.ok("start", "one")
    assert world.ok("exec", "one", "payload", "out", "alive") == "alive"
    world.ok("rm", "-f", "one")


def test_an_error_of_the_disk_while_something_runs(small: World) -> None:
    """The kernel makes it read-only beneath a container: that goes on, and can be stopped, by a new supervisor as well.

    When the disk is repaired nothing is lost.
    """
    world = small
    world.ok("run", "-d", "--name", "one", "-p", "8080:80", IMAGE, *STUBBORN)
    world.ok("run", "-d", "--name", "two", IMAGE, *STUBBORN)
    with open("/proc/self/mountinfo") as file:
        device = next(line.split(" - ")[1].split()[1] for line in file if line.split()[4] == world.paths.state_dir)
    with open(f"/sys/fs/ext4/{os.path.basename(device)}/trigger_fs_error", "w") as error:
        error.write("test")
    world.ok("stop", "-t", "0", "one")
    assert world.inspect("one")["exit_code"] == 137
    kill_supervisor(world)
    assert world.ok("exec", "two", "payload", "out", "alive") == "alive"
    world.ok("stop", "-t", "0", "two")
    assert world.status("two") == "stopped"
    assert world.cli("create", IMAGE, "true").exit_code != 0
    world.ok("service", "stop")
    poll_until(lambda: not world.processes(), what="the services have left")
    subprocess.run(["umount", world.paths.state_dir], check=True)
    subprocess.run(["e2fsck", "-fy", f"{world.root}/disk"], check=False, capture_output=True, env=SBIN)
    mount(world)
    for name in ("one", "two"):
        world.ok("start", name)
        assert world.ok("exec", name, "payload", "out", "alive") == "alive"
    world.ok("rm", "-f", "one", "two")

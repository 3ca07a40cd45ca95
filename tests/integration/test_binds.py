"""Directories of the host inside: which are refused, whose the files are, and that read-only means all of it."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.world import World, unique_name


@pytest.fixture
def shared(world: World) -> Iterator[Path]:
    """A directory of the host with files of several owners, and a mount beneath it, in the supervisor's mount namespace."""
    directory = Path(world.root, "shared")
    (directory / "beneath").mkdir(parents=True)
    for number in (0, 1000):
        (directory / str(number)).write_text("of the host")
        os.chmod(directory / str(number), 0o600)
        os.chown(directory / str(number), number, number)
    world.ok("info")
    mount = ["nsenter", "--mount", "--target", str(world.supervisor_pid())]
    subprocess.run([*mount, "mount", "-t", "tmpfs", "none", directory / "beneath"], check=True)
    yield directory
    world.clear()
    subprocess.run([*mount, "umount", directory / "beneath"], check=True)
    subprocess.run(["rm", "-r", directory], check=True)


def test_owners_are_the_host_s_only_with_idmap(world: World, shared: Path) -> None:
    plain, mapped = unique_name(), unique_name()
    world.ok("run", "-d", "--name", plain, "-v", f"{shared}:/data", "busybox", "sleep", "1000")
    world.ok("run", "-d", "--name", mapped, "-v", f"{shared}:/data:idmap", "busybox", "sleep", "1000")
    assert world.ok("exec", plain, "stat", "-c", "%u", "/data/0", "/data/1000") == "65534\n65534"
    assert "Permission denied" in world.cli("exec", plain, "cat", "/data/0").stderr
    assert "Permission denied" in world.cli("exec", plain, "touch", "/data/new").stderr
    assert world.ok("exec", mapped, "stat", "-c", "%u", "/data/0", "/data/1000") == "0\n1000"
    assert world.ok("exec", "-u", "1000", mapped, "cat", "/data/1000") == "of the host"
    assert "Permission denied" in world.cli("exec", "-u", "1001", mapped, "cat", "/data/1000").stderr
    world.ok("exec", mapped, "sh", "-c", "touch /data/new; chown 1000:1000 /data/new")
    assert (shared / "new").stat().st_uid == 1000
    assert world.inspect(plain)["loosened"] == []
    assert world.inspect(mapped)["loosened"] == [f"--volume {shared}:/data:idmap"]


@pytest.mark.parametrize("options", ["ro", "ro,idmap"])
@pytest.mark.parametrize("profile", ["app", "system"])
def test_read_only_is_all_of_it_and_holds_against_root(world: World, shared: Path, options: str, profile: str) -> None:
    """ESC-09. What is mounted beneath as well; root inside with every capability of its namespace cannot undo it."""
    name = unique_name()
    world.ok("run", "-d", "--name", name, "--profile", profile, "--cap-add", "ALL", "-v", f"{shared}:/data:{options}",
             "busybox", "sleep", "1000")  # fmt: skip
    for command in (
        "touch /data/x",
        "touch /data/beneath/x",
        "mount -o remount,rw,bind /data && touch /data/x",
        "mount -o remount,rw,bind /data/beneath && touch /data/beneath/x",
        "umount /data/beneath && touch /data/beneath/x",
        "mount --bind /data /mnt && mount -o remount,rw,bind /mnt && touch /mnt/x",
    ):
        assert world.cli("exec", "--privileged", name, "sh", "-c", f"mkdir -p /mnt; {command}").exit_code != 0, command
    assert sorted(os.listdir(shared)) == ["0", "1000", "beneath"]


def test_refused_sources(world: World, tmp_path: Path) -> None:
    """One clear line each, before anything is made."""
    (tmp_path / "target").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "target")
    (tmp_path / "proc").symlink_to("/proc")
    os.chown(tmp_path / "link", 1000, 1000, follow_symlinks=False)
    for source, words in {
        "/proc": "is the host's proc",
        "/proc/sys/kernel": "is the host's proc",
        "/proc/self/root/etc": "is the host's proc",
        "/sys/fs/cgroup": "is the host's sys",
        str(tmp_path / "proc"): "is the host's proc",
        world.paths.state_dir: "lies in a directory of pycontainer's own",
        f"{world.paths.containers_dir}/x": "lies in a directory of pycontainer's own",
        world.paths.run_dir: "lies in a directory of pycontainer's own",
        str(tmp_path / "link"): "'link' is a link that others than root can change",
    }.items():
        said = world.refused(2, "create", "-v", f"{source}:/data", "busybox", "true")
        assert words in said and said.startswith(f"pycontainer: mount source '{source}'"), said
    for source in ("/", "/etc", "/var", world.root):
        said = world.refused(2, "create", "-v", f"{source}:/data:idmap", "busybox", "true")
        assert "holds the host's own files" in said
    assert world.ok("ps", "-aq") == ""
    said = world.refused(2, "create", "-v", "/tmp:/data:nocopy", "busybox", "true")
    assert "volume option 'nocopy' is not supported" in said


def test_a_link_that_comes_later_is_refused_at_the_start(world: World, tmp_path: Path) -> None:
    """PATH-01. Who owns a directory on the way cannot choose what is mounted; root's own links go on to count."""
    home = tmp_path / "home"
    (home / "site").mkdir(parents=True)
    os.chown(home, 1000, 1000)
    name = unique_name()
    world.ok("create", "--name", name, "-v", f"{home}/site:/data:ro", "busybox", "ls", "/data")
    world.ok("start", name)
    (home / "site").rmdir()
    (home / "site").symlink_to("/root")
    os.chown(home / "site", 1000, 1000, follow_symlinks=False)
    said = world.refused(2, "start", name)
    assert "'site' is a link that others than root can change" in said
    (tmp_path / "by-root").symlink_to(home)
    (home / "site").unlink()
    (home / "site").mkdir()
    os.chmod(tmp_path, 0o700)
    world.ok("run", "--rm", "-v", f"{tmp_path}/by-root/site:/data", "busybox", "true")

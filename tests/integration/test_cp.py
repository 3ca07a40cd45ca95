"""cp, both ways, in running and stopped containers, and the ways in which a container may try to misuse it."""

import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.integration.conftest import IMAGE
from tests.support.poll import poll_until
from tests.support.world import World, unique_name


def container(world: World, running: bool = True, *options: str, script: str = "") -> str:
    """Make a container, running or not, in which `script` has been done, and return its name."""
    name = unique_name()
    script = f"{script}\ntouch /done; exec payload sleep 0"
    world.ok("run", "-d", "--name", name, "--network", "none", *options, IMAGE, "sh", "-c", script)
    poll_until(lambda: world.cli("exec", name, "test", "-e", "/done").exit_code == 0)
    if not running:
        world.ok("stop", "-t", "0", name)
    return name


def inside(world: World, name: str, command: str) -> str:
    """Return what a shell command prints inside; a stopped container is started for it."""
    if world.status(name) != "running":
        world.ok("start", name)
    return world.ok("exec", name, "sh", "-c", command)


@pytest.mark.parametrize("running", [True, False])
def test_tree_both_ways(world: World, running: bool, tmp_path: Path) -> None:
    name = container(world, running)
    tree = tmp_path / "tree"
    (tree / "deep" / "er").mkdir(parents=True)
    (tree / "file").write_text("content\n")
    (tree / "file").chmod(0o640)
    (tree / "link").symlink_to("file")
    os.mkfifo(tree / "fifo")
    result = world.cli("cp", str(tree), f"{name}:/tmp")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "pycontainer: left out: 'tree/fifo' is a device, fifo or socket\n"
    world.ok("cp", f"{name}:/tmp/tree", str(tmp_path / "back"))
    assert sorted(os.listdir(tmp_path / "back")) == ["deep", "file", "link"]
    assert os.readlink(tmp_path / "back" / "link") == "file"
    assert (tmp_path / "back" / "file").stat().st_mode & 0o7777 == 0o640
    assert (tmp_path / "back" / "deep" / "er").is_dir()
    assert inside(world, name, "cat /tmp/tree/link; stat -c %u:%g:%a /tmp/tree/file") == "content\n0:0:640"


@pytest.mark.parametrize("running", [True, False])
def test_single_file_gets_the_name_of_the_target(world: World, running: bool, tmp_path: Path) -> None:
    name = container(world, running)
    (tmp_path / "a").write_text("a\n")
    world.ok("cp", str(tmp_path / "a"), f"{name}:/tmp/b")
    world.ok("cp", f"{name}:/tmp/b", str(tmp_path / "c"))
    world.ok("cp", f"{name}:/tmp/b", str(tmp_path))
    assert (tmp_path / "c").read_text() == (tmp_path / "b").read_text() == "a\n"


def test_contents_alone(world: World, tmp_path: Path) -> None:
    name = container(world, script="mkdir /data; echo 1 > /data/one")
    (tmp_path / "two").write_text("2\n")
    world.ok("cp", f"{tmp_path}/.", f"{name}:/data")
    assert inside(world, name, "ls /data") == "one\ntwo"
    (tmp_path / "to").mkdir()
    world.ok("cp", f"{name}:/data/.", f"{tmp_path}/to")
    assert sorted(os.listdir(tmp_path / "to")) == ["one", "two"]


def test_tar_streams(world: World) -> None:
    name = container(world, script="mkdir -p /data/sub; echo 1 > /data/sub/one")
    with world.popen("cp", f"{name}:/data", "-") as out:
        assert out.stdout is not None
        data = out.stdout.read()
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert tar.getnames() == ["data", "data/sub", "data/sub/one"]
    with world.popen("cp", "-", f"{name}:/tmp", stdin=subprocess.PIPE) as put:
        put.communicate(data)
    assert put.returncode == 0
    assert inside(world, name, "cat /tmp/data/sub/one") == "1"


def test_archive_keeps_the_ids_inside(world: World, tmp_path: Path) -> None:
    name = container(world, script="echo 1 > /tmp/f; chown 33:34 /tmp/f")
    world.ok("cp", "--archive", f"{name}:/tmp/f", str(tmp_path / "f"))
    assert ((tmp_path / "f").stat().st_uid, (tmp_path / "f").stat().st_gid) == (33, 34)
    world.ok("cp", "--archive", str(tmp_path / "f"), f"{name}:/tmp/g")
    assert inside(world, name, "stat -c %u:%g /tmp/g") == "33:34"


def test_volume_of_a_running_container(world: World, tmp_path: Path) -> None:
    name = container(world, True, "-v", "things:/things", script="echo v > /things/a")
    world.ok("cp", f"{name}:/things/a", str(tmp_path / "a"))
    assert (tmp_path / "a").read_text() == "v\n"
    (tmp_path / "root").mkdir()
    result = world.cli("cp", f"{name}:/.", str(tmp_path / "root"))
    assert result.exit_code == 0, result
    assert "left out: '/things' is mounted from elsewhere" in result.stderr.replace("./", "/")
    assert (tmp_path / "root" / "done").exists()
    assert not (tmp_path / "root" / "proc" / "1").exists()


@pytest.mark.parametrize("running", [True, False])
def test_what_cannot_be_copied(world: World, running: bool, tmp_path: Path) -> None:
    name = container(world, running, script="mkfifo /tmp/fifo; echo x > /tmp/file")
    assert "'/tmp/no/such'" in world.refused(3, "cp", f"{name}:/tmp/no/such", str(tmp_path))
    assert "'/tmp/fifo' is a device, fifo or socket" in world.refused(2, "cp", f"{name}:/tmp/fifo", str(tmp_path))
    assert "'/tmp/file/below'" in world.refused(3, "cp", f"{name}:/tmp/file/below", str(tmp_path))
    assert "'/no'" in world.refused(3, "cp", str(tmp_path), f"{name}:/no/where")
    assert "one of the two" in world.refused(2, "cp", str(tmp_path), str(tmp_path))
    assert "'/no/such'" in world.refused(3, "cp", "/no/such", f"{name}:/tmp")
    assert os.listdir(tmp_path) == []


def test_read_only_root(world: World, tmp_path: Path) -> None:
    name = unique_name()
    world.ok("run", "-d", "--name", name, "--network", "none", "--read-only", IMAGE, "payload", "sleep", "0")
    (tmp_path / "a").write_text("a\n")
    assert "Read-only file system" in world.refused(1, "cp", str(tmp_path / "a"), f"{name}:/etc/a")


@pytest.mark.parametrize("running", [True, False])
@pytest.mark.parametrize("link", ["/", "../../../../../../..", "/proc/1/root", "/proc/self/root"])
def test_links_lead_nowhere_on_the_host(world: World, running: bool, link: str, tmp_path: Path) -> None:
    """PATH-01: a link inside names the container's own path, to read from and to write to."""
    canary = tmp_path / "canary"
    canary.mkdir()
    (canary / "secret").write_text("host\n")
    name = container(world, running, script=f"ln -s {link} /tmp/out")
    target = tmp_path / "got"
    target.mkdir()
    result = world.cli("cp", f"{name}:/tmp/out{canary}/secret", str(target))
    assert result.exit_code in (1, 3), result
    assert os.listdir(target) == []
    (tmp_path / "planted").write_text("from outside\n")
    world.cli("cp", str(tmp_path / "planted"), f"{name}:/tmp/out{canary}/planted")
    assert os.listdir(canary) == ["secret"]


def test_directory_that_becomes_a_link_while_it_is_written_to(world: World, tmp_path: Path) -> None:
    """CVE-2018-15664: root inside exchanges a directory and a link to / as fast as it can."""
    canary = tmp_path / "canary"
    canary.mkdir()
    target = f"/race{tmp_path}"
    swap = "while :; do mv /race /kept; ln -s / /race; rm /race; mv /kept /race; done"
    script = f"mkdir -p {target}/canary\n({swap}) &"
    name = container(world, True, script=script)
    (tmp_path / "planted").write_text("from outside\n")
    for _ in range(25):
        world.cli("cp", str(tmp_path / "planted"), f"{name}:{target}/canary/planted")
        world.cli("cp", f"{name}:{target}/canary", str(tmp_path / "back"))
    assert os.listdir(canary) == []


def test_hostile_stream_is_refused(world: World) -> None:
    name = container(world)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        info = tarfile.TarInfo("../../etc/planted")
        tar.addfile(info, io.BytesIO())
    with world.popen("cp", "-", f"{name}:/tmp", stdin=subprocess.PIPE) as put:
        _, errors = put.communicate(buffer.getvalue())
    assert put.returncode == 2
    assert b"../../etc/planted" in errors
    assert inside(world, name, "ls /etc/planted 2>/dev/null || echo nothing") == "nothing"


def test_copy_that_is_given_up_leaves_no_worker(world: World) -> None:
    name = container(world)
    with world.popen("cp", "-", f"{name}:/tmp", stdin=subprocess.PIPE) as put:
        assert put.stdin is not None
        put.stdin.write(b"\0" * 10)
        put.stdin.flush()
        poll_until(lambda: any("copy_worker" in line for line in _commands(world)), what="the worker is there")
        put.kill()
    poll_until(lambda: not any("copy_worker" in line for line in _commands(world)), what="the worker is gone")


def _commands(world: World) -> list[str]:
    found = []
    for pid in os.listdir("/proc"):
        if pid.isdigit():
            try:
                with open(f"/proc/{pid}/status") as status, open(f"/proc/{pid}/cmdline") as file:
                    if f"PPid:\t{world.supervisor_pid()}\n" in status.read():
                        found.append(file.read())
            except OSError:
                continue
    return found

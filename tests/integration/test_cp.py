"""cp, both ways, in running and stopped containers, and the ways in which a container may try to misuse it."""

import contextlib
import io
import os
import signal
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pycontainer.client.connection import Connection
from tests.integration.conftest import IMAGE
from tests.support.images import copy_rootfs
from tests.support.poll import poll_until
from tests.support.world import World, process_commands, unique_name


def container(world: World, running: bool = True, *options: str, script: str = "") -> str:
    """Make a container, running or not, in which `script` has been done, and return its name."""
    name = unique_name()
    script = f"if ! [ -e /done ]; then\n:\n{script}\ntouch /done\nfi\nexec payload sleep 0"  # once, not at each start
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
    assert world.refused(1, "cp", str(tmp_path / "a"), f"{name}:/etc/a") == (
        "pycontainer: cannot copy into '/etc': 'a': Read-only file system (EROFS)\n"
    )


def test_full_target(world: World, tmp_path: Path) -> None:
    name = container(world, True, "--tmpfs", "/small:size=64k")
    (tmp_path / "big").write_bytes(b"x" * 1_000_000)
    assert world.refused(1, "cp", str(tmp_path / "big"), f"{name}:/small") == (
        "pycontainer: cannot copy into '/small': No space left on device (ENOSPC)\nhint: free some space there\n"
    )


def test_file_with_a_mount_on_it(world: World, tmp_path: Path) -> None:
    name = container(world)
    world.ok("cp", f"{name}:/etc/hosts", str(tmp_path / "hosts"))
    assert "localhost" in (tmp_path / "hosts").read_text()
    assert "cannot copy into '/etc': 'hosts': Device or resource busy (EBUSY)\nhint: something is mounted on it" in (
        world.refused(1, "cp", str(tmp_path / "hosts"), f"{name}:/etc/hosts")
    )


@pytest.mark.parametrize("running", [True, False])
def test_link_as_target_is_followed_inside(world: World, running: bool, tmp_path: Path) -> None:
    links = "mkdir -p /d/real; echo old > /d/file; ln -s /d/real /d/to-dir; ln -s file /d/to-file; ln -s new /d/to-new"
    name = container(world, running, script=f"{links}; ln -s {tmp_path}/host /d/to-host; ln -s loop /d/loop")
    (tmp_path / "a").write_text("a\n")
    for link in ("to-dir", "to-file", "to-new"):
        world.ok("cp", str(tmp_path / "a"), f"{name}:/d/{link}")
    assert f"'{tmp_path}'" in world.refused(3, "cp", str(tmp_path / "a"), f"{name}:/d/to-host")
    assert "too many links" in world.refused(2, "cp", str(tmp_path / "a"), f"{name}:/d/loop")
    assert os.listdir(tmp_path) == ["a"]
    shown = inside(world, name, "cat /d/real/a /d/file /d/new; for i in dir file new; do readlink /d/to-$i; done")
    assert shown.split() == ["a", "a", "a", "/d/real", "file", "new"]


def test_target_that_does_not_fit(world: World, tmp_path: Path) -> None:
    name = container(world, script="mkdir /d; echo 1 > /d/file; mkfifo /d/fifo; echo 2 > /d/name")
    (tmp_path / "tree").mkdir()
    (tmp_path / "file").write_text("host\n")
    os.mkfifo(tmp_path / "fifo")
    file, tree, fifo = str(tmp_path / "file"), str(tmp_path / "tree"), str(tmp_path / "fifo")
    refused = [
        (
            2,
            tree,
            f"{name}:/d/file",
            f"cannot copy directory '{tree}' onto '/d/file' in the container, which is a file",
        ),
        (3, file, f"{name}:/d/new/", "no directory '/d/new/' in the container"),
        (2, file, f"{name}:/d/fifo", "'/d/fifo' is a device, fifo or socket, which cp does not copy"),
        (2, f"{name}:/d", file, f"cannot copy directory '/d' onto '{file}', which is a file"),
        (3, f"{name}:/d/file", f"{file}-new/", f"cannot copy file '/d/file' to '{file}-new/': no such directory"),
        (2, f"{name}:/d/file", fifo, f"cannot copy to '{fifo}', which is a device, fifo or socket"),
    ]
    for exit_code, source, target, words in refused:
        assert world.refused(exit_code, "cp", source, target).splitlines()[0] == f"pycontainer: {words}"
    assert sorted(os.listdir(tmp_path)) == ["fifo", "file", "tree"]
    assert (tmp_path / "file").read_text() == "host\n"
    assert inside(world, name, "ls /d; cat /d/file").split() == ["fifo", "file", "name", "1"]


def test_many_left_out_are_told_in_few_lines(world: World, tmp_path: Path) -> None:
    name = container(world, script="mkdir /d; i=0; while [ $i -lt 150 ]; do mkfifo /d/f$i; i=$((i+1)); done")
    result = world.cli("cp", f"{name}:/d", str(tmp_path))
    lines = result.stderr.splitlines()
    assert (result.exit_code, len(lines), lines[-1]) == (0, 101, "pycontainer: left out: and 50 more")


def test_hole_stays_a_hole(world: World, tmp_path: Path) -> None:
    name = container(world, script="truncate -s 64M /tmp/f")
    world.ok("cp", f"{name}:/tmp/f", str(tmp_path))
    details = (tmp_path / "f").stat()
    assert (details.st_size, details.st_blocks) == (64 << 20, 0)


def test_names_that_are_no_text(world: World, tmp_path: Path) -> None:
    name = container(world)
    raw = os.fsencode(tmp_path) + b"/a\xff\x1b[31m"
    os.mkdir(raw)
    with open(raw + b"/f\xfe", "w") as file:
        file.write("1\n")
    os.mkfifo(raw + b"/\x1b]0;fifo\x07")
    result = world.cli("cp", os.fsdecode(raw), f"{name}:/tmp")
    assert result.exit_code == 0, result
    assert "\x1b" not in result.stderr
    os.rename(raw, raw + b".sent")
    world.ok("cp", f"{name}:/tmp/{os.fsdecode(os.path.basename(raw))}", str(tmp_path))
    assert os.listdir(raw) == [b"f\xfe"]


def test_tar_stream_is_not_shown_on_a_terminal(world: World) -> None:
    name = container(world)
    terminal_fd, stdout_fd = os.openpty()
    try:
        with world.popen("cp", f"{name}:/etc", "-", stdout=stdout_fd) as out:
            _, errors = out.communicate()
        assert (out.returncode, errors.decode().splitlines()[0]) == (
            2,
            "pycontainer: a tar stream is not for a terminal",
        )
    finally:
        os.close(terminal_fd)
        os.close(stdout_fd)


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
    with stalled_copy(world, name) as (put, _):
        put.kill()
    poll_until(lambda: not workers(world), what="the worker is gone")


def cut_off(world: World, target: str, data: bytes, number: signal.Signals) -> None:
    """Copy a tar stream, of which no more than `data` comes, and end the command when all of that was written."""
    with world.popen("cp", "-", target, stdin=subprocess.PIPE) as put:
        assert put.stdin is not None
        put.stdin.write(data)
        put.stdin.flush()
        poll_until(
            lambda: written(world) >= len(data) - (1 << 18), what="the worker has written it"
        )  # it reads in blocks
        put.send_signal(number)
        put.wait(10)


@pytest.mark.parametrize("running", [True, False])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_copy_in_that_is_interrupted_leaves_what_was_there(
    world: World, running: bool, number: signal.Signals, tmp_path: Path
) -> None:
    name = container(world, running, script="mkdir /d; echo old > /d/f")
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as writer:
        for member in ("f", "new"):
            info = tarfile.TarInfo(member)
            info.size = 1 << 20
            writer.addfile(info, io.BytesIO(os.urandom(info.size)))
    for cut in (1 << 19, (1 << 20) + (1 << 19)):
        cut_off(world, f"{name}:/d", tar.getvalue()[:cut], number)
        poll_until(lambda: not workers(world), what="the worker is gone")
        assert inside(world, name, "ls -A /d").split() == ["f"]
        assert (inside(world, name, "cat /d/f") == "old") == (cut < 1 << 20)
        if not running:
            world.ok("stop", "-t", "0", name)


def test_copy_out_that_is_interrupted_leaves_what_was_there(world: World, tmp_path: Path) -> None:
    name = container(world, script="echo old > /f")
    world.ok("cp", f"{name}:/f", f"{tmp_path}/f")
    size = 1 << 24
    world.ok("exec", name, "sh", "-c", "dd if=/dev/urandom bs=1M count=32 of=/f 2>/dev/null; truncate -s 64G /f")
    with world.popen("cp", f"{name}:/f", f"{tmp_path}/f") as get:
        poll_until(lambda: sum(path.stat().st_size for path in tmp_path.iterdir()) > size, what="a part of it is there")
        get.send_signal(signal.SIGINT)
        assert get.wait(10) == 130
    assert os.listdir(tmp_path) == ["f"]
    assert (tmp_path / "f").read_text() == "old\n"


def test_file_that_finds_no_room_replaces_nothing(world: World, tmp_path: Path) -> None:
    name = container(world, True, "--tmpfs", "/small:size=64k", script="echo old > /small/f")
    (tmp_path / "f").write_bytes(b"x" * 1_000_000)
    assert "No space left on device" in world.refused(1, "cp", str(tmp_path / "f"), f"{name}:/small")
    assert inside(world, name, "ls -A /small; cat /small/f") == "f\nold"


@pytest.mark.parametrize("running", [True, False])
def test_what_a_file_replaces(world: World, running: bool, tmp_path: Path) -> None:
    script = "mkdir -p /d/empty /d/full/x; ln -s /etc/passwd /d/link; mkfifo /d/fifo; echo old > /d/file; ln /d/file /d/other"
    name = container(world, running, script=script)
    source = tmp_path / "d"
    source.mkdir()
    for each in ("empty", "link", "fifo", "file"):
        (source / each).write_text(f"{each}\n")
    world.ok("cp", f"{source}/.", f"{name}:/d")
    (tmp_path / "full").write_text("no")
    with world.popen("cp", "-", f"{name}:/d", stdin=subprocess.PIPE) as put:
        tar = io.BytesIO()
        with tarfile.open(fileobj=tar, mode="w") as writer:
            writer.add(tmp_path / "full", "full")
        _, errors = put.communicate(tar.getvalue())
    assert (put.returncode, "'full': a directory with files is in its place" in errors.decode()) == (2, True)
    shown = inside(world, name, "cd /d; ls -A | sort; cat empty link fifo file other; head -c 4 /etc/passwd; ls full")
    assert shown.split() == [
        "empty",
        "fifo",
        "file",
        "full",
        "link",
        "other",
        "empty",
        "link",
        "fifo",
        "file",
        "old",
        "rootx",
    ]


def test_stalled_copy_does_not_keep_stop(world: World) -> None:
    name = container(world)
    with stalled_copy(world, name) as (put, _):
        world.ok("stop", "-t", "0", name)
        poll_until(lambda: not workers(world), what="the worker is gone")
        assert world.status(name) == "stopped"
        _, errors = put.communicate(b"\0" * 1024)
    assert (put.returncode, errors.decode()) == (5, f"pycontainer: container '{name}' ended during the copy\n")


def test_worker_is_root_inside_and_nobody_outside(world: World) -> None:
    """CVE-2019-14271: what is inside could only gain by the worker if it were more than root inside."""
    name = container(world)
    init_pid = world.inspect(name)["pid"]
    with stalled_copy(world, name) as (put, pid):
        poll_until(lambda: status(pid)["Uid"] != "0\t0\t0\t0", what="the worker has entered")
        poll_until(lambda: status(pid)["CapEff"] == "000000008000001b", what="it keeps the file capabilities")
        ours, init = status(pid), status(init_pid)
        for key in ("Uid", "Gid"):
            assert ours[key] == init[key]
        assert (ours["Groups"].strip(), ours["NoNewPrivs"], ours["CapPrm"]) == ("", "1", "000000008000001b")
        poll_until(lambda: status(pid)["Seccomp"] == "2", what="its system calls are filtered")
        assert (status(pid)["CapBnd"], status(pid)["CapInh"], status(pid)["CapAmb"]) == ("0" * 16,) * 3
        for namespace in ("user", "mnt"):
            assert os.readlink(f"/proc/{pid}/ns/{namespace}") == os.readlink(f"/proc/{init_pid}/ns/{namespace}")
        for namespace in ("net", "ipc", "uts", "cgroup"):
            of_others = [os.readlink(f"/proc/{other}/ns/{namespace}") for other in ("self", init_pid)]
            assert os.readlink(f"/proc/{pid}/ns/{namespace}") not in of_others
        poll_until(lambda: len(os.listdir(f"/proc/{pid}/fd")) == 6, what="it has opened its target")
        open_files = [os.readlink(f"/proc/{pid}/fd/{fd}").partition(":")[0] for fd in range(6)]
        # "/" and "/tmp" are the container's; the host's procfs, in place of the container's, is out of reach: see below
        assert open_files == ["pipe", "/dev/null", "pipe", "/proc", "/", "/tmp"]
        assert os.stat(f"/proc/{pid}/root").st_ino == os.stat(f"/proc/{init_pid}/root").st_ino
        assert os.stat(f"/proc/{pid}/mem").st_uid == 0  # not dumpable: procfs gives it to root of the host
        assert "copy_worker" not in world.ok("exec", name, "sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
        put.kill()


@pytest.mark.parametrize("options", [[], ["--rootfs"]], ids=["image", "rootfs"])
def test_worker_of_a_stopped_container_sees_its_root_alone(
    world: World, tmp_path: Path, busybox_rootfs: str, options: list[str]
) -> None:
    """CVE-2018-15664: what a link of the container could lead to is not there, and the worker has no rights outside."""
    if options:
        name = unique_name()
        rootfs = copy_rootfs(busybox_rootfs, str(tmp_path / "rootfs"))
        world.ok("create", "--name", name, "--network", "none", "--rootfs", f"{rootfs}:rw", "sh")
        world.ok("start", name)
        world.wait_for_status(name, "stopped")
    else:
        name = container(world, running=False)
    with stalled_copy(world, name) as (put, pid):
        poll_until(lambda: status(pid)["Seccomp"] == "2", what="its system calls are filtered")
        ours = status(pid)
        assert (ours["CapEff"], ours["CapBnd"], ours["NoNewPrivs"]) == ("000000008000001b", "0" * 16, "1")
        for namespace in ("user", "mnt", "net", "ipc", "uts", "cgroup"):
            assert os.readlink(f"/proc/{pid}/ns/{namespace}") != os.readlink(f"/proc/self/ns/{namespace}")
        with open(f"/proc/{pid}/mountinfo") as file:
            assert [line.split()[4] for line in file] == ["/"]
        assert set(os.listdir(f"/proc/{pid}/root")) - {"done"} == set(os.listdir(busybox_rootfs))
        put.kill()


def test_worker_ends_with_the_supervisor(own_world: World) -> None:
    name = container(own_world)
    connection = Connection(own_world.paths)
    read_fd, write_fd = os.pipe()  # held open by us: the end of the stream is not what ends the worker
    try:
        connection.send("cp_to", {"container": name, "path": "/tmp"}, [read_fd])
        poll_until(lambda: workers(own_world) != [], what="the worker is there")
        (pid,) = workers(own_world)
        poll_until(lambda: status(pid)["CapEff"] == "000000008000001b", what="the worker has entered")
        os.kill(own_world.supervisor_pid(), signal.SIGKILL)
        poll_until(lambda: status(pid).get("State", "Z")[0] in "ZX", what="the worker has ended")
    finally:
        connection.close()
        os.close(read_fd)
        os.close(write_fd)


@contextlib.contextmanager
def stalled_copy(world: World, name: str) -> Iterator[tuple["subprocess.Popen[bytes]", int]]:
    """Copy a stream that does not end into /tmp of a container; give the command and the worker's pid."""
    with world.popen("cp", "-", f"{name}:/tmp", stdin=subprocess.PIPE) as put:
        try:
            poll_until(lambda: workers(world) != [], what="the worker is there")
            (pid,) = workers(world)
            yield put, pid
        finally:
            put.kill()


def workers(world: World) -> list[int]:
    """Return the pids of the supervisor's copy workers."""
    parent = str(world.supervisor_pid())
    return [
        pid for pid, command in process_commands() if "copy_worker" in command and status(pid).get("PPid") == parent
    ]


def written(world: World) -> int:
    """Return how many bytes the copy workers have written so far."""
    count = 0
    for pid in workers(world):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/io") as file:
            count += int(dict(line.split(": ") for line in file)["wchar"])
    return count


def status(pid: int) -> dict[str, str]:
    """Return the fields of /proc/PID/status, none for a process that is gone."""
    try:
        with open(f"/proc/{pid}/status") as file:
            return {key: value.strip() for key, _, value in (line.partition(":") for line in file)}
    except (FileNotFoundError, ProcessLookupError):
        return {}

"""Paths that a tenant chose: with openat2(2), and with it missing, forbidden, or losing every race (PATH-09)."""

import errno
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pycontainer.linux.files import remove_tree
from pycontainer.linux.libc import syscall_number
from tests.integration.conftest import IMAGE, make_world
from tests.support.hostns import HostNetwork
from tests.support.images import CHECKOUT, copy_rootfs
from tests.support.poll import poll_until
from tests.support.world import World, unique_name

FAILURES = [0, errno.ENOSYS, errno.EPERM, errno.EAGAIN]


@pytest.fixture(scope="module", params=FAILURES, ids=["openat2", "ENOSYS", "EPERM", "EAGAIN"])
def world(request: pytest.FixtureRequest, host_network: HostNetwork, busybox_rootfs: str) -> Iterator[World]:
    """A world; all its services and workers find openat2 failing as the parameter says."""
    made = make_world(host_network, busybox_rootfs)
    world = next(made)
    supervisor = _restart_filtered(world, request.param) if request.param else None
    yield world
    for _ in made:  # its end
        pass
    if supervisor is not None:
        assert supervisor.wait(30) == 0


def _restart_filtered(world: World, code: int) -> "subprocess.Popen[bytes]":
    world.ok("service", "stop")
    poll_until(lambda: not world.processes(), what="the services without a filter are gone")
    own = (sys.executable, "-I", "-m", "pycontainer.supervisor.main", "--root", world.root)
    filtered = (sys.executable, "-m", "tests.support.filtered", str(syscall_number("openat2")), str(code))
    argv = world.network.inside.argv(*filtered, *own)
    supervisor = subprocess.Popen(argv, stdin=subprocess.DEVNULL, cwd=CHECKOUT)
    poll_until(lambda: os.path.exists(world.paths.supervisor_socket), what="it listens")
    world.ok("run", "--rm", IMAGE, "true")  # what is made once is there
    poll_until(lambda: not os.listdir(world.paths.containers_dir), what="that container's files are gone")
    return supervisor


@pytest.fixture
def place() -> Iterator[str]:
    """A directory on the host with `canary/file`, which no container may touch; it is looked at afterwards."""
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="pct-path-") as directory:
        os.mkdir(f"{directory}/canary")
        Path(f"{directory}/canary/file").write_text("untouched")
        before = _state(f"{directory}/canary")
        yield directory
        assert _state(f"{directory}/canary") == before


def _state(directory: str) -> list[tuple[object, ...]]:
    found = []
    for path in (directory, f"{directory}/file"):
        details = os.stat(path)
        found.append((path, details.st_uid, details.st_gid, details.st_mode, details.st_mtime_ns, details.st_size))
    return [*found, tuple(os.listdir(directory))]


def _replace(path: str, target: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    os.symlink(target, path)


@pytest.mark.parametrize("name", ["proc", "sys", "dev"])
def test_system_directory_that_is_a_link_is_refused(world: World, busybox_rootfs: str, place: str, name: str) -> None:
    """PATH-01"""
    rootfs = copy_rootfs(busybox_rootfs, f"{place}/rootfs")
    _replace(f"{rootfs}/{name}", f"{place}/canary")
    result = world.cli("run", "--rm", "--rootfs", rootfs, "true")
    assert result.exit_code == 125, result
    assert f"/{name}" in result.stderr


@pytest.mark.parametrize(
    "names",
    ["etc", "tmp run dev/pts dev/shm dev/mqueue etc/resolv.conf etc/hosts etc/hostname"],
    ids=["etc", "others"],
)
def test_links_to_the_host_are_resolved_inside(world: World, busybox_rootfs: str, place: str, names: str) -> None:
    """PATH-01"""
    rootfs = copy_rootfs(busybox_rootfs, f"{place}/rootfs")
    for target in (f"{place}/canary", "../" * 20 + f"{place}/canary"):
        for name in names.split():
            _replace(f"{rootfs}/{name}", target)
        world.cli("run", "--rm", "--profile", "system", "--rootfs", rootfs, "--tmpfs", "/tmp", "true")
        world.cli("run", "--rm", "--rootfs", f"{rootfs}:rw", "true")


@pytest.mark.parametrize("kind", ["link", "file", "fifo"])
def test_own_devices_win(world: World, busybox_rootfs: str, place: str, kind: str) -> None:
    """PATH-02"""
    rootfs = copy_rootfs(busybox_rootfs, f"{place}/rootfs")
    for name in ("null", "console", "ptmx", "fd", "stdout"):
        path = f"{rootfs}/dev/{name}"
        _replace(path, f"{place}/canary/file")
        if kind != "link":
            os.unlink(path)
            os.mkfifo(path) if kind == "fifo" else Path(path).write_text("x")
    script = (
        "echo x > /dev/null; ls -lL /dev/null; echo out > /dev/stdout; test -c /dev/ptmx && test -d /dev/fd && echo all"
    )
    shown = world.ok("run", "--rm", "--rootfs", rootfs, "sh", "-c", script).split("\n")
    assert shown[0].split()[4:6] == ["1,", "3"]
    assert shown[1:] == ["out", "all"]


def test_proc_of_the_image_is_covered(world: World, busybox_rootfs: str, place: str) -> None:
    """PS-03: a directory that is filled like procfs, before and after a start that writes to the real one."""
    rootfs = copy_rootfs(busybox_rootfs, f"{place}/rootfs")
    os.makedirs(f"{rootfs}/proc/self/attr")
    os.makedirs(f"{rootfs}/proc/sys/net/ipv4")
    os.symlink(f"{place}/canary", f"{rootfs}/proc/self/fd")
    os.symlink(f"{place}/canary/file", f"{rootfs}/proc/sys/net/ipv4/ip_forward")
    Path(f"{rootfs}/proc/self/attr/exec").write_text("fake")
    script = "stat -f -c %T /proc /proc/self/attr /proc/sys/net; cat /proc/sys/net/ipv4/ip_forward"
    shown = world.ok("run", "--rm", "--sysctl", "net.ipv4.ip_forward=1", "--rootfs", rootfs, "sh", "-c", script)
    assert shown.split("\n") == ["proc", "proc", "proc", "1"]


@pytest.mark.parametrize("target", ["/../../x", "/a/../../../b", "//c//", "/./d/.", "/e\u00e9"])
def test_odd_mount_targets_stay_inside(world: World, place: str, target: str) -> None:
    """PATH-05"""
    os.mkdir(f"{place}/source")
    Path(f"{place}/source/mark").write_text("here")
    inside = os.path.normpath("/" + target.replace("//", "/"))
    result = world.cli("run", "--rm", "-v", f"{place}/source:{target}", IMAGE, "cat", f"{inside}/mark")
    assert result.exit_code == 125 or result.stdout == "here", result
    assert not os.path.lexists("/x")
    assert not os.path.lexists("/b")


@pytest.mark.parametrize("kind", ["link", "fifo", "device", "sparse", "lines", "line"])
def test_hostile_user_files(world: World, busybox_rootfs: str, place: str, kind: str) -> None:
    """PATH-07: as if absent; nothing waits, nothing is read without end. At the start and through exec."""
    rootfs = copy_rootfs(busybox_rootfs, f"{place}/rootfs")
    Path(f"{place}/secret").write_text("intruder:x:7:7::/:\nintruder:x:7:\n")
    for name in ("passwd", "group"):
        path = f"{rootfs}/etc/{name}"
        os.unlink(path)
        if kind == "link":
            os.symlink(f"{place}/secret", path)
        elif kind == "fifo":
            os.mkfifo(path)
        elif kind == "device":
            os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 5))
        else:
            with open(path, "wb") as file:
                if kind == "sparse":
                    file.truncate(2 << 30)
                else:
                    file.write(b"a:x:5:5::/:\n" * 1_000_000 if kind == "lines" else b"a" * 50_000_000)
    container = unique_name()
    world.ok("run", "-d", "--name", container, "--rootfs", rootfs, "-u", "1000:1000", "payload", "sleep", "0")
    assert "Uid:\t1000\t1000\t1000\t1000" in world.ok("exec", container, "payload", "ids")
    for user in ("intruder", "0:intruder"):
        assert "'intruder'" in world.refused(125, "exec", "-u", user, container, "true")


def test_exec_gets_a_terminal_of_the_container(world: World) -> None:
    """PATH-09"""
    from tests.support.terminal import Terminal

    name = unique_name()
    world.ok("run", "-d", "--name", name, "--profile", "system", IMAGE, "payload", "sleep", "0")
    with Terminal(world.argv("exec", "-it", name, "tty"), world.environment) as terminal:
        terminal.expect(r"/dev/pts/\d+")
    # ... and none that root inside has put in its place
    world.ok("exec", name, "sh", "-c", "mkfifo /tmp/fifo && payload bind /tmp/fifo:/dev/pts/ptmx")
    with Terminal(world.argv("exec", "-it", name, "tty"), world.environment) as terminal:
        terminal.expect("not a terminal multiplexer")


@pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])
def test_copies_stay_inside(world: World, place: str, running: bool) -> None:
    """PATH-01: out through a link and in through a link; in a running container also with /proc covered by its root."""
    name = unique_name()
    world.ok("run", "-d", "--name", name, "--profile", "system", IMAGE, "payload", "sleep", "0")
    script = (
        f"mkdir -p /x{place}/canary; echo inside > /x{place}/canary/file; ln -s {place}/canary /way; mkdir -p {place}"
    )
    world.ok("exec", name, "sh", "-c", f"{script}; ln -s /x{place}/canary {place}/canary")
    if running:
        world.ok("exec", name, "sh", "-c", "payload mount tmpfs:/proc; mkdir -p /proc/self; ln -s /etc /proc/self/fd")
    else:
        world.ok("stop", "-t", "0", name)
    world.ok("cp", f"{name}:/way/file", f"{place}/out")
    assert Path(f"{place}/out").read_text() == "inside\n"
    Path(f"{place}/new").write_text("from the host")
    world.ok("cp", f"{place}/new", f"{name}:/way/")
    world.ok("cp", f"{name}:/x{place}/canary/new", f"{place}/back")
    assert Path(f"{place}/back").read_text() == "from the host"


def test_removal_of_a_hostile_tree(world: World, place: str) -> None:
    """PATH-08: links out, deep directories, names with newlines, and a mount that an administrator left there."""
    name = unique_name()
    script = (
        f"ln -s {place}/canary /link; ln -s / /root-link; touch \"$(printf 'a\\nb')\" '-rf'; mkdir -p /mnt/busy; "
        "d=/deep; mkdir $d; cd $d; i=0; while [ $i -lt 1500 ]; do mkdir d; cd d; i=$((i+1)); done"
    )
    world.ok("run", "--name", name, IMAGE, "sh", "-c", script)
    upper = f"{world.paths.rootfs_dir(world.inspect(name)['id'])}/upper"
    subprocess.run(["mount", "--bind", f"{place}/canary", f"{upper}/mnt/busy"], check=True)
    try:
        result = world.cli("rm", name)
        assert Path(f"{place}/canary/file").read_text() == "untouched"
        assert result.exit_code == 5
        assert re.search(r"Device or resource busy; left: '[^',]*/upper/mnt/busy'\n", result.stderr), result
    finally:
        (target,) = [target for target in _mounted() if target.endswith("/upper/mnt/busy")]  # moved aside meanwhile
        subprocess.run(["umount", target], check=True)
    assert name not in world.ok("ps", "-a")
    left = target.removesuffix("/rootfs/upper/mnt/busy")
    assert [path for path, _, files in os.walk(left) if files] == []  # the way to the mount, and nothing else
    remove_tree(left)


def _mounted() -> list[str]:
    with open("/proc/self/mountinfo") as file:
        return [line.split()[4] for line in file]

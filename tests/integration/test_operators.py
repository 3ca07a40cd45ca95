"""A group that may drive the runtime: members do what root does, nobody else gets in, nothing else is open to them."""

import contextlib
import grp
import json
import os
import socket
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator

import pytest

from pycontainer.api.messages import receive_frame
from tests.integration.conftest import IMAGE
from tests.integration.test_bad_input import one_clear_line
from tests.support.poll import SLOWNESS, poll_until
from tests.support.world import Result, World

NOBODY, GROUP, OTHER_GROUP = 65534, "games", "uucp"


@pytest.fixture
def open_world(own_world: World) -> Iterator[World]:
    """A world that group games may drive."""
    os.chmod(own_world.root, 0o711)
    own_world.ok("service", "start", "--group", GROUP)
    yield own_world


def as_user(
    world: World, *arguments: str, groups: tuple[str, ...] = (GROUP,), gid: int = NOBODY, cwd: str = "/"
) -> Result:
    """Run `pycontainer ARGUMENTS` as user nobody who is in `groups` besides."""
    added = ["--groups", ",".join(groups)] if groups else ["--clear-groups"]
    done = subprocess.run(
        ["setpriv", "--reuid", str(NOBODY), "--regid", str(gid), *added, *world.argv(*arguments)[3:]],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
        env=world.environment,
        cwd=cwd,
        timeout=60 * SLOWNESS,
    )
    assert "Traceback" not in done.stderr, done
    return Result(done.returncode, done.stdout, done.stderr)


def in_a_child(work: Callable[[], object], groups: list[int]) -> object:
    """Return what `work` returns, or the name of what it raises, in a process of user nobody with these groups besides."""
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups(groups)
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            try:
                said = work()
            except OSError as error:
                said = type(error).__name__
            os.write(write_fd, json.dumps(said).encode())
        finally:
            os._exit(0)
    os.close(write_fd)
    with open(read_fd, "rb") as file:
        said = file.read()
    os.waitpid(pid, 0)
    return json.loads(said)


def ping(path: str) -> object:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10 * SLOWNESS)
        sock.connect(path)
        with contextlib.suppress(BrokenPipeError):  # it has been turned away already, with a word
            sock.sendall(b'\0\0\0\x0f{"verb":"ping"}')
        received = receive_frame(sock)
        return received and received[0]


def test_modes(open_world: World) -> None:
    """API-01: the group may enter the directory and connect to one socket, no more."""
    gid, paths = grp.getgrnam(GROUP).gr_gid, open_world.paths
    open_world.ok("run", "-d", "--name", "web", "-p", "8080:80", IMAGE, "payload", "sleep", "0")
    found = os.stat(paths.run_dir), os.stat(paths.supervisor_socket)
    assert [(stat.S_IMODE(each.st_mode), each.st_uid, each.st_gid) for each in found] == [
        (0o750, 0, gid),
        (0o660, 0, gid),
    ]
    for above in (paths.run_dir, paths.state_dir):
        for parent, directories, files in os.walk(above):
            for path in (f"{parent}/{name}" for name in (*directories, *files)):
                if path.startswith(f"{paths.state_dir}/") or path == paths.supervisor_socket:
                    continue
                assert not os.lstat(path).st_mode & 0o077, path
    assert stat.S_IMODE(os.stat(paths.state_dir).st_mode) == 0o700

    def reach() -> list[str]:
        reached = [name for name in os.listdir(paths.run_dir) if os.access(f"{paths.run_dir}/{name}", os.R_OK)]
        return [*reached, *(path for path in (paths.containers_dir, paths.images_dir) if os.access(path, os.R_OK))]

    assert in_a_child(reach, [gid]) == ["supervisor.sock"]
    assert "operators: root, group 'games'" in open_world.ok("info")


@pytest.mark.parametrize(("gid", "groups"), [(NOBODY, (GROUP,)), (grp.getgrnam(GROUP).gr_gid, ())])
def test_a_member_does_all_that_root_does(open_world: World, gid: int, groups: tuple[str, ...]) -> None:
    """API-01: by a supplementary group, and by the process's own. What root's client reads by itself is handed over."""

    def ok(*arguments: str, cwd: str = "/") -> str:
        result = as_user(open_world, *arguments, gid=gid, groups=groups, cwd=cwd)
        assert result.exit_code == 0, (arguments, result)
        return result.stdout

    assert ok("run", "--rm", IMAGE, "payload", "out", "seen") == "seen\n"
    ok("run", "-d", "--name", "web", IMAGE, "sh", "-c", "echo hello; echo bad >&2; exec payload sleep 0")
    assert ok("ps", "-q").strip()
    assert ok("exec", "web", "sh", "-c", "echo inside > /dev/stdout") == "inside\n"
    poll_until(lambda: ok("logs", "web") == "hello\n", what="both lines are there")
    assert ok("logs", "--tail", "1", "web") + ok("inspect", "web")
    with tempfile.TemporaryDirectory(prefix="pct-member-", dir="/var/tmp") as directory:
        os.chown(directory, NOBODY, NOBODY)
        ok("cp", "web:/etc/passwd", f"{directory}/copy")
        assert os.stat(f"{directory}/copy").st_uid == NOBODY
        ok("cp", f"{directory}/copy", "web:/tmp/back")
        refused = as_user(open_world, "cp", "-a", "web:/etc/passwd", f"{directory}/kept", gid=gid, groups=groups)
        assert refused.exit_code == 7
        assert one_clear_line(refused.stderr).endswith("cannot keep the owners: only root can give files away")
    ok("stop", "-t", "0", "web")
    assert ok("logs", "-f", "web") == "hello\n"
    ok("rm", "web")


def test_a_member_follows_a_log_over_its_rotation(open_world: World) -> None:
    """API-01: no line is lost or shown twice, though the files cannot be opened by name."""
    script = 'i=0; while [ $i -lt 400000 ]; do i=$((i+1)); echo "line $i, and so that it is long: $i $i $i $i $i $i $i"; done'
    open_world.ok("run", "-d", "--name", "talker", IMAGE, "sh", "-c", f"sleep 1; {script}")
    result = as_user(open_world, "logs", "-f", "talker")
    lines = result.stdout.splitlines()
    assert result.exit_code == 0 and len(lines) == 400000, result.stderr
    assert all(line.startswith(f"line {number},") for number, line in enumerate(lines, 1))
    directory = open_world.inspect("talker")["directory"]
    assert os.path.exists(f"{directory}/log.1")
    open_world.ok("rm", "talker")


@pytest.mark.vm
def test_others_are_refused(open_world: World) -> None:
    """API-01: by the modes, and where these are open by what the kernel says of the peer."""
    refused = as_user(open_world, "ps", groups=(OTHER_GROUP,))
    assert refused.exit_code == 7
    assert (
        one_clear_line(refused.stderr) == "pycontainer: pycontainer must run as root, or as a member of group 'games'"
    )
    path, other = open_world.paths.supervisor_socket, grp.getgrnam(OTHER_GROUP).gr_gid
    assert in_a_child(lambda: ping(path), [other]) == "PermissionError"
    os.chmod(open_world.paths.run_dir, 0o755)
    os.chmod(path, 0o666)
    gid = grp.getgrnam(GROUP).gr_gid
    many = [*range(100000, 100400), gid]  # more than fit into the first look
    assert "result" in in_a_child(lambda: ping(path), many)  # type: ignore[operator]
    for groups in ([], [other], many[:-1]):
        said = in_a_child(lambda: ping(path), groups)
        assert isinstance(said, dict)
        assert said["error"]["message"] == "user 65534 may not control containers: not in group 'games'"
    assert one_clear_line(as_user(open_world, "ps", groups=()).stderr).endswith("not in group 'games'")


def test_a_descriptor_of_the_directory_opens_nothing(open_world: World) -> None:
    """API-01: what counts is who connects, not who opened the way."""
    os.chmod(open_world.paths.supervisor_socket, 0o666)
    os.chmod(open_world.paths.run_dir, 0o711)  # which is what holding it amounts to: search, from there
    here = os.open(open_world.paths.run_dir, os.O_PATH | os.O_DIRECTORY)
    before = os.open(".", os.O_PATH | os.O_DIRECTORY)
    try:
        os.fchdir(here)  # what a child inherits
        said = in_a_child(lambda: ping("supervisor.sock"), [])
    finally:
        os.fchdir(before)
        os.close(before)
        os.close(here)
    assert isinstance(said, dict)
    assert said["error"]["class"] == "NotPermitted"


def test_the_group_lasts_until_it_is_taken_back(open_world: World) -> None:
    """API-01: over a restart and a crash of the supervisor; without it a member is told what is so."""
    world = open_world
    world.ok("run", "-d", "--name", "web", IMAGE, "payload", "sleep", "0")
    world.ok("service", "stop")
    poll_until(lambda: not os.path.exists(world.paths.supervisor_socket), what="it has left")
    refused = as_user(world, "ps")
    assert refused.exit_code == 7
    assert one_clear_line(refused.stderr).endswith("the supervisor is not running, and only root can start it")
    assert as_user(world, "service", "start").exit_code == 7
    assert world.ok("service", "start") == "supervisor started"
    assert world.ok("service", "start") == "supervisor was running"
    assert as_user(world, "ps").exit_code == 0
    assert world.ok("service", "start", "--group", OTHER_GROUP) == "supervisor started"
    assert as_user(world, "ps").exit_code == 7
    assert as_user(world, "ps", groups=(OTHER_GROUP,)).exit_code == 0
    assert world.ok("service", "start", "--no-group") == "supervisor started"
    assert as_user(world, "ps", groups=(OTHER_GROUP,)).exit_code == 7
    assert os.stat(world.paths.run_dir).st_gid == os.stat(world.paths.supervisor_socket).st_gid == 0
    assert stat.S_IMODE(os.stat(world.paths.supervisor_socket).st_mode) == 0o600
    assert world.status("web") == "running"
    world.ok("rm", "-f", "web")


DAMAGED = (
    (b"no-such-group\n", 0o644, "no such group"),
    (b"", 0o644, "no such group"),
    (b"\xff", 0o644, "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
    (b"games\n" * 100, 0o644, "more than 256 bytes"),
    (b"games\n", 0o666, "it belongs to user 0 with mode 0666: others could have written it"),
    (None, 0o755, "it is not a regular file"),
)


def test_a_damaged_file_opens_nothing(own_world: World) -> None:
    """API-01, FLT-09: root goes on, and is told."""
    world, path = own_world, own_world.paths.operator_group_file
    os.makedirs(os.path.dirname(path))
    for content, mode, reason in DAMAGED:
        if content is None:
            os.mkdir(path)
        else:
            with open(path, "wb") as file:
                file.write(content)
            os.chmod(path, mode)
        world.ok("service", "stop")
        assert f"operators: root (no group: '{path}': {reason})" in world.ok("info")
        assert os.stat(world.paths.supervisor_socket).st_gid == 0
        assert stat.S_IMODE(os.stat(world.paths.supervisor_socket).st_mode) == 0o600
        os.rmdir(path) if content is None else os.unlink(path)
    world.ok("service", "stop")
    assert "operators: root\n" in world.ok("info")


def test_groups_that_cannot_be(world: World) -> None:
    """API-06, VAL-01"""
    for group in ("no-such-group", "../x", "a\nb", "4294967296", "99999999999999999999"):
        line = one_clear_line(world.refused(2, "service", "start", "--group", group))
        assert "this host has no group" in line
    for arguments in (["--group", ""], ["--group", "games", "--no-group"]):
        one_clear_line(world.refused(2, "service", "start", *arguments))
    assert not os.path.exists(world.paths.operator_group_file)

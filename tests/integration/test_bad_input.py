"""Every mistake gets one clear line, a hint, the right exit code, and leaves nothing behind."""

import os
import socket
import subprocess
import tempfile
from collections.abc import Iterator

import pytest

from tests.integration.conftest import IMAGE
from tests.support.images import copy_rootfs
from tests.support.world import World


@pytest.fixture(autouse=True)
def no_container_remains(world: World) -> Iterator[None]:
    yield
    assert world.ok("ps", "-aq") == ""


def one_clear_line(message: str) -> str:
    """Check the form of a refusal: a line `pycontainer: ...`, perhaps a line `hint: ...`; return the first."""
    lines = message.rstrip("\n").split("\n")
    assert lines[0].startswith("pycontainer: "), message
    assert not lines[0].endswith("."), message
    assert all(line.startswith("hint: ") for line in lines[1:]), message
    return lines[0]


@pytest.mark.parametrize(
    ("arguments", "exit_code", "words"),
    [
        (("create", "no-such-image", "true"), 3, ["'no-such-image'"]),
        (("create", "-m", "200Q", IMAGE, "true"), 2, ["'200Q'"]),
        (("create", "-m", "0", IMAGE, "true"), 2, ["memory", "the size is 0"]),
        (("create", "-m", "-1", IMAGE, "true"), 2, ["'-1'"]),
        (("create", "-m", "1_000M", IMAGE, "true"), 2, ["'1_000M'"]),
        (("create", "-m", "５M", IMAGE, "true"), 2, ["'５M'"]),
        (("create", "--cpus", "0", IMAGE, "true"), 2, ["'0'"]),
        (("create", "--cpus", "nan", IMAGE, "true"), 2, ["'nan'"]),
        (("create", "--cpuset-cpus", "3-1", IMAGE, "true"), 2, ["'3-1'"]),
        (("create", "--pids-limit", "none", IMAGE, "true"), 2, ["'none'"]),
        (("create", "-p", "99999:80", IMAGE, "true"), 2, ["'99999:80'"]),
        (("create", "-v", "relative:../up", IMAGE, "true"), 2, ["'../up'"]),
        (("create", "--cap-add", "SYS_EVERYTHING", IMAGE, "true"), 2, ["'SYS_EVERYTHING'"]),
        (("create", "--ulimit", "nofile=many", IMAGE, "true"), 2, ["ulimits", "'many'"]),
        (("create", "--restart", "sometimes", IMAGE, "true"), 2, ["'sometimes'"]),
        (("create", "--network", "no-such-net", IMAGE, "true"), 3, ["'no-such-net'"]),
        (("create", "--rootfs", "/no/such/directory", "true"), 3, ["'/no/such/directory'"]),
        (("start", "nobody"), 3, ["'nobody'"]),
        (("stop", "nobody"), 3, ["'nobody'"]),
        (("logs", "nobody"), 3, ["'nobody'"]),
        (("image", "rm", "nothing"), 3, ["'nothing'"]),
        (("image", "import", "/no/such/file", "x"), 3, ["'/no/such/file'"]),
        (("network", "rm", "nothing"), 3, ["'nothing'"]),
    ],
)
def test_refusals(world: World, arguments: tuple[str, ...], exit_code: int, words: list[str]) -> None:
    """VAL-01, VAL-02, VAL-03"""
    line = one_clear_line(world.refused(exit_code, *arguments))
    for word in words:
        assert word in line


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "-x", "x" * 64, "a\n", "%2e", "ａ", "a b", "a;b"])
def test_bad_names(world: World, name: str) -> None:
    """VAL-01"""
    one_clear_line(world.refused(2, "create", f"--name={name}", IMAGE, "true"))


def test_taken_name(world: World) -> None:
    world.ok("create", "--name", "taken", IMAGE, "true")
    line = one_clear_line(world.refused(4, "create", "--name", "taken", IMAGE, "true"))
    assert "'taken'" in line
    world.ok("rm", "taken")


def test_taken_port_of_another_container(world: World) -> None:
    world.ok("run", "-d", "--name", "first", "-p", "8090:80", IMAGE, "payload", "sleep", "0")
    result = world.cli("run", "--rm", "--name", "second", "-p", "8090:80", IMAGE, "true")
    assert result.exit_code == 125
    line = one_clear_line(result.stderr)
    assert "8090" in line
    assert "'first'" in line
    world.ok("rm", "-f", "first")


def test_taken_port_of_a_program_of_the_host(world: World) -> None:
    with world.network.inside.make_socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("0.0.0.0", 8091))
        server.listen()
        result = world.cli("run", "--rm", "-p", "8091:80", IMAGE, "true")
    assert result.exit_code == 125
    assert "8091" in one_clear_line(result.stderr)


def test_missing_binary(world: World) -> None:
    result = world.cli("run", "--rm", IMAGE, "no-such-program")
    assert (result.exit_code, result.stdout) == (127, "")
    assert "'no-such-program'" in one_clear_line(result.stderr)


def test_not_executable_binary(world: World) -> None:
    result = world.cli("run", "--rm", IMAGE, "/etc/passwd")
    assert (result.exit_code, result.stdout) == (126, "")
    assert "'/etc/passwd'" in one_clear_line(result.stderr)


def test_run_keeps_the_small_codes_for_the_workload(world: World) -> None:
    assert world.cli("run", "--rm", "no-such-image").exit_code == 125


def test_all_problems_are_reported_together(world: World) -> None:
    message = world.refused(2, "create", "-m", "200Q", "--cpus", "x", "--name", "a b", "-p", "0:0", IMAGE, "true")
    for word in ("'200Q'", "'x'", "'a b'", "'0:0'"):
        assert word in message


def test_bad_yaml_names_file_line_and_the_word_meant(world: World) -> None:
    """VAL-04"""
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="pct-yaml-") as directory:
        path = f"{directory}/bad.yaml"
        for text, words in (
            (f"image: {IMAGE}\nmemroy: 64M\n", [f"{path}:2", "'memroy'", "'memory'"]),
            (f"image: {IMAGE}\nmemory: 64Q\n", [f"{path}:2", "'64Q'"]),
            (f"image: {IMAGE}\nimage: other\n", [f"{path}:2", "'image'"]),
            ("image: [\n", [path]),
            ("- a list\n", [path]),
            ("image: !!python/object:os.system x\n", [f"{path}:1"]),
        ):
            with open(path, "w") as file:
                file.write(text)
            message = world.cli("run", "-f", path).stderr
            one_clear_line(message)
            for word in words:
                assert word in message, (text, message)


def test_alias_bomb_is_refused_quickly(world: World) -> None:
    """VAL-04"""
    levels = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    for one, two in zip("abcdefgh", "bcdefghi", strict=True):
        levels.append(f"{two}: &{two} [{', '.join([f'*{one}'] * 9)}]")
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write("\n".join(levels))
        file.flush()
        result = world.cli("run", "-f", file.name, timeout_seconds=10)
    assert result.exit_code == 125


@pytest.mark.parametrize("directory", ["proc", "sys", "dev"])
def test_rootfs_whose_system_directory_is_a_link(world: World, busybox_rootfs: str, directory: str) -> None:
    """PATH-01"""
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="pct-link-") as parent:
        rootfs, canary = copy_rootfs(busybox_rootfs, f"{parent}/rootfs"), f"{parent}/canary"
        os.mkdir(canary)
        os.rmdir(f"{rootfs}/{directory}")
        os.symlink(canary, f"{rootfs}/{directory}")
        result = world.cli("run", "--rm", "--rootfs", rootfs, "true")
        assert result.exit_code == 125, result
        assert f"/{directory}" in one_clear_line(result.stderr)
        assert os.listdir(canary) == []


@pytest.mark.parametrize("target", ["..", "../../x", ".", "", "/" + "x" * 5000, "/" + "y" * 256, "/a\nb"])
def test_odd_mount_targets_stay_inside(world: World, target: str) -> None:
    """PATH-05"""
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="pct-bind-") as directory:
        result = world.cli("run", "--rm", "-v", f"{directory}:{target}", IMAGE, "true")
        assert result.exit_code in (0, 125), result
        assert os.listdir(directory) == []


def test_not_root(world: World) -> None:
    argv = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", *world.argv("ps")[3:]]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=world.environment, cwd="/")
    assert done.returncode == 7, done
    assert "root" in one_clear_line(done.stderr)


def test_supervisor_that_cannot_start(world: World) -> None:
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="pct-root-") as root:
        os.makedirs(f"{root}/run/supervisor.pid")  # a directory where it keeps its lock
        done = _cli_with_root(world, root)
        assert done.returncode == 8, done
        assert "supervisor.pid" in one_clear_line(done.stderr)


def test_root_that_is_a_file(world: World) -> None:
    with tempfile.NamedTemporaryFile(dir="/var/tmp", prefix="pct-file-") as file:
        done = _cli_with_root(world, file.name)
        assert done.returncode == 2, done
        assert f"'{file.name}'" in one_clear_line(done.stderr)


def _cli_with_root(world: World, root: str) -> "subprocess.CompletedProcess[str]":
    argv = [*world.argv()[:-1], root, "ps"]
    return subprocess.run(argv, capture_output=True, text=True, check=False, env=world.environment)


def test_unknown_command_and_option(world: World) -> None:
    for arguments in (("rnu", IMAGE), ("create", "--memroy", "1M", IMAGE), ("stop",)):
        one_clear_line(world.refused(2, *arguments))
    assert "did you mean '--memory'?" in one_clear_line(world.refused(125, "run", "--memroy", "1M", IMAGE))


def test_failed_starts_leave_nothing(world: World) -> None:
    """LK-02, small: twenty failing starts; the fixture compares the host before and after."""
    for _ in range(10):
        assert world.cli("run", "--rm", IMAGE, "no-such-program").exit_code == 127
        assert world.cli("run", "--rm", "-w", "/etc/passwd", IMAGE, "true").exit_code == 125

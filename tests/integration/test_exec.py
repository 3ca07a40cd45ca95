"""`exec` and `enter`: one more process in a running container."""

import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.integration.conftest import IMAGE
from tests.support.poll import SLOWNESS, poll_until
from tests.support.world import World, unique_name


@pytest.fixture
def name(world: World) -> Iterator[str]:
    name = unique_name()
    world.ok("run", "-d", "--name", name, "-e", "FROM_RUN=1", IMAGE, "payload", "sleep", "0")
    yield name


@pytest.mark.vm
def test_output_and_exit_code(world: World, name: str) -> None:
    result = world.cli("exec", name, "payload", "out", "a", "err", "b", "exit", "3")
    assert result == (3, "a\n", "b\n")


def test_one_that_is_left_alone(world: World, name: str) -> None:
    """It is answered once it runs, outlives its asker, and goes with the container; what cannot be run is told."""
    assert world.ok("exec", "-d", "-e", "MORE=1", name, "sh", "-c", "echo $MORE > /told; cat; sleep 1000; true") == ""
    poll_until(lambda: world.cli("exec", name, "cat", "/told").stdout == "1\n", what="it has begun")
    poll_until(lambda: "sleep 1000" in world.ok("top", name), what="it goes on, and its input is empty")
    assert "'missing' not found" in world.refused(127, "exec", "-d", name, "missing")
    assert "has no input and no terminal" in world.refused(125, "exec", "-d", "-t", name, "true")
    world.ok("stop", "-t", "0", name)


def test_signal_becomes_128_plus(world: World, name: str) -> None:
    assert world.cli("exec", name, "payload", "signal", "15").exit_code == 143


def test_stdin(world: World, name: str) -> None:
    assert world.ok("exec", "-i", name, "payload", "echo", stdin="through") == "through"


def test_megabytes_arrive_whole(world: World, name: str) -> None:
    text = "0123456789abcdef" * 65536 * 4
    assert world.ok("exec", "-i", name, "cat", stdin=text) == text


def test_options(world: World, name: str) -> None:
    lines = world.ok(
        "exec", "-u", "1000:1001", "-w", "/tmp", "-e", "EXTRA=2", name, "payload", "ids", "cwd", "env"
    ).split("\n")
    expected = {"Uid:\t1000\t1000\t1000\t1000", "Gid:\t1001\t1001\t1001\t1001", "/tmp", "EXTRA=2", "FROM_RUN=1"}
    assert expected <= set(lines)


@pytest.mark.vm
def test_namespaces_are_those_of_the_container(world: World, name: str) -> None:
    import os

    init_pid = world.inspect(name)["pid"]
    inside = dict(line.split() for line in world.ok("exec", name, "payload", "ns").split("\n"))
    for kind in ("pid", "mnt", "uts", "ipc", "net", "user", "cgroup"):
        assert inside[kind] == os.readlink(f"/proc/{init_pid}/ns/{kind}"), kind
        assert inside[kind] != os.readlink(f"/proc/self/ns/{kind}"), kind


@pytest.mark.vm
def test_capabilities_do_not_exceed_those_of_init(world: World, name: str) -> None:
    """CAP-01"""
    init_pid = world.inspect(name)["pid"]
    with open(f"/proc/{init_pid}/status") as file:
        of_init = [line.strip() for line in file if line.startswith(("Cap", "NoNewPrivs", "Seccomp:"))]
    assert world.ok("exec", name, "payload", "caps").split("\n") == of_init


def test_user_has_no_capabilities(world: World, name: str) -> None:
    """CAP-01"""
    lines = dict(line.split() for line in world.ok("exec", "-u", "1000", name, "payload", "caps").split("\n"))
    assert (lines["CapEff:"], lines["CapPrm:"], lines["CapAmb:"], lines["CapInh:"]) == ("0" * 16,) * 4


def test_descriptors_are_only_the_three(world: World, name: str) -> None:
    """FD-01"""
    inherited = tuple(range(3, 20))
    import os

    made = [os.open("/etc/passwd", os.O_RDONLY) for _ in inherited]
    try:
        process = world.popen("exec", name, "payload", "fds", pass_fds=tuple(made))
        out, err = process.communicate(timeout=30)
    finally:
        for fd in made:
            os.close(fd)
    assert process.returncode == 0, err
    assert [line.split()[0] for line in out.decode().splitlines()] == ["0", "1", "2"]


def test_missing_and_not_executable(world: World, name: str) -> None:
    result = world.cli("exec", name, "no-such-program")
    assert (result.exit_code, result.stdout) == (127, "")
    assert "'no-such-program'" in result.stderr
    result = world.cli("exec", name, "/etc/passwd")
    assert (result.exit_code, result.stdout) == (126, "")
    assert "'/etc/passwd'" in result.stderr


def test_in_a_stopped_container(world: World, name: str) -> None:
    world.ok("stop", "-t", "0", name)
    result = world.cli("exec", name, "true")
    assert result.exit_code == 125
    assert f"'{name}'" in result.stderr
    assert "not running" in result.stderr


def test_many_at_once(world: World, name: str) -> None:
    """RES-08, small"""
    processes = [world.popen("exec", name, "payload", "out", str(number)) for number in range(20)]
    outputs = [process.communicate(timeout=60)[0].decode().strip() for process in processes]
    assert outputs == [str(number) for number in range(20)]
    assert [process.returncode for process in processes] == [0] * 20
    poll_until(lambda: len(world.ok("top", name).splitlines()) == 2, what="only init is left")


def test_daemon_keeps_running_and_exec_returns(world: World, name: str) -> None:
    """RES-08: a program that goes to the background and keeps stdout does not hold the command for ever."""
    began = time.monotonic()
    result = world.cli("exec", name, "sh", "-c", "payload daemon sleep 300 >/dev/null 2>&1 </dev/null; echo back")
    assert result == (0, "back\n", "")
    assert time.monotonic() - began < 30 * SLOWNESS
    assert "payload daemon sleep 300" in world.ok("top", name)


def test_killed_client_ends_the_program(world: World, name: str) -> None:
    process = world.popen("exec", "-i", name, "payload", "out", "on", "echo", stdin=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"on\n"
    process.kill()
    process.communicate()
    poll_until(lambda: len(world.ok("top", name).splitlines()) == 2, what="stdin closed, so echo has ended")


def test_enter_runs_a_root_shell(world: World, name: str) -> None:
    result = world.cli("enter", name, stdin="id -u; exit 4\n")
    assert "0" in result.stdout
    assert result.exit_code == 4

"""^C and kill for who waits in the foreground without a terminal: the container gets the signal, its exit code is ours."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.integration.conftest import IMAGE
from tests.support.poll import SLOWNESS, poll_until
from tests.support.world import World, unique_name

ANSWERING = (
    "sh",
    "-c",
    'trap "echo INT; exit 7" INT; trap "echo TERM; exit 9" TERM; echo up; while :; do sleep 0.1; done',
)
PLAIN = ("payload", "out", "up", "sleep", "0")  # a shell has a handler for SIGINT of its own


@contextmanager
def foreground(world: World, *command: str, **options: object) -> Iterator[subprocess.Popen[bytes]]:
    """A command in the foreground, whose workload has said that it is there."""
    process = world.popen(*command, **options)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def ending(process: subprocess.Popen[bytes]) -> tuple[int, str, str]:
    """Return how a command ends: exit code, what is left of its output, errors."""
    stdout, stderr = process.communicate(timeout=20 * SLOWNESS)
    return process.returncode, stdout.decode(), stderr.decode()


def is_gone(world: World, name: str) -> None:
    """Fail unless nothing is left of a container, which its own end removes."""
    poll_until(lambda: name not in world.ok("ps", "-a", "--format", "json"), what=f"{name} is gone")
    poll_until(lambda: not os.listdir(world.paths.containers_dir), what="its files are gone")


@pytest.mark.vm
@pytest.mark.parametrize(
    ("number", "said", "exit_code"), [(signal.SIGINT, "INT", 7), (signal.SIGTERM, "TERM", 9)], ids=["INT", "TERM"]
)
@pytest.mark.parametrize("options", [(), ("--rm",), ("--init", "--rm"), ("-i", "--rm")], ids=" ".join)
def test_run_passes_it_on(
    world: World, options: tuple[str, ...], number: signal.Signals, said: str, exit_code: int
) -> None:
    name = unique_name()
    with foreground(world, "run", *options, "--name", name, IMAGE, *ANSWERING) as process:
        process.send_signal(number)
        assert ending(process) == (exit_code, f"{said}\n", "")
    if "--rm" not in options:
        assert (world.status(name), world.inspect(name)["exit_code"]) == ("stopped", exit_code)
        world.ok("rm", name)
    is_gone(world, name)


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["INT", "TERM"])
def test_who_has_no_handler_dies_of_it(world: World, number: signal.Signals, exit_code: int) -> None:
    name = unique_name()
    with foreground(world, "run", "--rm", "--init", "--name", name, IMAGE, *PLAIN) as process:
        process.send_signal(number)
        assert ending(process) == (exit_code, "", "")
    is_gone(world, name)


def test_a_first_process_without_handler_goes_on_and_so_does_the_command(world: World) -> None:
    name = unique_name()
    with foreground(world, "run", "--rm", "--name", name, IMAGE, *PLAIN) as process:
        for number in (signal.SIGINT, signal.SIGTERM):
            process.send_signal(number)
        world.ok("exec", name, "true")
        assert process.poll() is None
        world.ok("kill", name)
        assert ending(process) == (137, "", "")
    is_gone(world, name)


def test_the_whole_group_of_a_terminal_gets_it(world: World) -> None:
    """As of ^C in a shell: whatever else is in the command's group."""
    name = unique_name()
    with foreground(world, "run", "--rm", "--name", name, IMAGE, *ANSWERING, process_group=0) as process:
        os.killpg(process.pid, signal.SIGINT)
        assert ending(process) == (7, "INT\n", "")
    is_gone(world, name)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["INT", "TERM"])
def test_also_after_its_output_was_closed(world: World, number: signal.Signals) -> None:
    name = unique_name()
    script = 'trap "exit 7" INT; trap "exit 9" TERM; echo up; exec >&- 2>&-; while :; do sleep 0.1; done'
    with foreground(world, "run", "--rm", "--name", name, IMAGE, "sh", "-c", script) as process:
        assert process.stdout is not None
        poll_until(lambda: not world.ok("exec", name, "sh", "-c", "ls /proc/1/fd | grep -x [12] || :"))
        process.send_signal(number)
        assert ending(process) == (7 if number == signal.SIGINT else 9, "", "")
    is_gone(world, name)


@pytest.mark.parametrize("verb", [("attach",), ("start", "-a")], ids=" ".join)
def test_attach_and_start_pass_it_on(world: World, verb: tuple[str, ...]) -> None:
    name = unique_name()
    script = 'trap "echo INT; exit 7" INT; while :; do echo up; sleep 0.1; done'
    world.ok("create", "--rm", "--name", name, IMAGE, "sh", "-c", script)
    if verb == ("attach",):
        world.ok("start", name)
    with foreground(world, *verb, name) as process:
        process.send_signal(signal.SIGINT)
        exit_code, stdout, stderr = ending(process)
    assert (exit_code, stdout.replace("up\n", ""), stderr) == (7, "INT\n", "")
    is_gone(world, name)


@pytest.mark.parametrize("verb", ["run", "attach"])
@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, -15)], ids=["INT", "TERM"])
def test_without_sig_proxy_the_command_ends_and_the_container_goes_on(
    world: World, verb: str, number: signal.Signals, exit_code: int
) -> None:
    name = unique_name()
    script = "while :; do echo up; sleep 0.1; done"
    if verb == "attach":
        world.ok("run", "-d", "--name", name, IMAGE, "sh", "-c", script)
    command = ("attach", name) if verb == "attach" else ("run", "--name", name, IMAGE, "sh", "-c", script)
    with foreground(world, command[0], "--no-sig-proxy", *command[1:]) as process:
        process.send_signal(number)
        assert ending(process)[0] == exit_code
    assert world.status(name) == "running"
    world.ok("rm", "-f", name)


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, -15)], ids=["INT", "TERM"])
def test_exec_ends_and_its_process_goes_on(world: World, number: signal.Signals, exit_code: int) -> None:
    """As in Docker: there is nobody whom the signal is for but the command itself."""
    name = unique_name()
    world.ok("run", "-d", "--name", name, IMAGE, "sleep", "1000")
    with foreground(world, "exec", name, "sh", "-c", "echo up; exec sleep 999") as process:
        poll_until(lambda: "sleep 999" in world.ok("top", name), what="it has begun for the supervisor as well")
        process.send_signal(number)
        assert ending(process)[0] == exit_code
    assert "sleep 999" in world.ok("top", name)
    world.ok("rm", "-f", name)

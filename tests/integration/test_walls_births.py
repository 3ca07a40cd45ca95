"""While a process is born into a container: what could be reached of it, of us, and of who called."""

import fcntl
import hashlib
import os
import re
import subprocess
import sys

import pytest

from tests.integration.conftest import IMAGE
from tests.support.poll import SLOWNESS
from tests.support.terminal import Terminal
from tests.support.world import World, unique_name


def test_no_process_is_reached_before_it_is_confined(world: World) -> None:
    """ESC-07: root of a system, with CAP_SYS_PTRACE, tries ptrace, process_vm_readv, pidfd_getfd, and exe, fd, root and mem
    in /proc of all that come. It gets into those that have become the container's, so that the hunter is known to work."""
    name = unique_name()
    world.ok("run", "-d", "--name", name, "--profile", "system", IMAGE, "payload", "sleep", "0")
    hunter = world.popen("exec", name, "payload", "hunt", "200")
    with world.client() as client:
        container = client.container(name)
        done = 0
        while hunter.poll() is None and done < 1000:  # a process may end between two looks
            container.exec(["true"])
            done += 1
    out, err = hunter.communicate(timeout=60 * SLOWNESS)
    lines = out.decode().splitlines()
    assert lines, err
    assert re.fullmatch(r"hunted \d+, met some before it was confined, entered some", lines[-1]), lines
    assert lines[:-1] == []
    assert done >= 200


def test_no_program_is_opened_for_writing(world: World) -> None:
    """ESC-05: neither what runs inside, nor what brings it there; ours are the same bytes before and after."""
    programs = (
        os.path.realpath(sys.executable),
        os.path.realpath("/usr/bin/env"),
        os.path.join(_package(), "init/birth.py"),
    )
    before = [_digest(path) for path in programs]
    name = unique_name()
    script = "while :; do for p in /proc/[0-9]*; do payload write $p/exe; done; done 2>/dev/null"
    world.ok("run", "-d", "--name", name, "--profile", "system", IMAGE, "sh", "-c", script)
    for _ in range(20):
        assert world.cli("exec", name, "true").exit_code == 0
    world.ok("run", "--rm", IMAGE, "true")
    answers = {line.rsplit(": ", 1)[1] for line in world.ok("logs", name).split("\n") if ": " in line}
    assert "ETXTBSY" in answers
    assert answers <= {"ETXTBSY", "EACCES", "EPERM", "ENOENT", "ESRCH"}
    assert [_digest(path) for path in programs] == before


@pytest.mark.parametrize("way", ["run", "exec"])
def test_nothing_can_be_typed_for_the_operator(world: World, way: str) -> None:
    """SEC-06: TIOCSTI, on the terminal that it was given."""
    name = unique_name()
    world.ok("run", "-d", "--name", name, "--profile", "system", IMAGE, "payload", "sleep", "0")
    arguments = ("run", "-it", "--rm", "--profile", "system", IMAGE) if way == "run" else ("exec", "-it", name)
    with Terminal(world.argv(*arguments, "payload", "sti"), world.environment) as terminal:
        terminal.expect("sti: EPERM")


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&-", "0<&- 1>&- 2>&-"])
def test_closed_streams_of_the_caller(world: World, closed: str) -> None:
    """FD-05: what the caller closed is /dev/null or a pipe inside; nothing of ours takes its number."""
    name = unique_name()
    world.ok("run", "-d", "--name", name, IMAGE, "payload", "sleep", "0")
    marks = 'all=$(for n in 0 1 2; do readlink /proc/$$/fd/$n; done); echo "$all" > /tmp/streams; cat'
    for options in (("exec",), ("exec", "-i")):
        argv = world.argv(*options, name, "sh", "-c", marks)
        done = subprocess.run(
            ["sh", "-c", f'"$@" {closed}', "sh", *argv],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            env=world.environment,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b""), done
        lines = world.ok("exec", name, "cat", "/tmp/streams").split("\n")
        assert all(re.fullmatch(r"/dev/null|pipe:\[\d+\]", line) for line in lines), lines
        assert len(lines) == 3


@pytest.mark.parametrize("arguments", [("run", "--rm", IMAGE), ("run", "--rm", "-i", IMAGE), ("exec",), ("exec", "-i")])
def test_input_is_a_directory(world: World, arguments: tuple[str, ...]) -> None:
    """FD-05: nothing to read; the directory stays outside, also as `..` of something.

    Python ends with a directory as standard input before any of our code runs (main thread, init_sys_streams). So it comes
    to us in two ways: that refusal, which must have started nothing; and a directory put there once Python runs.
    """
    name = unique_name()
    world.ok("run", "-d", "--name", name, IMAGE, "payload", "sleep", "0")
    words = (*arguments, name) if arguments[0] == "exec" else arguments
    script = "readlink /proc/self/fd/0; ls /proc/$$/fd/0/ 2>/dev/null; wc -c"
    argv = world.argv(*words, "sh", "-c", script)
    directory_fd = os.open("/etc", os.O_RDONLY)
    try:
        refused = subprocess.run(argv, stdin=directory_fd, capture_output=True, env=world.environment, check=False)
        later = [sys.executable, "-c", _LATER, str(directory_fd), *argv[argv.index("--root") :]]
        process = subprocess.Popen(
            world.network.inside.argv(*later), pass_fds=(directory_fd,), stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, env=world.environment,
        )  # fmt: skip
        out, err = process.communicate(timeout=60 * SLOWNESS)
    finally:
        os.close(directory_fd)
    assert (refused.returncode, refused.stdout) == (1, b"")
    assert b"<stdin> is a directory, cannot continue" in refused.stderr
    assert (process.returncode, err) == (0, b"")
    assert re.fullmatch(rb"(/dev/null|pipe:\[\d+\])\n0\n", out), out
    assert len(world.ok("ps", "-aq").split()) == 1


_LATER = (
    "import os, sys; os.dup2(int(sys.argv.pop(1)), 0); "
    "from pycontainer.cli.main import main; sys.argv[0] = 'pycontainer'; sys.exit(main())"
)


@pytest.mark.vm
def test_descriptors_of_the_caller_stay_outside(world: World) -> None:
    """FD-01: fifty files, directories and sockets, inheritable, over run, exec and create."""
    made = [os.open(path, os.O_RDONLY) for path in ("/etc/passwd", "/", "/proc") for _ in range(17)]
    name, second = unique_name(), unique_name()
    try:
        for fd in made:
            fcntl.fcntl(fd, fcntl.F_SETFD, 0)
        for arguments in (
            ("run", "-d", "--name", name, IMAGE, "payload", "sleep", "0"),
            ("create", "--name", second, IMAGE, "payload", "sleep", "0"),
            ("start", second),
        ):
            process = world.popen(*arguments, pass_fds=tuple(made))
            _, err = process.communicate(timeout=60)
            assert process.returncode == 0, err
        process = world.popen("exec", name, "payload", "fds", pass_fds=tuple(made))
        out, err = process.communicate(timeout=60)
    finally:
        for fd in made:
            os.close(fd)
    assert [line.split()[0] for line in out.decode().splitlines()] == ["0", "1", "2"], err
    for container in (name, second):
        assert sorted(os.listdir(f"/proc/{world.inspect(container)['pid']}/fd")) == ["0", "1", "2"]


@pytest.mark.parametrize("number", [3, 4, 5, 6, 7, 8, 10, 15, 30])
def test_workdir_through_a_descriptor(world: World, busybox_rootfs: str, number: int) -> None:
    """FD-03: by exec's option, and by a link in the image: refused, or inside."""
    name = unique_name()
    world.ok("run", "-d", "--name", name, IMAGE, "payload", "sleep", "0")
    world.ok("exec", name, "ln", "-s", f"/proc/self/fd/{number}", "/tmp/link")
    for workdir in (f"/proc/self/fd/{number}", "/tmp/link", f"/proc/self/fd/{number}/../../.."):
        result = world.cli(
            "exec", "-w", workdir, name, "sh", "-c", "readlink /proc/self/cwd; cat ../../../../../../etc/hostname"
        )
        if result.exit_code == 0:
            assert world.inspect(name)["hostname"] in result.stdout or name in result.stdout
        assert "unreachable" not in result.stdout
        assert "/var/tmp" not in result.stdout


@pytest.mark.vm
def test_filter_is_on_every_task(world: World) -> None:
    """SEC-03: seen from the host, of init, of its threads and children, and of what exec brought."""
    name = unique_name()
    world.ok("run", "-d", "--name", name, "--profile", "system", IMAGE, "payload", "fork", "3", "sleep", "0")
    sleeper = world.popen("exec", name, "payload", "out", "on", "sleep", "0")
    assert sleeper.stdout is not None
    assert sleeper.stdout.readline() == b"on\n"
    pids = [int(line.split()[0]) for line in world.ok("top", name).split("\n")[1:]]
    assert len(pids) == 5
    for pid in pids:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/status") as file:
                assert "Seccomp:\t2\n" in file.read(), pid
    world.ok("rm", "-f", name)
    sleeper.communicate(timeout=60)


def _package() -> str:
    import pycontainer

    return os.path.dirname(pycontainer.__file__)


def _digest(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()

"""Interactive terminals: `run -it`, `exec -it`, `enter`, `attach`, with a person typing."""

import contextlib
import os
import stat
from pathlib import Path

from tests.integration.conftest import IMAGE
from tests.support.poll import poll_until
from tests.support.terminal import Terminal
from tests.support.world import World, unique_name

_PTS_MAJOR = 136  # Documentation/admin-guide/devices.txt
PROMPT = r"READY> ?"
SHELL = ("sh", "-c", "PS1='READY> ' exec sh -i")


def terminal(world: World, *arguments: str, rows: int = 24, columns: int = 80) -> Terminal:
    return Terminal(world.argv(*arguments), world.environment, rows=rows, columns=columns)


def test_run_it_is_a_terminal_of_its_own(world: World) -> None:
    """FD-05: the operator's terminal is never inside."""
    with terminal(world, "run", "--rm", "-it", IMAGE, *SHELL) as person:
        person.expect(PROMPT)
        person.type("test -t 0 && test -t 1 && test -t 2 && echo ALL-$((40+2))\r")
        person.expect("ALL-42")
        person.type("readlink /proc/self/fd/0\r")
        person.expect(r"^/dev/(pts/\d+|console)\r")
        person.type("exit 5\r")
        assert person.wait() == 5


def test_window_size_and_resize(world: World) -> None:
    with terminal(world, "run", "--rm", "-it", IMAGE, *SHELL, rows=33, columns=111) as person:
        person.expect(PROMPT)
        person.type("stty size\r")
        person.expect(r"^33 111\r")
        person.type("trap 'echo CHANGED' WINCH\r")
        person.resize(44, 99)
        person.type("stty size\r")
        person.expect(r"^44 99\r")


def test_interrupt_reaches_the_foreground_program(world: World) -> None:
    with terminal(world, "run", "--rm", "-it", IMAGE, *SHELL) as person:
        person.expect(PROMPT)
        person.type("sh -c 'echo RUNNING-$((1+1)); exec sleep 1000'\r")
        person.expect("RUNNING-2")
        person.type("\x03")
        person.expect(PROMPT)
        person.type("echo still-$((1+1))\r")
        person.expect("still-2")


def test_suspend_and_foreground(world: World) -> None:
    with terminal(world, "run", "--rm", "-it", IMAGE, *SHELL) as person:
        person.expect(PROMPT)
        person.type("sh -c 'echo RUNNING-$((1+1)); exec sleep 1000'\r")
        person.expect("RUNNING-2")
        person.type("\x1a")
        person.expect("Stopped")
        person.expect(PROMPT)
        person.type("kill %1; echo gone-$((1+1))\r")
        person.expect("gone-2")


def test_vi_draws_and_ends(world: World) -> None:
    with terminal(world, "run", "--rm", "-it", IMAGE, *SHELL) as person:
        person.expect(PROMPT)
        person.type("vi /tmp/file\r")
        person.expect(r"~")
        person.type("ihello")
        person.expect("hello")
        person.type("\x1b")
        person.expect(r"- /tmp/file")
        person.type(":wq\r")
        person.expect(PROMPT)
        person.type("cat /tmp/file\r")
        person.expect(r"^hello\r")


def test_top_draws_and_ends(world: World) -> None:
    with terminal(world, "run", "--rm", "-it", IMAGE, *SHELL) as person:
        person.expect(PROMPT)
        person.type("top -d 1\r")
        person.expect(r"Load average")
        person.type("q")
        person.expect(PROMPT)


def test_terminal_is_put_back(world: World) -> None:
    with terminal(world, "run", "--rm", "-it", IMAGE, *SHELL) as person:
        before = person.settings()
        person.expect(PROMPT)
        assert person.settings() != before, "raw while the session lasts"
        person.type("exit\r")
        person.expect(r"exit")
        poll_until(lambda: person.settings() == before, what="the settings are as before")
        assert person.wait() == 0


def test_detach_keys_leave_it_running(world: World) -> None:
    name = unique_name()
    with terminal(world, "run", "-it", "--name", name, IMAGE, *SHELL) as person:
        person.expect(PROMPT)
        person.type("echo before-$((1+1))\r")
        person.expect("before-2")
        person.type("\x10\x11")
        assert person.wait() == 0
    assert world.status(name) == "running"
    with terminal(world, "attach", name) as person:
        person.type("echo after-$((1+1))\r")
        person.expect("after-2")
        person.type("exit 3\r")
        assert person.wait() == 3
    assert world.inspect(name)["exit_code"] == 3


def test_exec_it(world: World) -> None:
    name = unique_name()
    world.ok("run", "-d", "--name", name, IMAGE, "payload", "sleep", "0")
    with terminal(world, "exec", "-it", name, *SHELL, rows=30, columns=90) as person:
        person.expect(PROMPT)
        person.type("stty size; tty\r")
        person.expect(r"^30 90\r")
        person.expect(r"^/dev/(pts/\d+|console)\r")
        person.resize(31, 91)
        person.type("stty size\r")
        person.expect(r"^31 91\r")
        person.type("sh -c 'echo RUNNING-$((1+1)); exec sleep 1000'\r")
        person.expect("RUNNING-2")
        person.type("\x03")
        person.expect(PROMPT)
        person.type("exit 7\r")
        assert person.wait() == 7
    assert world.status(name) == "running"


def test_exec_where_the_terminals_are_read_only(world: World) -> None:
    """An instance's root can make it fail: that costs the host no terminal."""
    name = unique_name()
    world.ok("run", "-d", "--profile", "system", "--name", name, IMAGE, "sleep", "1000")
    world.ok("exec", name, "mount", "-o", "remount,bind,ro", "/dev/pts")
    before = terminals_held(world)
    for _ in range(3):
        with terminal(world, "exec", "-it", name, "true") as person:
            person.expect("Read-only file system")
            assert person.wait() == 125
    poll_until(lambda: terminals_held(world) == before == 0, what="terminals are given back")
    world.ok("rm", "-f", name)


def terminals_held(world: World) -> int:
    """Return how many descriptors of masters and slaves the supervisor has: others on this host have some as well."""
    count = 0
    for fd in Path(f"/proc/{world.supervisor_pid()}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            details = fd.stat()
            is_master = details.st_rdev == os.makedev(5, 2)
            count += stat.S_ISCHR(details.st_mode) and (is_master or os.major(details.st_rdev) == _PTS_MAJOR)
    return count


def test_enter(world: World) -> None:
    name = unique_name()
    world.ok("run", "-d", "--name", name, "--hostname", "apple", IMAGE, "payload", "sleep", "0")
    with terminal(world, "enter", name) as person:
        person.type("echo in-$(hostname)-as-$(id -u)\r")
        person.expect("in-apple-as-0")
        person.type("exit\r")
        assert person.wait() == 0


def test_closed_window_ends_nothing_but_the_session(world: World) -> None:
    name = unique_name()
    with terminal(world, "run", "-it", "--name", name, IMAGE, *SHELL) as person:
        person.expect(PROMPT)
    poll_until(lambda: world.status(name) == "running")
    world.ok("rm", "-f", name)


def test_it_without_a_terminal_is_refused(world: World) -> None:
    result = world.cli("run", "--rm", "-it", IMAGE, "true")
    assert result.exit_code == 125
    assert "terminal" in result.stderr

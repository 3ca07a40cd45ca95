"""Terminals: made inside, handed to the engine over a socket, or that of the caller."""

import json
import os
from collections.abc import Iterator

import pytest

from tests.conformance.console import ConsoleSocket
from tests.conformance.runtime import PATH, SLEEP, Container
from tests.support.terminal import Terminal


@pytest.fixture
def console(container: Container) -> Iterator[ConsoleSocket]:
    console = ConsoleSocket(f"{container.bundle}/tty.sock")
    yield console
    console.close()


def test_create_sends_the_terminal(container: Container, console: ConsoleSocket) -> None:
    container.process["terminal"] = True
    script = "tty; test -t 0 && test -t 1 && test -t 2 && echo all; read line; echo got $line; stty size"
    container.process["consoleSize"] = {"height": 31, "width": 117}
    container.create(*container.shell(script), options=["--console-socket", console.path])
    console.receive()
    container.start()
    console.expect("all")
    assert b"/dev/pts/0" in console.seen or b"/dev/console" in console.seen
    console.type("typed\r")
    console.expect("got typed")
    container.wait_stopped()
    console.expect("31 117")


def test_dev_console_is_the_terminal(container: Container, console: ConsoleSocket) -> None:
    container.process["terminal"] = True
    container.create(
        *container.shell("echo by its name >/dev/console; sleep 600"), options=["--console-socket", console.path]
    )
    console.receive()
    container.start()
    console.expect("by its name")


def test_it_is_the_controlling_terminal(container: Container, console: ConsoleSocket) -> None:
    """The program stays: when the leader of a session ends, what it wrote last may be lost with the terminal."""
    container.process["terminal"] = True
    container.create(*container.shell("trap 'echo int' INT; echo ctl >/dev/tty; while :; do sleep 0.05; done"),
                     options=["--console-socket", console.path])  # fmt: skip
    console.receive()
    container.start()
    console.expect("ctl")
    console.type("\x03")
    console.expect("int")


def test_terminal_belongs_to_the_user(container: Container, console: ConsoleSocket) -> None:
    container.process["terminal"] = True
    container.process["user"] = {"uid": 1000, "gid": 1000}
    container.create(*container.shell("stat -c owner=%u $(tty); sleep 600"), options=["--console-socket", console.path])
    console.receive()
    container.start()
    console.expect("owner=1000")


def test_exec_sends_the_terminal(container: Container, console: ConsoleSocket) -> None:
    container.create_and_start(*SLEEP)
    done = container.exec(
        *container.shell("tty; read line; echo got $line; sleep 600"),
        options=["--tty", "--detach", "--console-socket", console.path, "--pid-file", f"{container.bundle}/pid"],
    )
    assert done.code == 0, done.err
    console.receive()
    console.expect("/dev/pts/")
    console.type("typed\r")
    console.expect("got typed")


def test_exec_with_process_file_as_engines_call_it(container: Container, console: ConsoleSocket) -> None:
    container.create_and_start(*SLEEP)
    process = {
        "terminal": True, "args": ["sh", "-c", "stty size; sleep 600"], "cwd": "/", "env": [f"PATH={PATH}"],
        "user": {"uid": 0, "gid": 0}, "consoleSize": {"height": 20, "width": 90},
    }  # fmt: skip
    with open(f"{container.bundle}/process.json", "w") as file:
        json.dump(process, file)
    done = container.exec(
        options=["--process", f"{container.bundle}/process.json", "--detach", "--console-socket", console.path]
    )
    assert done.code == 0, done.err
    console.receive()
    console.expect("20 90")


def test_terminal_without_a_socket_is_refused(container: Container) -> None:
    container.process["terminal"] = True
    done = container.try_create("true")
    assert done.code == 1 and done.err
    assert not container.exists()


def test_socket_without_a_terminal_is_refused(container: Container, console: ConsoleSocket) -> None:
    done = container.try_create("true", options=["--console-socket", console.path])
    assert done.code == 1 and done.err


def test_socket_that_is_not_there(container: Container) -> None:
    container.process["terminal"] = True
    done = container.try_create("true", options=["--console-socket", f"{container.bundle}/none.sock"])
    assert done.code == 1 and done.err
    assert not container.exists()


def test_run_at_a_terminal(container: Container) -> None:
    """A person's terminal: keys go in, its size follows, its settings come back, Ctrl-C reaches the program inside."""
    container.process["terminal"] = True
    follows = "until stty size | grep '33 101'; do sleep 0.05; done"  # the keys may be there before the size
    container.set_args(container.shell(f"tty; stty size; read line; {follows}; echo got $line; exit 4"))
    container.write()
    runtime = container.runtime
    argv = [runtime.program, "--root", runtime.root, "run", "--bundle", container.bundle, container.id]
    with Terminal(argv, {"PATH": os.environ["PATH"], "TERM": "dumb"}, rows=24, columns=80) as terminal:
        before = terminal.settings()
        terminal.expect("24 80")
        terminal.resize(33, 101)
        terminal.type("typed\r")
        terminal.expect("33 101")
        terminal.expect("got typed")
        assert terminal.wait() == 4
        assert terminal.settings() == before

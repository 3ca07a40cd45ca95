"""Filters that ask an agent: the descriptor reaches it with the container's state, and its answers hold."""

import errno
import os
from collections.abc import Iterator

import pytest

from tests.conformance.listener import Listener
from tests.conformance.runtime import SLEEP, Container
from tests.support.poll import poll_until

MKDIR = ["mkdir", "mkdirat"]
REFUSED = os.strerror(errno.EXDEV)
GOES_ON = 0


def ask_for(container: Container, names: list[str], *, metadata: str = "") -> str:
    """Let the filter ask about these calls; return the path of the agent's socket."""
    path = f"{container.bundle}/agent"
    container.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": path,
        "syscalls": [{"names": names, "action": "SCMP_ACT_NOTIFY"}],
    }
    if metadata:
        container.linux["seccomp"]["listenerMetadata"] = metadata
    return path


@pytest.fixture
def agent(container: Container) -> Iterator[Listener]:
    """One that refuses mkdir(2)."""
    listener = Listener(ask_for(container, MKDIR, metadata="of the engine"), errno.EXDEV)
    yield listener
    listener.close()


def test_answers_hold(container: Container, agent: Listener) -> None:
    out = container.output_of("sh", "-c", "mkdir /made 2>&1; test -d /made || echo none")
    assert REFUSED in out and out.endswith("none\n")
    assert len(agent.asked) == 1


def test_agent_may_let_it_go_on(container: Container) -> None:
    agent = Listener(ask_for(container, MKDIR), GOES_ON)
    try:
        assert container.output_of("sh", "-c", "mkdir /made && echo made") == "made\n"
        assert len(agent.asked) == 1 and os.path.isdir(f"{container.rootfs}/made")
    finally:
        agent.close()


def test_state_that_the_agent_is_told(container: Container, agent: Listener) -> None:
    container.config["annotations"] = {"a": "b"}
    container.create_and_start(*container.shell("mkdir /made; exec payload sleep 0"))
    poll_until(lambda: agent.asked, what="the agent is asked")
    (told,) = agent.states
    assert told["fds"] == ["seccompFd"] and told["metadata"] == "of the engine"
    assert told["pid"] == told["state"]["pid"] == container.pid()
    assert told["state"]["id"] == container.id and told["state"]["bundle"] == container.bundle
    assert told["state"]["annotations"] == {"a": "b"}
    assert told["ociVersion"] and told["state"]["status"] in ("creating", "created")


@pytest.mark.parametrize("no_new_privileges", [True, False])
def test_exec(container: Container, agent: Listener, no_new_privileges: bool) -> None:
    """A later process has a filter, and so a listener, of its own."""
    container.process["noNewPrivileges"] = no_new_privileges
    container.create_and_start(*SLEEP)
    done = container.exec("mkdir", "/made")
    assert done.code == 1 and REFUSED in done.err
    poll_until(lambda: len(agent.states) == 2, what="the agent is told of the second process")
    assert agent.states[1]["state"]["id"] == container.id
    assert agent.states[1]["pid"] != container.pid() == agent.states[1]["state"]["pid"]
    assert container.exec("payload", "exit", "6").code == 6


def test_program_that_exec_does_not_find(container: Container, agent: Listener) -> None:
    container.create_and_start(*SLEEP)
    os.symlink("/no/such/file", f"{container.rootfs}/dangling")
    assert container.exec("/dangling").code == 255
    assert container.status() == "running"


@pytest.mark.parametrize("no_new_privileges", [True, False])
def test_calls_of_the_runtime_itself(container: Container, no_new_privileges: bool) -> None:
    """What it still does after the filter was loaded asks the agent as well: it must have it by then."""
    container.process["noNewPrivileges"] = no_new_privileges
    names = ["chdir", "fchdir", "capset", "prctl", "close", "read", "fcntl", "execve"]
    agent = Listener(ask_for(container, names), GOES_ON)
    try:
        container.create_and_start("payload", "out", "ran", *SLEEP[1:])
        container.wait_for_output("ran")
        assert agent.asked
        assert container.exec("payload", "exit", "6").code == 6
    finally:
        agent.close()


def test_agent_that_is_not_there(container: Container) -> None:
    ask_for(container, MKDIR)
    done = container.try_create("true")
    assert done.code == 1 and done.err
    assert not container.exists()


def test_write_cannot_be_asked_about(container: Container) -> None:
    """The runtime itself writes before the agent is there."""
    ask_for(container, ["write"])
    done = container.try_create("true")
    assert done.code == 1 and "write" in done.err


def test_no_path_of_an_agent(container: Container) -> None:
    ask_for(container, MKDIR)
    del container.linux["seccomp"]["listenerPath"]
    done = container.try_create("true")
    assert done.code == 1 and "listener" in done.err.lower()

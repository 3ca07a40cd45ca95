"""Filters that ask somebody outside: who is handed the listener, and when. seccomp_unotify(2)"""

import fcntl
import json
import os
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conformance.runtime import SLEEP, Container

_RECEIVE, _SEND = 0xC0502100, 0xC0182101  # SECCOMP_IOCTL_NOTIF_RECV, _SEND
_NOTIFICATION_BYTES = 80
_CONTINUE = 1  # SECCOMP_USER_NOTIF_FLAG_CONTINUE


class Agent:
    """Listens at a path, keeps the states that it was told, and lets every call that it is asked about go on."""

    def __init__(self, path: str) -> None:
        self.told: list[dict[str, Any]] = []
        self.answered = 0
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(path)
        self._socket.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:  # closed
                return
            data, fds, _, _ = socket.recv_fds(connection, 1 << 16, 1)
            connection.close()
            self.told.append(json.loads(data))
            threading.Thread(target=self._answer, args=(fds[0],), daemon=True).start()

    def _answer(self, listener_fd: int) -> None:
        try:
            while True:
                asked = fcntl.ioctl(listener_fd, _RECEIVE, bytes(_NOTIFICATION_BYTES))
                (number,) = struct.unpack_from("=Q", asked)
                fcntl.ioctl(listener_fd, _SEND, struct.pack("=QqiI", number, 0, 0, _CONTINUE))
                self.answered += 1
        except OSError:  # nobody is left to ask
            os.close(listener_fd)

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@pytest.fixture
def agent(container: Container) -> Iterator[Agent]:
    path = f"{container.bundle}/agent.sock"
    agent = Agent(path)
    container.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": path,
        "listenerMetadata": "whose",
        "syscalls": [{"names": ["chdir"], "action": "SCMP_ACT_NOTIFY"}],
    }
    yield agent
    agent.close()


@pytest.mark.parametrize("no_new_privileges", [True, False])
def test_the_listener_of_a_container(container: Container, agent: Agent, no_new_privileges: bool) -> None:
    """Without noNewPrivileges the filter is there before the runtime's own chdir, which somebody has to answer."""
    container.process["noNewPrivileges"] = no_new_privileges
    container.create_and_start(*container.shell("cd /bin && pwd"))
    container.wait_stopped()
    assert container.output() == "/bin\n"
    (told,) = agent.told
    assert told["fds"] == ["seccompFd"] and told["metadata"] == "whose"
    assert told["state"]["id"] == container.id and told["state"]["bundle"] == container.bundle
    assert agent.answered


@pytest.mark.parametrize("no_new_privileges", [True, False])
def test_the_listener_of_a_further_process(container: Container, agent: Agent, no_new_privileges: bool) -> None:
    """Without one what is asked would fail, with ENOSYS."""
    container.process["noNewPrivileges"] = no_new_privileges
    container.create_and_start(*SLEEP)
    done = container.exec("sh", "-c", "cd /bin && pwd")
    assert (done.out, done.code) == ("/bin\n", 0), done.err
    assert [told["fds"] for told in agent.told] == [["seccompFd"]] * 2


def test_a_listener_that_nobody_takes(container: Container, agent: Agent) -> None:
    container.linux["seccomp"]["listenerPath"] = f"{container.bundle}/none.sock"
    done = container.try_create("true")
    assert done.code == 1 and done.err
    assert not container.exists()

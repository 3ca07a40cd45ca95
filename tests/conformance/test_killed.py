"""An engine that is killed takes its runtime with it, at any moment: `delete --force` always finds all that there is."""

import contextlib
import json
import os
import random
import signal
import time
from contextlib import ExitStack

import pytest

from tests.conformance.runtime import SLEEP, Container
from tests.support.poll import poll_until

ROUNDS = 30
UNRECORDED = "1.1 records what it made when all is made: what a killed create leaves, delete does not know"


class Killer:
    """Starts commands and kills them after a part of the time that a whole one takes."""

    def __init__(self, container: Container) -> None:
        self._container = container
        self._random = random.Random(os.environ.get("PYCONTAINER_TEST_SEED", "1"))
        self.whole_seconds = 0.0
        self.killed = 0

    def run(self, *words: str) -> int:
        """Run to the end; the time it takes is the measure."""
        begin = time.monotonic()
        code = self._start(*words)
        self.whole_seconds = time.monotonic() - begin
        return code

    def kill(self, *words: str) -> None:
        """Kill it somewhere between its first instruction and a little after its last."""
        self._start(*words, kill_after_seconds=self._random.uniform(0, 1.2 * self.whole_seconds))

    def _start(self, *words: str, kill_after_seconds: float = -1) -> int:
        with ExitStack() as stack:
            fds = [os.open("/var/tmp", os.O_TMPFILE | os.O_RDWR) for _ in range(3)]
            for fd in fds:
                stack.callback(os.close, fd)
            command = self._container.runtime.start(*words, fds=fds)
            if kill_after_seconds >= 0:
                with contextlib.suppress(ProcessLookupError):
                    pidfd = os.pidfd_open(command.pid)
                    stack.callback(os.close, pidfd)
                    time.sleep(kill_after_seconds)
                    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            code = command.wait()
            self.killed += code == -signal.SIGKILL
            return code


def cgroups_of(name: str) -> list[str]:
    return [f"{path}/{each}" for path, names, _ in os.walk("/sys/fs/cgroup") for each in names if each == name]


def check_gone(container: Container, container_id: str, children: set[int]) -> None:
    """Nothing answers to the id, no cgroup has its name, and no process of its is left to be reaped."""
    runtime = container.runtime
    runtime.ok("delete", "--force", container_id)
    assert runtime.call("state", container_id).code == 1
    assert not os.path.exists(f"{runtime.root}/{container_id}")
    assert cgroups_of(container_id) == []
    poll_until(lambda: runtime.children() <= children, what="no process is left")


@pytest.mark.parametrize("in_user_namespace", [False, True], ids=["", "with-users"])
@pytest.mark.deviates("runc", UNRECORDED, always=False)
def test_create(container: Container, in_user_namespace: bool) -> None:
    """Each round has an id of its own: a later one must not clear away what an earlier one left."""
    if in_user_namespace:
        container.with_user_namespace()
    container.set_args(SLEEP)
    container.write()
    killer, children = Killer(container), container.runtime.children()
    assert killer.run("create", "--bundle", container.bundle, container.id) == 0
    check_gone(container, container.id, children)
    for number in range(ROUNDS):
        container_id = f"{container.id}-{number}"
        killer.kill("create", "--bundle", container.bundle, container_id)
        check_gone(container, container_id, children)
    assert killer.killed > ROUNDS // 4, "hardly any was killed on its way: what was tested?"


@pytest.mark.deviates("runc", UNRECORDED, always=False)
def test_start(container: Container) -> None:
    """Afterwards the container is created, or runs; never anything in between."""
    container.set_args(SLEEP)
    container.write()
    killer, children = Killer(container), container.runtime.children()
    for number in range(ROUNDS // 2):
        container_id = f"{container.id}-{number}"
        container.runtime.ok("create", "--bundle", container.bundle, container_id)
        if number:
            killer.kill("start", container_id)
        else:
            assert killer.run("start", container_id) == 0
        status = json.loads(container.runtime.ok("state", container_id))["status"]
        assert status in ("created", "running")
        check_gone(container, container_id, children)


@pytest.mark.deviates("runc", UNRECORDED, always=False)
def test_delete(container: Container) -> None:
    """Another delete goes on where the killed one was."""
    container.set_args(SLEEP)
    container.write()
    killer, children = Killer(container), container.runtime.children()
    for number in range(ROUNDS // 2):
        container_id = f"{container.id}-{number}"
        container.runtime.ok("run", "--detach", "--bundle", container.bundle, container_id)
        if number:
            killer.kill("delete", "--force", container_id)
        else:
            assert killer.run("delete", "--force", container_id) == 0
        check_gone(container, container_id, children)


@pytest.mark.deviates("runc", UNRECORDED, always=False)
def test_foreground_run(container: Container) -> None:
    """The container goes on without its parent, until it is deleted."""
    container.set_args(SLEEP)
    container.write()
    killer, children = Killer(container), container.runtime.children()
    assert killer.run("run", "--detach", "--bundle", container.bundle, container.id) == 0
    check_gone(container, container.id, children)
    for number in range(ROUNDS // 2):
        container_id = f"{container.id}-{number}"
        killer.kill("run", "--bundle", container.bundle, container_id)
        check_gone(container, container_id, children)


def test_exec(container: Container) -> None:
    """What it began ends, or is whole; it is in nobody's way."""
    container.create_and_start(*SLEEP)
    killer = Killer(container)
    assert killer.run("exec", container.id, "true") == 0
    for _ in range(ROUNDS):
        killer.kill("exec", container.id, "true")
    assert killer.killed > ROUNDS // 4, "hardly any was killed on its way: what was tested?"
    words = ("ps", "--format", "json", container.id)
    poll_until(lambda: json.loads(container.runtime.ok(*words)) == [container.pid()], what="only the first is left")
    assert container.exec("true").code == 0

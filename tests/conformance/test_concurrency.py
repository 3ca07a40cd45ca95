"""Two operations on one id at the same time: one wins, the other says why not, and the container is whole."""

import json
import os
from contextlib import ExitStack

import pytest

from tests.conformance.nursery import Command
from tests.conformance.runtime import PATH, SLEEP, Container
from tests.support.poll import poll_until

ROUNDS = 8
NO_LOCK = "runc has no lock on an id"


class Race:
    """Commands that run at the same time; their outputs go to files."""

    def __init__(self, container: Container) -> None:
        self._container = container
        self._stack = ExitStack()
        self._commands: list[Command] = []
        self._errors: list[int] = []

    def start(self, *words: str) -> None:
        null, error = (os.open("/var/tmp", os.O_TMPFILE | os.O_RDWR) for _ in range(2))
        self._stack.callback(os.close, null)
        self._stack.callback(os.close, error)
        self._errors.append(error)
        self._commands.append(self._container.runtime.start(*words, fds=[null, null, error]))

    def finish(self) -> list[tuple[int, str]]:
        """Return exit code and stderr of each, in the order of their start."""
        with self._stack:
            return [
                (command.wait(), os.pread(error, 65536, 0).decode())
                for command, error in zip(self._commands, self._errors, strict=True)
            ]


@pytest.mark.deviates("runc", NO_LOCK, always=False)
def test_create(container: Container) -> None:
    container.set_args(SLEEP)
    container.write()
    for _ in range(ROUNDS):
        race = Race(container)
        for _ in range(3):
            race.start("create", "--bundle", container.bundle, container.id)
        results = race.finish()
        assert sorted(code for code, _ in results) == [0, 1, 1], results
        for code, error in results:
            assert code == 0 or "container with given ID already exists" in error, error
        assert container.status() == "created"
        container.delete("--force")


@pytest.mark.deviates("runc", NO_LOCK, always=False)
def test_start(container: Container) -> None:
    for _ in range(ROUNDS):
        container.create("payload", "out", "ran", *SLEEP[1:])
        race = Race(container)
        for _ in range(3):
            race.start("start", container.id)
        results = race.finish()
        assert sorted(code for code, _ in results) == [0, 1, 1], results
        assert container.status() == "running"
        container.wait_for_output("ran")
        assert container.output().count("ran") == 1
        container.delete("--force")
        os.unlink(f"{container.bundle}/out")


@pytest.mark.deviates("runc", NO_LOCK, always=False)
def test_delete(container: Container) -> None:
    for _ in range(ROUNDS):
        container.create_and_start(*SLEEP)
        race = Race(container)
        for _ in range(3):
            race.start("delete", "--force", container.id)
        results = race.finish()
        assert [code for code, _ in results] == [0, 0, 0], results
        assert not container.exists()


def test_delete_and_everything_else(container: Container) -> None:
    """Whatever wins, nothing hangs, and one more delete leaves nothing."""
    for _ in range(ROUNDS):
        container.create(*SLEEP)
        race = Race(container)
        race.start("start", container.id)
        race.start("delete", "--force", container.id)
        race.start("state", container.id)
        race.start("kill", container.id, "KILL")
        results = race.finish()
        assert all(code in (0, 1) for code, _ in results), results
        assert not any("Traceback" in error or "panic" in error for _, error in results), results
        container.delete("--force")
        assert not container.exists()


def pids(container: Container) -> list[int]:
    found: list[int] = json.loads(container.runtime.ok("ps", "--format", "json", container.id))
    return found


def test_exec_beside_exec(container: Container) -> None:
    container.create_and_start(*SLEEP)
    race = Race(container)
    for number in range(4):
        race.start("exec", container.id, "payload", "exit", str(number))
    assert [code for code, _ in race.finish()] == [0, 1, 2, 3]
    assert container.status() == "running"


@pytest.mark.parametrize("options", [("--cwd", "/stalled/x"), ("--env", f"PATH=/stalled:{PATH}")], ids=["cwd", "path"])
def test_exec_that_waits_for_a_file_system_inside(container: Container, options: tuple[str, ...]) -> None:
    """One that never answers is in nobody's way either."""
    os.mkdir(f"{container.bundle}/stalled")
    container.mount("/stalled", "bind", f"{container.bundle}/stalled", "bind", "rw")
    container.linux["devices"] = [{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229}]
    container.linux["resources"] = {
        "devices": [{"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rwm"}]
    }
    for kind in ("bounding", "effective", "permitted"):
        container.process["capabilities"][kind] = ["CAP_SYS_ADMIN"]
    container.create_and_start("payload", "stall", "/stalled", "out", "ready", *SLEEP[1:])
    container.wait_for_output("ready")
    race = Race(container)
    race.start("exec", *options, container.id, "true")
    poll_until(lambda: len(pids(container)) == 3, what="it waits")
    assert container.exec("payload", "exit", "7").code == 7
    container.runtime.ok("update", "--pids-limit", "100", container.id)
    container.delete("--force")
    assert race.finish()[0][0] != 0
    assert not container.exists()


@pytest.mark.parametrize("verb", ["resume", "delete"])
def test_exec_that_waits_in_a_paused_container(container: Container, verb: str) -> None:
    """It is in nobody's way."""
    container.create_and_start(*SLEEP)
    container.runtime.ok("pause", container.id)
    race = Race(container)
    race.start("exec", "--ignore-paused", container.id, "payload", "exit", "7")
    poll_until(lambda: len(pids(container)) > 1, what="it waits")
    if verb == "resume":
        container.runtime.ok("resume", container.id)
        assert race.finish() == [(7, "")]
        assert container.status() == "running"
    else:
        container.delete("--force")
        assert race.finish()[0][0] != 0
        assert not container.exists()

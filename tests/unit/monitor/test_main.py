"""What the monitor does about births and mounts, without a kernel that clones."""

import errno
import os
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pycontainer.monitor import channel, main
from pycontainer.monitor.main import Monitor
from pycontainer.monitor.poller import Poller
from tests.support.descriptors import is_open


class FakeChild:
    """A child that was born without a clone."""

    def __init__(self, room: Any, message: dict[str, Any], fds: list[int]) -> None:
        if message.get("fails"):
            raise OSError(12, "no room")
        self.child_id, self.kind, self.pid, self.pidfd = message["id"], message["kind"], message["pid"], -5
        self.released = self.is_killed = False
        self.recorder = None
        self.made: list[object] = []
        room.log.append(f"born {self.child_id}")
        self._room = room

    def watch(self, *callbacks: object) -> None:
        pass

    def has_stage(self) -> bool:
        return bool(self.made)

    def kill(self) -> None:
        self.is_killed = True

    def prepare(self, message: dict[str, Any], fds: list[int]) -> int:
        self.made.append(message["steps"])
        self._room.log.append(f"mounted {self.child_id}")
        if not message["steps"]:
            raise OSError(2, "nothing there")
        return 99


class FakeLending:
    """Says to whom the ten are lent."""

    def __init__(self, log: list[str]) -> None:
        self._log, self.kept = log, list[int]()

    def borrowed(self, pidfd: int, kept: list[int]) -> None:
        self.kept = kept

    def take_back(self) -> None:
        self._log.append("taken back")
        self.kept = []


class Bench:
    """A monitor whose messages are in `told`, and what happens in `log`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log: list[str] = []
        self.told: list[tuple[object, object]] = []
        self.lending = FakeLending(self.log)
        monkeypatch.setattr(main, "Child", FakeChild)
        poller = SimpleNamespace(add=lambda *arguments: None)
        room: Any = SimpleNamespace(lending=self.lending, log=self.log, poller=poller)
        self.monitor = Monitor(SimpleNamespace(fileno=lambda: 0), room, (1, 1))  # type: ignore[arg-type]
        monkeypatch.setattr(
            self.monitor, "_send", lambda message, fds=None: self.told.append((message["op"], message["id"]))
        )

    def hear(self, monkeypatch: pytest.MonkeyPatch, message: dict[str, object], fds: list[int]) -> None:
        """Have the monitor serve one message; what it leaves open of its descriptors is its own."""
        monkeypatch.setattr(channel, "receive", lambda sock: (message, fds))
        monkeypatch.setattr(self.monitor, "_supervisor", object())
        self.monitor._serve()

    def child(self, child_id: str) -> FakeChild:
        child: Any = self.monitor._children[child_id]
        return child  # type: ignore[no-any-return]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(monkeypatch)


def birth(child_id: str, kind: str = "init", **more: object) -> dict[str, object]:
    return {"op": "birth", "id": child_id, "kind": kind, "pid": 7, **more}


def mount(child_id: str, *steps: str) -> dict[str, object]:
    return {"op": "mount", "id": child_id, "steps": list(steps)}


def test_who_connects_while_no_descriptor_is_left_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once more is enough after that, and nobody turns in circles meanwhile."""
    tries: list[int] = []

    def none_left(listener: socket.socket) -> socket.socket:
        tries.append(1)
        raise OSError(errno.EMFILE, "no descriptor")

    room: Any = SimpleNamespace(poller=Poller())
    listener = main.listen(f"{tmp_path}/sock")
    monitor = Monitor(listener, room, (1, 1))
    supervisor = channel.connect(f"{tmp_path}/sock")
    with monkeypatch.context() as full:
        full.setattr(channel, "accept", none_left)
        for _ in range(200):
            room.poller.wait(0)
        assert tries == [1]
    monitor._listen_again()
    room.poller.wait(0)
    assert monitor._supervisor is None
    monitor._deaf_until = 0.0
    monitor._listen_again()
    room.poller.wait(0)
    assert monitor._supervisor is not None
    monitor._lose_supervisor()
    supervisor.close()
    listener.close()


def test_descriptors_of_a_birth_stay_open_until_the_ten_are_taken_back(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The child writes to some of them by their numbers; those of a mount are closed when it is made."""
    door, tree = (os.open("/dev/null", os.O_RDONLY) for _ in range(2))
    bench.hear(monkeypatch, birth("a"), [door])
    assert bench.told == [("born", "a")] and bench.lending.kept == [door] and is_open(door)
    assert bench.log == ["born a"]
    bench.hear(monkeypatch, mount("a", "Dev"), [tree])
    assert bench.told[1:] == [("ready", "a")] and not is_open(tree)
    assert bench.log == ["born a", "mounted a", "taken back"]
    os.close(door)


def test_a_birth_of_a_supervisor_before_has_its_mounts_with_it(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    fd = os.open("/dev/null", os.O_RDONLY)
    bench.hear(monkeypatch, birth("a", steps=["Dev"]), [fd])
    assert bench.told == [("born", "a"), ("ready", "a")] and bench.log == ["born a", "mounted a", "taken back"]
    assert is_open(fd), "the real one closes it with the ten"
    os.close(fd)


def test_births_between_one_another(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for message in (birth("a"), birth("b"), mount("b", "Dev"), birth("x", "exec"), mount("a", "Dev")):
        bench.hear(monkeypatch, message, [])
    told = [("born", "a"), ("born", "b"), ("ready", "b"), ("born", "x"), ("ready", "x"), ("ready", "a")]
    assert bench.told == told
    assert bench.child("a").made == bench.child("b").made == [["Dev"]] and not bench.child("x").made


def test_mounts_that_nobody_waits_for(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a clone that failed, of what joins, of one that lives its own life, and twice."""
    fd = os.open("/dev/null", os.O_RDONLY)
    bench.hear(monkeypatch, birth("a", fails=True), [])
    bench.hear(monkeypatch, mount("a", "Dev"), [fd])
    assert bench.told == [("failed", "a")] and not is_open(fd)
    bench.hear(monkeypatch, birth("x", "exec"), [])
    bench.hear(monkeypatch, mount("x", "Dev"), [])
    bench.hear(monkeypatch, birth("b"), [])
    bench.hear(monkeypatch, mount("b", "Dev"), [])
    bench.hear(monkeypatch, mount("b", "Dev"), [])
    bench.hear(monkeypatch, birth("c"), [])
    bench.child("c").released = True
    bench.hear(monkeypatch, mount("c"), [])
    assert not bench.child("x").made and bench.child("b").made == [["Dev"]] and not bench.child("c").made
    assert not bench.child("c").is_killed


def test_one_whose_mounts_cannot_be_made_is_killed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.hear(monkeypatch, birth("a"), [])
    bench.hear(monkeypatch, mount("a"), [])
    assert bench.child("a").is_killed and bench.told == [("born", "a"), ("failed", "a")]
    assert bench.log == ["born a", "mounted a", "taken back"]

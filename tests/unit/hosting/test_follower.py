"""Who keeps the front door right: when it looks, how long it waits, what it says."""

import threading
from pathlib import Path

import pytest

from pycontainer.errors import InvalidInput
from pycontainer.hosting import follower
from pycontainer.hosting.follower import Follower
from pycontainer.paths import HostPaths
from tests.support.poll import poll_until


class Door:
    """One that counts how often it was looked at."""

    def __init__(self) -> None:
        self.looks = 0
        self.changes = False
        self.workers = 0
        self.error: Exception | None = None

    def refresh(self) -> bool:
        self.looks += 1
        if self.error is not None:
            raise self.error
        return self.changes

    def draining(self) -> int:
        return self.workers


class Running:
    """A follower in a thread, with a first look behind it."""

    def __init__(self, directory: Path, door: Door) -> None:
        self.follower = Follower(HostPaths(str(directory)), door)
        self._thread = threading.Thread(target=self.follower.run, daemon=True)

    def __enter__(self) -> Follower:
        self._thread.start()
        return self.follower

    def __exit__(self, *_: object) -> None:
        self.follower.leave()
        self._thread.join(10)
        assert not self._thread.is_alive()


def test_it_looks_at_once_and_a_burst_is_one_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    door = Door()
    with Running(tmp_path, door) as running:
        poll_until(lambda: door.looks == 1)
        monkeypatch.setattr(follower, "_BURST_SECONDS", 0.5)
        for _ in range(1000):
            running.stirred.set()
        poll_until(lambda: door.looks == 2)
        poll_until(lambda: not running.stirred.is_set())
    assert door.looks == 2


def test_it_looks_without_a_reason_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_BURST_SECONDS", "_LOGS_SECONDS", "_LOOK_SECONDS"):
        monkeypatch.setattr(follower, name, 0.01)
    door = Door()
    with Running(tmp_path, door):
        poll_until(lambda: door.looks > 3)


@pytest.mark.parametrize(("changes", "workers", "waited"), [(False, 9, 0), (True, 0, 1.0), (True, 9, 19.0)])
def test_the_more_there_is_to_finish_the_longer_it_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: bool, workers: int, waited: float
) -> None:
    """A site that falls ill again and again must not make any number of workers."""
    monkeypatch.setattr(follower, "_BURST_SECONDS", 0.0)
    door = Door()
    door.changes, door.workers = changes, workers
    follows = Follower(HostPaths(str(tmp_path)), door)
    waits: list[float] = []

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        if seconds or not changes:
            follows.leave()
        return False

    monkeypatch.setattr(follows.leaving, "wait", wait)
    follows.run()
    assert (sum(waits), door.looks) == (waited, 1)


def test_a_reason_is_told_once_and_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("_BURST_SECONDS", "_LOGS_SECONDS", "_LOOK_SECONDS"):
        monkeypatch.setattr(follower, name, 0.01)
    door = Door()
    door.error = InvalidInput("nginx refuses it")
    with Running(tmp_path, door):
        poll_until(lambda: door.looks > 5)
        door.error = InvalidInput("for another reason")
        before = door.looks
        poll_until(lambda: door.looks > before + 5)
    said = capsys.readouterr().err.splitlines()
    assert said == ["pycontainer frontdoor: nginx refuses it", "pycontainer frontdoor: for another reason"]

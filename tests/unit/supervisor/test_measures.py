"""What the supervisor counts for the metrics."""

import errno
import functools
import os

import pytest

from pycontainer.disk.storage import Usage
from pycontainer.supervisor import measures
from pycontainer.supervisor.measures import Measures, Served, of_process


def test_requests_are_counted_by_verb_and_outcome() -> None:
    counted = Measures()
    counted.count("ping", 0.5, failed=False)
    counted.count("ping", 0.25, failed=True)
    counted.count("stop", 1.0, failed=False)
    assert counted.served == {"ping": Served(1, 1, 0.75), "stop": Served(1, 0, 1.0)}


def test_disks_are_looked_at_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are, each request looks for a while: first those that nobody knows, then the longest unseen."""
    monkeypatch.setattr(measures, "_LOOK_SECONDS", 0.0)  # one each
    counted = Measures()
    seen: list[str] = []

    def look(name: str) -> Usage:
        seen.append(name)
        return Usage(len(seen), 0)

    looks = {name: functools.partial(look, name) for name in "abc"}
    assert counted.disks(looks) == {"a": Usage(1, 0)}
    assert counted.disks(looks) == {"a": Usage(1, 0), "b": Usage(2, 0)}
    counted.disks(looks)
    assert counted.disks(looks) == {"a": Usage(4, 0), "b": Usage(2, 0), "c": Usage(3, 0)}
    counted.disks(looks)
    assert seen == ["a", "b", "c", "a", "b"]
    del looks["c"]
    assert counted.disks({**looks, "d": functools.partial(look, "d")}).keys() == {"a", "b", "d"}
    assert seen[5:] == ["d"]


def test_a_disk_that_cannot_be_looked_at_keeps_nobody_from_the_others() -> None:
    def fail() -> Usage:
        raise OSError(errno.ENODEV, "gone")

    assert Measures().disks({"a": fail, "b": lambda: None, "c": lambda: Usage(7, 1)}) == {"c": Usage(7, 1)}


def test_of_this_process() -> None:
    found = of_process()
    fd = os.dup(0)
    try:
        assert of_process()["open_fds"] == int(str(found["open_fds"])) + 1
    finally:
        os.close(fd)
    assert int(str(found["resident_bytes"])) > 1 << 20

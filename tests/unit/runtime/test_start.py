"""The ways by which a child moves itself into its cgroups: none where they do not fit, or where it has to be judged first."""

import contextlib
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pycontainer.monitor.channel import MAX_MESSAGE_FDS
from pycontainer.runtime.start import Streams, open_doors


def cgroup_of(tmp_path: Path, *, room: int) -> Any:
    """Return a cgroup with two doors and room for so many more processes."""
    for name in ("a", "b"):
        (tmp_path / name).touch()
    doors = [str(tmp_path / "a"), str(tmp_path / "b")]
    return cast(Any, SimpleNamespace(doors=lambda: doors, crowd=lambda arrived: "full" if -arrived >= room else ""))


@pytest.mark.parametrize(
    ("beside", "is_judged", "room", "count"),
    [
        (4, False, 0, 2),
        (4, True, 1000, 2),
        (4, True, 3, 0),  # several at once would each be refused for the others' sake
        (MAX_MESSAGE_FDS - 2, False, 0, 2),
        (MAX_MESSAGE_FDS - 1, False, 0, 0),
    ],
)
def test_how_many(tmp_path: Path, beside: int, is_judged: bool, room: int, count: int) -> None:
    before = os.listdir("/proc/self/fd")
    with contextlib.ExitStack() as opened:
        doors = open_doors(cgroup_of(tmp_path, room=room), opened, beside=beside, is_judged=is_judged)
        assert [os.path.basename(os.readlink(f"/proc/self/fd/{fd}")) for fd in doors] == ["a", "b"][:count]
    assert os.listdir("/proc/self/fd") == before


def test_one_that_is_gone_leaves_none_open(tmp_path: Path) -> None:
    cgroup = cgroup_of(tmp_path, room=9)
    (tmp_path / "b").unlink()
    before = os.listdir("/proc/self/fd")
    with pytest.raises(FileNotFoundError), contextlib.ExitStack() as opened:
        open_doors(cgroup, opened, beside=0, is_judged=False)
    assert os.listdir("/proc/self/fd") == before


def test_streams_that_cannot_all_be_opened_leave_none(monkeypatch: pytest.MonkeyPatch) -> None:
    before, pipe2, left = os.listdir("/proc/self/fd"), os.pipe2, [1, 1]

    def short_of_descriptors(flags: int) -> tuple[int, int]:
        if not left:
            raise OSError(24, "Too many open files")
        left.pop()
        return pipe2(flags)

    monkeypatch.setattr(os, "pipe2", short_of_descriptors)
    with pytest.raises(OSError, match="Too many"):
        Streams(with_input=True, tty=False)
    assert os.listdir("/proc/self/fd") == before

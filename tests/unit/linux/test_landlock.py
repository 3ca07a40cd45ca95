"""Landlock against the kernel: what a child may still do once it has given the rest up."""

import os
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from pycontainer.linux import landlock
from pycontainer.linux.process import PR_SET_NO_NEW_PRIVS, prctl

needs_landlock = pytest.mark.skipif(landlock.abi() < 2, reason="this kernel has no Landlock with REFER")


def in_child(act: Callable[[], None]) -> int:
    """Run `act` in a forked child; return its exit code, 0 if nothing was raised."""
    pid = os.fork()
    if pid == 0:
        try:
            act()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def refused(act: Callable[[], object]) -> None:
    try:
        act()
    except PermissionError:
        return
    raise AssertionError("it was allowed")


@needs_landlock
def test_writes_beneath_one_directory_alone(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    for directory in (inside, outside):
        (directory / "sub").mkdir(parents=True)
        (directory / "file").write_text("here")

    def act() -> None:
        prctl(PR_SET_NO_NEW_PRIVS, 1)
        fd = os.open(inside, os.O_PATH | os.O_DIRECTORY)
        rights = landlock.READ | landlock.WRITE_FILE | landlock.MAKE_REG | landlock.REFER | landlock.TRUNCATE
        landlock.restrict([(fd, rights)])
        (inside / "sub/new").write_text("x")
        os.link(inside / "file", inside / "sub/hard")
        refused(lambda: (outside / "new").write_text("x"))
        refused(lambda: (outside / "file").read_text())
        refused(lambda: os.listdir(outside))
        refused(lambda: os.mkdir(inside / "directory"))  # a right that was not named
        refused(lambda: os.mkfifo(inside / "fifo"))
        refused(lambda: os.unlink(inside / "file"))

    assert in_child(act) == 0
    assert sorted(os.listdir(outside)) == ["file", "sub"]
    assert (inside / "sub/new").read_text() == "x"


@needs_landlock
def test_nothing_allowed_leaves_open_descriptors(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("here")

    def act() -> None:
        prctl(PR_SET_NO_NEW_PRIVS, 1)
        fd = os.open(tmp_path / "file", os.O_RDONLY)
        landlock.restrict([])
        refused(lambda: os.open(tmp_path / "file", os.O_RDONLY))
        assert os.read(fd, 4) == b"here"

    assert in_child(act) == 0


def test_older_kernels_are_asked_for_less() -> None:
    assert landlock.handled(1) == ((1 << 13) - 1, 0, 0)
    assert landlock.handled(2) == ((1 << 14) - 1, 0, 0)
    assert landlock.handled(4) == ((1 << 15) - 1, 3, 0)
    assert landlock.handled(7) == ((1 << 16) - 1, 3, 3)

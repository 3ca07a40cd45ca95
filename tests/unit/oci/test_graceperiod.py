"""The helper that goes through the wait of a move between cgroups: what it writes, and that nothing of it is left."""

import os
import time
from pathlib import Path

import pytest

from pycontainer.init.machine import CODES
from pycontainer.linux.libc import MACHINE
from pycontainer.oci import graceperiod

needs_machine_code = pytest.mark.skipif(MACHINE not in CODES, reason="the helper is machine code")


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host of v1 whose files take what is written: `freezer` is where we are, `proc` says so."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    (tmp_path / "freezer/jobs/a b").mkdir(parents=True)
    (tmp_path / "freezer/jobs/a b/cgroup.procs").touch()
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("9:cpu,cpuacct:/\n8:freezer:/jobs/a b\n0::/elsewhere\n")
    return tmp_path


def begin(host: Path) -> None:
    graceperiod.begin(str(host), str(host / "proc"))


def children() -> set[str]:
    """Return the pids of our children; whoever runs the tests may have some of his own."""
    return {pid for path in Path("/proc/self/task").glob("*/children") for pid in path.read_text().split()}


@pytest.fixture
def others() -> set[str]:
    return children()


@needs_machine_code
def test_it_moves_itself_to_where_it_is_and_is_reaped(host: Path, others: set[str]) -> None:
    procs = host / "freezer/jobs/a b/cgroup.procs"
    begin(host)
    assert children() > others
    until = time.monotonic() + 10
    while len(procs.read_text()) < 2 and time.monotonic() < until:
        time.sleep(0.001)
    graceperiod.stop()
    assert children() > others
    graceperiod.end()
    assert children() == others
    assert procs.read_text().startswith("00")  # 0 is who writes, and no other process
    assert not set(procs.read_text()) - {"0"}
    graceperiod.end()  # as after a failure that came later


@needs_machine_code
def test_it_ends_though_nobody_ends_it(host: Path) -> None:
    begin(host)
    ((pid, bearer),) = graceperiod._helpers.items()
    graceperiod._helpers.clear()
    assert os.waitpid(pid, 0)[1] == 0
    del bearer  # its memory was the helper's
    assert (host / "freezer/jobs/a b/cgroup.procs").read_text() == "0" * 8


@pytest.mark.parametrize("lines", ["0::/jobs/a b\n", "8:freezer:/not/seen\n", "7:name=freezer:/jobs/a b\n", ""])
def test_without_a_hierarchy_of_v1_there_is_none(host: Path, others: set[str], lines: str) -> None:
    (host / "proc/self/cgroup").write_text(lines)
    begin(host)
    assert children() == others


def test_a_user_who_is_not_root_has_none(host: Path, others: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """He enters a user namespace, which the kernel refuses to a process that shares its memory."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    begin(host)
    assert children() == others


@pytest.mark.skipif(os.geteuid() != 0, reason="a cgroup is written to by root")
def test_nobody_is_anywhere_else_afterwards(others: set[str]) -> None:
    before = Path("/proc/self/cgroup").read_text()
    graceperiod.begin()
    graceperiod.end()
    assert Path("/proc/self/cgroup").read_text() == before
    assert children() == others

"""Containers for tests of verbs: records as `create` leaves them, of processes that the test has started itself."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pycontainer.oci import main as main_module
from pycontainer.oci.state import State, process_state
from tests.support.poll import poll_until

if TYPE_CHECKING:
    from pycontainer.oci.cgroups import Group


def runtime(root: Path, *words: str) -> int:
    """Run a command in this process and return its exit code; what it prints is pytest's to capture."""
    return main_module.main(["pycontainer-oci", "--root", str(root), *words])


def recorded(root: Path, container_id: str = "web", *, pid: int = 0, group: Group | None = None) -> State:
    """Return the saved record of a container that runs as `pid`, or has stopped."""
    with State.claim(str(root), container_id):
        state = State(str(root), container_id, bundle="/b", rootfs="/b/rootfs", annotations={"a": "1"})
        if pid:
            found = process_state(pid)
            assert found is not None
            state.pid, state.start_ticks = pid, found[1]
        if group is not None:
            state.cgroup = group.record()
        state.save()
    return state


@contextmanager
def sleeping(command: Sequence[str] = ("sleep", "3000")) -> Iterator[subprocess.Popen[bytes]]:
    """A process that only a signal ends; it is ended and reaped in any case."""
    read_fd, write_fd = os.pipe()
    child = subprocess.Popen(command, stdin=read_fd)  # never an end of file
    try:
        poll_until(lambda: Path(f"/proc/{child.pid}/cmdline").read_bytes(), timeout_seconds=30)
        yield child
    finally:
        child.kill()
        child.wait()
        os.close(read_fd)
        os.close(write_fd)


def left(root: Path) -> list[str]:
    return sorted(os.listdir(root))

"""A backup for which containers stand still goes on only as long as it moves."""

import asyncio
import os

import pytest

from pycontainer.errors import InvalidState, PycontainerError
from pycontainer.supervisor.verbs import volumes


async def _backup(script: str, stdout: int) -> int | None:
    worker = await asyncio.create_subprocess_exec("sh", "-c", script, stdout=stdout, stderr=asyncio.subprocess.PIPE)
    try:
        await volumes._said_while_it_moves(worker, "db")
    finally:
        assert worker.returncode is not None
    return worker.returncode


def test_a_backup_that_nobody_takes_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """FLT-06. Its pipe is full; the worker is gone when the error is told."""
    monkeypatch.setattr(volumes, "_STALL_SECONDS", 0.2)
    read_fd, write_fd = os.pipe()
    try:
        with pytest.raises(InvalidState, match="backup of volume 'db' has not moved for 0.2 s"):
            asyncio.run(_backup("exec cat /dev/zero", write_fd))
    finally:
        os.close(read_fd)
        os.close(write_fd)


def test_a_backup_that_moves_may_take_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is let go on beyond several looks, and what it says at its end is told."""
    monkeypatch.setattr(volumes, "_STALL_SECONDS", 0.5)
    script = "for i in $(seq 20); do echo x; sleep 0.1; done; echo '{\"left_out\": []}' >&2"
    assert asyncio.run(_backup(script, asyncio.subprocess.DEVNULL)) == 0
    with pytest.raises(PycontainerError, match="without a word"):
        asyncio.run(_backup("exit 3", asyncio.subprocess.DEVNULL))

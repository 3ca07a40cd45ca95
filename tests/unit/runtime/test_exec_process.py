"""What a process joins is the run that it was asked for, whatever becomes of that while something is waited for."""

import asyncio
import os
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pycontainer.errors import StartFailed
from pycontainer.runtime.exec_process import ExecRequest, start_exec
from pycontainer.runtime.users import User
from pycontainer.security.profile import rights
from pycontainer.spec.model import ContainerSpec


def test_a_run_that_ends_meanwhile_is_not_taken_for_another(tmp_path: Any) -> None:
    """Its pidfd is closed, and the number is another file's: a process would join what that is."""
    spec = ContainerSpec(image="x", name="c")
    run_fd, null_fd = os.open(tmp_path, os.O_RDONLY), os.open("/dev/null", os.O_RDWR)
    sent: list[str] = []

    async def find_user(root_fd: int, name: str) -> User:
        os.dup2(null_fd, run_fd)  # the run ends, and somebody opens a file
        return User(0, 0, [], "/root", "root")

    async def open_ptmx(root_fd: int) -> int:
        raise AssertionError("no terminal was asked for")

    async def birth(message: dict[str, object], fds: list[int], *, action: str) -> None:
        position = message["join"]
        assert isinstance(position, int)
        sent.append(os.readlink(f"/proc/self/fd/{fds[position]}"))
        raise StartFailed("far enough")

    container = SimpleNamespace(spec=spec, image=None, pid=os.getpid(), base=0, label=(), is_running=lambda: True)
    cgroup = SimpleNamespace(crowd=lambda arrived: "", dirfd=lambda beside: None, doors=list)
    request = ExecRequest(
        command=["true"],
        env=[],
        workdir="",
        user="",
        tty=False,
        privileged=False,
        rights=rights(spec, (6, 12)),
        seccomp=None,
        stdio_fds=[null_fd] * 3,
        window=None,
    )
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(StartFailed, match="far enough"):
        asyncio.run(
            start_exec(
                cast(Any, container),
                cast(Any, cgroup),
                cast(Any, SimpleNamespace(birth=birth)),
                request,
                exec_id="c-1",
                init_pidfd=run_fd,
                find_user=find_user,
                open_ptmx=open_ptmx,
            )
        )
    assert sent == [str(tmp_path)]
    assert set(os.listdir("/proc/self/fd")) == before
    os.close(run_fd)
    os.close(null_fd)

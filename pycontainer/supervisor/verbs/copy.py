"""cp_from and cp_to: a tar stream out of or into a container, made by a worker that is inside with the container's ids.

A copy out of or into a running container holds no lock, or a stream that stalls would keep `stop` from it; it ends when
the container does, when the client leaves, or when a file system inside does not answer. A stopped one is locked: nothing
may start on its root, nor remove it, while that is mounted here.
"""

import asyncio
import contextlib
import json
import os
from collections.abc import Coroutine

from pycontainer.errors import Busy, InvalidInput, InvalidState, PycontainerError, from_wire
from pycontainer.linux.libc import syscall_number
from pycontainer.linux.mounts import MOUNT_ATTR_NODEV
from pycontainer.runtime.container import Container
from pycontainer.runtime.rootfs import mount_stopped
from pycontainer.runtime.worker import command
from pycontainer.supervisor.call import Call
from pycontainer.supervisor.world import World

_MAX_PATH_BYTES = 4095  # PATH_MAX, without its final NUL
_STALL_SECONDS, _LOOK_SECONDS, _CLEARING_SECONDS, _KILL_SECONDS = 30.0, 1.0, 2.0, 5.0


async def cp_from(world: World, call: Call) -> object:
    return await _copy(world, call, "out")


async def cp_to(world: World, call: Call) -> object:
    return await _copy(world, call, "in")


async def _copy(world: World, call: Call, direction: str) -> object:
    with contextlib.ExitStack() as undo:
        fds = call.take_fds()
        for fd in fds:
            undo.callback(os.close, fd)
        if len(fds) != 1:
            raise InvalidInput("cp needs one descriptor for the tar stream", field="fds")
        path = _checked(call.text("path"))
        container = world.find(call.text("container"))
        async with world.lock(container):
            world.require(container)
            run = world.runs.get(container.id)
            if run is None:
                return await _copy_stopped(world, container, direction, path, fds[0])
            pidfd = os.dup(run.pidfd)
            undo.callback(os.close, pidfd)
        return await _copy_running(world, container, direction, path, fds[0], pidfd)


async def _copy_stopped(world: World, container: Container, direction: str, path: str, stream_fd: int) -> object:
    world.require_unmounted(container)
    root_fd = mount_stopped(container, MOUNT_ATTR_NODEV)
    try:
        worker = await _start_worker(world, direction, path, stream_fd, "--root-fd", root_fd)
        return await _result(worker, container, path)
    finally:
        os.close(root_fd)


async def _copy_running(
    world: World, container: Container, direction: str, path: str, stream_fd: int, pidfd: int
) -> object:
    worker = await _start_worker(world, direction, path, stream_fd, "--pidfd", pidfd)
    loop = asyncio.get_running_loop()
    has_ended = False

    def end() -> None:
        nonlocal has_ended
        has_ended = True
        loop.remove_reader(pidfd)
        with contextlib.suppress(ProcessLookupError):
            worker.kill()

    loop.add_reader(pidfd, end)
    try:
        return await _unless_stalled(_result(worker, container, path), worker, container)
    except PycontainerError as error:
        if has_ended:
            raise InvalidState(f"container '{container.spec.name}' ended during the copy") from error
        raise
    finally:
        loop.remove_reader(pidfd)


async def _start_worker(
    world: World, direction: str, path: str, stream_fd: int, where: str, where_fd: int
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *command("copy_worker", direction, where, str(where_fd), "--filters", world.paths.seccomp_dir, "--", path),
        stdin=stream_fd if direction == "in" else asyncio.subprocess.DEVNULL,
        stdout=stream_fd if direction == "out" else asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        pass_fds=[where_fd],
    )


async def _result(worker: asyncio.subprocess.Process, container: Container, path: str) -> object:
    """Return what the worker says at its end, or raise the error it tells of; it is gone then, come what may."""
    try:
        _, errors = await worker.communicate()
    finally:
        if worker.returncode is None:
            with contextlib.suppress(TimeoutError):  # its stream ends as well when its client leaves: it clears up
                await asyncio.wait_for(worker.wait(), _CLEARING_SECONDS)
        if worker.returncode is None:
            worker.kill()
            with contextlib.suppress(TimeoutError):  # it is reaped later, if a file system inside keeps it
                await asyncio.wait_for(worker.wait(), _KILL_SECONDS)
    said = _said(errors)
    if "left_out" in said and not worker.returncode:
        return said
    error = said.get("error")
    if isinstance(error, dict):
        raise from_wire(error)
    words = said.get("words") or f"status {worker.returncode}"
    raise PycontainerError(f"cannot copy '{container.spec.name}:{path}': the worker ended: {words}")


async def _unless_stalled(
    result: Coroutine[object, object, object], worker: asyncio.subprocess.Process, container: Container
) -> object:
    """Return the result, or raise Busy when the worker waits for a file system and not for the other end of the stream."""
    copying, watching = asyncio.create_task(result), asyncio.create_task(_stalled(worker.pid))
    try:
        await asyncio.wait({copying, watching}, return_when=asyncio.FIRST_COMPLETED)
        if copying.done():
            return copying.result()
        raise Busy(
            f"a file system that container '{container.spec.name}' has mounted does not answer",
            hint="end what serves it inside, or stop the container",
        )
    finally:
        watching.cancel()
        copying.cancel()
        await asyncio.wait({copying, watching})


async def _stalled(pid: int) -> None:
    """Return when a process has been in one system call for long that is no transfer on its stream; proc_pid_syscall(5)."""
    transfers = tuple(f"{syscall_number(name)} {fd:#x} " for name in ("read", "write") for fd in (0, 1))
    last, since = "", 0.0
    while True:
        try:
            with open(f"/proc/{pid}/syscall") as file:
                now_in = file.read()
        except OSError:  # it has ended, or this kernel does not tell
            now_in = ""
        now = asyncio.get_running_loop().time()
        if now_in != last or not now_in or now_in.startswith(("running", *transfers)):
            last, since = now_in, now
        elif now - since > _STALL_SECONDS:
            return
        await asyncio.sleep(_LOOK_SECONDS)


def _checked(path: str) -> str:
    """Return a path that can be an argument and a file's name."""
    try:
        data = os.fsencode(path)
    except UnicodeEncodeError as error:
        raise InvalidInput(f"path {path!a} cannot be a file's name", field="path") from error
    if not data or b"\0" in data or len(data) > _MAX_PATH_BYTES:
        raise InvalidInput(f"the path is empty, holds a NUL, or is longer than {_MAX_PATH_BYTES} bytes", field="path")
    return path


def _said(lines: bytes) -> dict[str, object]:
    """Return the worker's one message, or the end of what it wrote instead."""
    for line in lines.splitlines():
        try:
            message = json.loads(line)
        except ValueError:
            continue
        if isinstance(message, dict):
            return message
    return {"words": lines[-200:].decode(errors="replace")} if lines else {}

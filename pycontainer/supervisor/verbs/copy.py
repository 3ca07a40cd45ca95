"""cp_from and cp_to: a tar stream out of or into a container, made by a worker that is inside with the container's ids.

A copy out of or into a running container holds no lock, or a stream that stalls would keep `stop` from it; it ends when
the container does. A stopped one is locked: nothing may start on its root, nor remove it, while that is mounted here.
"""

import asyncio
import contextlib
import json
import os
import sys

from pycontainer.errors import InvalidInput, InvalidState, PycontainerError, from_wire
from pycontainer.linux.mounts import MOUNT_ATTR_NODEV, clone_tree, in_private_mounts, move_mount, new_mount
from pycontainer.runtime.container import Container
from pycontainer.supervisor.call import Call
from pycontainer.supervisor.world import World

_MAX_PATH_BYTES = 4095  # PATH_MAX, without its final NUL


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
    root_fd = _mount_stopped(container)
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
        return await _result(worker, container, path)
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
        sys.executable,
        "-I",
        "-m",
        "pycontainer.runtime.copy_worker",
        direction,
        where,
        str(where_fd),
        "--filters",
        world.paths.seccomp_dir,
        "--",
        path,
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
            worker.kill()
            await worker.wait()
    said = _said(errors)
    if "left_out" in said and not worker.returncode:
        return said
    error = said.get("error")
    if isinstance(error, dict):
        raise from_wire(error)
    words = said.get("words") or f"status {worker.returncode}"
    raise PycontainerError(f"cannot copy '{container.spec.name}:{path}': the worker ended: {words}")


def _checked(path: str) -> str:
    """Return a path that can be an argument and a file's name."""
    try:
        data = os.fsencode(path)
    except UnicodeEncodeError as error:
        raise InvalidInput(f"path {path!a} cannot be a file's name", field="path") from error
    if not data or b"\0" in data or len(data) > _MAX_PATH_BYTES:
        raise InvalidInput(f"the path is empty, holds a NUL, or is longer than {_MAX_PATH_BYTES} bytes", field="path")
    return path


def _mount_stopped(container: Container) -> int:
    """Return a detached mount of a stopped container's root, ids as they are on disk."""
    spec = container.spec
    if spec.rootfs_writable:
        return clone_tree(spec.rootfs, recursive=True)
    return in_private_mounts(lambda: _mount_overlay(container))


def _mount_overlay(container: Container) -> int:
    """Return a detached mount of a stopped container's overlay.

    Before Linux 6.18 an overlay takes no layer from a mount that is not attached to the caller's namespace. So the layer is
    attached, where nobody else sees it; the overlay keeps a hold of it.
    """
    layers = container.image.layers if container.image else [container.spec.rootfs]
    rootfs = f"{container.directory}/rootfs"
    tree_fd = container.storage().open_tree()
    place_fd = os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        move_mount(tree_fd, place_fd)
    finally:
        os.close(tree_fd)
        os.close(place_fd)
    return new_mount(
        "overlay",
        [
            ("source", "pycontainer"),
            ("lowerdir", ":".join(reversed(layers))),
            ("upperdir", f"{rootfs}/upper"),
            ("workdir", f"{rootfs}/work"),
        ],
        MOUNT_ATTR_NODEV,
    )


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

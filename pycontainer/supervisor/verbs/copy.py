"""cp_from and cp_to: a tar stream out of or into a container, made by a worker that is inside with the container's ids."""

import asyncio
import contextlib
import json
import os
import sys

from pycontainer.errors import InvalidInput, PycontainerError, from_wire
from pycontainer.linux.mounts import new_mount
from pycontainer.runtime.container import Container
from pycontainer.supervisor.call import Call
from pycontainer.supervisor.world import World


async def cp_from(world: World, call: Call) -> object:
    return await _copy(world, call, "out")


async def cp_to(world: World, call: Call) -> object:
    return await _copy(world, call, "in")


async def _copy(world: World, call: Call, direction: str) -> object:
    container = world.find(call.text("container"))
    path = call.text("path")
    fds = call.take_fds()
    if len(fds) != 1:
        raise InvalidInput("cp needs one descriptor for the tar stream", field="fds")
    async with world.lock(container):
        with contextlib.ExitStack() as undo:
            undo.callback(os.close, fds[0])
            run = world.runs.get(container.id)
            if run is not None:
                where, where_fd = "--pidfd", run.pidfd
            else:
                where, where_fd = "--root-fd", _mount_stopped(container)
                undo.callback(os.close, where_fd)
            worker = await asyncio.create_subprocess_exec(
                sys.executable,
                "-I",
                "-m",
                "pycontainer.runtime.copy_worker",
                direction,
                where,
                str(where_fd),
                "--",
                path,
                stdin=fds[0] if direction == "in" else asyncio.subprocess.DEVNULL,
                stdout=fds[0] if direction == "out" else asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                pass_fds=[where_fd],
            )
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
    raise PycontainerError(
        f"cannot copy '{container.spec.name}:{path}': the worker ended: {errors[-200:].decode(errors='replace')}"
    )


def _mount_stopped(container: Container) -> int:
    """Return a detached mount of a stopped container's root, ids as they are on disk."""
    spec = container.spec
    if spec.rootfs_writable:
        return os.open(spec.rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    layers = container.image.layers if container.image else [spec.rootfs]
    rootfs = f"{container.directory}/rootfs"
    return new_mount(
        "overlay",
        [
            ("source", "pycontainer"),
            ("lowerdir", ":".join(reversed(layers))),
            ("upperdir", f"{rootfs}/upper"),
            ("workdir", f"{rootfs}/work"),
        ],
    )


def _said(lines: bytes) -> dict[str, object]:
    """Return the worker's one message, empty if there is none."""
    for line in lines.splitlines():
        try:
            message = json.loads(line)
        except ValueError:
            continue
        if isinstance(message, dict):
            return message
    return {}

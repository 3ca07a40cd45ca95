"""The long work on images: a process of its own for each (runtime/import_worker.py), what it says, and how it ends."""

import asyncio
import json
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pycontainer.api.messages import MAX_FRAME_BYTES
from pycontainer.errors import InvalidInput, PycontainerError, from_wire
from pycontainer.runtime.worker import command
from pycontainer.store.staging import Doomed, remove_all
from pycontainer.supervisor.call import Call

if TYPE_CHECKING:
    from pycontainer.supervisor.world import World


async def work(
    world: "World", call: Call, action: str, request: Mapping[str, object], fds: Sequence[int] = ()
) -> object:
    """Have a worker do something and return its result; its progress becomes events of the call. It gets `fds`."""
    worker = await _start_worker(fds)
    assert worker.stdin is not None and worker.stdout is not None
    result: object = None
    try:
        worker.stdin.write(_line(world, action, request))
        await worker.stdin.drain()
        worker.stdin.close()
        async for line in worker.stdout:
            message = json.loads(line)
            if "error" in message:
                raise from_wire(message["error"])
            if "result" in message:
                result = message["result"]
            else:
                await call.event(message["progress"])
        await worker.wait()
    finally:
        if worker.returncode is None:
            worker.kill()
            await worker.wait()
        if worker.returncode and worker.returncode < 0:  # it had no time to clean up behind itself
            await erase(world.images.retire_left_over(world.images_in_use()))
    if result is None:
        what = f"the {action} of '{request['source']}'" if "source" in request else f"the {action}"
        raise PycontainerError(f"{what} ended without a result (exit {worker.returncode})")
    return result


async def bring_in(world: "World", call: Call, action: str, request: Mapping[str, object]) -> object:
    """Have a worker bring in the `source` of a request; a file that the call sends along is only called so."""
    fds = call.take_fds()
    try:
        if len(fds) > 1:
            raise InvalidInput(f"'{call.verb}' takes one descriptor", field="fds")
        return await work(world, call, action, {**request, "fd": fds[0] if fds else None}, fds)
    finally:
        for fd in fds:
            os.close(fd)


def _line(world: "World", action: str, request: Mapping[str, object]) -> bytes:
    head = {"root": world.paths.root, "action": action, "in_use": sorted(world.images_in_use())}
    return json.dumps({**head, **request}).encode() + b"\n"


async def _start_worker(fds: Sequence[int] = ()) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *command("import_worker"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=MAX_FRAME_BYTES,
        pass_fds=fds,
    )


async def erase(doomed: Sequence[Doomed]) -> None:
    """Delete what was taken out of the store's sight, beside other requests; if that fails, the next import does it.

    Who retires it asks what is in use in the same step of the event loop: no container is made in between.
    """
    if doomed:
        await asyncio.shield(asyncio.to_thread(remove_all, doomed))


def erase_later(world: "World", doomed: Sequence[Doomed]) -> None:
    """Do the same without waiting for it."""
    world.spawn(_erase_and_tell(world, doomed))


async def _erase_and_tell(world: "World", doomed: Sequence[Doomed]) -> None:
    try:
        await erase(doomed)
    except OSError as error:
        world.events.emit("leftover", detail=f"image: {error}")

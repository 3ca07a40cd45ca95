"""image_list, image_import, image_rm. An import is long work: it runs in a process of its own."""

import asyncio
import json
import sys

from pycontainer.errors import InvalidState, PycontainerError, from_wire
from pycontainer.supervisor.call import Call
from pycontainer.supervisor.world import World


async def image_list(world: World, call: Call) -> object:
    return world.images.list()


async def image_import(world: World, call: Call) -> object:
    """Import a directory or a tarball under a name; progress comes as events."""
    request = {
        "root": world.paths.root,
        "source": call.text("source"),
        "name": call.text("name"),
        "config": call.mapping("config"),
    }
    worker = await _start_worker()
    assert worker.stdin is not None and worker.stdout is not None
    result: object = None
    try:
        worker.stdin.write(json.dumps(request).encode() + b"\n")
        await worker.stdin.drain()
        worker.stdin.close()
        async for line in worker.stdout:
            message = json.loads(line)
            if "error" in message:
                raise from_wire(message["error"])
            if "result" in message:
                result = message["result"]
            else:
                await call.event(message)
        await worker.wait()
    finally:
        if worker.returncode is None:
            worker.kill()
            await worker.wait()
        if worker.returncode and worker.returncode < 0:  # it had no time to clean up behind itself
            await _clean_up(world)
    if result is None:
        raise PycontainerError(f"the import of '{request['source']}' ended without a result (exit {worker.returncode})")
    world.emit("image-import", image=request["name"])
    return result


async def _start_worker(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-I",
        "-m",
        "pycontainer.runtime.import_worker",
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 20,
    )


async def _clean_up(world: World) -> None:
    """Give back the space of an import that was killed; if that fails, the next import does it."""
    cleaner = await _start_worker("--clean")
    await cleaner.communicate(json.dumps({"root": world.paths.root}).encode() + b"\n")


async def image_rm(world: World, call: Call) -> object:
    if unknown := [damaged for damaged in world.broken.values() if damaged.image_id is None]:
        raise InvalidState(
            f"container '{unknown[0].id}' is damaged: nobody knows which image it is made of",
            hint=f"repair its record, or: pycontainer rm --force {unknown[0].id}",
        )
    world.images.remove(call.text("image"), world.images_in_use())
    world.emit("image-remove", image=call.text("image"))
    return {}

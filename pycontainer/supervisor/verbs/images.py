"""What is asked of images. What takes long runs in a process of its own (runtime/import_worker.py)."""

import asyncio
import json
import sys
from collections.abc import Mapping

from pycontainer.api.messages import MAX_FRAME_BYTES
from pycontainer.errors import InvalidState, PycontainerError, from_wire
from pycontainer.supervisor.call import Call
from pycontainer.supervisor.world import World


async def image_list(world: World, call: Call) -> object:
    return world.images.list()


async def image_inspect(world: World, call: Call) -> object:
    """Return all that is known of an image."""
    return world.images.inspect(call.text("image"))


async def image_tag(world: World, call: Call) -> object:
    """Give an image one more name."""
    tagged = world.images.tag(call.text("image"), call.text("name"))
    world.emit("image-tag", image=tagged["name"])
    return tagged


async def image_import(world: World, call: Call) -> object:
    """Import a root file system or an image under a name; progress comes as events."""
    name = call.text("name")
    request = {"source": call.text("source"), "name": name, "platform": call.text("platform")}
    result = await _work(world, call, "import", {**request, "config": call.mapping("config")})
    world.emit("image-import", image=name)
    return result


async def image_load(world: World, call: Call) -> object:
    """Bring in the images of an archive under their own names; progress comes as events."""
    request = {"source": call.text("source"), "name": call.text("name"), "platform": call.text("platform")}
    result = await _work(world, call, "load", request)
    assert isinstance(result, list)
    for image in result:
        world.emit("image-load", image=image["name"])
    return result


async def image_prune(world: World, call: Call) -> object:
    """Remove what nobody needs, with `all` also images that have a name."""
    _require_known(world)
    result = await _work(world, call, "prune", {"unused": call.flag("all")})
    assert isinstance(result, list)
    for image in result:
        world.emit("image-remove", image=image["name"])
    return result


async def image_rm(world: World, call: Call) -> object:
    _require_known(world)
    world.images.remove(call.text("image"), world.images_in_use())
    world.emit("image-remove", image=call.text("image"))
    return {}


def _require_known(world: World) -> None:
    """Refuse to remove images while nobody knows which one a damaged container is made of."""
    if unknown := [damaged for damaged in world.broken.values() if damaged.image_id is None]:
        raise InvalidState(
            f"container '{unknown[0].id}' is damaged: nobody knows which image it is made of",
            hint=f"repair its record, or: pycontainer rm --force {unknown[0].id}",
        )


async def _work(world: World, call: Call, action: str, request: Mapping[str, object]) -> object:
    """Have a worker do something and return its result."""
    worker = await _start_worker()
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
            await _clean_up(world)
    if result is None:
        what = f"the {action} of '{request['source']}'" if "source" in request else f"the {action}"
        raise PycontainerError(f"{what} ended without a result (exit {worker.returncode})")
    return result


def _line(world: World, action: str, request: Mapping[str, object]) -> bytes:
    head = {"root": world.paths.root, "action": action, "in_use": sorted(world.images_in_use())}
    return json.dumps({**head, **request}).encode() + b"\n"


async def _start_worker() -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-I",
        "-m",
        "pycontainer.runtime.import_worker",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=MAX_FRAME_BYTES,
    )


async def _clean_up(world: World) -> None:
    """Give back the space of an import that was killed; if that fails, the next import does it."""
    cleaner = await _start_worker()
    await cleaner.communicate(_line(world, "clean", {}))

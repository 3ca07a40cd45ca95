"""What is asked of images. What takes long runs in a process of its own (runtime/import_worker.py).

What is removed is taken out of sight here, where no container is created in between; its files are then deleted there.
"""

from pycontainer.errors import InvalidState
from pycontainer.store.refs import check_own_name
from pycontainer.supervisor.authorise import may_see_image
from pycontainer.supervisor.call import Call
from pycontainer.supervisor.imagework import bring_in, erase
from pycontainer.supervisor.world import World


async def image_list(world: World, call: Call) -> object:
    return [image for image in world.images.list() if may_see_image(image["name"])]


async def image_inspect(world: World, call: Call) -> object:
    """Return all that is known of an image."""
    found = world.images.inspect(call.text("image"))
    return {**found, "names": [name for name in found["names"] if may_see_image(name)]}


async def image_tag(world: World, call: Call) -> object:
    """Give an image one more name."""
    tagged = world.images.tag(call.text("image"), check_own_name(call.text("name")))
    world.events.emit("image-tag", image=tagged["name"])
    return tagged


async def image_import(world: World, call: Call) -> object:
    """Import a root file system or an image under a name; progress comes as events."""
    name = check_own_name(call.text("name"))
    world.reserve.require_room(f"image '{name}'")
    request = {
        "name": name,
        "source": call.text("source"),
        "platform": call.text("platform"),
        "format": call.text("format"),
    }
    result = await bring_in(world, call, "import", {**request, "config": call.mapping("config")})
    world.events.emit("image-import", image=name)
    return result


async def image_load(world: World, call: Call) -> object:
    """Bring in the images of an archive under their own names; progress comes as events."""
    name = call.text("name")
    if name:
        check_own_name(name)
    world.reserve.require_room("images")
    request = {"source": call.text("source"), "name": name, "platform": call.text("platform")}
    result = await bring_in(world, call, "load", request)
    assert isinstance(result, list)
    for image in result:
        world.events.emit("image-load", image=image["name"])
    return result


async def image_prune(world: World, call: Call) -> object:
    """Remove what nobody needs, with `all` also images that have a name."""
    _require_known(world)
    removed, doomed = world.images.retire_unneeded(world.images_in_use(), unused=call.flag("all"))
    for image in removed:
        world.events.emit("image-remove", image=image["name"])
    await erase(doomed)
    return removed


async def image_rm(world: World, call: Call) -> object:
    _require_known(world)
    doomed = world.images.retire(call.text("image"), world.images_in_use())
    world.events.emit("image-remove", image=call.text("image"))
    await erase(doomed)
    return {}


def _require_known(world: World) -> None:
    """Refuse to remove images while nobody knows which one a damaged container is made of."""
    if unknown := [damaged for damaged in world.broken.values() if damaged.image_id is None]:
        raise InvalidState(
            f"container '{unknown[0].id}' is damaged: nobody knows which image it is made of",
            hint=f"repair its record, or: pycontainer rm --force {unknown[0].id}",
        )

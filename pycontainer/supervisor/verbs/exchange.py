"""commit, export, instance_import: what a container has written goes into an image, and a whole instance to another host.

Each freezes what is written first, so the container goes on while layers are packed from what no longer changes.
"""

import asyncio
import contextlib
import dataclasses
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pycontainer.disk.layers import new_layer_id
from pycontainer.errors import InvalidInput, InvalidState, NotFound
from pycontainer.failpoints import reach
from pycontainer.runtime.container import Container, ImageRecord
from pycontainer.runtime.instance import LABEL, checked, described, read_description
from pycontainer.runtime.rootfs import write_written
from pycontainer.spec.model import Port
from pycontainer.spec.names import check_name
from pycontainer.spec.ports import parse_ports
from pycontainer.store.refs import check_own_name, is_transit_name, new_transit_name
from pycontainer.supervisor.call import Call
from pycontainer.supervisor.imagework import bring_in, erase_later, work
from pycontainer.supervisor.verbs.creation import make, require_free
from pycontainer.supervisor.verbs.snapshots import present_layers
from pycontainer.supervisor.world import World

_ANOTHER_NAME = "give another after the file"
_at_work: set[str] = set()  # names of images that live for the time of one export or import


async def commit(world: World, call: Call) -> object:
    """Make an image of what a container is made of and what it has written."""
    container = world.find(call.text("container"))
    name = check_own_name(call.text("image"))
    world.reserve.require_room(f"image '{name}'")
    config = _merged(container.image.config if container.image else {}, call.mapping("config"))
    labels = config.get("labels")
    assert isinstance(labels, dict)
    config["labels"] = {key: value for key, value in labels.items() if key != LABEL}  # that of an instance it came from
    result = await _commit(
        world, call, container, name, config, author=call.text("author"), message=call.text("message")
    )
    world.events.emit("commit", container, image=name)
    return result


async def export(world: World, call: Call) -> object:
    """Write a whole instance, but its volumes, to the one descriptor of the request as an OCI archive."""
    with contextlib.ExitStack() as undo:
        fds = call.take_fds()
        for fd in fds:
            undo.callback(os.close, fd)
        if len(fds) != 1 or stat.S_ISDIR(os.fstat(fds[0]).st_mode):
            raise InvalidInput("export needs one descriptor, of a file to write to", field="fds")
        container = world.find(call.text("container"))
        labels = container.image.config.get("labels") if container.image else None
        mounts = world.volumes.without_anonymous(container.spec.mounts)  # of whoever imports it
        description = described(dataclasses.replace(container.spec, mounts=mounts))
        config = {"labels": {**(labels if isinstance(labels, dict) else {}), LABEL: description}}
        with _transit(world) as name:
            result = await _commit(world, call, container, name, config, is_whole=container.driver == "copy")
            request = {"images": [name], "format": "oci-archive", "fd": fds[0], "links": False}
            await work(world, call, "save", request, fds)
        world.events.emit("export", container)
    return {"left_out": result["left_out"]}


async def instance_import(world: World, call: Call) -> object:
    """Make a container of an archive that `export` has written, here or elsewhere."""
    world.reserve.require_room("an instance")
    is_trusted = call.flag("trusted")
    name, ports = call.text("name"), [port for text in call.texts("ports") for port in parse_ports(text)]
    if name:
        require_free(world, check_name(name), hint=_ANOTHER_NAME)
    with _transit(world) as transit:
        await bring_in(world, call, "load", {"source": call.text("source"), "name": transit, "platform": ""})
        reach("import:loaded")
        image = world.images.get(transit)
        labels = image.config.get("labels")
        spec = read_description(labels if isinstance(labels, dict) else {})
        name = name or spec.name
        require_free(world, name, hint=_ANOTHER_NAME)
        kept = f"instance/{name}:{image.id[7:19]}".lower()
        spec = dataclasses.replace(
            spec, name=name, image=kept, tenant=call.text("tenant"), ports=_ports(ports, spec.ports)
        )
        spec = checked(spec, is_trusted=is_trusted, has_volume=world.volumes.has, own_ports=bool(ports))
        record = ImageRecord(kept, image.id, list(image.layer_dirs), dict(image.config))
        info = await make(world, spec, record, capped=is_trusted or spec.disk_bytes is not None)
        reach("import:made")  # whose image gets its name when somebody comes up (leftovers.py)
        try:
            world.images.tag(transit, kept)
        except BaseException:
            await world.removal.remove(world.find(str(info["id"])))
            raise
        reach("import:tagged")
    world.events.emit("import", world.find(str(info["id"])), source=call.text("source"))
    return info


async def _commit(
    world: World,
    call: Call,
    container: Container,
    name: str,
    config: Mapping[str, object],
    *,
    author: str = "",
    message: str = "",
    is_whole: bool = False,
) -> dict[str, Any]:
    """Freeze what a container has written and make an image of it: {image: ImageInfo, left_out: [what and why]}.

    With `is_whole`, and where there was no image, all of its files become one layer.
    """
    with contextlib.ExitStack() as undo:
        undo.callback(world.layers.sweep)  # what was frozen for this alone, also if it comes to nothing
        async with world.lock(container):
            world.require(container)
            layers = await present_layers(world, container)
            undo.enter_context(world.layers.held(layers))  # the container may go on, or go
        uppers, whole = [os.path.realpath(world.layers.frozen.path(layer)) for layer in layers], list[str]()
        if is_whole or container.image is None:
            uppers, whole = [], [*([] if container.driver == "copy" else container.base_layers()), *uppers]
        elif container.driver == "copy":
            uppers = await _written(world, container, layers[-1], undo)
        request = {
            "image": container.image.id if container.image else "",
            "uppers": uppers,
            "whole": whole,
            "name": name,
            "config": config,
            "author": author,
            "message": message,
            "created": None,
        }
        result = await work(world, call, "commit", request)
    assert isinstance(result, dict)
    return result


async def _written(world: World, container: Container, layer: str, undo: contextlib.ExitStack) -> list[str]:
    """Return the upper directory that tells what a copy, frozen as `layer`, has changed of its image; none if it has nothing.

    It goes with `undo`.
    """
    frozen, upper = world.layers.frozen, new_layer_id()
    place = frozen.begin(upper)
    undo.callback(world.layers.erase, [place])
    os.mkdir(f"{place}/fs", 0o755)
    writing = asyncio.ensure_future(asyncio.to_thread(write_written, container, frozen.path(layer), f"{place}/fs"))
    try:
        is_changed = await asyncio.shield(writing)
    except asyncio.CancelledError:
        await writing  # before it is erased
        raise
    return [f"{place}/fs"] if is_changed else []


def _merged(base: Mapping[str, object], given: Mapping[str, object]) -> dict[str, object]:
    """Return an image's config with changes: variables, labels, ports and volumes are added, anything else is replaced."""
    config = {**base, **given}
    for key in ("exposed_ports", "volumes"):
        config[key] = list(dict.fromkeys([*_list(base, key), *_list(given, key)]))
    variables = {str(pair).partition("=")[0]: pair for pair in [*_list(base, "env"), *_list(given, "env")]}
    config["env"] = list(variables.values())
    labels = [value for value in (base.get("labels"), given.get("labels")) if isinstance(value, dict)]
    config["labels"] = {key: value for each in labels for key, value in each.items()}
    return config


def _list(config: Mapping[str, object], key: str) -> list[object]:
    value = config.get(key)
    return value if isinstance(value, list) else []


def _ports(given: Sequence[Port], described: tuple[Port, ...]) -> tuple[Port, ...]:
    return tuple(given) or described


@contextlib.contextmanager
def _transit(world: World) -> Iterator[str]:
    """Give a name of an image that goes at the end; those of a supervisor that was killed go as well."""
    for left in world.images.list():
        if is_transit_name(left["name"]) and left["name"] not in _at_work:
            _drop(world, left["name"])
    name = new_transit_name()
    _at_work.add(name)
    try:
        yield name
    finally:
        _at_work.discard(name)
        _drop(world, name)


def _drop(world: World, name: str) -> None:
    with contextlib.suppress(NotFound, InvalidState):
        erase_later(world, world.images.retire(name, world.images_in_use()))

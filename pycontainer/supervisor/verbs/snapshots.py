"""snapshot_create, snapshot_list, snapshot_restore, snapshot_rm, clone."""

import asyncio
import dataclasses
import time

from pycontainer.cgroup.base import Cgroup
from pycontainer.disk.layers import new_layer_id
from pycontainer.disk.storage import Freezing
from pycontainer.errors import AlreadyExists, InvalidInput, InvalidState, NotFound, PycontainerError
from pycontainer.failpoints import reach
from pycontainer.runtime.container import Container, now
from pycontainer.runtime.rootfs import check_depth, freeze_apart, freeze_by, go_back, is_unchanged, move_to_frozen
from pycontainer.runtime.snapshots import (
    AUTOMATIC,
    Snapshot,
    check_snapshot_name,
    delete_snapshot,
    free_name,
    next_number,
    save_snapshot,
)
from pycontainer.spec.model import Port
from pycontainer.spec.names import check_name
from pycontainer.spec.ports import parse_ports
from pycontainer.spec.problems import as_error
from pycontainer.spec.validate import validate
from pycontainer.supervisor import authorise
from pycontainer.supervisor.call import Call
from pycontainer.supervisor.freezing import freeze
from pycontainer.supervisor.verbs.creation import make, require_free
from pycontainer.supervisor.verbs.lifecycle import stop_now
from pycontainer.supervisor.world import World


async def snapshot_create(world: World, call: Call) -> object:
    container = world.find(call.text("container"))
    snapshot = await take_now(world, container, call.text("name"))
    return _info(snapshot)


async def take_now(world: World, container: Container, name: str) -> Snapshot:
    """Make a snapshot of what a container has written; an empty name asks for the next free one."""
    async with world.lock(container):
        world.require(container)
        name = check_snapshot_name(name or free_name(container.snapshots))
        if name in container.snapshots:
            raise AlreadyExists(
                f"container '{container.spec.name}' has a snapshot '{name}' already",
                hint=f"choose another name, or remove it: pycontainer snapshot rm {container.spec.name} {name}",
            )
        world.reserve.require_room(f"snapshot '{name}'")
        began = time.monotonic()
        layers = await present_layers(world, container)
        reach("snapshot:frozen")
        snapshot = Snapshot(name, now(), layers, next_number(container.snapshots))
        try:
            save_snapshot(container.directory, snapshot)
        except BaseException:
            world.layers.sweep()  # on a full disk, of all, its copy would stay
            raise
        reach("snapshot:recorded")
        container.snapshots[name] = snapshot
        world.events.emit("snapshot-create", container, snapshot=name, seconds=round(time.monotonic() - began, 3))
    return snapshot


async def present_layers(world: World, container: Container) -> tuple[str, ...]:
    """Freeze what a container has written until now and return the stack; its lock is held, who claims it does so at once.

    A running container stands still while its files are copied, unless the file system makes snapshots.
    """
    require_own_layer(container)
    world.require_unmounted(container)
    frozen, run = world.layers.frozen, world.runs.get(container.id)
    try:
        if run is None:
            await world.layers.settle(container)
        if run is None and is_unchanged(container, frozen):
            return tuple(container.lowers)
        way = freeze_by(container, is_running=run is not None)
        if way is Freezing.MOVE:
            move_to_frozen(container, frozen)
            return tuple(container.lowers)
        layer = new_layer_id()
        below = () if container.driver == "copy" else tuple(container.lowers)
        check_depth(len(below) + 1)
        with world.layers.held((layer,)):
            if run is None or way is Freezing.SHARE:
                await asyncio.to_thread(freeze_apart, container, frozen, layer)
            else:
                await _copy_standing_still(world, container, run.cgroup, layer)
        return (*below, layer)
    except OSError as error:
        raise PycontainerError(
            f"cannot freeze what container '{container.spec.name}' has written: {error.strerror or error}",
            hint="a copy needs as much space as the container has written" if error.errno == 28 else "",
        ) from error


async def _copy_standing_still(world: World, container: Container, cgroup: Cgroup, layer: str) -> None:
    """Copy what a running container has written while all of its processes are frozen."""
    stands_still, loop = not cgroup.is_frozen(), asyncio.get_running_loop()

    def go_on() -> None:
        nonlocal stands_still
        if stands_still:
            stands_still = False
            if container.id in world.runs:
                cgroup.thaw()
            world.layers.forget_frozen(container)

    try:
        if stands_still:
            world.layers.note_frozen(container)
            await freeze(world, container)
            reach("snapshot:still")
        await asyncio.shield(
            asyncio.to_thread(
                freeze_apart, container, world.layers.frozen, layer, lambda: loop.call_soon_threadsafe(go_on)
            )
        )
    finally:
        go_on()


def require_own_layer(container: Container) -> None:
    """Raise InvalidState for a container that writes into a directory that is not ours."""
    if container.spec.rootfs_writable:
        raise InvalidState(
            f"container '{container.spec.name}' writes into '{container.spec.rootfs}' itself: there is no layer of its own",
            hint="make it with --rootfs DIR, without ':rw'; 'pycontainer image import' makes an image of that directory",
        )


async def snapshot_list(world: World, call: Call) -> object:
    container = world.find(call.text("container"))
    return [_info(snapshot) for snapshot in container.snapshots.values()]


async def snapshot_restore(world: World, call: Call) -> object:
    """Put a container back to where it was; what was written since is lost. `force` stops it first if it runs."""
    container = world.find(call.text("container"))
    async with world.lock(container):
        world.require(container)
        snapshot = find_snapshot(container, call.text("snapshot"))
        require_own_layer(container)
        world.require_unmounted(container)
        if container.id in world.runs or world.status(container) == "restarting":
            if not call.flag("force"):
                raise InvalidState(
                    f"container '{container.spec.name}' is {world.status(container)}",
                    hint=f"stop it first, or: pycontainer snapshot restore --force {container.spec.name} {snapshot.name}",
                )
            await stop_now(world, container, None, cause="snapshot restore")
            world.require(container)  # one with auto_remove is gone with its end
        for layer in snapshot.layers:
            if not world.layers.frozen.exists(layer):
                raise NotFound(f"snapshot '{snapshot.name}' is damaged: layer {layer} is gone")
        with world.layers.held(tuple(container.lowers)):  # the record still names them
            doomed = await asyncio.to_thread(go_back, container, world.layers.frozen, snapshot.layers)
        reach("restore:over")
        world.layers.erase([doomed])
        world.layers.sweep()
        world.events.emit("snapshot-restore", container, snapshot=snapshot.name)
    return _info(snapshot)


async def snapshot_rm(world: World, call: Call) -> object:
    container = world.find(call.text("container"))
    names = call.texts("snapshots")
    for name in names:
        find_snapshot(container, name)
    await drop_now(world, container, names)
    return {}


async def drop_now(world: World, container: Container, names: list[str]) -> None:
    """Delete snapshots, and what only they hold."""
    async with world.lock(container):
        world.require(container)
        for name in names:
            delete_snapshot(container.directory, name)
            if container.snapshots.pop(name, None) is not None:
                world.events.emit("snapshot-remove", container, snapshot=name)
        world.layers.sweep()


async def clone(world: World, call: Call) -> object:
    """Make a container like another one: its spec and files, with a name, ids and addresses of its own."""
    source = world.find(call.text("container"))
    name = check_name(call.text("name"), "container")
    ports: list[Port] = [port for text in call.texts("ports") for port in parse_ports(text)]
    async with world.lock(source):
        world.require(source)
        require_free(world, name)
        spec = dataclasses.replace(source.spec, name=name, ip="", ip6="", ports=tuple(ports) or source.spec.ports)
        spec = authorise.without_managed_labels(spec)
        spec = dataclasses.replace(spec, mounts=world.volumes.without_anonymous(spec.mounts))  # it gets its own
        if problems := validate(spec):
            raise as_error(problems)
        spec = authorise.admitted(world, spec)  # before anything is frozen
        world.capacity.admit_spec(spec)  # before files are copied; `make` judges again, and tells of it
        wanted = call.text("snapshot")
        if wanted:
            layers = find_snapshot(source, wanted).layers
            for layer in layers:
                if not world.layers.frozen.exists(layer):
                    raise NotFound(f"snapshot '{wanted}' is damaged: layer {layer} is gone")
        else:
            layers = await present_layers(world, source)
        reach("clone:frozen")
        try:
            with world.layers.held(layers):
                info = await make(world, spec, source.image, capped=True, lowers=layers, driver=source.driver)
                reach("clone:made")
        finally:
            world.layers.sweep()  # what was frozen for a clone that could not be made, too
        world.events.emit("clone", world.find(str(info["id"])), source=source.spec.name)
    return info


def find_snapshot(container: Container, name: str) -> Snapshot:
    """Return a snapshot of a container by its name."""
    if not name:
        raise InvalidInput("there is no name of a snapshot", field="snapshot")
    found = container.snapshots.get(name)
    if found is None:
        raise NotFound(
            f"container '{container.spec.name}' has no snapshot '{check_snapshot_name(name)}'",
            hint=f"pycontainer snapshot list {container.spec.name}",
        )
    return found


def _info(snapshot: Snapshot) -> dict[str, object]:
    return {
        "name": snapshot.name,
        "created": snapshot.created,
        "layers": len(snapshot.layers),
        "automatic": snapshot.name.startswith(AUTOMATIC),
    }

"""volume_create, volume_list, volume_inspect, volume_set, volume_rm, volume_prune, volume_backup, volume_restore."""

import asyncio
import contextlib
import json
import os
import stat
from collections.abc import AsyncIterator

from pycontainer.disk.storage import Caps
from pycontainer.errors import InvalidInput, InvalidState, NotFound, PycontainerError, from_wire
from pycontainer.runtime.container import Container
from pycontainer.runtime.worker import command
from pycontainer.spec.values import parse_label
from pycontainer.store.volumes import new_anonymous_name
from pycontainer.supervisor.authorise import labels_of, may_see_volume
from pycontainer.supervisor.call import Call
from pycontainer.supervisor.caller import current_caller
from pycontainer.supervisor.freezing import freeze
from pycontainer.supervisor.volumes import describe, named, said, users_of
from pycontainer.supervisor.world import World
from pycontainer.units import parse_bytes, parse_count

_UNLIMITED = "unlimited"
_STALL_SECONDS = 60.0  # that containers stand still for a backup that does not move


async def volume_create(world: World, call: Call) -> object:
    name = call.text("name")
    world.reserve.require_room("a volume")
    volume = world.volumes.create(
        name or new_anonymous_name(),
        _caps(call.text("size"), call.text("inodes"), Caps()),
        labels=dict(parse_label(f"{key}={value}") for key, value in call.mapping("labels").items()),
        is_anonymous=not name,
    )
    world.events.emit("volume-create", volume=volume.name)
    return (await describe(world, [volume]))[0]


async def volume_list(world: World, call: Call) -> object:
    return await describe(world, [each for each in world.volumes.all() if may_see_volume(each.labels)])


async def volume_inspect(world: World, call: Call) -> object:
    return (await describe(world, [world.volumes.get(call.text("volume"))]))[0]


async def volume_set(world: World, call: Call) -> object:
    """Change the caps of a volume, also while containers use it."""
    volume = world.volumes.get(call.text("volume"))
    world.volumes.require_restored(volume.name)
    async with world.volumes.locked(volume.name):
        data = world.volumes.data(volume.name)
        caps = _caps(call.text("size"), call.text("inodes"), data.caps())
        usage = await asyncio.to_thread(data.usage)
        if usage is not None and caps.hard_bytes is not None and usage.used_bytes > caps.hard_bytes:
            raise InvalidState(
                f"volume '{volume.name}' holds {usage.used_bytes} bytes, more than {caps.hard_bytes}",
                hint="remove files first",
            )
        await asyncio.to_thread(data.cap, caps)  # a file system that grows may take long
    return (await describe(world, [volume]))[0]


async def volume_rm(world: World, call: Call) -> object:
    """Delete a volume that no container has; with `force`, one that is not there is fine."""
    name = call.text("volume")
    try:
        place = world.volumes.remove(world, name)
    except NotFound:
        if call.flag("force"):
            return {}
        raise
    world.events.emit("volume-remove", volume=name)
    await world.volumes.erase(place)
    return {}


async def volume_prune(world: World, call: Call) -> object:
    """Delete anonymous volumes that no container has, with `all` named ones too; say what went, and what it held."""
    return await prune_volumes(world, with_named=call.flag("all"))


async def prune_volumes(world: World, *, with_named: bool) -> dict[str, object]:
    unused = [
        volume
        for volume in world.volumes.all()
        if (volume.is_anonymous or with_named) and not users_of(world, volume.name)
    ]
    infos = {str(info["name"]): info for info in await describe(world, unused, seconds=30)}
    removed, freed_bytes, places = [], 0, []
    for volume in unused:
        with contextlib.suppress(NotFound, InvalidState):  # it went, or somebody uses it by now
            places.append(world.volumes.remove(world, volume.name))
            removed.append(volume.name)
            used = infos.get(volume.name, {}).get("used_bytes")
            freed_bytes += used if isinstance(used, int) else 0
            world.events.emit("volume-remove", volume=volume.name)
    await world.volumes.erase(*places)
    return {"removed": removed, "freed_bytes": freed_bytes}


async def volume_backup(world: World, call: Call) -> object:
    """Write a tar stream of a volume to the request's descriptor; with `pause` its containers stand still meanwhile."""
    (fd,) = _one_fd(call)
    try:
        name = call.text("volume")
        with world.volumes.reading(name) as data:
            async with _standing_still(world, name, call.flag("pause")) as warnings:
                mount_fd = data.open_tree()
                try:
                    worker = await world.volumes.worker("out", mount_fd, "/.", stdout=fd)
                finally:
                    os.close(mount_fd)
                left_out = await (_said_while_it_moves(worker, name) if call.flag("pause") else said(worker))
        return {"left_out": left_out, "warnings": warnings}
    finally:
        os.close(fd)


async def volume_restore(world: World, call: Call) -> object:
    """Unpack the archive of the request's descriptor, a file, into a volume that is new, or empty and not in use."""
    (fd,) = _one_fd(call)
    try:
        name = call.text("volume")
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise InvalidInput("a volume is restored from a file", field="fds")
        world.reserve.require_room("what a volume held")
        caps, caller = _caps(call.text("size"), call.text("inodes"), Caps()), current_caller()
        labels = labels_of(caller.tenant if caller is not None else "")
        async with world.volumes.restoring(world, name, caps, labels) as data:
            await _unpack(world, data.open_tree(), fd)
        world.events.emit("volume-restore", volume=name)
        return (await describe(world, [world.volumes.get(name)]))[0]
    finally:
        os.close(fd)


async def _unpack(world: World, mount_fd: int, archive_fd: int) -> None:
    try:
        worker = await asyncio.create_subprocess_exec(
            *command(
                "restore_worker",
                *("--root", world.paths.root or "", "--data", world.paths.volumes_dir, "--mount-fd", str(mount_fd)),
            ),
            stdin=archive_fd,
            stdout=asyncio.subprocess.PIPE,
            pass_fds=[mount_fd],
        )
    finally:
        os.close(mount_fd)
    try:
        output, _ = await worker.communicate()
    finally:
        if worker.returncode is None:
            worker.kill()
            await worker.wait()
    with contextlib.suppress(ValueError, IndexError):
        message = json.loads(output.splitlines()[-1])
        if isinstance(message.get("error"), dict):
            raise from_wire(message["error"])
        if "result" in message and not worker.returncode:
            return
    raise PycontainerError(f"the restore ended without a result (exit {worker.returncode})")


@contextlib.asynccontextmanager
async def _standing_still(world: World, name: str, pause: bool) -> AsyncIterator[list[str]]:
    """Freeze the containers that run with the volume, if that is asked, and thaw those again; else give a warning."""
    running = [user for user in users_of(world, name) if user.id in world.runs]
    warnings: list[str] = []
    async with contextlib.AsyncExitStack() as undo:
        if pause:
            for container in sorted(running, key=lambda user: user.id):  # one order, so that two backups never block
                await undo.enter_async_context(world.lock(container))
                run = world.runs.get(container.id)
                if run is not None and not run.cgroup.is_frozen():
                    undo.callback(_thaw, world, container)
                    world.layers.note_frozen(container)
                    await freeze(world, container)
        elif running := [user for user in running if world.status(user) == "running"]:
            warnings.append(
                f"{named(running)} may have written meanwhile: the backup is no picture of one moment; --pause makes it one"
            )
        yield warnings


def _thaw(world: World, container: Container) -> None:
    run = world.runs.get(container.id)
    if run is not None and run.cgroup.is_frozen():
        run.cgroup.thaw()
    world.layers.forget_frozen(container)


async def _said_while_it_moves(worker: asyncio.subprocess.Process, name: str) -> list[str]:
    """Return what `said` does; end the copy, with InvalidState, when it has not moved a byte for a minute."""
    saying = asyncio.ensure_future(said(worker))
    moved_bytes = -1
    try:
        while not (await asyncio.wait({saying}, timeout=_STALL_SECONDS))[0]:
            if (now_bytes := _moved_bytes(worker.pid)) == moved_bytes:
                raise InvalidState(
                    f"the backup of volume '{name}' has not moved for {_STALL_SECONDS:g} s, and its containers stood still",
                    hint="write it to a place that takes it, or leave --pause out",
                )
            moved_bytes = now_bytes
        return saying.result()
    finally:
        if not saying.done():
            saying.cancel()  # which ends the worker
            await asyncio.wait({saying})


def _moved_bytes(pid: int) -> int:
    """Return what a process has read and written until now, 0 if it is gone. proc_pid_io(5)"""
    try:
        with open(f"/proc/{pid}/io", encoding="ascii") as file:
            return sum(int(line.split(": ")[1]) for line in file if line.startswith(("rchar:", "wchar:")))
    except (FileNotFoundError, ProcessLookupError):
        return 0


def _caps(size: str, inodes: str, held: Caps) -> Caps:
    """Return what a call asks for; what it does not name stays as it is held."""
    hard_bytes, hard_inodes = held.hard_bytes, held.hard_inodes
    if size:
        hard_bytes = None if size == _UNLIMITED else parse_bytes(size)
    if inodes:
        hard_inodes = None if inodes == _UNLIMITED else parse_count(inodes)
    return Caps(hard_bytes, None, hard_inodes)


def _one_fd(call: Call) -> list[int]:
    fds = call.take_fds()
    if len(fds) != 1:
        for fd in fds:
            os.close(fd)
        raise InvalidInput(f"'{call.verb}' needs one descriptor", field="fds")
    return fds

"""Taking away what a container has: its record and its name at once, its files beside other requests.

rm ──▶ network, disk, id range, the present run ──▶ rename to .removed-ID ──▶ erase, perhaps long
                                                      (the name is free)         (may be repeated)
"""

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING

from pycontainer.disk.storage import erase, open_storage
from pycontainer.errors import InvalidState
from pycontainer.record import remove_record
from pycontainer.runtime.container import Container
from pycontainer.spec.names import is_container_id
from pycontainer.supervisor.damaged import Damaged
from pycontainer.supervisor.events import acting

if TYPE_CHECKING:
    from pycontainer.supervisor.world import World

TRASH = ".removed-"


class Removal:
    """The removals of one world."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._erasing: dict[str, asyncio.Task[None]] = {}  # id of a removed container -> its files are going

    async def remove(self, container: Container, *, with_volumes: bool = False) -> None:
        """Take away all a stopped container has. Every step may be repeated; its files go last, beside other requests.

        `with_volumes`: also those that its image asked for, as for a container that removes itself.
        """
        world = self._world
        world.restarts.cancel(container)
        world.networks.detach(container.id, alive=False)
        world.networks.release(container.id)
        with contextlib.suppress(FileNotFoundError):
            container.storage().release()
        world.idranges.release(container.base, container.directory)
        container.forget_run()
        with contextlib.suppress(FileNotFoundError):
            os.rename(container.directory, self._remains(container.id))
        if world.names.get(container.spec.name) == container.id:
            del world.names[container.spec.name]
        world.containers.pop(container.id, None)
        world.locks.pop(container.id, None)
        world.schedule.forget(container.id)
        world.seen_failures = {key: count for key, count in world.seen_failures.items() if key[0] != container.id}
        world.events.emit("remove", container)
        if container.lowers or container.snapshots:
            world.layers.sweep()
        retired: list[str] = []
        if with_volumes or container.spec.auto_remove:
            retired = world.volumes.retire_anonymous(world, container.spec.mounts)
        await self.erase_remains(container.id)
        if retired:
            await world.volumes.erase(*retired)

    async def remove_damaged(self, damaged: Damaged) -> None:
        """Take away all that a damaged container has, its processes first; nobody learns how they ended."""
        world = self._world
        for container_id, tenant in world.hierarchy.containers():
            if container_id == damaged.id:
                cgroup = world.hierarchy.open(container_id, tenant)
                cgroup.kill()
                cgroup.delete()
        directory = world.paths.container_dir(damaged.id)
        world.networks.release(damaged.id)
        base = world.idranges.lookup(directory)
        if base is not None:
            with contextlib.suppress(OSError):  # a disk image that is damaged too has nothing to forget
                open_storage(directory, base).release()
            world.idranges.release(base, directory)
        remove_record(world.paths.runtime_state(damaged.id))
        with contextlib.suppress(FileNotFoundError):
            os.rename(directory, self._remains(damaged.id))
        if world.names.get(damaged.name) == damaged.id:
            del world.names[damaged.name]
        world.broken.pop(damaged.id, None)
        world.layers.sweep()
        world.events.emit("remove", id=damaged.id, name=damaged.name)
        await self.erase_remains(damaged.id)

    def discard_half_made(self, container_id: str) -> None:
        """Take away a directory without a record: a create that was cut off before its last step."""
        world = self._world
        directory = world.paths.container_dir(container_id)
        base = world.idranges.lookup(directory)
        if base is not None:
            world.idranges.release(base, directory)
        world.networks.release(container_id)
        os.rename(directory, self._remains(container_id))
        world.spawn(self.erase_later(container_id))

    async def remove_ended(self, container: Container) -> None:
        """Take away a container that was to go when it ends."""
        with acting("policy auto_remove"):
            await self._remove_ended(container)

    async def _remove_ended(self, container: Container) -> None:
        world = self._world
        async with world.lock(container):
            if container.id in world.containers and container.id not in world.runs:
                try:
                    await self.remove(container)
                except InvalidState as error:
                    world.events.emit("leftover", detail=f"files of container '{container.id}': {error}")

    def is_erasing(self, container_id: str) -> bool:
        """Tell whether the files of a removed container are going just now."""
        return container_id in self._erasing

    def has_remains(self, container_id: str) -> bool:
        """Tell whether files of a removed container are there, still or because something kept them."""
        return is_container_id(container_id) and os.path.lexists(self._remains(container_id))

    async def erase_remains(self, container_id: str) -> None:
        """Delete the files of a removed container; InvalidState names what cannot go. May be repeated.

        Beside other requests, as a tenant may have made millions of files; who asks for the same waits for the same.
        """
        task = self._erasing.get(container_id)
        if task is None:
            erasing = asyncio.to_thread(erase, self._remains(container_id))
            task = self._erasing[container_id] = asyncio.get_running_loop().create_task(erasing)
            task.add_done_callback(lambda _: self._erasing.pop(container_id, None))
        try:
            await asyncio.shield(task)
        except OSError as error:
            raise InvalidState(
                f"the container is removed, but not all of its files: {error.strerror}",
                hint=f"see what holds them (findmnt, lsattr), then: pycontainer rm {container_id}",
            ) from error

    async def erase_later(self, container_id: str) -> None:
        try:
            await self.erase_remains(container_id)
        except InvalidState as error:
            self._world.events.emit("leftover", detail=f"files of container '{container_id}': {error}")

    def _remains(self, container_id: str) -> str:
        return f"{self._world.paths.containers_dir}/{TRASH}{container_id}"

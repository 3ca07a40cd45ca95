"""Taking away what a container has: its record and its name at once, its files beside other requests.

rm ──▶ quota ──▶ rename to .removed-ID ──▶ network, id range, the present run ──▶ volumes, files, perhaps long
                   (it is gone, the name is free)      (found by the id)              (may be repeated)

The rename is the intent: before it the container is whole, after it nothing of it comes back, whoever dies. It takes neither
space nor an inode. Whether volumes go as well is part of the new name, and which ones is in the record that lies there.
"""

import asyncio
import contextlib
import os
from collections.abc import Collection
from typing import TYPE_CHECKING

from pycontainer.disk.storage import erase, open_storage
from pycontainer.errors import InvalidState, PycontainerError
from pycontainer.failpoints import reach
from pycontainer.record import read_record, remove_record
from pycontainer.runtime.container import Container
from pycontainer.spec.names import is_container_id
from pycontainer.spec.parse import from_plain
from pycontainer.supervisor import making
from pycontainer.supervisor.damaged import Damaged
from pycontainer.supervisor.events import acting

if TYPE_CHECKING:
    from pycontainer.supervisor.world import World

TRASH = ".removed-"
_WITH_VOLUMES = "+volumes"


def removed_id(name: str) -> str:
    """Return the id of the removed container whose remains a directory `name`, which begins with TRASH, holds."""
    return name.removeprefix(TRASH).removesuffix(_WITH_VOLUMES)


class Removal:
    """The removals of one world."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._erasing: dict[str, asyncio.Task[None]] = {}  # id of a removed container -> its files are going

    async def remove(self, container: Container, *, with_volumes: bool = False) -> None:
        """Take away all a stopped container has. Every step may be repeated; its files go last, beside other requests.

        `with_volumes`: also those that its image asked for, as for a container that removes itself.
        """
        self._take_away(container, with_volumes=with_volumes)
        await self.erase_remains(container.id)

    def _take_away(self, container: Container, *, with_volumes: bool) -> None:
        world = self._world
        world.endings.settle(container.id)
        with contextlib.suppress(FileNotFoundError):
            container.storage().release()  # first: the next start would cap it again, and nobody else has its ids yet
        reach("rm:storage")
        with_volumes = container.spec.has_volumes and (with_volumes or container.spec.auto_remove)
        self._retire(container.id, with_volumes=with_volumes)
        reach("rm:renamed")
        if world.names.get(container.spec.name) == container.id:
            del world.names[container.spec.name]
        world.containers.pop(container.id, None)
        world.locks.pop(container.id, None)
        world.restarts.cancel(container)
        world.networks.detach(container.id, alive=False)
        world.networks.release(container.id)
        reach("rm:network")
        world.idranges.release(container.base, container.directory)
        reach("rm:range")
        container.forget_run()
        reach("rm:forgotten")
        world.schedule.forget(container.id)
        world.ledger.forget(container.id)
        world.endings.forget(container.id)
        world.health.forget(container.id)
        world.restarts.forget(container.id)
        world.seen_failures = {key: count for key, count in world.seen_failures.items() if key[0] != container.id}
        world.events.emit("remove", container)
        if container.lowers or container.snapshots:
            world.layers.sweep()

    async def remove_damaged(self, damaged: Damaged) -> None:
        """Take away all that a damaged container has, its processes first; nobody learns how they ended."""
        world = self._world
        for container_id, tenant in world.hierarchy.containers():
            if container_id == damaged.id:
                cgroup = world.hierarchy.open(container_id, tenant)
                cgroup.kill()
                cgroup.delete()
        directory = world.paths.container_dir(damaged.id)
        base = world.idranges.lookup(directory)
        if base is not None:
            with contextlib.suppress(OSError):  # a disk image that is damaged too has nothing to forget
                open_storage(directory, base).release()
        self._retire(damaged.id, with_volumes=False)
        world.networks.release(damaged.id)
        if base is not None:
            world.idranges.release(base, directory)
        remove_record(world.paths.runtime_state(damaged.id))
        if world.names.get(damaged.name) == damaged.id:
            del world.names[damaged.name]
        world.broken.pop(damaged.id, None)
        world.ledger.forget(damaged.id)
        world.layers.sweep()
        world.events.emit("remove", id=damaged.id, name=damaged.name)
        await self.erase_remains(damaged.id)

    def discard_half_made(self, container_id: str) -> None:
        """Take away a directory without a record: a create that was cut off before its last step."""
        self.retire_half_made(container_id)
        self._world.spawn(self.erase_later(container_id))

    def retire_half_made(self, container_id: str) -> None:
        """Do the same but for its files, and the volumes that were made for it: these are `erase_remains`'s."""
        world = self._world
        directory = world.paths.container_dir(container_id)
        base = world.idranges.lookup(directory)
        if base is not None:
            with contextlib.suppress(OSError):  # it had no layer yet
                open_storage(directory, base).release()
            world.idranges.release(base, directory)
        world.networks.release(container_id)
        self._retire(container_id, with_volumes=True)

    def remove_ended(self, container: Container) -> None:
        """Take away a container that was to go when it ends, now; or once nobody is at work with it any more."""
        with acting("policy auto_remove"):
            if self._world.lock(container).locked():
                self._world.spawn(self._remove_when_free(container))
            else:
                self._remove_ended(container)

    async def _remove_when_free(self, container: Container) -> None:
        if self._world.containers.get(container.id) is not container:  # its lock is gone with it
            return
        async with self._world.lock(container):
            self._remove_ended(container)

    def _remove_ended(self, container: Container) -> None:
        world = self._world
        if world.containers.get(container.id) is not container or container.id in world.runs:
            return
        try:
            self._take_away(container, with_volumes=True)
        except (InvalidState, OSError) as error:
            world.events.emit("leftover", detail=f"files of container '{container.id}': {error}")
            return
        world.spawn(self.erase_later(container.id))

    def is_erasing(self, container_id: str) -> bool:
        """Tell whether the files of a removed container are going just now."""
        return container_id in self._erasing

    def erasing(self) -> Collection[str]:
        """Return the ids of the removed containers whose files are going just now."""
        return self._erasing

    def has_remains(self, container_id: str) -> bool:
        """Tell whether files of a removed container are there, still or because something kept them."""
        return is_container_id(container_id) and os.path.lexists(self._remains(container_id))

    async def erase_remains(self, container_id: str) -> None:
        """Delete the files of a removed container; InvalidState names what cannot go. May be repeated.

        Beside other requests, as a tenant may have made millions of files; who asks for the same waits for the same.
        """
        task = self._erasing.get(container_id)
        if task is None:
            task = self._erasing[container_id] = asyncio.get_running_loop().create_task(self._erase(container_id))
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

    async def _erase(self, container_id: str) -> None:
        while os.path.lexists(remains := self._remains(container_id)):  # of two where a create was cut off as well
            retired = self._retire_volumes(remains) if remains.endswith(_WITH_VOLUMES) else []
            reach("rm:volumes")
            await self._world.endings.unmounted(container_id)
            await asyncio.to_thread(erase, remains)
            reach("rm:erased")
            if retired:
                await self._world.volumes.erase(*retired)

    def _retire_volumes(self, remains: str) -> list[str]:
        """Take out of sight what only the container had whose remains these are: of what it asked for, or began to make."""
        world = self._world
        try:
            mounts = from_plain(read_record(f"{remains}/spec.json")["spec"]).mounts
        except FileNotFoundError:  # it was never whole
            return world.volumes.retire_made(world, making.noted(remains))
        except (OSError, ValueError, PycontainerError):
            return []  # nobody knows which they were: `volume prune` finds them unused
        return world.volumes.retire_anonymous(world, mounts)

    def _retire(self, container_id: str, *, with_volumes: bool) -> None:
        """Rename a container's directory: from here on there is no such container. Gone already is fine."""
        place = f"{self._world.paths.containers_dir}/{TRASH}{container_id}"
        with contextlib.suppress(FileNotFoundError):
            os.rename(self._world.paths.container_dir(container_id), place + _WITH_VOLUMES * with_volumes)

    def _remains(self, container_id: str) -> str:
        place = f"{self._world.paths.containers_dir}/{TRASH}{container_id}"
        return place + _WITH_VOLUMES if os.path.lexists(place + _WITH_VOLUMES) else place

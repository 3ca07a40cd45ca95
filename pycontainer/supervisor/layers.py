"""The frozen layers of a world: who claims them, what nobody claims any more, what a killed supervisor left."""

import asyncio
import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pycontainer.disk.layers import FrozenLayers, erase_layer
from pycontainer.disk.project import project_of
from pycontainer.errors import PycontainerError
from pycontainer.runtime.rootfs import settle
from pycontainer.supervisor import log

if TYPE_CHECKING:
    from pycontainer.runtime.container import Container
    from pycontainer.supervisor.world import World


class Layers:
    """Frozen layers go when no container and no snapshot names them; nothing is counted."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.frozen = FrozenLayers(world.paths.layers_dir)
        self._held: list[str] = []

    @contextlib.contextmanager
    def held(self, layers: Sequence[str]) -> Iterator[None]:
        """Keep layers while the block runs, at the end of which a record names them."""
        self._held += layers
        try:
            yield
        finally:
            for layer in layers:
                self._held.remove(layer)

    def recover(self) -> None:
        """Finish what was cut off, then let go of what nobody claims."""
        world = self._world
        for container in world.containers.values():
            try:
                self._thaw(container)
                if container.id not in world.runs and (container.lowers or container.clearing):
                    self._settle_or_later(container)
            except (OSError, PycontainerError) as error:
                container.warnings = [*container.warnings, f"its layers: {error}"]
                log.say(f"layers of {container.id}: {error}", container=container)
        self.erase(self.frozen.left_over())
        self.sweep()

    async def settle(self, container: "Container") -> None:
        """Finish what was cut off in a stopped container's stack, whose lock is held."""
        if not container.clearing:
            doomed = settle(container, self.frozen)
        else:  # file by file in a disk image: beside other requests, and the lock is held until it is over
            emptying = asyncio.ensure_future(asyncio.to_thread(settle, container, self.frozen))
            try:
                doomed = await asyncio.shield(emptying)
            except asyncio.CancelledError:
                await emptying
                raise
        if doomed:
            self.erase([doomed])

    def _settle_or_later(self, container: "Container") -> None:
        """Do the same where it is quick, else let it go on while others are served; a start that comes first waits for it."""
        if container.clearing:
            self._world.spawn(self._settle_later(container))
        else:
            settle(container, self.frozen)

    async def _settle_later(self, container: "Container") -> None:
        async with self._world.lock(container):
            if self._world.containers.get(container.id) is not container or not container.clearing:
                return
            try:
                await self.settle(container)
            except (OSError, PycontainerError) as error:
                container.warnings = [*container.warnings, f"its layers: {error}"]
                log.say(f"layers of {container.id}: {error}", container=container)

    def claimed(self) -> set[str] | None:
        """Return the layers that somebody claims; None while a record is damaged, whose claims are unknown."""
        world = self._world
        if world.broken or any(container.damaged_snapshots for container in world.containers.values()):
            return None
        claimed = {*self._held}
        claimed |= {layer for container in world.containers.values() for layer in container.lowers}
        for container in world.containers.values():
            for snapshot in container.snapshots.values():
                claimed.update(snapshot.layers)
        return claimed

    def sweep(self) -> None:
        """Delete what nobody claims, beside other requests."""
        world, claimed = self._world, self.claimed()
        if claimed is None:
            return
        doomed = self.frozen.retire(claimed)
        self.frozen.at_work.update(doomed)
        projects = [project_of(container.base) for container in world.present()]
        world.spawn(self._finish_sweep(doomed, projects))

    def erase(self, places: list[str]) -> None:
        """Delete directories of layers, beside other requests."""
        if places:
            self.frozen.at_work.update(places)
            self._world.spawn(self._finish_sweep(places, None))

    async def erase_now(self, place: str) -> None:
        """Delete one such directory, and raise what keeps it; nothing if somebody is at it."""
        if place in self.frozen.left_over():
            self.frozen.at_work.add(place)
            try:
                await asyncio.to_thread(erase_layer, place)
            finally:
                self.frozen.at_work.discard(place)

    async def _finish_sweep(self, places: list[str], projects: list[int] | None) -> None:
        for place in places:
            try:
                await asyncio.to_thread(erase_layer, place)
            except OSError as error:
                self._world.events.emit("leftover", detail=f"layer: {error}")
            finally:
                self.frozen.at_work.discard(place)
        if projects is not None:
            try:
                await asyncio.to_thread(self.frozen.disown, projects)
            except OSError as error:
                self._world.events.emit("leftover", detail=f"quota of a layer: {error}")

    # -- containers that are stopped for the time of a copy ----------------------------------------------------------

    def note_frozen(self, container: "Container") -> None:
        """Have the next supervisor let the container go on, if we are killed before we do."""
        with open(self._note(container), "w"):
            pass

    def forget_frozen(self, container: "Container") -> None:
        try:
            os.unlink(self._note(container))
        except FileNotFoundError:
            pass

    def _thaw(self, container: "Container") -> None:
        if not os.path.exists(self._note(container)):
            return
        run = self._world.runs.get(container.id)
        if run is not None:
            run.cgroup.thaw()
        self.forget_frozen(container)

    def _note(self, container: "Container") -> str:
        return f"{self._world.paths.run_containers_dir}/{container.id}.copying"

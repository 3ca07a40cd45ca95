"""What is on its way and was not answered: noted before it begins, until who asked for it is told.

    run/containers/ID.setting          limits of a running container: before the kernel has them, until the record has, too
                  /@NAME.setting       those of a tenant
                  /ID.beginning        a container that is made and started as one

Another boot has neither those limits nor those processes. Who comes up in the same one writes the limits of the record again,
and removes what was to run: what nobody was told of has not happened. What was changed for the present run alone
(`--transient`) ends with that, too.
"""

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING

from pycontainer.controllers import registry
from pycontainer.errors import PycontainerError
from pycontainer.linux.files import write_atomically
from pycontainer.linux.hostboot import name_of_boot
from pycontainer.record import read_own
from pycontainer.runtime.container import Container
from pycontainer.supervisor import log

if TYPE_CHECKING:
    from pycontainer.supervisor.world import World

_SUFFIX, _BEGINNING, _TENANT = ".setting", ".beginning", "@"
_MAX_NOTE_BYTES, _PATIENCE_SECONDS = 4096, 2.0


class Unfinished:
    """The notes of one world; `remove`, which ends a container and takes it away, is set by what knows how to."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._directory = world.paths.run_containers_dir
        self.remove: Callable[[Container], Awaitable[None]] | None = None

    def changing(self, container_id: str) -> contextlib.AbstractContextManager[None]:
        """Have the limits of a running container on record written again, should we be killed while the block runs."""
        return self._noted(container_id)

    def changing_tenant(self, name: str) -> contextlib.AbstractContextManager[None]:
        """Do the same for a tenant and its containers."""
        return self._noted(_TENANT + name)

    @contextlib.contextmanager
    def beginning(self, container_id: str) -> Iterator[None]:
        """Have a container removed, should we be killed while the block runs."""
        path = f"{self._directory}/{container_id}{_BEGINNING}"
        try:
            write_atomically(path, name_of_boot().encode(), sync=False)
        except OSError as error:  # no room for what nobody may ever need
            log.say(f"'{path}' cannot be written: should the supervisor be killed now, its container stays: {error}")
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                os.unlink(path)

    def is_beginning(self, container_id: str) -> bool:
        """Tell whether a container was to run when the supervisor before us was killed, in this boot."""
        with contextlib.suppress(OSError, ValueError):
            path = f"{self._directory}/{container_id}{_BEGINNING}"
            return read_own(path, _MAX_NOTE_BYTES) == name_of_boot().encode()
        return False

    async def remove_begun(self) -> None:
        """Remove what was to run, and whose client knows nothing of it; what takes long goes on beside requests."""
        found = [file for file in os.listdir(self._directory) if file.endswith(_BEGINNING)]
        removals = [self._world.spawn(self._remove_begun(file)) for file in found]
        if removals:
            await asyncio.wait(removals, timeout=_PATIENCE_SECONDS)

    async def _remove_begun(self, file: str) -> None:
        container_id = file.removesuffix(_BEGINNING)
        container = self._world.containers.get(container_id)
        try:
            if container is not None and self.is_beginning(container_id):
                self._world.repaired.append(f"container whose run was cut off: {container.directory}")
                assert self.remove is not None
                await self.remove(container)
            os.unlink(f"{self._directory}/{file}")
        except (OSError, PycontainerError) as error:
            log.say(f"container '{container_id}', whose run was cut off: {error}")

    def finish(self) -> None:
        """Write the limits of the records where a change was cut off; what cannot be written is a warning."""
        world = self._world
        for file in os.listdir(self._directory):
            if not file.endswith(_SUFFIX):
                continue
            what = file.removesuffix(_SUFFIX)
            try:
                if what.startswith(_TENANT):
                    self._finish_tenant(what.removeprefix(_TENANT))
                elif (run := world.runs.get(what)) is not None:
                    container = world.containers[what]
                    world.transient.note(what, None)
                    spec = world.spec_in_force(container)
                    container.warnings = registry.apply(world.instance(container, run.cgroup), spec)
                    world.refresh_view(container, run.cgroup)
            except (OSError, PycontainerError) as error:
                log.say(f"limits of '{what}', whose change was cut off: {error}")
                continue
            os.unlink(f"{self._directory}/{file}")
            world.repaired.append(f"half-made change of limits: {what}")

    def _finish_tenant(self, name: str) -> None:
        world = self._world
        tenant = world.tenants.by_name.get(name)
        if tenant is None or not world.tenants.is_raised(name):
            return  # its limits come with the next start
        world.transient.note_tenant(name, None)
        world.apply_to_tenant(name)

    @contextlib.contextmanager
    def _noted(self, what: str) -> Iterator[None]:
        path = f"{self._directory}/{what}{_SUFFIX}"
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        try:
            yield
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

"""Changes of limits that are on their way: noted before the kernel has them, until the record has them as well.

    run/containers/ID.setting          those of a running container
                  /@NAME.setting       those of a tenant

Gone at boot, as are the limits themselves. Who comes up and finds one writes the limits of the record again: a change that
nobody was told of has not happened. What was changed for the present run alone (`--transient`) ends with that, too.
"""

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pycontainer.controllers import registry
from pycontainer.errors import PycontainerError
from pycontainer.supervisor import log

if TYPE_CHECKING:
    from pycontainer.supervisor.world import World

_SUFFIX, _TENANT = ".setting", "@"


class Unfinished:
    """The notes of one world."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._directory = world.paths.run_containers_dir

    def changing(self, container_id: str) -> contextlib.AbstractContextManager[None]:
        """Have the limits of a running container on record written again, should we be killed while the block runs."""
        return self._noted(container_id)

    def changing_tenant(self, name: str) -> contextlib.AbstractContextManager[None]:
        """Do the same for a tenant and its containers."""
        return self._noted(_TENANT + name)

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

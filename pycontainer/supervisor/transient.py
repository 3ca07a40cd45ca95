"""Limits that were changed for the present run alone (`set --transient`): what is in force then is not what is on record.

    run/containers/ID.transient         the spec in force, as in a record
                  /@NAME.transient      of a tenant

Gone at boot, with the run, and when a change that is kept is of the same. Without them who compares the kernel with
the record would take such a change back.
"""

import contextlib
import json
import os
from typing import TYPE_CHECKING

from pycontainer.errors import PycontainerError
from pycontainer.linux.files import write_atomically
from pycontainer.record import read_record
from pycontainer.spec.model import ContainerSpec
from pycontainer.spec.parse import from_plain, to_plain
from pycontainer.supervisor import log

if TYPE_CHECKING:
    from pycontainer.runtime.container import Container
    from pycontainer.runtime.tenant import Tenant
    from pycontainer.supervisor.world import World

_SUFFIX, _TENANT = ".transient", "@"


class Transient:
    """What is in force in one world beside the records."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._directory = world.paths.run_containers_dir
        self._specs: dict[str, ContainerSpec] = {}

    def load(self) -> None:
        """Read what another supervisor noted; of what runs no more, and what is damaged, the note goes."""
        world = self._world
        for file in os.listdir(self._directory):
            if not file.endswith(_SUFFIX):
                continue
            what = file.removesuffix(_SUFFIX)
            name = what.removeprefix(_TENANT)
            try:
                if (
                    name in world.tenants.by_name and world.tenants.is_raised(name)
                    if name != what
                    else what in world.runs
                ):
                    self._specs[what] = from_plain(read_record(f"{self._directory}/{file}")["spec"])
                    continue
            except (ValueError, OSError, PycontainerError) as error:
                log.say(f"'{self._directory}/{file}' is damaged: the limits on record hold again: {error}")
            with contextlib.suppress(OSError):
                os.unlink(f"{self._directory}/{file}")

    def spec_of(self, container: "Container") -> ContainerSpec:
        """Return the spec that is in force."""
        return self._specs.get(container.id, container.spec)

    def spec_of_tenant(self, tenant: "Tenant") -> ContainerSpec:
        return self._specs.get(_TENANT + tenant.name, tenant.spec)

    def note(self, container_id: str, spec: ContainerSpec | None) -> None:
        """What is in force in the present run of a container is `spec`; None: what its record says."""
        self._note(container_id, spec)

    def note_tenant(self, name: str, spec: ContainerSpec | None) -> None:
        self._note(_TENANT + name, spec)

    def member_ended(self, tenant: str) -> None:
        """A run of a tenant's container is over: with the last one what was set until then is."""
        world = self._world
        if _TENANT + tenant not in self._specs or any(
            world.containers[run].spec.tenant == tenant for run in world.runs
        ):
            return
        self.note_tenant(tenant, None)
        if world.tenants.is_raised(tenant):
            world.apply_to_tenant(tenant)

    def _note(self, what: str, spec: ContainerSpec | None) -> None:
        path = f"{self._directory}/{what}{_SUFFIX}"
        if spec is not None:
            self._specs[what] = spec
            write_atomically(path, json.dumps({"spec": to_plain(spec)}).encode(), sync=False)
        elif self._specs.pop(what, None) is not None:
            with contextlib.suppress(OSError):  # gone, or a read-only file system: the next supervisor asks what runs
                os.unlink(path)

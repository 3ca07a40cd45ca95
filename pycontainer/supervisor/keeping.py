"""The records of a container that is being made: on the disk before anybody is told that it is there.

Addresses first, then the record, as that is what makes a container: who dies before leaves a directory without one, and that
goes. `run` does this while the kernel executes the program, as it waits for the disk.

A container that runs, and is to go with its end, is to go after a loss of power whatever the disk has. Nobody waits for the
disk then, unless its record is to tell which volumes go as well. Its directory says so, by its sticky bit: what such a loss
has left of its records is not damage.
"""

import os
import stat
from typing import TYPE_CHECKING

from pycontainer.failpoints import reach
from pycontainer.runtime.container import Container
from pycontainer.supervisor import making

if TYPE_CHECKING:
    from pycontainer.supervisor.world import World

_FLEETING_MODE = 0o700 | stat.S_ISVTX


def keep(world: "World", container: Container) -> None:
    """Write them; OSError if they cannot be."""
    _keep(world, container, sync=True)


def keep_running(world: "World", container: Container) -> None:
    """Do the same for one that is just starting."""
    is_fleeting = container.spec.auto_remove and not container.spec.has_volumes
    if is_fleeting:
        os.chmod(container.directory, _FLEETING_MODE)
    _keep(world, container, sync=not is_fleeting)


def was_fleeting(directory: str) -> bool:
    """Tell whether nobody waited for the records in a container's directory."""
    return bool(os.lstat(directory).st_mode & stat.S_ISVTX)


def _keep(world: "World", container: Container, *, sync: bool) -> None:
    if container.addresses:
        world.networks.keep(container.id, sync=sync)
    container.save(sync=sync)
    reach("create:recorded")
    making.forget(container.directory)

"""The records of a container that is being made: on the disk before anybody is told that it is there.

Addresses first, then the record, as that is what makes a container: who dies before leaves a directory without one, and that
goes. `run` does this while the kernel executes the program, as it waits for the disk.
"""

from typing import TYPE_CHECKING

from pycontainer.failpoints import reach
from pycontainer.runtime.container import Container
from pycontainer.supervisor import making

if TYPE_CHECKING:
    from pycontainer.supervisor.world import World


def keep(world: "World", container: Container) -> None:
    """Write them; OSError if they cannot be."""
    if container.addresses:
        world.networks.keep(container.id)
    container.save()
    reach("create:recorded")
    making.forget(container.directory)

"""The records of a container that is being made: on the disk before anybody is told that it is there.

    write ──▶ addresses, then the record ──▶ settle: its name

The record comes last, as it is what makes a container: who dies before leaves a directory without one, and that goes. Each
step waits for a disk, and `run` takes them while others work for it: the kernel makes namespaces, the program is executed.
"""

from typing import TYPE_CHECKING

from pycontainer.failpoints import reach
from pycontainer.linux.files import sync_directory
from pycontainer.runtime.container import Container
from pycontainer.supervisor import making

if TYPE_CHECKING:
    from pycontainer.supervisor.world import World


class Keeping:
    """The records of one new container."""

    __slots__ = ("_container", "_error", "_world")

    def __init__(self, world: "World", container: Container) -> None:
        self._world, self._container = world, container
        self._error: OSError | None = None

    def write(self) -> None:
        """Write them, whole; what keeps them from that is raised by `settle`."""
        try:
            if self._container.addresses:
                self._world.networks.keep(self._container.id)
            self._container.save(sync_name=False)
        except OSError as error:
            self._error = error

    def check(self) -> None:
        """Raise why they were not written."""
        if self._error is not None:
            raise self._error
        reach("create:recorded")

    def settle(self) -> None:
        """Have them survive a loss of power; OSError if they cannot."""
        sync_directory(self._container.directory)
        making.forget(self._container.directory)

"""The seam between the life of a container and whoever is the parent of its processes."""

import socket
from collections.abc import Callable
from typing import Protocol

from pycontainer.init.table import Table


class Birth(Protocol):
    """A child that has been cloned and waits to be released."""

    pid: int
    pidfd: int

    async def ready(self) -> int:
        """Wait for the parent's half; return the root's descriptor (the caller's), -1 for a process that joins."""

    @property
    def is_watched(self) -> bool:
        """Tell whether somebody traces this, as far as is known: the first answer about a birth may change it."""

    def watch(self, table: Table) -> None:
        """Add to the child's table, not yet built, what tells its times."""

    async def release(
        self,
        *,
        streams: list[tuple[int, int]],
        input_fd: int,
        tty: bool,
        attached: socket.socket | None,
        seconds: float | None = None,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> bytes:
        """Let the child go on, its output pumped from `streams` (descriptor, kind), `attached` seeing all of it.

        `meanwhile` is called while it does: some 1 ms is free. Return the failure report, empty once the program has been
        executed; TimeoutError if that takes longer than `seconds`.
        """

    async def abort(self, *, seconds: float | None = None) -> None:
        """Kill the child and wait until it has been reaped, so long at most: one may be in a wait that no signal ends."""


class Launcher(Protocol):
    """Clones children; in daemon mode the monitor, in OCI mode this very process."""

    async def birth(
        self,
        message: dict[str, object],
        fds: list[int],
        *,
        action: str,
        mounts: Callable[[], tuple[dict[str, object], list[int]]] | None = None,
        meanwhile: Callable[[Birth], None] = lambda birth: None,
    ) -> Birth:
        """Clone the child described as in monitor/channel.py; `mounts`, then `meanwhile` are called while the kernel does,
        for some 1 ms. `mounts` returns what is to be mounted for a first process, and the trees for it.

        Raises StartFailed, here and later, with a message that begins with `action`: what could not be done. What the two
        raise is raised once there is no child any more.
        """

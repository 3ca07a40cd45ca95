"""The snapshots of one container."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pycontainer.client.connection import Pool

if TYPE_CHECKING:
    from pycontainer.client.types import SnapshotInfo


class Snapshots:
    """What a container's files were at certain moments; reached as `Container.snapshots`."""

    def __init__(self, pool: Pool, container_id: str) -> None:
        self._pool, self._id = pool, container_id

    def create(self, name: str = "") -> "SnapshotInfo":
        """Make a snapshot; without a name it is snap0, snap1, ...

        At once when the container is stopped. One that runs stands still while what it has written is copied, unless its
        files lie on a btrfs with quotas.
        """
        return self._pool.request("snapshot_create", {"container": self._id, "name": name})  # type: ignore[no-any-return]

    def list(self) -> "list[SnapshotInfo]":
        """Return the snapshots, oldest first."""
        return self._pool.request("snapshot_list", {"container": self._id})  # type: ignore[no-any-return]

    def restore(self, name: str, *, force: bool = False) -> "SnapshotInfo":
        """Put the stopped container back; what it has written since is lost. `force` stops one that runs."""
        args = {"container": self._id, "snapshot": name, "force": force}
        return self._pool.request("snapshot_restore", args)  # type: ignore[no-any-return]

    def remove(self, names: str | Iterable[str]) -> None:
        """Delete snapshots."""
        wanted = [names] if isinstance(names, str) else [*names]
        self._pool.request("snapshot_rm", {"container": self._id, "snapshots": wanted})

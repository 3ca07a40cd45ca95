"""The writable layer of one container, and what caps it. Which way is the file system's choice:

    project quota     ext4 or xfs mounted with prjquota: the layer is a project; grows and shrinks at once
    loop image        anywhere else: an ext4 in a sparse file, which grows while it is mounted

`df` inside is true with both: they make the file system beneath the overlay answer for the cap.
A container without a cap, and without an image, has the plain directory and pays nothing.
"""

import os
from typing import NamedTuple, Protocol

from pycontainer.linux import quota


class Caps(NamedTuple):
    """What is asked; None is no limit. A soft limit is watched, and on a project quota has a time of grace."""

    hard_bytes: int | None = None
    soft_bytes: int | None = None
    hard_inodes: int | None = None
    soft_inodes: int | None = None


class Usage(NamedTuple):
    """What a container's layer holds, and the caps in force."""

    used_bytes: int
    used_inodes: int
    hard_bytes: int | None = None
    soft_bytes: int | None = None
    hard_inodes: int | None = None
    soft_inodes: int | None = None

    @property
    def caps(self) -> Caps:
        return Caps(self.hard_bytes, self.soft_bytes, self.hard_inodes, self.soft_inodes)


class Storage(Protocol):
    """The writable layer of a container."""

    @property
    def backend(self) -> str:
        """What caps it, for people; empty where nothing does."""

    def cap(
        self, hard_bytes: int | None, soft_bytes: int | None, hard_inodes: int | None, soft_inodes: int | None
    ) -> None:
        """Hold the layer to these caps, now and at every start. Unsupported if this backend cannot."""

    def open_tree(self) -> int:
        """Return a detached mount of the directory that holds `upper` and `work`."""

    def usage(self) -> Usage:
        """Look at the layer now."""

    def release(self) -> None:
        """Forget what is held outside of the container's directory; called before that is removed."""


def open_storage(container_dir: str, id_base: int) -> Storage:
    """Return the storage of the container whose files lie in `container_dir` and whose ids begin at `id_base`."""
    from pycontainer.disk.loopimage import IMAGE_NAME, LoopImage
    from pycontainer.disk.project import ProjectQuota

    if not os.path.exists(f"{container_dir}/{IMAGE_NAME}") and quota.is_enforced(container_dir):
        return ProjectQuota(container_dir, id_base)
    return LoopImage(container_dir)

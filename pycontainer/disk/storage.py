"""The writable layer of one container, and what caps it. Which way is the file system's choice, and the tenant's:

    project quota     ext4 or xfs mounted with prjquota: the layer is a project; grows and shrinks at once
    subvolume         btrfs with quotas enabled: the layer is a subvolume; `df` inside does not know its quota group
    loop image        anywhere else: a file system in a sparse file, which grows while it is mounted; also where the file
                      system beneath cannot map ids (beneath.py)
    tenant's pool     an image that all containers of a tenant share; one with a cap of its own has its image in there

`df` inside is true with all others: they make the file system beneath the overlay answer for the cap.
Where a quota costs nothing, who asks for no cap gets half of the file system. Anywhere else a container without a cap, and
of a tenant without one, has the plain directory and pays nothing.
"""

import errno
import os
from enum import StrEnum
from typing import NamedTuple, Protocol

from pycontainer.failpoints import reach
from pycontainer.linux import btrfs, quota
from pycontainer.linux.files import remove_tree
from pycontainer.linux.treecopy import copy_attributes


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


class Freezing(StrEnum):
    """How what a container has written becomes a frozen layer (disk/layers.py)."""

    SHARE = "share"  # at once, also while it runs: a snapshot of the file system
    MOVE = (
        "move"  # at once, when it is stopped: the directory becomes the layer, the container goes on with an empty one
    )
    COPY = "copy"  # file by file


class Storage(Protocol):
    """The writable layer of a container."""

    @property
    def freezing(self) -> Freezing:
        """How it is frozen."""

    @property
    def shrinks(self) -> bool:
        """Tell whether a cap that was raised can be lowered again."""

    @property
    def backend(self) -> str:
        """What caps it, for people; empty where nothing does."""

    def prepare(self) -> None:
        """Make the layer of a new container."""

    def default_caps(self) -> Caps:
        """Return what holds who asked for nothing: no container fills the file system that others live on."""

    def cap(
        self, hard_bytes: int | None, soft_bytes: int | None, hard_inodes: int | None, soft_inodes: int | None
    ) -> None:
        """Hold the layer to these caps, now and at every start. Unsupported if this backend cannot."""

    def open_tree(self) -> int:
        """Return a detached mount of the directory that holds `upper` and `work`."""

    def usage(self) -> Usage | None:
        """Look at the layer now; None where nobody counts, because nothing caps it."""

    def release(self) -> None:
        """Forget what the kernel holds; called before the container's range of ids is given to another."""

    def freeze(self, place: str) -> None:
        """Make `fs` in the directory `place` a frozen layer of what is written now, where `freezing` is not COPY.

        MOVE leaves an empty layer behind; cut off in the middle it may be repeated.
        """

    def clear(self, place: str, like: str) -> None:
        """Put `upper.new` in the place of `upper`, or else an empty one with the attributes of `like`.

        The old one goes into the directory `place`, or away, which may take long. May be repeated after a crash.
        """


def open_storage(container_dir: str, id_base: int) -> Storage:
    """Return the storage of the container whose files lie in `container_dir` and whose ids begin at `id_base`."""
    from pycontainer.disk.loopimage import LoopImage
    from pycontainer.disk.pool import PooledLayer, pool_of
    from pycontainer.disk.project import ProjectQuota
    from pycontainer.disk.subvolume import Subvolume

    if pool := pool_of(container_dir):
        return PooledLayer(container_dir, *pool)
    if not LoopImage(container_dir).backend:
        if quota.is_enforced(container_dir):
            return ProjectQuota(container_dir, id_base)
        if _is_subvolume(container_dir):
            return Subvolume(container_dir)
    return LoopImage(container_dir)


def stored_bytes(container_dir: str, id_base: int) -> int | None:
    """Return what the layer takes of the host's disk, without a walk or a mount; None where only a walk could tell.

    One in a tenant's pool takes nothing besides that.
    """
    from pycontainer.disk.image import DiskImage
    from pycontainer.disk.pool import pool_of

    if pool_of(container_dir):
        return 0
    image = DiskImage(container_dir)
    if image.exists():
        return image.stored_bytes()
    usage = open_storage(container_dir, id_base).usage()
    return None if usage is None else usage.used_bytes


def _is_subvolume(container_dir: str) -> bool:
    """Say whether the layer is one, or, before it is made, is to be one."""
    rootfs = f"{container_dir}/rootfs"
    return btrfs.has_quotas(container_dir) and (btrfs.is_subvolume(rootfs) or not os.path.exists(rootfs))


def half_of(directory: str, *, with_inodes: bool) -> Caps:
    """Return half of the file system that `directory` lies on. statvfs(3)"""
    found = os.statvfs(directory)
    size_bytes = found.f_blocks * found.f_frsize // 2 >> 20 << 20
    return Caps(size_bytes, None, found.f_files // 2 if with_inodes and found.f_files else None)


def make_directories(container_dir: str) -> None:
    """Make `rootfs` in a container's directory, and its layer in there."""
    os.mkdir(f"{container_dir}/rootfs", 0o700)
    make_layer(f"{container_dir}/rootfs")


def make_layer(rootfs: str) -> None:
    """Make `upper` (what the container's root looks like, 0755) and `work`, which is overlayfs's own.

    The modes hold whatever the umask is.
    """
    os.chmod(rootfs, 0o700)
    for name, mode in (("upper", 0o755), ("work", 0o700)):
        os.mkdir(f"{rootfs}/{name}", mode)
        os.chmod(f"{rootfs}/{name}", mode)


def move_upper(rootfs: str, target: str) -> None:
    """Rename `upper` to `target` and have an empty one with the same attributes; go on where a crash cut it off."""
    if not os.path.isdir(target):
        os.rename(f"{rootfs}/upper", target)
        reach("snapshot:moved")
    _renew(rootfs, target)


def clear_upper(rootfs: str, place: str, like: str) -> None:
    """Do what Storage.clear does, in a plain directory; `place` may be on another file system."""
    old = f"{rootfs}/upper.old"
    if os.path.isdir(f"{rootfs}/upper"):
        remove_tree(old)
        try:
            os.rename(f"{rootfs}/upper", f"{place}/fs")
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            os.rename(f"{rootfs}/upper", old)
    _renew(rootfs, like)
    remove_tree(old)


def _renew(rootfs: str, like: str) -> None:
    """Make `upper` where there is none, and a new `work`: the old one may hold what belongs to the old `upper`."""
    if os.path.isdir(f"{rootfs}/upper"):
        return
    remove_tree(f"{rootfs}/work")
    os.mkdir(f"{rootfs}/work", 0o700)
    new = f"{rootfs}/upper.new"
    if not os.path.isdir(new):
        os.mkdir(new, 0o755)
        os.chmod(new, 0o755)
        if like:
            like_fd = os.open(like, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            new_fd = os.open(new, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                copy_attributes(like_fd, new_fd)
            finally:
                os.close(new_fd)
                os.close(like_fd)
    os.rename(new, f"{rootfs}/upper")


def erase(container_dir: str) -> None:
    """Delete a container's directory, and its layer where that lies elsewhere; may take long, and may be repeated."""
    from pycontainer.disk.pool import PooledLayer, pool_of

    if pool := pool_of(container_dir):
        PooledLayer(container_dir, *pool).erase()
    if btrfs.is_subvolume(f"{container_dir}/rootfs"):
        btrfs.delete_subvolume(f"{container_dir}/rootfs")
    remove_tree(container_dir)

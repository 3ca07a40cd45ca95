"""One image for all containers of a tenant: together they never hold more than it, because there is no more.

tenants/NAME.pool/disk.img, disk.json      the image; within it
    ID/rootfs/upper, work                  the layer of a container
    ID/disk.img, disk.json                 the image of one that has a cap of its own
containers/ID/pool -> .../NAME.pool/ID     says where the layer is; goes with the container's directory
"""

import contextlib
import os
from collections.abc import Iterator

from pycontainer.disk.image import DiskImage
from pycontainer.disk.loopimage import LoopImage
from pycontainer.disk.storage import Caps, Freezing, Usage
from pycontainer.linux.files import remove_tree
from pycontainer.linux.mounts import clone_tree, in_private_mounts, move_mount

_LINK = "pool"


class Pool:
    """The pool in `directory`, which need not exist: then the tenant's disk is not capped."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._image = DiskImage(directory)

    @property
    def backend(self) -> str:
        return f"pool ({self._image.kind})" if self.exists() else ""

    def exists(self) -> bool:
        return self._image.exists()

    def cap(
        self, hard_bytes: int | None, soft_bytes: int | None, hard_inodes: int | None, soft_inodes: int | None
    ) -> None:
        caps = Caps(hard_bytes, soft_bytes, hard_inodes, soft_inodes)
        if caps == self._image.caps():
            return
        os.makedirs(self._directory, mode=0o700, exist_ok=True)
        try:
            self._image.cap(caps)
        finally:
            if not self.exists():
                self.erase()

    def usage(self) -> Usage | None:
        return self._image.usage() if self.exists() else None

    def stored_bytes(self) -> int | None:
        """Return what it takes of the host's disk, None if there is none."""
        return self._image.stored_bytes() if self.exists() else None

    def admit(self, container_dir: str) -> None:
        """Say that the layer of a new container is to be in the pool."""
        os.symlink(f"{self._directory}/{os.path.basename(container_dir)}", f"{container_dir}/{_LINK}")

    def layers(self) -> set[str]:
        """Return the names of what lies in it, layers of containers among them."""
        mount_fd = self._image.mount()
        try:
            return set(os.listdir(_path(mount_fd, ".")))
        finally:
            os.close(mount_fd)

    def erase_layer(self, name: str) -> None:
        """Delete the layer of a container that is gone; may take long, and may be repeated."""
        PooledLayer("", self._directory, name).erase()

    def erase(self) -> None:
        """Delete the pool, with all that is in it."""
        remove_tree(self._directory)


class PooledLayer:
    """The layer `name` in the pool in `directory`, of the container whose other files lie in `container_dir`."""

    shrinks = False
    freezing = Freezing.COPY  # out of the pool: frozen layers are shared beyond the tenant's containers

    def __init__(self, container_dir: str, directory: str, name: str) -> None:
        self._container_dir, self._directory, self._name = container_dir, directory, name
        self._image = DiskImage(directory)

    @property
    def backend(self) -> str:
        with self._inside() as layer:
            return f"{layer.backend or 'shared'} in the tenant's pool ({self._image.kind})"

    def prepare(self) -> None:
        os.mkdir(f"{self._container_dir}/rootfs", 0o700)  # where the layer is attached for those who look for it there
        mount_fd = self._image.mount()
        try:
            os.mkdir(self._name, 0o700, dir_fd=mount_fd)
            LoopImage(_path(mount_fd, self._name)).prepare()
        finally:
            os.close(mount_fd)

    def default_caps(self) -> Caps:
        return Caps()  # the pool is capped

    def cap(
        self, hard_bytes: int | None, soft_bytes: int | None, hard_inodes: int | None, soft_inodes: int | None
    ) -> None:
        with self._inside() as layer:
            layer.cap(hard_bytes, soft_bytes, hard_inodes, soft_inodes)

    def open_tree(self) -> int:
        with self._inside() as layer:
            return layer.open_tree() if layer.backend else in_private_mounts(self._clone)

    def usage(self) -> Usage | None:
        with self._inside() as layer:
            return layer.usage()

    def release(self) -> None:
        pass

    def freeze(self, place: str) -> None:
        raise AssertionError("a layer in a pool is copied")

    def clear(self, place: str, like: str) -> None:
        with self._inside() as layer:
            layer.clear(place, like)

    def erase(self) -> None:
        """Delete the layer; it, or the whole pool, may be gone already."""
        try:
            mount_fd = self._image.mount()
        except FileNotFoundError:
            return
        try:
            remove_tree(_path(mount_fd, self._name))
        finally:
            os.close(mount_fd)

    @contextlib.contextmanager
    def _inside(self) -> Iterator[LoopImage]:
        mount_fd = self._image.mount()
        try:
            yield LoopImage(_path(mount_fd, self._name), "the pool of its tenant")
        finally:
            os.close(mount_fd)

    def _clone(self) -> int:
        """Return a detached mount of the layer's directory alone.

        Before Linux 6.15 no part of a mount is cloned that is not attached: it is, where only we are.
        """
        mount_fd = self._image.mount()
        place_fd = os.open(self._directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            move_mount(mount_fd, place_fd)
            return clone_tree(f"{self._directory}/{self._name}/rootfs")
        finally:
            os.close(place_fd)
            os.close(mount_fd)


def pool_of(container_dir: str) -> tuple[str, str] | None:
    """Return (directory of the pool, name of the layer) of a container that has its layer in one."""
    try:
        return os.path.split(os.readlink(f"{container_dir}/{_LINK}"))
    except FileNotFoundError:
        return None


def _path(mount_fd: int, name: str) -> str:
    """Return a path into a detached mount that other processes of ours, such as mkfs, can follow as well."""
    return f"/proc/{os.getpid()}/fd/{mount_fd}/{name}"

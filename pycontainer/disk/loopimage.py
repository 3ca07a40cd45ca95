"""A container's writable layer in an image of its own."""

import os

from pycontainer.disk.beneath import can_map_ids
from pycontainer.disk.image import DiskImage
from pycontainer.disk.storage import Caps, Freezing, Usage, clear_upper, half_of, make_directories, move_upper
from pycontainer.errors import InvalidState
from pycontainer.linux.mounts import clone_tree


class LoopImage:
    """The layer of the container whose files lie in `container_dir`; without an image it is a plain directory."""

    shrinks = False

    def __init__(self, container_dir: str, beneath: str = "") -> None:
        self._directory = container_dir
        self._image = DiskImage(container_dir, beneath)

    @property
    def backend(self) -> str:
        """Empty without an image: a plain directory."""
        return f"loop image ({self._image.kind})" if self._image.exists() else ""

    def prepare(self) -> None:
        make_directories(self._directory)

    def default_caps(self) -> Caps:
        """Give an image where there is no other way to map ids: for each it would cost 10 ms, and a mount at each start."""
        return Caps() if can_map_ids(self._directory) else half_of(self._directory, with_inodes=False)

    def cap(
        self, hard_bytes: int | None, soft_bytes: int | None, hard_inodes: int | None, soft_inodes: int | None
    ) -> None:
        caps = Caps(hard_bytes, soft_bytes, hard_inodes, soft_inodes)
        if caps == self._image.caps():
            return
        is_new = not self._image.exists()
        if is_new and hard_bytes is not None and os.listdir(f"{self._directory}/rootfs/upper"):
            raise InvalidState(
                "the container has written files already, which a disk image cannot take over",
                hint="cap its disk when it is created, or keep containers on ext4 or xfs mounted with prjquota",
            )
        self._image.cap(caps)
        if is_new and self._image.exists():
            self._lay_out()

    def open_tree(self) -> int:
        return self._image.mount() if self._image.exists() else clone_tree(f"{self._directory}/rootfs")

    def usage(self) -> Usage | None:
        return self._image.usage() if self._image.exists() else None

    def release(self) -> None:
        pass

    @property
    def freezing(self) -> Freezing:
        return Freezing.COPY if self._image.exists() else Freezing.MOVE

    def freeze(self, place: str) -> None:
        move_upper(f"{self._directory}/rootfs", f"{place}/fs")

    def clear(self, place: str, like: str) -> None:
        if not self._image.exists():
            clear_upper(f"{self._directory}/rootfs", place, like)
            return
        mount_fd = self._image.mount()
        try:
            clear_upper(f"/proc/self/fd/{mount_fd}", place, like)
        finally:
            os.close(mount_fd)

    def _lay_out(self) -> None:
        mount_fd = self._image.mount()
        try:
            if self._image.kind == "ext4":
                os.rmdir("lost+found", dir_fd=mount_fd)
            for name, mode in (("upper", 0o755), ("work", 0o700)):
                os.mkdir(name, mode, dir_fd=mount_fd)
                os.chmod(name, mode, dir_fd=mount_fd)
        finally:
            os.close(mount_fd)

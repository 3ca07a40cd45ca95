"""A container's writable layer in a file system of its own, in a sparse file, on a loop device while it is in use.

    containers/ID/disk.img       as large as the cap and the file system's own tables; takes space as it fills
    containers/ID/disk.json      the caps: soft ones are ours to watch, and a file system has no word for "asked"

The mount is never attached to a place: the container's overlay holds it, and the device goes with the last user, however
that ends. Nothing has to be taken down, and nothing can be left behind.
"""

import json
import os
import tempfile

from pycontainer.disk import filesystems
from pycontainer.disk.storage import Caps, Usage
from pycontainer.errors import InvalidState, Unsupported
from pycontainer.linux import loopdevices
from pycontainer.linux.files import read_bounded, write_atomically
from pycontainer.linux.mounts import clone_tree, new_mount
from pycontainer.units import format_bytes_short

IMAGE_NAME = "disk.img"
_LEAST_BYTES = 16 << 20


class LoopImage:
    """The layer of the container whose files lie in `container_dir`; without an image it is a plain directory."""

    def __init__(self, container_dir: str) -> None:
        self._rootfs = f"{container_dir}/rootfs"
        self._image = f"{container_dir}/{IMAGE_NAME}"
        self._caps_file = f"{container_dir}/disk.json"

    @property
    def backend(self) -> str:
        """Empty without an image: a plain directory."""
        return f"loop image ({filesystems.kind_of(self._image)})" if os.path.exists(self._image) else ""

    def cap(
        self, hard_bytes: int | None, soft_bytes: int | None, hard_inodes: int | None, soft_inodes: int | None
    ) -> None:
        caps = Caps(hard_bytes, soft_bytes, hard_inodes, soft_inodes)
        held = self._caps()
        if held == caps:
            return
        if hard_bytes is not None:
            filesystems.check_fits(self._rootfs, hard_bytes)
        if not self.backend:
            self._create(caps)
        elif caps.hard_bytes is None or caps.hard_inodes != held.hard_inodes:
            raise Unsupported(
                "cannot take the cap off a disk image, or change its inodes",
                hint="give it more bytes: inodes come with them",
                feature="disk",
            )
        elif held.hard_bytes is not None and caps.hard_bytes < held.hard_bytes:
            raise Unsupported(
                f"cannot shrink a disk image from {format_bytes_short(held.hard_bytes)}",
                hint="the host's file system has no project quota, and a file system in use does not shrink",
                feature="disk",
            )
        elif held.hard_bytes is not None and caps.hard_bytes > held.hard_bytes:
            self._grow(caps.hard_bytes - held.hard_bytes)
        write_atomically(self._caps_file, json.dumps(caps._asdict()).encode())

    def open_tree(self) -> int:
        return self._mount() if self.backend else clone_tree(self._rootfs)

    def usage(self) -> Usage:
        if not self.backend:
            return Usage(0, 0, *self._caps())
        mount_fd = self._mount()
        try:
            found = os.fstatvfs(mount_fd)
        finally:
            os.close(mount_fd)
        used_bytes = (found.f_blocks - found.f_bfree) * found.f_frsize
        return Usage(used_bytes, found.f_files - found.f_ffree, *self._caps())

    def release(self) -> None:
        pass  # the image is in the directory

    def _caps(self) -> Caps:
        try:
            return Caps(**json.loads(read_bounded(self._caps_file, 65536)))
        except FileNotFoundError:
            return Caps()

    def _create(self, caps: Caps) -> None:
        if caps.hard_bytes is None:
            if caps.hard_inodes is None:
                return  # soft limits alone need no file system
            raise Unsupported("cannot cap inodes alone with a disk image", hint="give --disk as well", feature="disk")
        if caps.hard_bytes < _LEAST_BYTES:
            raise Unsupported(
                f"a disk image has {format_bytes_short(_LEAST_BYTES)} at least", hint="ask for more", feature="disk"
            )
        if os.listdir(f"{self._rootfs}/upper"):
            raise InvalidState(
                "the container has written files already, which a disk image cannot take over",
                hint="cap its disk when it is created, or keep containers on ext4 or xfs mounted with prjquota",
            )
        with tempfile.NamedTemporaryFile(
            dir=os.path.dirname(self._image), prefix=f"{IMAGE_NAME}.", delete=False
        ) as file:
            try:
                filesystems.make(file.name, caps.hard_bytes, caps.hard_inodes)
                # The file system's own tables come on top of what was asked, so that this much can be written.
                tables_bytes = caps.hard_bytes - self._free_bytes(file.name)
                filesystems.make(file.name, caps.hard_bytes + tables_bytes, caps.hard_inodes)
                os.rename(file.name, self._image)
            except BaseException:
                os.unlink(file.name)
                raise
        mount_fd = self._mount()
        try:
            if filesystems.kind_of(self._image) == "ext4":
                os.rmdir("lost+found", dir_fd=mount_fd)
            for name, mode in (("upper", 0o755), ("work", 0o700)):  # as store/rootfs.py makes them
                os.mkdir(name, mode, dir_fd=mount_fd)
                os.chmod(name, mode, dir_fd=mount_fd)
        finally:
            os.close(mount_fd)

    def _free_bytes(self, image: str) -> int:
        mount_fd = self._mount(image)
        try:
            found = os.fstatvfs(mount_fd)
        finally:
            os.close(mount_fd)
        return found.f_bavail * found.f_frsize

    def _mount(self, image: str = "") -> int:
        """Return a detached mount of the image; all mounts of it are the same file system on the same device."""
        image = image or self._image
        image_fd = os.open(image, os.O_RDWR | os.O_CLOEXEC)
        try:
            device_fd = loopdevices.find(image_fd)
            if device_fd < 0:
                device_fd = loopdevices.attach(image_fd)
            try:
                options: list[tuple[str, str | int | None]] = [("source", _path_of(device_fd)), ("discard", None)]
                return new_mount(filesystems.kind_of(image), options)
            finally:
                os.close(device_fd)
        finally:
            os.close(image_fd)

    def _grow(self, more_bytes: int) -> None:
        """Make file, device and file system larger, in this order, while they are in use or not."""
        image_fd = os.open(self._image, os.O_RDWR | os.O_CLOEXEC)
        mount_fd = self._mount()
        try:
            size_bytes = filesystems.in_blocks(os.fstat(image_fd).st_size + more_bytes)
            os.ftruncate(image_fd, size_bytes)
            device_fd = loopdevices.find(image_fd)
            try:
                loopdevices.update_size(device_fd)
            finally:
                os.close(device_fd)
            root_fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=mount_fd)
            try:
                filesystems.grow(filesystems.kind_of(self._image), root_fd, size_bytes)
            finally:
                os.close(root_fd)
        finally:
            os.close(mount_fd)
            os.close(image_fd)


def _path_of(fd: int) -> str:
    return os.readlink(f"/proc/self/fd/{fd}")

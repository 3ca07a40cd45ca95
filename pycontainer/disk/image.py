"""A file system of its own in a sparse file, on a loop device while it is in use.

    DIR/disk.img       as large as the cap and the file system's own tables; takes space as it fills
    DIR/disk.json      the caps: soft ones are ours to watch, and a file system has no word for "asked"

Its mount is never attached to a place that others see: who uses it holds it, and the device goes with the last user, however
that ends. Nothing has to be taken down, and nothing can be left behind.
"""

import contextlib
import fcntl
import json
import os
import tempfile
from collections.abc import Iterator

from pycontainer.disk import filesystems
from pycontainer.disk.storage import Caps, Usage
from pycontainer.errors import InvalidState, Unsupported
from pycontainer.linux import loopdevices
from pycontainer.linux.files import write_atomically
from pycontainer.linux.mounts import new_mount
from pycontainer.record import read_record
from pycontainer.units import format_bytes_short

_LEAST_BYTES, _MAX_RECORD_BYTES = 16 << 20, 1 << 16


class DiskImage:
    """The image in `directory`, which is there; the image may not be. `beneath` says for people what it lies on."""

    def __init__(self, directory: str, beneath: str = "") -> None:
        self._directory = directory
        self._image = f"{directory}/disk.img"
        self._caps_file = f"{directory}/disk.json"
        self._beneath = beneath or f"the file system of '{directory}'"

    def exists(self) -> bool:
        return os.path.exists(self._image)

    @property
    def kind(self) -> str:
        """The name of its file system."""
        return filesystems.kind_of(self._image)

    def caps(self) -> Caps:
        """Return what was asked last; InvalidState when that is damaged."""
        try:
            record = read_record(self._caps_file, _MAX_RECORD_BYTES)
            return Caps(*(record.integer_or_none(key) for key in Caps._fields))
        except FileNotFoundError:
            return Caps()
        except (OSError, ValueError) as error:
            raise InvalidState(
                f"cannot read the caps of a disk: '{self._caps_file}': {getattr(error, 'strerror', None) or error}",
                hint="repair it: it holds hard_bytes, soft_bytes, hard_inodes and soft_inodes, each a number or null",
            ) from error

    def cap(self, caps: Caps) -> None:
        """Make the image with these caps, or let it grow to them. Unsupported for what an image cannot do."""
        held = self.caps()
        if caps == held:
            return
        if caps.hard_bytes is not None:
            filesystems.check_fits(self._directory, caps.hard_bytes, self._beneath)
        if not self.exists():
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

    def usage(self) -> Usage:
        """Look at the file system now; an image that does not exist holds nothing."""
        if not self.exists():
            return Usage(0, 0, *self.caps())
        mount_fd = self.mount()
        try:
            found = os.fstatvfs(mount_fd)
        finally:
            os.close(mount_fd)
        used_bytes = (found.f_blocks - found.f_bfree) * found.f_frsize
        return Usage(used_bytes, found.f_files - found.f_ffree, *self.caps())

    def stored_bytes(self) -> int:
        """Return what the image takes of the file system beneath: the blocks of its file, which is sparse."""
        return os.stat(self._image).st_blocks * 512  # stat(2)

    def mount(self, image: str = "") -> int:
        """Return a detached mount of the image; all mounts of it are the same file system on the same device.

        One at a time, whoever asks in whichever thread: two that found no device would attach one each, and two file systems
        write to the same blocks.
        """
        image = image or self._image
        with self._one_at_a_time():
            return self._mount(image)

    @contextlib.contextmanager
    def _one_at_a_time(self) -> Iterator[None]:
        """Lock the directory, not the image: the device keeps that open, and would keep the lock. flock(2)"""
        fd = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            fcntl.flock(fd, fcntl.LOCK_UN)  # a child that was forked meanwhile has the descriptor as well
            os.close(fd)

    def _mount(self, image: str) -> int:
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

    def _create(self, caps: Caps) -> None:
        if caps.hard_bytes is None:
            if caps.hard_inodes is not None:
                asked = "cap inodes alone"
            elif (caps.soft_bytes, caps.soft_inodes) != (None, None):
                asked = "watch soft limits alone"
            else:
                return
            raise Unsupported(f"cannot {asked} with a disk image", hint="give --disk as well", feature="disk")
        if caps.hard_bytes < _LEAST_BYTES:
            raise Unsupported(
                f"a disk image has {format_bytes_short(_LEAST_BYTES)} at least", hint="ask for more", feature="disk"
            )
        with tempfile.NamedTemporaryFile(dir=self._directory, prefix="disk.img.", delete=False) as file:
            try:
                filesystems.make(file.name, caps.hard_bytes, caps.hard_inodes)
                # The file system's own tables come on top of what was asked, so that this much can be written.
                tables_bytes = caps.hard_bytes - self._free_bytes(file.name)
                filesystems.make(file.name, caps.hard_bytes + tables_bytes, caps.hard_inodes)
                os.rename(file.name, self._image)
            except BaseException:
                os.unlink(file.name)
                raise

    def _free_bytes(self, image: str) -> int:
        mount_fd = self.mount(image)
        try:
            found = os.fstatvfs(mount_fd)
        finally:
            os.close(mount_fd)
        return found.f_bavail * found.f_frsize

    def _grow(self, more_bytes: int) -> None:
        """Make file, device and file system larger, in this order, while they are in use or not."""
        image_fd = os.open(self._image, os.O_RDWR | os.O_CLOEXEC)
        mount_fd = self.mount()
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
                filesystems.grow(self.kind, root_fd, size_bytes)
            finally:
                os.close(root_fd)
        finally:
            os.close(mount_fd)
            os.close(image_fd)


def _path_of(fd: int) -> str:
    return os.readlink(f"/proc/self/fd/{fd}")

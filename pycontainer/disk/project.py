"""A container's writable layer as a project of the file system that it lies on."""

import os

from pycontainer.disk import filesystems
from pycontainer.disk.storage import Caps, Freezing, Usage, clear_upper, half_of, make_directories, move_upper
from pycontainer.errors import Unsupported
from pycontainer.linux import quota
from pycontainer.linux.mounts import clone_tree

_FIRST_PROJECT = 0x50430000  # "PC": ids that nobody hands out by hand
_IDS_PER_CONTAINER = 65536


class ProjectQuota:
    """Project ids follow from the container's range of user ids, which nobody else on the host has.

    What it has frozen goes on counting to it while it exists, or snapshots would be a way around the cap.
    """

    freezing = Freezing.MOVE
    shrinks = True

    def __init__(self, container_dir: str, id_base: int) -> None:
        self._rootfs = f"{container_dir}/rootfs"
        self._project = project_of(id_base)

    @property
    def backend(self) -> str:
        return "project quota" if self.usage() else ""

    def prepare(self) -> None:
        make_directories(os.path.dirname(self._rootfs))

    def default_caps(self) -> Caps:
        return half_of(os.path.dirname(self._rootfs), with_inodes=True)

    def cap(
        self, hard_bytes: int | None, soft_bytes: int | None, hard_inodes: int | None, soft_inodes: int | None
    ) -> None:
        caps = Caps(hard_bytes, soft_bytes, hard_inodes, soft_inodes)
        held = self._usage().caps
        if held == caps:
            return
        if hard_bytes is not None:
            filesystems.check_fits(
                os.path.dirname(self._rootfs), hard_bytes
            )  # not of the project, whose size it would tell
        if caps != Caps() and held == Caps():
            quota.assign(self._rootfs, self._project)
        quota.write(
            self._rootfs,
            self._project,
            soft_bytes=caps.soft_bytes,
            hard_bytes=caps.hard_bytes,
            soft_inodes=caps.soft_inodes,
            hard_inodes=caps.hard_inodes,
        )
        now = self._usage().caps
        if now != Caps(*[_in_kib(caps.hard_bytes), _in_kib(caps.soft_bytes), caps.hard_inodes, caps.soft_inodes]):
            raise Unsupported(f"cannot cap the disk: asked for {caps}, the kernel holds {now}", feature="disk")

    def open_tree(self) -> int:
        return clone_tree(self._rootfs)

    def usage(self) -> Usage | None:
        usage = self._usage()
        return None if usage.caps == Caps() else usage

    def release(self) -> None:
        if self._usage().caps != Caps():
            quota.write(
                self._rootfs, self._project, soft_bytes=None, hard_bytes=None, soft_inodes=None, hard_inodes=None
            )

    def freeze(self, place: str) -> None:
        with open(f"{place}/project", "w", encoding="ascii") as file:
            file.write(str(self._project))
        move_upper(self._rootfs, f"{place}/fs")

    def clear(self, place: str, like: str) -> None:
        clear_upper(self._rootfs, place, like)

    def _usage(self) -> Usage:
        found = quota.read(self._rootfs, self._project)
        return Usage(
            found.used_bytes,
            found.used_inodes,
            found.hard_bytes,
            found.soft_bytes,
            found.hard_inodes,
            found.soft_inodes,
        )


def project_of(id_base: int) -> int:
    """Return the project of the container whose ids begin at `id_base`."""
    return _FIRST_PROJECT + id_base // _IDS_PER_CONTAINER


def _in_kib(size_bytes: int | None) -> int | None:
    return None if size_bytes is None else size_bytes // 1024 * 1024

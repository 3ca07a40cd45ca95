"""What a volume holds, and what caps it. Which way is the file system's choice, as for a container's layer (storage.py):

    project quota   ext4 or xfs mounted with prjquota: `data` is a project, also without a size, since that counts it
    subvolume       btrfs with quotas enabled: `data` is a subvolume
    loop image      anywhere else, when a size is asked for, or ids cannot be mapped (beneath.py): disk.img beside `data`,
                    mounted while a container needs it
    directory       anywhere else without a size: nothing caps it, and nobody counts

Where a quota costs nothing, or an image has to be, who asks for no size gets half of the file system. The project's number
is read from the directory: there is no record of it that could be wrong.
"""

import os

from pycontainer.disk import filesystems
from pycontainer.disk.beneath import can_map_ids
from pycontainer.disk.image import DiskImage
from pycontainer.disk.storage import Caps, Usage, half_of
from pycontainer.errors import InvalidState, PycontainerError, Unsupported
from pycontainer.linux import btrfs, quota
from pycontainer.linux.files import remove_tree
from pycontainer.linux.mounts import clone_tree

FIRST_PROJECT, PROJECTS = 0x51000000, 0x00FF0000  # beyond those of containers (disk/project.py)


class VolumeData:
    """The data of the volume in `directory`."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._data = f"{directory}/data"
        self._image = DiskImage(directory)

    @property
    def backend(self) -> str:
        """What counts and caps it, for people; "directory" where nothing does."""
        if self._image.exists():
            return f"loop image ({self._image.kind})"
        if self._project():
            return "project quota"
        return "btrfs qgroup" if self._has_qgroup() else "directory"

    def prepare(self, caps: Caps) -> None:
        """Make the data of a new volume, empty; no caps become half of a file system that has quotas, or maps no ids."""
        if btrfs.has_quotas(self._directory):
            btrfs.create_subvolume(self._data)
            caps = half_of(self._directory, with_inodes=False) if caps == Caps() else caps
        else:
            os.mkdir(self._data, 0o755)
            if quota.is_enforced(self._directory):
                quota.assign(self._data, self._free_project())
                caps = half_of(self._directory, with_inodes=True) if caps == Caps() else caps
            elif caps.hard_bytes is None and not can_map_ids(self._directory):
                caps = caps._replace(hard_bytes=half_of(self._directory, with_inodes=False).hard_bytes)
        os.chmod(self._data, 0o755)
        self.cap(caps)

    def caps(self) -> Caps:
        """Return what is in force."""
        if self._image.exists():
            return self._image.caps()
        if project := self._project():
            found = quota.read(self._data, project)
            return Caps(found.hard_bytes, None, found.hard_inodes)
        return Caps(btrfs.read_limit(self._data)) if self._has_qgroup() else Caps()

    def cap(self, caps: Caps) -> None:
        """Hold the data to these caps from now on, also while containers use it. Unsupported if that cannot be done."""
        if caps == self.caps():
            return
        if caps.hard_bytes is not None and not self._image.exists():
            filesystems.check_fits(self._directory, caps.hard_bytes)
        if self._image.exists():
            self._image.cap(caps)
        elif self._project() or quota.is_enforced(self._directory):
            self._cap_project(caps)
        elif self._has_qgroup():
            self._cap_subvolume(caps)
        elif not _is_empty(self._data):
            raise InvalidState(
                "the volume holds files already, which a disk image cannot take over",
                hint="back it up and restore it into one that is made with --size, or keep volumes on ext4 or xfs "
                "mounted with prjquota",
            )
        else:
            self._image.cap(caps)
            self._without_lost_and_found()

    @property
    def is_image(self) -> bool:
        """Say whether it has to be mounted, which takes milliseconds unless somebody has it mounted already."""
        return self._image.exists()

    def is_empty(self) -> bool:
        if not self._image.exists():
            return _is_empty(self._data)
        mount_fd = self._image.mount()
        try:
            return _is_empty(f"/proc/self/fd/{mount_fd}/.")
        finally:
            os.close(mount_fd)

    def open_tree(self) -> int:
        """Return a detached mount of the data."""
        return self._image.mount() if self._image.exists() else clone_tree(self._data)

    def usage(self) -> Usage | None:
        """Ask the kernel what it holds; None where nobody counts."""
        if self._image.exists():
            return self._image.usage()
        if project := self._project():
            found = quota.read(self._data, project)
            return Usage(found.used_bytes, found.used_inodes, found.hard_bytes, None, found.hard_inodes)
        if self._has_qgroup():
            return Usage(btrfs.used_bytes(self._data), 0, btrfs.read_limit(self._data))
        return None

    def erase(self) -> None:
        """Delete the volume's directory with all that is in it; may take long, and may be repeated."""
        if os.path.isdir(self._data):
            if project := self._project():
                quota.write(self._data, project, soft_bytes=None, hard_bytes=None, soft_inodes=None, hard_inodes=None)
            if btrfs.is_subvolume(self._data):
                btrfs.delete_subvolume(self._data)
        remove_tree(self._directory)

    def _cap_project(self, caps: Caps) -> None:
        project = self._project()
        if not project:  # made before there were quotas here
            project = self._free_project()
            quota.assign(self._data, project)
        quota.write(
            self._data,
            project,
            soft_bytes=None,
            hard_bytes=caps.hard_bytes,
            soft_inodes=None,
            hard_inodes=caps.hard_inodes,
        )
        wanted = Caps(None if caps.hard_bytes is None else caps.hard_bytes // 1024 * 1024, None, caps.hard_inodes)
        if (held := self.caps()) != wanted:
            raise Unsupported(f"cannot cap the volume: asked for {caps}, the kernel holds {held}", feature="disk")

    def _cap_subvolume(self, caps: Caps) -> None:
        if caps.hard_inodes is not None:
            raise Unsupported(
                "cannot cap inodes: a quota group of btrfs counts bytes alone", hint="leave it out", feature="disk"
            )
        btrfs.set_limit(self._data, caps.hard_bytes)
        if (held := btrfs.read_limit(self._data)) != caps.hard_bytes:
            raise Unsupported(
                f"cannot cap the volume: asked for {caps.hard_bytes}, the kernel holds {held}", feature="disk"
            )

    def _without_lost_and_found(self) -> None:
        if self._image.kind == "ext4":
            mount_fd = self._image.mount()
            try:
                os.rmdir("lost+found", dir_fd=mount_fd)
            finally:
                os.close(mount_fd)

    def _project(self) -> int:
        """Return the project of the data, 0 if it is in none of ours."""
        number = quota.project_of(self._data)
        return number if FIRST_PROJECT <= number < FIRST_PROJECT + PROJECTS else 0

    def _free_project(self) -> int:
        """Return a project that nothing is in: by the data's inode, which no other volume of the file system has."""
        start = os.stat(self._data).st_ino
        for number in range(start, start + PROJECTS):
            project = FIRST_PROJECT + number % PROJECTS
            found = quota.read(self._data, project)
            if not found.used_inodes and found.hard_bytes is None and found.hard_inodes is None:
                return project
        raise PycontainerError("all project numbers for volumes are taken")

    def _has_qgroup(self) -> bool:
        return btrfs.is_subvolume(self._data) and btrfs.has_quotas(self._data)


def _is_empty(directory: str) -> bool:
    with os.scandir(directory) as entries:
        return next(entries, None) is None

"""Frozen layers: what containers have written and no longer change, shared by the stacks that name them.

    layers/                    0700: set-user-id files in it are out of reach on the host
    ├── ID/fs                  a former upper directory: whiteouts and opaque marks are overlayfs's own, ids as inside
    │   project                the quota project that its files still count to; gone once they count to none
    ├── ID/fs -> tree/upper    on btrfs: `tree` is a read-only snapshot of a container's subvolume
    ├── .new-ID                being copied
    └── .removed-ID            being deleted

Who names a layer, a container's record or a snapshot's, is what keeps it: there is no counter. `.new-` and `.removed-` are
garbage when a supervisor comes up, and later where it is not at work on them.
"""

import contextlib
import os
import re
from collections.abc import Iterable

from pycontainer.linux import btrfs, quota
from pycontainer.linux.files import read_bounded, remove_tree, syncfs

_ID = re.compile(r"[0-9a-f]{16}", re.ASCII)
_NEW, _REMOVED = ".new-", ".removed-"


class FrozenLayers:
    """The frozen layers of one world, in `directory`."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self.at_work: set[str] = set()  # places that are being copied or deleted by this process

    def path(self, layer: str) -> str:
        """Return the directory that is mounted as a lower layer."""
        return f"{self._directory}/{layer}/fs"

    def place(self, layer: str) -> str:
        """Return the directory that holds the layer, made if missing."""
        os.makedirs(self._directory, mode=0o700, exist_ok=True)
        os.makedirs(f"{self._directory}/{layer}", mode=0o700, exist_ok=True)
        return f"{self._directory}/{layer}"

    def exists(self, layer: str) -> bool:
        return os.path.isdir(self.path(layer))

    def begin(self, layer: str) -> str:
        """Return a directory to copy a layer into; `finish` makes it one, `abandon` takes it away."""
        os.makedirs(self._directory, mode=0o700, exist_ok=True)
        place = f"{self._directory}/{_NEW}{layer}"
        os.mkdir(place, 0o700)
        self.at_work.add(place)
        return place

    def finish(self, layer: str) -> None:
        """Make what was copied a layer, on the disk before a record names it; may take long."""
        fd = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            syncfs(fd)
            os.rename(f"{_NEW}{layer}", layer, src_dir_fd=fd, dst_dir_fd=fd)
            os.fsync(fd)
            self.at_work.discard(f"{self._directory}/{_NEW}{layer}")
        finally:
            os.close(fd)

    def abandon(self, layer: str) -> None:
        place = f"{self._directory}/{_NEW}{layer}"
        try:
            erase_layer(place)
        finally:
            self.at_work.discard(place)

    def retire(self, claimed: Iterable[str]) -> list[str]:
        """Take out of sight what nobody claims; return the directories for `erase_layer`, which may take long."""
        kept = set(claimed)
        doomed = []
        for name in self._names():
            if _ID.fullmatch(name) and name not in kept:
                gone = f"{self._directory}/{_REMOVED}{name}"
                with contextlib.suppress(FileNotFoundError):
                    os.rename(f"{self._directory}/{name}", gone)
                    doomed.append(gone)
        return doomed

    def left_over(self) -> list[str]:
        """Return what was not finished copying, or deleting, and that nobody is at work on."""
        places = [f"{self._directory}/{name}" for name in self._names() if name.startswith((_NEW, _REMOVED))]
        return [place for place in places if place not in self.at_work]

    def trash(self) -> str:
        """Return a place to move something to that is to be deleted, by `erase_layer`, now or when we come up again."""
        os.makedirs(self._directory, mode=0o700, exist_ok=True)
        place = f"{self._directory}/{_REMOVED}{new_layer_id()}"
        os.mkdir(place, 0o700)
        return place

    def disown(self, projects_in_use: Iterable[int]) -> None:
        """Let layers whose quota project is nobody's now count to none, before the number is another container's.

        May take long, and may be repeated.
        """
        used = set(projects_in_use)
        for name in self._names():
            marker = f"{self._directory}/{name}/project"
            try:
                project = int(read_bounded(marker, 32))
            except (FileNotFoundError, NotADirectoryError, ValueError):
                continue
            if project not in used:
                with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                    quota.assign(f"{self._directory}/{name}/fs", 0, inherit=False)
                    os.unlink(marker)

    def _names(self) -> list[str]:
        try:
            return os.listdir(self._directory)
        except FileNotFoundError:
            return []


def new_layer_id() -> str:
    return os.urandom(8).hex()


def is_layer_id(text: str) -> bool:
    """Say whether a text has the form of a frozen layer's id: what a record names is no path."""
    return _ID.fullmatch(text) is not None


def erase_layer(place: str) -> None:
    """Delete a layer's directory with all that is in it; may take long, and may be repeated."""
    for name in ("tree", "rootfs"):
        if btrfs.is_subvolume(f"{place}/{name}"):
            btrfs.delete_subvolume(f"{place}/{name}")
    remove_tree(place)

"""A container's writable layer as a subvolume of btrfs, whose quota group caps it."""

import os

from pycontainer.disk import filesystems
from pycontainer.disk.storage import Caps, Freezing, Usage, clear_upper, half_of, make_layer
from pycontainer.errors import Unsupported
from pycontainer.linux import btrfs
from pycontainer.linux.mounts import clone_tree


class Subvolume:
    """`containers/ID/rootfs` is the subvolume; quotas have to be enabled on the file system (btrfs quota enable)."""

    freezing = Freezing.SHARE
    shrinks = True

    def __init__(self, container_dir: str) -> None:
        self._rootfs = f"{container_dir}/rootfs"

    @property
    def backend(self) -> str:
        return "btrfs qgroup" if btrfs.read_limit(self._rootfs) is not None else ""

    def prepare(self) -> None:
        btrfs.create_subvolume(self._rootfs)
        make_layer(self._rootfs)

    def default_caps(self) -> Caps:
        return half_of(os.path.dirname(self._rootfs), with_inodes=False)

    def cap(
        self, hard_bytes: int | None, soft_bytes: int | None, hard_inodes: int | None, soft_inodes: int | None
    ) -> None:
        if hard_inodes is not None:
            raise Unsupported(
                "cannot cap inodes: a quota group of btrfs counts bytes alone", hint="leave it out", feature="disk"
            )
        if btrfs.read_limit(self._rootfs) == hard_bytes:
            return
        if hard_bytes is not None:
            filesystems.check_fits(os.path.dirname(self._rootfs), hard_bytes)
        btrfs.set_limit(self._rootfs, hard_bytes)
        if (held := btrfs.read_limit(self._rootfs)) != hard_bytes:
            raise Unsupported(f"cannot cap the disk: asked for {hard_bytes}, the kernel holds {held}", feature="disk")

    def open_tree(self) -> int:
        return clone_tree(self._rootfs)

    def usage(self) -> Usage | None:
        caps = Caps(btrfs.read_limit(self._rootfs))
        return Usage(btrfs.used_bytes(self._rootfs), 0, *caps) if caps != Caps() else None

    def release(self) -> None:
        pass  # the cap goes with the subvolume

    def freeze(self, place: str) -> None:
        btrfs.snapshot_subvolume(self._rootfs, f"{place}/tree", read_only=True)
        os.symlink("tree/upper", f"{place}/fs")

    def clear(self, place: str, like: str) -> None:
        clear_upper(self._rootfs, place, like)

"""Roots of stopped containers, mounted on the host for its administrator.

    run/mounts/        0700: set-user-id files in them are out of reach of others
    └── ID             mounted with nodev and nosuid; ids as inside

The mount itself is the state: a supervisor that comes up finds it.
"""

import contextlib
import os
from typing import TYPE_CHECKING

from pycontainer.errors import Busy
from pycontainer.linux.files import is_mount_point
from pycontainer.linux.mounts import MOUNT_ATTR_NODEV, MOUNT_ATTR_NOSUID, mount_setattr, move_mount, umount2
from pycontainer.paths import HostPaths
from pycontainer.runtime.rootfs import mount_stopped

if TYPE_CHECKING:
    from pycontainer.runtime.container import Container
    from pycontainer.supervisor.world import World

_ATTRIBUTES = MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID


def find_mounts(paths: HostPaths) -> list[str]:
    """Return the ids of the containers that are mounted; a place without a mount goes away, if it is empty."""
    try:
        names = os.listdir(paths.mounts_dir)
    except FileNotFoundError:
        return []
    found = [name for name in names if _is_mounted(paths.mount_dir(name))]
    for name in set(names) - set(found):
        with contextlib.suppress(OSError):  # ENOTEMPTY, ENOTDIR: no reason not to come up
            os.rmdir(paths.mount_dir(name))
    return found


def _is_mounted(place: str) -> bool:
    try:
        return is_mount_point(place)
    except NotADirectoryError:  # somebody's file
        return False


async def mount(world: "World", container: "Container") -> str:
    """Mount a stopped container's root and return where; mounted already is fine."""
    place = world.paths.mount_dir(container.id)
    if container.id in world.mounted and is_mount_point(place):
        return place
    await world.layers.settle(container)
    os.makedirs(world.paths.mounts_dir, mode=0o700, exist_ok=True)
    os.chmod(world.paths.mounts_dir, 0o700)
    mount_fd = mount_stopped(container, _ATTRIBUTES)
    try:
        mount_setattr(mount_fd, set_flags=_ATTRIBUTES, recursive=True)
        os.makedirs(place, mode=0o700, exist_ok=True)
        place_fd = os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            move_mount(mount_fd, place_fd)
        finally:
            os.close(place_fd)
    finally:
        os.close(mount_fd)
    world.mounted.add(container.id)
    return place


def unmount(world: "World", container: "Container") -> None:
    """Take the mount down; not mounted is fine. Busy while something uses it."""
    place = world.paths.mount_dir(container.id)
    try:
        while is_mount_point(place):
            umount2(place)
    except OSError as error:
        raise Busy(
            f"'{place}' is in use", hint="end what works in there, and leave the directory; fuser -m tells who"
        ) from error
    with contextlib.suppress(FileNotFoundError):
        os.rmdir(place)
    with contextlib.suppress(OSError):  # others are mounted
        os.rmdir(world.paths.mounts_dir)
    world.mounted.discard(container.id)

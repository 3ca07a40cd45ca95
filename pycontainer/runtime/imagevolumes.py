"""The directories that an image wants to outlive its containers: checked data of a stranger, never policy.

A path that cannot be one is left out with a warning: an image must not make a start fail, nor lay something over what the
runtime mounts. Links are followed within the image, once, at the container's creation: what counts is where they lead.
"""

import contextlib
import os
import stat
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pycontainer.errors import InvalidInput
from pycontainer.linux.files import open_in_root
from pycontainer.linux.mounts import (
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY,
)
from pycontainer.spec.values import parse_target
from pycontainer.store.fsimages import open_layers
from pycontainer.units import shown

MAX_VOLUMES = 32
_QUIET = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC
_OURS = ("/dev", "/etc/resolv.conf", "/etc/hosts", "/etc/hostname")
_OF_A_SYSTEM = ("/run", "/run/lock")  # an init expects tmpfs there, and gets it


def open_image(layers: Sequence[str]) -> int:
    """Return a detached, read-only mount of an image's layers (as `Image.layer_dirs`), ids as they are on disk."""
    return open_layers(layers, _QUIET)


def declared(
    paths: Sequence[str], layers: Sequence[str], taken: Sequence[str], *, is_system: bool
) -> tuple[list[str], list[str]]:
    """Return (where anonymous volumes go, what was left out and why); `taken` are the targets of the user's mounts."""
    if not paths:
        return [], []
    wanted: list[str] = []
    warnings: list[str] = []
    image_fd = open_image(layers)
    try:
        for path in paths:
            try:
                target = _target(image_fd, path, is_system=is_system)
            except InvalidInput as error:
                warnings.append(f"no volume for {shown(path)}, which the image asks for: {error.message}")
                continue
            if path in taken or target in taken or target in wanted:
                continue
            if len(wanted) == MAX_VOLUMES:
                warnings.append(f"the image asks for more than {MAX_VOLUMES} volumes: the rest is left out")
                break
            wanted.append(target)
    finally:
        os.close(image_fd)
    return wanted, warnings


class Content(NamedTuple):
    """A directory of the image: what it is, and whether anything is in it."""

    status: os.stat_result
    is_empty: bool


@contextlib.contextmanager
def content(image_fd: int, target: str) -> Iterator[Content | None]:
    """Give what a directory of the image is, None if there is none."""
    try:
        fd = open_in_root(image_fd, target, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:  # not there, a file, a loop of links
        yield None
        return
    try:
        with os.scandir(fd) as entries:
            is_empty = next(entries, None) is None
        yield Content(os.fstat(fd), is_empty)
    finally:
        os.close(fd)


def _target(image_fd: int, path: str, *, is_system: bool) -> str:
    """Return where in the image `path` leads. Raises InvalidInput for a place that can hold no volume."""
    place = _resolved(image_fd, parse_target(path))
    parse_target(place)  # beyond its links it must be a fit place as well
    if any(place == ours or place.startswith(f"{ours}/") for ours in _OURS):
        raise InvalidInput(f"{place!r} is the runtime's own")
    if is_system and place in _OF_A_SYSTEM:
        raise InvalidInput(f"{place!r} is a tmpfs in a system")
    return place


def _resolved(image_fd: int, path: str) -> str:
    missing: list[str] = []
    while True:
        try:
            fd = open_in_root(image_fd, path, os.O_PATH)
            break
        except FileNotFoundError:
            path, _, name = path.rpartition("/")
            path = path or "/"
            if _is_link(image_fd, path, name):
                raise InvalidInput(f"{name!r} is a link that leads nowhere") from None
            missing.append(name)
        except OSError as error:
            raise InvalidInput(os.strerror(error.errno or 0)) from error
    try:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            raise InvalidInput("it is no directory")
        found = os.readlink(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)
    return os.path.join(found, *reversed(missing))


def _is_link(image_fd: int, directory: str, name: str) -> bool:
    try:
        fd = open_in_root(image_fd, os.path.join(directory, name), os.O_PATH | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        return stat.S_ISLNK(os.fstat(fd).st_mode)
    finally:
        os.close(fd)

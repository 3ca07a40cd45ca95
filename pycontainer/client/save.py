"""Where images are saved to: a file that appears when it is whole, a directory, or what the caller has opened."""

import os
import stat
from collections.abc import Callable, Sequence
from typing import Any

from pycontainer.client.connection import Pool
from pycontainer.client.images import save_images
from pycontainer.errors import AlreadyExists, InvalidInput
from pycontainer.units import shown

_FILE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC


def save(
    pool: Pool,
    images: Sequence[str],
    target: str | os.PathLike[str] | int,
    form: str,
    on_progress: Callable[[dict[str, Any]], None] | None,
) -> list[str]:
    if isinstance(target, int):
        return save_images(pool, images, target, form, on_progress)
    path = os.fspath(target)
    if form == "oci-dir":
        return _save_to_directory(pool, images, path, on_progress)
    if os.path.isdir(path):
        raise InvalidInput(f"{shown(path)} is a directory", hint="name a file, or choose the format oci-dir")
    if os.path.lexists(path) and not stat.S_ISREG(os.lstat(path).st_mode):  # a fifo, a device, a link: as it is
        return _save_to_file(pool, images, path, form, on_progress)
    temporary = f"{path}.{os.getpid()}.partial"
    try:
        names = _save_to_file(pool, images, temporary, form, on_progress)
        os.rename(temporary, path)
    except BaseException:
        if os.path.lexists(temporary):
            os.unlink(temporary)
        raise
    return names


def _save_to_file(
    pool: Pool, images: Sequence[str], path: str, form: str, on_progress: Callable[[dict[str, Any]], None] | None
) -> list[str]:
    fd = os.open(path, _FILE_FLAGS, 0o666)
    try:
        return save_images(pool, images, fd, form, on_progress)
    finally:
        os.close(fd)


def _save_to_directory(
    pool: Pool, images: Sequence[str], path: str, on_progress: Callable[[dict[str, Any]], None] | None
) -> list[str]:
    try:
        os.mkdir(path)
    except FileExistsError:
        if not os.path.isdir(path) or os.listdir(path):
            raise AlreadyExists(
                f"{shown(path)} is there already, and no empty directory", hint="name a new directory"
            ) from None
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return save_images(pool, images, fd, "oci-dir", on_progress)
    finally:
        os.close(fd)

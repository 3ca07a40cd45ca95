"""Where images are saved to: a directory, or what target.py opens."""

import os
from collections.abc import Callable, Sequence
from typing import Any

from pycontainer.client.connection import Pool
from pycontainer.client.images import save_images
from pycontainer.client.target import written
from pycontainer.errors import AlreadyExists
from pycontainer.units import shown


def save(
    pool: Pool,
    images: Sequence[str],
    target: str | os.PathLike[str] | int,
    form: str,
    on_progress: Callable[[dict[str, Any]], None] | None,
) -> list[str]:
    if form == "oci-dir" and not isinstance(target, int):
        return _save_to_directory(pool, images, os.fspath(target), on_progress)
    with written(target, mode=0o666) as fd:
        return save_images(pool, images, fd, form, on_progress)


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

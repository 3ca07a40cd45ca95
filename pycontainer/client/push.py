"""Bringing an image of the store to a registry: saved as an OCI layout that links to the store's blobs, copied by skopeo."""

import contextlib
import os
from collections.abc import Callable, Iterator, Set
from typing import TYPE_CHECKING, Any

from pycontainer.client.connection import Pool
from pycontainer.client.images import save_images
from pycontainer.client.pull import pull_directory
from pycontainer.client.skopeo import Skopeo, access_of, has_registry, parse_reference
from pycontainer.errors import InvalidInput
from pycontainer.linux.files import read_bounded, remove_tree
from pycontainer.units import shown

FORMATS = ("oci", "v2s2")
_MAX_DIGEST_BYTES = 200

if TYPE_CHECKING:
    from pycontainer.client.types import RegistryAccess

Progress = Callable[[dict[str, Any]], None]


def push(
    pool: Pool,
    image: str,
    destination: str,
    access: "RegistryAccess",
    *,
    form: str = "oci",
    on_progress: Progress | None = None,
) -> str:
    """Push an image to a registry; return the digest of its manifest there.

    The destination names its registry itself: nothing goes to docker.io by accident. `form` is "oci", or "v2s2" for a
    registry that knows Docker's manifests alone. Raises what `pull` raises, and NotFound for an image that is not here.
    """
    if not has_registry(destination):
        raise InvalidInput(
            f"{shown(destination)} does not say which registry",
            hint="name it: pycontainer image push IMAGE REGISTRY/PATH:TAG; Docker's is docker.io",
            field="destination",
        )
    reference = parse_reference(destination)
    if reference.digest:
        raise InvalidInput(f"{shown(destination)} has a digest, which the registry gives", hint="give a tag instead")
    if form not in FORMATS:
        raise InvalidInput(f"{shown(form)} is no format of manifests", hint=f"the formats are {', '.join(FORMATS)}")
    skopeo = Skopeo(access_of(access), reference.registry)
    with pull_directory(pool.paths, f"push-{os.urandom(8).hex()}") as (directory, lock_fd):
        try:
            os.mkdir(f"{directory}/layout", 0o700)
            dir_fd = os.open(f"{directory}/layout", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                save_images(pool, [image], dir_fd, "oci-dir", links=True)
            finally:
                os.close(dir_fd)
            skopeo.copy(
                "oci:layout",
                reference.source,
                str(reference),
                side="dest",
                options=["--format", form, "--digestfile", "digest"],
                cwd=directory,
                keep_fds=[lock_fd],
                on_wait=_Reader(f"{directory}/layout/blobs/sha256", on_progress).look,
            )
            return read_bounded(f"{directory}/digest", _MAX_DIGEST_BYTES).decode().strip()
        finally:
            remove_tree(directory)


class _Reader:
    """How far a process has read the blobs of a layout: one that it has open to its place, one that it had open whole."""

    def __init__(self, blobs_dir: str, on_progress: Progress | None) -> None:
        self._directory, self._on_progress = os.path.realpath(blobs_dir), on_progress
        self._seen: dict[str, int] = {}

    def look(self, pid: int) -> None:
        if self._on_progress is None:
            return
        sizes = {entry.path: entry.stat().st_size for entry in os.scandir(self._directory)}
        now = dict(_positions(pid, sizes.keys()))
        self._seen |= {path: sizes[path] for path in self._seen if path not in now} | now
        self._on_progress({"bytes": sum(self._seen.values()), "total_bytes": sum(sizes.values())})


def _positions(pid: int, wanted: Set[str]) -> Iterator[tuple[str, int]]:
    """Yield (path, position) of each file of `wanted` that a process has open."""
    with contextlib.suppress(FileNotFoundError, PermissionError, ProcessLookupError):
        for fd in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(FileNotFoundError):
                path = os.readlink(f"/proc/{pid}/fd/{fd}")
                if path in wanted:
                    with open(f"/proc/{pid}/fdinfo/{fd}") as file:
                        yield path, int(file.readline().split()[1])

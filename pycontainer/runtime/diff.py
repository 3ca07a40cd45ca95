"""What a container has changed of its image: the paths that its own layers hold, each looked up in the image.

Nothing is compared by content: what was written, even with the same bytes, was changed, as with Docker. Directories are
walked by descriptor and no link is followed, for a tenant wrote what is in them, and may be writing still.
"""

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator, Sequence

from pycontainer.errors import InvalidInput
from pycontainer.linux.files import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, openat2
from pycontainer.linux.treecopy import MAX_DEPTH

MAX_CHANGES = 200_000
MAX_PATHS_CHARACTERS = 32 << 20  # of all changes together: a tenant's paths may have 250 KB each
_DIR_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPAQUE = "trusted.overlay.opaque"


def changes(layers: Sequence[int], base_fd: int) -> list[tuple[str, str]]:
    """Return (A, C or D, absolute path), sorted, of `layers`, directories by descriptor, topmost first, over a base.

    The caller keeps the descriptors. InvalidInput beyond 200,000 changes, or in directories too deep in one another. Recurses
    with the depth, and has a descriptor for each directory and layer: tree_worker.py sees to both.
    """
    return bounded(_walk([os.open(".", _DIR_FLAGS, dir_fd=fd) for fd in layers], base_fd, ""))


def bounded(changes: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return changes sorted by path; InvalidInput for more than a reply should hold."""
    found: list[tuple[str, str]] = []
    characters = 0
    for change in changes:
        found.append(change)
        characters += len(change[1])
        if len(found) > MAX_CHANGES or characters > MAX_PATHS_CHARACTERS:
            raise InvalidInput(
                f"there are more than {MAX_CHANGES} changes, or their paths have more than {MAX_PATHS_CHARACTERS} characters",
                hint="make an image of it: pycontainer commit",
            )
    return sorted(found, key=lambda change: change[1])


def _walk(fds: list[int], base_fd: int, path: str, depth: int = 0) -> Iterator[tuple[str, str]]:
    """Yield what is below one directory; `fds` are that directory in each layer that holds it, topmost first. Closes them."""
    try:
        if depth > MAX_DEPTH:
            raise InvalidInput(f"there are more than {MAX_DEPTH} directories in one another")
        holders: dict[str, list[int]] = {}
        for fd in fds:
            for name in os.listdir(fd):
                holders.setdefault(name, []).append(fd)
        if fds and _is_opaque(fds[-1]):  # what is beneath it shows nothing of the image
            with contextlib.suppress(OSError):
                beneath_fd = _lookup(base_fd, path or ".", os.O_RDONLY | os.O_DIRECTORY)
                try:
                    hidden = set(os.listdir(beneath_fd)) - holders.keys()
                finally:
                    os.close(beneath_fd)
                yield from (("D", f"{path}/{name}") for name in hidden)
        for name, holding in holders.items():
            yield from _entry(holding, base_fd, f"{path}/{name}", name, depth)
    finally:
        for fd in fds:
            os.close(fd)


def _entry(holding: list[int], base_fd: int, path: str, name: str, depth: int) -> Iterator[tuple[str, str]]:
    kinds: list[tuple[int, os.stat_result]] = []
    for fd in holding:
        with contextlib.suppress(FileNotFoundError):  # it went just now
            kinds.append((fd, os.lstat(name, dir_fd=fd)))
    if not kinds:
        return
    in_base = _exists(base_fd, path)
    if _is_whiteout(kinds[0][1]):
        if in_base:
            yield "D", path
        return
    yield ("C" if in_base else "A"), path
    inner: list[int] = []
    for fd, details in kinds:
        if not stat.S_ISDIR(details.st_mode):
            break
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            inner.append(os.open(name, _DIR_FLAGS, dir_fd=fd))
            if _is_opaque(inner[-1]):
                break
    if inner:
        yield from _walk(inner, base_fd, path, depth + 1)


def _is_whiteout(details: os.stat_result) -> bool:
    return stat.S_ISCHR(details.st_mode) and details.st_rdev == 0


def _is_opaque(fd: int) -> bool:
    try:
        return os.getxattr(fd, _OPAQUE) == b"y"
    except OSError:
        return False


def _exists(base_fd: int, path: str) -> bool:
    try:
        fd = _lookup(base_fd, path, os.O_PATH | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        return not _is_whiteout(os.fstat(fd))
    finally:
        os.close(fd)


def _lookup(base_fd: int, path: str, flags: int) -> int:
    return openat2(base_fd, path.lstrip("/"), flags | os.O_CLOEXEC, resolve=RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)

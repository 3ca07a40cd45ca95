"""What a layer says of the layers beneath it: hidden names, opaque directories, directories that it leaves as they are.

    in an OCI layer           on the disk, for overlayfs                        who makes it
    .wh.NAME                  NAME, a character device 0:0                      the unpacker
    DIR/.wh..wh..opq          trusted.overlay.opaque of DIR                     `settle`: nobody else may
    DIR/f without DIR         DIR with the owner, mode and times from beneath   `settle`: nobody else sees both

A layer alone cannot say what lies beneath, and overlayfs shows a whiteout as a file in directories that it need not merge.
So those that hide nothing are taken away. Sources: OCI image-spec, layer.md; the kernel's overlayfs.rst.

`settle` runs with the rights of the store over what a hostile archive made: only by descriptors, and no link is followed.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pycontainer.errors import InvalidInput
from pycontainer.linux.files import (
    RESOLVE_BENEATH,
    RESOLVE_NO_SYMLINKS,
    RESOLVE_NO_XDEV,
    attribute_names,
    mkdirs_in_root,
    open_in_root,
    openat2,
)
from pycontainer.store.fsimages import is_image, open_layer
from pycontainer.units import shown

PREFIX, META_PREFIX, OPAQUE = b".wh.", b".wh..wh.", b".wh..wh..opq"
MAX_PATHS = 100_000
_OPAQUE_XATTR = "trusted.overlay.opaque"
_STRICT = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV
_DIR_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
Parts = tuple[bytes, ...]


class Link(NamedTuple):
    """A symbolic link of a lower layer at which a layer has a directory that it did not mention."""

    parts: Parts
    target: bytes
    uid: int
    gid: int
    mtime_ns: int


class Notes(NamedTuple):
    """What the unpacker of a layer left to settle; names from the layer's root."""

    opaque: frozenset[Parts] = frozenset()
    whiteouts: frozenset[Parts] = frozenset()
    implied: frozenset[Parts] = frozenset()


class Settled(NamedTuple):
    """Whether the result may depend on the layers beneath; links that have to be there before it is unpacked again."""

    leans: bool
    links: tuple[Link, ...]


def settle(fs: str, notes: Notes, lowers: Sequence[str]) -> Settled:
    """Give the unpacked layer `fs` what only the layers beneath it (their paths, lowest first) can tell.

    With links in the result nothing else was done. Raises InvalidInput for notes that do not fit what is there.
    """
    root_fd = os.open(fs, _DIR_FLAGS)
    lower_fds = []
    try:
        for lower in reversed(lowers):
            lower_fds.append(open_layer(lower) if is_image(lower) else os.open(lower, _DIR_FLAGS))
        implied = [
            parts for parts in notes.implied if not any(parts[:n] in notes.opaque for n in range(len(parts) + 1))
        ]
        if links := tuple(_links(lower_fds, implied)):
            return Settled(True, links)
        leans = any(implied)  # the root's attributes are those of the container's own directory
        for parts in sorted(notes.whiteouts):
            is_covered = any(parts[:depth] in notes.opaque for depth in range(len(parts)))
            leans |= not is_covered
            if is_covered or not _is_there(lower_fds, parts):
                _remove_whiteout(root_fd, parts)
        for parts in notes.opaque:
            with _directory(root_fd, parts) as fd:
                if fd is not None:
                    _make_opaque(fd)
        for parts in sorted(implied, key=len, reverse=True):
            _take_over(root_fd, parts, lower_fds)
        return Settled(leans, ())
    finally:
        for fd in (root_fd, *lower_fds):
            os.close(fd)


def _make_opaque(fd: int) -> None:
    try:
        os.setxattr(fd, _OPAQUE_XATTR, b"y")
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP):  # what an overlay said before Linux 6.7
            raise
        raise cannot_hide() from error


def cannot_hide() -> InvalidInput:
    """Return what is wrong with a layer that takes something away, in a store that lies on an overlay."""
    return InvalidInput(
        "the layer takes files of those beneath away, which the file system of the store, an overlay itself, cannot note",
        hint="keep the state directory on ext4, xfs or btrfs",
    )


def make_links(fs: str, links: Sequence[Link]) -> frozenset[Parts]:
    """Make links in an empty layer, the directories above them and those that they lead to; return these, all implied."""
    root_fd = os.open(fs, _DIR_FLAGS)
    try:
        for link in links:
            above, name = link.parts[:-1], link.parts[-1]
            if above:
                mkdirs_in_root(root_fd, b"/".join(above), 0o755)
            parent_fd = open_in_root(root_fd, b"/".join(above) or b".", _DIR_FLAGS)
            try:
                os.symlink(link.target, name, dir_fd=parent_fd)
                os.chown(name, link.uid, link.gid, dir_fd=parent_fd, follow_symlinks=False)
                os.utime(name, ns=(link.mtime_ns, link.mtime_ns), dir_fd=parent_fd, follow_symlinks=False)
            finally:
                os.close(parent_fd)
        for link in links:
            above = link.parts[:-1] if not link.target.startswith(b"/") else ()
            with contextlib.suppress(FileNotFoundError):  # beyond a link that the next round makes
                mkdirs_in_root(root_fd, b"/".join((*above, link.target)), 0o755)
    finally:
        os.close(root_fd)
    made = [os.fsencode(os.path.relpath(directory, fs)) for directory, _, _ in os.walk(fs)]
    return frozenset(tuple(path.split(b"/")) for path in made if path != b".")


def _links(lower_fds: Sequence[int], implied: Sequence[Parts]) -> Iterator[Link]:
    """Yield the links beneath at which the layer made directories: its files belong where those lead."""
    for parts in sorted(implied):
        found = _look_up(lower_fds, parts)
        if found is None:
            continue
        details, target, fd = found
        os.close(fd)
        if stat.S_ISLNK(details.st_mode):
            yield Link(parts, target, details.st_uid, details.st_gid, details.st_mtime_ns)


def _is_there(lower_fds: Sequence[int], parts: Parts) -> bool:
    found = _look_up(lower_fds, parts)
    if found is not None:
        os.close(found[2])
    return found is not None


def _look_up(lower_fds: Sequence[int], parts: Parts) -> tuple[os.stat_result, bytes, int] | None:
    """Return what the layers beneath, topmost first, together have under a name: details, a link's target, descriptor.

    The descriptor is an O_PATH one, the caller's. A name that leads through a link is not there: the unpacker's names are
    those of directories that it made.
    """
    for lower_fd in lower_fds:
        fd = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=lower_fd)
        is_opaque = False
        try:
            for depth, part in enumerate(parts, start=1):
                is_opaque |= _is_opaque(fd)
                try:
                    inner_fd = os.open(part, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
                except FileNotFoundError:
                    break
                os.close(fd)
                fd = inner_fd
                details = os.fstat(fd)
                if stat.S_ISCHR(details.st_mode) or (depth < len(parts) and not stat.S_ISDIR(details.st_mode)):
                    return None
            else:
                details = os.fstat(fd)
                target = os.readlink(b"", dir_fd=fd) if stat.S_ISLNK(details.st_mode) else b""
                result, fd = (details, target, fd), -1
                return result
            if is_opaque:
                return None
        finally:
            if fd >= 0:
                os.close(fd)
    return None


def _is_opaque(path_fd: int) -> bool:
    fd = os.open(".", _DIR_FLAGS, dir_fd=path_fd)
    try:
        return os.getxattr(fd, _OPAQUE_XATTR) == b"y"
    except OSError:  # ENODATA
        return False
    finally:
        os.close(fd)


def _take_over(root_fd: int, parts: Parts, lower_fds: Sequence[int]) -> None:
    """Give an implied directory the owner, mode, attributes and time of the one beneath, if there is one."""
    found = _look_up(lower_fds, parts)
    if found is None:
        return
    details, _, path_fd = found
    try:
        if not stat.S_ISDIR(details.st_mode):
            return
        with _directory(root_fd, parts) as fd, _directory(path_fd, ()) as lower_fd:
            if fd is None or lower_fd is None:
                return
            os.fchown(fd, details.st_uid, details.st_gid)
            os.fchmod(fd, stat.S_IMODE(details.st_mode))
            for name in attribute_names(lower_fd):
                if name.startswith("user."):
                    os.setxattr(fd, name, os.getxattr(lower_fd, name))
            os.utime(fd, ns=(details.st_mtime_ns, details.st_mtime_ns))
    finally:
        os.close(path_fd)


def _remove_whiteout(root_fd: int, parts: Parts) -> None:
    """Remove a whiteout that hides nothing, if it still is one, and leave the time of its directory as it is."""
    with _directory(root_fd, parts[:-1]) as fd:
        if fd is None:
            return
        try:
            if not stat.S_ISCHR(os.lstat(parts[-1], dir_fd=fd).st_mode):
                return
        except FileNotFoundError:
            return
        before = os.fstat(fd)
        os.unlink(parts[-1], dir_fd=fd)
        os.utime(fd, ns=(before.st_mtime_ns, before.st_mtime_ns))


@contextlib.contextmanager
def _directory(root_fd: int, parts: Parts) -> Iterator[int | None]:
    """Open a directory of the layer; None when it is none any more, as something else came under its name."""
    path = b"/".join(parts) or b"."
    try:
        fd = openat2(root_fd, path, _DIR_FLAGS, resolve=_STRICT)
    except (FileNotFoundError, NotADirectoryError):
        yield None
        return
    except OSError as error:
        raise InvalidInput(
            f"cannot apply the whiteouts of {shown(path.decode(errors='backslashreplace'))}: "
            f"{os.strerror(error.errno or 0)}",
            hint="they are named through a link of the same layer",
        ) from error
    try:
        yield fd
    finally:
        os.close(fd)

"""The files of an image that comes as several: an OCI layout or docker archive, in a directory or in one tar archive.

They are reached by a descriptor and a place in it, so nothing is unpacked to be looked at. Who lists the members of a tar
archive is confined (runtime/importer.py); what it says is only believed as far as it lies within the file.
"""

import errno
import os
import posixpath
import stat
import tarfile
from collections.abc import Iterator
from typing import IO, Any, NamedTuple, Protocol, cast

from pycontainer.errors import InvalidInput
from pycontainer.linux.files import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, openat2
from pycontainer.store.compression import Source, guarded
from pycontainer.store.tarstream import StrictInfo
from pycontainer.units import shown

MAX_MEMBERS = 20_000
_MAX_NAME_BYTES = 1024
_MAX_DEPTH = 4
_MAX_LINKS = 4
_ROOT_DIRECTORIES = frozenset(
    (
        "bin",
        "boot",
        "dev",
        "etc",
        "home",
        "lib",
        "lib32",
        "lib64",
        "libx32",
        "media",
        "mnt",
        "opt",
        "proc",
        "root",
        "run",
    )
    + ("sbin", "srv", "sys", "tmp", "usr", "var")
)
_SIGNS = frozenset({"oci-layout", "index.json", "manifest.json"})
_READ_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class Place(NamedTuple):
    """A part of an open file; the descriptor is its container's to close."""

    fd: int
    offset: int
    size_bytes: int


class Files(Protocol):
    """Files by their names, as the image's documents call them."""

    def find(self, name: str) -> Place | None: ...


class Member(NamedTuple):
    """A member of a tar archive: a file with a place, or a link with a target."""

    name: str
    offset: int
    size_bytes: int
    target: str


def read_all(files: Files, name: str, max_bytes: int) -> bytes | None:
    """Return a small file whole, None if there is none; InvalidInput when it is too large, or cut off."""
    place = files.find(name)
    if place is None:
        return None
    if place.size_bytes > max_bytes:
        raise InvalidInput(f"{shown(name)} of the image has {place.size_bytes} bytes, more than {max_bytes}")
    data = b""
    while len(data) < place.size_bytes:
        part = os.pread(place.fd, place.size_bytes - len(data), place.offset + len(data))
        if not part:
            raise InvalidInput(f"{shown(name)} of the image is cut off")
        data += part
    return data


class ArchiveFiles:
    """The members of a tar archive, of which `fd` is the plain form."""

    def __init__(self, fd: int, members: tuple[Member, ...]) -> None:
        self._fd = fd
        self._members = {posixpath.normpath(member.name): member for member in members}  # the last of a name wins
        self._size_bytes = os.fstat(fd).st_size

    def find(self, name: str) -> Place | None:
        name = posixpath.normpath(name)
        for _ in range(_MAX_LINKS):
            member = self._members.get(name)
            if member is None:
                return None
            if not member.target:
                if member.offset + member.size_bytes > self._size_bytes:
                    raise InvalidInput(f"the archive is cut off: {shown(member.name)} is not whole")
                return Place(self._fd, member.offset, member.size_bytes)
            name = posixpath.normpath(posixpath.join(posixpath.dirname(name), member.target))
        raise InvalidInput(f"the archive is damaged: {shown(name)} is a link that goes on and on")


class DirectoryFiles:
    """The files beneath a directory; no link is followed, and nothing but regular files is opened for reading."""

    def __init__(self, dir_fd: int) -> None:
        self._dir_fd = dir_fd
        self._open: dict[str, Place | None] = {}

    def __enter__(self) -> "DirectoryFiles":
        return self

    def __exit__(self, *exception: object) -> None:
        for place in self._open.values():
            if place is not None:
                os.close(place.fd)

    def find(self, name: str) -> Place | None:
        if name not in self._open:
            self._open[name] = self._opened(name)
        return self._open[name]

    def _opened(self, name: str) -> Place | None:
        strict = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS
        try:
            looked_fd = openat2(self._dir_fd, name, os.O_PATH, resolve=strict)
            is_regular = stat.S_ISREG(os.fstat(looked_fd).st_mode)  # before it is opened: a fifo would wait
            os.close(looked_fd)
            if not is_regular:
                raise InvalidInput(f"{shown(name)} of the image is not a regular file")
            fd = openat2(self._dir_fd, name, _READ_FLAGS, resolve=strict)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                return None
            raise InvalidInput(f"cannot open {shown(name)} of the image: {os.strerror(error.errno or 0)}") from error
        details = os.fstat(fd)
        if not stat.S_ISREG(details.st_mode):
            os.close(fd)
            raise InvalidInput(f"{shown(name)} of the image is not a regular file")
        return Place(fd, 0, details.st_size)


# -- in a confined process -----------------------------------------------------------------------------------------


def list_members(source: Source | IO[bytes], *, is_seekable: bool) -> Iterator[Member]:
    """Yield the members of an image's archive, none where it is a root file system instead.

    What cannot be sought is only read until it is clear what it is. Raises InvalidInput for damage.
    """
    found: list[Member] = []
    mode = "r:" if is_seekable else "r|"
    options: dict[str, Any] = {"mode": mode, "tarinfo": StrictInfo, "encoding": "utf-8", "errors": "surrogateescape"}
    tar = guarded(lambda: tarfile.open(fileobj=cast("IO[bytes]", source), **options))  # noqa: SIM115  closed with us
    has_sign = False
    while (member := guarded(tar.next)) is not None:
        tar.members.clear()  # type: ignore[attr-defined]  # it would remember every entry
        name = posixpath.normpath(member.name)
        parts = name.split("/")
        if parts[0] in _ROOT_DIRECTORIES or len(parts) > _MAX_DEPTH:
            return
        if len(found) >= MAX_MEMBERS:
            if has_sign:
                raise InvalidInput(f"the archive has more than {MAX_MEMBERS} members")
            return
        has_sign |= name in _SIGNS
        if len(os.fsencode(name)) > _MAX_NAME_BYTES:
            continue
        if member.isreg() and not member.issparse():
            found.append(Member(name, member.offset_data, member.size, ""))
        elif member.issym() and 0 < len(os.fsencode(member.linkname)) <= _MAX_NAME_BYTES:
            found.append(Member(name, 0, 0, member.linkname))
        elif member.islnk() and 0 < len(os.fsencode(member.linkname)) <= _MAX_NAME_BYTES:
            found.append(Member(name, 0, 0, posixpath.relpath(member.linkname, posixpath.dirname(name) or ".")))
        # Not before there is one to tell of: a layout's directories come before its files.
        if not is_seekable and found and (has_sign or parts[:2] == ["blobs", "sha256"] or _is_hex(parts[0])):
            yield from found
            return
    if has_sign:
        yield from found


def _is_hex(name: str) -> bool:
    stem = name.split(".")[0].removeprefix("sha256:")
    return len(stem) == 64 and all(digit in "0123456789abcdef" for digit in stem)

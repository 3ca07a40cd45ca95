"""Layers as registries and archives have them: a tar stream, gzip'ed, and the two digests that name it.

Equal trees give equal bytes: the order and the headers are canonical (tarstream.Packed), gzip's header holds no time and no
name, the level is fixed. What is read here is bytes that a confined process packed; nothing of them is interpreted.
"""

import errno
import hashlib
import os
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from pycontainer.errors import InvalidState
from pycontainer.store.compression import Source
from pycontainer.units import shown

MEDIA_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"
_BLOCK_BYTES = 1 << 18
_GZIP_LEVEL = 6
_GZIP_WBITS = 31  # gzip's header, which zlib writes without time and name, and its check sum
_DIR_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPAQUE = "trusted.overlay.opaque"
# What overlayfs alone can follow: a directory that was moved, and a file whose content lies in a layer below.
_ELSEWHERE = frozenset({"trusted.overlay.redirect", "trusted.overlay.metacopy"})


class LayerBlob(NamedTuple):
    """A layer's compressed form: digests are 64 hex digits, of the plain tar stream and of the blob."""

    diff_id: str
    digest: str
    size_bytes: int


def compress_layer(stream: Source, blob_fd: int) -> LayerBlob:
    """Write the tar stream to `blob_fd`, gzip'ed."""
    plain, packed, size_bytes = hashlib.sha256(), hashlib.sha256(), 0
    compressor = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP_WBITS)
    is_at_end = False
    while not is_at_end:
        block = stream.read(_BLOCK_BYTES)
        is_at_end = not block
        plain.update(block)
        data = compressor.compress(block) if block else compressor.flush()
        packed.update(data)
        size_bytes += len(data)
        view = memoryview(data)
        while view:
            view = view[os.write(blob_fd, view) :]
    return LayerBlob(plain.hexdigest(), packed.hexdigest(), size_bytes)


def opaque_directories(dir_fd: int) -> frozenset[bytes]:
    """Return the directories of an overlay's upper directory that hide what lies below them, as `LayerForm.opaque` has them.

    Needs CAP_SYS_ADMIN of the host, for which alone `trusted.*` exists: that is why no confined process does it. Only names
    and these attributes are read, and links are not followed. Raises InvalidState for what only overlayfs can resolve.
    """
    opaque = set()
    for path, fd in _directories(dir_fd):
        _check_resolved(path, os.listxattr(fd))
        with os.scandir(fd) as entries:
            for entry in entries:
                if entry.is_file(follow_symlinks=False):
                    names = os.listxattr(f"/proc/self/fd/{fd}/{entry.name}", follow_symlinks=False)
                    _check_resolved(os.path.join(path, os.fsencode(entry.name)), names)
        try:
            if os.getxattr(fd, _OPAQUE) == b"y":
                opaque.add(path)
        except OSError as error:
            if error.errno != errno.ENODATA:
                raise
    return frozenset(opaque)


def _check_resolved(path: bytes, attributes: list[str]) -> None:
    if not _ELSEWHERE.isdisjoint(attributes):
        raise InvalidState(
            f"{shown(path.decode(errors='backslashreplace'))} was renamed by overlayfs's redirect_dir or metacopy",
            hint="no layer can say that; copy it inside of the container, and remove the first one",
        )


def _directories(dir_fd: int) -> Iterator[tuple[bytes, int]]:
    """Yield each directory with a descriptor that is good until the next one."""
    pending: list[tuple[bytes, int, list[bytes]]] = []
    fd = os.open(".", _DIR_FLAGS, dir_fd=dir_fd)
    path = b""
    try:
        while True:
            yield path, fd
            pending.append((path, fd, _inner_directories(fd)))
            fd = -1
            while pending and not pending[-1][2]:
                os.close(pending.pop()[1])
            if not pending:
                return
            above, above_fd, names = pending[-1]
            name = names.pop()
            path = os.path.join(above, name)
            fd = os.open(name, _DIR_FLAGS, dir_fd=above_fd)
    finally:
        for open_fd in (fd, *(one for _, one, _ in pending)):
            if open_fd >= 0:
                os.close(open_fd)


def _inner_directories(fd: int) -> list[bytes]:
    with os.scandir(fd) as entries:
        return [os.fsencode(entry.name) for entry in entries if entry.is_dir(follow_symlinks=False)]

"""From a tar stream to a layer of the store, over the layers beneath it.

source ─▶ unpack (confined processes) ─▶ settle (whiteouts.py) ─▶ a layer of the store
"""

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

from pycontainer.errors import InvalidInput
from pycontainer.store.compression import MAGIC_BYTES, compression
from pycontainer.store.imports import Import
from pycontainer.store.layers import MEDIA_TYPE_TAR, Layer, plain_key, settled_key
from pycontainer.store.whiteouts import Link, Notes, make_links, settle

_MAX_LINK_ROUNDS = 8
_TAR_MAGIC, _TAR_MAGIC_OFFSET, _TAR_BLOCK_BYTES = b"ustar", 257, 512
Progress = Callable[[dict[str, object]], None]


class Unpacked(NamedTuple):
    """What came of a tar stream: its digest (64 hex digits), the bytes of its files, what is left to settle of a layer."""

    digest: str
    size_bytes: int
    notes: Notes = Notes()


class Unpack(Protocol):
    """Unpacks the source of a descriptor, a directory or an archive, into a directory (runtime/importer.py).

    `has_digest` says that the digest of the stream is known, and will be compared: its end mark may be missing then.
    """

    def __call__(
        self, source_fd: int, target: str, on_progress: Progress | None, /, *, has_digest: bool = False
    ) -> Unpacked: ...


def unpack_layer(
    work: Import,
    source_fd: int,
    lowers: Sequence[Layer],
    unpack: Unpack,
    *,
    name: str = "",
    blob: str | None = None,
    diff_id: str = "",
    what: str = "",
    on_progress: Progress | None = None,
) -> Layer:
    """Unpack a source over the layers `lowers` and add it to the store.

    `blob` is its digest, if it is kept; `diff_id` is what it must come to, if an image says so. `name` is what failures call
    it, the blob unless it is given.
    """
    name = name or f"layer blob {blob}"
    if diff_id:
        _check_form(source_fd, name)
    links: tuple[Link, ...] = ()

    def tell(counters: dict[str, object]) -> None:
        if on_progress is not None:
            on_progress({"step": f"unpacking {what}".rstrip(), **counters})

    for _ in range(_MAX_LINK_ROUNDS):
        staged = work.new_layer()
        fs = f"{staged}/fs"
        above_links = make_links(fs, links)
        with naming(name):
            done = unpack(source_fd, fs, tell, has_digest=bool(diff_id))
        found = f"sha256:{done.digest}"
        if diff_id and found != diff_id:
            raise InvalidInput(f"{name} unpacks to {found}, but the image's config says {diff_id}")
        notes = done.notes._replace(implied=done.notes.implied | above_links)
        with naming(name):
            settled = settle(fs, notes, [layer.path for layer in lowers])
        if not settled.links:
            break
        links += settled.links
    else:
        raise InvalidInput(f"{name}: it goes through links of links of the layers beneath it")
    leans = settled.leans or bool(links)
    return work.add_layer(
        staged,
        settled_key(found, [layer.key for layer in lowers]) if leans else plain_key(found),
        diff_id=found,
        size_bytes=done.size_bytes,
        form="tar",
        blob=blob,
        media_type=layer_type(source_fd) or MEDIA_TYPE_TAR,
    )


@contextlib.contextmanager
def naming(what: str) -> Iterator[None]:
    """Have refusals and failures say what they are about: a blob, or the archive that a user named."""
    try:
        yield
    except InvalidInput as error:
        raise InvalidInput(f"{what}: {error.message}", hint=error.hint) from error
    except OSError as error:
        code = error.errno or errno.EIO
        raise OSError(code, f"{what}: {error.strerror or os.strerror(code)}", error.filename) from error


def _check_form(blob_fd: int, name: str) -> None:
    """Refuse what begins neither like a compressed stream nor like a tar archive."""
    begin = os.pread(blob_fd, _TAR_BLOCK_BYTES, 0)
    is_tar = begin[_TAR_MAGIC_OFFSET:].startswith(_TAR_MAGIC) or not any(begin)
    if compression(begin[:MAGIC_BYTES]) is None and not is_tar:
        raise InvalidInput(
            f"{name} is no tar archive, or has an unknown compression",
            hint="layers are plain, or compressed with gzip or zstd",
        )


def layer_type(source_fd: int) -> str:
    """Return the media type of an archive that is a layer as it stands; nothing for what only its files are kept of."""
    if stat.S_ISDIR(os.fstat(source_fd).st_mode):
        return ""
    magic = os.pread(source_fd, MAGIC_BYTES, 0)
    if magic.startswith((b"BZh", b"\xfd7zXZ\0")):
        return ""
    if magic.startswith(b"\x1f\x8b"):
        return f"{MEDIA_TYPE_TAR}+gzip"
    return f"{MEDIA_TYPE_TAR}+zstd" if magic.startswith(b"\x28\xb5\x2f\xfd") else MEDIA_TYPE_TAR


def counter(on_progress: Progress | None, what: str, total_bytes: int) -> Callable[[int], None]:
    """Return what counts bytes and tells of them every 32 MiB."""
    done = told = 0

    def count(more: int) -> None:
        nonlocal done, told
        done += more
        if on_progress is not None and (done - told >= 32 << 20 or done == total_bytes):
            told = done
            on_progress({"step": what, "bytes": done, "total_bytes": total_bytes})

    return count

"""Root file systems that say nothing of themselves become images of one layer: directories, tar archives, squashfs, erofs.

An archive that is itself a valid OCI layer (plain, gzip, zstd) is kept as a blob; of the others only the files are. The OCI
config is made here, from what the one who imports says.
"""

import contextlib
import os
import stat
from collections.abc import Iterator

from pycontainer.errors import InvalidInput, NotFound
from pycontainer.store import fsimages
from pycontainer.store.blobs import stage_copy
from pycontainer.store.imports import Import
from pycontainer.store.layers import Layer, plain_key
from pycontainer.store.ociconfig import host_platform, make_config
from pycontainer.store.refs import ImageInfo
from pycontainer.store.unpacking import Progress, Unpack, counter, layer_type, unpack_layer
from pycontainer.units import shown


def import_plain(
    work: Import,
    source_fd: int,
    source: str,
    name: str,
    config: dict[str, object],
    unpack: Unpack,
    on_progress: Progress | None,
    *,
    kind: str = "",
) -> ImageInfo:
    """Publish the directory or tar archive `source_fd`, called `source`, as image `name`; `unpack` is what reads it.

    With `kind` it is such a file system instead (fsimages.wanted_kind).
    """
    if stat.S_ISDIR(os.fstat(source_fd).st_mode):
        comment, layer = "imported from a directory", _layer(work, source_fd, source, unpack, on_progress)
    elif kind:
        comment, layer = f"imported from a {kind} file", _filesystem(work, source_fd, source, kind, on_progress)
    else:
        comment, layer = "imported from an archive", _layer(work, source_fd, source, unpack, on_progress)
    blob = make_config(config, [layer.diff_id], comment=comment)
    return work.publish(name, blob, config, [layer], platform=host_platform())


def _filesystem(work: Import, source_fd: int, source: str, kind: str, on_progress: Progress | None) -> Layer:
    """Return the layer that is a copy of a squashfs or erofs file."""
    fsimages.check_whole(source_fd, kind)
    size_bytes = os.fstat(source_fd).st_size
    staged = work.new_layer()  # with its empty `fs`, where who makes overlays by path mounts it
    on_bytes = counter(on_progress, f"copying the {kind}", size_bytes)
    diff_id = stage_copy(source_fd, staged, size_bytes=size_bytes, source=shown(source), on_bytes=on_bytes)
    if found := work.layer(plain_key(diff_id)):
        return found
    os.rename(f"{staged}/{diff_id[7:]}", f"{staged}/image")
    fsimages.pad(f"{staged}/image")
    fsimages.check_mounts(f"{staged}/image", kind)
    return work.add_layer(
        staged,
        plain_key(diff_id),
        diff_id=diff_id,
        size_bytes=size_bytes,
        form=kind,
        blob=None,
        media_type=f"{fsimages.MEDIA_TYPE}.{kind}",
    )


def _layer(work: Import, source_fd: int, source: str, unpack: Unpack, on_progress: Progress | None) -> Layer:
    """Return the layer of a source, unpacked unless the store has it."""
    if not layer_type(source_fd):
        return unpack_layer(work, source_fd, (), unpack, name=shown(source), on_progress=on_progress)
    blob = stage_copy(
        source_fd,
        work.blobs_dir,
        size_bytes=os.fstat(source_fd).st_size,
        source=shown(source),
        on_bytes=counter(on_progress, "copying", os.fstat(source_fd).st_size),
    )
    with work.store.staging.claimed(blob):  # of imports of the same archive at once, one unpacks
        if found := work.layer_of_blob(blob):
            return found
        blob_fd = os.open(f"{work.blobs_dir}/{blob[7:]}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return unpack_layer(work, blob_fd, (), unpack, name=shown(source), blob=blob, on_progress=on_progress)
        finally:
            os.close(blob_fd)


@contextlib.contextmanager
def opened(source: str, images_dir: str, given_fd: int | None = None) -> Iterator[int]:
    """Open what is to be imported: a file or a directory that does not hold the store. NotFound, InvalidInput.

    `given_fd` is open already, a file that is called `source`; it is closed as what is opened here.
    """
    try:
        fd = os.open(source, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC) if given_fd is None else given_fd
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFound(f"no file or directory {shown(source)}", hint="give a directory or an archive") from error
    except OSError as error:  # a socket, a device without a driver, a loop of links
        raise InvalidInput(f"cannot open {shown(source)}: {os.strerror(error.errno or 0)}") from error
    try:
        mode = os.fstat(fd).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) and given_fd is None):
            raise InvalidInput(f"{shown(source)} is neither a directory nor a file")
        inside = os.path.join(os.path.realpath(source), "")
        if stat.S_ISDIR(mode) and f"{os.path.realpath(images_dir)}/".startswith(inside):
            raise InvalidInput(f"{shown(source)} holds the image store itself", hint="import a copy without it")
        yield fd
    finally:
        os.close(fd)

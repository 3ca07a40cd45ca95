"""Layers that are a file system: squashfs and erofs files, mounted read-only when a container needs them.

Like all our images of file systems (disk/image.py) they are mounted nowhere on the host: who uses the mount holds it, and the
loop device goes with the last user, however that ends. So nothing has to be taken down, and nothing can be left behind. All
mounts of a layer are the same file system on the same device: what is cached of it is cached once.

It is the kernel that parses such a file, with all of its rights: whoever brings one in trusts who made it. So a source is
taken for one only if its user said so (`wanted_kind`): what is in a file is the choice of its author.
"""

import errno
import os
import stat
import struct
from collections.abc import Sequence

from pycontainer.errors import InvalidInput, Unsupported
from pycontainer.linux import loopdevices
from pycontainer.linux.mounts import (
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_RDONLY,
    clone_tree,
    in_private_mounts,
    mount_setattr,
    move_mount,
    new_mount,
    new_overlay,
)
from pycontainer.linux.namespaces import user_namespace
from pycontainer.store.compression import MAGIC_BYTES, compression
from pycontainer.store.layers import is_key
from pycontainer.units import shown

MEDIA_TYPE = "application/vnd.pycontainer.layer.v1"  # followed by the file system: nobody else has such layers
_SQUASHFS_MAGIC = b"hsqs"
_SQUASHFS_BYTES_USED = struct.Struct("<40xQ")
_EROFS_MAGIC, _EROFS_OFFSET = b"\xe2\xe1\xf5\xe0", 1024
_EROFS_SIZES = struct.Struct("<12xB23xI")  # blkszbits, blocks
_TAR_MAGIC, _TAR_OFFSET = b"ustar", 257
_SUFFIXES = {".squashfs": "squashfs", ".sqfs": "squashfs", ".sfs": "squashfs", ".erofs": "erofs"}
_KINDS = ("squashfs", "erofs")
_BLOCK_BYTES = 4096
_ATTEMPTS = 5
_TRIAL_BASE, _TRIAL_COUNT = 0x7FFF0000, 65536
_HINT = "import a tarball or a directory with the same content instead"


def kind_of(fd: int) -> str:
    """Return "squashfs" or "erofs" for a file that begins like one, nothing for others."""
    if os.pread(fd, len(_SQUASHFS_MAGIC), 0) == _SQUASHFS_MAGIC:
        return "squashfs"
    return "erofs" if os.pread(fd, len(_EROFS_MAGIC), _EROFS_OFFSET) == _EROFS_MAGIC else ""


def wanted_kind(fd: int, source: str, form: str) -> str:
    """Return the kind of file system that the source `fd` is to be taken for, nothing for what gets unpacked.

    It has to be told, by `form` or by the end of the name `source`: an archive must not choose the kernel's drivers over the
    confined unpacker. What begins like an archive is one, whatever stands further on. Raises InvalidInput for a file system
    that nobody announced, and for a `form` that the file does not have.
    """
    if form and form not in _KINDS:
        raise InvalidInput(f"unknown format {shown(form)}", hint="there are squashfs and erofs", field="format")
    is_regular = stat.S_ISREG(os.fstat(fd).st_mode)
    kind = kind_of(fd) if is_regular and not _begins_like_an_archive(fd) else ""
    if form and form != kind:
        raise InvalidInput(f"{shown(source)} is no {form} file", hint="import it without --format", field="format")
    if not kind or form == kind or _SUFFIXES.get(os.path.splitext(source)[1]) == kind:
        return kind
    raise InvalidInput(
        f"{shown(source)} looks like {kind}, which the kernel itself would read",
        hint=f"if you trust who made it, say --format {kind}, or have its name end in .{kind}",
        field="format",
    )


def _begins_like_an_archive(fd: int) -> bool:
    if os.pread(fd, len(_TAR_MAGIC), _TAR_OFFSET) == _TAR_MAGIC:
        return True
    return compression(os.pread(fd, MAGIC_BYTES, 0)) is not None


def check_whole(fd: int, kind: str) -> None:
    """Refuse a file that is shorter than the file system in it; InvalidInput."""
    size_bytes = os.fstat(fd).st_size
    if kind == "squashfs":
        data = os.pread(fd, _SQUASHFS_BYTES_USED.size, 0)
        needed = _SQUASHFS_BYTES_USED.unpack(data)[0] if len(data) == _SQUASHFS_BYTES_USED.size else size_bytes + 1
    else:
        bits, blocks = _EROFS_SIZES.unpack(
            os.pread(fd, _EROFS_SIZES.size, _EROFS_OFFSET).ljust(_EROFS_SIZES.size, b"\0")
        )
        needed = blocks << min(bits, 16)
    if needed > size_bytes:
        raise InvalidInput(f"the {kind} file is cut off: it has {size_bytes} of {needed} bytes")


def pad(path: str) -> None:
    """Fill a file up to whole blocks: a loop device has no others."""
    size_bytes = os.stat(path).st_size
    os.truncate(path, -(-size_bytes // _BLOCK_BYTES) * _BLOCK_BYTES)


def check_mounts(path: str, kind: str) -> None:
    """Mount a file once as containers will, and see that ids can be mapped. InvalidInput when it is damaged, Unsupported."""
    try:
        mount_fd = _mount(path, kind)
    except OSError as error:
        if error.errno == errno.ENODEV:
            raise Unsupported(f"this kernel has no {kind}", hint=_HINT, feature=kind) from error
        raise InvalidInput(f"the {kind} file cannot be mounted: {error.strerror}", hint=_HINT) from error
    try:
        with user_namespace(_TRIAL_BASE, _TRIAL_COUNT) as userns_fd:
            mount_setattr(mount_fd, userns_fd=userns_fd)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise Unsupported(
            f"this kernel cannot map the ids of a mounted {kind}", hint=_HINT, feature="idmapped mounts"
        ) from error
    finally:
        os.close(mount_fd)


def is_image(path: str) -> bool:
    """Tell whether a layer's path, as images have it, is that of a file system."""
    directory, _, name = path.rpartition("/")
    return name == "image" and is_key(directory.rpartition("/")[2])


def open_layer(path: str, *, recursive: bool = False) -> int:
    """Return a detached mount of a layer, the directory or file system at `path`; no mount of it is seen by others."""
    if not is_image(path):
        return clone_tree(path, recursive=recursive)
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        kind = kind_of(fd)
    finally:
        os.close(fd)
    return _mount(path, kind)


def open_layers(layers: Sequence[str], attributes: int = 0) -> int:
    """Return a detached, read-only mount of layers on one another, lowest first, ids as they are on disk."""
    if len(layers) == 1:  # an overlay has two at least
        tree_fd = open_layer(layers[0])
        mount_setattr(tree_fd, set_flags=attributes | MOUNT_ATTR_RDONLY)
        return tree_fd

    def overlay() -> int:
        directories = attach_layers(layers)
        return new_overlay(directories[::-1], attributes=attributes | MOUNT_ATTR_RDONLY, place=directories[0])

    return in_private_mounts(overlay)


def attach_layers(layers: Sequence[str]) -> list[str]:
    """Return directories with what is in the layers, to make an overlay of; file systems are mounted for that.

    To be called where nobody else sees the mounts: in_private_mounts.
    """
    directories = []
    for path in layers:
        if is_image(path):
            path = f"{os.path.dirname(path)}/fs"
            place_fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            mount_fd = open_layer(f"{os.path.dirname(path)}/image")
            try:
                move_mount(mount_fd, place_fd)
            finally:
                os.close(mount_fd)
                os.close(place_fd)
        directories.append(path)
    return directories


def _mount(path: str, kind: str) -> int:
    image_fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        for attempt in range(_ATTEMPTS):
            device_fd = loopdevices.find(image_fd)
            if device_fd < 0:
                device_fd = loopdevices.attach(image_fd)
            try:
                options: list[tuple[str, str | int | None]] = [
                    ("source", os.readlink(f"/proc/self/fd/{device_fd}")),
                    ("ro", None),
                ]
                return new_mount(kind, options, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV)
            except OSError as error:  # ENXIO: its last user went while we looked at it
                if error.errno != errno.ENXIO or attempt == _ATTEMPTS - 1:
                    raise
            finally:
                os.close(device_fd)
        raise OSError(errno.EBUSY, "no loop device", path)
    finally:
        os.close(image_fd)

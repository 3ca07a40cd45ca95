"""Layers: unpacked once, read-only, shared by all images that have them.

    images/layers/KEY/           KEY: sha256-HEX, HEX the diff_id (see `settled_key` for the exception)
    ├── fs/                      unpacked, owners 0 to 65535 as inside, whiteouts as overlayfs wants them; or
    ├── image                    a squashfs or erofs file, mounted when a container starts
    └── layer.json               diff_id, size_bytes, format, blob, media_type; names and file_bytes, counted when it was made

Layers of before there was a layer.json are tar layers without a blob.
"""

import hashlib
import json
import math
import os
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from pycontainer import jsontext
from pycontainer.errors import InvalidState
from pycontainer.linux.files import read_bounded, write_atomically
from pycontainer.linux.treecount import count
from pycontainer.store.blobs import is_digest
from pycontainer.store.memory import Memory

FORMATS = ("tar", "squashfs", "erofs")
MEDIA_TYPE_TAR = "application/vnd.oci.image.layer.v1.tar"
_KEY = re.compile(r"sha256-[0-9a-f]{64}", re.ASCII)
_MAX_BYTES = 1 << 16
_memory: "Memory[Layer]" = Memory()


class Layer(NamedTuple):
    """One layer. `blob` is the digest of what it came as, if that was kept; `size_bytes` is what its files hold.

    `content` is what it held when it was made, (names, bytes of files) as linux/treecount.py counts; None if nobody knows.
    """

    key: str
    directory: str
    diff_id: str
    size_bytes: int
    format: str
    blob: str | None
    media_type: str
    content: tuple[int, int] | None = None

    @property
    def path(self) -> str:
        """What overlays are made of: the unpacked directory, or the file of a file system to be mounted."""
        return _path(self.directory, self.format)

    def exists(self) -> bool:
        return os.path.isdir(self.path) if self.format == "tar" else os.path.isfile(self.path)


def is_key(value: object) -> bool:
    """Tell whether `value` can name a layer's directory."""
    return isinstance(value, str) and _KEY.fullmatch(value) is not None


def plain_key(diff_id: str) -> str:
    """Return the key of a layer that is the same whatever lies beneath it, as nearly all are."""
    return diff_id.replace(":", "-")


def settled_key(diff_id: str, lower_keys: Sequence[str]) -> str:
    """Return the key of a layer that may look otherwise over other layers (whiteouts.py).

    That is so when its archive goes into directories that it does not mention, or has whiteouts.
    """
    chain = "\n".join((*lower_keys, diff_id)).encode()
    return f"sha256-{hashlib.sha256(b'settled' + chain).hexdigest()}"


def write_layer(directory: str, *, diff_id: str, size_bytes: int, form: str, blob: str | None, media_type: str) -> None:
    """Count what the layer in `directory` holds, and write its note."""
    note = {"diff_id": diff_id, "size_bytes": size_bytes, "format": form, "blob": blob, "media_type": media_type}
    counted = count(_path(directory, form), math.inf)
    note |= {"names": counted.names, "file_bytes": counted.file_bytes}
    write_atomically(f"{directory}/layer.json", json.dumps(note, indent=1).encode(), sync=False)


def read_layer(layers_dir: str, key: str) -> Layer:
    """Return a layer of the store; InvalidState when its note is damaged. Whether its files are there is `exists`."""
    directory = f"{layers_dir}/{key}"
    try:
        return _memory.get(f"{directory}/layer.json", lambda: _read_layer(directory, key))
    except FileNotFoundError:
        return Layer(key, directory, key.replace("-", ":"), 0, "tar", None, MEDIA_TYPE_TAR)


def _read_layer(directory: str, key: str) -> Layer:
    try:
        note = jsontext.loads(read_bounded(f"{directory}/layer.json", _MAX_BYTES), max_bytes=_MAX_BYTES)
    except ValueError:
        note = None
    if (
        isinstance(note, dict)
        and is_digest(note.get("diff_id"))
        and type(note.get("size_bytes")) is int
        and note.get("format") in FORMATS
        and (note.get("blob") is None or is_digest(note["blob"]))
        and isinstance(note.get("media_type"), str)
    ):
        return Layer(
            key,
            directory,
            note["diff_id"],
            note["size_bytes"],
            note["format"],
            note["blob"],
            note["media_type"],
            _content(note),
        )
    raise InvalidState(f"the note of layer '{directory}' is damaged", hint="remove its images and bring them in again")


def _path(directory: str, form: str) -> str:
    return f"{directory}/{'fs' if form == 'tar' else 'image'}"


def _content(note: dict[str, Any]) -> tuple[int, int] | None:
    """Return what a note says that the layer held; notes of before it was counted do not say."""
    names, file_bytes = note.get("names"), note.get("file_bytes")
    return (names, file_bytes) if type(names) is type(file_bytes) is int else None

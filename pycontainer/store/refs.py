"""The records of images: one file a name.

    images/refs/NAME.json            `/` is written %2F
    images/refs/@sha256-HEX.json     an image whose name went to another one

A record has version, name, id (the digest of its OCI config blob), created, size_bytes, config, layers (keys, lowest first),
manifest (digest or null), platform and blobs (digests that save and push need). Older ones lack the last three, and the
version.
"""

import contextlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from typing import TypedDict

from pycontainer import jsontext
from pycontainer.errors import InvalidInput, InvalidState, NotFound, PycontainerError, did_you_mean
from pycontainer.linux.files import write_atomically
from pycontainer.record import Record, check_version, read_own, remove_record
from pycontainer.spec.names import check_image
from pycontainer.store.blobs import is_digest
from pycontainer.store.imageconfig import check_config
from pycontainer.store.layers import is_key
from pycontainer.store.memory import Memory
from pycontainer.store.ociconfig import host_platform
from pycontainer.units import shown

_HINT = "'pycontainer image list' shows what there is; 'pycontainer image import SOURCE NAME' brings one in"
RECORD_VERSION = 1
_MAX_RECORD_BYTES = 4 << 20
_LATEST = ":latest"
_TRANSIT_PREFIX = "pycontainer-in-transit-"
_TRANSIT = re.compile(rf"{_TRANSIT_PREFIX}[0-9a-f]{{12}}", re.ASCII)
_MAX_NAME_BYTES = 200  # with its ending it must fit into a file name
_MIN_ID_DIGITS = 6


class ImageInfo(TypedDict):
    """An image as it is listed."""

    name: str
    id: str
    created: float
    size_bytes: int
    platform: str
    config: dict[str, object]
    damaged: str  # why its record cannot be read; empty: it can


class ImageRecord(TypedDict):
    """An image as it is written."""

    name: str
    id: str
    created: float
    size_bytes: int
    platform: str
    config: dict[str, object]
    layers: list[str]
    manifest: str | None
    blobs: list[str]


def info(record: ImageRecord) -> ImageInfo:
    return {
        "name": record["name"],
        "id": record["id"],
        "created": record["created"],
        "size_bytes": record["size_bytes"],
        "platform": record["platform"],
        "config": record["config"],
        "damaged": "",
    }


def damaged_info(name: str, why: str) -> ImageInfo:
    """Return what is listed of an image whose record cannot be read."""
    return {"name": name, "id": "", "created": 0.0, "size_bytes": 0, "platform": "", "config": {}, "damaged": why}


def check_new_name(name: str) -> None:
    """Refuse a name that no new image can have; InvalidInput."""
    check_image(name)
    if "@" in name or len(name.replace("/", "%2F")) > _MAX_NAME_BYTES:
        raise InvalidInput(
            f"{shown(name)} cannot name a new image", hint="write NAME or NAME:TAG, up to 200 characters"
        )


def check_own_name(name: str) -> str:
    """Return `name` if an image that stays may have it, by the word of a person or an archive; InvalidInput."""
    check_new_name(name)
    if name.startswith(_TRANSIT_PREFIX):
        raise InvalidInput(
            f"{shown(name)} cannot name an image: those go by themselves",
            hint=f"choose a name that does not begin with {_TRANSIT_PREFIX}",
        )
    return name


def new_transit_name() -> str:
    """Return a name for an image that lives for the time of one export or import."""
    return f"{_TRANSIT_PREFIX}{os.urandom(6).hex()}"


def is_transit_name(name: str) -> bool:
    """Tell whether `new_transit_name` made a name: the image goes once nobody works on it."""
    return _TRANSIT.fullmatch(name) is not None


def not_found(reference: str, names: Iterable[str]) -> NotFound:
    """Return what tells of a name or id that no image has; `names` are those that who asks may know of.

    With and without `:latest`, which others add by themselves, are two names here: who gives the one is told of the other.
    """
    there = [name for name in names if not (is_digest(name) or name.startswith(_TRANSIT_PREFIX))]
    twin = reference.removesuffix(_LATEST) if reference.endswith(_LATEST) else reference + _LATEST
    if twin in there:
        return NotFound(f"no image {shown(reference)}", hint=f"there is '{twin}'")
    return NotFound(f"no image {shown(reference)}{did_you_mean(reference, there)}", hint=_HINT)


class Refs:
    """The records of one store. Who writes holds the store's lock (staging.py)."""

    def __init__(self, images_dir: str) -> None:
        self._directory = f"{images_dir}/refs"
        self._memory = Memory[ImageRecord]()

    def read(self, name: str) -> ImageRecord:
        """Return the record of this name; NotFound, and InvalidState for one that is damaged."""
        path = self._path(name)
        try:
            record = self._memory.get(path, lambda: _parse(read_own(path, _MAX_RECORD_BYTES), name))
        except FileNotFoundError as error:
            raise NotFound(f"no image '{name}'", hint=_HINT) from error
        except (OSError, ValueError, InvalidInput) as error:
            raise InvalidState(
                f"the record of image '{name}' is damaged: '{path}': {getattr(error, 'strerror', None) or error}",
                hint=f"import the image again under this name, or remove it: pycontainer image rm {name}",
            ) from error
        return {**record, "config": {**record["config"]}}

    def write(self, record: ImageRecord) -> None:
        path = self._path(record["name"])
        if os.path.isdir(path):  # what no rename replaces
            remove_record(path)
        write_atomically(path, json.dumps({"version": RECORD_VERSION, **record}, indent=1).encode())
        sync_directory(self._directory)

    def remove(self, name: str) -> None:
        """Remove a record, also a damaged one; already gone is success."""
        remove_record(self._path(name))

    def all(self) -> Iterator[ImageRecord]:
        """Yield all records that can be read, in the order of their names."""
        for name in self._names():
            with contextlib.suppress(NotFound, InvalidState):
                yield self.read(name)

    def damaged(self) -> dict[str, PycontainerError]:
        """Return why the records that cannot be read cannot, by the images' names."""
        found: dict[str, PycontainerError] = {}
        for name in self._names():
            try:
                self.read(name)
            except NotFound:
                pass
            except InvalidState as error:
                found[name] = error
        return found

    def count(self) -> int:
        """Return how many there are, damaged ones included."""
        return len(self._files())

    def find(self, reference: str) -> ImageRecord:
        """Return the record with this name, id, or beginning of an id (6 digits at least)."""
        with contextlib.suppress(InvalidInput):
            try:
                return self.read(reference if is_digest(reference) else check_image(reference))
            except NotFound:
                pass
        digits = reference.removeprefix("sha256:")
        matches = {record["id"]: record for record in self.all() if record["id"][7:].startswith(digits)}
        if len(digits) < _MIN_ID_DIGITS or not matches:
            raise not_found(reference, self._names())
        if len(matches) > 1:
            raise InvalidInput(
                f"{shown(reference)} is the beginning of {len(matches)} image ids", hint="give more of it"
            )
        return next(iter(matches.values()))

    def keep_replaced(self, name: str, new_id: str) -> None:
        """Let the image that had this name go on under its id: containers may be made of it."""
        with contextlib.suppress(NotFound, InvalidState):
            old = self.read(name)
            others = (other for other in self.all() if other["name"] != name)
            if old["id"] != new_id and not any(other["id"] == old["id"] for other in others):
                self.write({**old, "name": old["id"]})

    def _path(self, name: str) -> str:
        quoted = f"@{name.replace(':', '-')}" if is_digest(name) else name.replace("/", "%2F")
        return f"{self._directory}/{quoted}.json"

    def _names(self) -> Iterator[str]:
        """Yield the names of all records, damaged ones as well."""
        for file in self._files():
            stem = file.removesuffix(".json")
            yield stem[1:].replace("-", ":") if stem.startswith("@") else stem.replace("%2F", "/")

    def _files(self) -> tuple[str, ...]:
        try:
            return tuple(sorted(name for name in os.listdir(self._directory) if name.endswith(".json")))
        except FileNotFoundError:
            return ()


def _parse(data: bytes, name: str) -> ImageRecord:
    """Return the record in `data`; ValueError or InvalidInput when it is not one."""
    record = Record(jsontext.loads(data, max_bytes=_MAX_RECORD_BYTES))
    if "version" in record:  # the first ones had none
        check_version(record, RECORD_VERSION)
    if record.text("name") != name:
        raise ValueError(f"it is that of {shown(record['name'])}")
    manifest = record.text("manifest") if "manifest" in record and record["manifest"] is not None else None
    blobs = record.texts("blobs") if "blobs" in record else []
    for digest in (record.text("id"), *blobs, *([manifest] if manifest is not None else [])):
        if not is_digest(digest):
            raise ValueError(f"{shown(digest)} is not a digest")
    layers = record.texts("layers")
    if not layers or not all(is_key(layer) for layer in layers):
        raise ValueError(f"field 'layers' holds {shown(layers)}")
    return {
        "name": name,
        "id": record.text("id"),
        "created": record.time("created"),
        "size_bytes": record.integer("size_bytes"),
        "platform": record.text("platform") if "platform" in record else host_platform(),
        "config": check_config(record["config"]),
        "layers": layers,
        "manifest": manifest,
        "blobs": blobs,
    }


def sync_directory(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

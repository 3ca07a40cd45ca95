"""The image store: names that point to configs and read-only, shared layers.

    images/                              0700: set-user-id files in it are out of reach on the host
    ├── lock                             staging.py
    ├── refs/NAME.json                   refs.py
    ├── blobs/sha256/HEX                 blobs.py
    ├── layers/sha256-HEX/               layers.py
    └── staging/                         staging.py; imports.py says how an image comes in

An image becomes visible by one rename, when all that it needs is complete and on the disk. Nothing is counted: what a record
needs stays, what none needs is garbage, and goes with the next `remove` or `prune`.
"""

import os
from collections.abc import Iterator, Sequence, Set
from typing import Any

from pycontainer.errors import InvalidState, PycontainerError
from pycontainer.failpoints import reach
from pycontainer.paths import HostPaths
from pycontainer.store.blobs import Blobs, is_digest
from pycontainer.store.layers import Layer, is_key, read_layer
from pycontainer.store.ociconfig import MAX_BYTES, make_config
from pycontainer.store.refs import ImageInfo, ImageRecord, Refs, check_new_name, damaged_info, info
from pycontainer.store.staging import Doomed, Staging, remove_all


class Image:
    """What a container is made of. `layers` are lowest first, and so are `layer_dirs`: absolute, what each is mounted from.

    An entry of `layer_dirs` is a directory, or the file of a file system (`Layer.format`).
    """

    __slots__ = ("config", "created", "id", "layers", "manifest", "name", "platform")

    def __init__(self, record: ImageRecord, layers: tuple[Layer, ...]) -> None:
        self.name, self.id, self.config = record["name"], record["id"], record["config"]
        self.manifest, self.platform, self.created = record["manifest"], record["platform"], record["created"]
        self.layers = layers

    @property
    def layer_dirs(self) -> tuple[str, ...]:
        return tuple(layer.path for layer in self.layers)


class ImageStore:
    """The images of one world. Several processes may use it at once."""

    def __init__(self, paths: HostPaths) -> None:
        self.directory = paths.images_dir
        self.refs, self.blobs, self.staging = Refs(self.directory), Blobs(self.directory), Staging(self.directory)

    def get(self, reference: str) -> Image:
        """Return the image with this name, id, or beginning of an id (6 digits at least).

        Raises NotFound, and InvalidState when its files are gone or damaged.
        """
        record = self.refs.find(reference)
        layers = tuple(read_layer(self.layers_dir, key) for key in record["layers"])
        for layer in layers:
            if not layer.exists():
                raise InvalidState(
                    f"image '{record['name']}' is damaged: '{layer.path}' is gone", hint="remove it and import it again"
                )
        return Image(record, layers)

    def config_blob(self, image: Image) -> bytes:
        """Return the OCI config of an image; for one of before there were blobs it is made now."""
        if self.blobs.has(image.id):
            return self.blobs.read(image.id, MAX_BYTES)
        return make_config(image.config, [layer.diff_id for layer in image.layers], platform=image.platform)

    def list(self) -> list[ImageInfo]:
        """Return all images by name; of one whose record cannot be read the name and why."""
        broken = [damaged_info(name, error.message) for name, error in self.damaged().items()]
        return sorted([*map(info, self.refs.all()), *broken], key=lambda image: image["name"])

    def damaged(self) -> dict[str, PycontainerError]:
        """Return why the records that cannot be read cannot, by the images' names."""
        return self.refs.damaged()

    def inspect(self, reference: str) -> dict[str, Any]:
        """Return all that is known of an image: its record, its other names, its layers and what holds them."""
        image = self.get(reference)
        names = [other["name"] for other in self.refs.all() if other["id"] == image.id and not is_digest(other["name"])]
        record = self.refs.read(image.name)
        return {
            **info(record),
            "names": names,
            "manifest": image.manifest,
            "layers": [
                {
                    "diff_id": layer.diff_id,
                    "size_bytes": layer.size_bytes,
                    "format": layer.format,
                    "blob": layer.blob,
                    "media_type": layer.media_type,
                    "path": layer.path,
                }
                for layer in image.layers
            ],
        }

    def tag(self, reference: str, name: str) -> ImageInfo:
        """Give an image one more name; if another image has it, that one loses it. Raises NotFound, InvalidInput."""
        check_new_name(name)
        with self.staging.locked():
            record = self.refs.find(reference)
            tagged: ImageRecord = {**record, "name": name}
            self.refs.keep_replaced(name, record["id"])
            self.refs.write(tagged)
            if is_digest(record["name"]):  # it had lost its name, and has one again
                self.refs.remove(record["name"])
        return info(tagged)

    def remove(self, reference: str, in_use: Set[str]) -> None:
        """Remove a name, and what no other image needs; may take long. Raises as `retire` does."""
        remove_all(self.retire(reference, in_use))

    def retire(self, reference: str, in_use: Set[str]) -> tuple[Doomed, ...]:
        """Remove a name, and take what no other image needs out of sight; return that, for the caller to remove.

        `in_use` holds the ids that containers are made of; who asks sees to it that none is created meanwhile. Raises
        NotFound; InvalidState when a container needs this image.
        """
        try:
            self.refs.find(reference)
        except InvalidState:  # its layers go with the next removal that finds nobody who needs them
            with self.staging.locked():
                self.refs.remove(reference)
            return ()
        with self.staging.locked():
            record = self.refs.find(reference)
            others = [other for other in self.refs.all() if other["name"] != record["name"]]
            if record["id"] in in_use and not any(other["id"] == record["id"] for other in others):
                raise InvalidState(
                    f"image '{record['name']}' is used by containers", hint="remove them first: pycontainer rm NAME"
                )
            self.refs.remove(record["name"])
            reach("image-rm:unnamed")
            self._drop_unnamed(in_use)
            doomed = self._sweep(in_use)
            reach("image-rm:retired")
            return doomed

    def prune(self, in_use: Set[str], *, unused: bool = False) -> tuple[ImageInfo, ...]:
        """Remove images without a name that no container needs, with `unused` also named ones; return those.

        What imports left that were killed, and what no image needs, goes as well; may take long.
        """
        removed, doomed = self.retire_unneeded(in_use, unused=unused)
        remove_all(doomed)
        return removed

    def retire_unneeded(
        self, in_use: Set[str], *, unused: bool = False
    ) -> tuple[tuple[ImageInfo, ...], tuple[Doomed, ...]]:
        """Take out of sight what `prune` removes; return the images that went, and what the caller is to remove."""
        removed = []
        if not os.path.isdir(self.directory):
            return (), ()
        with self.staging.locked():
            for record in [*self.refs.all()]:
                if record["id"] not in in_use and (unused or is_digest(record["name"])):
                    self.refs.remove(record["name"])
                    removed.append(info(record))
            doomed = (*self.staging.left_over(), *self._sweep(in_use))
        return tuple(removed), doomed

    def remove_left_over(self, in_use: Set[str] | None = None) -> None:
        """Remove what imports left that did not live to their end; with `in_use` also what no image needs.

        No record goes, so what a container is created of meanwhile stays.
        """
        remove_all(self.retire_left_over(in_use))

    def retire_left_over(self, in_use: Set[str] | None = None) -> tuple[Doomed, ...]:
        """Take out of sight what `remove_left_over` removes; return it, for the caller to remove."""
        if not os.path.isdir(self.staging.directory):
            return ()
        with self.staging.locked():
            doomed = self.staging.left_over()
            if in_use is not None:
                doomed += self._sweep(in_use)
        return tuple(doomed)

    @property
    def layers_dir(self) -> str:
        return f"{self.directory}/layers"

    def make_directories(self) -> None:
        """Make what a store consists of, closed to all others."""
        for directory in ("", "/refs", "/layers", "/staging", "/blobs", "/blobs/sha256"):
            os.makedirs(self.directory + directory, 0o700, exist_ok=True)
            os.chmod(self.directory + directory, 0o700)

    def needed(self, records: Sequence[ImageRecord]) -> tuple[set[str], set[str]]:
        """Return the keys of layers and the digests of blobs that records and imports at work need; the lock is held."""
        pins = self.staging.pins()
        layers = {key for record in records for key in record["layers"]} | {pin for pin in pins if is_key(pin)}
        blobs = {pin for pin in pins if is_digest(pin)}
        for record in records:
            blobs.update(filter(None, [record["id"], record["manifest"], *record["blobs"]]))
        for key in layers:
            try:
                blob = read_layer(self.layers_dir, key).blob
            except InvalidState:
                continue
            if blob is not None:
                blobs.add(blob)
        return layers, blobs

    def are_all(self, records: Sequence[ImageRecord], in_use: Set[str]) -> bool:
        """Tell whether `records` are all that there are: none is damaged, none of a container's image is lost."""
        return len(records) == self.refs.count() and in_use <= {record["id"] for record in records}

    def _drop_unnamed(self, in_use: Set[str]) -> None:
        """Remove the records of images that lost their name and that no container holds. The lock is held."""
        for record in [*self.refs.all()]:
            if is_digest(record["name"]) and record["id"] not in in_use:
                self.refs.remove(record["name"])

    def _sweep(self, in_use: Set[str]) -> tuple[Doomed, ...]:
        """Take what nobody needs out of sight; return where it lies now, each locked, to be removed. The lock is held.

        While a record is damaged, or gone though a container needs its image, nobody knows whose layers they are: all stay.
        """
        kept = [*self.refs.all()]
        if not self.are_all(kept, in_use):
            return ()
        layers, blobs = self.needed(kept)
        unneeded = [f"{self.layers_dir}/{key}" for key in self._layer_entries() if key not in layers]
        unneeded += [self.blobs.path(digest) for digest in self.blobs.all() - blobs]
        return (self.staging.retire(*unneeded),) if unneeded else ()

    def _layer_entries(self) -> Iterator[str]:
        try:
            yield from os.listdir(self.layers_dir)
        except FileNotFoundError:
            return

"""How an image comes into the store.

    with importing(store) as work:
        work.layer(key)            a layer that is there already, and stays until the import is over; or None
        work.new_layer()           an empty directory to unpack one into
        work.add_layer(...)        which makes it a layer of the store
        work.blobs_dir             where blobs are staged (blobs.stage_copy)
        work.publish(...)          everything to the disk, then the name

A layer counts as there when an image or an import at work has it. One that nobody has may be what a power cut left of one: it
is removed and made anew. An import that fails leaves the store as it was; one that is killed leaves no image, and what it
unpacked goes with the next import or removal.
"""

import contextlib
import errno
import os
import time
from collections.abc import Iterator, Sequence, Set

from pycontainer.failpoints import reach
from pycontainer.linux.files import remove_tree, syncfs
from pycontainer.store.blobs import is_digest, stage_bytes
from pycontainer.store.imageconfig import check_config
from pycontainer.store.images import ImageStore
from pycontainer.store.layers import Layer, plain_key, read_layer, settled_key, write_layer
from pycontainer.store.refs import ImageInfo, ImageRecord, check_new_name, info, sync_directory
from pycontainer.store.staging import Doomed, remove_all


class Import:
    """One import at work; made by `importing`."""

    def __init__(self, store: ImageStore, directory: str, in_use: Set[str]) -> None:
        self.store, self.directory, self._in_use = store, directory, in_use
        self.blobs_dir = f"{directory}/blobs"
        self._count = 0

    def layer(self, key: str) -> Layer | None:
        """Return a layer of the store that is sound, None when it has to be made."""
        doomed: list[Doomed] = []
        with self.store.staging.locked():
            path = f"{self.store.layers_dir}/{key}"
            if os.path.isdir(path):
                records = [*self.store.refs.all()]
                found = read_layer(self.store.layers_dir, key)
                if found.exists() and (
                    key in self.store.needed(records)[0] or not self.store.are_all(records, self._in_use)
                ):
                    self._pin(key)
                    return found
                doomed = [self.store.staging.retire(path)]
        remove_all(doomed)
        return None

    def layer_of_blob(self, blob: str) -> Layer | None:
        """Return a lowest layer of the store that was unpacked from this blob, whatever image it belongs to."""
        with self.store.staging.locked():
            for key in self.store.needed([*self.store.refs.all()])[0]:
                found = read_layer(self.store.layers_dir, key)
                if (
                    found.blob == blob
                    and found.exists()
                    and key
                    in (
                        plain_key(found.diff_id),
                        settled_key(found.diff_id, ()),
                    )
                ):
                    self._pin(key)
                    return found
        return None

    def has_blob(self, digest: str) -> bool:
        """Tell whether the store has this blob, sound; then it stays until the import is over."""
        with self.store.staging.locked():
            if not self.store.blobs.has(digest):
                return False
            if digest not in self.store.needed([*self.store.refs.all()])[1]:
                return False  # perhaps what a power cut left; a sound copy takes its place
            self._pin(digest)
            return True

    def new_layer(self) -> str:
        """Return a new directory for a layer, with an empty `fs` in it, 0755."""
        self._count += 1
        path = f"{self.directory}/layers/{self._count}"
        os.makedirs(f"{path}/fs", 0o755)
        os.chmod(f"{path}/fs", 0o755)
        os.chmod(path, 0o700)
        reach("image:staged")
        return path

    def add_layer(
        self, path: str, key: str, *, diff_id: str, size_bytes: int, form: str, blob: str | None, media_type: str
    ) -> Layer:
        """Make the directory that `new_layer` gave a layer of the store. If another import was faster, it keeps its own."""
        write_layer(path, diff_id=diff_id, size_bytes=size_bytes, form=form, blob=blob, media_type=media_type)
        if (found := self.layer(key)) is None:
            with self.store.staging.locked():
                self._pin(key)
                _rename_directory(path, f"{self.store.layers_dir}/{key}")
            reach("image:layer")
            found = read_layer(self.store.layers_dir, key)
        remove_tree(path)
        return found

    def publish(
        self,
        name: str,
        config_blob: bytes,
        config: dict[str, object],
        layers: Sequence[Layer],
        *,
        platform: str,
        manifest: str | None = None,
        blobs: Sequence[str] = (),
    ) -> ImageInfo:
        """Make an image of layers, lowest first, visible under `name`, which it takes from another one if need be.

        `config` is the config blob in our form. `manifest` and `blobs`, digests of what save and push need besides the
        config and the layers' own blobs, are staged or in the store.
        """
        check_new_name(name)
        record: ImageRecord = {
            "name": name,
            "id": stage_bytes(config_blob, self.blobs_dir),
            "created": round(time.time(), 3),
            "size_bytes": sum(layer.size_bytes for layer in layers),
            "platform": platform,
            "config": check_config(config),
            "layers": [layer.key for layer in layers],
            "manifest": manifest,
            "blobs": sorted({*blobs}),
        }
        _sync_filesystem_of(self.directory)
        store = self.store
        with store.staging.locked():
            for hex_digits in os.listdir(self.blobs_dir):
                if is_digest(f"sha256:{hex_digits}"):
                    # Another image of the same import may need it as well: it moves once, and is pinned from then on.
                    self._pin(f"sha256:{hex_digits}")
                    os.rename(f"{self.blobs_dir}/{hex_digits}", store.blobs.path(f"sha256:{hex_digits}"))
            for directory in (store.layers_dir, store.blobs.directory):
                sync_directory(directory)
            reach("image:blobs")
            store.refs.keep_replaced(name, record["id"])
            store.refs.write(record)
            reach("image:named")
        return info(record)

    def _pin(self, name: str) -> None:
        with open(f"{self.directory}/pins/{name}", "wb"):
            pass


@contextlib.contextmanager
def importing(store: ImageStore, in_use: Set[str] | None = None) -> Iterator[Import]:
    """Begin an import; what is staged and not published goes at the end, and what a failed one has unpacked as well.

    `in_use` holds the ids that containers are made of: should the record of one be lost, no layer is taken for garbage.
    Without it nobody knows, and only what is staged is cleaned up.
    """
    store.make_directories()
    store.remove_left_over(in_use)
    try:
        with store.staging.opened() as directory:
            yield Import(store, directory, in_use or frozenset())
    except BaseException as error:
        try:
            store.remove_left_over(in_use)
        except OSError as other:
            error.add_note(f"what it left in the store goes with the next import: {other}")
        raise


def _rename_directory(source: str, target: str) -> None:
    """Rename a directory to a place that is free. If another import was faster, it has the same content."""
    try:
        os.rename(source, target)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise


def _sync_filesystem_of(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        syncfs(fd)
    finally:
        os.close(fd)

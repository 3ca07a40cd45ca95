"""Images of the store on their way out: as they came where their blobs are there, else packed anew.

What was kept (manifest, config, compressed layers) goes out byte for byte. A layer that came as a directory, or compressed in
a way that no OCI layer may be, has no blob, and a file system is nobody else's layer: these are packed (layerpack.py), and
the image that goes out has a config of its own if that gives the layer another diff_id. Equal stores give equal bytes.
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence, Set
from typing import Protocol

from pycontainer import jsontext
from pycontainer.errors import InvalidInput, InvalidState
from pycontainer.store.archive import CONFIG_TYPE, MANIFEST_TYPE, Content, Descriptor, OutImage, make_manifest
from pycontainer.store.blobs import digest_of, is_digest
from pycontainer.store.images import Image, ImageStore
from pycontainer.store.imports import Import, importing
from pycontainer.store.layerpack import MEDIA_TYPE, LayerBlob
from pycontainer.store.layers import Layer
from pycontainer.store.manifests import MAX_BYTES, parse_manifest
from pycontainer.store.ociconfig import make_config


class Pack(Protocol):
    """Packs a directory into an open file as a compressed layer; also says what was left out (runtime/importer.py)."""

    def __call__(self, tree: str, blob_fd: int, /, *, is_upper: bool = False) -> tuple[LayerBlob, list[str]]: ...


@contextlib.contextmanager
def collected(
    store: ImageStore, references: Sequence[str], pack: Pack, *, in_use: Set[str] = frozenset()
) -> Iterator[Content]:
    """Give what `archive.write` writes of these images; what had to be packed for it goes at the end.

    `in_use` holds the ids that containers are made of. Raises NotFound, and InvalidState for an image that is damaged.
    """
    with importing(store, in_use) as work:
        blobs: dict[str, bytes | str] = {}
        packed: dict[str, tuple[Descriptor, str]] = {}
        images = [_collected(work, store.get(reference), pack, blobs, packed) for reference in references]
        yield Content(images, blobs)


def _collected(
    work: Import,
    image: Image,
    pack: Pack,
    blobs: dict[str, bytes | str],
    packed: dict[str, tuple[Descriptor, str]],
) -> OutImage:
    name = "" if is_digest(image.name) else image.name
    config_data = work.store.config_blob(image)
    out = _as_it_came(work, image, name)
    if out is None:
        described = [_described(work, layer, pack, packed) for layer in image.layers]
        diff_ids = [diff_id for _, diff_id in described]
        if diff_ids != [layer.diff_id for layer in image.layers]:
            config_data = make_config(image.config, diff_ids, platform=image.platform, base=config_data)
        config = Descriptor(CONFIG_TYPE, digest_of(config_data), len(config_data))
        layers = tuple(descriptor for descriptor, _ in described)
        out = OutImage(name, make_manifest(config, layers), config, layers)
    blobs[out.config.digest] = config_data
    blobs[digest_of(out.manifest)] = out.manifest
    for layer in out.layers:
        blobs[layer.digest] = _place(work, layer.digest)
    return out


def _as_it_came(work: Import, image: Image, name: str) -> OutImage | None:
    """Return the image with the manifest that it came with, None when that or one of its blobs is not there."""
    if image.manifest is None or not work.has_blob(image.manifest):
        return None
    data = work.store.blobs.read(image.manifest, MAX_BYTES)
    try:
        found = parse_manifest(data, f"manifest {image.manifest}")
        is_oci = jsontext.loads(data, max_bytes=MAX_BYTES).get("mediaType", MANIFEST_TYPE) == MANIFEST_TYPE
    except InvalidInput as error:
        raise InvalidState(error.message, hint="bring the image in again") from error
    config, *layers = (Descriptor(one.media_type, one.digest, one.size_bytes) for one in (found.config, *found.layers))
    if not is_oci or config.digest != image.id or not _are_there(work, layers):
        return None
    return OutImage(name, data, config, tuple(layers))


def _are_there(work: Import, layers: Sequence[Descriptor]) -> bool:
    return all(work.has_blob(layer.digest) for layer in layers)


def _described(
    work: Import, layer: Layer, pack: Pack, packed: dict[str, tuple[Descriptor, str]]
) -> tuple[Descriptor, str]:
    """Return the blob of a layer, and its diff_id as that blob has it."""
    if layer.format == "tar" and layer.blob is not None and work.has_blob(layer.blob):
        return Descriptor(layer.media_type, layer.blob, work.store.blobs.size_bytes(layer.blob)), layer.diff_id
    if layer.key not in packed:
        if work.layer(layer.key) is None:
            raise InvalidState(f"layer {layer.diff_id} is gone", hint="bring the image in again")
        made, _ = pack_blob(work, lambda fd: pack(layer.path, fd, is_upper=layer.format == "tar"))
        packed[layer.key] = Descriptor(MEDIA_TYPE, f"sha256:{made.digest}", made.size_bytes), f"sha256:{made.diff_id}"
    return packed[layer.key]


def pack_blob(work: Import, pack: Callable[[int], tuple[LayerBlob, list[str]]]) -> tuple[LayerBlob, list[str]]:
    """Have a layer packed into a staged blob, open for `pack`; return its digests, and what was left out."""
    temporary = f"{work.blobs_dir}/{os.urandom(8).hex()}.new"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        made, left_out = pack(fd)
        os.rename(temporary, f"{work.blobs_dir}/{made.digest}")
    finally:
        os.close(fd)
    return made, left_out


def _place(work: Import, digest: str) -> str:
    staged = f"{work.blobs_dir}/{digest[7:]}"
    return staged if os.path.exists(staged) else work.store.blobs.path(digest)

"""OCI indexes and manifests, and Docker's of the same shape: hostile JSON, read strictly.

    index       {"schemaVersion": 2, "manifests": [descriptor with platform and annotations]}
    manifest    {"schemaVersion": 2, "config": descriptor, "layers": [descriptor]}
    descriptor  {"mediaType", "digest", "size"}

A document that could be read as either is refused (CVE-2021-41190). Source: OCI image-spec.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from pycontainer import jsontext
from pycontainer.errors import InvalidInput
from pycontainer.store.blobs import digest_hex
from pycontainer.store.ociconfig import MAX_LAYERS, platform_of
from pycontainer.units import shown

MAX_BYTES = 4 << 20
MAX_MANIFESTS = 1000
_OCI, _DOCKER = "application/vnd.oci.image.", "application/vnd.docker."
INDEX_TYPES = (f"{_OCI}index.v1+json", f"{_DOCKER}distribution.manifest.list.v2+json")
MANIFEST_TYPES = (f"{_OCI}manifest.v1+json", f"{_DOCKER}distribution.manifest.v2+json")
CONFIG_TYPES = (f"{_OCI}config.v1+json", f"{_DOCKER}container.image.v1+json")
_LAYER_FORMS = {
    f"{_OCI}layer.v1.tar": ("", "+gzip", "+zstd"),
    f"{_OCI}layer.nondistributable.v1.tar": ("", "+gzip", "+zstd"),
    f"{_DOCKER}image.rootfs.diff.tar": ("", ".gzip", ".zstd"),
    f"{_DOCKER}image.rootfs.foreign.diff.tar": ("", ".gzip", ".zstd"),
}
LAYER_TYPES = frozenset(kind + ending for kind, endings in _LAYER_FORMS.items() for ending in endings)


class Descriptor(NamedTuple):
    """What points to a blob. `platform` is os/architecture[/variant], empty where it was not said."""

    media_type: str
    digest: str
    size_bytes: int
    platform: str
    annotations: dict[str, str]


class Manifest(NamedTuple):
    config: Descriptor
    layers: tuple[Descriptor, ...]


def parse_index(data: bytes, name: str) -> tuple[Descriptor, ...]:
    """Return what an index points to; InvalidInput, naming it, when it is none."""
    document = _document(data, name)
    manifests = document.get("manifests")
    if not isinstance(manifests, list) or "layers" in document or "config" in document:
        raise InvalidInput(f"{name} is no index of images")
    if len(manifests) > MAX_MANIFESTS:
        raise InvalidInput(f"{name} names {len(manifests)} images, more than {MAX_MANIFESTS}")
    return tuple(_descriptor(value, name) for value in manifests)


def parse_manifest(data: bytes, name: str) -> Manifest:
    """Return what a manifest says; InvalidInput, naming it, when it is none, or not that of a Linux image."""
    document = _document(data, name)
    layers = document.get("layers")
    if not isinstance(layers, list) or "manifests" in document or "fsLayers" in document:
        raise InvalidInput(f"{name} is no manifest of an image")
    if "config" not in document:
        raise InvalidInput(f"{name} names no config")
    config = _descriptor(document["config"], name)
    if config.media_type not in CONFIG_TYPES:
        raise InvalidInput(f"{name} is no manifest of an image: its config is {shown(config.media_type)}")
    if not 0 < len(layers) <= MAX_LAYERS:
        raise InvalidInput(f"{name} has {len(layers)} layers, not 1 to {MAX_LAYERS}")
    found = tuple(_descriptor(value, name) for value in layers)
    for layer in found:
        if layer.media_type not in LAYER_TYPES:
            raise InvalidInput(
                f"layer blob {layer.digest} has the unknown media type {shown(layer.media_type)}",
                hint="layers are tar archives, plain or compressed with gzip or zstd",
            )
    return Manifest(config, found)


def _document(data: bytes, name: str) -> Mapping[str, Any]:
    try:
        document = jsontext.loads(data, max_bytes=MAX_BYTES)
    except ValueError as error:
        raise InvalidInput(f"{name} is damaged: {error}") from error
    if not isinstance(document, dict):
        raise InvalidInput(f"{name} is damaged: it is not an object")
    version = document.get("schemaVersion")
    if type(version) is not int or version != 2:
        raise InvalidInput(f"{name} has the unknown schemaVersion {shown(version)}")
    return document


def _descriptor(value: object, name: str) -> Descriptor:
    if not isinstance(value, dict):
        raise InvalidInput(f"{name} is damaged: {shown(value)} is not a descriptor")
    media_type, size, annotations = value.get("mediaType"), value.get("size"), value.get("annotations")
    digest = value.get("digest")
    digest_hex(digest, f"a digest in {name}")
    if not isinstance(media_type, str):
        raise InvalidInput(f"{name} is damaged: {digest} has no mediaType")
    if type(size) is not int or not 0 <= size < 1 << 62:
        raise InvalidInput(f"{name} is damaged: {shown(size)} is not the size of {digest}")
    if annotations is None:
        annotations = {}
    if not isinstance(annotations, dict) or not all(isinstance(text, str) for text in annotations.values()):
        raise InvalidInput(f"{name} is damaged: the annotations of {digest} are not text")
    return Descriptor(media_type, str(digest), size, _platform(value.get("platform"), name), annotations)


def _platform(value: object, name: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, dict):
        raise InvalidInput(f"{name} is damaged: {shown(value)} is not a platform")
    try:
        return platform_of(value)
    except ValueError as error:
        raise InvalidInput(f"{name} is damaged: {error} in {shown(value)}") from error

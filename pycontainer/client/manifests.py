"""What registries say of images: indexes and manifests of OCI and Docker, read strictly, from whoever answers there."""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from pycontainer import jsontext
from pycontainer.client.skopeo import Reference
from pycontainer.errors import InvalidInput, Unsupported
from pycontainer.units import shown

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
_DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
_OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
_MEDIA_TYPES = {  # of Docker's manifests, and what OCI calls them
    "application/vnd.docker.container.image.v1+json": "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.image.rootfs.diff.tar": _OCI_LAYER,
    "application/vnd.docker.image.rootfs.diff.tar.gzip": f"{_OCI_LAYER}+gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd": f"{_OCI_LAYER}+zstd",
}
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}  # of uname(2), of Go
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)
_MAX_MANIFEST_BYTES = 8 << 20
_MAX_LAYERS = 500
_MAX_LAYER_BYTES = 1 << 40


class Descriptor(NamedTuple):
    """What a manifest says of a blob."""

    media_type: str
    digest: str
    size_bytes: int

    @property
    def hex(self) -> str:
        return self.digest.removeprefix("sha256:")


class Manifest(NamedTuple):
    """One image's manifest, as OCI has it; `source_digest` is what the registry calls it."""

    data: bytes
    source_digest: str
    config: Descriptor
    layers: tuple[Descriptor, ...]


def _kind(value: Mapping[str, Any]) -> str:
    """Return what kind of manifest it is; OCI's need not say it themselves."""
    said = value.get("mediaType")
    if isinstance(said, str) and said:
        return said
    return OCI_INDEX if "manifests" in value else OCI_MANIFEST


def is_index(value: Mapping[str, Any]) -> bool:
    """Tell whether it lists images for several machines."""
    return _kind(value) in (OCI_INDEX, _DOCKER_LIST)


def chosen(value: Mapping[str, Any], reference: Reference) -> str:
    """Return the digest of the image for this machine in an index."""
    entries = value.get("manifests")
    if not isinstance(entries, list):
        raise InvalidInput(f"the index of '{reference}' lists no images")
    offered = []
    for entry in entries:
        platform = entry.get("platform") if isinstance(entry, dict) else None
        if not isinstance(platform, dict):
            continue
        system, machine, variant = (platform.get(key) or "" for key in ("os", "architecture", "variant"))
        if (system, machine) == ("linux", architecture()) and variant in ("", "v8"):  # of arm64 there is but v8
            return _checked_digest(entry.get("digest"), reference)
        offered.append("/".join(str(part) for part in (system, machine, variant) if part))
    raise wrong_machine(reference, ", ".join(sorted({one for one in offered if "unknown" not in one})) or "nothing")


def manifest_of(value: Mapping[str, Any], data: bytes, digest: str, reference: Reference) -> Manifest:
    """Return what the manifest `data`, parsed, says, in OCI's form; `digest` is what the registry calls it."""
    kind = _kind(value)
    if kind not in (OCI_MANIFEST, _DOCKER_MANIFEST):
        raise Unsupported(
            f"'{reference}' has a manifest of type {shown(kind)}, not one of an OCI image",
            hint="'skopeo copy' may translate it into an archive for 'pycontainer image load'",
            feature="manifest",
        )
    layers = value.get("layers")
    if not isinstance(layers, list) or not 0 < len(layers) <= _MAX_LAYERS:
        raise InvalidInput(f"the manifest of '{reference}' does not list 1 to {_MAX_LAYERS} layers")
    config, *described = (_descriptor(one, reference) for one in (value.get("config"), *layers))
    if kind == OCI_MANIFEST:
        return Manifest(data, digest, config, tuple(described))
    config, *described = (one._replace(media_type=_translated(one, reference)) for one in (config, *described))
    translated = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": written(config)}
    translated["layers"] = [written(layer) for layer in described]
    return Manifest(to_json(translated), digest, config, tuple(described))


def _translated(descriptor: Descriptor, reference: Reference) -> str:
    found = _MEDIA_TYPES.get(descriptor.media_type)
    if found is None:
        raise Unsupported(
            f"blob {descriptor.digest} of '{reference}' is of type {shown(descriptor.media_type)}, which is no layer here",
            feature="media type",
        )
    return found


def _descriptor(value: object, reference: Reference) -> Descriptor:
    if not isinstance(value, dict):
        raise InvalidInput(f"the manifest of '{reference}' is damaged")
    kind, size = value.get("mediaType"), value.get("size")
    if not isinstance(kind, str) or type(size) is not int or not 0 <= size <= _MAX_LAYER_BYTES:
        raise InvalidInput(f"the manifest of '{reference}' does not say what its blobs are, and how large")
    return Descriptor(kind, _checked_digest(value.get("digest"), reference), size)


def _checked_digest(value: object, reference: Reference) -> str:
    if not isinstance(value, str) or not _DIGEST.fullmatch(value):
        raise InvalidInput(f"the manifest of '{reference}' names {shown(value)}, which is no digest with sha256")
    return value


def wrong_machine(reference: Reference, offered: str) -> InvalidInput:
    """Return the error for an image that is for other machines."""
    return InvalidInput(
        f"'{reference}' is for {offered}, and this machine is linux/{architecture()}",
        hint="look for a tag that has an image for this machine",
    )


def architecture() -> str:
    """Return this machine's name among Go's."""
    machine = os.uname().machine
    return _ARCHITECTURES.get(machine, machine)


def written(descriptor: Descriptor) -> dict[str, object]:
    return {"mediaType": descriptor.media_type, "digest": descriptor.digest, "size": descriptor.size_bytes}


def to_json(value: Mapping[str, object]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def parsed(data: bytes, reference: Reference) -> Mapping[str, Any]:
    """Return the object that a registry sent; InvalidInput for what is none, or can be read in two ways."""
    try:
        value = jsontext.loads(data, max_bytes=_MAX_MANIFEST_BYTES)
    except ValueError as error:
        raise InvalidInput(f"the registry's answer for '{reference}' is damaged: {error}") from error
    if not isinstance(value, dict):
        raise InvalidInput(f"the registry's answer for '{reference}' is no manifest and no config")
    if "manifests" in value and ("layers" in value or "config" in value):  # CVE-2021-41190
        raise InvalidInput(f"the registry's answer for '{reference}' is an index and a manifest at once")
    return value


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"

"""Docker archives, as `docker save` and `skopeo copy ... docker-archive:` write them.

    manifest.json       [{"Config": "HEX.json", "RepoTags": ["name:tag"] or null, "Layers": ["HEX/layer.tar", ...]}]

There is no digest of a layer but the diff_id in the config, so that is what its content is held against.
"""

from typing import TypeGuard

from pycontainer import jsontext
from pycontainer.errors import InvalidInput, Unsupported
from pycontainer.store.archivefiles import Files, read_all
from pycontainer.store.blobs import digest_of
from pycontainer.store.bundles import Bundle, Part, is_for
from pycontainer.store.ociconfig import MAX_BYTES, MAX_LAYERS, parse_config
from pycontainer.units import shown

_MAX_IMAGES = 1000


def is_archive(files: Files) -> bool:
    return files.find("manifest.json") is not None


def read_archive(files: Files, platform: str) -> list[Bundle]:
    """Return the images of an archive, once for each of their names. Raises InvalidInput, Unsupported."""
    try:
        document = jsontext.loads(read_all(files, "manifest.json", MAX_BYTES) or b"", max_bytes=MAX_BYTES)
    except ValueError as error:
        raise InvalidInput(f"manifest.json is damaged: {error}") from error
    if not isinstance(document, list) or not 0 < len(document) <= _MAX_IMAGES:
        raise InvalidInput("manifest.json is damaged: it is no list of images")
    return [bundle for entry in document for bundle in _bundles(files, entry, platform)]


def _bundles(files: Files, entry: object, platform: str) -> list[Bundle]:
    if not isinstance(entry, dict):
        raise InvalidInput(f"manifest.json is damaged: {shown(entry)} is no image")
    config_name, tags, layers = entry.get("Config"), entry.get("RepoTags"), entry.get("Layers")
    if not isinstance(config_name, str) or not _are_texts(layers) or not (tags is None or _are_texts(tags)):
        raise InvalidInput("manifest.json is damaged: Config, RepoTags and Layers are not text")
    if not 0 < len(layers) <= MAX_LAYERS:
        raise InvalidInput(f"manifest.json names {len(layers)} layers, not 1 to {MAX_LAYERS}")
    config = read_all(files, config_name, MAX_BYTES)
    if config is None:
        raise InvalidInput(f"config {shown(config_name)} is missing", hint="save the whole image once more")
    digest = digest_of(config)
    found = parse_config(config, digest)
    if not is_for(found.platform, platform):
        raise Unsupported(
            f"image {shown((tags or [config_name])[0])} is for {found.platform}, not for {platform}",
            hint=f"give --platform {found.platform} to bring it in nevertheless",
            feature="platform",
        )
    if len(layers) != len(found.diff_ids):
        raise InvalidInput(f"config {digest} has {len(found.diff_ids)} layers, manifest.json {len(layers)}")
    parts = []
    for layer, diff_id in zip(layers, found.diff_ids, strict=True):
        place = files.find(layer)
        if place is None:
            raise InvalidInput(f"layer {shown(layer)} ({diff_id}) is missing", hint="save the whole image once more")
        parts.append(Part(place, None, place.size_bytes, ""))
    return [Bundle(tag, config, digest, None, tuple(parts)) for tag in tags or [""]]


def _are_texts(value: object) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)

"""OCI image layouts: oci-layout, index.json, blobs/sha256/HEX. Source: OCI image-spec, image-layout.md.

An index may point to further indexes, one manifest a platform. Of each image one is taken: that of this host, or of the
platform that was asked for.
"""

from collections.abc import Iterator, Mapping

from pycontainer import jsontext
from pycontainer.errors import InvalidInput, Unsupported
from pycontainer.store.archive import full_name
from pycontainer.store.archivefiles import Files, Place, read_all
from pycontainer.store.blobs import digest_hex, digest_of
from pycontainer.store.bundles import Bundle, Part, is_for
from pycontainer.store.manifests import (
    INDEX_TYPES,
    MANIFEST_TYPES,
    MAX_BYTES,
    MAX_MANIFESTS,
    Descriptor,
    parse_index,
    parse_manifest,
)
from pycontainer.store.ociconfig import parse_config
from pycontainer.units import shown

_MAX_DEPTH = 3
_MAX_DOCUMENT_BYTES = 16 * MAX_BYTES  # a thousand images of usual size have some 15 MB
_WHOLE_NAME, _NAME = "io.containerd.image.name", "org.opencontainers.image.ref.name"


def is_layout(files: Files) -> bool:
    return files.find("oci-layout") is not None and files.find("index.json") is not None


def read_layout(files: Files, platform: str) -> list[Bundle]:
    """Return the images of a layout that are for `platform`.

    Raises InvalidInput for what is damaged, and Unsupported when an image is for other platforms only.
    """
    version = _version(files)
    if version.split(".")[0] != "1":
        raise Unsupported(f"the image layout has version {shown(version)}, this reads 1.0.0", feature="oci-layout")
    index = read_all(files, "index.json", MAX_BYTES)
    descriptors = parse_index(index or b"", "index.json")
    by_name: dict[str, list[Descriptor]] = {}
    for descriptor in descriptors:
        by_name.setdefault(_name(descriptor.annotations), []).append(descriptor)
    if not by_name:
        raise InvalidInput("index.json names no image")
    walk = _Walk(files)
    return [_chosen(walk, name, found, platform) for name, found in by_name.items()]


def _name(annotations: Mapping[str, str]) -> str:
    """Return what an image is called. Docker writes its whole name in one place and the tag alone in the other.

    Where both say the same, as in what is saved here, the shorter counts: `web`, not docker.io/library/web:latest. Where
    they say different things, the whole name is that of another image: umoci takes it over for one that it made of that.
    """
    name, whole = annotations.get(_NAME, ""), annotations.get(_WHOLE_NAME, "")
    is_tag = name == whole.rpartition(":")[2] and whole != full_name(name)
    return whole if not name or is_tag else name


def _version(files: Files) -> str:
    try:
        document = jsontext.loads(read_all(files, "oci-layout", MAX_BYTES) or b"", max_bytes=MAX_BYTES)
    except ValueError as error:
        raise InvalidInput(f"oci-layout is damaged: {error}") from error
    version = document.get("imageLayoutVersion") if isinstance(document, dict) else None
    if not isinstance(version, str):
        raise InvalidInput("oci-layout is damaged: it has no imageLayoutVersion")
    return version


def _chosen(walk: "_Walk", name: str, descriptors: list[Descriptor], platform: str) -> Bundle:
    others = []
    for descriptor in walk.manifests(descriptors):
        if descriptor.platform and not is_for(descriptor.platform, platform):
            others.append(descriptor.platform)
            continue
        bundle = walk.bundle(name, descriptor)
        found = parse_config(bundle.config, bundle.config_digest).platform
        if is_for(found, platform):
            return bundle
        others.append(found)
    what = f"image {shown(name)}" if name else "the image"
    known = sorted({other for other in others if not other.startswith("unknown")})
    if not known:
        raise InvalidInput(f"{what} has no manifest that could be used")
    raise Unsupported(
        f"{what} is for {', '.join(known)}, not for {platform}",
        hint=f"give --platform {known[0]} to bring it in nevertheless",
        feature="platform",
    )


class _Walk:
    """One reading of a layout. What its documents cost is bounded for all names together, and each is read once."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._visited = self._read_bytes = 0
        self._indexes: dict[str, tuple[Descriptor, ...]] = {}
        self._bundles: dict[str, Bundle] = {}

    def manifests(self, descriptors: list[Descriptor]) -> Iterator[Descriptor]:
        """Yield the manifests that descriptors lead to, through indexes."""
        pending = [(descriptor, 1) for descriptor in reversed(descriptors)]
        while pending:
            descriptor, depth = pending.pop()
            self._visited += 1
            if self._visited > MAX_MANIFESTS or depth > _MAX_DEPTH:
                raise InvalidInput(
                    f"the layout has more than {MAX_MANIFESTS} manifests, or indexes {_MAX_DEPTH} levels deep"
                )
            if descriptor.media_type in INDEX_TYPES:
                pending += [(other, depth + 1) for other in reversed(self._index(descriptor))]
            elif descriptor.media_type in MANIFEST_TYPES:
                yield descriptor
            # What else an index may point to is none of an image's business: signatures, attestations, artefacts.

    def bundle(self, name: str, descriptor: Descriptor) -> Bundle:
        """Return the image of a manifest, called `name`."""
        if descriptor.digest not in self._bundles:
            data = self._read(descriptor)
            manifest = parse_manifest(data, f"manifest {descriptor.digest}")
            layers = tuple(
                Part(place_of(self._files, layer), layer.digest, layer.size_bytes, layer.media_type)
                for layer in manifest.layers
            )
            config = self._read(manifest.config)
            self._bundles[descriptor.digest] = Bundle("", config, manifest.config.digest, data, layers)
        return self._bundles[descriptor.digest]._replace(name=name)

    def _index(self, descriptor: Descriptor) -> tuple[Descriptor, ...]:
        if descriptor.digest not in self._indexes:
            self._indexes[descriptor.digest] = parse_index(self._read(descriptor), descriptor.digest)
        return self._indexes[descriptor.digest]

    def _read(self, descriptor: Descriptor) -> bytes:
        """Return a document, which is kept: so all together are bounded."""
        data = read_blob(self._files, descriptor)
        self._read_bytes += len(data)
        if self._read_bytes > _MAX_DOCUMENT_BYTES:
            raise InvalidInput(f"the layout has more than {_MAX_DOCUMENT_BYTES} bytes of manifests and configs")
        return data


def place_of(files: Files, descriptor: Descriptor) -> Place | None:
    """Return where a blob is, of the size that it should have; None when it is not there."""
    place = files.find(f"blobs/sha256/{digest_hex(descriptor.digest)}")
    if place is not None and place.size_bytes != descriptor.size_bytes:
        raise InvalidInput(
            f"blob {descriptor.digest} has {place.size_bytes} bytes, not the {descriptor.size_bytes} that it should have"
        )
    return place


def read_blob(files: Files, descriptor: Descriptor) -> bytes:
    """Return a document, verified; InvalidInput names the blob that is missing or damaged."""
    if descriptor.size_bytes > MAX_BYTES:
        raise InvalidInput(f"blob {descriptor.digest} has {descriptor.size_bytes} bytes, more than {MAX_BYTES}")
    if place_of(files, descriptor) is None:
        raise InvalidInput(f"blob {descriptor.digest} is missing", hint="copy the whole image once more")
    data = read_all(files, f"blobs/sha256/{digest_hex(descriptor.digest)}", MAX_BYTES) or b""
    if digest_of(data) != descriptor.digest:
        raise InvalidInput(f"blob {descriptor.digest} is damaged: what is there has the digest {digest_of(data)}")
    return data

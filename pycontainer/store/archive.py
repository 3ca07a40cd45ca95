"""Writing images out: as an archive that each of the others reads, or as the directory of an OCI layout.

    oci-archive, oci-dir        blobs/sha256/HEX   index.json   manifest.json   oci-layout
    docker-archive              HEX.json  HEX.tar[.gz]  ...     manifest.json

`manifest.json` is Docker's and names the same blobs, so that `docker load`, which knew no OCI layouts before version 25, and
`podman load`, which takes several images from no OCI archive, read the one archive that umoci and skopeo read as well. Equal
images give equal bytes: order, owners, modes and times are fixed, and blobs are written as they are.

https://github.com/opencontainers/image-spec/blob/main/image-layout.md
"""

import hashlib
import json
import os
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from pycontainer.errors import InvalidState

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
_BLOCK_BYTES = 1 << 20
_TAR_BLOCK_BYTES = 512
_TAR_RECORD_BYTES = 10240
_DOCKER_NAME = re.compile(
    r"(?:[A-Za-z0-9][A-Za-z0-9.-]*(?::[0-9]+)?/)?[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?",
    re.ASCII,
)


class Descriptor(NamedTuple):
    """A blob as manifests name it."""

    media_type: str
    digest: str
    size_bytes: int

    def written(self) -> dict[str, object]:
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size_bytes}


class OutImage(NamedTuple):
    """One image on its way out: its name (empty: none), what is small as bytes, its layers lowest first."""

    name: str
    manifest: bytes
    config: Descriptor
    layers: tuple[Descriptor, ...]


class Content(NamedTuple):
    """All blobs of the images by digest: bytes, or the path of a file."""

    images: Sequence[OutImage]
    blobs: Mapping[str, bytes | str]

    @property
    def size_bytes(self) -> int:
        """How much the files of blobs hold, which is nearly all."""
        return sum(os.stat(path).st_size for path in self.blobs.values() if isinstance(path, str))


class Target(Protocol):
    """Where files go, each written whole, in their order."""

    def directory(self, name: str) -> None: ...
    def link(self, name: str, path: str) -> bool: ...
    def file(self, name: str, size_bytes: int, blocks: Iterable[bytes]) -> None: ...


def make_manifest(
    config: Descriptor, layers: Sequence[Descriptor], annotations: Mapping[str, str] | None = None
) -> bytes:
    """Return an OCI manifest."""
    manifest: dict[str, Any] = {"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": config.written()}
    manifest["layers"] = [layer.written() for layer in layers]
    if annotations:
        manifest["annotations"] = dict(annotations)
    return _json(manifest)


def write(content: Content, form: str, target: Target, on_bytes: Callable[[int], None] = lambda _count: None) -> None:
    """Write images in one of the formats above. Raises InvalidState, naming the blob, when one is damaged or gone."""
    is_docker = form == "docker-archive"
    blobs = dict(content.blobs)
    if is_docker:
        manifests = {_digest(image.manifest) for image in content.images}
        blobs = {digest: data for digest, data in blobs.items() if digest not in manifests}
        names = _docker_names(content.images)
    else:
        names = {digest: f"blobs/sha256/{digest[7:]}" for digest in blobs}
        target.directory("blobs")
        target.directory("blobs/sha256")
    for name, digest in sorted((names[digest], digest) for digest in blobs):
        data = blobs[digest]
        if isinstance(data, str) and target.link(name, data):
            on_bytes(os.stat(data).st_size)
            continue
        size_bytes, blocks = _opened(digest, data, on_bytes)
        target.file(name, size_bytes, blocks)
    files = {"manifest.json": _json(_docker_manifest(content.images, names))}
    if not is_docker:
        files |= {"index.json": _json(_index(content.images)), "oci-layout": _json({"imageLayoutVersion": "1.0.0"})}
    for name, data in sorted(files.items()):
        target.file(name, len(data), [data])


def _docker_names(images: Sequence[OutImage]) -> dict[str, str]:
    endings = {"gzip": ".tar.gz", "zstd": ".tar.zst"}
    names = {image.config.digest: f"{image.config.digest[7:]}.json" for image in images}
    for layer in (layer for image in images for layer in image.layers):
        names[layer.digest] = layer.digest[7:] + endings.get(layer.media_type.rpartition("+")[2], ".tar")
    return names


def _docker_manifest(images: Sequence[OutImage], names: Mapping[str, str]) -> list[dict[str, object]]:
    found: dict[str, dict[str, Any]] = {}  # images that have several names are listed once
    for image in images:
        entry = found.setdefault(
            _digest(image.manifest),
            {
                "Config": names[image.config.digest],
                "RepoTags": [],
                "Layers": [names[layer.digest] for layer in image.layers],
            },
        )
        if tag := docker_tag(image.name):
            entry["RepoTags"].append(tag)
    return [*found.values()]


def docker_tag(name: str) -> str:
    """Return an image's name with its tag, as Docker has it; empty when it can be no name there."""
    plain = name.partition("@")[0]
    if not _DOCKER_NAME.fullmatch(plain):
        return ""
    return plain if ":" in plain.rpartition("/")[2] else f"{plain}:latest"


def full_name(name: str) -> str:
    """Return docker.io/library/web:latest for web; empty when it can be no name there."""
    tag = docker_tag(name)
    first, slash, _ = tag.partition("/")
    if not tag or (slash and ("." in first or ":" in first or first == "localhost")):
        return tag
    return f"docker.io/{tag}" if slash else f"docker.io/library/{tag}"


def _index(images: Sequence[OutImage]) -> dict[str, object]:
    entries = []
    for image in images:
        entry = Descriptor(MANIFEST_TYPE, _digest(image.manifest), len(image.manifest)).written()
        annotations = {}
        if image.name:
            annotations["org.opencontainers.image.ref.name"] = image.name
        if whole := full_name(image.name):
            annotations["io.containerd.image.name"] = whole
        entries.append({**entry, "annotations": annotations} if annotations else entry)
    return {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": entries}


def _opened(digest: str, data: bytes | str, on_bytes: Callable[[int], None]) -> tuple[int, Iterator[bytes]]:
    """Return a blob's size and its content in pieces; it is held against its digest as it goes by."""
    if isinstance(data, bytes):
        return len(data), iter([data])
    try:
        file = open(data, "rb", buffering=0)  # noqa: SIM115  # the generator closes it
    except OSError as error:
        raise InvalidState(
            f"blob {digest} cannot be read: {os.strerror(error.errno or 0)}", hint="bring the image in again"
        ) from error
    size_bytes = os.fstat(file.fileno()).st_size

    def blocks() -> Iterator[bytes]:
        sha256, left = hashlib.sha256(), size_bytes
        with file:
            while left and (block := file.read(min(left, _BLOCK_BYTES))):
                left -= len(block)
                sha256.update(block)
                yield block
                on_bytes(len(block))
        if left or f"sha256:{sha256.hexdigest()}" != digest:
            raise InvalidState(
                f"blob {digest} is damaged", hint="bring the image in again; what was written is no image"
            )

    return size_bytes, blocks()


class TarTarget:
    """A tar archive written to a descriptor, which the caller keeps; `finish` ends it."""

    def __init__(self, fd: int) -> None:
        self._fd, self._bytes = fd, 0

    def directory(self, name: str) -> None:
        self._write(_header(name, tarfile.DIRTYPE, 0o755, 0))

    def link(self, name: str, path: str) -> bool:
        return False

    def file(self, name: str, size_bytes: int, blocks: Iterable[bytes]) -> None:
        self._write(_header(name, tarfile.REGTYPE, 0o644, size_bytes))
        for block in blocks:
            self._write(block)
        self._write(bytes(-size_bytes % _TAR_BLOCK_BYTES))

    def finish(self) -> None:
        self._write(bytes(2 * _TAR_BLOCK_BYTES))
        self._write(bytes(-self._bytes % _TAR_RECORD_BYTES))

    def _write(self, data: bytes) -> None:
        self._bytes += len(data)
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]


class DirectoryTarget:
    """A directory, by descriptor, which the caller keeps. Files appear whole.

    With `links` the blobs are the store's own files where that can be: for a directory that is only read, and soon gone.
    """

    def __init__(self, dir_fd: int, *, links: bool = False) -> None:
        self._fd, self._links = dir_fd, links

    def directory(self, name: str) -> None:
        try:
            os.mkdir(name, 0o755, dir_fd=self._fd)
        except FileExistsError:
            pass

    def link(self, name: str, path: str) -> bool:
        if not self._links:
            return False
        try:
            os.link(path, name, dst_dir_fd=self._fd)
        except OSError:  # another file system, or too many links
            return False
        return True

    def file(self, name: str, size_bytes: int, blocks: Iterable[bytes]) -> None:
        temporary = f"{name}.new"
        fd = os.open(
            temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644, dir_fd=self._fd
        )
        try:
            for block in blocks:
                view = memoryview(block)
                while view:
                    view = view[os.write(fd, view) :]
            os.rename(temporary, name, src_dir_fd=self._fd, dst_dir_fd=self._fd)
        except BaseException:
            os.unlink(temporary, dir_fd=self._fd)
            raise
        finally:
            os.close(fd)


def _header(name: str, kind: bytes, mode: int, size_bytes: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.size = kind, mode, size_bytes
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode()


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"

"""Images come into the store: what a source is, is told by its content.

    OCI layout, docker archive (ocilayout.py, dockerarchive.py), in a directory or a tar archive, compressed or not
        files ─▶ bundles ─▶ for each: blobs staged and verified ─▶ layers unpacked, unless they are there ─▶ published
    root file system (plain.py)
        one layer, and a config from whoever imports it

All images of an archive are unpacked before the first is published; what was done until an error is garbage, and goes. A
layer is unpacked once, also when several import it at a time: one claims its diff_id, the others wait and find it made.
"""

import contextlib
import os
import stat
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any, Protocol

from pycontainer.errors import InvalidInput
from pycontainer.store.archivefiles import ArchiveFiles, DirectoryFiles, Files, Member
from pycontainer.store.blobs import stage_bytes, stage_copy
from pycontainer.store.bundles import Bundle, Part
from pycontainer.store.compression import MAGIC_BYTES, compression
from pycontainer.store.dockerarchive import is_archive, read_archive
from pycontainer.store.fsimages import wanted_kind
from pycontainer.store.imageconfig import check_config
from pycontainer.store.images import ImageStore
from pycontainer.store.imports import Import, importing
from pycontainer.store.layers import Layer, plain_key, settled_key
from pycontainer.store.ociconfig import host_platform, parse_config
from pycontainer.store.ocilayout import is_layout, read_layout
from pycontainer.store.plain import import_plain, opened
from pycontainer.store.refs import ImageInfo, check_new_name, check_own_name
from pycontainer.store.unpacking import Progress, Unpack, counter, naming, unpack_layer
from pycontainer.units import shown


class Tools(Protocol):
    """What reads hostile archives, in confined processes (runtime/importer.py)."""

    @property
    def unpack(self) -> Unpack: ...

    def members(self, source_fd: int) -> tuple[Member, ...]:
        """Return the members of a tar archive that holds images, none for a root file system."""
        ...

    def expand(self, source_fd: int, target_fd: int) -> None:
        """Write the plain form of a compressed archive into an empty file."""
        ...


def import_image(
    store: ImageStore,
    source: str,
    name: str,
    config: Mapping[str, Any] | None,
    tools: Tools,
    on_progress: Progress | None = None,
    *,
    given_fd: int | None = None,
    platform: str = "",
    form: str = "",
    in_use: Set[str] | None = None,
) -> ImageInfo:
    """Bring a root file system, or the one image of an OCI layout or docker archive, into the store as image `name`.

    Nothing of its content is looked at here, but that of a squashfs or erofs file, which `form` or the end of its name has to
    announce. A name that is taken moves to the new image. `given_fd` is an open file that is only called `source`, and is
    closed at the end. Raises InvalidInput for a bad name, config or archive (nothing of
    it stays), NotFound for a missing source, Unsupported for an image of another platform.
    """
    check_new_name(name)
    checked = check_config(config or {})
    with opened(source, store.directory, given_fd) as source_fd, importing(store, in_use) as work:
        if kind := wanted_kind(source_fd, source, form):
            return import_plain(work, source_fd, source, name, checked, tools.unpack, on_progress, kind=kind)
        with image_files(source_fd, source, work, tools) as files:
            if files is None:
                return import_plain(work, source_fd, source, name, checked, tools.unpack, on_progress)
            if checked != check_config({}):
                raise InvalidInput(
                    f"{shown(source)} is an image that says itself how its containers start",
                    hint="import it without options, and give them when a container is created",
                )
            return load_files(work, files, tools, name=name, platform=platform, on_progress=on_progress)[0]


def load(
    store: ImageStore,
    source: str,
    tools: Tools,
    *,
    given_fd: int | None = None,
    name: str = "",
    platform: str = "",
    on_progress: Progress | None = None,
    in_use: Set[str] | None = None,
) -> list[ImageInfo]:
    """Bring the images of an OCI layout or a docker archive into the store.

    They get the names that are written there; `name` is for a single image. `platform` is that of this host, unless given;
    `given_fd` as for `import_image`.
    Raises InvalidInput, naming the blob, for what is hostile, damaged or too large; Unsupported for other platforms.
    """
    if name:
        check_new_name(name)
    with opened(source, store.directory, given_fd) as source_fd, importing(store, in_use) as work:
        with image_files(source_fd, source, work, tools) as files:
            if files is None:
                raise InvalidInput(
                    f"{shown(source)} holds neither an OCI layout nor a docker archive",
                    hint="'pycontainer image import SOURCE NAME' takes a root file system",
                )
            return load_files(work, files, tools, name=name, platform=platform, on_progress=on_progress)


def load_files(
    work: Import, files: Files, tools: Tools, *, name: str = "", platform: str = "", on_progress: Progress | None = None
) -> list[ImageInfo]:
    """Bring in the images among `files`, as `load` does."""
    wanted = platform or host_platform()
    if is_layout(files):
        bundles = read_layout(files, wanted)
    elif is_archive(files):
        bundles = read_archive(files, wanted)
    else:
        raise InvalidInput("there is neither an OCI layout nor a docker archive")
    named = [(_name(bundle, name, bundles), bundle) for bundle in bundles]
    made: dict[str, list[Layer]] = {}
    for _, bundle in named:
        if bundle.config_digest not in made:
            made[bundle.config_digest] = _layers(work, bundle, tools, on_progress)
    return [_publish(work, its_name, bundle, made[bundle.config_digest]) for its_name, bundle in named]


@contextlib.contextmanager
def image_files(source_fd: int, source: str, work: Import, tools: Tools) -> Iterator[Files | None]:
    """Give the files of the image in a directory or an archive, called `source`; None for a root file system."""
    if stat.S_ISDIR(os.fstat(source_fd).st_mode):
        with DirectoryFiles(source_fd) as files:
            yield files if is_layout(files) else None
        return
    with naming(shown(source)):
        members = tools.members(source_fd)
    if not members:
        yield None
        return
    if compression(os.pread(source_fd, MAGIC_BYTES, 0)) is None:
        yield ArchiveFiles(source_fd, members)
        return
    fd = os.open(work.directory, os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o600)
    try:
        with naming(shown(source)):
            tools.expand(source_fd, fd)
            members = tools.members(fd)
        yield ArchiveFiles(fd, members) if members else None
    finally:
        os.close(fd)


def _name(bundle: Bundle, name: str, bundles: Sequence[Bundle]) -> str:
    if name:
        if len({other.config_digest for other in bundles}) > 1:
            raise InvalidInput(
                f"the archive holds {len(bundles)} images, which cannot all be called '{name}'",
                hint="'pycontainer image load' gives them their own names",
            )
        return name
    if not bundle.name:
        raise InvalidInput("the archive does not say what its image is called", hint="give it a name: --name NAME")
    try:
        check_own_name(bundle.name)
    except InvalidInput as error:
        raise InvalidInput(
            f"the archive calls its image {shown(bundle.name)}, which is no image name",
            hint="give another: --name NAME",
        ) from error
    return bundle.name


def _publish(work: Import, name: str, bundle: Bundle, layers: Sequence[Layer]) -> ImageInfo:
    found = parse_config(bundle.config, bundle.config_digest)
    manifest = stage_bytes(bundle.manifest, work.blobs_dir) if bundle.manifest is not None else None
    return work.publish(
        name,
        bundle.config,
        found.config,
        layers,
        platform=found.platform,
        manifest=manifest,
        blobs=[part.digest for part in bundle.layers if part.digest is not None],
    )


def _layers(work: Import, bundle: Bundle, tools: Tools, on_progress: Progress | None) -> list[Layer]:
    """Return the layers of an image, lowest first; those that the store does not have are unpacked."""
    found = parse_config(bundle.config, bundle.config_digest)
    if len(found.diff_ids) != len(bundle.layers):
        raise InvalidInput(
            f"config {bundle.config_digest} has {len(found.diff_ids)} layers, the manifest {len(bundle.layers)}"
        )
    layers: list[Layer] = []
    for number, (diff_id, part) in enumerate(zip(found.diff_ids, bundle.layers, strict=True), start=1):
        what = f"layer {number} of {len(bundle.layers)}"
        layers.append(_layer(work, part, diff_id, layers, tools, on_progress, what))
    return layers


def _layer(
    work: Import,
    part: Part,
    diff_id: str,
    lowers: Sequence[Layer],
    tools: Tools,
    on_progress: Progress | None,
    what: str,
) -> Layer:
    with work.store.staging.claimed(diff_id):
        keys = settled_key(diff_id, [layer.key for layer in lowers]), plain_key(diff_id)
        found = next(filter(None, map(work.layer, keys)), None)
        if found is not None and part.digest is None:
            return found
        blob = _staged_blob(work, part, diff_id, on_progress, what)
        if found is not None:
            return found
        staged = f"{work.blobs_dir}/{blob[7:]}"
        path = staged if os.path.exists(staged) else work.store.blobs.path(blob)
        blob_fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        name = "" if part.digest else f"layer {diff_id}"  # nobody else knows the blob of what came without a digest
        try:
            return unpack_layer(
                work, blob_fd, lowers, tools.unpack,
                name=name, blob=blob, diff_id=diff_id, what=what, on_progress=on_progress,
            )  # fmt: skip
        finally:
            os.close(blob_fd)


def _staged_blob(work: Import, part: Part, diff_id: str, on_progress: Progress | None, what: str) -> str:
    """Return the digest of a layer's blob, which is in the store or staged then."""
    if part.digest is not None and work.has_blob(part.digest):
        return part.digest
    if part.place is None:
        raise InvalidInput(f"layer blob {part.digest or diff_id} is missing", hint="copy the whole image once more")
    size_bytes = part.place.size_bytes
    on_bytes = counter(on_progress, f"copying {what}", size_bytes)
    return stage_copy(
        part.place.fd,
        work.blobs_dir,
        offset=part.place.offset,
        size_bytes=size_bytes,
        digest=part.digest,
        source=f"layer {diff_id}",
        on_bytes=on_bytes,
    )

"""Fetching an image from a registry into an OCI layout, from which the store loads it.

    manifest, config    by `skopeo inspect --raw`, checked against their digests; the tag is resolved once, by the first
    layers              by `skopeo copy`, which also asks the policy for signatures; a layer has its name when it is whole

    pulls/HEX/          HEX: the manifest's digest, so an interrupted pull is gone on with under whatever name
    ├── lock            flock'ed by the pull that is at work, and by its skopeo
    └── layout/         oci-layout index.json blobs/sha256/HEX; oci-put-blob*: a layer that is coming

skopeo would write Docker's configs anew, in OCI's form, which loses the health check and changes the image's id. So the
config is fetched as it is, and only the manifest is translated: the id is the one that Docker shows.
"""

import contextlib
import fcntl
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pycontainer.client.connection import Pool
from pycontainer.client.images import Image
from pycontainer.client.manifests import (
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    Manifest,
    architecture,
    chosen,
    digest_of,
    is_index,
    manifest_of,
    parsed,
    to_json,
    written,
    wrong_machine,
)
from pycontainer.client.skopeo import Access, Reference, Skopeo, access_of, parse_reference
from pycontainer.errors import InvalidInput, NotPermitted, PycontainerError
from pycontainer.linux.files import remove_tree, write_atomically
from pycontainer.paths import HostPaths
from pycontainer.units import shown

if TYPE_CHECKING:
    from pycontainer.client.types import RegistryAccess

Progress = Callable[[dict[str, Any]], None]
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/-]{0,199}", re.ASCII)
_STALL_SECONDS = 120  # as imports (runtime/importer.py)
_SLACK_BYTES = 64 << 20  # documents, and what comes between two looks
_KEPT_SECONDS = 7 * 24 * 3600  # how long an interrupted pull waits to be gone on with


def pull(
    pool: Pool,
    reference: str,
    name: str | None,
    access: "RegistryAccess",
    on_progress: Callable[[dict[str, Any]], None] | None = None,
) -> Image:
    """Bring an image of a registry into the store, under `name` or what stands in the reference before a digest."""
    wanted = parse_reference(reference)
    name = name or reference.removeprefix("docker://").partition("@")[0]
    if not _NAME.fullmatch(name):  # before anything is fetched: the store would refuse it
        raise InvalidInput(f"{shown(name)} cannot name a new image", hint="write NAME or NAME:TAG", field="name")
    with pulled(pool.paths, wanted, access_of(access), name, on_progress) as layout:
        (info,) = pool.request("image_load", {"source": layout, "name": name, "platform": ""}, on_event=on_progress)
    return Image(pool, info["name"])


@contextlib.contextmanager
def pulled(
    paths: HostPaths, reference: Reference, access: Access, name: str, on_progress: Progress | None = None
) -> Iterator[str]:
    """Give the directory of an OCI layout that holds the image `reference` under `name`; it goes if all went well.

    What was fetched completely stays after an interruption, for a week, and is not fetched again. Raises NotFound for an
    unknown image, NotPermitted for bad credentials, a certificate or a signature, InvalidInput for what is no image for
    this machine, Unsupported without skopeo, PycontainerError for a registry that does not answer.
    """
    skopeo = Skopeo(access, reference.registry)
    manifest = _resolved(skopeo, reference)
    config = _config(skopeo, reference, manifest)

    def waiting() -> None:
        if on_progress is not None:
            on_progress({"step": "waiting for another pull of this image"})

    with pull_directory(paths, manifest.source_digest.removeprefix("sha256:"), waiting) as (directory, lock_fd):
        layout = f"{directory}/layout"
        _prepare(layout, paths, manifest)
        _fetch_layers(skopeo, reference, manifest, directory, lock_fd, on_progress)
        _write_index(layout, manifest, config, name)
        try:
            yield layout
        except InvalidInput:  # what the store does not take will be no better the next time
            remove_tree(directory)
            raise
        remove_tree(directory)


def _resolved(skopeo: Skopeo, reference: Reference) -> Manifest:
    data = skopeo.inspect(reference)
    digest = digest_of(data)
    if reference.digest and digest != reference.digest:
        raise InvalidInput(f"the registry's manifest for '{reference}' has another digest, {digest}")
    value = parsed(data, reference)
    if is_index(value):
        digest = chosen(value, reference)
        data = skopeo.inspect(reference.pinned(digest))
        if digest_of(data) != digest:
            raise InvalidInput(
                f"the registry's manifest {digest} of '{reference}' has another digest, {digest_of(data)}"
            )
        value = parsed(data, reference)
    return manifest_of(value, data, digest, reference)


def _config(skopeo: Skopeo, reference: Reference, manifest: Manifest) -> bytes:
    """Return the config, byte for byte; InvalidInput when the image is for other machines."""
    data = skopeo.inspect(reference.pinned(manifest.source_digest), config=True)
    if digest_of(data) != manifest.config.digest:
        raise InvalidInput(
            f"config {manifest.config.digest} of '{reference}' is damaged: its digest is {digest_of(data)}"
        )
    value = parsed(data, reference)
    platform = tuple(value.get(key) for key in ("os", "architecture"))
    if platform != ("linux", architecture()):
        raise wrong_machine(reference, "/".join(map(str, platform)))
    return data


@contextlib.contextmanager
def pull_directory(
    paths: HostPaths, name: str, on_wait: Callable[[], None] = lambda: None
) -> Iterator[tuple[str, int]]:
    """Give a directory for one image and the descriptor that locks it; waits for another pull of the same.

    It stays: who is done removes it. `on_wait` is called before the wait, if there is one.
    """
    try:
        os.makedirs(paths.pulls_dir, 0o700, exist_ok=True)
        os.chmod(paths.pulls_dir, 0o700)
    except PermissionError as error:
        raise NotPermitted(f"cannot write to '{paths.pulls_dir}'", hint="run it as root") from error
    _remove_old(paths.pulls_dir)
    path = f"{paths.pulls_dir}/{name}"
    while True:
        os.makedirs(path, 0o700, exist_ok=True)
        try:
            fd = os.open(f"{path}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            continue  # whoever was at it is done
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(fd, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(fd), os.stat(f"{path}/lock")):
                break
        os.close(fd)
    try:
        yield path, fd
    finally:
        os.close(fd)


def _remove_old(pulls_dir: str) -> None:
    """Remove interrupted pulls that nobody went on with."""
    for name in os.listdir(pulls_dir):
        path = f"{pulls_dir}/{name}"
        with contextlib.suppress(FileNotFoundError, BlockingIOError):
            if time.time() - os.stat(f"{path}/lock").st_mtime < _KEPT_SECONDS:
                continue
            fd = os.open(f"{path}/lock", os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove_tree(path)
            finally:
                os.close(fd)


def _prepare(layout: str, paths: HostPaths, manifest: Manifest) -> None:
    """Make the layout; take what half a layer left away, and the layers that the store has already from there."""
    os.makedirs(f"{layout}/blobs/sha256", 0o700, exist_ok=True)
    os.utime(f"{os.path.dirname(layout)}/lock")
    _remove_half_layers(layout)
    for layer in manifest.layers:
        with contextlib.suppress(OSError):  # not there, or on another file system: then it is fetched
            os.link(f"{paths.images_dir}/blobs/sha256/{layer.hex}", f"{layout}/blobs/sha256/{layer.hex}")


def _remove_half_layers(layout: str) -> None:
    for name in os.listdir(layout):
        if name.startswith("oci-put-blob"):
            os.unlink(f"{layout}/{name}")


def _fetch_layers(
    skopeo: Skopeo,
    reference: Reference,
    manifest: Manifest,
    directory: str,
    lock_fd: int,
    on_progress: Progress | None,
) -> None:
    layout = f"{directory}/layout"
    expected = {layer.digest: layer.size_bytes for layer in manifest.layers}
    total = sum(expected.values())

    max_bytes = (
        sum(layer.size_bytes for layer in manifest.layers) + _SLACK_BYTES
    )  # one that is there twice may come twice
    moved, seen = time.monotonic(), -1

    def report(_pid: int = 0) -> None:
        """Tell how far it is; raise, which ends skopeo, when the registry sends without end or nothing at all."""
        nonlocal moved, seen
        present = _present_bytes(layout, expected)
        if present > max_bytes:
            raise InvalidInput(f"the registry sends more for '{reference}' than the {total} bytes that its layers have")
        if present != seen:
            moved, seen = time.monotonic(), present
        elif time.monotonic() - moved >= _STALL_SECONDS:
            raise PycontainerError(
                f"nothing came of '{reference}' for {_STALL_SECONDS} seconds",
                hint="try again later; what was fetched completely is kept and not fetched again",
            )
        if on_progress is not None:
            on_progress({"bytes": min(present, total), "total_bytes": total})

    report()
    try:
        skopeo.copy(
            reference.pinned(manifest.source_digest).source,
            "oci:layout:pull",
            str(reference),
            side="src",
            options=["--dest-oci-accept-uncompressed-layers", "--remove-signatures"],  # no layout can hold signatures
            cwd=directory,
            keep_fds=[lock_fd],
            on_wait=report,
        )
    except InvalidInput:
        _remove_half_layers(layout)
        raise
    for layer in manifest.layers:
        if (found := _size(f"{layout}/blobs/sha256/{layer.hex}")) != layer.size_bytes:
            remove_tree(layout)
            raise InvalidInput(f"layer {layer.digest} of '{reference}' has {found} bytes, not {layer.size_bytes}")
    report()


def _present_bytes(layout: str, expected: Mapping[str, int]) -> int:
    """Return how much of the layers has come: what is whole, and what skopeo is writing."""
    there = sum(_size(f"{layout}/blobs/sha256/{digest.removeprefix('sha256:')}") for digest in expected)
    coming = [name for name in os.listdir(layout) if name.startswith("oci-put-blob")]
    return there + sum(_size(f"{layout}/{name}") for name in coming)


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


def _write_index(layout: str, manifest: Manifest, config: bytes, name: str) -> None:
    """Let the layout hold the one image, under the name that it shall have in the store."""
    digest = digest_of(manifest.data)
    for data in (config, manifest.data):
        write_atomically(f"{layout}/blobs/sha256/{digest_of(data).removeprefix('sha256:')}", data, sync=False)
    described = written(Descriptor(OCI_MANIFEST, digest, len(manifest.data)))
    entry = {**described, "annotations": {"org.opencontainers.image.ref.name": name}}
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}
    write_atomically(f"{layout}/index.json", to_json(index), sync=False)
    write_atomically(f"{layout}/oci-layout", to_json({"imageLayoutVersion": "1.0.0"}), sync=False)

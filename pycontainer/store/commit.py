"""What containers wrote becomes layers of a new image.

    upper directory ─▶ pack (confined) ─▶ blob ─▶ unpack (confined) ─▶ layer of the store, over those of the base image
    a whole tree    ─▶ the same        ─▶         the same           ─▶ the one layer of an image without a base

The way through the blob is the one that all layers take: what is in the store is what everybody gets who is given the image.
"""

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence, Set
from datetime import UTC, datetime
from typing import Any, Protocol

from pycontainer.errors import InvalidInput, InvalidState
from pycontainer.store.imageconfig import check_config
from pycontainer.store.images import ImageStore
from pycontainer.store.imports import Import, importing
from pycontainer.store.layerpack import LayerBlob
from pycontainer.store.layers import Layer
from pycontainer.store.ociconfig import MAX_LAYERS, host_platform, make_config
from pycontainer.store.refs import ImageInfo, check_new_name
from pycontainer.store.save import pack_blob
from pycontainer.store.unpacking import Progress, Unpack, unpack_layer

_MAX_TEXT_CHARACTERS = 1 << 16  # of the author, and of the message
Pack = Callable[[int], tuple[LayerBlob, list[str]]]


class Tools(Protocol):
    """What reads files that tenants made, in confined processes (runtime/importer.py)."""

    @property
    def unpack(self) -> Unpack: ...

    def pack_layer(self, tree: str, blob_fd: int, /, *, is_upper: bool = False) -> tuple[LayerBlob, list[str]]:
        """Write a directory to an open file as a compressed layer; also return what was left out."""
        ...

    def pack_whole(self, layers: Sequence[str], blob_fd: int, /) -> tuple[LayerBlob, list[str]]:
        """Do the same with what layers, lowest first, are on one another."""
        ...


def commit(
    store: ImageStore,
    base: str,
    uppers: Sequence[str],
    name: str,
    tools: Tools,
    *,
    config: Mapping[str, Any] | None = None,
    author: str = "",
    message: str = "",
    created: float | None = None,
    whole: Sequence[str] = (),
    on_progress: Progress | None = None,
    in_use: Set[str] = frozenset(),
) -> tuple[ImageInfo, list[str]]:
    """Make an image `name` of the image `base` and upper directories of overlays over it, lowest first; each gives a layer.

    With `whole` its one layer is what these directories are on one another instead, lowest first; of the base, which may be
    "", it then has the config alone. Nobody writes to any of them meanwhile. `config` holds the keys that change, in our form
    (imageconfig.py): a list or mapping takes the place of the base's. `created` is in seconds since 1970, now unless given.
    Also returns what was left out, one line each. Raises NotFound for the base, InvalidInput for a bad name, config or tree,
    InvalidState for what no layer can say.
    """
    check_new_name(name)
    if max(len(author), len(message)) > _MAX_TEXT_CHARACTERS:
        raise InvalidInput(f"the author or the message has more than {_MAX_TEXT_CHARACTERS} characters")
    with importing(store, in_use) as work:
        image = store.get(base) if base else None
        changed = check_config({**(image.config if image else {}), **(config or {})})
        layers = [*image.layers] if image and not whole else []
        if len(layers) + len(uppers) > MAX_LAYERS:
            raise InvalidInput(
                f"an image has no more than {MAX_LAYERS} layers", hint="export the container, and import it"
            )
        base_config = store.config_blob(image) if image and not whole else b""
        for layer in layers:  # to keep them, also if the base is removed meanwhile
            if work.layer(layer.key) is None:
                raise InvalidState(f"layer {layer.diff_id} of image '{base}' is gone", hint="bring the image in again")
        left_out: list[str] = []
        packs: list[Pack] = [lambda fd: tools.pack_whole(whole, fd)] if whole else []
        packs += [lambda fd, upper=upper: tools.pack_layer(upper, fd, is_upper=True) for upper in uppers]  # type: ignore[misc]
        for pack in packs:
            made, left = _layer(work, pack, layers, tools, on_progress)
            layers.append(made)
            left_out += left
        diff_ids = [layer.diff_id for layer in layers]
        platform = image.platform if image else host_platform()
        blob = make_config(changed, diff_ids, platform=platform, base=base_config)
        blob = _dated(blob, author, message, time.time() if created is None else created)
        return work.publish(name, blob, changed, layers, platform=platform), left_out


def _layer(
    work: Import, pack: Pack, lowers: Sequence[Layer], tools: Tools, on_progress: Progress | None
) -> tuple[Layer, list[str]]:
    if on_progress is not None:
        on_progress({"step": "packing what was changed"})
    made, left_out = pack_blob(work, pack)
    fd = os.open(f"{work.blobs_dir}/{made.digest}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        layer = unpack_layer(
            work,
            fd,
            lowers,
            tools.unpack,
            blob=f"sha256:{made.digest}",
            diff_id=f"sha256:{made.diff_id}",
            what="what was changed",
            on_progress=on_progress,
        )
    finally:
        os.close(fd)
    return layer, left_out


def _dated(config: bytes, author: str, message: str, created: float) -> bytes:
    """Return an OCI config with what is known of its making. OCI image-spec, config.md: created, author, history."""
    when = datetime.fromtimestamp(round(created, 3), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    value: dict[str, Any] = json.loads(config)
    entry = {"created": when, "created_by": "pycontainer commit"}
    if author:
        entry["author"] = author
    if message:
        entry["comment"] = message
    value |= {"created": when, "history": [*(value.get("history") or []), entry]}
    value.pop("author", None)
    if author:
        value["author"] = author
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

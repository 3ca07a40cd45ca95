"""An image as an archive or a registry holds it, before it is brought in."""

from typing import NamedTuple

from pycontainer.store.archivefiles import Place


class Part(NamedTuple):
    """A layer's blob: where it is (None: the store may have it), and its digest, size and media type if they are known."""

    place: Place | None
    digest: str | None
    size_bytes: int | None
    media_type: str


class Bundle(NamedTuple):
    """One image. `name` is as it was written there, or empty; `config` is verified; `layers` are lowest first."""

    name: str
    config: bytes
    config_digest: str
    manifest: bytes | None
    layers: tuple[Part, ...]


def is_for(found: str, wanted: str) -> bool:
    """Tell whether an image for platform `found` is one for `wanted`: a variant counts when both name one."""
    found_os, found_architecture, *found_variant = found.split("/")
    wanted_os, wanted_architecture, *wanted_variant = (*wanted.split("/"), "")[:3]
    return (found_os, found_architecture) == (wanted_os, wanted_architecture) and (
        not found_variant or not any(wanted_variant) or found_variant == [*filter(None, wanted_variant)]
    )

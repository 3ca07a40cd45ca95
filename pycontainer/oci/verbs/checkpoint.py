"""`checkpoint` and `restore`: this version has neither."""

from __future__ import annotations

from pycontainer.errors import Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontainer.oci.arguments import Options


def run(options: Options) -> None:
    """Say so, whatever was asked for: nothing is touched."""
    raise Unsupported(f"{options.verb} is not supported in this version", feature="criu")

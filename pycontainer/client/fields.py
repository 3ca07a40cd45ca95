"""From what the caller wrote to what the supervisor gets: the plain spec, with host paths made absolute.

Nothing is judged here; the supervisor reports all problems of a spec together. `spec/hostpaths.py` does the same for
YAML files; a test holds the two together, for this layer does not import that one.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any


def plain_spec(image: str | None, command: str | Sequence[str] | None, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the plain spec of a container; a command given as one string is one word, as in subprocess."""
    spec: dict[str, Any] = {key: value for key, value in fields.items() if value is not None}
    if image is not None:
        spec["image"] = image
    if command is not None:
        spec["command"] = [command] if isinstance(command, str) else list(command)
    if isinstance(spec.get("rootfs"), str) and spec["rootfs"]:
        spec["rootfs"] = os.path.abspath(spec["rootfs"])
    for key, make_absolute in (("volumes", absolute_volume), ("mounts", absolute_mount)):
        if isinstance(spec.get(key), list | tuple):
            spec[key] = [make_absolute(value) for value in spec[key]]
    return spec


def absolute_volume(volume: Any) -> Any:
    """Make the host path of "./site:/var/www:ro" absolute; as with Docker any other word without a slash is a name."""
    if isinstance(volume, str):
        source, separator, rest = volume.partition(":")
        if source in (".", "..") or source.startswith(("./", "../")):
            return f"{os.path.abspath(source)}{separator}{rest}"
    return volume


def absolute_mount(mount: Any) -> Any:
    """Make the source of a bind mount absolute."""
    if isinstance(mount, str) and "type=bind" in mount.split(","):
        pairs = [pair.partition("=") for pair in mount.split(",")]
        return ",".join(f"{key}{separator}{_absolute(key, value)}" for key, separator, value in pairs)
    if isinstance(mount, Mapping) and mount.get("type") == "bind":
        return {key: _absolute(key, value) for key, value in mount.items()}
    return mount


def _absolute(key: str, value: Any) -> Any:
    is_path = key in ("source", "src") and isinstance(value, str) and value
    return os.path.abspath(value) if is_path else value

"""Make the host paths of a plain spec absolute: the supervisor lives in another directory than the one who asks."""

import os
from collections.abc import Mapping


def absolute_host_paths(plain: Mapping[str, object], base_dir: str) -> dict[str, object]:
    """Return a copy of a plain spec whose relative rootfs, volume and bind sources lie beneath `base_dir`.

    Of volumes only `.`, `..` and what begins with `./` or `../` is a path, as with Docker; other words are names.
    What is not as expected is left as it is: spec/parse.py says what is wrong with it.
    """
    absolute = dict(plain)
    if isinstance(rootfs := plain.get("rootfs"), str) and rootfs:
        absolute["rootfs"] = _absolute(rootfs, base_dir)
    for key, convert in (("volumes", _volume), ("mounts", _mount)):
        entries = plain.get(key)
        if isinstance(entries, (list, tuple)):
            absolute[key] = [convert(entry, base_dir) for entry in entries]
        elif entries is not None:
            absolute[key] = convert(entries, base_dir)
    return absolute


def _absolute(path: str, base_dir: str) -> str:
    return os.path.normpath(os.path.join(base_dir, path))


def _volume(entry: object, base_dir: str) -> object:
    if not isinstance(entry, str):
        return entry
    source, separator, rest = entry.partition(":")
    is_path = source in (".", "..") or source.startswith(("./", "../"))
    return f"{_absolute(source, base_dir)}{separator}{rest}" if is_path else entry


def _mount(entry: object, base_dir: str) -> object:
    if isinstance(entry, str):
        options = [option.partition("=") for option in entry.split(",")]
        if ("type", "=", "bind") not in options:
            return entry
        return ",".join(
            f"{key}={_absolute(value, base_dir)}" if key in ("source", "src") and value else f"{key}{separator}{value}"
            for key, separator, value in options
        )
    if isinstance(entry, dict) and entry.get("type") == "bind":
        return {
            key: _absolute(value, base_dir) if key in ("source", "src") and isinstance(value, str) and value else value
            for key, value in entry.items()
        }
    return entry

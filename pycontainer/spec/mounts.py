"""What is mounted inside, in its three spellings, which all become `Mount`.

volumes   /host/dir:/inside[:ro,idmap]  a directory or file of the host
          name:/inside[:ro,nocopy]      a volume, made when missing
          /inside                       an anonymous volume, which goes with the container
tmpfs     /inside[:size=64m,mode=1777,exec,ro]
mounts    type=bind,source=/host/dir,target=/inside,readonly     or a mapping with the same keys
"""

import re
from collections.abc import Callable

from pycontainer.errors import InvalidInput, did_you_mean
from pycontainer.spec.model import Mount
from pycontainer.spec.names import check_name
from pycontainer.spec.values import parse_bool, parse_choice, parse_path, parse_target, parse_text, parse_word
from pycontainer.units import parse_bytes, shown

MOUNT_TYPES = ("bind", "volume", "tmpfs")
LEAST_TMPFS_BYTES = 4096
_MODE = re.compile(r"[0-7]{3,4}", re.ASCII)
_VOLUME_HINT = "write /host/path:/inside or name:/inside, with :ro to forbid writing"
_BIND_OPTIONS, _VOLUME_OPTIONS = ("ro", "rw", "idmap"), ("ro", "rw", "nocopy")
_ALIASES = {"src": "source", "dst": "target", "destination": "target", "ro": "readonly", "idmap": "bind-idmap"}
_FLAGS = ("readonly", "bind-nonrecursive", "bind-idmap", "volume-nocopy", "tmpfs-exec")
_KEYS = ("type", "source", "target", "tmpfs-size", "tmpfs-mode", *_FLAGS)
_TMPFS_HINT = "write /inside:size=64m,mode=1777; further options are ro, rw, exec, noexec"


def parse_volume(value: object) -> Mount:
    """Return the mount of `[source:]target[:option,...]`; a source with a slash is a host path, else a volume's name."""
    text = parse_word(value)
    parts = text.split(":")
    if len(parts) == 1:
        if text.startswith("/"):
            return Mount("volume", parse_target(text))
        raise InvalidInput(f"{shown(text)} has no target", hint=_VOLUME_HINT)
    if len(parts) > 3:
        raise InvalidInput(f"{shown(text)} is not a volume", hint=_VOLUME_HINT)
    if not parts[0] or not parts[1]:
        raise InvalidInput(f"{shown(text)} has no {'target' if parts[0] else 'source'}", hint=_VOLUME_HINT)
    source, target = parts[0], parse_target(parts[1])
    is_bind = "/" in source or source in (".", "..", "~")
    options = parts[2].split(",") if len(parts) == 3 else []
    known = _BIND_OPTIONS if is_bind else _VOLUME_OPTIONS
    for option in options:
        if option not in known:
            raise InvalidInput(
                f"{shown(text)}: volume option {option!r} is not supported",
                hint=f"supported for {'a path of the host' if is_bind else 'a volume'}: {', '.join(known)}",
            )
        if options.count(option) > 1 or {"ro", "rw"} <= {*options}:
            raise InvalidInput(f"{shown(text)}: the volume options repeat or contradict each other")
    if is_bind:
        return Mount("bind", target, parse_path(source), read_only="ro" in options, idmap="idmap" in options)
    name = check_name(source, "volume")
    return Mount("volume", target, name, read_only="ro" in options, copy="nocopy" not in options)


def parse_tmpfs(value: object) -> Mount:
    """Return the mount of `target[:option,...]`."""
    text = parse_word(value)
    path, _, options = text.partition(":")
    values: dict[str, object] = {"type": "tmpfs", "target": path}
    for option in filter(None, options.split(",")):
        name, separator, content = option.partition("=")
        if name in ("size", "mode") and separator:
            values[f"tmpfs-{name}"] = content
        elif option in ("ro", "rw"):
            values["readonly"] = option == "ro"
        elif option in ("exec", "noexec"):
            values["tmpfs-exec"] = option == "exec"
        elif option not in ("nosuid", "nodev"):  # these two are always on
            raise InvalidInput(f"{shown(text)}: tmpfs option {shown(option)} is not supported", hint=_TMPFS_HINT)
    return _build(values, text)


def parse_mount(value: object) -> Mount:
    """Return the mount of `type=..,source=..,target=..`, or of a mapping with these keys; without a type, a volume."""
    pairs: list[tuple[str, object]] = []
    if isinstance(value, dict):
        pairs = [(parse_word(key), content) for key, content in value.items()]
    else:
        for part in parse_word(value).split(","):
            name, separator, text = part.partition("=")
            pairs.append((name, text if separator else True))
    values: dict[str, object] = {}
    for given, content in pairs:
        key = _ALIASES.get(given, given)
        if key not in _KEYS:
            known = (*_KEYS, *_ALIASES)
            raise InvalidInput(
                f"unknown mount option {shown(given)}{did_you_mean(given, known)}",
                hint=f"the options are {', '.join(_KEYS)}",
            )
        if key in values:
            raise InvalidInput(f"mount option {key!r} is given twice")
        if content is True and key not in _FLAGS:
            raise InvalidInput(f"mount option {key!r} has no value", hint=f"write {key}=VALUE")
        values[key] = (
            {"1": True, "0": False}.get(content, content) if key in _FLAGS and isinstance(content, str) else content
        )
    return _build(values, shown(value) if isinstance(value, dict) else str(value))


def _build(values: dict[str, object], entry: str) -> Mount:
    """Return the mount that checked keys describe; refuse those that its type does not have."""
    kind = parse_choice(values.get("type", "volume"), MOUNT_TYPES, "mount type")
    foreign = [key for key in values if key.partition("-")[0] in MOUNT_TYPES and key.partition("-")[0] != kind]
    if kind == "tmpfs" and "source" in values:
        foreign.append("source")
    if foreign:
        raise InvalidInput(f"{shown(entry)}: a {kind} mount has no {foreign[0]!r}")
    if "target" not in values:
        raise InvalidInput(f"{shown(entry)}: the mount has no target", hint="write target=/path/inside")
    if kind == "bind" and "source" not in values:
        raise InvalidInput(f"{shown(entry)}: the bind mount has no source", hint="write source=/host/path")
    sources: dict[str, Callable[[object], str]] = {"bind": parse_path, "volume": _parse_volume_name}
    size = values.get("tmpfs-size")
    return Mount(
        kind,
        parse_target(values["target"]),
        sources[kind](values["source"]) if "source" in values else "",
        read_only=parse_bool(values.get("readonly", False)),
        size_bytes=None if size is None else parse_bytes(size, minimum=LEAST_TMPFS_BYTES),
        mode=_parse_mode(values["tmpfs-mode"]) if "tmpfs-mode" in values else None,
        exec_allowed=parse_bool(values.get("tmpfs-exec", False)),
        recursive=not parse_bool(values.get("bind-nonrecursive", False)),
        idmap=parse_bool(values.get("bind-idmap", False)),
        copy=not parse_bool(values.get("volume-nocopy", False)),
    )


def _parse_volume_name(value: object) -> str:
    return check_name(value, "volume")


def _parse_mode(value: object) -> int:
    """Return permission bits from their octal digits, as text or as a number that looks like them (1777)."""
    text = parse_text(value)
    if not _MODE.fullmatch(text):
        raise InvalidInput(f"{shown(text)} is not a mode", hint="write three or four octal digits, such as 1777")
    return int(text, 8)

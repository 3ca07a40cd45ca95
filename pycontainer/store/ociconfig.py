"""OCI image configs, read strictly and written: what a program's image says, and the digests of its layers.

    {"architecture", "os", "variant"?, "config": {Entrypoint, Cmd, Env, User, ...}, "rootfs": {"type": "layers", "diff_ids"}}

Source: OCI image-spec, config.md; Healthcheck is Docker's. Fields that nobody here knows stay in the blob, unheeded.
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pycontainer import jsontext
from pycontainer.errors import InvalidInput
from pycontainer.store.blobs import digest_hex
from pycontainer.store.imageconfig import check_config
from pycontainer.units import shown

MAX_BYTES = 4 << 20
MAX_LAYERS = 500  # overlayfs takes as many
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}  # of uname(2), of Go
_PLATFORM_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_TEXTS = {"User": "user", "WorkingDir": "workdir", "StopSignal": "stop_signal"}
_LISTS = {"Entrypoint": "entrypoint", "Cmd": "cmd", "Env": "env"}
_SETS = {"ExposedPorts": "exposed_ports", "Volumes": "volumes"}
_HEALTH = {
    "Interval": "interval_seconds",
    "Timeout": "timeout_seconds",
    "StartPeriod": "start_period_seconds",
    "StartInterval": "start_interval_seconds",
}


class OciConfig(NamedTuple):
    """`config` in our form (imageconfig.py); `diff_ids` lowest first; `platform` is os/architecture[/variant]."""

    config: dict[str, object]
    diff_ids: tuple[str, ...]
    platform: str


def host_architecture() -> str:
    """Return this machine's name among Go's."""
    machine = os.uname().machine
    return _ARCHITECTURES.get(machine, machine)


def host_platform() -> str:
    return f"linux/{host_architecture()}"


def parse_config(data: bytes, name: str) -> OciConfig:
    """Return what the config `name` (its digest, for messages) says; InvalidInput when it is none."""
    try:
        return _parsed(jsontext.loads(data, max_bytes=MAX_BYTES))
    except ValueError as error:
        raise InvalidInput(f"config {name} of the image is damaged: {error}") from error
    except InvalidInput as error:
        raise InvalidInput(
            f"config {name} of the image: {error.message}", hint=error.hint, field=error.field
        ) from error


def _parsed(value: object) -> OciConfig:
    image = _mapping(value, "it")
    rootfs = _mapping(image.get("rootfs"), "rootfs")
    diff_ids = rootfs.get("diff_ids")
    if rootfs.get("type") != "layers" or not isinstance(diff_ids, list) or not diff_ids:
        raise ValueError("rootfs names no layers")
    if len(diff_ids) > MAX_LAYERS:
        raise ValueError(f"{len(diff_ids)} layers are more than {MAX_LAYERS}")
    for diff_id in diff_ids:
        digest_hex(diff_id, "a diff_id")
    return OciConfig(_normalised(image.get("config")), tuple(diff_ids), platform_of(image))


def platform_of(fields: Mapping[str, Any]) -> str:
    """Return os/architecture[/variant] of an object that has them; ValueError."""
    parts = [fields.get("os"), fields.get("architecture"), *filter(None, [fields.get("variant")])]
    if not all(isinstance(part, str) and _PLATFORM_PART.fullmatch(part) for part in parts):
        raise ValueError("os and architecture are not words")
    return "/".join(map(str, parts))


def _normalised(value: object) -> dict[str, object]:
    given = {} if value is None else _mapping(value, "config")
    found: dict[str, object] = {}
    for names in (_TEXTS, _LISTS):
        found |= {ours: given.get(theirs) for theirs, ours in names.items()}
    for theirs, ours in _SETS.items():
        members = given.get(theirs)
        found[ours] = None if members is None else sorted(_mapping(members, theirs))
    found["labels"] = given.get("Labels")
    health = given.get("Healthcheck")
    if health is not None:
        health = _mapping(health, "Healthcheck")
        times = {ours: _seconds(health.get(theirs), theirs) for theirs, ours in _HEALTH.items()}
        found["healthcheck"] = {"test": health.get("Test"), "retries": health.get("Retries") or 0, **times}
    return check_config(found)


def _seconds(value: object, key: str) -> float:
    if value is None:
        return 0
    if type(value) is not int:
        raise ValueError(f"{shown(value)} for '{key}' is not a number of nanoseconds")
    return value / 1e9


def _mapping(value: object, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{what} is not an object")
    return value


def make_config(
    config: Mapping[str, Any], diff_ids: Sequence[str], *, platform: str = "", comment: str = "", base: bytes = b""
) -> bytes:
    """Return an OCI config blob for a config in our form; equal ones are equal byte for byte, so there is no time in it.

    With `base`, the config blob of the image that this one was made from, what nobody here knows is taken over from it.
    """
    made: dict[str, Any] = json.loads(base) if base else {}
    os_name, architecture, *variant = (platform or host_platform()).split("/")
    made |= {"architecture": architecture, "os": os_name, "rootfs": {"type": "layers", "diff_ids": list(diff_ids)}}
    if variant:
        made["variant"] = variant[0]
    inner: dict[str, Any] = dict(made.get("config") or {})
    for theirs in (*_TEXTS, *_LISTS, *_SETS, "Labels", "Healthcheck"):
        inner.pop(theirs, None)
    inner |= {theirs: config[ours] for theirs, ours in (_TEXTS | _LISTS).items() if config.get(ours)}
    inner |= {theirs: {name: {} for name in config[ours]} for theirs, ours in _SETS.items() if config.get(ours)}
    if config.get("labels"):
        inner["Labels"] = config["labels"]
    if health := config.get("healthcheck"):
        inner["Healthcheck"] = {"Test": health.get("test", [])} | {
            theirs: round(health[ours] * 1e9) for theirs, ours in _HEALTH.items() if ours in health
        }
        if "retries" in health:
            inner["Healthcheck"]["Retries"] = health["retries"]
    made["config"] = inner
    if comment:
        made["history"] = [*(made.get("history") or []), {"created_by": "pycontainer", "comment": comment}]
    return json.dumps(made, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

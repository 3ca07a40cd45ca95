"""Changes of an image's config, written as in a Dockerfile."""

import json
import shlex
from collections.abc import Iterable
from typing import Any

from pycontainer.errors import InvalidInput

_TEXTS = {"USER": "user", "WORKDIR": "workdir", "STOPSIGNAL": "stop_signal"}
_PROGRAMS = {"CMD": "cmd", "ENTRYPOINT": "entrypoint"}
_WORDS = {"EXPOSE": "exposed_ports", "VOLUME": "volumes"}
_NAMES = (*_PROGRAMS, "ENV", *_WORDS, "LABEL", *_TEXTS)


def config_of(changes: Iterable[str]) -> dict[str, Any]:
    """Return the config that instructions ask for, later ones winning; InvalidInput names one that is none."""
    config: dict[str, Any] = {}
    for change in changes:
        word, _, rest = change.strip().partition(" ")
        name, rest = word.upper(), rest.strip()
        if name not in _NAMES or not rest:
            raise InvalidInput(
                f"'{change}' is no change of an image", hint=f"begin it with one of {', '.join(_NAMES)}", field="change"
            )
        if name in _TEXTS:
            config[_TEXTS[name]] = rest
        elif name in _PROGRAMS:
            config[_PROGRAMS[name]] = _json_words(change, rest) if rest.startswith("[") else ["/bin/sh", "-c", rest]
        elif name in _WORDS:
            words = _json_words(change, rest) if rest.startswith("[") else rest.split()
            config.setdefault(_WORDS[name], []).extend(words)
        elif name == "ENV":
            config.setdefault("env", []).extend(f"{key}={value}" for key, value in _pairs(change, rest))
        else:
            config.setdefault("labels", {}).update(_pairs(change, rest))
    return config


def _pairs(change: str, rest: str) -> list[tuple[str, str]]:
    try:
        words = shlex.split(rest)
    except ValueError as error:
        raise InvalidInput(f"'{change}': {error}", field="change") from error
    pairs = [word.partition("=") for word in words]
    if not all(separator and key for key, separator, _ in pairs):
        raise InvalidInput(f"'{change}' does not give NAME=VALUE", field="change")
    return [(key, value) for key, _, value in pairs]


def _json_words(change: str, rest: str) -> list[str]:
    try:
        words = json.loads(rest)
    except ValueError:
        words = None
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise InvalidInput(
            f"'{change}' holds no JSON list of words", hint='write ["program", "argument"]', field="change"
        )
    return words

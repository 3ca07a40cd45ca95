"""A bundle without config.json, and a configuration that is right but for what a test changes."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pycontainer.errors import InvalidInput
from pycontainer.oci import config
from pycontainer.oci.config import Config

LEAST: dict[str, Any] = {
    "ociVersion": "1.2.0",
    "root": {"path": "rootfs"},
    "process": {"args": ["sh"], "cwd": "/"},
    "linux": {
        "namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "uts"}, {"type": "ipc"}, {"type": "network"}]
    },
}
MISSING = object()
Parse = Callable[..., Config]
Refused = Callable[..., str]


@pytest.fixture
def bundle(tmp_path: Path) -> str:
    (tmp_path / "rootfs").mkdir()
    return str(tmp_path)


@pytest.fixture
def parse(bundle: str) -> Parse:
    """Parse LEAST with values put at paths: `parse({"linux.sysctl": {...}})`; MISSING takes one away."""

    def changed(changes: dict[str, object] | None = None) -> Config:
        data = copy.deepcopy(LEAST)
        for path, value in (changes or {}).items():
            *parents, key = path.split(".")
            place = data
            for name in parents:
                place = place.setdefault(name, {})
            if value is MISSING:
                place.pop(key, None)
            else:
                place[key] = value
        return config.parse(data, bundle)

    return changed


@pytest.fixture
def refused(parse: Parse) -> Refused:
    """Return the message for what `parse` must refuse, without the name of the file, and with the hint if there is one."""

    def message(changes: dict[str, object]) -> str:
        with pytest.raises(InvalidInput) as caught:
            parse(changes)
        text = caught.value.message
        assert text.startswith("config.json: ") and "\n" not in text
        return text.removeprefix("config.json: ")

    return message

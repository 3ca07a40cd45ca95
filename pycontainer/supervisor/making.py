"""A container that is being made, on disk: which volumes come to be for it, noted before they do.

    containers/ID/making.json      {"volumes": [NAME, ...]}      goes when the record is there

What has this and no record was cut off, and takes with it what nobody else has come to use (removal.py).
"""

import contextlib
import json
import os

from pycontainer.linux.files import write_atomically
from pycontainer.record import read_record
from pycontainer.spec.names import is_name

_MAX_BYTES = 1 << 20


def note(directory: str, volumes: list[str]) -> None:
    """Write down the volumes that are about to be made for the container of `directory`."""
    write_atomically(_path(directory), json.dumps({"volumes": volumes}).encode())


def noted(directory: str) -> list[str]:
    """Return what was noted; nothing if that is damaged: then `volume prune` finds them unused."""
    with contextlib.suppress(OSError, ValueError):
        return [name for name in read_record(_path(directory), _MAX_BYTES).texts("volumes") if is_name(name)]
    return []


def forget(directory: str) -> None:
    """The container is whole; nothing noted is fine. What cannot be deleted now does no harm beside a record."""
    with contextlib.suppress(OSError):
        os.unlink(_path(directory))


def _path(directory: str) -> str:
    return f"{directory}/making.json"

"""The snapshots of a container: names for stacks of frozen layers.

    containers/ID/snapshots/NAME.json      version, name, created, layers (ids of disk/layers.py, lowest first), number

A snapshot holds all that the container had written, down to its image or rootfs. It goes with the container.
"""

import json
import os
import re
from typing import NamedTuple

from pycontainer.disk.layers import is_layer_id
from pycontainer.errors import InvalidInput
from pycontainer.linux.files import write_atomically
from pycontainer.record import check_version, read_record
from pycontainer.units import shown

AUTOMATIC = "auto-"  # how the names of scheduled ones begin
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,62}", re.ASCII)
_VERSION = 1


class Snapshot(NamedTuple):
    """One snapshot; `created` is wall time, for people. One made later has a greater `number`, whatever the clock said."""

    name: str
    created: float
    layers: tuple[str, ...]
    number: int = 0  # of records that have none


def check_snapshot_name(name: str) -> str:
    """Return `name` if it can name a snapshot; InvalidInput otherwise."""
    if _NAME.fullmatch(name) is None:
        raise InvalidInput(
            f"{shown(name)} is not a snapshot name",
            hint="use up to 63 letters, digits, '_', '.', ':' and '-', beginning with a letter or digit",
            field="name",
        )
    return name


def free_name(taken: "dict[str, Snapshot]") -> str:
    """Return the first of snap0, snap1, ... that is not taken."""
    return next(name for number in range(len(taken) + 1) if (name := f"snap{number}") not in taken)


def next_number(taken: "dict[str, Snapshot]") -> int:
    """Return the number of a snapshot that is made after all of these."""
    return max((snapshot.number for snapshot in taken.values()), default=0) + 1


def save_snapshot(container_dir: str, snapshot: Snapshot) -> None:
    """Write a snapshot's record: from here on it exists."""
    os.makedirs(f"{container_dir}/snapshots", mode=0o700, exist_ok=True)
    record = {"version": _VERSION, **snapshot._asdict()}
    write_atomically(_path(container_dir, snapshot.name), json.dumps(record).encode())


def delete_snapshot(container_dir: str, name: str) -> None:
    """Delete a snapshot's record; one that is gone already is fine."""
    try:
        os.unlink(_path(container_dir, name))
    except FileNotFoundError:
        pass


def load_snapshots(container_dir: str) -> tuple[dict[str, Snapshot], list[str]]:
    """Return the snapshots of a container, oldest first, and what is wrong with those that cannot be understood."""
    try:
        files = [name for name in os.listdir(f"{container_dir}/snapshots") if name.endswith(".json")]
    except FileNotFoundError:
        return {}, []
    found: list[Snapshot] = []
    damaged: list[str] = []
    for file in files:
        path = f"{container_dir}/snapshots/{file}"
        try:
            record = read_record(path)
            check_version(record, _VERSION)
            number = record.integer("number") if "number" in record else 0
            snapshot = Snapshot(record.text("name"), record.time("created"), tuple(record.texts("layers")), number)
            if f"{snapshot.name}.json" != file or not all(map(is_layer_id, snapshot.layers)):
                raise ValueError(f"it is that of {shown(snapshot.name)}")
        except (ValueError, OSError) as error:
            damaged.append(f"snapshot '{file.removesuffix('.json')}' cannot be read: {error}; its record is '{path}'")
        else:
            found.append(snapshot)
    return {snapshot.name: snapshot for snapshot in sorted(found, key=_made)}, damaged


def _made(snapshot: Snapshot) -> tuple[int, float, str]:
    return snapshot.number, snapshot.created, snapshot.name


def _path(container_dir: str, name: str) -> str:
    return f"{container_dir}/snapshots/{name}.json"

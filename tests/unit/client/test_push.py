"""How far skopeo is with a push is read from the places of its open files."""

import os
from pathlib import Path
from typing import Any

from pycontainer.client.push import _Reader


def test_what_a_process_has_read(tmp_path: Path) -> None:
    for name, size in (("one", 1000), ("two", 500)):
        (tmp_path / name).write_bytes(bytes(size))
    seen: list[dict[str, Any]] = []
    reader = _Reader(str(tmp_path), seen.append)
    reader.look(os.getpid())
    with open(tmp_path / "one", "rb", buffering=0) as file:
        file.read(400)
        reader.look(os.getpid())
    with open(tmp_path / "two", "rb", buffering=0) as file:
        file.read(100)
        reader.look(os.getpid())
    assert [counters["bytes"] for counters in seen] == [0, 400, 1100]
    assert {counters["total_bytes"] for counters in seen} == {1500}


def test_nobody_listens(tmp_path: Path) -> None:
    _Reader(str(tmp_path / "missing"), None).look(os.getpid())

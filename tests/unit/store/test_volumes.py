"""Volumes and the directories of a container's root."""

import os
import stat
from pathlib import Path

import pytest

from pycontainer.errors import InvalidInput, NotFound
from pycontainer.paths import HostPaths
from pycontainer.store.volumes import Volumes


def test_life_of_a_volume(tmp_path: Path) -> None:
    volumes = Volumes(HostPaths(str(tmp_path)))
    assert volumes.list() == []
    data = volumes.get_or_create("db")
    assert data == f"{tmp_path}/lib/volumes/db/data"
    Path(data, "file").write_text("kept")
    assert volumes.get_or_create("db") == data
    assert stat.S_IMODE(os.stat(data).st_mode) == 0o755
    assert stat.S_IMODE(os.stat(os.path.dirname(data)).st_mode) == 0o700
    assert volumes.list() == ["db"]
    volumes.remove("db")
    assert volumes.list() == []
    with pytest.raises(NotFound):
        volumes.remove("db")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "-x", "a\n", "x" * 64, "é"])
def test_refuses_names(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInput):
        Volumes(HostPaths(str(tmp_path))).get_or_create(name)
    assert os.listdir(tmp_path) == []

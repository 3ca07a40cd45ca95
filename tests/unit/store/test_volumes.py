"""Volumes and the directories of a container's root."""

import os
import stat
from pathlib import Path

import pytest

from pycontainer.errors import InvalidInput, NotFound
from pycontainer.paths import HostPaths
from pycontainer.store.rootfs import prepare
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


def test_prepare_sets_modes_whatever_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o077)
    try:
        prepare(str(tmp_path))
    finally:
        os.umask(old)
    assert stat.S_IMODE(os.stat(tmp_path / "rootfs/upper").st_mode) == 0o755
    assert sorted(os.listdir(tmp_path / "rootfs")) == ["upper", "work"]

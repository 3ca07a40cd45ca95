"""Volumes and the directories of a container's root."""

import os
import stat
from pathlib import Path

import pytest

from pycontainer.errors import AlreadyExists, InvalidInput, NotFound
from pycontainer.paths import HostPaths
from pycontainer.store.volumes import Volumes


def make_data(directory: str) -> None:
    os.mkdir(f"{directory}/data")


def fail(_directory: str) -> None:
    raise OSError("no space")


def test_life_of_a_volume(tmp_path: Path) -> None:
    volumes = Volumes(HostPaths(str(tmp_path)))
    assert volumes.list() == []
    volume = volumes.create("db", make_data, labels={"tier": "back"})
    assert volume.data == f"{tmp_path}/lib/volumes/db/data"
    assert stat.S_IMODE(os.stat(volume.directory).st_mode) == 0o700
    assert volumes.has("db")
    assert volumes.list() == [volumes.get("db")] == [volume]
    with pytest.raises(AlreadyExists, match="there is a volume 'db' already"):
        volumes.create("db", make_data)
    assert volumes.left_over() == ()
    place = volumes.retire("db")
    assert volumes.list() == []
    assert volumes.left_over() == (place,)
    with pytest.raises(NotFound):
        volumes.retire("db")


def test_a_volume_that_cannot_be_made_leaves_nothing(tmp_path: Path) -> None:
    volumes = Volumes(HostPaths(str(tmp_path)))
    with pytest.raises(OSError, match="no space"):
        volumes.create("db", fail)
    assert os.listdir(tmp_path / "lib" / "volumes") == []


def test_two_that_are_made_under_one_name(tmp_path: Path) -> None:
    volumes = Volumes(HostPaths(str(tmp_path)))
    staging = volumes.begin("db")
    volumes.create("db", make_data)
    with pytest.raises(AlreadyExists):
        volumes.finish(staging, "db")


@pytest.mark.parametrize("record", ["", "[]", "{", '{"labels": {"a": 1}, "created": 1, "anonymous": true}'])
def test_a_record_that_is_damaged_or_missing_decides_nothing(tmp_path: Path, record: str) -> None:
    """FLT-09. The data counts; a damaged record makes no volume one that is pruned unasked."""
    volumes = Volumes(HostPaths(str(tmp_path)))
    volume = volumes.create("db", make_data, is_anonymous=True)
    Path(volume.directory, "volume.json").write_text(record)
    assert volumes.get("db") == ("db", volume.directory, None, {}, False)
    os.unlink(f"{volume.directory}/volume.json")
    assert volumes.get("db") == ("db", volume.directory, None, {}, False)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "-x", "a\n", "x" * 64, "é"])
def test_refuses_names(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInput):
        Volumes(HostPaths(str(tmp_path))).create(name, make_data)
    assert os.listdir(tmp_path) == []

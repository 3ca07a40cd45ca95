"""Finding builders, and the place they work in. Running one: tests/integration/test_build_from.py."""

import fcntl
import os
from pathlib import Path

import pytest

from pycontainer.client import builders
from pycontainer.errors import InvalidInput, NotFound


def test_every_builder_says_what_it_makes() -> None:
    found = builders.list_builders()
    assert [one.name for one in found if not one.about] == []
    assert [one.name for one in found if not os.access(one.path, os.X_OK)] == []
    assert [one.name for one in found] == sorted(one.name for one in found)


def test_what_they_share_is_no_builder() -> None:
    with pytest.raises(NotFound, match="no recipe 'common.sh'"):
        builders.find("common.sh")
    assert builders.find("nginx").endswith("/rootfs-tools/nginx")


def test_a_recipe_is_not_looked_for_in_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = tmp_path / "mine"
    mine.write_text("#!/bin/sh\n")
    mine.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotFound):
        builders.find("mine")
    assert builders.find("./mine") == str(mine)


def test_an_installation_without_recipes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builders, "_DIRECTORIES", ("/none",))
    with pytest.raises(NotFound, match="the recipes of pycontainer are not installed"):
        builders.list_builders()


@pytest.mark.parametrize("text", ["", "{", "[1]", '"text"', '{"cmd": NaN}', '{"a": 1, "a": 2}', "[" * 100])
def test_a_config_that_is_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "out.json"
    path.write_text(text)
    with pytest.raises(InvalidInput, match=f"config '{path}'"):
        builders.read_config(str(path))


def test_a_workspace_takes_what_was_abandoned_and_leaves_what_is_at_work(tmp_path: Path) -> None:
    place = tmp_path / "builds"
    for name in ("abandoned", "at-work"):
        (place / name / "rootfs").mkdir(parents=True)
    fd = os.open(place / "at-work", os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    try:
        with builders._workspace(str(place)) as directory:
            assert sorted(os.listdir(place)) == sorted(["at-work", os.path.basename(directory)])
            with builders._workspace(str(place)) as other:
                assert sorted(map(os.path.basename, (directory, other, "at-work"))) == sorted(os.listdir(place))
        assert os.listdir(place) == ["at-work"]
    finally:
        os.close(fd)
    with builders._workspace(str(place)):
        assert not (place / "at-work").exists()
    assert not place.exists()

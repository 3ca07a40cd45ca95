"""The stand-in for `os` that the bundle gives its modules: it says what `os` says."""

import os
import posix
import posixpath
from pathlib import Path

import pytest

from pycontainer.oci import light

PATHS = ["", "/", "//", "a", "a/", "a/b", "/a", "/a/b", "//a//b//", "../a", "./a/../b", "/..", "a\u00e9", "\udcff"]


def test_what_is_in_c_is_the_same() -> None:
    names = [name for name in dir(posix) if not name.startswith("_")] + ["_exit"]
    assert [name for name in names if getattr(light, name) is not getattr(os, name)] == []
    assert "open" in names and light.devnull == os.devnull


def test_what_is_not_there_is_that_of_os() -> None:
    found: object = light.environ
    assert found is os.environ and light.walk is os.walk
    assert light.path.splitext is posixpath.splitext
    with pytest.raises(AttributeError, match="nonsense"):
        light.nonsense  # noqa: B018


@pytest.mark.parametrize("path", PATHS)
def test_paths(path: str) -> None:
    for function in ("dirname", "basename", "normpath", "abspath", "exists", "isdir"):
        assert getattr(light.path, function)(path) == getattr(posixpath, function)(path)
    for other in PATHS:
        assert light.path.join(path, other) == posixpath.join(path, other)
        assert light.path.join(other, path, other) == posixpath.join(other, path, other)
    assert (light.fsencode(path), light.fsdecode(os.fsencode(path))) == (os.fsencode(path), path)
    assert light.fsencode(os.fsencode(path)) == os.fsencode(path) and light.fsencode(Path(path)) == os.fsencode(
        Path(path)
    )


def test_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("directory")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "directory" / "up").symlink_to("../link/../file")
    for name in ("directory", "file", "link", "dangling", "loop", "nothing", "link/up", "directory/../link", "a\0b"):
        path = f"{tmp_path}/{name}"
        for function in ("exists", "isdir"):
            assert getattr(light.path, function)(path) == getattr(posixpath, function)(path)
        if "\0" not in name:
            assert light.path.realpath(path) == posixpath.realpath(path)
    for name in ("directory", "link", "link/up", "directory/../link"):
        assert light.path.realpath(f"{tmp_path}/{name}", strict=True) == posixpath.realpath(
            tmp_path / name, strict=True
        )
    for name in ("dangling", "loop", "nothing"):
        with pytest.raises(OSError) as expected:
            posixpath.realpath(tmp_path / name, strict=True)
        with pytest.raises(OSError) as caught:
            light.path.realpath(f"{tmp_path}/{name}", strict=True)
        assert caught.value.errno == expected.value.errno

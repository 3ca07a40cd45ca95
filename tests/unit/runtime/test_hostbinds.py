"""The way to a directory of the host: links count only where root alone could have made them."""

import os
from pathlib import Path

import pytest

from pycontainer.errors import InvalidInput
from pycontainer.linux import files
from pycontainer.runtime import hostbinds
from pycontainer.runtime.hostbinds import open_source


@pytest.fixture(params=["openat2", "without"])
def top(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory, with openat2(2) and as on a kernel without it. PATH-09."""
    if request.param == "without":
        monkeypatch.setattr(files, "use_openat2", False)
    (tmp_path / "a" / "b").mkdir(parents=True)
    os.chmod(tmp_path, 0o755)
    return tmp_path


def place(path: Path) -> str:
    fd = open_source(str(path))
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


@pytest.mark.skipif(os.geteuid() != 0, reason="whose links they are is the point")
def test_links_of_root_count(top: Path) -> None:
    (top / "absolute").symlink_to(top / "a")
    (top / "relative").symlink_to("a/../a/b")
    assert place(top / "a" / "b") == str(top / "a" / "b")
    assert place(top / "absolute" / "b") == str(top / "a" / "b")
    assert place(top / "relative") == str(top / "a" / "b")


@pytest.mark.skipif(os.geteuid() != 0, reason="whose links they are is the point")
def test_links_that_others_could_change_do_not(top: Path) -> None:
    (top / "link").symlink_to("a")
    os.chmod(top, 0o777)
    with pytest.raises(InvalidInput, match="'link' is a link that others than root can change"):
        open_source(str(top / "link" / "b"))
    os.chmod(top, 0o755)
    os.chown(top / "link", 1000, 1000, follow_symlinks=False)
    with pytest.raises(InvalidInput, match="'link' is a link that others than root can change"):
        open_source(str(top / "link"))


def test_what_is_not_there_and_links_without_end(top: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_source(str(top / "none"))
    (top / "loop").symlink_to("loop")
    with pytest.raises(InvalidInput):
        open_source(str(top / "loop"))


def test_a_path_is_in_a_directory_only_by_whole_components() -> None:
    assert hostbinds._is_in("/proc", "/proc")
    assert hostbinds._is_in("/proc/1", "/proc")
    assert not hostbinds._is_in("/process", "/proc")
    assert hostbinds._is_in("/etc", "/")

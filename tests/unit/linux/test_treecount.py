"""Counting what a directory holds."""

import os
import time
from pathlib import Path

import pytest

from pycontainer.linux import treecount
from pycontainer.linux.treecount import count

LATER = 1e12


def test_files_count_once_and_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "file").write_bytes(os.urandom(40960))
    os.link(tmp_path / "deep" / "er" / "file", tmp_path / "twin")
    (tmp_path / "link").symlink_to("/usr")
    with open(tmp_path / "hole", "wb") as file:
        file.truncate(1 << 30)
    used_bytes, inodes, is_complete, names, file_bytes = count(str(tmp_path), LATER)
    assert (inodes, is_complete) == (6, True)
    assert (names, file_bytes) == (6, 2 * 40960 + (1 << 30))
    assert 40960 <= used_bytes <= 40960 + 5 * 4096


def test_a_file_is_its_own_one_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    assert count(f"{tmp_path}/file", LATER)[1:] == (1, True, 1, 5)


def test_what_is_gone_holds_nothing(tmp_path: Path) -> None:
    assert count(f"{tmp_path}/none", LATER) == (0, 0, True, 0, 0)


def test_no_time_and_too_deep_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PATH-08."""
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    assert count(str(tmp_path), time.monotonic() - 1)[2] is False
    monkeypatch.setattr(treecount, "_MAX_DEPTH", 3)
    assert count(str(tmp_path), LATER)[2] is False

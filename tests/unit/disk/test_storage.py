"""The directories of a container's layer, and what is deleted with it."""

import os
import stat
from pathlib import Path

from pycontainer.disk.storage import erase, make_directories


def test_modes_whatever_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o077)
    try:
        make_directories(str(tmp_path))
    finally:
        os.umask(old)
    assert stat.S_IMODE(os.stat(tmp_path / "rootfs").st_mode) == 0o700
    assert stat.S_IMODE(os.stat(tmp_path / "rootfs/upper").st_mode) == 0o755
    assert sorted(os.listdir(tmp_path / "rootfs")) == ["upper", "work"]


def test_erase_of_a_layer_whose_pool_is_gone(tmp_path: Path) -> None:
    container = tmp_path / "c1"
    container.mkdir()
    (container / "pool").symlink_to(tmp_path / "acme.pool" / "c1")
    erase(str(container))
    erase(str(container))
    assert os.listdir(tmp_path) == []

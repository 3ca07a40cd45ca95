"""The terminal of a container, whose /dev is its image's or its own to make."""

import os
from pathlib import Path

import pytest

from pycontainer.errors import StartFailed
from pycontainer.oci import console


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "dev" / "pts").mkdir(parents=True)
    return tmp_path


@pytest.mark.parametrize("kind", ["fifo", "file", "link"])
def test_what_is_no_multiplexer_is_not_opened(root: Path, kind: str) -> None:
    """The class of CVE-2025-52565: a fifo would keep us waiting, a device act on being opened, a link lead elsewhere."""
    place = root / "dev" / "pts" / "ptmx"
    if kind == "fifo":
        os.mkfifo(place)
    elif kind == "file":
        place.touch()
    else:
        (root / "watched").touch()
        place.symlink_to("/watched")
    root_fd = os.open(root, os.O_PATH | os.O_DIRECTORY)
    try:
        with pytest.raises(StartFailed, match="is no terminal multiplexer"):
            console.open_master(root_fd)
    finally:
        os.close(root_fd)


def test_socket_that_nobody_reads(tmp_path: Path) -> None:
    """Not a broken pipe, which to `main` is that of standard output."""
    with pytest.raises(StartFailed, match=f"^console socket '{tmp_path}/none': no such file or directory$"):
        console.send(f"{tmp_path}/none", 0)

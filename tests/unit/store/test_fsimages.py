"""A source becomes a file system that the kernel reads only if its user said so, never by what its author wrote. IMG-05."""

import gzip
import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pycontainer.errors import InvalidInput
from pycontainer.store.fsimages import kind_of, wanted_kind

SQUASHFS = b"hsqs" + bytes(4096)
EROFS = bytes(1024) + b"\xe2\xe1\xf5\xe0" + bytes(4096)


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path / "source", os.O_RDWR | os.O_CREAT, 0o600)
    yield fd
    os.close(fd)


def tar_told_as_erofs() -> bytes:
    """A valid archive: header, 512 bytes of a file, and the next 512, which begin as an erofs does."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        member = tarfile.TarInfo("file")
        content = bytes(512) + EROFS[1024:2048]
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return target.getvalue()


@pytest.mark.parametrize(("content", "kind"), [(SQUASHFS, "squashfs"), (EROFS, "erofs")])
def test_has_to_be_told(fd: int, content: bytes, kind: str) -> None:
    os.write(fd, content)
    other = "erofs" if kind == "squashfs" else "squashfs"
    assert wanted_kind(fd, "/x/root.img", kind) == wanted_kind(fd, f"root.{kind}", "") == kind
    for source in ("root", "root.tar", f"root.{other}", f"x.{kind}/root", f".{kind}"):
        with pytest.raises(InvalidInput, match=f"looks like {kind}") as refused:
            wanted_kind(fd, source, "")
        assert f"--format {kind}" in refused.value.hint
    with pytest.raises(InvalidInput, match=f"is no {other} file"):
        wanted_kind(fd, f"root.{kind}", other)
    with pytest.raises(InvalidInput, match="unknown format"):
        wanted_kind(fd, f"root.{kind}", "ext4")


@pytest.mark.parametrize("name", ["root.sqfs", "root.sfs"])
def test_other_names_of_squashfs(fd: int, name: str) -> None:
    os.write(fd, SQUASHFS)
    assert wanted_kind(fd, name, "") == "squashfs"


@pytest.mark.parametrize("content", [tar_told_as_erofs(), gzip.compress(b"")[:10] + EROFS[10:]])
def test_an_archive_stays_one(fd: int, content: bytes) -> None:
    """Whatever stands at the place of erofs's magic, and however the file is called."""
    os.write(fd, content)
    assert kind_of(fd) == "erofs"
    assert wanted_kind(fd, "root.tar", "") == wanted_kind(fd, "root.erofs", "") == ""
    with pytest.raises(InvalidInput, match="is no erofs file"):
        wanted_kind(fd, "root.tar", "erofs")


def test_a_directory_is_none(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        assert wanted_kind(fd, "tree.erofs", "") == ""
        with pytest.raises(InvalidInput, match="is no squashfs file"):
            wanted_kind(fd, "tree", "squashfs")
    finally:
        os.close(fd)

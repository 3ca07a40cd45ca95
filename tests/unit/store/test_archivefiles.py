"""An image's files in an archive or a directory: told from root file systems, never beyond the file or the directory."""

import io
import os
import tarfile
from pathlib import Path

import pytest

from pycontainer.errors import InvalidInput
from pycontainer.store.archivefiles import ArchiveFiles, DirectoryFiles, Member, list_members, read_all
from pycontainer.store.bundles import is_for

BLOB = "blobs/sha256/" + "a" * 64


def make_tar(*names: str, links: tuple[tuple[str, bytes, str], ...] = ()) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = len(name)
            if name.endswith("/"):
                info.type, info.size = tarfile.DIRTYPE, 0
            tar.addfile(info, io.BytesIO(name.encode()))
        for name, kind, target in links:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            tar.addfile(info)
    return out.getvalue()


def listed(data: bytes, *, is_seekable: bool = True) -> list[str]:
    return [member.name for member in list_members(io.BytesIO(data), is_seekable=is_seekable)]


@pytest.mark.parametrize("is_seekable", [True, False])
@pytest.mark.parametrize(
    ("names", "is_image"),
    [
        (("oci-layout", "index.json"), True),
        ((BLOB, "index.json", "oci-layout"), True),
        (("blobs/", "blobs/sha256/", BLOB, "index.json", "oci-layout"), True),
        (("a" * 64 + "/", "a" * 64 + "/layer.tar", "manifest.json"), True),
        (("blobs/", "blobs/sha256/"), False),
        (("a" * 64 + ".json", "manifest.json"), True),
        (("./manifest.json",), True),
        (("bin/sh", "manifest.json"), False),
        (("etc/manifest.json",), False),
        (("x/y/z/a/b", "manifest.json"), False),
        (("readme",), False),
        ((), False),
    ],
)
def test_images_are_told_from_root_file_systems(names: tuple[str, ...], is_image: bool, is_seekable: bool) -> None:
    assert bool(listed(make_tar(*names), is_seekable=is_seekable)) == is_image


def test_files_and_links_are_found_where_they_are(tmp_path: Path) -> None:
    data = make_tar(
        *("manifest.json", "a/layer.tar"),
        links=(("b/layer.tar", tarfile.SYMTYPE, "../a/layer.tar"), ("c", tarfile.LNKTYPE, "a/layer.tar")),
    )
    (tmp_path / "tar").write_bytes(data)
    fd = os.open(tmp_path / "tar", os.O_RDONLY)
    try:
        files = ArchiveFiles(fd, tuple(list_members(io.BytesIO(data), is_seekable=True)))
        for name in ("a/layer.tar", "b/layer.tar", "c", "./a//layer.tar"):
            assert read_all(files, name, 100) == b"a/layer.tar"
        assert read_all(files, "none", 100) is None
        with pytest.raises(InvalidInput, match="'c' of the image has 11 bytes, more than 10"):
            read_all(files, "c", 10)
    finally:
        os.close(fd)


def test_what_the_lister_says_is_only_believed_within_the_file(tmp_path: Path) -> None:
    (tmp_path / "tar").write_bytes(b"12345")
    fd = os.open(tmp_path / "tar", os.O_RDONLY)
    try:
        members = (
            Member("long", 3, 3, ""),
            Member("x", 0, 0, "y"),
            Member("y", 0, 0, "x"),
            Member("out", 0, 0, "/etc/passwd"),
        )
        files = ArchiveFiles(fd, members)
        with pytest.raises(InvalidInput, match="'long' is not whole"):
            files.find("long")
        with pytest.raises(InvalidInput, match="a link that goes on and on"):
            files.find("x")
        assert files.find("out") is None
    finally:
        os.close(fd)


def test_a_directory_is_not_left(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s")
    layout = tmp_path / "layout"
    (layout / "blobs").mkdir(parents=True)
    (layout / "index.json").write_text("{}")
    (layout / "link").symlink_to("../secret")
    (layout / "up").symlink_to("..")
    os.mkfifo(layout / "fifo")
    dir_fd = os.open(layout, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with DirectoryFiles(dir_fd) as files:
            assert read_all(files, "index.json", 10) == b"{}" and files.find("none") is None
            for name in ("link", "up/secret", "../secret", "/etc/passwd", "fifo", "blobs"):
                with pytest.raises(InvalidInput, match="of the image"):
                    files.find(name)
    finally:
        os.close(dir_fd)


@pytest.mark.parametrize(
    ("found", "wanted", "expected"),
    [
        ("linux/amd64", "linux/amd64", True),
        ("linux/arm64", "linux/amd64", False),
        ("windows/amd64", "linux/amd64", False),
        ("linux/arm64/v8", "linux/arm64", True),
        ("linux/arm64", "linux/arm64/v8", True),
        ("linux/arm/v6", "linux/arm/v7", False),
        ("linux/arm/v7", "linux/arm/v7", True),
    ],
)
def test_platforms(found: str, wanted: str, expected: bool) -> None:
    assert is_for(found, wanted) == expected

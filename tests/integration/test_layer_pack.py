"""What overlayfs leaves in an upper directory becomes a layer: deletions, opaque directories, and what cannot be said."""

import hashlib
import io
import os
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from pycontainer.errors import InvalidInput, InvalidState
from pycontainer.runtime.importer import Importer
from pycontainer.store.layerpack import compress_layer, opaque_directories
from pycontainer.store.tarstream import LayerForm, Packed
from tests.support.overlay import change

pytestmark = pytest.mark.requires("root", "overlay")


@pytest.fixture
def directory() -> Iterator[Path]:
    """Where overlayfs may have an upper directory."""
    with tempfile.TemporaryDirectory(prefix="pct-layer-", dir="/var/tmp") as path:
        yield Path(path)


@pytest.fixture
def lower(directory: Path) -> Path:
    tree = directory / "lower"
    for name in ("kept", "gone", "emptied/inner", "again"):
        (tree / name).mkdir(parents=True)
        (tree / name / "file").write_text(name)
    return tree


def pack(upper: Path, layer: LayerForm | None = None) -> tuple[bytes, list[str]]:
    fd = os.open(upper, os.O_RDONLY)
    try:
        stream = Packed(fd, layer=layer or LayerForm(opaque_directories(fd)))
        return b"".join(iter(lambda: stream.read(1 << 16), b"")), stream.left_out
    finally:
        os.close(fd)


def names(data: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return tar.getnames()


def test_deletions_and_opaque_directories(directory: Path, lower: Path) -> None:
    upper = change(
        directory, [lower], "rm -r gone kept/file; rm -r again; mkdir again; echo new >again/new; echo x >.new"
    )
    assert (upper / "gone").is_char_device()
    data, left_out = pack(upper)
    assert names(data) == [".", ".new", "again", "again/.wh..wh..opq", "again/new", ".wh.gone", "kept", "kept/.wh.file"]
    assert left_out == []
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert all(
            tar.getmember(name).isreg() and not tar.getmember(name).size for name in names(data) if ".wh." in name
        )
    assert pack(upper)[0] == data
    plain, dropped = pack(upper, LayerForm()), pack(upper)[1]
    assert "again/.wh..wh..opq" not in names(plain[0]) and not dropped


def test_an_opaque_root(directory: Path, lower: Path) -> None:
    upper = change(directory, [lower], "true")
    os.setxattr(upper, "trusted.overlay.opaque", b"y")
    assert names(pack(upper)[0]) == [".", ".wh..wh..opq"]


def test_names_that_would_delete_are_left_out(directory: Path, lower: Path) -> None:
    upper = change(directory, [lower], "echo x >.wh.kept; mkdir again/.wh..wh..opq; mknod null c 1 3; mkfifo fifo")
    data, left_out = pack(upper)
    assert names(data) == [".", "again"]
    assert [line.partition(" ")[0] for line in left_out] == [
        "'./.wh.kept'",
        "'./again/.wh..wh..opq'",
        "'./fifo'",
        "'./null'",
    ]


def test_what_only_overlayfs_can_resolve_is_refused(directory: Path, lower: Path) -> None:
    upper = change(directory / "1", [lower], "true")
    (upper / "dir").mkdir()
    os.setxattr(upper / "dir", "trusted.overlay.redirect", b"/kept")
    with pytest.raises(InvalidState, match=r"'dir' was renamed by overlayfs's redirect_dir or metacopy"):
        pack(upper)
    upper = change(directory / "2", [lower], "mkdir dir; echo >dir/file")
    os.setxattr(upper / "dir/file", "trusted.overlay.metacopy", b"")
    with pytest.raises(InvalidState, match=r"'dir/file' was renamed"):
        pack(upper)


def test_owners_beyond_the_map_are_refused(directory: Path, lower: Path) -> None:
    upper = change(directory, [lower], "echo >mine; chown 65536:0 mine")
    with pytest.raises(InvalidInput, match=r"'./mine' belongs to 65536:0, but a container has the ids 0 to 65535"):
        pack(upper)


def test_attributes_of_overlayfs_stay_behind(directory: Path, lower: Path) -> None:
    upper = change(directory, [lower], "echo more >>kept/file; echo x >file")
    os.setxattr(upper / "file", "user.mine", b"\0\xff")
    assert any(name.startswith("trusted.overlay.") for name in os.listxattr(upper / "kept/file"))
    with tarfile.open(fileobj=io.BytesIO(pack(upper)[0])) as tar:
        headers = {member.name: set(member.pax_headers) for member in tar}
    assert headers["kept/file"] == {"mtime"}
    assert headers["file"] >= {"mtime", "SCHILY.xattr.user.mine"}


def test_compressed_form_has_both_digests(directory: Path, lower: Path) -> None:
    """Neither a time nor a name is in gzip's header, so equal streams are equal blobs."""
    data, _ = pack(lower)
    blob = directory / "blob"
    with blob.open("wb") as file:
        made = compress_layer(io.BytesIO(data), file.fileno())
    packed = blob.read_bytes()
    assert packed[:10] == b"\x1f\x8b\x08\0\0\0\0\0\0\x03"
    assert zlib.decompress(packed, 31) == data
    assert made == (hashlib.sha256(data).hexdigest(), hashlib.sha256(packed).hexdigest(), len(packed))


def test_the_confined_packer_writes_the_same_layer(directory: Path, lower: Path) -> None:
    """It sees no `trusted.*`, so what is opaque is found for it; it cannot follow a link, and names what it left out."""
    script = "rm -r again; mkdir again; rm kept/file; ln -s /etc/passwd link; mkfifo fifo; echo x >plain; ln plain hard"
    upper = change(directory, [lower], script)
    blob = directory / "blob"
    with blob.open("wb") as file:
        made, left_out = Importer().pack_layer(str(upper), file.fileno(), is_upper=True)
    data, _ = pack(upper)
    assert zlib.decompress(blob.read_bytes(), 31) == data
    assert made.diff_id == hashlib.sha256(data).hexdigest()
    assert names(data) == [".", "again", "again/.wh..wh..opq", "hard", "kept", "kept/.wh.file", "link", "plain"]
    assert left_out == ["'./fifo' is a device, fifo or socket"]


def test_what_the_confined_packer_refuses(directory: Path, lower: Path) -> None:
    upper = change(directory, [lower], "echo >mine; chown 65536:0 mine")
    with (directory / "blob").open("wb") as file, pytest.raises(InvalidInput, match="'./mine' belongs to 65536:0"):
        Importer().pack_layer(str(upper), file.fileno(), is_upper=True)

"""Blobs: names that cannot be paths, copies that are verified, what is damaged is not handed out."""

import hashlib
import os
from pathlib import Path

import pytest

from pycontainer.errors import InvalidInput, InvalidState
from pycontainer.store.blobs import Blobs, digest_hex, digest_of, stage_bytes, stage_copy


@pytest.mark.parametrize(
    "digest",
    ["", "sha256:", "sha256:../../../etc/passwd", "sha256:" + "A" * 64, "sha256:" + "a" * 63, "sha256:" + "a" * 65]
    + ["sha512:" + "a" * 128, "a" * 64, "sha256:" + "a" * 64 + "\n", 7, None],
)
def test_what_is_no_digest_names_nothing(digest: object, tmp_path: Path) -> None:
    """IMG-05"""
    with pytest.raises(InvalidInput, match="is not sha256: and 64"):
        digest_hex(digest)
    with pytest.raises(InvalidInput):
        Blobs(str(tmp_path)).path(digest)  # type: ignore[arg-type]


def test_a_part_of_a_file_is_copied_and_verified(tmp_path: Path) -> None:
    content = os.urandom(3 << 20)
    (tmp_path / "source").write_bytes(b"before" + content + b"behind")
    (tmp_path / "blobs").mkdir()
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    seen: list[int] = []
    fd = os.open(tmp_path / "source", os.O_RDONLY)
    try:
        made = stage_copy(
            fd, str(tmp_path / "blobs"), offset=6, size_bytes=len(content), digest=digest, on_bytes=seen.append
        )
        assert made == digest
        assert sum(seen) == len(content)
        assert (tmp_path / "blobs" / digest[7:]).read_bytes() == content
        os.unlink(tmp_path / "blobs" / digest[7:])
        with pytest.raises(InvalidInput, match=f"blob {digest} is damaged"):
            stage_copy(fd, str(tmp_path / "blobs"), offset=5, size_bytes=len(content), digest=digest)
        with pytest.raises(InvalidInput, match=f"blob {digest} is cut off"):
            stage_copy(fd, str(tmp_path / "blobs"), offset=100, size_bytes=len(content), digest=digest)
    finally:
        os.close(fd)
    assert os.listdir(tmp_path / "blobs") == []


def test_a_damaged_blob_is_not_handed_out(tmp_path: Path) -> None:
    blobs = Blobs(str(tmp_path))
    os.makedirs(blobs.directory)
    digest = stage_bytes(b"content", blobs.directory)
    assert digest == digest_of(b"content") and blobs.has(digest) and blobs.all() == {digest}
    assert blobs.read(digest, 7) == b"content" and blobs.size_bytes(digest) == 7
    with pytest.raises(InvalidState, match=f"blob {digest} cannot be read"):
        blobs.read(digest, 6)
    Path(blobs.path(digest)).write_bytes(b"Content")
    with pytest.raises(InvalidState, match=f"blob {digest} is damaged"):
        blobs.read(digest, 7)
    blobs.remove(digest)
    blobs.remove(digest)
    with pytest.raises(InvalidState, match=f"blob {digest} cannot be read"):
        blobs.read(digest, 7)

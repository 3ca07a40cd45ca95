"""A file goes to the supervisor as it is, a stream as a file; a full disk is told of."""

import errno
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest

from pycontainer.client.sources import as_file
from pycontainer.errors import PycontainerError


def test_a_stream_becomes_a_file() -> None:
    read_fd, write_fd = os.pipe()
    os.write(write_fd, b"archive")
    os.close(write_fd)
    try:
        with as_file(read_fd) as fd:
            assert fd != read_fd and os.read(fd, 100) == b"archive"
    finally:
        os.close(read_fd)


@pytest.mark.parametrize(("offset", "is_same"), [(0, True), (2, False)])
def test_a_file_is_sent_itself_if_all_of_it_is_meant(tmp_path: Path, offset: int, is_same: bool) -> None:
    (tmp_path / "file").write_bytes(b"archive")
    with open(tmp_path / "file", "rb") as file:
        os.lseek(file.fileno(), offset, os.SEEK_SET)
        with as_file(file.fileno()) as fd:
            assert (fd == file.fileno()) == is_same and os.read(fd, 100) == b"archive"[offset:]


def test_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**options: Any) -> Any:
        return open("/dev/full", "wb", **options)

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with open("/dev/zero", "rb") as file, pytest.raises(PycontainerError, match="has no room") as caught:
        with as_file(file.fileno()):
            pass
    assert isinstance(caught.value.__cause__, OSError) and caught.value.__cause__.errno == errno.ENOSPC
    assert "TMPDIR" in caught.value.hint

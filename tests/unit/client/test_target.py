"""Where exports, backups and saved images go: a file that is whole or not there, and nothing else is replaced."""

import os
import threading
from pathlib import Path

import pytest

from pycontainer.client.target import written
from pycontainer.errors import InvalidInput, NotFound, PycontainerError


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_text("old")
    with written(path) as fd:
        os.write(fd, b"new")
        assert path.read_text() == "old"
    assert path.read_text() == "new" and os.listdir(tmp_path) == ["a.tar"]
    with pytest.raises(NotFound), written(path) as fd:
        raise NotFound("x")
    assert path.read_text() == "new" and os.listdir(tmp_path) == ["a.tar"]


@pytest.mark.parametrize("leads", [True, False])
def test_a_link_stays_one(tmp_path: Path, leads: bool) -> None:
    if leads:
        (tmp_path / "file").write_text("much that is old")
    (tmp_path / "link").symlink_to("file")
    with written(tmp_path / "link") as fd:
        os.write(fd, b"new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "file").read_text() == "new"


def test_a_fifo_stays_one(tmp_path: Path) -> None:
    fifo, got = tmp_path / "fifo", []
    os.mkfifo(fifo)
    reader = threading.Thread(target=lambda: got.append(fifo.read_bytes()))
    reader.start()
    with written(fifo) as fd:
        os.write(fd, b"new")
    reader.join()
    assert got == [b"new"] and fifo.is_fifo() and os.listdir(tmp_path) == ["fifo"]


def test_what_cannot_be_written_to_is_called_what_it_was_called(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as missing, written(f"{tmp_path}/none/a.tar"):
        pass
    assert missing.value.filename == f"{tmp_path}/none/a.tar"
    with pytest.raises(InvalidInput, match=f"^'{tmp_path}' is a directory$"), written(tmp_path):
        pass
    taken = tmp_path / f"a.tar.{os.getpid()}.partial"
    taken.write_text("x")
    with pytest.raises(PycontainerError, match=f"^'{taken}' is in the way$"), written(tmp_path / "a.tar"):
        pass
    assert taken.read_text() == "x"


@pytest.mark.parametrize(
    ("left", "error", "becomes"),
    [
        (True, PycontainerError("cannot write what is saved: broken pipe"), BrokenPipeError),
        (True, NotFound("no image 'x'"), NotFound),
        (False, PycontainerError("the save failed"), PycontainerError),
    ],
)
def test_a_reader_that_left_is_no_error_of_the_supervisor(
    left: bool, error: PycontainerError, becomes: type[Exception]
) -> None:
    read_fd, write_fd = os.pipe()
    if left:
        os.close(read_fd)
    with pytest.raises(becomes) as caught, written(write_fd):
        raise error
    assert type(caught.value) is becomes
    os.close(write_fd)  # it is the caller's still
    if not left:
        os.close(read_fd)

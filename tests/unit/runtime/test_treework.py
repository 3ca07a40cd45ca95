"""What a tenant's tree costs is a worker's, not ours: deep ones, linked ones, and those that are refused (FLT-09)."""

import os
import resource
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pycontainer.errors import InvalidInput, PycontainerError
from pycontainer.linux.files import remove_tree
from pycontainer.linux.treecopy import MAX_DEPTH
from pycontainer.runtime import treework

_FLAGS = os.O_RDONLY | os.O_DIRECTORY


@pytest.fixture
def trees(tmp_path: Path) -> Iterator[tuple[int, int]]:
    """An empty tree and a place for its copy, as descriptors."""
    fds = []
    for name in ("from", "to"):
        (tmp_path / name).mkdir()
        fds.append(os.open(tmp_path / name, _FLAGS))
    yield fds[0], fds[1]
    for fd in fds:
        os.close(fd)
    for name in ("from", "to"):
        remove_tree(str(tmp_path / name))


def dig(fd: int, depth: int, name: str = "d") -> int:
    """Make so many directories in one another; return a descriptor of the innermost."""
    fd = os.dup(fd)
    for _ in range(depth):
        os.mkdir(name, dir_fd=fd)
        inner_fd = os.open(name, _FLAGS, dir_fd=fd)
        os.close(fd)
        fd = inner_fd
    return fd


def descend(fd: int, depth: int, name: str = "d") -> int:
    fd = os.dup(fd)
    for _ in range(depth):
        inner_fd = os.open(name, _FLAGS, dir_fd=fd)
        os.close(fd)
        fd = inner_fd
    return fd


@contextmanager
def few_descriptors() -> Iterator[None]:
    """Have as few to open as a service gets that nobody thought of."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_deep_tree_is_copied(trees: tuple[int, int]) -> None:
    """900 deep, with a file of two names whose path is longer than the kernel takes at once."""
    deep_fd = dig(trees[0], 900, "d" * 200)
    with os.fdopen(os.open("a", os.O_WRONLY | os.O_CREAT, dir_fd=deep_fd), "w") as file:
        file.write("one")
    os.link("a", "b", src_dir_fd=deep_fd, dst_dir_fd=deep_fd)
    os.close(deep_fd)
    with few_descriptors():
        treework.copy(*trees)
    copied_fd = descend(trees[1], 900, "d" * 200)
    details = [os.stat(name, dir_fd=copied_fd) for name in ("a", "b")]
    os.close(copied_fd)
    assert details[0].st_ino == details[1].st_ino
    assert (details[0].st_nlink, details[0].st_size, stat.S_ISREG(details[0].st_mode)) == (2, 3, True)


def test_a_deep_tree_is_looked_through(trees: tuple[int, int]) -> None:
    os.close(dig(trees[0], 900))
    with few_descriptors():
        found = treework.changed([trees[0]], trees[1])
    assert len(found) == 900
    assert found[-1] == ("A", "/d" * 900)


def test_a_copy_is_compared(trees: tuple[int, int], tmp_path: Path) -> None:
    """A deep one, with a hole that is not read, a file whose time does not tell that it was written, and one of two names."""
    tree_fd, base_fd = trees
    deep_fd = dig(base_fd, 900)
    os.close(os.open("kept", os.O_WRONLY | os.O_CREAT, dir_fd=deep_fd))
    os.close(deep_fd)
    for name, content in (("same", "1"), ("forged", "1"), ("gone", "1"), ("first", "1"), ("linked", "1")):
        (tmp_path / "to" / name).write_text(content)
    os.link(tmp_path / "to/linked", tmp_path / "to/twin")
    with open(tmp_path / "to/hole", "wb") as file:
        file.truncate(1 << 40)
    treework.copy(base_fd, tree_fd)
    assert treework.compared(tree_fd, base_fd) == []
    before = os.stat(tmp_path / "from/forged")
    (tmp_path / "from/forged").write_text("2")
    os.utime(tmp_path / "from/forged", ns=(before.st_atime_ns, before.st_mtime_ns))
    (tmp_path / "from/gone").unlink()
    os.link(tmp_path / "from/twin", tmp_path / "from/third")
    deep_fd = descend(tree_fd, 900)
    os.close(os.open("new", os.O_WRONLY | os.O_CREAT, dir_fd=deep_fd))
    os.close(deep_fd)
    with few_descriptors():
        found = treework.compared(tree_fd, base_fd)
    assert [change for change in found if not change[1].startswith("/d")] == [
        ("C", "/forged"), ("D", "/gone"), ("C", "/linked"), ("A", "/third"), ("C", "/twin"),
    ]  # fmt: skip
    assert [change[0] for change in found if change[1].startswith("/d")] == ["C"] * 900 + ["A"]


def test_links_that_became_others_are_changes(trees: tuple[int, int], tmp_path: Path) -> None:
    """Equal files: one name now leads to another of them, and two of one file are two."""
    for name in ("a", "b", "c"):
        (tmp_path / "to" / name).write_text("1")
        os.utime(tmp_path / "to" / name, (1, 1))
    os.link(tmp_path / "to/c", tmp_path / "to/d")
    treework.copy(trees[1], trees[0])
    tree = tmp_path / "from"
    before = tree.stat()
    (tree / "b").unlink()
    os.link(tree / "a", tree / "b")
    (tree / "d").unlink()
    (tree / "d").write_text("1")
    os.utime(tree / "d", (1, 1))
    os.utime(tree, ns=(before.st_atime_ns, before.st_mtime_ns))
    found = {path: kind for kind, path in treework.compared(*trees)}
    assert {"/a": "C", "/b": "C"}.items() <= found.items()
    assert found.keys() & {"/c", "/d"}


def test_one_too_deep_is_refused(trees: tuple[int, int]) -> None:
    os.close(dig(trees[0], MAX_DEPTH + 1))
    words = f"more than {MAX_DEPTH} directories in one another"
    with pytest.raises(OSError, match=words):
        treework.copy(*trees)
    with pytest.raises(InvalidInput, match=words):
        treework.changed([trees[0]], trees[1])
    with pytest.raises(InvalidInput, match=words):
        treework.compared(*trees)


def test_what_takes_too_long_ends(trees: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(treework, "COPY_SECONDS", 0.0)
    with pytest.raises(PycontainerError, match="took longer than 0 seconds"):
        treework.copy(*trees)

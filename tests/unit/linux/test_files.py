"""Look-ups that cannot leave a root, with openat2 and without; atomic writes; removal. PATH-08, PATH-09."""

import errno
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pycontainer.linux import files
from pycontainer.linux.files import (
    RESOLVE_BENEATH,
    RESOLVE_NO_SYMLINKS,
    hold_procfs,
    mkdirs_in_root,
    open_in_root,
    open_regular_in_root,
    openat2,
    read_bounded,
    remove_tree,
    write_atomically,
)


@pytest.fixture(params=["openat2", "fallback"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run every test both ways."""
    if request.param == "fallback":
        monkeypatch.setattr(files, "use_openat2", False)
    return str(request.param)


@pytest.fixture
def root_fd(tmp_path: Path) -> Iterator[int]:
    """A root with files and links, beside a canary outside."""
    (tmp_path / "canary").write_text("outside")
    root = tmp_path / "root"
    (root / "usr/lib").mkdir(parents=True)
    (root / "canary").write_text("inside")
    (root / "usr/lib/file").write_text("library")
    for name, target in {
        "lib": "usr/lib",
        "absolute": "/canary",
        "up": "../../../canary",
        "loop": "loop",
        "dangling": "nowhere",
        "chain": "lib/../lib/file",
    }.items():
        (root / name).symlink_to(target)
    fd = os.open(root, os.O_PATH | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def content(fd: int) -> bytes:
    try:
        return os.read(fd, 100)
    finally:
        os.close(fd)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("canary", b"inside"),
        ("/canary", b"inside"),
        ("../canary", b"inside"),
        ("absolute", b"inside"),
        ("up", b"inside"),
        ("lib/file", b"library"),
        ("chain", b"library"),
        ("usr/../../../canary", b"inside"),
    ],
)
def test_in_root_stays_inside(root_fd: int, path: str, expected: bytes) -> None:
    assert content(open_in_root(root_fd, path, os.O_RDONLY)) == expected


@pytest.mark.parametrize(
    ("path", "flags", "code"),
    [
        ("loop", os.O_RDONLY, errno.ELOOP),
        ("dangling", os.O_RDONLY, errno.ENOENT),
        ("gone/x", os.O_RDONLY, errno.ENOENT),
        ("canary/x", os.O_RDONLY, errno.ENOTDIR),
        ("canary/", os.O_RDONLY, errno.ENOTDIR),
        ("canary/.", os.O_RDONLY, errno.ENOTDIR),
        ("canary", os.O_PATH | os.O_DIRECTORY, errno.ENOTDIR),
        ("lib", os.O_RDONLY | os.O_NOFOLLOW, errno.ELOOP),
        ("", os.O_RDONLY, errno.ENOENT),
    ],
)
def test_in_root_refuses(root_fd: int, path: str, flags: int, code: int) -> None:
    with pytest.raises(OSError) as caught:
        open_in_root(root_fd, path, flags)
    assert caught.value.errno == code


@pytest.mark.parametrize(
    ("path", "code"), [("lib/file", errno.ELOOP), ("../canary", errno.EXDEV), ("/canary", errno.EXDEV)]
)
def test_beneath_without_links_refuses(root_fd: int, path: str, code: int) -> None:
    with pytest.raises(OSError) as caught:
        openat2(root_fd, path, os.O_RDONLY, resolve=RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)
    assert caught.value.errno == code


def test_a_link_itself_can_be_opened(root_fd: int) -> None:
    fd = open_in_root(root_fd, "lib", os.O_PATH | os.O_NOFOLLOW)
    assert stat.S_ISLNK(os.fstat(fd).st_mode)
    os.close(fd)


def test_creates_beneath_the_root(root_fd: int, tmp_path: Path) -> None:
    fd = openat2(root_fd, "lib/new", os.O_WRONLY | os.O_CREAT | os.O_EXCL, resolve=files.RESOLVE_IN_ROOT, mode=0o600)
    os.close(fd)
    assert (tmp_path / "root/usr/lib/new").exists()


def test_magic_links_are_refused() -> None:
    fd = os.open("/proc", os.O_PATH | os.O_DIRECTORY)
    try:
        with pytest.raises(OSError) as caught:
            open_in_root(fd, f"{os.getpid()}/root", os.O_PATH)
        assert caught.value.errno == errno.ELOOP
    finally:
        os.close(fd)


def test_leaks_no_descriptor(root_fd: int) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for path in ("chain", "loop", "gone/x", "canary/x"):
        try:
            os.close(open_in_root(root_fd, path, os.O_RDONLY))
        except OSError:
            pass
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EPERM, errno.EAGAIN])
def test_walks_when_the_call_is_missing_or_forbidden_or_loses_every_race(
    root_fd: int, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """PATH-09"""
    calls = []

    def fail(*_args: object, **_named: object) -> int:
        calls.append(1)
        raise OSError(code, "openat2")

    monkeypatch.setattr(files, "use_openat2", True)
    monkeypatch.setattr(files, "syscall", fail)
    assert content(open_in_root(root_fd, "up", os.O_RDONLY)) == b"inside"
    assert len(calls) == (128 if code == errno.EAGAIN else 1)


def test_a_mount_is_not_crossed(root_fd: int) -> None:
    """PATH-09: the same answer from the kernel and from our walk."""
    fd = os.open("/", os.O_PATH | os.O_DIRECTORY)
    try:
        with pytest.raises(OSError) as caught:
            openat2(fd, "proc/version", os.O_RDONLY, resolve=files.RESOLVE_BENEATH | files.RESOLVE_NO_XDEV)
        assert caught.value.errno == errno.EXDEV
    finally:
        os.close(fd)


def test_a_procfs_that_is_held_is_used(root_fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_procfs_fd", -1)
    hold_procfs()
    held_fd = files._procfs_fd
    try:
        assert content(open_in_root(root_fd, "up", os.O_RDONLY)) == b"inside"
    finally:
        os.close(held_fd)


def test_mkdirs_follows_links_inside(root_fd: int, tmp_path: Path) -> None:
    mkdirs_in_root(root_fd, "/lib/a/b", 0o700)
    mkdirs_in_root(root_fd, "/lib/a/b", 0o700)
    assert (tmp_path / "root/usr/lib/a/b").is_dir()
    with pytest.raises(FileNotFoundError):
        mkdirs_in_root(root_fd, "dangling/x", 0o700)


def test_open_regular_refuses_a_fifo_without_waiting(root_fd: int, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "root/fifo")
    for path, limit in (("fifo", 100), ("usr", 100), ("canary", 5)):
        with pytest.raises(OSError) as caught:
            open_regular_in_root(root_fd, path, limit)
        assert caught.value.errno == errno.EINVAL
    assert content(open_regular_in_root(root_fd, "canary", 6)) == b"inside"


def test_write_and_read(tmp_path: Path) -> None:
    path = str(tmp_path / "file")
    write_atomically(path, b"one", mode=0o640)
    write_atomically(path, b"two!", mode=0o600, sync=False)
    assert read_bounded(path, 4) == b"two!"
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert os.listdir(tmp_path) == ["file"]
    with pytest.raises(OSError) as caught:
        read_bounded(path, 3)
    assert caught.value.errno == errno.EFBIG


def test_remove_tree_follows_no_link(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "canary").write_text("here")
    tree = tmp_path / "tree"
    (tree / "deep/er").mkdir(parents=True)
    (tree / "deep/link").symlink_to(outside)
    (tree / "deep/er/new\nline").write_text("x")
    os.mkfifo(tree / "fifo")
    remove_tree(str(tree))
    assert sorted(os.listdir(tmp_path)) == ["outside"]
    (tmp_path / "link").symlink_to(outside)
    remove_tree(str(tmp_path / "link"))
    assert (outside / "canary").read_text() == "here"
    assert sorted(os.listdir(tmp_path)) == ["outside"]


def test_remove_tree_of_nothing_is_success(tmp_path: Path) -> None:
    remove_tree(str(tmp_path / "gone"))
    remove_tree(str(tmp_path / "gone/deeper"))


def chattr(flags: str, *paths: Path) -> None:
    subprocess.run(["chattr", flags, *paths], check=True)


@pytest.mark.requires("root", "file_flags")
@pytest.mark.parametrize("flags", ["+i", "+a", "+ia"])
def test_remove_tree_of_what_is_immutable_or_append_only(tmp_path: Path, flags: str) -> None:
    """PATH-08: files, empty directories, and directories with files, a link, a fifo and such directories in them."""
    tree = tmp_path / "tree"
    (tree / "full/inner").mkdir(parents=True)
    (tree / "empty").mkdir()
    for name in ("file", "full/file", "full/inner/file"):
        (tree / name).write_text("x")
    (tree / "full/link").symlink_to(tmp_path)
    os.mkfifo(tree / "full/fifo")
    flagged = [tree / name for name in ("file", "full/inner/file", "full/inner", "full", "empty")] + [tree]
    try:
        chattr(flags, *flagged)
        with pytest.raises(PermissionError):
            os.unlink(tree / "full/link")
        remove_tree(str(tree))
        assert os.listdir(tmp_path) == []
    finally:
        for path in reversed(flagged):
            if path.exists():
                chattr("-ia", path)


@pytest.mark.requires("root", "file_flags")
def test_remove_tree_leaves_what_holds_the_tree_as_it_is(tmp_path: Path) -> None:
    """PATH-08: the flags of the directory above are not ours; nothing goes then, and it can be repeated."""
    (tmp_path / "tree/inner").mkdir(parents=True)
    chattr("+i", tmp_path)
    try:
        for _ in range(2):
            with pytest.raises(PermissionError, match=r"Operation not permitted; left: '.*/tree'"):
                remove_tree(str(tmp_path / "tree"))
            assert os.listdir(tmp_path / "tree") == ["inner"]
    finally:
        chattr("-i", tmp_path)
    remove_tree(str(tmp_path / "tree"))
    assert os.listdir(tmp_path) == []


def test_remove_tree_3000_deep(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_PATH)
    for name in ["tree"] + ["d" * 20] * 3000:
        os.mkdir(name, dir_fd=fd)
        inner = os.open(name, os.O_PATH, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(fd)
    remove_tree(str(tmp_path / "tree"))
    assert os.listdir(tmp_path) == []


def test_the_file_system_of_a_descriptor(tmp_path: Path) -> None:
    """PATH-07: the same as stat says, where nothing keeps us waiting."""
    for path in ("/dev/null", "/proc", str(tmp_path)):
        fd = os.open(path, os.O_PATH)
        try:
            assert files.file_system_of(fd) == os.fstat(fd).st_dev
        finally:
            os.close(fd)

"""What a copied tree has changed of the one that it was copied from, as an overlay's upper directory would hold it.

    differences(tree, base)          {name: Node}, nested; what is the same on both sides is left out
    changes(nodes)                   [(A, C or D, path)], as diff.changes tells of an overlay
    write_upper(nodes, tree, to)     the directory itself: what was added or changed, and a whiteout for what is gone

Two entries are the same if kind, owner, mode, time of change, attributes and content are: only the content tells of a file
that was written and given its old time again. A directory in which something is different is different itself, and so are
all names of a file that has a new one: an overlay copies these up as well. A tenant wrote the tree and may be writing still,
so all is walked by descriptor and no link is followed.
"""

import contextlib
import os
import stat
from collections.abc import Iterator

from pycontainer.errors import InvalidInput, Unsupported
from pycontainer.linux.treecopy import MAX_DEPTH, Name, copy_attributes, copy_entry
from pycontainer.runtime.diff import bounded

_DIR_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_BLOCK_BYTES = 1 << 20
_GONE = (FileNotFoundError, NotADirectoryError)  # just now
Inode = tuple[int, int]


class Node:
    """One difference: A, C or D; `inner` is what differs below a directory, None for all else."""

    __slots__ = ("inner", "kind")

    def __init__(self, kind: str, inner: "dict[str, Node] | None" = None) -> None:
        self.kind, self.inner = kind, inner


def differences(tree_fd: int, base_fd: int) -> dict[str, Node]:
    """Return how the directory `tree_fd` differs from `base_fd`, whose names it began with. Recurses with the depth.

    InvalidInput for directories too deep in one another.
    """
    comparison = _Comparison()
    found = comparison.directory(tree_fd, base_fd, None, 0)
    comparison.add_links(found)
    return found


def root_differs(tree_fd: int, base_fd: int) -> bool:
    """Tell whether the two directories differ themselves."""
    return _head(os.fstat(tree_fd)) != _head(os.fstat(base_fd)) or _attributes(tree_fd) != _attributes(base_fd)


def changes(nodes: dict[str, Node]) -> list[tuple[str, str]]:
    """Return (A, C or D, absolute path), sorted; InvalidInput for more than a reply should hold."""
    return bounded(_paths(nodes, ""))


def write_upper(nodes: dict[str, Node], tree_fd: int, target_fd: int) -> None:
    """Write differences into the empty directory `target_fd`; OSError of the disk, Unsupported where no whiteout can be."""
    _write(nodes, tree_fd, target_fd, target_fd, None, {})


class _Comparison:
    """One comparison of two trees, and the files with several names that it has met."""

    def __init__(self) -> None:
        self._same: dict[Inode, list[Name]] = {}  # in the tree: names under which the base has an equal file
        self._pairs: dict[Inode, Inode] = {}  # such files, in the tree and in the base
        self._partners: dict[Inode, Inode] = {}  # the other way about
        self._touched: set[Inode] = set()  # in the tree: files that have a name which is different

    def directory(self, fd: int, base_fd: int | None, path: Name | None, depth: int) -> dict[str, Node]:
        if depth > MAX_DEPTH:
            raise InvalidInput(f"there are more than {MAX_DEPTH} directories in one another")
        found: dict[str, Node] = {}
        names, base_names = os.listdir(fd), set() if base_fd is None else set(os.listdir(base_fd))
        for name in names:
            with contextlib.suppress(*_GONE):
                beneath_fd = base_fd if name in base_names else None
                if node := self._entry(fd, beneath_fd, name, Name(name, path), depth):
                    found[name] = node
        for name in base_names.difference(names):
            assert base_fd is not None
            if not _is_whiteout(os.lstat(name, dir_fd=base_fd)):
                found[name] = Node("D")
        return found

    def _entry(self, fd: int, base_fd: int | None, name: str, path: Name, depth: int) -> Node | None:
        details = os.lstat(name, dir_fd=fd)
        beneath = None if base_fd is None else os.lstat(name, dir_fd=base_fd)
        if beneath is not None and _is_whiteout(beneath):  # of a layer with nothing beneath it
            beneath = None
        kind = "A" if beneath is None else "C"
        if stat.S_ISDIR(details.st_mode):
            with contextlib.ExitStack() as opened:
                inner_fd = _open(opened, fd, name, _DIR_FLAGS)
                is_there = beneath is not None and stat.S_ISDIR(beneath.st_mode)
                inner_base_fd = _open(opened, base_fd, name, _DIR_FLAGS) if is_there and base_fd is not None else None
                inner = self.directory(inner_fd, inner_base_fd, path, depth + 1)
                if inner or inner_base_fd is None or root_differs(inner_fd, inner_base_fd):
                    return Node(kind, inner)
            return None
        inode = details.st_dev, details.st_ino
        if beneath is None or base_fd is None or not _is_same(fd, base_fd, name, details, beneath):
            if details.st_nlink > 1:
                self._touched.add(inode)
            return Node(kind)
        if details.st_nlink > 1 or beneath.st_nlink > 1:
            partner = beneath.st_dev, beneath.st_ino
            self._same.setdefault(inode, []).append(path)
            if self._pairs.setdefault(inode, partner) != partner or self._partners.setdefault(partner, inode) != inode:
                self._touched.add(inode)
        return None

    def add_links(self, found: dict[str, Node]) -> None:
        """Add the other names of files that have a different one: else they would not be one file in a layer."""
        for inode in self._touched & self._same.keys():
            for path in self._same[inode]:
                *above, name = path.parts()
                here = found
                for part in above:
                    node = here.setdefault(part, Node("C", {}))
                    assert node.inner is not None
                    here = node.inner
                here[name] = Node("C")


def _paths(nodes: dict[str, Node], path: str) -> Iterator[tuple[str, str]]:
    for name, node in nodes.items():
        yield node.kind, f"{path}/{name}"
        if node.inner:
            yield from _paths(node.inner, f"{path}/{name}")


def _write(
    nodes: dict[str, Node], from_fd: int, to_fd: int, target_fd: int, path: Name | None, first_names: dict[Inode, Name]
) -> None:
    for name, node in nodes.items():
        here = Name(name, path)
        if node.kind == "D":
            _make_whiteout(name, to_fd)
        elif node.inner is None:
            copy_entry(from_fd, to_fd, name, os.lstat(name, dir_fd=from_fd), target_fd, here, first_names)
        else:
            os.mkdir(name, 0o700, dir_fd=to_fd)
            with contextlib.ExitStack() as opened:
                inner_fd, made_fd = (_open(opened, fd, name, _DIR_FLAGS) for fd in (from_fd, to_fd))
                _write(node.inner, inner_fd, made_fd, target_fd, here, first_names)
    copy_attributes(from_fd, to_fd)  # last, or what is made inside would change its time


def _make_whiteout(name: str, to_fd: int) -> None:
    try:
        os.mknod(name, stat.S_IFCHR, 0, dir_fd=to_fd)
    except PermissionError as error:
        raise Unsupported(
            "the state directory lies on an overlay itself, which cannot note that files of the image were deleted",
            hint="keep it on ext4, xfs or btrfs; 'pycontainer export' takes the whole tree",
            feature="whiteouts",
        ) from error


def _is_same(fd: int, base_fd: int, name: str, details: os.stat_result, beneath: os.stat_result) -> bool:
    """Compare what is no directory."""
    if _head(details) != _head(beneath):
        return False
    if stat.S_ISLNK(details.st_mode):
        return os.readlink(name, dir_fd=fd) == os.readlink(name, dir_fd=base_fd)
    if not stat.S_ISREG(details.st_mode):
        return True
    with contextlib.ExitStack() as opened:
        file_fd, other_fd = (_open(opened, directory_fd, name, _READ_FLAGS) for directory_fd in (fd, base_fd))
        return _attributes(file_fd) == _attributes(other_fd) and _has_same_content(file_fd, other_fd, details.st_size)


def _head(details: os.stat_result) -> tuple[int, ...]:
    size_bytes = details.st_size if stat.S_ISREG(details.st_mode) else 0
    return details.st_mode, details.st_uid, details.st_gid, details.st_mtime_ns, details.st_rdev, size_bytes


def _attributes(fd: int) -> dict[str, bytes]:
    """Return the extended attributes that a layer can hold."""
    try:
        names = os.listxattr(fd)
    except OSError:  # a file system without any
        return {}
    return {name: os.getxattr(fd, name) for name in names if name.startswith("user.") or name == "security.capability"}


def _has_same_content(fd: int, other_fd: int, size_bytes: int) -> bool:
    at = 0
    while (at := min(_next_data(fd, at, size_bytes), _next_data(other_fd, at, size_bytes))) < size_bytes:
        block = os.pread(fd, _BLOCK_BYTES, at)
        if not block or block != os.pread(other_fd, _BLOCK_BYTES, at):
            return False
        at += len(block)
    return True


def _next_data(fd: int, at: int, size_bytes: int) -> int:
    """Return where the next part of a file begins that is no hole."""
    try:
        return os.lseek(fd, at, os.SEEK_DATA)
    except OSError:  # ENXIO: a hole up to the end
        return size_bytes


def _is_whiteout(details: os.stat_result) -> bool:
    return stat.S_ISCHR(details.st_mode) and details.st_rdev == 0


def _open(opened: contextlib.ExitStack, dir_fd: int, name: str, flags: int) -> int:
    fd = os.open(name, flags, dir_fd=dir_fd)
    opened.callback(os.close, fd)
    return fd

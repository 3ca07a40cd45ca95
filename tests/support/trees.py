"""What a tree is made of, exactly: a directory of the host, or the root of a running container as a program in there sees it.

python -m tests.support.trees PID      writes the latter as JSON, from inside of the process's user and mount namespaces
"""

import hashlib
import json
import os
import stat
import subprocess
import sys
from collections.abc import Collection
from typing import NamedTuple

from pycontainer.linux.namespaces import CLONE_NEWNS, CLONE_NEWUSER, setns
from tests.support.images import CHECKOUT
from tests.support.poll import SLOWNESS


class Node(NamedTuple):
    """What is under one name. `files` are all names of the same inode, none for a directory; attributes are in hex."""

    mode: str
    uid: int
    gid: int
    mtime_ns: int
    files: list[str]
    attributes: dict[str, str]
    content: str  # what a link says, or a digest


Tree = dict[str, Node]


class View(NamedTuple):
    """A container's tree, and where other file systems are mounted over it: those are not in the tree."""

    tree: Tree
    mounted: list[str]


def tree(directory: str | os.PathLike[str], *, without: Collection[str] = ()) -> Tree:
    """Describe a tree, of which "." is the top, but not what is called as in `without`, nor what lies beneath that.

    The time of the top does not count: a container's own directory is younger than its image. Attributes are those that
    layers carry: user.* and security.capability.
    """
    found: Tree = {}
    names: dict[tuple[int, int], list[str]] = {}
    for parent, directories, files in os.walk(directory):
        above = os.path.relpath(parent, directory)
        inner = {name: os.path.normpath(os.path.join(above, name)) for name in [*directories, *files]}
        directories[:] = [name for name in directories if inner[name] not in without]
        for name in [*(["."] if above == "." else []), *(path for path in inner.values() if path not in without)]:
            path = os.path.join(directory, name)
            details = os.lstat(path)
            is_directory = stat.S_ISDIR(details.st_mode)
            same = [] if is_directory else names.setdefault((details.st_dev, details.st_ino), [])
            if not is_directory:
                same.append(name)
            found[name] = Node(
                oct(details.st_mode),
                details.st_uid,
                details.st_gid,
                0 if name == "." else details.st_mtime_ns,
                same,
                _attributes(path),
                _content(path, details.st_mode),
            )
    for same in names.values():
        same.sort()
    return found


def _attributes(path: str) -> dict[str, str]:
    return {
        name: os.getxattr(path, name, follow_symlinks=False).hex()
        for name in os.listxattr(path, follow_symlinks=False)
        if name.startswith("user.") or name == "security.capability"
    }


def _content(path: str, mode: int) -> str:
    if stat.S_ISLNK(mode):
        return os.readlink(path)
    return content_of(path) if stat.S_ISREG(mode) else ""


def content_of(path: str | os.PathLike[str]) -> str:
    """Return what `Node.content` says of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def assert_same(found: Tree, expected: Tree) -> None:
    """Fail with what differs, but not with all of it."""
    differing = sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))
    shown = {name: (found.get(name), expected.get(name)) for name in differing[:5]}
    assert not differing, f"{len(differing)} names differ (found, expected): {shown}"


# -- in a container ------------------------------------------------------------------------------------------------


def view(pid: int) -> View:
    """Return what the process `pid` of a container sees."""
    command = [sys.executable, "-m", "tests.support.trees", str(pid)]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False, timeout=60 * SLOWNESS)
    assert done.returncode == 0, done.stderr
    value = json.loads(done.stdout)
    return View({name: Node(*fields) for name, fields in value["tree"].items()}, value["mounted"])


def _main() -> None:
    pid = int(sys.argv[1])
    with open(f"/proc/{pid}/mountinfo") as file:
        mounted = sorted({line.split()[4].lstrip("/") for line in file} - {""})
    with open(f"/proc/{pid}/ns/user") as user, open(f"/proc/{pid}/ns/mnt") as mounts:
        setns(user.fileno(), CLONE_NEWUSER)
        setns(mounts.fileno(), CLONE_NEWNS)
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    os.chdir("/")
    json.dump({"tree": tree(".", without=mounted), "mounted": mounted}, sys.stdout)


if __name__ == "__main__":
    _main()

"""Who runs inside: names and ids from the container's own /etc/passwd and /etc/group, read as hostile files.

Our own parser on a file opened beneath the root, bounded in size, never the host's name service: that would load code and
data from the container (CVE-2019-14271), or resolve the container's names with the host's ids. passwd(5), group(5).
"""

import errno
import os

from pycontainer.errors import InvalidInput
from pycontainer.linux.files import RESOLVE_NO_XDEV, open_regular_in_root, read_bounded
from pycontainer.units import shown

_MAX_BYTES = 1024 * 1024
_MAX_GROUPS = 1000  # of one user; the kernel takes 65536
_MOST_LIKELY, _MOST_BYTES = 1024, 4096  # what `likely` knows is a tenant's to write, and our memory
MAX_ID = 65535  # the container's map ends there


class User:
    """A resolved user: ids inside and what the environment gets."""

    __slots__ = ("gid", "groups", "home", "name", "uid")

    def __init__(self, uid: int, gid: int, groups: list[int], home: str, name: str) -> None:
        self.uid, self.gid, self.groups, self.home, self.name = uid, gid, groups, home, name

    def is_same(self, other: "User | None") -> bool:
        return other is not None and all(getattr(self, name) == getattr(other, name) for name in self.__slots__)


def resolve(root_fd: int, user: str, *, one_mount: bool = False) -> User:
    """Resolve `name`, `uid`, `name:group` or `uid:gid` (empty: root) beneath `root_fd`.

    A number need not be listed; a name must be. Raises InvalidInput naming what is unknown, and with `one_mount`
    OSError(EXDEV) where something is mounted over the files: whoever runs inside may have mounted what never answers.
    """
    rules = RESOLVE_NO_XDEV if one_mount else 0
    wanted_user, _, wanted_group = user.partition(":")
    wanted_user = wanted_user or "0"
    entries = _lines(root_fd, "etc/passwd", 7, rules)
    by_number = wanted_user.isascii() and wanted_user.isdigit()
    wanted_id = _given_id(wanted_user, user) if by_number else 0
    found = None
    for fields in entries:
        if (_number(fields[2]) == wanted_id) if by_number else (fields[0] == wanted_user):
            found = fields
            break
    if found is None and not by_number:
        raise InvalidInput(f"unknown user {shown(wanted_user)}: not in the container's /etc/passwd", field="user")
    uid = wanted_id if by_number else _checked_id(found[2] if found else "", wanted_user)
    gid = _checked_id(found[3], wanted_user) if found else (uid if by_number and uid == 0 else 0)
    name = found[0] if found else str(uid)
    groups: dict[int, None] = {}  # in order; a tenant may list its user in as many as there are ids
    group_lines = _lines(root_fd, "etc/group", 4, rules)
    if wanted_group:
        if wanted_group.isascii() and wanted_group.isdigit():
            gid = _given_id(wanted_group, user)
        else:
            for fields in group_lines:
                if fields[0] == wanted_group:
                    gid = _checked_id(fields[2], wanted_group)
                    break
            else:
                raise InvalidInput(
                    f"unknown group {shown(wanted_group)}: not in the container's /etc/group", field="user"
                )
    elif found is not None:
        for fields in group_lines:
            number = _number(fields[2])
            if number is not None and name in fields[3].split(","):
                groups[number] = None
                if len(groups) == _MAX_GROUPS:
                    break
    home = found[5] if found and found[5].startswith("/") else "/"
    return User(uid, gid, list(groups), home, name)


_likely: dict[tuple[str, str], User] = {}


def likely(image: str, user: str) -> User | None:
    """Return who this user of an image, or of a directory, was the last time: for what can be prepared, not to rely on."""
    return _likely.get((image, user))


def note(image: str, user: str, found: User) -> None:
    """Remember for `likely` who was found beneath a root that was made of `image`."""
    if len(user) + len(found.home) + len(found.name) + 8 * len(found.groups) > _MOST_BYTES:
        return
    if len(_likely) >= _MOST_LIKELY:
        _likely.clear()
    _likely[image, user] = found


def _lines(root_fd: int, path: str, count: int, rules: int) -> list[list[str]]:
    try:
        fd = open_regular_in_root(root_fd, path, _MAX_BYTES, resolve=rules)
    except OSError as error:
        if rules and error.errno == errno.EXDEV:
            raise
        return []  # absent, a fifo, a device, too large: as if absent
    try:
        text = read_bounded(fd, _MAX_BYTES).decode(errors="replace")
    finally:
        os.close(fd)
    lines = (line for line in text.split("\n") if "\0" not in line)  # nothing that holds one can be given to a program
    return [fields for line in lines if len(fields := line.split(":")) == count]


def _number(text: str) -> int | None:
    """Return an id, None for what is none; a tenant wrote it, so the length comes before int()."""
    return int(text) if len(text) <= 10 and text.isascii() and text.isdigit() and int(text) <= MAX_ID else None


def _given_id(text: str, user: str) -> int:
    number = _number(text)
    if number is None:
        raise InvalidInput(f"user {shown(user)} is beyond the container's ids, 0 to {MAX_ID}", field="user")
    return number


def _checked_id(text: str, name: str) -> int:
    number = _number(text)
    if number is None:
        raise InvalidInput(
            f"user {shown(name)} has id {shown(text)} in the container's files, not 0 to {MAX_ID}", field="user"
        )
    return number

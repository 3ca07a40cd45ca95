"""Users are resolved in the container's own files, which are hostile."""

import os
from pathlib import Path

import pytest

from pycontainer.errors import InvalidInput
from pycontainer.runtime import users
from pycontainer.runtime.users import User, resolve

PASSWD = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34:web:/var/www:/bin/sh\nbad:x:99999999:1::/:/\nshort:x:5\n"
GROUP = "root:x:0:\nweb:x:34:\nssl:x:50:root,web\nother:x:51:nobody\nhuge:x:4294967296:web\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text(PASSWD)
    (tmp_path / "etc/group").write_text(GROUP)
    return tmp_path


def run(root: Path, user: str) -> User:
    fd = os.open(root, os.O_PATH | os.O_DIRECTORY)
    try:
        return resolve(fd, user)
    finally:
        os.close(fd)


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("", (0, 0, [], "/root", "root")),
        ("root", (0, 0, [50], "/root", "root")),
        ("web", (33, 34, [50], "/var/www", "web")),
        ("33", (33, 34, [50], "/var/www", "web")),
        ("web:ssl", (33, 50, [], "/var/www", "web")),
        ("1000", (1000, 0, [], "/", "1000")),
        ("1000:1001", (1000, 1001, [], "/", "1000")),
    ],
)
def test_resolves(root: Path, user: str, expected: tuple[int, int, list[int], str, str]) -> None:
    found = run(root, user)
    if not user:
        expected = (0, 0, [50], "/root", "root")
    assert (found.uid, found.gid, found.groups, found.home, found.name) == expected


def test_a_user_in_every_group_there_is_has_the_first_thousand(root: Path) -> None:
    """What a tenant writes costs the supervisor no more than one pass; it blocked all tenants for 8 seconds."""
    (root / "etc/group").write_text("".join(f"::{number}:web\n" for number in (0, *range(65536))))
    assert run(root, "web").groups == list(range(1000))


def test_a_line_with_a_nul_is_none(root: Path) -> None:
    """The home goes into the environment, where the kernel would cut it."""
    (root / "etc/passwd").write_text("web:x:1:1::/a\0b:\nweb:x:2:2::/home:\n")
    assert (run(root, "web").uid, run(root, "web").home) == (2, "/home")


def test_what_the_files_hold_is_not_told_raw(root: Path) -> None:
    """API-06: a message goes to the terminal of whoever runs the host."""
    (root / "etc/passwd").write_text("web:x:\x1b[2J:1::/:\n")
    with pytest.raises(InvalidInput) as caught:
        run(root, "web")
    assert caught.value.message == "user 'web' has id '\\x1b[2J' in the container's files, not 0 to 65535"
    with pytest.raises(InvalidInput, match=r"^unknown user '\\x1b\[2J': "):
        run(root, "\x1b[2J")


@pytest.mark.parametrize(
    ("user", "message"),
    [
        ("nosuch", "unknown user 'nosuch'"),
        ("web:nosuch", "unknown group 'nosuch'"),
        ("70000", "beyond the container's ids"),
        ("0:70000", "beyond the container's ids"),
        ("bad", "has id '99999999'"),
        ("short", "unknown user 'short'"),
        ("0:huge", "has id '4294967296'"),
        ("³", "unknown user"),
    ],
)
def test_refuses(root: Path, user: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        run(root, user)


@pytest.mark.parametrize("kind", ["missing", "fifo", "directory", "huge", "outside link", "long line"])
def test_hostile_passwd_counts_as_absent(root: Path, kind: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """PATH-07"""
    passwd = root / "etc/passwd"
    passwd.unlink()
    if kind == "fifo":
        os.mkfifo(passwd)
    elif kind == "directory":
        passwd.mkdir()
    elif kind == "huge":
        passwd.write_text(PASSWD)
        os.truncate(passwd, 1 << 31)
    elif kind == "outside link":
        outside = tmp_path_factory.mktemp("host") / "passwd"
        outside.write_text("evil:x:7:7::/:/\n")
        passwd.symlink_to(outside)
    elif kind == "long line":
        passwd.write_text("x" * 500_000 + ":x:7:7::/:/")
    with pytest.raises(InvalidInput, match="unknown user 'evil'"):
        run(root, "evil")
    assert run(root, "5").uid == 5


def test_who_is_likely_is_who_was_found_the_last_time() -> None:
    found = User(33, 34, [50], "/var/www", "web")
    assert users.likely("sha256:a", "web") is None
    users.note("sha256:a", "web", found)
    assert users.likely("sha256:a", "web") is found
    assert users.likely("sha256:b", "web") is None
    assert found.is_same(User(33, 34, [50], "/var/www", "web"))
    others = [
        User(34, 34, [50], "/var/www", "web"),
        User(33, 35, [50], "/var/www", "web"),
        User(33, 34, [], "/var/www", "web"),
        User(33, 34, [50], "/", "web"),
        User(33, 34, [50], "/var/www", "www"),
    ]
    for other in (None, *others):
        assert not found.is_same(other)


def test_what_is_likely_takes_little_memory() -> None:
    for number, large in enumerate((User(1, 1, [], "/" + "a" * 5000, "a"), User(1, 1, [*range(1000)], "/", "a"))):
        users.note(f"sha256:{number}", "a", large)
        assert users.likely(f"sha256:{number}", "a") is None
    for number in range(3000):
        users.note(f"sha256:{number}", "", User(0, 0, [], "/root", "root"))
    assert users.likely("sha256:2999", "") is not None
    assert sum(users.likely(f"sha256:{number}", "") is not None for number in range(3000)) <= 1024

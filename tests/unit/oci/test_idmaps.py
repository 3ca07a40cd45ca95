"""Id maps: read from a namespace, and left to the helpers with all that they allow."""

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pycontainer.linux.namespaces import CLONE_NEWUSER, new_user_namespace, unshare
from pycontainer.linux.process import PR_SET_DUMPABLE, prctl
from pycontainer.oci import idmaps
from pycontainer.oci.config import IdMap

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="ids of others are mapped by root")


def plain(maps: list[IdMap]) -> list[tuple[int, int, int]]:
    return [(each.inside, each.outside, each.count) for each in maps]


def test_maps_of_a_namespace_at_a_path() -> None:
    """A pod's: the configuration of who joins it need not repeat them."""
    uids, gids = [IdMap(0, 100000, 10), IdMap(10, 5, 1)], [IdMap(0, 200000, 7)]
    fd = new_user_namespace(lambda pid: idmaps.write(pid, uids, gids))
    try:
        found = idmaps.of_namespace(fd)
    finally:
        os.close(fd)
    assert [plain(maps) for maps in found] == [plain(uids), plain(gids)]


@pytest.fixture
def helpers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory that anybody may enter, first in PATH, with helpers that note there what they were asked."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o777)
        for kind in ("uid", "gid"):
            helper = directory / f"new{kind}map"
            helper.write_text(
                f'#!/bin/sh\ncat /proc/$1/setgroups > {name}/{kind}.setgroups\necho "$@" > {name}/{kind}\n'
            )
            helper.chmod(0o755)
        monkeypatch.setenv("PATH", f"{name}:/usr/bin:/bin")
        yield directory


@pytest.fixture
def user() -> Iterator[int]:
    """A process that is in a user namespace of its own, made by user 65534."""
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            prctl(PR_SET_DUMPABLE, 1)  # the change of ids took it, and with it the files in /proc
            unshare(CLONE_NEWUSER)
            os.write(write_fd, b"1")
            signal.pause()
        finally:
            os._exit(1)
    assert os.read(read_fd, 1)
    os.close(read_fd)
    os.close(write_fd)
    yield pid
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def written_by_user(pid: int, uids: list[IdMap], gids: list[IdMap]) -> None:
    writer = os.fork()
    if writer == 0:
        try:
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            idmaps.write(pid, uids, gids)
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(writer, 0)[1]) == 0


def test_groups_stay_possible_with_the_helper(user: int, helpers: Path) -> None:
    """`additionalGids`, and programs such as apt, need setgroups(2): given up before newgidmap it never comes back."""
    many = [IdMap(0, 65534, 1), IdMap(1, 100000, 65536)]
    written_by_user(user, many, many)
    assert (helpers / "gid").read_text() == f"{user} 0 65534 1 1 100000 65536\n"
    assert (helpers / "gid.setgroups").read_text() == "allow\n"


def test_ones_own_group_alone_needs_no_helper(user: int, helpers: Path) -> None:
    """CVE-2014-8989: setgroups(2) is what the kernel asks for it."""
    written_by_user(user, [IdMap(0, 65534, 1)], [IdMap(0, 65534, 1)])
    assert Path(f"/proc/{user}/gid_map").read_text().split() == ["0", "65534", "1"]
    assert Path(f"/proc/{user}/setgroups").read_text() == "deny\n"
    assert not (helpers / "gid").exists()

"""What a mount's options come to, where destinations lie, and what an image's links cannot do about it."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pycontainer.init.stage import Stage
from pycontainer.linux import mountflags as ms
from pycontainer.linux import mounts
from pycontainer.linux.namespaces import CLONE_NEWNS, Home, unshare
from pycontainer.oci.config import Config, IdMap
from pycontainer.oci.mounting import Mounting, _attributes, _cleaned, outside
from tests.unit.oci.conftest import Parse

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts are made by root")


@pytest.mark.parametrize(
    ("flags", "cleared", "expected"),
    [
        (ms.MS_RDONLY | ms.MS_NOSUID, 0, (3, 0)),
        (0, ms.MS_RDONLY, (0, 1)),
        (ms.MS_NOSYMFOLLOW, 0, (ms.MOUNT_ATTR_NOSYMFOLLOW, 0)),
        (ms.MS_NOATIME, 0, (ms.MOUNT_ATTR_NOATIME, ms.MOUNT_ATTR__ATIME)),
        (ms.MS_STRICTATIME, 0, (ms.MOUNT_ATTR_STRICTATIME, ms.MOUNT_ATTR__ATIME)),
        (ms.MS_RELATIME, 0, (0, ms.MOUNT_ATTR__ATIME)),
        (ms.MS_NODIRATIME, ms.MS_NOEXEC, (ms.MOUNT_ATTR_NODIRATIME, 8)),
        (ms.MS_BIND | ms.MS_REC, 0, (0, 0)),
    ],
)
def test_attributes(flags: int, cleared: int, expected: tuple[int, int]) -> None:
    assert _attributes(flags, cleared) == expected


@pytest.mark.parametrize(
    ("destination", "expected"),
    [("/", ""), ("/a//b/", "a/b"), ("/a/../../b", "b"), ("/./proc", "proc"), ("/proc/../sys", "sys")],
)
def test_destinations(destination: str, expected: str) -> None:
    assert _cleaned(destination) == expected


def test_ids_outside() -> None:
    maps = [IdMap(0, 100000, 10), IdMap(10, 500, 1)]
    assert [outside(maps, number) for number in (0, 9, 10, 11)] == [100000, 100009, 500, 11]
    assert outside([], 7) == 7


class OwnGroup:
    """The cgroup of a container, which is any directory here."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def mount_sources(self) -> list[tuple[str, str]]:
        return [("", str(self.directory))]


def mounted(config: Config, group: OwnGroup, look: Callable[[], str]) -> str:
    """Return what `look` sees in the root with all mounts of `config`, or what became of making them."""

    def alone() -> str:
        unshare(CLONE_NEWNS)
        mounts.mount("none", "/", flags=mounts.MS_REC | mounts.MS_PRIVATE)
        os.chdir(config.root_path)
        stage = Stage(
            config.root_path, base=0, fds=[], child_pid=0, child_pidfd=-1, userns_fd=-1, file_label="", home=Home(0),
            proc_maker=lambda _: -1,
        )  # fmt: skip
        stage.root_fd = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        any_group: Any = group
        Mounting(config, stage, any_group, binds_nodes=False).make()
        return look()

    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(write_fd, alone().encode())
        except Exception as error:
            os.write(write_fd, f"{type(error).__name__}: {error}".encode())
        finally:
            os._exit(0)
    os.close(write_fd)
    os.waitpid(pid, 0)
    with open(read_fd) as file:
        return file.read()


@needs_root
def test_a_link_for_dev_leads_nowhere(parse: Parse, bundle: str, tmp_path: Path) -> None:
    """The class of CVE-2026-41579: nodes and links would be made, and files replaced, on the volume that it leads to."""
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "ptmx").write_text("a file of the host's")
    (volume / "pts").mkdir()
    (volume / "pts" / "ptmx").touch()
    os.symlink("vol", f"{bundle}/rootfs/dev")
    config = parse({"mounts": [{"destination": "/vol", "type": "bind", "source": str(volume), "options": ["rbind"]}]})
    assert "/dev" in mounted(config, OwnGroup(tmp_path), lambda: "made")
    assert sorted(os.listdir(volume)) == ["ptmx", "pts"] and (volume / "ptmx").read_text() == "a file of the host's"


@needs_root
@pytest.mark.parametrize("destination", ["/data/sys", "/data/version"])
def test_a_link_into_proc_is_no_place_to_mount_on(parse: Parse, bundle: str, tmp_path: Path, destination: str) -> None:
    """CVE-2019-16884, CVE-2019-19921: the destination is harmless, the image makes it part of /proc."""
    os.symlink("/proc", f"{bundle}/rootfs/data")
    (tmp_path / "empty").touch()
    config = parse(
        {
            "mounts": [
                {"destination": "/proc", "type": "bind", "source": "/proc", "options": ["bind"]},
                {"destination": destination, "type": "tmpfs", "source": "tmpfs"}
                if destination == "/data/sys"
                else {
                    "destination": destination,
                    "type": "bind",
                    "source": str(tmp_path / "empty"),
                    "options": ["bind"],
                },
            ]
        }
    )
    assert f"'{destination}' leads into /proc" in mounted(config, OwnGroup(tmp_path), lambda: "made")


@needs_root
@pytest.mark.parametrize("kind", ["cgroup", "cgroup2"])
def test_the_container_sees_its_own_cgroup(parse: Parse, tmp_path: Path, kind: str) -> None:
    """The class of CVE-2023-25809: a cgroup2 that we mounted anew would be the whole host's, from its root."""
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "cgroup.procs").touch()
    config = parse({"mounts": [{"destination": "/sys/fs/cgroup", "type": kind, "source": "cgroup", "options": ["ro"]}]})
    seen = mounted(config, OwnGroup(tmp_path / "own"), lambda: " ".join(os.listdir("sys/fs/cgroup")))
    assert seen == "cgroup.procs"


@needs_root
def test_modes_of_nodes(parse: Parse, tmp_path: Path) -> None:
    """As they are asked for, whatever our umask."""
    config = parse(
        {
            "linux.devices": [
                {"path": "/dev/a", "type": "p", "fileMode": 0o622},
                {"path": "/dev/b", "type": "p", "uid": 7},
            ]
        }
    )

    def look() -> str:
        found = [os.stat(f"dev/{name}") for name in ("a", "b", "null")]
        return " ".join(f"{each.st_mode & 0o777:o}/{each.st_uid}" for each in found)

    before = os.umask(0o077)
    try:
        assert mounted(config, OwnGroup(tmp_path), look) == "622/0 666/7 666/0"
    finally:
        os.umask(before)

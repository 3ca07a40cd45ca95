"""Where a child is born, what is tried when the creation fails, and whose files are gone by."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pycontainer.errors import InvalidInput, InvalidState
from pycontainer.linux import mounts
from pycontainer.linux.namespaces import (
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWPID,
    CLONE_NEWUTS,
    Home,
    unshare,
)
from pycontainer.oci import mounting
from pycontainer.oci.births import Elsewhere
from pycontainer.oci.create import Undo
from pycontainer.oci.started import write_pid_file

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces are made by root")


def elsewhere(prepare: Callable[[], None]) -> Iterator[int]:
    """Yield the pid of a process that has done `prepare`."""
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            prepare()
            os.write(write_fd, b"1")
            signal.pause()
        finally:
            os._exit(1)
    os.close(write_fd)
    try:
        assert os.read(read_fd, 1) == b"1"
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(read_fd)


@pytest.fixture
def pod() -> Iterator[int]:
    yield from elsewhere(lambda: unshare(CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS))


def links(pid: int | str) -> dict[str, str]:
    return {kind: os.readlink(f"/proc/{pid}/ns/{kind}") for kind in ("net", "ipc", "uts", "pid")}


def answer(act: Callable[[], bytes]) -> bytes:
    """Return what `act` returns in a new process."""
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(write_fd, act())
        finally:
            os._exit(0)
    os.close(write_fd)
    os.waitpid(pid, 0)
    with open(read_fd, "rb") as file:
        return file.read()


@needs_root
def test_a_child_is_born_in_the_namespaces_of_its_pod(pod: int) -> None:
    """Sysctls, network devices, mqueue and sysfs go by the child's namespaces: one that joined later had the host's then."""
    home = Home(CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWUTS)
    ours, theirs = links("self"), links(pod)
    assert {kind for kind in ours if ours[kind] != theirs[kind]} == {"net", "ipc", "uts"}
    with Elsewhere(home, {kind: f"/proc/{pod}/ns/{kind}" for kind in ("net", "ipc", "uts")} | {"pid": ""}):
        born = answer(lambda: repr(links("self")).encode())
    home.close()
    assert born.decode() == repr(theirs)
    assert links("thread-self") == ours


@needs_root
def test_the_way_back_if_one_is_not_there(pod: int) -> None:
    home = Home(CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWUTS)
    ours = links("thread-self")
    with (
        pytest.raises(InvalidInput, match="namespaces"),
        Elsewhere(home, {"net": f"/proc/{pod}/ns/net", "uts": f"/proc/{pod}/ns/net"}),
    ):
        raise AssertionError
    home.close()
    assert links("thread-self") == ours


def test_undoing_goes_on_and_says_that_something_is_left() -> None:
    done: list[str] = []

    def busy() -> None:
        raise InvalidState("processes live in it")

    undo = Undo()
    undo.add(lambda: done.append("first"))
    undo.add(busy)
    undo.add(lambda: done.append("last"))
    assert not undo.run() and done == ["last", "first"]
    assert undo.run()


def test_a_pid_file_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "pid").mkdir()
    with pytest.raises(IsADirectoryError):
        write_pid_file(str(tmp_path / "pid"), 1)
    assert os.listdir(tmp_path) == ["pid"]


def joining(pid: int, directory: Path) -> bytes:
    """Return what comes of joining the mount namespace of a process, and whether we are in it."""
    ours = os.readlink("/proc/self/ns/mnt")
    fd = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY)
    try:
        mounting.own_mount_namespace(0, fd, must_be_same=str(directory))
    except InvalidInput as error:
        return f"{error.message}; back: {os.readlink('/proc/self/ns/mnt') == ours}".encode()
    return f"joined: {os.readlink('/proc/self/ns/mnt') == os.readlink(f'/proc/{pid}/ns/mnt') != ours}".encode()


@needs_root
@pytest.mark.parametrize("hides", ["nothing", "state", "/proc"])
def test_a_mount_namespace_is_joined_where_names_mean_the_same(tmp_path: Path, hides: str) -> None:
    """In another container's, what is at the runtime's own paths is that container's: modules, procfs, record."""

    def prepare() -> None:
        mounting.own_mount_namespace(0)
        if hides != "nothing":
            mounts.mount("none", str(tmp_path) if hides == "state" else hides, "tmpfs")

    for pid in elsewhere(prepare):
        told = answer(lambda pid=pid: joining(pid, tmp_path)).decode()  # type: ignore[misc]
    if hides == "nothing":
        assert told == "joined: True"
    else:
        place = str(tmp_path) if hides == "state" else hides
        assert f"'{place}' is not the runtime's" in told and told.endswith("back: True")

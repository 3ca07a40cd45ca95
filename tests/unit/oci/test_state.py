"""The record of a container, its lock, and what the kernel says of its process: real processes, real files."""

import fcntl
import json
import os
import re
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pycontainer.errors import AlreadyExists, Busy, InvalidInput, NotFound, PycontainerError
from pycontainer.oci import state as state_module
from pycontainer.oci.state import State, check_id, ids, is_locked, process_state, user_name
from tests.support.poll import poll_until


def new(root: Path, container_id: str = "web") -> State:
    state = State(str(root), container_id, bundle="/b", rootfs="/b/rootfs", annotations={"a": "1"})
    state.config["resources"] = {}
    return state


def saved(root: Path, pid: int = 0, container_id: str = "web") -> State:
    with State.claim(str(root), container_id):
        state = new(root, container_id)
        if pid:
            found = process_state(pid)
            assert found is not None
            state.pid, state.start_ticks = pid, found[1]
        state.save()
    return state


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen(["sleep", "300"])
    try:
        yield child
    finally:
        child.kill()
        child.wait()


@pytest.mark.parametrize("container_id", ["web", "a", "A_b+c-d.e", "...", "-x", "0", "x" * 255])
def test_ids(container_id: str) -> None:
    assert check_id(container_id) == container_id


@pytest.mark.parametrize(
    "container_id", ["", ".", "..", "a/b", "../x", "a b", "ä", "a\0", "a\n", "a,b", "a:b", "x" * 256]
)
def test_what_is_no_id(container_id: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="^invalid container ID format: "):
        check_id(container_id)
    for action in (State.load, State.lock, State.claim):
        with pytest.raises(InvalidInput):
            action(str(tmp_path), container_id)


def test_a_record_comes_back(tmp_path: Path) -> None:
    state = new(tmp_path / "r")
    state.cgroup, state.hooks_poststop, state.pid, state.start_ticks = (
        {"paths": ["/x"]},
        [{"path": "/h", "args": [], "env": []}],
        7,
        8,
    )
    with State.claim(state.root, "web"):
        state.save()
    again = State.load(state.root, "web")
    for name in State.__slots__:
        assert getattr(again, name) == getattr(state, name), name
    directory = tmp_path / "r/web"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE((directory / "state.json").stat().st_mode) == 0o600
    assert os.listdir(directory) == ["state.json"]
    assert list(json.loads((directory / "state.json").read_text())) == [
        "ociVersion", "id", "pid", "start_ticks", "bundle", "rootfs", "created", "annotations", "owner", "cgroup",
        "hooks_poststop", "config",
    ]  # fmt: skip


def test_a_reader_sees_one_record_or_the_other(tmp_path: Path) -> None:
    state = saved(tmp_path)
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            state.config["x"] = "y" * (number % 7 * 5000)
            state.save()

    writer = threading.Thread(target=write)
    writer.start()
    seen: set[int] = set()
    try:
        for _ in range(100_000):
            seen.add(len(str(State.load(str(tmp_path), "web").config.get("x", ""))))
            if len(seen) == 7:
                break
    finally:
        stop.set()
        writer.join()
    assert seen == {5000 * number for number in range(7)}


def test_what_engines_read(tmp_path: Path) -> None:
    state = new(tmp_path)
    state.pid = 7
    shown = state.describe("running")
    assert list(shown) == ["ociVersion", "id", "pid", "status", "bundle", "rootfs", "created", "annotations", "owner"]
    assert (shown["ociVersion"], shown["pid"], shown["status"]) == ("1.2.0", 7, "running")
    assert re.fullmatch(r"2[0-9]{3}-[0-9]{2}-[0-9]{2}T[0-9:]{8}(\.[0-9]{0,8}[1-9])?Z", str(shown["created"]))
    assert state.describe("stopped")["pid"] == 0
    state.annotations = {}
    assert "annotations" not in state.describe("running")


def test_owner() -> None:
    assert user_name(0) == "root"
    assert user_name(4_000_000_000) == "#4000000000"
    assert user_name(1) == "daemon"


# -- damaged records -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "state.json: "),
        ("{", "state.json: "),
        ("[]", "it is not an object"),
        ("{}", "field 'ociVersion' is not of its type"),
        ('{"pid": 1, "pid": 2}', "twice"),
    ],
)
def test_a_damaged_record(tmp_path: Path, text: str, why: str) -> None:
    saved(tmp_path)
    (tmp_path / "web/state.json").write_text(text)
    with pytest.raises(PycontainerError, match="the record of container 'web' is damaged") as caught:
        State.load(str(tmp_path), "web")
    assert why in caught.value.message and "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("pid", "1"),
        ("pid", True),
        ("pid", -1),
        ("id", "db"),
        ("cgroup", None),
        ("config", {}),
        ("config", {"joined": True, "executes": True, "start_hooks": False}),
        ("hooks_poststop", [5]),
        ("hooks_poststop", [{"path": "/h", "args": "h", "env": []}]),
    ],
)
def test_a_field_of_another_type(tmp_path: Path, key: str, value: object) -> None:
    saved(tmp_path)
    path = tmp_path / "web/state.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(PycontainerError, match="is damaged"):
        State.load(str(tmp_path), "web")


def test_somebody_elses_record(tmp_path: Path) -> None:
    """Who could write it could say which process gets our signals: a record that others may write to is none."""
    saved(tmp_path)
    path = tmp_path / "web/state.json"
    path.chmod(0o620)
    with pytest.raises(PycontainerError, match="others may write to it"):
        State.load(str(tmp_path), "web")
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(PycontainerError, match="not a regular file"):
        State.load(str(tmp_path), "web")
    path.unlink()
    path.symlink_to("/etc/passwd")
    with pytest.raises(OSError, match="symbolic link"):
        State.load(str(tmp_path), "web")


def test_none(tmp_path: Path) -> None:
    """Engines compare this text; an id that is only claimed has no state either."""
    for root in (tmp_path, tmp_path / "none"):
        with pytest.raises(NotFound, match="^container does not exist$"):
            State.load(str(root), "web")
        with pytest.raises(NotFound, match="^container does not exist$"):
            State.lock(str(root), "web")
    with State.claim(str(tmp_path), "web"):
        with pytest.raises(NotFound):
            State.load(str(tmp_path), "web")


# -- locks ---------------------------------------------------------------------------------------------------------


def test_an_id_is_claimed_once(tmp_path: Path) -> None:
    with State.claim(str(tmp_path / "a/b"), "web"):
        with pytest.raises(AlreadyExists, match="^container with given ID already exists$"):
            State.claim(str(tmp_path / "a/b"), "web")
    assert stat.S_IMODE((tmp_path / "a/b").stat().st_mode) == 0o1700


def test_of_many_claims_one_is_granted(tmp_path: Path) -> None:
    granted = []
    barrier = threading.Barrier(8)

    def claim() -> None:
        barrier.wait()
        try:
            granted.append(State.claim(str(tmp_path / "r"), "web"))
        except AlreadyExists:
            pass

    threads = [threading.Thread(target=claim) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(granted) == 1
    granted[0].release()


def test_the_second_waits_and_gives_up(tmp_path: Path) -> None:
    with State.claim(str(tmp_path), "web"):
        with pytest.raises(Busy, match="another operation holds container 'web'"):
            State.lock(str(tmp_path), "web", wait_seconds=0.02)
    State.lock(str(tmp_path), "web", wait_seconds=0).release()


def test_the_second_gets_it_when_the_first_is_done(tmp_path: Path) -> None:
    first = State.claim(str(tmp_path), "web")
    threading.Timer(0.05, first.release).start()
    State.lock(str(tmp_path), "web", wait_seconds=30).release()


@pytest.mark.parametrize("is_made_anew", [False, True])
def test_deleted_between_the_open_and_the_lock(
    tmp_path: Path, is_made_anew: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock on a directory that is gone would be worth nothing: it is on the one that has the name now, or there is none."""
    State.claim(str(tmp_path), "web").release()
    flock = fcntl.flock

    def deleted_first(fd: int, operation: int) -> None:
        monkeypatch.undo()
        state_module.remove_directory(str(tmp_path / "web"))
        if is_made_anew:
            (tmp_path / "web").mkdir()
        flock(fd, operation)

    monkeypatch.setattr(fcntl, "flock", deleted_first)
    if is_made_anew:
        with State.lock(str(tmp_path), "web"):
            assert is_locked(str(tmp_path / "web"))
    else:
        with pytest.raises(NotFound):
            State.lock(str(tmp_path), "web")


def test_a_child_does_not_keep_the_lock(tmp_path: Path) -> None:
    """A process that was forked under the lock and has not executed anything yet shares the descriptor."""
    lock = State.claim(str(tmp_path), "web")
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(write_fd)
        os.read(read_fd, 1)
        os._exit(0)
    try:
        assert is_locked(str(tmp_path / "web"))
        lock.release()
        assert not is_locked(str(tmp_path / "web"))
    finally:
        os.close(write_fd)
        os.close(read_fd)
        os.waitpid(pid, 0)


def test_a_lock_is_released_once(tmp_path: Path) -> None:
    lock = State.claim(str(tmp_path), "web")
    lock.release()
    fd = os.open(tmp_path, os.O_RDONLY)  # gets the number
    fcntl.flock(fd, fcntl.LOCK_EX)
    lock.release()
    os.fstat(fd)
    os.close(fd)


# -- status --------------------------------------------------------------------------------------------------------


def test_creating_while_somebody_does(tmp_path: Path) -> None:
    with State.claim(str(tmp_path), "web"):
        state = new(tmp_path)
        state.save()
        assert State.load(str(tmp_path), "web").status() == "creating"
        assert state.status(holds_lock=True) == "stopped"  # who holds the lock finds what another has left
    assert state.status() == "stopped"


def test_created_running_stopped(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    state = saved(tmp_path, sleeper.pid)
    os.mkfifo(state.go_path)
    assert state.status() == "created"
    os.unlink(state.go_path)
    assert state.status() == "running"
    sleeper.kill()
    poll_until(lambda: (process_state(sleeper.pid) or "Z")[0] == "Z", timeout_seconds=30)
    assert state.status() == "stopped"  # nobody has reaped it
    assert state.open_pidfd() is None
    sleeper.wait()
    assert state.status() == "stopped"


def test_another_process_with_this_number(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    """A number that has gone to a younger process is not the container's."""
    state = saved(tmp_path, sleeper.pid)
    pidfd = state.open_pidfd()
    assert pidfd is not None
    os.close(pidfd)
    state.start_ticks -= 1
    assert state.status() == "stopped"
    assert state.open_pidfd() is None


def test_a_process_whose_first_thread_has_ended(tmp_path: Path) -> None:
    """It looks like a zombie in stat, and lives."""
    program = (
        "import ctypes, threading, time\n"
        "threading.Thread(target=time.sleep, args=(300,), daemon=True).start()\n"
        "print('up', flush=True)\n"
        "ctypes.CDLL(None).pthread_exit(None)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None and child.stdout.readline() == b"up\n"
        state = saved(tmp_path, child.pid)
        poll_until(lambda: (process_state(child.pid) or " ")[0] == "Z", timeout_seconds=30)
        assert state.status() == "running"
    finally:
        child.kill()
        child.wait()
        if child.stdout is not None:
            child.stdout.close()
    assert state.status() == "stopped"


def test_a_name_that_looks_like_the_end(tmp_path: Path) -> None:
    """The command's name in stat may hold blanks and brackets."""
    program = tmp_path / "a) Z 1 (b"
    program.symlink_to("/bin/sleep")
    child = subprocess.Popen([str(program), "300"])
    try:
        found = poll_until(lambda: process_state(child.pid), timeout_seconds=30)
        assert found is not None and found[0] in "SRD" and found[1] > 0
    finally:
        child.kill()
        child.wait()


# -- list and removal ----------------------------------------------------------------------------------------------


def test_ids_of_a_root(tmp_path: Path) -> None:
    for name in ("b", "a", "c"):
        saved(tmp_path, container_id=name)
    (tmp_path / "file").write_text("")
    (tmp_path / "no id").mkdir()
    assert ids(str(tmp_path)) == ["a", "b", "c"]
    assert ids(str(tmp_path / "none")) == []


def test_removal_leaves_nothing(tmp_path: Path) -> None:
    state = saved(tmp_path)
    os.mkfifo(state.go_path)
    os.mkfifo(state.report_path)
    (tmp_path / "web/config.json").write_text("{}")
    (tmp_path / "web/left").mkdir()
    (tmp_path / "web/left/over").write_text("")
    state.remove()
    assert os.listdir(tmp_path) == []
    state.remove()


def test_what_is_cut_off_can_be_removed_later(tmp_path: Path) -> None:
    """The record goes last: as long as something is there, a second `delete` knows of the cgroup."""
    state = saved(tmp_path)
    (tmp_path / "web/config.json").write_text("{}")
    (tmp_path / "web/config.json").unlink()
    assert State.load(str(tmp_path), "web").id == "web"
    order: list[str] = []
    unlink = os.unlink
    os.mkfifo(state.go_path)
    os.mkfifo(tmp_path / "web/zzz")

    def watched(path: str) -> None:
        order.append(os.path.basename(path))
        unlink(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "unlink", watched)
        state.remove()
    assert order[-1] == "state.json" and len(order) == 3


def test_time_has_no_zeros_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 1_000_000_000 * 10**9 + 120_000_000)
    assert state_module.now_text() == "2001-09-09T01:46:40.12Z"
    monkeypatch.setattr(time, "time_ns", lambda: 1_000_000_000 * 10**9)
    assert state_module.now_text() == "2001-09-09T01:46:40Z"

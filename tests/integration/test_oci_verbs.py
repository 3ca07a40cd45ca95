"""The OCI verbs that act on a container's cgroup, whichever hierarchies there are, without `create`.

The containers are records of real process trees in real cgroups of our own; nothing of them may be left.
"""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pycontainer.oci import cgroups
from pycontainer.oci.cgroups import Group
from pycontainer.oci.state import State, process_state
from tests.support.ocirecords import left, recorded, runtime, sleeping
from tests.support.poll import SLOWNESS, poll_until

pytestmark = pytest.mark.vm

Capture = pytest.CaptureFixture[str]
CHECKOUT = str(Path(__file__).parents[2])
# It says "up" when its child is what it is to be: a shell's copy of itself swallows a signal on its way there.
HOLD = (
    "trap 'echo usr1 >&2' USR1; sleep 3000 & "
    'until [ "$(cat /proc/$!/comm)" = sleep ]; do :; done; echo up; while :; do wait; done'
)
SIGUSR1 = 10


class Tree:
    """A shell and its child in a cgroup of their own, recorded as container `web`."""

    def __init__(self, root: Path, script: str = HOLD) -> None:
        self.root = root
        self.group: Group = cgroups.make(f"/pycontainer-t{os.getpid()}", "web")
        self.group.create()
        self.shell = subprocess.Popen(
            ["sh", "-c", f"read x; {script}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self.group.attach(self.shell.pid)
        self.state = recorded(root, pid=self.shell.pid, group=self.group)

    def go(self) -> "Tree":
        assert self.shell.stdin is not None and self.shell.stdout is not None
        self.shell.stdin.write(b"\n")
        self.shell.stdin.flush()
        assert self.shell.stdout.readline() == b"up\n"
        return self

    def said(self) -> bytes:
        """Return the next line of standard error."""
        assert self.shell.stderr is not None
        return self.shell.stderr.readline()

    def close(self) -> None:
        self.group.kill()
        self.shell.communicate()
        poll_until(lambda: not self.group.pids(), timeout_seconds=30)
        self.group.delete()


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    made = Tree(tmp_path).go()
    try:
        poll_until(lambda: len(made.group.pids()) == 2, timeout_seconds=30)
        yield made
    finally:
        made.close()
        assert not any(os.path.exists(path) for path in made.group.paths().values())


def command(tree: Tree, *words: str) -> subprocess.Popen[str]:
    """Start a command as an engine does, as a process of its own."""
    program = f"import sys; sys.path.insert(0, {CHECKOUT!r})\nfrom pycontainer.oci.main import main; sys.exit(main())"
    return subprocess.Popen(
        [sys.executable, "-IS", "-c", program, "--root", str(tree.root), *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def status(tree: Tree, capfd: Capture) -> str:
    capfd.readouterr()
    assert runtime(tree.root, "state", "web") == 0
    shown: str = json.loads(capfd.readouterr().out)["status"]
    return shown


def test_pause_and_resume(tree: Tree, capfd: Capture) -> None:
    """The kernel is asked, not a record: the status and the group agree at each step."""
    assert (status(tree, capfd), tree.group.is_frozen()) == ("running", False)
    assert runtime(tree.root, "resume", "web") == 1
    assert capfd.readouterr().err == "pycontainer-oci: container not paused\n"
    assert runtime(tree.root, "pause", "web") == 0
    assert (status(tree, capfd), tree.group.is_frozen()) == ("paused", True)
    assert runtime(tree.root, "pause", "web") == 1
    assert capfd.readouterr().err == "pycontainer-oci: container not running: it is paused\n"
    assert runtime(tree.root, "delete", "web") == 1
    assert "that is not stopped: paused" in capfd.readouterr().err
    assert runtime(tree.root, "resume", "web") == 0
    assert (status(tree, capfd), tree.group.is_frozen()) == ("running", False)


def test_what_was_frozen_by_others_is_paused(tree: Tree, capfd: Capture) -> None:
    tree.group.freeze()
    assert status(tree, capfd) == "paused"
    tree.group.thaw()
    assert status(tree, capfd) == "running"


def test_ps(tree: Tree, capfd: Capture) -> None:
    assert runtime(tree.root, "ps", "--format", "json", "web") == 0
    assert json.loads(capfd.readouterr().out) == sorted(tree.group.pids())
    assert runtime(tree.root, "ps", "web") == 0
    assert [row.split()[1] for row in capfd.readouterr().out.splitlines()[1:]] == list(
        map(str, sorted(tree.group.pids()))
    )


def test_kill_of_a_paused_container(tree: Tree) -> None:
    """On v1 what stands still cannot die before it is thawed."""
    assert runtime(tree.root, "pause", "web") == 0
    assert runtime(tree.root, "kill", "web", "KILL") == 0
    assert tree.shell.wait(timeout=30 * SLOWNESS) == -9


def test_kill_all(tree: Tree, capfd: Capture) -> None:
    """Every process gets the signal, also when the first has gone; then there is nobody, which is fine."""
    assert runtime(tree.root, "kill", "--all", "web", "USR1") == 0
    assert tree.said() == b"usr1\n"
    assert not tree.group.is_frozen()
    # the child had no handler: the shell starts no other, so it is alone
    poll_until(lambda: tree.group.pids() == [tree.shell.pid], timeout_seconds=30)
    assert runtime(tree.root, "kill", "--all", "web", "9") == 0
    assert tree.shell.wait(timeout=30 * SLOWNESS) == -9
    assert runtime(tree.root, "kill", "--all", "web", "9") == 0
    assert runtime(tree.root, "kill", "--all", "web", "TERM") == 0
    tree.group.delete()
    assert runtime(tree.root, "kill", "--all", "web", "9") == 0
    assert capfd.readouterr() == ("", "")


def test_kill_all_after_the_first_process_has_gone(tree: Tree) -> None:
    tree.shell.kill()
    tree.shell.wait()
    assert len(tree.group.pids()) == 1
    assert runtime(tree.root, "kill", "--all", "web", "9") == 0
    poll_until(lambda: tree.group.pids() == [], timeout_seconds=30)


def test_a_signal_to_all_does_not_resume(tree: Tree, capfd: Capture) -> None:
    assert runtime(tree.root, "pause", "web") == 0
    assert runtime(tree.root, "kill", "--all", "web", "USR1") == 0
    assert status(tree, capfd) == "paused"  # though v2 wakes who gets a signal, to stop again at once
    assert runtime(tree.root, "resume", "web") == 0
    assert tree.said() == b"usr1\n"


@pytest.mark.parametrize("paused", [False, True])
def test_delete_by_force(tree: Tree, paused: bool) -> None:
    if paused:
        assert runtime(tree.root, "pause", "web") == 0
    assert runtime(tree.root, "delete", "--force", "web") == 0
    assert tree.shell.wait(timeout=30 * SLOWNESS) == -9
    assert left(tree.root) == []
    assert not any(os.path.exists(path) for path in tree.group.paths().values())
    assert runtime(tree.root, "delete", "--force", "web") == 0


def test_delete_ends_what_the_first_process_left(tree: Tree) -> None:
    """A container without a pid namespace: its other processes outlive the first."""
    tree.shell.kill()
    tree.shell.wait()
    assert runtime(tree.root, "delete", "web") == 0
    assert left(tree.root) == [] and tree.group.pids() == []
    assert not any(os.path.exists(path) for path in tree.group.paths().values())


def test_delete_of_what_create_left_half_made(tmp_path: Path) -> None:
    """`create` was killed when there were a cgroup and a child, but no process in the record yet."""
    tree = Tree(tmp_path)
    try:
        tree.state.pid = tree.state.start_ticks = 0
        tree.state.save()
        assert runtime(tmp_path, "delete", "web") == 0
        assert tree.shell.wait(timeout=30 * SLOWNESS) == -9
        assert left(tmp_path) == [] and not any(os.path.exists(path) for path in tree.group.paths().values())
    finally:
        tree.close()


def sought(root: Path, path: str) -> Group:
    """Record container `web` as `create` does before it has its cgroup."""
    group = cgroups.make(path, "web")
    state = recorded(root)
    state.cgroup = group.sought()
    state.save()
    return group


def test_nobody_in_a_cgroup_that_was_only_sought_is_the_containers(tmp_path: Path, capfd: Capture) -> None:
    """`create` was killed before it saw that another container has the cgroup; engines answer with delete --force."""
    tree = Tree(tmp_path / "other").go()
    try:
        sought(tmp_path / "sought", f"/pycontainer-t{os.getpid()}")
        assert runtime(tmp_path / "sought", "ps", "--format", "json", "web") == 0
        assert capfd.readouterr().out == "[]\n"
        assert runtime(tmp_path / "sought", "kill", "--all", "web", "KILL") == 0
        assert runtime(tmp_path / "sought", "delete", "--force", "web") == 0
        assert tree.shell.poll() is None and len(tree.group.pids()) == 2 and left(tmp_path / "sought") == []
    finally:
        tree.close()


@pytest.mark.parametrize("is_others", [True, False])
def test_a_cgroup_that_was_only_sought_goes_if_it_was_not_there(tmp_path: Path, is_others: bool) -> None:
    """An empty one may be an engine's, which will have use for it."""
    path = f"/pycontainer-t{os.getpid()}/deep/web"
    made = cgroups.make(path, "web")
    if is_others:
        made.create()
    sought(tmp_path, path)
    if not is_others:
        made.create()  # and `create` was killed
    try:
        assert runtime(tmp_path, "delete", "web") == 0
        assert {os.path.exists(directory) for directory in made.paths().values()} == {is_others}
        above = {os.path.dirname(os.path.dirname(directory)) for directory in made.paths().values()}
        assert {os.path.exists(directory) for directory in above} == {is_others}
    finally:
        made.delete()


def test_ps_without_a_cgroup(tmp_path: Path, capfd: Capture) -> None:
    with sleeping() as child:
        recorded(tmp_path, pid=child.pid, group=Group("web", None))
        assert runtime(tmp_path, "ps", "--format", "json", "web") == 0
        assert json.loads(capfd.readouterr().out) == [child.pid]


def test_update(tree: Tree, capfd: Capture, tmp_path: Path) -> None:
    wanted = tmp_path / "wanted.json"
    directory = tree.group.paths()["pids"]
    assert runtime(tree.root, "update", "--pids-limit", "77", "web") == 0
    assert Path(f"{directory}/pids.max").read_text() == "77\n"
    wanted.write_text('{"pids": {"limit": 78}, "cpu": {"quota": 0, "cpus": ""}, "memory": {"limit": 0}}')
    assert runtime(tree.root, "update", "-r", str(wanted), "web") == 0
    assert Path(f"{directory}/pids.max").read_text() == "78\n"
    wanted.write_text('{"pids": {"limit": 79}, "cpu": {"cpus": "4000"}}')
    assert runtime(tree.root, "update", "-r", str(wanted), "web") == 1
    assert capfd.readouterr().err.startswith(f"pycontainer-oci: '{wanted}': resources.cpu.cpus: ")
    assert Path(f"{directory}/pids.max").read_text() == "78\n"
    assert runtime(tree.root, "update", "web") == 0


def test_events_once(tree: Tree, capfd: Capture) -> None:
    assert runtime(tree.root, "events", "--stats", "web") == 0
    out = capfd.readouterr().out
    assert out.count("\n") == 1
    event = json.loads(out)
    assert list(event) == ["type", "id", "data"] and (event["type"], event["id"]) == ("stats", "web")
    assert event["data"]["pids"]["current"] == 2


def test_events_until_the_end(tree: Tree) -> None:
    """They come at the interval; the last process's end, and the deletion under way, end them without an error."""
    watcher = command(tree, "events", "--interval", "50ms", "web")
    assert watcher.stdout is not None
    assert [json.loads(watcher.stdout.readline())["type"] for _ in range(3)] == ["stats"] * 3
    assert runtime(tree.root, "delete", "--force", "web") == 0
    rest, err = watcher.communicate(timeout=30 * SLOWNESS)
    assert (watcher.returncode, err) == (0, "")
    assert all(json.loads(line)["type"] == "stats" for line in rest.splitlines())


def test_events_tell_of_kills_for_want_of_memory(tmp_path: Path) -> None:
    """Each kill is one line, also of the process whose end ends the container."""
    tree = Tree(tmp_path, "echo up; read y; exec tail /dev/zero")
    try:
        tree.group.apply({"memory": {"limit": 16 << 20, "swap": 16 << 20}})
        tree.go()
        watcher = command(tree, "events", "--interval", "1h", "web")
        poll_until(lambda: _holds_pidfd(watcher.pid), timeout_seconds=30, what="events watches")
        assert tree.shell.stdin is not None
        tree.shell.stdin.write(b"\n")
        tree.shell.stdin.flush()
        out, err = watcher.communicate(timeout=60 * SLOWNESS)
        assert (out, err, watcher.returncode) == ('{"type":"oom","id":"web"}\n', "", 0)
        assert tree.shell.wait() == -9
    finally:
        tree.close()


def _holds_pidfd(pid: int) -> bool:
    """Say whether a process has begun to wait: it sleeps, with a pidfd open."""
    links = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):  # it was closed just now
            links.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
    return any("pidfd" in link for link in links) and (process_state(pid) or "?")[0] == "S"


def test_two_operations_at_once(tree: Tree) -> None:
    """Whatever comes first: the container is paused or not, and its record is whole."""
    commands = [command(tree, verb, "web") for verb in ("pause", "resume", "pause", "resume", "state", "state")]
    told = [each.communicate(timeout=60 * SLOWNESS) for each in commands]
    for each, (_, err) in zip(commands, told, strict=True):
        assert each.returncode == 0 or err in (
            "pycontainer-oci: container not paused\n", "pycontainer-oci: container not running: it is paused\n",
        ), err  # fmt: skip
    assert State.load(str(tree.root), "web").status() == ("paused" if tree.group.is_frozen() else "running")

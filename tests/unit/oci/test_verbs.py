"""The verbs that need no cgroup, on records of processes that the test has started."""

import json
import os
import signal
import stat
import subprocess
import time
from pathlib import Path

import pytest

from pycontainer.errors import InvalidInput
from pycontainer.oci.arguments import parse
from pycontainer.oci.config_resources import parse_resources
from pycontainer.oci.state import State
from pycontainer.oci.verbs import events, kill, ps, spec, update
from pycontainer.oci.verbs.features import features
from pycontainer.oci.verbs.list import table
from tests.support.ocirecords import left, recorded, runtime, sleeping

Capture = pytest.CaptureFixture[str]


# -- state, list ---------------------------------------------------------------------------------------------------


def test_state(tmp_path: Path, capfd: Capture) -> None:
    with sleeping() as child:
        state = recorded(tmp_path, pid=child.pid)
        assert runtime(tmp_path, "state", "web") == 0
    out, err = capfd.readouterr()
    assert err == "" and out == (
        f'{{\n  "ociVersion": "1.2.0",\n  "id": "web",\n  "pid": {child.pid},\n  "status": "running",\n  "bundle": "/b",\n'
        f'  "rootfs": "/b/rootfs",\n  "created": "{state.created}",\n  "annotations": {{\n    "a": "1"\n  }},\n'
        f'  "owner": ""\n}}\n'
    )
    assert runtime(tmp_path, "state", "web") == 0
    shown = json.loads(capfd.readouterr().out)
    assert (shown["pid"], shown["status"]) == (0, "stopped")


def test_an_empty_list(tmp_path: Path, capfd: Capture) -> None:
    for root in (tmp_path, tmp_path / "none"):
        assert runtime(root, "list", "--format", "json") == 0
        assert capfd.readouterr() == ("null\n", "")
        assert runtime(root, "list", "-q") == 0
        assert capfd.readouterr() == ("", "")
        assert runtime(root, "list") == 0
        assert capfd.readouterr() == ("ID          PID         STATUS      BUNDLE      CREATED     OWNER\n", "")
    assert not (tmp_path / "none").exists()


def test_list(tmp_path: Path, capfd: Capture) -> None:
    with sleeping() as child:
        recorded(tmp_path, "b", pid=child.pid)
        stopped = recorded(tmp_path, "a")
        with State.claim(str(tmp_path), "coming"):
            assert runtime(tmp_path, "list", "-f", "json") == 0
        out = capfd.readouterr().out
        assert out.count("\n") == 1
        assert [(entry["id"], entry["pid"], entry["status"]) for entry in json.loads(out)] == [
            ("a", 0, "stopped"), ("b", child.pid, "running"),
        ]  # fmt: skip
        assert runtime(tmp_path, "list", "--quiet") == 0
        assert capfd.readouterr().out == "a\nb\n"
        assert runtime(tmp_path, "list") == 0
        rows = capfd.readouterr().out.splitlines()
        assert rows[1].split() == ["a", "0", "stopped", "/b", stopped.created, stopped.owner]
    assert runtime(tmp_path, "list", "--format", "yaml") == 1
    assert capfd.readouterr() == ("", "pycontainer-oci: invalid format option 'yaml' (write table or json)\n")


def test_list_goes_on_after_a_damaged_record(tmp_path: Path, capfd: Capture) -> None:
    recorded(tmp_path, "a")
    (recorded(tmp_path, "b").directory + "/state.json")
    (tmp_path / "b/state.json").write_text("{")
    recorded(tmp_path, "c")
    assert runtime(tmp_path, "list", "-q") == 0
    out, err = capfd.readouterr()
    assert out == "a\nc\n"
    assert err.startswith("pycontainer-oci: container 'b' is left out: the record of container 'b' is damaged: ")
    assert err.count("\n") == 1


def test_the_table_is_runcs() -> None:
    """Columns are twelve wide at least, or three more than what is in them; the last one is not filled up."""
    lines = table([["a", "1", "running", "/a/rather/long/bundle", "t", "root"]]).split("\n")
    assert lines == [
        "ID          PID         STATUS      BUNDLE                  CREATED     OWNER",
        "a           1           running     /a/rather/long/bundle   t           root",
        "",
    ]


# -- kill ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "number"),
    [("9", 9), ("0", 0), ("64", 64), ("KILL", 9), ("SIGKILL", 9), ("sigterm", 15), ("term", 15), ("RTMIN", 34),
     ("SIGRTMIN+3", 37), ("rtmax-1", 63), ("CLD", 17), ("SIGPOLL", 29)],
)  # fmt: skip
def test_signals(text: str, number: int) -> None:
    assert kill.signal_number(text) == number


@pytest.mark.parametrize(
    "text",
    ["", "-9", "65", "9999999999", "BLAH", "SIG", "SIG_IGN", "_DFL", "SIGTERM+1", "RTMIN+31", "RTMAX+1", "RTMIN-1",
     "RTMIN+", "9 ", "٩", "RTMIN+-1", "KILL\0"],
)  # fmt: skip
def test_what_is_no_signal(text: str) -> None:
    with pytest.raises(InvalidInput, match="^unknown signal"):
        kill.signal_number(text)


@pytest.mark.parametrize(
    ("words", "number"), [((), signal.SIGTERM), (("9",), 9), (("HUP",), 1), (("--all", "KILL"), 9)]
)
def test_kill(tmp_path: Path, words: tuple[str, ...], number: int, capfd: Capture) -> None:
    with sleeping() as child:
        recorded(tmp_path, pid=child.pid)
        assert runtime(tmp_path, "kill", "web", *words) == 0
        assert child.wait(timeout=30) == -number
    assert capfd.readouterr() == ("", "")


def test_kill_of_what_has_ended(tmp_path: Path, capfd: Capture) -> None:
    """containerd looks for both texts; with --all it is fine that nobody is there."""
    with sleeping() as child:
        recorded(tmp_path, pid=child.pid)
    assert runtime(tmp_path, "kill", "web", "9") == 1
    assert capfd.readouterr() == ("", "pycontainer-oci: container not running: process already finished\n")
    assert runtime(tmp_path, "kill", "--all", "web", "9") == 0
    assert runtime(tmp_path, "kill", "none", "BLAH") == 1
    assert capfd.readouterr() == ("", "pycontainer-oci: container does not exist\n")


def test_kill_waits_for_no_lock(tmp_path: Path) -> None:
    with sleeping() as child:
        recorded(tmp_path, pid=child.pid)
        with State.lock(str(tmp_path), "web"):
            assert runtime(tmp_path, "kill", "web", "KILL") == 0
        assert child.wait(timeout=30) == -9


def test_kill_of_a_number_that_has_gone_to_another(tmp_path: Path, capfd: Capture) -> None:
    with sleeping() as child:
        state = recorded(tmp_path, pid=child.pid)
        state.start_ticks -= 1
        state.save()
        assert runtime(tmp_path, "kill", "web", "9") == 1
        assert child.poll() is None


# -- delete --------------------------------------------------------------------------------------------------------


def test_delete(tmp_path: Path, capfd: Capture) -> None:
    recorded(tmp_path)
    assert runtime(tmp_path, "delete", "web") == 0
    assert left(tmp_path) == []
    assert runtime(tmp_path, "delete", "web") == 1
    assert capfd.readouterr() == ("", "pycontainer-oci: container does not exist\n")


def test_delete_by_force_of_what_is_unknown(tmp_path: Path, capfd: Capture) -> None:
    """Engines do so after each deletion."""
    assert runtime(tmp_path, "delete", "--force", "web") == 0
    assert runtime(tmp_path / "none", "delete", "--force", "web") == 0
    assert capfd.readouterr() == ("", "")
    assert runtime(tmp_path, "delete", "--force", "../x") == 1
    assert "invalid container ID format: '../x'" in capfd.readouterr().err


@pytest.mark.parametrize("status", ["created", "running"])
def test_delete_of_what_is_not_stopped_changes_nothing(tmp_path: Path, status: str, capfd: Capture) -> None:
    with sleeping() as child:
        state = recorded(tmp_path, pid=child.pid)
        if status == "created":
            os.mkfifo(state.go_path)
        before = left(tmp_path / "web")
        assert runtime(tmp_path, "delete", "web") == 1
        assert capfd.readouterr().err == (
            f"pycontainer-oci: cannot delete container 'web' that is not stopped: {status}\n"
        )
        assert (left(tmp_path / "web"), child.poll()) == (before, None)
        assert runtime(tmp_path, "delete", "--force", "web") == 0
        assert child.wait(timeout=30) == -9
    assert left(tmp_path) == []


def test_delete_of_what_create_had_only_claimed(tmp_path: Path) -> None:
    """`create` was killed before the first record, and after it."""
    for words in (["delete", "web"], ["delete", "--force", "web"]):
        State.claim(str(tmp_path), "web").release()
        os.mkfifo(tmp_path / "web/go")
        assert runtime(tmp_path, *words) == 0
        assert left(tmp_path) == []
    recorded(tmp_path)
    assert runtime(tmp_path, "delete", "web") == 0
    assert left(tmp_path) == []


def test_delete_of_a_damaged_record(tmp_path: Path, capfd: Capture) -> None:
    recorded(tmp_path)
    (tmp_path / "web/state.json").write_text("{")
    assert runtime(tmp_path, "delete", "web") == 1
    assert left(tmp_path) == ["web"] and "is damaged" in capfd.readouterr().err
    assert runtime(tmp_path, "delete", "--force", "web") == 0
    assert left(tmp_path) == [] and "its cgroup, if there is one, stays" in capfd.readouterr().err


def test_delete_of_a_damaged_record_of_a_cgroup(tmp_path: Path, capfd: Capture) -> None:
    state = recorded(tmp_path)
    state.cgroup = {"driver": "cgroupfs", "container_id": "web", "version": 1, "paths": {"pids": "/etc"}}
    state.save()
    assert runtime(tmp_path, "delete", "web") == 1
    assert left(tmp_path) == ["web"] and "names '/etc', which is none" in capfd.readouterr().err
    assert runtime(tmp_path, "delete", "--force", "web") == 0
    assert left(tmp_path) == []


def test_delete_ends_the_process_before_it_asks_for_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An operation that waits for the process gives the lock back then; one that hangs is reported, nothing is removed."""
    monkeypatch.setattr(State.lock, "__defaults__", (0.05,))
    with sleeping() as child:
        recorded(tmp_path, pid=child.pid)
        with State.lock(str(tmp_path), "web"):
            assert runtime(tmp_path, "delete", "--force", "web") == 1
            assert child.wait(timeout=30) == -9
        assert left(tmp_path) == ["web"]
        assert runtime(tmp_path, "delete", "--force", "web") == 0


def test_of_many_deletions_all_succeed_by_force(tmp_path: Path) -> None:
    """Processes, as engines start them: one deletes, the others find nothing more."""
    for _ in range(3):
        recorded(tmp_path)
        pids = []
        for _ in range(4):
            pid = os.fork()
            if pid == 0:
                os._exit(runtime(tmp_path, "delete", "--force", "web"))
            pids.append(pid)
        assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * 4
        assert left(tmp_path) == []


def test_poststop_hooks(tmp_path: Path, capfd: Capture) -> None:
    """They run when the container is gone, are told so on standard input, and none keeps the next from running."""
    told = tmp_path / "told"
    root = tmp_path / "r"
    state = recorded(root)
    write = ["sh", "-c", f'cat >> {told}; ls {root} >> {told}; echo "$0 $NAME" >> {told}', "one"]
    state.hooks_poststop = [
        {"path": "/bin/false", "args": ["false"], "env": []},
        {"path": "/bin/sh", "args": write, "env": ["NAME=x", f"PATH={os.environ['PATH']}"], "timeout": 30},
    ]
    state.save()
    assert runtime(root, "delete", "web") == 0
    shown, name = told.read_text().splitlines()[0], told.read_text().splitlines()[-1]
    document = json.JSONDecoder().raw_decode(shown)[0]
    assert (document["id"], document["status"], document["pid"]) == ("web", "stopped", 0)
    assert (told.read_text().count("web"), name.split()[-1]) == (1, "x")
    assert "pycontainer-oci: warning: hooks.poststop[0]: '/bin/false' failed" in capfd.readouterr().err


# -- pause, resume, update, events without a cgroup --------------------------------------------------------------------


def test_what_needs_a_cgroup(tmp_path: Path, capfd: Capture) -> None:
    with sleeping() as child:
        recorded(tmp_path, pid=child.pid)
        for words, message in (
            (["pause"], "cannot pause a container without a cgroup"),
            (["resume"], "container not paused"),
            (["update", "--pids-limit", "5"], "cannot limit a container without a cgroup"),
            (["events", "--stats"], "a container without a cgroup has no statistics"),
        ):
            assert runtime(tmp_path, *words, "web") == 1
            assert capfd.readouterr() == ("", f"pycontainer-oci: {message}\n")


@pytest.mark.parametrize("words", [["pause"], ["update", "--memory", "1m"], ["events"], ["kill"]])
def test_what_needs_a_process(tmp_path: Path, words: list[str], capfd: Capture) -> None:
    recorded(tmp_path)
    assert runtime(tmp_path, *words, "web") == 1
    assert capfd.readouterr().err.startswith("pycontainer-oci: container not running")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1024", 1024),
        ("200m", 200 << 20),
        ("1G", 1 << 30),
        ("5kb", 5120),
        ("5KiB", 5120),
        ("-1", -1),
        ("10b", 10),
        ("0", 0),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert update.size(text, "memory") == size


@pytest.mark.parametrize("text", ["", "m", "-2", "1.5.1", "1_0", "1x", "9999999p", "٣", "1 m", "1e3", "b", "i"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(InvalidInput, match="^flag '--memory' is a size"):
        update.size(text, "memory")


def test_single_options_of_update() -> None:
    options = parse(
        ["update", "--memory", "64m", "--memory-swap=-1", "--memory-reservation", "32m", "--cpu-quota", "50000",
         "--cpu-period", "100000", "--cpu-share", "512", "--cpuset-cpus", "0", "--cpuset-mems", "0", "--pids-limit", "9",
         "--blkio-weight", "500", "--cpu-idle", "0", "web"], "x",
    )  # fmt: skip
    made = update.from_options(options)
    assert made == {
        "memory": {"limit": 64 << 20, "swap": -1, "reservation": 32 << 20},
        "cpu": {"quota": 50000, "period": 100000, "shares": 512, "cpus": "0", "mems": "0", "idle": 0},
        "pids": {"limit": 9},
        "blockIO": {"weight": 500},
    }
    assert parse_resources(made, "update") == made
    assert update.from_options(parse(["update", "web"], "x")) == {}


def test_update_from_a_file(tmp_path: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is wrong in it is told with the place; none of it is applied."""
    with sleeping() as child:
        recorded(tmp_path / "r", pid=child.pid)
        path = tmp_path / "f"
        for written, message in (
            ('{"memory": {"limit": "1"}}', f"'{path}': resources.memory.limit: '1' is not a whole number"),
            ("{", f"'{path}': line 1, column 2: "),
            ('{"pids": {"limit": 1}, "pids": {"limit": 2}}', "twice"),
        ):
            path.write_text(written)
            assert runtime(tmp_path / "r", "update", "-r", str(path), "web") == 1
            assert message in capfd.readouterr().err
        path.write_text('{"cpu": {"shares": -1}}')
        with path.open() as file:
            saved_fd = os.dup(0)
            os.dup2(file.fileno(), 0)
            try:
                assert runtime(tmp_path / "r", "update", "--resources", "-", "web") == 1
            finally:
                os.dup2(saved_fd, 0)
                os.close(saved_fd)
        assert capfd.readouterr().err.startswith(
            "pycontainer-oci: standard input: resources.cpu.shares: -1 is out of range"
        )
        path.write_bytes(b" " * (update.MAX_BYTES + 1))
        assert runtime(tmp_path / "r", "update", "-r", str(path), "web") == 1
        assert "more than" in capfd.readouterr().err
    assert runtime(tmp_path / "r", "update", "-r", f"{tmp_path}/none", "web") == 1
    assert capfd.readouterr().err == f"pycontainer-oci: '{tmp_path}/none': no such file or directory\n"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5s", 5), ("500ms", 0.5), ("1m30s", 90), ("1.5h", 5400), ("100us", 1e-4), ("1h0m0.5s", 3600.5)],
)
def test_durations(text: str, seconds: float) -> None:
    assert events.duration_seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "s", "-1s", "0s", "1.2.3s", "1x", ".s", "1s1", "5 s", "9999999999h", "∞s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(InvalidInput, match="^invalid interval"):
        events.duration_seconds(text)


# -- ps ------------------------------------------------------------------------------------------------------------


def test_ps(tmp_path: Path, capfd: Capture) -> None:
    with sleeping() as child:
        recorded(tmp_path, pid=child.pid)
        assert runtime(tmp_path, "ps", "--format", "json", "web") == 0
        assert capfd.readouterr() == (f"[{child.pid}]\n", "")
        assert runtime(tmp_path, "ps", "web") == 0
        head, row = capfd.readouterr().out.splitlines()
        assert head.split() == ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
        cells = row.split(maxsplit=7)
        assert cells[1:3] == [str(child.pid), str(os.getpid())] and cells[7] == "sleep 3000"
        assert runtime(tmp_path, "ps", "web", "-o", "pid,comm") == 0
        assert [line.split() for line in capfd.readouterr().out.splitlines()] == [
            ["PID", "COMMAND"], [str(child.pid), "sleep"],
        ]  # fmt: skip
        assert runtime(tmp_path, "ps", "web", "-o", "comm") == 1
        assert "has no column PID" in capfd.readouterr().err
        assert runtime(tmp_path, "ps", "web", "--bogus") == 1
        assert capfd.readouterr().err.startswith("pycontainer-oci: ps --bogus: ")
    assert runtime(tmp_path, "ps", "-f", "json", "web") == 0
    assert capfd.readouterr().out == "[]\n"
    assert runtime(tmp_path, "ps", "-f", "xml", "web") == 1


def test_the_table_of_ps_is_that_of_ps() -> None:
    """Compared with the program itself, for a process without a terminal and this one."""
    with sleeping() as child:
        pids = [child.pid, os.getpid()]
        ours = [line.split(maxsplit=7) for line in ps.table(pids).splitlines()]
        program = subprocess.run(["ps", "-efww"], capture_output=True, text=True, check=True).stdout.splitlines()
    theirs = [line.split(maxsplit=7) for line in program]
    theirs = [theirs[0], *(next(cells for cells in theirs if cells[1] == str(pid)) for pid in pids)]
    for mine, wanted in zip(ours, theirs, strict=True):
        assert [*mine[:3], mine[5]] == [*wanted[:3], wanted[5]]
        assert mine[7][:40] == wanted[7][:40]
    assert ours[1][4][2:3] == theirs[1][4][2:3] == ":"


def test_a_process_that_ends_meanwhile_is_left_out(tmp_path: Path) -> None:
    with sleeping() as child:
        pass
    assert len(ps.table([child.pid]).splitlines()) == 1


def test_a_command_line_cannot_speak_to_a_terminal() -> None:
    with sleeping(["sh", "-c", "read x", "a\x1b[2J\nb"]) as child:
        rows = ps.table([child.pid]).splitlines()
    assert len(rows) == 2 and rows[1].endswith("sh -c read x a\\x1b[2J\\nb")


@pytest.mark.parametrize(
    ("device", "name"), [(0, "?"), (os.makedev(136, 3), "pts/3"), (os.makedev(137, 1), "pts/257"), (os.makedev(4, 1), "tty1"),
                         (os.makedev(4, 65), "ttyS1"), (os.makedev(204, 64), "204,64")]
)  # fmt: skip
def test_terminals(device: int, name: str) -> None:
    assert ps.terminal_name(device) == name


# -- spec, features ------------------------------------------------------------------------------------------------


def test_spec(tmp_path: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert runtime(tmp_path, "spec") == 0
    path = tmp_path / "config.json"
    written = path.read_text()
    assert json.loads(written) == spec.example(rootless=False)
    assert stat.S_IMODE(path.stat().st_mode) & ~0o644 == 0
    assert runtime(tmp_path, "spec", "--bundle", str(tmp_path)) == 1
    assert capfd.readouterr() == ("", f"pycontainer-oci: '{path}' exists (remove it first)\n")
    assert path.read_text() == written


def test_spec_is_one_that_we_take(tmp_path: Path) -> None:
    from pycontainer.oci.config import load

    for words in ([], ["--rootless"]):
        bundle = tmp_path / f"b{len(words)}"
        (bundle / "rootfs").mkdir(parents=True)
        assert runtime(tmp_path, "spec", "-b", str(bundle), *words) == 0
        config = load(str(bundle))
        assert config.process is not None and config.process.args == ["sh"]
        assert ("user" in config.namespaces) == bool(words) != ("net" in config.namespaces)


def test_features(capfd: Capture, tmp_path: Path) -> None:
    assert runtime(tmp_path, "features") == 0
    shown = json.loads(capfd.readouterr().out)
    assert shown == features()
    assert shown["hooks"] == ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]
    assert {"rro", "tmpcopyup", "idmap", "rshared", "ro"} <= set(shown["mountOptions"])
    assert shown["linux"]["namespaces"] == sorted(shown["linux"]["namespaces"])
    assert "CAP_CHECKPOINT_RESTORE" in shown["linux"]["capabilities"]
    assert {"SCMP_ACT_ERRNO", "SCMP_ACT_KILL_PROCESS"} <= set(shown["linux"]["seccomp"]["actions"])


def test_time_goes_by_the_host() -> None:
    """STIME of a process that has just begun is now, though start times count from boot and clocks were set since."""
    with sleeping() as child:
        row = ps.table([child.pid]).splitlines()[1].split()
        now = time.time()
    assert row[4] in {time.strftime("%H:%M", time.localtime(now + offset)) for offset in (-60, 0)}

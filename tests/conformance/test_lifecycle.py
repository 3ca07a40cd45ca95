"""The life of a container: create, start, state, kill, delete, run; what each refuses, and that a refusal changes nothing."""

import json
import os
import signal
from collections.abc import Callable

import pytest

from tests.conformance.nursery import Command
from tests.conformance.runtime import SLEEP, Container, Runtime
from tests.support.poll import poll_until

Maker = Callable[[], Container]


def test_statuses(container: Container) -> None:
    container.create(*SLEEP)
    assert container.status() == "created"
    container.start()
    assert container.status() == "running"
    container.stop()
    container.delete()
    assert not container.exists()


def test_state_has_what_engines_parse(container: Container) -> None:
    container.config["annotations"] = {"org.example.a": "1", "empty": ""}
    container.create(*SLEEP)
    state = container.state()
    assert list(state)[:5] == ["ociVersion", "id", "pid", "status", "bundle"]
    assert state["id"] == container.id
    assert state["bundle"] == container.bundle
    assert state["rootfs"] == container.rootfs
    assert state["annotations"] == {"org.example.a": "1", "empty": ""}
    assert state["created"].endswith("Z") and state["owner"] == ""
    assert os.readlink(f"/proc/{state['pid']}/ns/pid") != os.readlink("/proc/self/ns/pid")
    container.start()
    container.stop()
    assert container.state()["pid"] == 0


def test_program_waits_for_start(container: Container) -> None:
    container.create("payload", "out", "ran", *SLEEP[1:])
    assert container.output() == ""
    container.start()
    container.wait_for_output("ran\n")


def test_later_changes_of_the_configuration_have_no_effect(container: Container) -> None:
    container.create("payload", "out", "as created")
    container.process["args"] = ["payload", "out", "changed"]
    container.write()
    container.start()
    container.wait_stopped()
    assert container.output() == "as created\n"


def test_pid_file(container: Container) -> None:
    container.create(*SLEEP, options=["--pid-file", f"{container.bundle}/pid"])
    with open(f"{container.bundle}/pid") as file:
        assert file.read() == str(container.pid())


def test_bundle_is_the_current_directory_by_default(container: Container) -> None:
    container.write()
    container.runtime.ok("create", container.id, cwd=container.bundle)
    assert container.state()["bundle"] == container.bundle


def test_relative_bundle_is_recorded_as_absolute(container: Container) -> None:
    container.write()
    container.runtime.ok(
        "create", "--bundle", os.path.basename(container.bundle), container.id, cwd=f"{container.bundle}/.."
    )
    assert container.state()["bundle"] == container.bundle


@pytest.mark.deviates("runc", "refuses a configuration without process: 'process property must not be empty'")
def test_no_process(container: Container) -> None:
    """The specification wants `process` at start only, and the validation suite a start that does nothing."""
    del container.config["process"]
    container.create()
    assert container.status() == "created"
    container.start()


# Refusals


def test_state_of_an_unknown_id(runtime: Runtime) -> None:
    assert "container does not exist" in runtime.fails("state", f"{runtime.tag}-none")


@pytest.mark.parametrize("verb", ["start", "kill", "delete", "pause", "resume", "ps"])
def test_unknown_id(runtime: Runtime, verb: str) -> None:
    assert "container does not exist" in runtime.fails(verb, f"{runtime.tag}-none")


@pytest.mark.parametrize("verb", ["create", "start", "state", "kill", "delete", "run"])
def test_no_id(runtime: Runtime, verb: str) -> None:
    assert runtime.call(verb).code != 0


@pytest.mark.parametrize("container_id", ["", ".", "..", "a/b", "../x", "/x", "a b", "a\n", "-x y", "ä" * 600])
def test_bad_id(runtime: Runtime, container: Container, container_id: str) -> None:
    container.write()
    before = set(os.listdir(runtime.directory))
    done = runtime.call("create", "--bundle", container.bundle, "--", container_id)
    assert done.code != 0 and done.err
    assert set(os.listdir(runtime.directory)) - before <= {"state"}
    assert runtime.ok("list", "--quiet") == ""


def test_id_in_use(container: Container) -> None:
    container.create(*SLEEP)
    before = container.state()
    done = container.try_create(*SLEEP)
    assert done.code == 1
    assert "container with given ID already exists" in done.err
    assert container.state() == before


def test_start_twice(container: Container) -> None:
    container.create_and_start(*SLEEP)
    before = container.state()
    container.runtime.fails("start", container.id)
    assert container.state() == before


def test_start_of_a_stopped_container(container: Container) -> None:
    container.create_and_start("payload", "out", "once")
    container.wait_stopped()
    container.runtime.fails("start", container.id)
    assert container.status() == "stopped"
    assert container.output() == "once\n"


def test_delete_of_a_running_container(container: Container) -> None:
    container.create_and_start(*SLEEP)
    pid = container.pid()
    container.runtime.fails("delete", container.id)
    assert container.status() == "running" and container.pid() == pid


@pytest.mark.deviates("runc", "delete of a created container kills it and deletes it")
def test_delete_of_a_created_container(container: Container) -> None:
    container.create(*SLEEP)
    container.runtime.fails("delete", container.id)
    assert container.status() == "created"


@pytest.mark.parametrize("started", [False, True], ids=["created", "running"])
def test_delete_force(container: Container, started: bool) -> None:
    container.create(*SLEEP)
    if started:
        container.start()
    container.delete("--force")
    assert not container.exists()
    assert not os.path.exists(f"{container.runtime.root}/{container.id}")


def test_delete_force_of_an_unknown_id(runtime: Runtime, container: Container) -> None:
    """containerd calls it always once more."""
    runtime.ok("delete", "--force", f"{runtime.tag}-none")
    container.create_and_start("true")
    container.wait_stopped()
    container.delete()
    container.delete("--force")


def test_id_can_be_used_again(container: Container) -> None:
    for text in ("first", "second"):
        container.create_and_start("payload", "out", text)
        container.wait_stopped()
        container.delete()
    assert container.output() == "first\nsecond\n"


# Signals


TRAP = "trap 'echo got; exit 7' TERM; echo ready; while :; do sleep 0.05; done"


@pytest.mark.parametrize(
    "words", [(), ("TERM",), ("SIGTERM",), ("15",)], ids=lambda words: "-".join(words) or "default"
)
def test_kill_sends_a_signal(container: Container, words: tuple[str, ...]) -> None:
    container.create_and_start(*container.shell(TRAP))
    container.wait_for_output("ready")
    container.kill(*words)
    container.wait_stopped()
    assert container.output() == "ready\ngot\n"


def test_kill_of_a_created_container(container: Container) -> None:
    container.create("payload", "out", "must not run")
    container.stop()
    assert container.output() == ""
    container.delete()


@pytest.mark.parametrize("name", ["NOSUCH", "-1", "65", "TERMX"])
def test_unknown_signal(container: Container, name: str) -> None:
    container.create_and_start(*SLEEP)
    assert container.runtime.call("kill", "--", container.id, name).code != 0
    assert container.status() == "running"


def test_kill_of_a_stopped_container(container: Container) -> None:
    container.create_and_start("true")
    container.wait_stopped()
    assert "container not running" in container.runtime.fails("kill", container.id, "KILL")
    assert container.status() == "stopped"


def test_kill_all(container: Container) -> None:
    """In the host's pid namespace processes survive their init; shims ask for all even when that has gone."""
    container.without_namespace("pid")
    container.create_and_start(*container.shell("payload sleep 0 & echo $!; exec payload sleep 0"))
    container.wait_for_output("\n")
    child = int(container.output())
    container.kill("KILL")
    container.wait_stopped()
    assert os.path.exists(f"/proc/{child}")
    container.runtime.ok("kill", "--all", container.id, "9")
    poll_until(lambda: not os.path.exists(f"/proc/{child}"), what="the orphan is gone")
    container.delete()


@pytest.mark.vm
@pytest.mark.deviates("runc", "1.1 leaves the cgroup of v2 behind if a process takes a moment to end", always=False)
def test_delete_force_takes_all_processes_with_it(container: Container) -> None:
    container.without_namespace("pid")
    container.create_and_start(*container.shell("payload sleep 0 & echo $!; exec payload sleep 0"))
    container.wait_for_output("\n")
    child = int(container.output())
    container.delete("--force")
    poll_until(lambda: not os.path.exists(f"/proc/{child}"), what="the child is gone")


# run


@pytest.mark.parametrize(
    ("args", "code"),
    [(("payload", "exit", "0"), 0), (("payload", "exit", "42"), 42), (("payload", "exit", "255"), 255)],
    ids=["0", "42", "255"],
)
def test_run_ends_with_the_process_code(container: Container, args: tuple[str, ...], code: int) -> None:
    assert container.run(*args).code == code
    assert not container.exists()


def test_run_ends_with_128_and_the_signal(container: Container) -> None:
    container.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["getcwd"], "action": "SCMP_ACT_KILL_PROCESS"}],
    }
    assert container.run("payload", "cwd").code == 128 + signal.SIGSYS


def in_foreground(container: Container, *args: str) -> Command:
    """Start a `run` whose container writes to the bundle's `out`."""
    container.set_args(args)
    container.write()
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND
    fds = [os.open(f"{container.bundle}/{name}", flags, 0o600) for name in ("in", "out", "err")]
    try:
        return container.runtime.start("run", "--bundle", container.bundle, container.id, fds=fds)
    finally:
        for fd in fds:
            os.close(fd)


def test_run_passes_signals_on(container: Container) -> None:
    """Whoever ends `run` ends the program, whose code it ends with."""
    command = in_foreground(container, *container.shell(TRAP))
    container.wait_for_output("ready")
    os.kill(command.pid, signal.SIGTERM)
    assert command.wait() == 7
    assert container.output() == "ready\ngot\n"
    assert not container.exists()


def test_run_of_what_is_killed(container: Container) -> None:
    command = in_foreground(container, "payload", "out", "ready", *SLEEP[1:])
    container.wait_for_output("ready")
    container.kill("KILL")
    assert command.wait() == 128 + signal.SIGKILL
    assert not container.exists()


def test_run_of_what_is_deleted_meanwhile(container: Container) -> None:
    command = in_foreground(container, "payload", "out", "ready", *SLEEP[1:])
    container.wait_for_output("ready")
    container.delete("--force")
    assert command.wait() == 128 + signal.SIGKILL
    assert not container.exists()


@pytest.mark.parametrize("what", ["config", "hook", "mount", "id"])
def test_run_that_fails_before_the_program(container: Container, what: str) -> None:
    """1, whatever it was, and nothing is left: only a program's own code is passed on."""
    if what == "config":
        container.process["cwd"] = "relative"
    elif what == "hook":
        container.config["hooks"] = {"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", "exit 42"]}]}
    elif what == "mount":
        container.mount("/a", "bind", "/no/such/source", "bind")
    else:
        container.create_and_start(*SLEEP)
    done = container.run("payload", "exit", "0")
    assert done.code == 1 and done.err
    assert container.exists() == (what == "id")


def test_run_keeps_streams_apart(container: Container) -> None:
    done = container.run("payload", "out", "to stdout", "err", "to stderr")
    assert (done.out, done.err) == ("to stdout\n", "to stderr\n")


def test_run_feeds_stdin(container: Container) -> None:
    container.set_args(["payload", "echo"])
    container.write()
    assert container.runtime.ok("run", "--bundle", container.bundle, container.id, stdin="fed") == "fed"


def test_run_detached(container: Container) -> None:
    done = container.run(*SLEEP, options=["--detach", "--pid-file", f"{container.bundle}/pid"])
    assert done.code == 0, done.err
    assert container.status() == "running"
    with open(f"{container.bundle}/pid") as file:
        assert int(file.read()) == container.pid()


@pytest.mark.parametrize(
    ("program", "text"),
    [
        ("no-such-program", "executable file not found in $PATH"),
        ("/no/such/program", "no such file or directory"),
        ("/etc/passwd", "permission denied"),
    ],
)
def test_program_that_cannot_be_executed(container: Container, program: str, text: str) -> None:
    """Engines map these texts to 126 and 127. Whether create or start fails is the runtime's choice."""
    os.makedirs(f"{container.rootfs}/etc", exist_ok=True)
    with open(f"{container.rootfs}/etc/passwd", "a"):
        pass
    done = container.try_create(program)
    if done.code == 0:
        failed = container.runtime.call("start", container.id)
        assert failed.code == 1
        assert text in failed.err
    else:
        assert done.code == 1
        assert text in done.err
        assert not container.exists()


def test_failed_run_leaves_nothing(container: Container) -> None:
    assert container.run("no-such-program").code in (1, 127)
    assert not container.exists()


# Lists


def test_list(runtime: Runtime, make_container: Maker) -> None:
    assert json.loads(runtime.ok("list", "--format", "json")) is None
    first, second = make_container(), make_container()
    first.create(*SLEEP)
    second.create_and_start(*SLEEP)
    found = {entry["id"]: entry for entry in json.loads(runtime.ok("list", "--format", "json"))}
    assert found[first.id] | {"owner": ""} == first.state() | {"owner": ""}
    assert found[second.id]["status"] == "running"
    assert set(runtime.ok("list", "--quiet").split()) == {first.id, second.id}
    head, *rows = runtime.ok("list").splitlines()
    assert head.split() == ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]
    assert {row.split()[0]: row.split()[2] for row in rows} == {first.id: "created", second.id: "running"}


def test_ps(container: Container) -> None:
    container.create_and_start(*container.shell("payload sleep 0 & exec payload sleep 0"))
    poll_until(lambda: len(json.loads(container.runtime.ok("ps", "--format", "json", container.id))) == 2, what="two")
    pids = json.loads(container.runtime.ok("ps", "--format", "json", container.id))
    assert container.pid() in pids
    table = container.runtime.ok("ps", container.id).splitlines()
    assert "PID" in table[0]
    assert len(table) == 3

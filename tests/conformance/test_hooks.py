"""Hooks of all six kinds: when, where, with what on stdin, and what a failing one does."""

import json
import os
from collections.abc import Callable
from typing import Any

import pytest

from tests.conformance.runtime import SLEEP, Container
from tests.support.poll import poll_until

KINDS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
OF_CREATE = ["prestart", "createRuntime", "createContainer"]


@pytest.fixture
def log(container: Container) -> str:
    """The directory to which hooks write: /log inside."""
    directory = f"{container.bundle}/log"
    os.mkdir(directory)
    container.mount("/log", "bind", directory, "bind", "rw")
    return directory


def hook(script: str, kind: str, log: str, **more: object) -> dict[str, object]:
    """A hook that runs a shell script: $1 is the kind, $2 the directory to write to."""
    directory = "/log" if kind == "startContainer" else log
    return {"path": "/bin/sh", "args": ["sh", "-c", script, "hook", kind, directory], "env": [PATH_LINE], **more}


PATH_LINE = "PATH=/usr/sbin:/usr/bin:/sbin:/bin"
NOTE = 'echo "$1" >>"$2/order"; cat >"$2/$1"'


def set_hooks(container: Container, log: str, script: str = NOTE) -> None:
    container.config["hooks"] = {kind: [hook(script, kind, log)] for kind in KINDS}


def order(log: str) -> list[str]:
    try:
        with open(f"{log}/order") as file:
            return file.read().split()
    except FileNotFoundError:
        return []


def state_given(log: str, kind: str) -> dict[str, Any]:
    with open(f"{log}/{kind}") as file:
        state: dict[str, Any] = json.load(file)
    return state


def whole_life(container: Container, log: str) -> int:
    """Create, start and delete the container; return its pid as it was."""
    container.create(*container.shell("echo process >>/log/order"))
    pid = container.pid()
    container.start()
    container.wait_stopped()
    container.delete()
    return pid


@pytest.mark.deviates("runc", "1.1 runs poststart at the end of create")
def test_order(container: Container, log: str) -> None:
    set_hooks(container, log)
    container.create(*container.shell("echo process >>/log/order"))
    assert order(log) == OF_CREATE
    container.start()
    container.wait_stopped()
    container.delete()
    found = order(log)
    assert [kind for kind in found if kind != "process"] == list(KINDS)
    assert found.index("startContainer") < found.index("process")


def test_every_kind_runs_once(container: Container, log: str) -> None:
    set_hooks(container, log)
    whole_life(container, log)
    found = order(log)
    assert sorted(found) == sorted([*KINDS, "process"])
    assert found[:3] == OF_CREATE and found[-1] == "poststop"
    assert found.index("startContainer") < found.index("process")


def test_several_of_a_kind_run_in_their_order(container: Container, log: str) -> None:
    container.config["hooks"] = {"prestart": [hook(f'echo {n} >>"$2/order"', "prestart", log) for n in "abc"]}
    container.create("true")
    assert order(log) == ["a", "b", "c"]


def test_state_on_stdin(container: Container, log: str) -> None:
    set_hooks(container, log)
    container.config["annotations"] = {"a": "b"}
    pid = whole_life(container, log)
    for kind in KINDS:
        state = state_given(log, kind)
        assert state["id"] == container.id and state["bundle"] == container.bundle, kind
        assert state["ociVersion"] and state["annotations"] == {"a": "b"}, kind
    for kind in ("prestart", "createRuntime", "poststart"):
        assert state_given(log, kind)["pid"] == pid, kind
    assert state_given(log, "poststop")["status"] == "stopped"


@pytest.mark.deviates("runc", "gives 'creating', the validation suite wants 'created'; its poststart comes too early")
def test_status_of_the_hooks(container: Container, log: str) -> None:
    set_hooks(container, log)
    whole_life(container, log)
    assert {state_given(log, kind)["status"] for kind in ("prestart", "createRuntime")} == {"created"}
    assert state_given(log, "poststart")["status"] == "running"


def test_namespaces_of_hooks(container: Container, log: str) -> None:
    """startContainer runs inside, createContainer where the container's mounts are made, the others outside."""
    set_hooks(container, log, 'readlink /proc/self/ns/mnt >"$2/$1"; echo "$1" >>"$2/order"')
    container.create(*container.shell("payload ns >/log/own"))
    container.start()
    container.wait_stopped()
    container.delete()
    found = {}
    for kind in KINDS:
        with open(f"{log}/{kind}") as file:
            found[kind] = file.read().strip()
    with open(f"{log}/own") as file:
        inside = dict(line.split() for line in file)["mnt"]
    outside = os.readlink("/proc/self/ns/mnt")
    assert found["startContainer"] == inside
    assert {kind for kind in KINDS if found[kind] == outside} == set(KINDS) - {"createContainer", "startContainer"}


def test_a_hook_inside_is_no_more_than_its_container(container: Container, log: str) -> None:
    """The program of a startContainer hook is the image's: with the runtime's rights it would have the host's."""
    who = r"grep -E '^(Uid|Gid|CapPrm|CapEff|CapBnd|NoNewPrivs):' /proc/self/status"
    container.process["user"] = {"uid": 1000, "gid": 1000}
    os.chmod(log, 0o777)
    container.config["hooks"] = {"startContainer": [hook(f'{who} >"$2/hook"', "startContainer", log)]}
    container.create(*container.shell(f"{who} >/log/own"))
    container.start()
    container.wait_stopped()
    with open(f"{log}/hook") as hook_file, open(f"{log}/own") as own_file:
        assert hook_file.read() == own_file.read() != ""


def test_pid_for_a_hook_inside(container: Container, log: str) -> None:
    """runtime-spec runtime.md, State: as the container sees it."""
    set_hooks(container, log)
    whole_life(container, log)
    assert {kind: state_given(log, kind)["pid"] for kind in ("createContainer", "startContainer")} == {
        "createContainer": 1,
        "startContainer": 1,
    }


def test_a_hook_of_create_runs_in_the_bundle(container: Container, log: str) -> None:
    """Not where the image put its files: interpreters look for their modules there."""
    container.config["hooks"] = {kind: [hook('pwd >"$2/$1"', kind, log)] for kind in ("prestart", "createRuntime")}
    container.create("true")
    for kind in ("prestart", "createRuntime"):
        with open(f"{log}/{kind}") as file:
            assert file.read().strip() == container.bundle, kind


@pytest.mark.parametrize("kind", ["createRuntime", "createContainer"])
def test_what_hooks_made_is_taken_away_by_those_of_the_end(container: Container, log: str, kind: str) -> None:
    """Engines make the network in createRuntime, and give its addresses back in poststop. runtime.md, Lifecycle."""
    set_hooks(container, log)
    container.config["hooks"][kind].append(hook("exit 3", kind, log))
    assert container.try_create("true").code == 1
    assert not container.exists()
    assert order(log)[-1] == "poststop"


def test_what_hooks_mount(container: Container, log: str) -> None:
    """createContainer mounts for the container, createRuntime for the host."""
    for name in ("inside", "outside"):
        os.mkdir(f"{container.bundle}/{name}")
    os.mkdir(f"{container.rootfs}/made")
    container.config["hooks"] = {
        "createRuntime": [hook(f"mount -t tmpfs of-hook {container.bundle}/outside", "createRuntime", log)],
        "createContainer": [hook(f"mount -t tmpfs of-hook {container.rootfs}/made", "createContainer", log)],
        "poststop": [hook(f"umount {container.bundle}/outside", "poststop", log)],
    }
    container.create(*container.shell("grep -c of-hook /proc/self/mountinfo"))
    with open("/proc/self/mountinfo") as file:
        assert [line.split()[4] for line in file if "of-hook" in line] == [f"{container.bundle}/outside"]
    container.start()
    container.wait_stopped()
    assert container.output() == "1\n"
    container.delete()


def test_network_is_there_for_hooks_of_create(container: Container, log: str) -> None:
    """Engines move links into the namespace of `pid` of the state."""
    set_hooks(container, log, 'pid=$(sed "s/.*\\"pid\\": *\\([0-9]*\\).*/\\1/"); readlink /proc/$pid/ns/net >"$2/$1"')
    container.config["hooks"] = {"prestart": container.config["hooks"]["prestart"]}
    container.create("true")
    with open(f"{log}/prestart") as file:
        found = file.read().strip()
    assert found == os.readlink(f"/proc/{container.pid()}/ns/net") != os.readlink("/proc/self/ns/net")


def test_environment_and_arguments(container: Container, log: str) -> None:
    script = 'tr "\\0" "\\n" </proc/$$/environ >"$2/env"; tr "\\0" "\\n" </proc/$$/cmdline >"$2/args"'
    container.config["hooks"] = {"prestart": [hook(script, "prestart", log)]}
    container.config["hooks"]["prestart"][0]["env"] = [PATH_LINE, "A=b c"]
    container.create("true")
    with open(f"{log}/env") as file:
        assert file.read().splitlines() == [PATH_LINE, "A=b c"]
    with open(f"{log}/args") as file:
        assert file.read().splitlines()[0] == "sh"


@pytest.mark.parametrize("kind", OF_CREATE)
def test_failing_hook_of_create(container: Container, log: str, kind: str) -> None:
    set_hooks(container, log)
    container.config["hooks"][kind][0] = hook(f"{NOTE}; echo why >&2; exit 3", kind, log)
    done = container.try_create("true")
    assert done.code == 1 and done.err
    assert not container.exists()
    found = [name for name in order(log) if name != "poststop"]
    assert found == OF_CREATE[: OF_CREATE.index(kind) + 1]


def test_failing_start_container_hook(container: Container, log: str) -> None:
    container.config["hooks"] = {"startContainer": [hook("exit 3", "startContainer", log)]}
    container.create(*container.shell("echo process >>/log/order"))
    container.runtime.call("start", container.id)
    container.wait_stopped()
    assert order(log) == []


@pytest.mark.deviates("runc", "kills the container when a poststart hook fails")
def test_failing_poststart_hook_is_only_logged(container: Container, log: str) -> None:
    set_hooks(container, log)
    container.config["hooks"]["poststart"].insert(0, hook("exit 3", "poststart", log))
    container.create("payload", "sleep", "0")
    container.start()
    assert container.status() == "running"
    assert "poststart" in order(log)


@pytest.mark.deviates("runc", "1.1 runs no further poststop hook after one that failed")
def test_failing_poststop_hook_is_only_logged(container: Container, log: str) -> None:
    set_hooks(container, log)
    container.config["hooks"]["poststop"].insert(0, hook("exit 3", "poststop", log))
    container.create("true")
    container.start()
    container.wait_stopped()
    container.delete()
    assert not container.exists()
    assert "poststop" in order(log)


def test_hook_that_takes_too_long(container: Container, log: str) -> None:
    container.config["hooks"] = {"prestart": [hook('echo $$ >"$2/order"; exec sleep 600', "prestart", log, timeout=1)]}
    done = container.try_create("true")
    assert done.code == 1 and done.err
    (pid,) = order(log)
    poll_until(lambda: not os.path.exists(f"/proc/{pid}"), what="the hook has been ended")


SLOW = f"sleep 600{os.getpid()}"
"""A command line that no other test has."""


def slow(kind: str, log: str) -> dict[str, object]:
    """A hook that would take its time, and has a second."""
    return hook(f"exec {SLOW}", kind, log, timeout=1)


def check_ended() -> None:
    poll_until(lambda: not _runs(SLOW), what="the hook has been ended")


def _runs(command: str) -> bool:
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", errors="replace") as file:
                if file.read().replace("\0", " ").strip() == command:
                    return True
        except (FileNotFoundError, ProcessLookupError):
            continue
    return False


@pytest.mark.parametrize("kind", ["createRuntime", "createContainer"])
def test_slow_hook_of_create(container: Container, log: str, kind: str) -> None:
    container.config["hooks"] = {kind: [slow(kind, log)]}
    done = container.try_create("true")
    assert done.code == 1 and done.err
    assert not container.exists()
    check_ended()


@pytest.mark.parametrize("kind", ["createContainer", "startContainer"])
def test_slow_hook_in_a_shared_pid_namespace(make_container: Callable[[], Container], kind: str) -> None:
    """In a pod its end does not come with that of the container: the hook itself must be ended."""
    first, second = make_container(), make_container()
    first.create_and_start(*SLEEP)
    second.join_namespace("pid", f"/proc/{first.pid()}/ns/pid")
    second.config["hooks"] = {kind: [slow(kind, second.bundle)]}
    if second.try_create("true").code == 0:
        second.runtime.call("start", second.id)  # runc ends with 0
    check_ended()
    assert first.status() == "running"


def test_slow_start_container_hook(container: Container, log: str) -> None:
    container.config["hooks"] = {"startContainer": [slow("startContainer", log)]}
    container.create(*container.shell("echo process >>/log/order"))
    container.runtime.call("start", container.id)  # runc ends with 0
    container.wait_stopped()
    check_ended()
    assert order(log) == []


@pytest.mark.deviates("runc", "kills the container when a poststart hook fails")
def test_slow_poststart_hook_is_only_logged(container: Container, log: str) -> None:
    container.config["hooks"] = {"poststart": [slow("poststart", log), hook(NOTE, "poststart", log)]}
    container.create(*SLEEP)
    container.start()
    check_ended()
    assert container.status() == "running" and order(log) == ["poststart"]


@pytest.mark.deviates("runc", "1.1 runs no further poststop hook after one that failed")
def test_slow_poststop_hook_is_only_logged(container: Container, log: str) -> None:
    container.config["hooks"] = {"poststop": [slow("poststop", log), hook(NOTE, "poststop", log)]}
    container.create("true")
    container.delete("--force")
    check_ended()
    assert not container.exists() and order(log) == ["poststop"]


def test_hook_that_is_in_time(container: Container, log: str) -> None:
    container.config["hooks"] = {"prestart": [hook(NOTE, "prestart", log, timeout=600)]}
    container.create("true")
    assert order(log) == ["prestart"]


@pytest.mark.parametrize("timeout", [0, -1, "1"])
@pytest.mark.deviates("runc", "takes 0 and less for a time that is over")
def test_bad_timeout(container: Container, log: str, timeout: object) -> None:
    """The specification: greater than zero."""
    container.config["hooks"] = {"prestart": [hook(NOTE, "prestart", log, timeout=timeout)]}
    done = container.try_create("true")
    assert done.code == 1 and "hooks.prestart[0].timeout" in done.err
    assert order(log) == []


def test_hook_that_does_not_read_its_state(container: Container, log: str) -> None:
    container.config["annotations"] = {f"key{n}": "x" * 1000 for n in range(200)}
    container.config["hooks"] = {"prestart": [hook("exit 0", "prestart", log)]}
    container.create("true")
    assert container.status() == "created"


def test_hook_that_is_not_there(container: Container) -> None:
    container.config["hooks"] = {"createRuntime": [{"path": "/no/such/hook"}]}
    done = container.try_create("true")
    assert done.code == 1 and "no such file or directory" in done.err.lower()


def test_poststop_of_a_forced_delete(container: Container, log: str) -> None:
    set_hooks(container, log)
    container.create("payload", "sleep", "0")
    container.start()
    container.delete("--force")
    assert order(log)[-1] == "poststop"


@pytest.mark.parametrize("kind", ["prestart", "createRuntime"])
def test_process_that_is_killed_meanwhile(container: Container, log: str, kind: str) -> None:
    """`create` says so: it writes to a pipe that nobody reads any more."""
    script = """kill -9 "$(sed 's/.*"pid":\\([0-9]*\\).*/\\1/')" """
    container.config["hooks"] = {kind: [hook(script, kind, log)]}
    container.set_args(SLEEP)
    container.write()
    container.runtime.fails("create", "--bundle", container.bundle, container.id)
    assert not container.exists()

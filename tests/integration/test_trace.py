"""`--trace`: where the time of a command went, in all four processes, and nothing of anybody else's."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pycontainer.client.client import Client
from tests.integration.conftest import IMAGE
from tests.integration.test_bad_input import one_clear_line
from tests.integration.test_tenant_users import (
    ACME,
    BETA,
    become,
    connected,
    exchange,
    in_background,
    ok,
    open_to_users,
)  # fmt: skip
from tests.support.world import Result, World, unique_name

PROCESSES = ("client", "supervisor", "monitor", "init")
Spans = list[dict[str, Any]]


def read(path: Path) -> Spans:
    """Return the spans of a trace file, having looked at all that holds for each."""
    document = json.loads(path.read_text())
    spans: Spans = [event for event in document["traceEvents"] if event["ph"] == "X"]
    assert document["otherData"] == {"clock": "CLOCK_MONOTONIC", "lost": 0}
    names = {
        event["pid"]: event["args"]["name"] for event in document["traceEvents"] if event["name"] == "process_name"
    }
    assert all(names[span["pid"]] == span["cat"] in PROCESSES for span in spans)
    assert all(span["dur"] >= 0 for span in spans)
    assert [span["ts"] for span in spans] == sorted(span["ts"] for span in spans)
    whole = spans[0]
    for span in spans:
        assert whole["ts"] <= span["ts"] and span["ts"] + span["dur"] <= whole["ts"] + whole["dur"] + 0.01, span
    for row in {(span["pid"], span["tid"]) for span in spans}:
        assert_nested([span for span in spans if (span["pid"], span["tid"]) == row])
    return spans


def assert_nested(spans: Spans) -> None:
    """Check that of any two spans of a row one is within the other, or after it."""
    open_ends: list[float] = []
    for span in spans:
        while open_ends and open_ends[-1] <= span["ts"] + 0.002:  # a float has not every nanosecond
            open_ends.pop()
        assert not open_ends or span["ts"] + span["dur"] <= open_ends[-1] + 0.002, span
        open_ends.append(span["ts"] + span["dur"])


def traced(world: World, path: Path, *arguments: str) -> tuple[Result, Spans]:
    result = world.cli("--trace", str(path), *arguments)
    return result, read(path)


def names(spans: Spans, process: str) -> list[str]:
    return [span["name"] for span in spans if span["cat"] == process]


def the(spans: Spans, process: str, name: str) -> dict[str, Any]:
    (found,) = [span for span in spans if (span["cat"], span["name"]) == (process, name)]
    return found


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "trace.json"
    assert [entry.name for entry in tmp_path.iterdir() if entry.name != "trace.json"] == []  # nothing half written


@pytest.mark.vm
def test_a_run(world: World, path: Path) -> None:
    result, spans = traced(world, path, "run", "--rm", "-p", "9999:9", IMAGE, "payload", "out", "hello", "exit", "3")
    assert result == (3, "hello\n", "")
    assert {span["cat"] for span in spans} == set(PROCESSES)
    assert spans[0]["name"] == "pycontainer run"

    client = names(spans, "client")
    ordered = ["imports", "arguments", "command", "connect", "request run", "output", "end of the run"]
    assert [name for name in client if name in ordered and name != "connect"] == [n for n in ordered if n != "connect"]
    assert "connect" in client
    own_steps = [
        span["dur"] for span in spans if span["name"] in ("interpreter", "imports", "arguments", "command")
    ]  # a command that is forked in this test has no interpreter of its own
    assert len(own_steps) == (4 if world.network.forker is None else 3)
    assert 0.95 * spans[0]["dur"] < sum(own_steps) <= spans[0]["dur"] + 0.01  # all is accounted for

    supervisor = names(spans, "supervisor")
    steps = ["create:claimed", "start:cgroup", "start:born", "start:network", "create:recorded", "start:released",
             "start:over", "end:heard", "end:told", "end:cgroup", "rm:renamed"]  # fmt: skip
    assert [name for name in supervisor if name in steps] == steps
    request, run = the(spans, "client", "request run"), the(spans, "supervisor", "run")
    assert request["ts"] <= run["ts"] and run["ts"] + run["dur"] <= request["ts"] + request["dur"]

    monitor = names(spans, "monitor")
    assert [name for name in monitor if name in ("clone", "overlay", "devices", "monitor:reaped")] == [
        "clone", "overlay", "devices", "monitor:reaped",
    ]  # fmt: skip
    init = names(spans, "init")
    assert [name for name in init if name in ("release", "sealed program", "pivot_root", "execve")] == [
        "release", "sealed program", "pivot_root", "execve",
    ]  # fmt: skip
    clone, first, last = the(spans, "monitor", "clone"), the(spans, "init", "release"), the(spans, "init", "execve")
    assert clone["ts"] < first["ts"] < last["ts"] + last["dur"] < run["ts"] + run["dur"]


@pytest.mark.vm
def test_an_exec_and_the_other_verbs(world: World, path: Path) -> None:
    name = unique_name()
    assert traced(world, path, "create", "--name", name, IMAGE, "payload", "sleep", "0")[0].exit_code == 0
    result, spans = traced(world, path, "start", name)
    assert result.exit_code == 0 and "execve" in names(spans, "init") and "start:over" in names(spans, "supervisor")
    result, spans = traced(world, path, "exec", name, "payload", "exit", "4")
    assert result.exit_code == 4
    assert {"clone", "monitor:born", "monitor:released", "monitor:reaped"} <= set(names(spans, "monitor"))
    assert {"join", "sealed program", "user", "execve"} <= set(names(spans, "init"))
    whole = the(spans, "supervisor", "exec")
    assert all(whole["ts"] <= span["ts"] for span in spans if span["cat"] in ("monitor", "init"))
    result, spans = traced(world, path, "stop", "-t", "0", name)
    assert result.exit_code == 0 and {"stop", "stop:noted", "end:cgroup", "end:over"} <= set(names(spans, "supervisor"))
    result, spans = traced(world, path, "rm", name)
    assert result.exit_code == 0 and {"rm", "rm:storage", "rm:renamed"} <= set(names(spans, "supervisor"))


@pytest.mark.vm
def test_with_a_reaper_and_as_another_user(world: World, path: Path) -> None:
    result, spans = traced(world, path, "run", "--rm", "--init", "-u", "1000", IMAGE, "payload", "exit", "5")
    assert result.exit_code == 5 and {"pivot_root", "execve"} <= set(names(spans, "init"))


@pytest.mark.vm
def test_what_fails_is_traced_as_well(world: World, path: Path) -> None:
    result, spans = traced(world, path, "run", "--rm", IMAGE, "/no/such/program")
    assert result.exit_code == 127 and "not found" in one_clear_line(result.stderr)
    assert "pivot_root" in names(spans, "init") and "start:born" in names(spans, "supervisor")
    path.unlink()
    result, spans = traced(world, path, "exec", "no-such-container", "true")
    assert result.exit_code == 125 and names(spans, "supervisor") == ["inspect"]
    path.unlink()
    result, spans = traced(world, path, "run", "--no-such-option")
    assert result.exit_code == 125 and {span["cat"] for span in spans} == {"client"}


def test_a_file_that_cannot_be_written(world: World, tmp_path: Path) -> None:
    """One line, and the exit code is the command's."""
    result = world.cli("--trace", f"{tmp_path}/no/where.json", "run", "--rm", IMAGE, "payload", "exit", "3")
    assert result.exit_code == 3
    line = one_clear_line(result.stderr)
    assert line == f"pycontainer: cannot write the trace to '{tmp_path}/no/where.json': No such file or directory"


def test_by_the_environment_and_off(world: World, path: Path) -> None:
    assert world.cli("info", environment={"PYCONTAINER_TRACE": str(path)}).exit_code == 0
    assert "request info" in names(read(path), "client")
    path.unlink()
    world.ok("info")
    assert not path.exists()


def test_a_client_in_python(world: World, path: Path) -> None:
    world.ok("info")
    with Client(world.root, trace=path) as host:
        done = host.run(IMAGE, ["payload", "out", "x"], detach=False, auto_remove=True)
        assert done.stdout == "x\n"
    spans = read(path)
    assert spans[0]["name"] == "client" and {span["cat"] for span in spans} == set(PROCESSES)
    assert "end:over" in names(spans, "supervisor")


def test_over_a_reload(own_world: World, path: Path) -> None:
    """Who waits while supervisor and monitor become other programs gets an answer; what they had recorded is gone."""
    world = own_world
    name = unique_name()
    world.ok("run", "-d", "--name", name, IMAGE, "payload", "sleep", "0")
    with world.popen(
        "--trace", str(path), "exec", name, "payload", "out", "there", "sleep", "2", "exit", "6"
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == b"there\n"
        world.ok("service", "reload")
        assert process.wait(timeout=30) == 6
    assert "request exec" in names(read(path), "client")
    result, spans = traced(world, path, "run", "--rm", IMAGE, "payload", "exit", "7")
    assert result.exit_code == 7 and {span["cat"] for span in spans} == set(PROCESSES)


def test_a_tenants_user_sees_steps_of_his_own_alone(own_world: World) -> None:
    """While his long request is traced others' containers begin and end; and no token opens another's trace."""
    world = open_to_users(own_world)
    ok(world, ACME, "run", "-d", "--name", "web", IMAGE, "payload", "sleep", "0")
    with in_background(
        ACME, lambda: [request(world, "exec", {"container": "web", "command": ["payload", "sleep", "3"]}, 3)]
    ) as heard:
        world.ok("run", "--rm", "--name", "secret", "-v", "/etc:/hidden", IMAGE, "payload", "exit")
        ok(world, BETA, "run", "--rm", IMAGE, "payload", "exit")
    (reply,) = heard
    spans = reply["trace"]["spans"]
    assert reply["result"] == {"exit_code": 0} and reply["trace"]["token"] == ""
    steps = {name for process, name, _, _ in spans if process == "supervisor"}
    assert "exec" in steps and not [name for name in steps if name.startswith(("end:", "rm:", "create:", "start:"))]
    assert [name for process, name, _, _ in spans if process == "monitor"].count("clone") == 1
    assert "secret" not in json.dumps(reply) and "hidden" not in json.dumps(reply)

    ok(world, ACME, "create", "--name", "job", IMAGE, "payload", "exit")
    started = become(ACME, lambda: request(world, "start", {"container": "job"}))
    token = started["trace"]["token"]
    assert len(token) == 32
    world.wait_for_status("job.acme", "stopped")
    for other in (
        become(BETA, lambda: request(world, "trace", {"token": token})),
        request(world, "trace", {"token": token}),
    ):
        assert other["error"]["class"] == "NotFound"
    told = become(ACME, lambda: request(world, "trace", {"token": token}))["result"]
    assert "end:over" in [name for _, name, _, _ in told["spans"]]
    again = become(ACME, lambda: request(world, "trace", {"token": token}))
    assert again["error"]["class"] == "NotFound"


def request(world: World, verb: str, arguments: dict[str, Any], fd_count: int = 0) -> dict[str, Any]:
    """Send one request that is to be traced, on a connection of its own."""
    with connected(world) as sock:
        return exchange(sock, verb, arguments, fd_count, trace=True)

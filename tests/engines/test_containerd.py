"""containerd 1.6 through `ctr`, with `--runc-binary`: tasks, as its shim drives the runtime."""

import json

import pytest

from tests.engines.containerd import Containerd
from tests.engines.programs import FOREVER
from tests.support.poll import poll_until

WAITS = "trap 'echo asked; exit 7' TERM; echo ready; while :; do sleep 60 & wait; done"


def output_soon(log: str, text: str) -> None:
    def read() -> bool:
        with open(log) as file:
            return text in file.read()

    poll_until(read, what=f"{log} holds {text!r}")


def test_run_gives_both_outputs_and_the_code(containerd: Containerd) -> None:
    result = containerd.run("short", "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (result.exit_code, result.stdout, result.stderr) == (3, "out\n", "err\n")


def test_detached_and_killed(containerd: Containerd) -> None:
    log = containerd.run_detached("waits", "sh", "-c", WAITS)
    output_soon(log, "ready")
    assert containerd.status("waits") == "RUNNING"
    containerd.ok("tasks", "kill", "waits")  # SIGTERM
    poll_until(lambda: containerd.status("waits") == "STOPPED", what="it ends")
    output_soon(log, "asked")
    assert "exit with non-zero exit code 7" in containerd.ctr("tasks", "rm", "waits").stderr
    containerd.ok("containers", "rm", "waits")


def test_wait_and_kill_all(containerd: Containerd) -> None:
    """`kill --all` reaches the children of the first process as well."""
    log = containerd.run_detached("many", "sh", "-c", "sleep 1000 & sleep 1000 & echo ready; wait")
    output_soon(log, "ready")
    assert len(containerd.ok("tasks", "ps", "many").splitlines()) == 4  # and a line of names
    containerd.ok("tasks", "kill", "--all", "--signal", "SIGKILL", "many")
    poll_until(lambda: containerd.status("many") == "STOPPED", what="it ends")
    assert "exit with non-zero exit code 137" in containerd.ctr("tasks", "rm", "many").stderr


def test_kill_after_the_end_says_so(containerd: Containerd) -> None:
    """The shim knows the runtime's words for a process that is gone, and makes "not found" of them."""
    containerd.run_detached("over", "true")
    poll_until(lambda: containerd.status("over") == "STOPPED", what="it ends")
    result = containerd.ctr("tasks", "kill", "--signal", "SIGKILL", "over")
    assert result.exit_code == 1 and "process already finished" in result.stderr


def test_exec(containerd: Containerd) -> None:
    containerd.run_detached("box", *FOREVER, options=("--env", "FIRST=1"))
    result = containerd.ctr("tasks", "exec", "--exec-id", "one", "box", "sh", "-c", "echo out; echo err >&2; exit 4")
    assert (result.exit_code, result.stdout, result.stderr) == (4, "out\n", "err\n")
    asked = ("--exec-id", "two", "--cwd", "/www", "--user", "1000:1001")
    text = containerd.ok("tasks", "exec", *asked, "box", "sh", "-c", "echo $FIRST $(id -u) $(id -g) $(pwd)")
    assert text == "1 1000 1001 /www"
    assert containerd.ok("tasks", "exec", "--exec-id", "three", "box", "cat", stdin="in") == "in"
    result = containerd.ctr("tasks", "exec", "--exec-id", "four", "box", "no-such-program")
    assert result.exit_code != 0 and "executable file not found in $PATH" in result.stderr


def test_pause_and_resume(containerd: Containerd) -> None:
    containerd.run_detached("frozen", *FOREVER)
    pid = containerd.pid("frozen")
    containerd.ok("tasks", "pause", "frozen")
    assert containerd.status("frozen") == "PAUSED"
    assert containerd.machine.cgroup_value(pid, "freezer", "freezer.state") == "FROZEN"
    containerd.ok("tasks", "resume", "frozen")
    assert containerd.status("frozen") == "RUNNING"
    assert containerd.machine.cgroup_value(pid, "freezer", "freezer.state") == "THAWED"


def test_limits_and_metrics(containerd: Containerd) -> None:
    limits = ("--memory-limit", str(64 << 20), "--cpus", "0.5")
    containerd.run_detached("capped", "payload", "allocate", "16", "sleep", "0", options=limits)
    pid = containerd.pid("capped")
    assert containerd.machine.cgroup_value(pid, "memory", "memory.limit_in_bytes") == str(64 << 20)
    poll_until(lambda: int(containerd.machine.cgroup_value(pid, "memory", "memory.usage_in_bytes")) > 8 << 20)
    metrics = json.loads(containerd.ok("tasks", "metrics", "--format", "json", "capped"))
    assert int(metrics["memory"]["usage"]["limit"]) == 64 << 20
    assert int(metrics["memory"]["usage"]["usage"]) > 8 << 20
    assert int(metrics["pids"]["current"]) == 1


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("no-such-program", "executable file not found in $PATH"),
        ("/no/such/file", "no such file or directory"),
        ("/etc/passwd", "permission denied"),
    ],
)
def test_run_tells_what_cannot_be_run(containerd: Containerd, command: str, text: str) -> None:
    """The shim reads the reason from the runtime's --log."""
    result = containerd.run("broken", command)
    assert result.exit_code == 1 and text in result.stderr and command in result.stderr, result


def test_namespaces_and_mounts(containerd: Containerd) -> None:
    options = ("--net-host", "--read-only", "--mount", "type=bind,src=/usr,dst=/mnt,options=rbind:ro")
    script = "readlink /proc/self/ns/net; touch /x 2>/dev/null || echo refused; test -d /mnt/bin && echo bound"
    lines = containerd.run("asked", "sh", "-c", script, options=options).stdout.splitlines()
    assert lines == [containerd.machine.ok("readlink", "/proc/self/ns/net"), "refused", "bound"]

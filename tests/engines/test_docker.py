"""Docker 20.10 with the runtime of daemon.json: `docker run --runtime pycontainer`."""

import json
import re

import pytest

from tests.engines.docker import IMAGE, RUNTIME, Docker
from tests.engines.programs import FOREVER, WAITS, logs_soon
from tests.support.hostns import INSIDE_IP
from tests.support.poll import poll_until
from tests.support.terminal import Terminal


def run(docker: Docker, *arguments: str) -> str:
    """Run a container to its end, or with `-d` start it, with our runtime."""
    return docker.ok("run", "--runtime", RUNTIME, *arguments)


def test_run_gives_both_outputs_and_the_code(docker: Docker) -> None:
    result = docker.cli("run", "--rm", "--runtime", RUNTIME, IMAGE, "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (result.exit_code, result.stdout, result.stderr) == (3, "out\n", "err\n")
    assert docker.ok("run", "--rm", "-i", "--runtime", RUNTIME, IMAGE, "cat", stdin="in") == "in"


def test_runtime_is_known_by_the_daemon(docker: Docker) -> None:
    runtimes = json.loads(docker.ok("info", "--format", "{{json .Runtimes}}"))
    assert runtimes[RUNTIME]["path"] == docker.runtime
    docker.ok("create", "--name", "made", "--runtime", RUNTIME, IMAGE, "true")
    assert docker.inspect("made")["HostConfig"]["Runtime"] == RUNTIME
    result = docker.cli("run", "--rm", "--runtime", "no-such-runtime", IMAGE, "true")
    assert result.exit_code == 125 and "no-such-runtime" in result.stderr


def test_run_on_a_terminal(docker: Docker) -> None:
    """The console socket hands over the terminal; its size follows the person's."""
    argv = docker.machine.argv("/usr/bin/docker", "run", "--rm", "-it", "--runtime", RUNTIME, IMAGE, "sh")
    with Terminal(argv, docker.machine.environment, rows=33, columns=111) as terminal:
        terminal.expect("/ # ")
        terminal.type("tty; until stty size | grep '33 111'; do sleep 0.1; done\n")
        terminal.expect("^/dev/pts/0\r$")
        terminal.expect("^33 111\r$")
        terminal.resize(44, 99)
        terminal.type("until stty size | grep '44 99'; do sleep 0.1; done; exit 5\n")
        terminal.expect("^44 99\r$")
        assert terminal.wait() == 5


def test_detached_logs_stop_and_start_again(docker: Docker) -> None:
    run(docker, "-d", "--name", "waits", IMAGE, "sh", "-c", WAITS)
    logs_soon(docker, "waits", "ready")
    assert docker.state("waits")["Status"] == "running"
    docker.ok("stop", "waits")
    state = docker.state("waits")
    assert (state["Status"], state["ExitCode"], state["Pid"]) == ("exited", 7, 0)
    assert docker.ok("logs", "waits") == "ready\nasked"
    docker.ok("start", "waits")
    first = docker.state("waits")["Pid"]
    docker.ok("restart", "--time", "0", "waits")
    assert docker.state("waits")["Pid"] not in (0, first)


def test_kill_and_wait(docker: Docker) -> None:
    run(docker, "-d", "--name", "killed", IMAGE, "sh", "-c", WAITS)
    logs_soon(docker, "killed", "ready")
    docker.ok("kill", "--signal", "USR1", "killed")
    logs_soon(docker, "killed", "poked")
    docker.ok("kill", "killed")
    assert docker.ok("wait", "killed") == "137"
    result = docker.cli("kill", "killed")
    assert result.exit_code == 1 and "is not running" in result.stderr


def test_exec(docker: Docker) -> None:
    run(docker, "-d", "--name", "box", "--env", "FIRST=1", IMAGE, *FOREVER)
    result = docker.cli("exec", "box", "sh", "-c", "echo out; echo err >&2; exit 4")
    assert (result.exit_code, result.stdout, result.stderr) == (4, "out\n", "err\n")
    assert docker.ok("exec", "-i", "box", "cat", stdin="in") == "in"
    asked = ("--env", "SECOND=2", "--user", "1000:1001", "--workdir", "/www")
    text = docker.ok("exec", *asked, "box", "sh", "-c", "echo $FIRST $SECOND $(id -u) $(id -g) $(pwd)")
    assert text == "1 2 1000 1001 /www"
    docker.ok("exec", "-d", "box", "sh", "-c", "echo kept >/tmp/kept; exec sleep 1000")
    poll_until(lambda: docker.cli("exec", "box", "cat", "/tmp/kept").stdout == "kept\n", what="the file is written")
    assert "sleep 1000" in docker.ok("top", "box")
    assert docker.cli("exec", "box", "no-such-program").exit_code in (126, 127)


@pytest.mark.parametrize(
    ("command", "exit_code", "text"),
    [
        ("no-such-program", 127, "executable file not found in $PATH"),
        ("/no/such/file", 127, "no such file or directory"),
        ("/etc/passwd", 126, "permission denied"),
    ],
)
def test_run_tells_what_cannot_be_run(docker: Docker, command: str, exit_code: int, text: str) -> None:
    result = docker.cli("run", "--rm", "--runtime", RUNTIME, IMAGE, command)
    assert (result.exit_code, result.stdout) == (exit_code, ""), result
    assert text in result.stderr and command in result.stderr, result


def test_own_failures_of_the_runtime(docker: Docker) -> None:
    result = docker.cli("run", "--rm", "--runtime", RUNTIME, "--sysctl", "net.ipv4.no_such_key=1", IMAGE, "true")
    assert result.exit_code != 0 and "no_such_key" in result.stderr
    assert docker.cli("run", "--no-such-flag", IMAGE).exit_code == 125


def test_pause_and_unpause(docker: Docker) -> None:
    run(docker, "-d", "--name", "frozen", IMAGE, *FOREVER)
    pid = docker.state("frozen")["Pid"]
    docker.ok("pause", "frozen")
    assert docker.state("frozen")["Status"] == "paused"
    assert docker.machine.cgroup_value(pid, "freezer", "freezer.state") == "FROZEN"
    result = docker.cli("exec", "frozen", "true")
    assert result.exit_code == 1 and "is paused" in result.stderr
    docker.ok("unpause", "frozen")
    assert docker.machine.cgroup_value(pid, "freezer", "freezer.state") == "THAWED"
    docker.ok("exec", "frozen", "true")


def test_limits_update_and_stats(docker: Docker) -> None:
    limits = ("--memory", "64m", "--cpus", "0.5", "--cpu-shares", "512", "--pids-limit", "50", "--cpuset-cpus", "0")
    run(docker, "-d", "--name", "capped", *limits, IMAGE, "payload", "allocate", "16", "sleep", "0")
    pid = docker.state("capped")["Pid"]

    def value(controller: str, name: str) -> str:
        return docker.machine.cgroup_value(pid, controller, name)

    assert value("memory", "memory.limit_in_bytes") == str(64 << 20)
    assert int(value("cpu", "cpu.cfs_quota_us")) * 2 == int(value("cpu", "cpu.cfs_period_us"))
    assert (value("cpu", "cpu.shares"), value("pids", "pids.max"), value("cpuset", "cpuset.cpus")) == ("512", "50", "0")
    poll_until(lambda: int(value("memory", "memory.usage_in_bytes")) > 8 << 20, what="the memory is used")
    use = json.loads(docker.ok("stats", "--no-stream", "--format", "{{json .}}", "capped"))
    match = re.match(r"([\d.]+)MiB / 64MiB", use["MemUsage"])
    assert match and float(match[1]) >= 8 and use["PIDs"] == "1", use
    docker.ok("update", "--memory", "128m", "--memory-swap", "128m", "--cpus", "0.25", "--pids-limit", "70", "capped")
    assert value("memory", "memory.limit_in_bytes") == str(128 << 20)
    assert int(value("cpu", "cpu.cfs_quota_us")) * 4 == int(value("cpu", "cpu.cfs_period_us"))
    assert value("pids", "pids.max") == "70"


def test_out_of_memory(docker: Docker) -> None:
    limits = ("--memory", "32m", "--memory-swap", "32m")
    result = docker.cli("run", "--runtime", RUNTIME, "--name", "large", *limits, IMAGE, "payload", "allocate", "200")
    assert result.exit_code == 137
    poll_until(lambda: docker.state("large")["OOMKilled"], what="the reason is known")


def test_what_a_process_is_given(docker: Docker) -> None:
    options = ("--user", "1000:1001", "--group-add", "1005", "--cap-drop", "all", "--hostname", "inside", "--read-only")
    more = (
        "--security-opt",
        "no-new-privileges",
        "--ulimit",
        "nofile=99:100",
        "--workdir",
        "/www",
        "--tmpfs",
        "/scratch",
    )
    script = """id -u; id -g; id -G; hostname; ulimit -n; pwd; touch /x 2>/dev/null || echo refused
    grep -E 'CapEff|NoNewPrivs|Seccomp:' /proc/self/status"""
    lines = run(docker, "--rm", *options, *more, IMAGE, "sh", "-c", script).splitlines()
    assert lines[:7] == ["1000", "1001", "1001 1005", "inside", "99", "/www", "refused"]
    assert [line.split()[1] for line in lines[7:]] == ["0000000000000000", "1", "2"]


def test_published_port_is_reached_from_outside(docker: Docker) -> None:
    run(docker, "-d", "--name", "web", "-p", "8080:80", IMAGE, "httpd", "-f", "-p", "80", "-h", "/www")
    assert "Hello" in docker.machine.network.outside.http_get_soon(f"http://{INSIDE_IP}:8080/")


def test_networks_of_the_host_and_none(docker: Docker) -> None:
    own = docker.machine.ok("readlink", "/proc/self/ns/net")
    assert run(docker, "--rm", "--network", "host", IMAGE, "readlink", "/proc/self/ns/net") == own
    assert run(docker, "--rm", "--network", "none", IMAGE, "ls", "/sys/class/net") == "lo"


def test_cp_and_volumes(docker: Docker) -> None:
    run(docker, "-d", "--name", "copied", "-v", "kept:/kept", IMAGE, *FOREVER)
    source, target = f"{docker.machine.directory}/source", f"{docker.machine.directory}/target"
    with open(source, "w") as file:
        file.write("carried")
    docker.ok("cp", source, "copied:/kept/file")
    assert docker.ok("exec", "copied", "cat", "/kept/file") == "carried"
    docker.ok("cp", "copied:/kept/file", target)
    with open(target) as file:
        assert file.read() == "carried"
    docker.ok("rm", "--force", "copied")
    docker.ok("volume", "rm", "kept")


def test_healthcheck(docker: Docker) -> None:
    """Docker's daemon does the repeating itself, by exec."""
    check = ("--health-cmd", "test -e /healthy", "--health-interval", "0.2s", "--health-retries", "1")
    run(docker, "-d", "--name", "checked", *check, IMAGE, *FOREVER)
    poll_until(lambda: docker.state("checked")["Health"]["Status"] == "unhealthy", what="it is unhealthy")
    docker.ok("exec", "checked", "touch", "/healthy")
    poll_until(lambda: docker.state("checked")["Health"]["Status"] == "healthy", what="it is healthy")


def test_restart_policy(docker: Docker) -> None:
    run(docker, "-d", "--name", "again", "--restart", "on-failure:2", IMAGE, "sh", "-c", "echo tried; exit 9")
    poll_until(lambda: docker.inspect("again")["RestartCount"] == 2, what="it was started again", interval_seconds=0.1)
    poll_until(lambda: docker.state("again")["Status"] == "exited", what="it is over", interval_seconds=0.1)
    assert docker.state("again")["ExitCode"] == 9
    assert docker.ok("logs", "again") == "tried\ntried\ntried"

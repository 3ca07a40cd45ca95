"""Podman 4.3 over the runtime: containers, what happens to them, and what Podman makes of errors."""

import json
import re

import pytest

from tests.engines.podman import IMAGE, Podman
from tests.engines.programs import FOREVER, WAITS, logs_soon
from tests.support.poll import poll_until
from tests.support.terminal import Terminal


def test_run_gives_both_outputs_and_the_code(podman: Podman) -> None:
    result = podman.cli("run", "--rm", IMAGE, "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (result.exit_code, result.stdout, result.stderr) == (3, "out\n", "err\n")


def test_run_reads_its_standard_input(podman: Podman) -> None:
    assert podman.ok("run", "--rm", "-i", IMAGE, "cat", stdin="one\ntwo\n") == "one\ntwo"


def test_run_on_a_terminal(podman: Podman) -> None:
    """The console socket hands over a terminal of the container's own; its size follows the person's."""
    argv = podman.machine.argv("podman", "run", "--rm", "-it", IMAGE, "sh")
    with Terminal(argv, podman.machine.environment, rows=33, columns=111) as terminal:
        terminal.expect("/ # ")
        terminal.type("tty; until stty size | grep '33 111'; do sleep 0.1; done\n")
        terminal.expect("^/dev/pts/0\r$")
        terminal.expect("^33 111\r$")
        terminal.resize(44, 99)
        terminal.type("until stty size | grep '44 99'; do sleep 0.1; done; exit 5\n")
        terminal.expect("^44 99\r$")
        assert terminal.wait() == 5


def test_configured_runtime_is_the_one_that_runs(podman: Podman) -> None:
    """containers.conf as in examples/oci, without an option; `--runtime` takes a path as well."""
    podman.ok("create", "--name", "by-configuration", IMAGE, "true")
    assert podman.inspect("by-configuration")["OCIRuntime"] == "pycontainer"
    assert podman.ok("--runtime", podman.runtime, "run", "--rm", IMAGE, "echo", "by path") == "by path"
    assert json.loads(podman.ok("info", "--format", "json"))["host"]["ociRuntime"]["path"] == podman.runtime


def test_detached_logs_and_stop(podman: Podman) -> None:
    podman.ok("run", "-d", "--name", "waits", IMAGE, "sh", "-c", WAITS)
    logs_soon(podman, "waits", "ready")
    state = podman.inspect("waits")["State"]
    assert (state["Status"], state["Running"]) == ("running", True)
    podman.ok("stop", "waits")
    state = podman.inspect("waits")["State"]
    assert (state["Status"], state["ExitCode"], state["Pid"]) == ("exited", 7, 0)
    assert podman.ok("logs", "waits") == "ready\nasked"


def test_stop_kills_who_does_not_end(podman: Podman) -> None:
    podman.ok("run", "-d", "--name", "deaf", IMAGE, *FOREVER)
    podman.ok("stop", "--time", "1", "deaf")
    assert podman.inspect("deaf")["State"]["ExitCode"] == 137


def test_kill_and_wait(podman: Podman) -> None:
    podman.ok("run", "-d", "--name", "killed", IMAGE, "sh", "-c", WAITS)
    logs_soon(podman, "killed", "ready")
    podman.ok("kill", "--signal", "USR1", "killed")
    logs_soon(podman, "killed", "poked")
    podman.ok("kill", "killed")
    assert podman.ok("wait", "killed") == "137"
    result = podman.cli("kill", "killed")
    assert result.exit_code == 125
    assert "can only kill running containers" in result.stderr


def test_create_init_and_start(podman: Podman) -> None:
    """`podman init` is a runtime's `create` alone: the process is there, and has not begun."""
    podman.ok("create", "--name", "steps", IMAGE, "echo", "begun")
    podman.ok("init", "steps")
    state = podman.inspect("steps")["State"]
    assert state["Status"] in ("initialized", "created") and state["Pid"] > 0
    assert podman.ok("logs", "steps") == ""
    podman.ok("start", "steps")
    podman.ok("wait", "steps")
    assert podman.ok("logs", "steps") == "begun"


def test_created_container_goes_without_having_begun(podman: Podman) -> None:
    podman.ok("create", "--name", "never", IMAGE, "echo", "begun")
    podman.ok("init", "never")
    podman.ok("rm", "--force", "never")
    assert podman.cli("inspect", "never").exit_code == 125


def test_exec(podman: Podman) -> None:
    podman.ok("run", "-d", "--name", "box", "--env", "FIRST=1", IMAGE, *FOREVER)
    result = podman.cli("exec", "box", "sh", "-c", "echo out; echo err >&2; exit 4")
    assert (result.exit_code, result.stdout, result.stderr) == (4, "out\n", "err\n")
    assert podman.ok("exec", "-i", "box", "cat", stdin="in") == "in"
    asked = ("--env", "SECOND=2", "--user", "1000:1001", "--workdir", "/www")
    text = podman.ok("exec", *asked, "box", "sh", "-c", "echo $FIRST $SECOND $(id -u) $(id -g) $(pwd)")
    assert text == "1 2 1000 1001 /www"
    assert podman.ok("exec", "-t", "box", "sh", "-c", "tty").strip().startswith("/dev/pts/")
    namespaces = {podman.ok("exec", "box", "readlink", f"/proc/{pid}/ns/pid") for pid in ("self", "1")}
    assert len(namespaces) == 1


def test_exec_detached_outlives_its_caller(podman: Podman) -> None:
    podman.ok("run", "-d", "--name", "box", IMAGE, *FOREVER)
    podman.ok("exec", "-d", "box", "sh", "-c", "echo kept >/tmp/kept; exec sleep 1000")
    poll_until(lambda: podman.cli("exec", "box", "cat", "/tmp/kept").stdout == "kept\n", what="the file is written")
    assert "sleep 1000" in podman.ok("top", "box", "args")


def test_exec_tells_what_cannot_be_run(podman: Podman) -> None:
    podman.ok("run", "-d", "--name", "box", IMAGE, *FOREVER)
    result = podman.cli("exec", "box", "no-such-program")
    assert result.exit_code == 127
    assert "no-such-program" in result.stderr
    result = podman.cli("exec", "box", "/etc/passwd")
    assert result.exit_code == 126
    assert "permission denied" in result.stderr.lower()


@pytest.mark.parametrize(
    ("command", "exit_code", "text"),
    [
        ("no-such-program", 127, "executable file not found in"),
        ("/no/such/file", 127, "no such file or directory"),
        ("/etc/passwd", 126, "permission denied"),
        ("/etc", 126, "permission denied"),
    ],
)
def test_run_tells_what_cannot_be_run(podman: Podman, command: str, exit_code: int, text: str) -> None:
    """Podman derives the code from the runtime's words, and shows them."""
    result = podman.cli("run", "--rm", IMAGE, command)
    assert (result.exit_code, result.stdout) == (exit_code, ""), result
    assert text in result.stderr.lower() and command in result.stderr, result


def test_own_failures_of_the_runtime(podman: Podman) -> None:
    """125: what is asked for is not to be had. The message names it."""
    result = podman.cli("run", "--rm", "--sysctl", "net.ipv4.no_such_key=1", IMAGE, "true")
    assert result.exit_code in (125, 126, 127), result  # Podman takes "no such file" of the key for the program's
    assert "no_such_key" in result.stderr
    result = podman.cli("run", "--rm", "--workdir", "/etc/passwd", IMAGE, "true")
    assert result.exit_code != 0 and "/etc/passwd" in result.stderr
    assert podman.cli("run", "--no-such-flag", IMAGE).exit_code == 125


def test_pause_freezes_and_unpause_thaws(podman: Podman) -> None:
    podman.ok("run", "-d", "--name", "frozen", IMAGE, "sh", "-c", WAITS)
    logs_soon(podman, "frozen", "ready")
    pid = podman.pid("frozen")
    podman.ok("pause", "frozen")
    assert podman.inspect("frozen")["State"]["Status"] == "paused"
    assert podman.machine.cgroup_value(pid, "freezer", "freezer.state") == "FROZEN"
    assert "container state improper" in podman.cli("exec", "frozen", "true").stderr
    podman.ok("unpause", "frozen")
    assert podman.machine.cgroup_value(pid, "freezer", "freezer.state") == "THAWED"
    podman.ok("exec", "frozen", "true")
    podman.ok("pause", "frozen")
    podman.ok("rm", "--force", "frozen")


def test_limits_reach_the_kernel_and_update_changes_them(podman: Podman) -> None:
    limits = (
        "--memory",
        "64m",
        "--memory-reservation",
        "32m",
        "--cpus",
        "0.5",
        "--cpu-shares",
        "512",
        "--pids-limit",
        "50",
    )
    podman.ok("run", "-d", "--name", "capped", *limits, "--cpuset-cpus", "0", IMAGE, *FOREVER)
    pid = podman.pid("capped")

    def value(controller: str, name: str) -> str:
        return podman.machine.cgroup_value(pid, controller, name)

    assert value("memory", "memory.limit_in_bytes") == str(64 << 20)
    assert value("memory", "memory.soft_limit_in_bytes") == str(32 << 20)
    assert int(value("cpu", "cpu.cfs_quota_us")) * 2 == int(value("cpu", "cpu.cfs_period_us"))
    assert value("cpu", "cpu.shares") == "512"
    assert value("pids", "pids.max") == "50"
    assert value("cpuset", "cpuset.cpus") == "0"
    podman.ok("update", "--memory", "128m", "--cpus", "0.25", "capped")
    assert value("memory", "memory.limit_in_bytes") == str(128 << 20)
    assert int(value("cpu", "cpu.cfs_quota_us")) * 4 == int(value("cpu", "cpu.cfs_period_us"))


def test_out_of_memory(podman: Podman) -> None:
    """conmon 2.1 takes no notice on cgroups of version 1, whatever the runtime: OOMKilled stays false."""
    limits = ("--memory", "32m", "--memory-swap", "32m")
    assert podman.cli("run", "--rm", *limits, IMAGE, "payload", "allocate", "200").exit_code == 137
    assert podman.cli("run", "--rm", *limits, IMAGE, "payload", "allocate", "10").exit_code == 0


def test_stats_and_top(podman: Podman) -> None:
    podman.ok("run", "-d", "--name", "counted", "--memory", "64m", IMAGE, "payload", "allocate", "16", "sleep", "0")
    poll_until(
        lambda: int(podman.machine.cgroup_value(podman.pid("counted"), "memory", "memory.usage_in_bytes")) > 8 << 20
    )
    (use,) = json.loads(podman.ok("stats", "--no-stream", "--format", "json", "counted"))
    assert (use["name"], use["pids"]) == ("counted", "1")
    match = re.match(r"([\d.]+)MB / ([\d.]+)MB", use["mem_usage"])
    assert match and float(match[1]) >= 8 and round(float(match[2])) == 67, use
    assert (
        " ".join(podman.ok("top", "counted", "pid", "args").splitlines()[1].split()) == "1 payload allocate 16 sleep 0"
    )


def test_cp_both_ways(podman: Podman) -> None:
    podman.ok("run", "-d", "--name", "copied", "--tmpfs", "/scratch", IMAGE, *FOREVER)
    source, target = f"{podman.machine.directory}/source", f"{podman.machine.directory}/target"
    with open(source, "w") as file:
        file.write("carried")
    podman.ok("cp", source, "copied:/scratch/file")
    assert podman.ok("exec", "copied", "cat", "/scratch/file") == "carried"
    podman.ok("cp", "copied:/scratch/file", target)
    with open(target) as file:
        assert file.read() == "carried"


def test_what_a_process_is_given(podman: Podman) -> None:
    """User, groups, capabilities, no_new_privs, limits, umask, working directory, host name."""
    options = (
        "--user",
        "1000:1001",
        "--group-add",
        "1005",
        "--cap-drop",
        "all",
        "--hostname",
        "inside",
        "--umask",
        "0027",
    )
    more = (
        "--security-opt",
        "no-new-privileges",
        "--ulimit",
        "nofile=99:100",
        "--ulimit",
        "nproc=100:100",
        "--workdir",
        "/www",
        "--oom-score-adj",
        "500",
    )
    script = """id -u; id -g; id -G; hostname; umask; ulimit -n; pwd; cat /proc/self/oom_score_adj
    grep -E 'Cap(Eff|Bnd)|NoNewPrivs|Seccomp:' /proc/self/status"""
    lines = podman.ok("run", "--rm", *options, *more, IMAGE, "sh", "-c", script).splitlines()
    assert lines[:8] == ["1000", "1001", "1001 1005", "inside", "0027", "99", "/www", "500"]
    status = dict(line.split(":\t") for line in lines[8:])
    assert status == {
        "CapEff": "0000000000000000",
        "CapBnd": "0000000000000000",
        "NoNewPrivs": "1",
        "Seccomp": "2",
    }


def test_mounts(podman: Podman) -> None:
    """Read-only root, tmpfs, a volume, bind mounts with their options, and the usual paths masked."""
    directory = f"{podman.machine.directory}/bound"
    podman.machine.ok("mkdir", directory)
    podman.machine.ok("sh", "-c", f"echo bound >{directory}/file")
    mounts = ("--read-only", "--tmpfs", "/scratch:size=1m,noexec", "-v", f"{directory}:/bound:ro", "-v", "kept:/kept")
    script = """cat /bound/file; touch /scratch/a /kept/a && echo written
    touch /bound/a 2>/dev/null || echo refused; touch /a 2>/dev/null || echo refused
    grep -E ' /(scratch|bound) ' /proc/self/mounts | cut -d' ' -f2,4; cat /proc/kcore | head -c 1 | wc -c
    touch /proc/sys/kernel/domainname 2>/dev/null || echo refused"""
    lines = podman.ok("run", "--rm", *mounts, IMAGE, "sh", "-c", script).splitlines()
    podman.ok("volume", "rm", "kept")
    podman.machine.ok("rm", "-r", directory)
    assert lines[:4] == ["bound", "written", "refused", "refused"]
    options = {line.split()[0]: line.split()[1].split(",") for line in lines[4:6]}
    assert {"noexec", "size=1024k"} <= set(options["/scratch"]) and "ro" in options["/bound"]
    assert lines[6:] == ["0", "refused"]


def test_user_namespace(podman: Podman) -> None:
    maps = ("--uidmap", "0:200000:1000", "--gidmap", "0:300000:1000")
    script = "id -u; cat /proc/self/uid_map /proc/self/gid_map; touch /own; stat -c %u /own"
    text = podman.ok("run", "--rm", *maps, IMAGE, "sh", "-c", script)
    lines = [line.split() for line in text.splitlines()]
    assert lines == [["0"], ["0", "200000", "1000"], ["0", "300000", "1000"], ["0"]]


def test_namespaces_of_the_host_and_of_another_container(podman: Podman) -> None:
    podman.ok("run", "-d", "--name", "first", IMAGE, *FOREVER)
    read = ("sh", "-c", "for name in net ipc uts pid mnt; do readlink /proc/self/ns/$name; done")
    own = podman.ok("exec", "first", *read).splitlines()
    joined = [f"--{kind}=container:first" for kind in ("network", "ipc", "uts", "pid")]
    theirs = podman.ok("run", "--rm", *joined, IMAGE, *read).splitlines()
    assert theirs[:4] == own[:4] and theirs[4] != own[4]
    hosts = podman.machine.ok(*read).splitlines()
    shared = [f"--{kind}=host" for kind in ("network", "ipc", "uts", "pid")]
    assert podman.ok("run", "--rm", *shared, IMAGE, *read).splitlines()[:4] == hosts[:4]


def test_devices(podman: Podman) -> None:
    script = "test -c /dev/fuse && echo there; ls -l /dev/full | cut -c1-10"
    text = podman.ok("run", "--rm", "--device", "/dev/fuse", IMAGE, "sh", "-c", script)
    assert text.splitlines() == ["there", "crw-rw-rw-"]
    refused = podman.cli("run", "--rm", "--cap-add", "mknod", IMAGE, "sh", "-c", "mknod /d b 254 0 && head -c 1 /d")
    assert refused.exit_code != 0 and "not permitted" in refused.stderr


def test_own_seccomp_profile(podman: Podman) -> None:
    rules = [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}]
    profile = f"{podman.machine.directory}/profile.json"
    with open(profile, "w") as file:
        json.dump({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": rules}, file)
    result = podman.cli(
        "run", "--rm", "--security-opt", f"seccomp={profile}", IMAGE, "sh", "-c", "mkdir /made; echo $?"
    )
    assert result.stdout == "1\n" and "not implemented" in result.stderr


def test_hooks(podman: Podman) -> None:
    """Hooks get the state on their standard input: `created` before the start, `stopped` after the end."""
    directory = f"{podman.machine.directory}/hooks"
    stages = ("prestart", "createRuntime", "poststart", "poststop")
    podman.machine.ok("mkdir", directory)
    for stage in stages:
        command = {"path": "/bin/sh", "args": ["sh", "-c", f"cat >{directory}/{stage}.state"]}
        hook = {"version": "1.0.0", "hook": command, "when": {"always": True}, "stages": [stage]}
        with open(f"{directory}/{stage}.json", "w") as file:
            json.dump(hook, file)
    podman.ok("--hooks-dir", directory, "run", "--rm", "--annotation", "who=tests", IMAGE, "true")
    states = {}
    for stage in stages:
        with open(f"{directory}/{stage}.state") as file:
            states[stage] = json.load(file)
    podman.machine.ok("rm", "-r", directory)
    assert len({state["id"] for state in states.values()}) == 1
    assert states["poststop"]["status"] == "stopped"
    assert all(states[stage]["status"] in ("created", "creating") and states[stage]["pid"] > 0 for stage in stages[:2])
    assert states["prestart"]["annotations"]["who"] == "tests"


def test_restart_and_start_again(podman: Podman) -> None:
    podman.ok("run", "-d", "--name", "again", IMAGE, "sh", "-c", WAITS)
    logs_soon(podman, "again", "ready")
    first = podman.pid("again")
    podman.ok("restart", "again")
    assert podman.pid("again") not in (0, first)
    podman.ok("stop", "again")
    podman.ok("start", "again")
    assert podman.inspect("again")["State"]["Status"] == "running"


def test_healthcheck(podman: Podman) -> None:
    """Podman lets systemd do the repeating; without one, each check is asked for."""
    check = ("--health-cmd", "test -e /healthy", "--health-interval", "disable", "--health-retries", "1")
    podman.ok("run", "-d", "--name", "checked", *check, IMAGE, *FOREVER)
    assert podman.cli("healthcheck", "run", "checked").exit_code == 1
    assert podman.inspect("checked")["State"]["Health"]["Status"] == "unhealthy"
    podman.ok("exec", "checked", "touch", "/healthy")
    podman.ok("healthcheck", "run", "checked")
    assert podman.inspect("checked")["State"]["Health"]["Status"] == "healthy"

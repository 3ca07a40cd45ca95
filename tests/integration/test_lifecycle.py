"""The verbs of a container's life, through the command line."""

import json
import os
import re
import tempfile
import time
from pathlib import Path

import pytest

from tests.integration.conftest import IMAGE
from tests.support.images import copy_rootfs
from tests.support.poll import poll_until
from tests.support.world import World, process_commands, unique_name

PATIENT = ("sh", "-c", 'trap "exit 9" TERM; echo up; while :; do sleep 0.1; done')  # ends by itself when asked to
STUBBORN = ("payload", "sleep", "0")  # as pid 1 it never sees a SIGTERM it has no handler for


def started(world: World, *options: str, command: tuple[str, ...] = STUBBORN) -> str:
    """Start a container in the background and return its name."""
    name = unique_name()
    world.ok("run", "-d", "--name", name, *options, IMAGE, *command)
    return name


# -- run


@pytest.mark.vm
def test_run_passes_output_and_exit_code(world: World) -> None:
    result = world.cli("run", "--rm", IMAGE, "payload", "out", "to stdout", "err", "to stderr", "exit", "7")
    assert result == (7, "to stdout\n", "to stderr\n")


@pytest.mark.vm
@pytest.mark.parametrize("signal", [6, 9, 11])
def test_run_ends_with_128_plus_signal(world: World, signal: int) -> None:
    result = world.cli("run", "--rm", "--init", IMAGE, "payload", "signal", str(signal))
    assert result.exit_code == 128 + signal


@pytest.mark.vm
def test_run_passes_stdin(world: World) -> None:
    assert world.ok("run", "--rm", "-i", IMAGE, "payload", "echo", stdin="one\ntwo\n") == "one\ntwo"


def test_the_monitor_takes_down_what_a_start_needed(own_world: World) -> None:
    """It does so a moment later, whether the container still runs, has ended in that moment, or never began."""
    world = own_world
    world.ok("run", "--rm", IMAGE, "true")
    poll_until(lambda: "/stage/" not in "".join(_held_by_monitor(world)), what="the first stage is left")
    before = _held_by_monitor(world)
    for _ in range(3):
        world.ok("run", "--rm", IMAGE, "true")
        world.ok("run", IMAGE, "true")
    world.refused(127, "run", "--rm", IMAGE, "no-such-program")
    started(world, "--rm")
    started(world)
    poll_until(lambda: _held_by_monitor(world) == before, what="nothing but the two that run is left")


def _held_by_monitor(world: World) -> list[str]:
    """Return the mounts that the monitor sees, and the namespaces that it keeps."""
    (pid,) = (pid for pid, command in process_commands() if "monitor.main" in command and world.root in command)
    mounts = [line.split()[4] for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines()]
    links = [os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir() if os.path.lexists(fd)]
    return sorted([*mounts, *(link for link in links if link.startswith(("mnt:", "user:")))])


def test_run_without_i_has_empty_stdin(world: World) -> None:
    assert world.ok("run", "--rm", IMAGE, "payload", "echo", stdin="not for you") == ""


def test_run_takes_the_image_command(world: World) -> None:
    assert world.ok("run", "--rm", "--entrypoint", "/bin/payload", IMAGE, "out", "hello") == "hello"


def test_a_user_is_looked_up_at_each_start(world: World) -> None:
    """What was prepared for who he was the last time, in this container or another of its image, is not used."""
    ids = ("sh", "-c", "id -u; id -g; echo $HOME; exec sleep 1000000")
    name, other = started(world, "-u", "www", command=ids), unique_name()
    assert world.ok("logs", name) == "33\n33\n/www"
    world.ok("exec", "-u", "0", name, "sh", "-c", "echo www:x:1234:0::/tmp:/bin/sh > /etc/passwd")
    world.ok("restart", "-t", "0", name)
    poll_until(lambda: world.ok("logs", name).endswith("1234\n0\n/tmp"), what="its new ids")
    assert world.ok("run", "--rm", "-u", "www", "--name", other, IMAGE, *ids[:2], "id -u; id -g; echo $HOME") == (
        "33\n33\n/www"
    )
    world.ok("rm", "--force", name)


def test_run_detached_prints_the_id(world: World) -> None:
    name = unique_name()
    container_id = world.ok("run", "-d", "--name", name, IMAGE, *STUBBORN)
    assert re.fullmatch(r"[0-9a-f]{12}", container_id)
    assert world.inspect(container_id[:6])["name"] == name


def test_run_rm_leaves_nothing(world: World) -> None:
    world.ok("run", "--rm", "--name", "gone", IMAGE, "true")
    assert "'gone'" in world.refused(3, "inspect", "gone")
    assert world.ok("ps", "-aq") == ""


def test_rm_of_detached_run_leaves_nothing(world: World) -> None:
    world.ok("run", "-d", "--rm", IMAGE, "payload", "out", "x")
    poll_until(lambda: world.ok("ps", "-aq") == "", what="the container is removed")


def test_run_rootfs_directory_is_not_written(world: World, busybox_rootfs: str) -> None:
    world.ok("run", "--rm", "--rootfs", busybox_rootfs, "sh", "-c", "echo x > /etc/written; cat /etc/written")
    assert not os.path.exists(f"{busybox_rootfs}/etc/written")


def test_run_rootfs_rw_is_written(world: World, busybox_rootfs: str) -> None:
    from tests.support.images import copy_rootfs

    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="pct-rw-") as directory:
        rootfs = copy_rootfs(busybox_rootfs, f"{directory}/rootfs")
        world.ok("run", "--rm", "--rootfs", f"{rootfs}:rw", "sh", "-c", "echo kept > /etc/written")
        with open(f"{rootfs}/etc/written") as file:
            assert file.read() == "kept\n"
        assert os.stat(f"{rootfs}/etc/written").st_uid == 0  # owners on disk are the container's own ids


def test_run_from_yaml(world: World) -> None:
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="pct-yaml-") as directory:
        path = f"{directory}/web.yaml"
        with open(path, "w") as file:
            file.write(
                f"name: from-yaml\nimage: {IMAGE}\ncommand: [payload, sleep, '0']\n"
                "memory: 64M\nenv: {GREETING: hello}\nlabels: {tier: web}\n"
            )
        world.ok("run", "-d", "-f", path)
        assert "GREETING=hello" in world.ok("exec", "from-yaml", "payload", "env").split("\n")
        assert world.inspect("from-yaml")["memory_bytes"] == 64 << 20


# -- what it is started with


@pytest.mark.parametrize(
    ("options", "verb", "line"),
    [
        (("-e", "COLOUR=blue"), "env", "COLOUR=blue"),
        (("-w", "/tmp"), "cwd", "/tmp"),
        (("-u", "1000:1000"), "ids", "Uid:\t1000\t1000\t1000\t1000"),
        (("-u", "1000:1001"), "ids", "Gid:\t1001\t1001\t1001\t1001"),
        (("--ulimit", "nofile=100:200"), "env", ""),
    ],
)
def test_run_options_reach_the_program(world: World, options: tuple[str, ...], verb: str, line: str) -> None:
    assert line in world.ok("run", "--rm", *options, IMAGE, "payload", verb).split("\n") + [""]


def test_hostname(world: World) -> None:
    assert world.ok("run", "--rm", "--hostname", "apple", IMAGE, "hostname") == "apple"


@pytest.mark.vm
def test_ulimit(world: World) -> None:
    shell = "ulimit -Sn; ulimit -Hn"
    assert world.ok("run", "--rm", "--ulimit", "nofile=100:200", IMAGE, "sh", "-c", shell) == "100\n200"


@pytest.mark.vm
def test_sysctl(world: World) -> None:
    option = "net.ipv4.ip_unprivileged_port_start=79"
    assert (
        world.ok("run", "--rm", "--sysctl", option, IMAGE, "cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start")
        == "79"
    )


def test_env_file(world: World) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".env") as file:
        file.write("# a comment\nONE=1\n\nTWO=two words\n")
        file.flush()
        lines = world.ok("run", "--rm", "--env-file", file.name, IMAGE, "payload", "env").split("\n")
    assert {"ONE=1", "TWO=two words"} <= set(lines)


@pytest.mark.vm
def test_bind_mount_and_volume_and_tmpfs(world: World) -> None:
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="pct-bind-") as directory:
        os.chmod(directory, 0o755)  # root inside is nobody to what lies on the host
        with open(f"{directory}/file", "w") as file:
            file.write("from the host\n")
        options = ("-v", f"{directory}:/data:ro", "-v", "things:/things", "--tmpfs", "/scratch:size=1m")
        script = "cat /data/file; echo x > /data/new; echo kept > /things/a; df -k /scratch | tail -1"
        result = world.cli("run", "--rm", *options, IMAGE, "sh", "-c", script)
        assert result.stdout.startswith("from the host\n")
        assert "Read-only file system" in result.stderr
        assert " 1024 " in result.stdout
        assert os.listdir(directory) == ["file"]
    assert world.ok("run", "--rm", "-v", "things:/things", IMAGE, "cat", "/things/a") == "kept"


@pytest.mark.vm
def test_read_only_root(world: World) -> None:
    result = world.cli("run", "--rm", "--read-only", IMAGE, "sh", "-c", "echo x > /file")
    assert result.exit_code != 0
    assert "Read-only file system" in result.stderr


# -- life


@pytest.mark.vm
def test_create_start_stop(world: World) -> None:
    name = unique_name()
    world.ok("create", "--name", name, IMAGE, *PATIENT)
    assert world.status(name) == "created"
    world.ok("start", name)
    record = world.inspect(name)
    assert (record["status"], record["exit_code"]) == ("running", None)
    assert os.path.exists(f"/proc/{record['pid']}")
    poll_until(lambda: world.ok("logs", name) == "up", what="the handler is installed")
    world.ok("stop", name)
    record = world.inspect(name)
    assert (record["status"], record["exit_code"], record["pid"]) == ("stopped", 9, 0)


@pytest.mark.vm
def test_stop_kills_after_the_timeout(world: World) -> None:
    name = started(world)
    began = time.monotonic()
    world.ok("stop", "-t", "1", name)
    assert time.monotonic() - began > 0.9
    assert world.inspect(name)["exit_code"] == 137


@pytest.mark.vm
def test_stop_signal(world: World) -> None:
    name = started(
        world, "--stop-signal", "USR1", command=("sh", "-c", 'trap "exit 3" USR1; echo up; while :; do sleep 0.1; done')
    )
    poll_until(lambda: world.ok("logs", name) == "up")
    world.ok("stop", name)
    assert world.inspect(name)["exit_code"] == 3


@pytest.mark.vm
def test_init_forwards_signals_and_reaps(world: World) -> None:
    name = started(world, "--init", command=("sh", "-c", "(sleep 0.1 &) ; exec payload sleep 0"))
    world.ok("kill", "-s", "TERM", name)
    world.wait_for_status(name, "stopped")
    assert world.inspect(name)["exit_code"] == 143


@pytest.mark.vm
def test_stopped_container_starts_again_with_its_files(world: World) -> None:
    name = unique_name()
    world.ok("run", "--name", name, IMAGE, "sh", "-c", "echo x >> /file; wc -l < /file")
    assert world.ok("start", "-a", name).strip() == "2"


@pytest.mark.vm
def test_restart_makes_a_new_process(world: World) -> None:
    name = started(world)
    first = world.inspect(name)
    world.ok("restart", "-t", "0", name)
    second = world.inspect(name)
    assert second["id"] == first["id"]
    assert second["status"] == "running"
    assert second["pid"] != first["pid"]


@pytest.mark.vm
def test_kill_sends_the_signal(world: World) -> None:
    name = started(world, command=("sh", "-c", 'trap "echo got it" HUP; echo up; while :; do sleep 0.1; done'))
    poll_until(lambda: world.ok("logs", name) == "up")
    world.ok("kill", "-s", "SIGHUP", name)
    poll_until(lambda: world.ok("logs", name) == "up\ngot it")
    assert world.status(name) == "running"
    world.ok("kill", name)
    world.wait_for_status(name, "stopped")
    assert world.inspect(name)["exit_code"] == 137


def test_kill_refuses_an_unknown_signal(world: World) -> None:
    name = started(world)
    assert "'NONSENSE'" in world.refused(2, "kill", "-s", "NONSENSE", name)
    assert world.status(name) == "running"


@pytest.mark.vm
def test_wait_prints_the_exit_code(world: World) -> None:
    name = started(world, command=("payload", "sleep", "1", "exit", "5"))
    assert world.ok("wait", name) == "5"
    assert world.ok("wait", name) == "5"


@pytest.mark.vm
def test_rm_refuses_a_running_container(world: World) -> None:
    name = started(world)
    message = world.refused(5, "rm", name)
    assert f"'{name}'" in message
    assert "running" in message
    world.ok("rm", "-f", name)
    world.refused(3, "inspect", name)


def test_rename(world: World) -> None:
    name, other = started(world), unique_name()
    world.ok("rename", name, other)
    assert world.status(other) == "running"
    world.refused(3, "inspect", name)


def test_name_is_free_after_rm(world: World) -> None:
    for _ in range(3):
        name = "again"
        world.ok("run", "-d", "--name", name, IMAGE, *STUBBORN)
        world.ok("rm", "-f", name)


@pytest.mark.vm
def test_pause_stops_time_inside(world: World) -> None:
    name = started(world, command=("sh", "-c", "while :; do echo tick; sleep 0.05; done"))
    poll_until(lambda: world.ok("logs", name))
    world.ok("pause", name)
    assert world.status(name) == "paused"
    count = len(world.ok("logs", name))
    time.sleep(0.3)
    assert len(world.ok("logs", name)) == count
    assert "paused" in world.refused(5, "pause", name)
    world.ok("unpause", name)
    assert world.status(name) == "running"
    poll_until(lambda: len(world.ok("logs", name)) > count)


@pytest.mark.vm
def test_paused_container_is_removed_by_force(world: World) -> None:
    name = started(world)
    world.ok("pause", name)
    world.ok("rm", "-f", name)


@pytest.mark.vm
def test_restart_policy_on_failure_counts(world: World) -> None:
    name = started(world, "--restart", "on-failure:2", command=("payload", "exit", "4"))
    poll_until(
        lambda: world.inspect(name)["restart_count"] == 2 and world.status(name) == "stopped",
        timeout_seconds=20,
        what="two restarts, then stopped",
    )
    assert world.inspect(name)["exit_code"] == 4


@pytest.mark.vm
@pytest.mark.parametrize(
    ("options", "command", "cause"),
    [
        ((), ("payload", "exit", "0"), "exit"),
        ((), ("payload", "exit", "3"), "failure"),
        (("--init",), ("payload", "signal", "11"), "signal"),
        (("-m", "32M"), ("payload", "allocate", "64"), "oom"),
    ],
)
def test_the_cause_of_an_end_is_told(
    world: World, options: tuple[str, ...], command: tuple[str, ...], cause: str
) -> None:
    name = started(world, *options, command=command)
    world.wait_for_status(name, "stopped")
    assert world.inspect(name)["cause"] == cause
    assert world.ok("ps", "-aq", "--filter", f"cause={cause}") == world.inspect(name)["id"]


def test_somebody_asked_for_the_end(world: World) -> None:
    for verb in ("stop", "kill"):
        name = started(world, "--restart", "always", "--stop-timeout", "0")
        world.ok(verb, name)
        world.wait_for_status(name, "stopped")
        assert world.inspect(name)["cause"] == "asked"


def test_any_policy_gives_up_where_it_is_told_to(world: World) -> None:
    """An end with 0 is followed by another start with `always`; what cannot be started is a failure as well."""
    name = started(world, "--restart", "always:2", command=("payload", "exit", "0"))
    world.wait_for_status(name, "stopped")
    record = world.inspect(name)
    assert (record["cause"], record["restart_count"]) == ("exit", 2)
    assert record["warnings"] == ["given up after 2 restarts in a row: exit"]
    name = started(world, "--restart", "on-failure:2", command=("sh", "-c", "rm /bin/sh; exit 1"))
    world.wait_for_status(name, "stopped")
    record = world.inspect(name)
    assert (record["cause"], record["exit_code"], record["restart_count"]) == ("start-failed", 127, 2)
    assert record["warnings"][-1] == "given up after 2 restarts in a row: start-failed"


def test_restart_policy_ends_with_stop(world: World) -> None:
    name = started(world, "--restart", "always", command=PATIENT)
    world.ok("stop", name)
    time.sleep(1)
    assert world.status(name) == "stopped"


# -- seeing


def test_ps_shows_running_and_all(world: World) -> None:
    running = started(world)
    stopped = unique_name()
    world.ok("run", "--name", stopped, IMAGE, "true")
    assert running in world.ok("ps")
    assert stopped not in world.ok("ps")
    assert stopped in world.ok("ps", "-a")
    assert len(world.ok("ps", "-aq").split()) == 2
    assert world.ok("list", "-aq") == world.ok("ps", "-aq")


def test_ps_json_holds_the_documented_fields(world: World) -> None:
    name = started(world, "-l", "tier=web", "-m", "64M")
    (row,) = json.loads(world.ok("ps", "--format", "json"))
    assert set(row) >= {
        "id",
        "name",
        "image",
        "command",
        "status",
        "created",
        "started",
        "exit_code",
        "pid",
        "ports",
        "networks",
        "labels",
        "restart_count",
        "memory_bytes",
        "warnings",
    }
    assert (row["name"], row["image"], row["status"]) == (name, IMAGE, "running")
    assert row["command"] == list(STUBBORN)
    assert row["labels"] == {"tier": "web"}
    assert row["memory_bytes"] == 64 << 20


def test_ps_filters(world: World) -> None:
    web = started(world, "-l", "tier=web")
    started(world, "-l", "tier=db")
    ids = world.ok("ps", "-q", "--filter", "label=tier=web").split()
    assert [world.inspect(container)["name"] for container in ids] == [web]
    assert world.ok("ps", "-aq", "--filter", "status=stopped") == ""
    assert world.ok("ps", "-q", "--filter", f"name={web}").split() == ids


@pytest.mark.vm
def test_stats_shows_use_and_limit(world: World) -> None:
    name = started(world, "-m", "64M", "--pids-limit", "10", command=("payload", "allocate", "20", "sleep", "0"))
    poll_until(lambda: world.ok("logs", name) == "allocated 20")
    (row,) = json.loads(world.ok("stats", "--no-stream", "--format", "json", name))
    assert row["name"] == name
    assert 20 << 20 <= row["memory_bytes"] <= row["memory_limit_bytes"] == 64 << 20
    assert (row["pids"], row["pids_limit"]) == (1, 10)
    assert name in world.ok("stats", "--no-stream", name)


def test_top_shows_the_processes(world: World) -> None:
    name = started(world)
    assert "payload sleep 0" in world.ok("top", name)


def test_image_list_and_rm(world: World, busybox_rootfs: str) -> None:
    world.import_image(busybox_rootfs, "another-one")
    assert "another-one" in world.ok("image", "list")
    names = [row["name"] for row in json.loads(world.ok("image", "list", "--format", "json"))]
    assert sorted(names) == sorted([IMAGE, "another-one"])
    world.ok("image", "rm", "another-one")
    assert "another-one" not in world.ok("image", "list")
    assert world.ok("run", "--rm", IMAGE, "payload", "out", "still here") == "still here"


def test_image_in_use_is_not_removed(world: World) -> None:
    name = started(world)
    assert f"'{name}'" in world.refused(5, "image", "rm", IMAGE) or world.inspect(name)["id"]
    assert IMAGE in world.ok("image", "list")


def test_info_version_and_check(world: World) -> None:
    from pycontainer import __version__

    assert __version__ in world.ok("version")
    assert world.root in world.ok("info")
    assert json.loads(world.ok("check", "--format", "json"))


def test_every_command_has_help(world: World) -> None:
    listing = world.ok("--help")
    for command in (
        "run",
        "create",
        "start",
        "stop",
        "restart",
        "kill",
        "rm",
        "ps",
        "exec",
        "enter",
        "attach",
        "logs",
        "inspect",
        "wait",
        "rename",
        "stats",
        "top",
        "pause",
        "unpause",
        "cp",
        "port",
        "info",
        "version",
        "image",
        "network",
        "check",
    ):
        assert re.search(rf"^\s+{command}\b", listing, re.MULTILINE), f"{command} is not listed"
        assert "Usage:" in world.ok(command, "--help")


# -- what hostile images and odd wishes must not do


def test_streams_can_be_opened_again_by_the_user(world: World) -> None:
    script = "echo out >/dev/stdout; echo err >/dev/stderr"
    assert world.cli("run", "--rm", "-u", "1000", IMAGE, "sh", "-c", script) == (0, "out\n", "err\n")
    name = started(world)
    assert world.cli("exec", "-u", "1000", name, "sh", "-c", script) == (0, "out\n", "err\n")


def test_resolv_conf_may_be_a_link_into_run(world: World, busybox_rootfs: str, tmp_path: Path) -> None:
    rootfs = copy_rootfs(busybox_rootfs, f"{tmp_path}/rootfs")
    os.symlink("../run/systemd/resolve/stub-resolv.conf", f"{rootfs}/etc/resolv.conf")
    assert "nameserver" in world.ok("run", "--rm", "--rootfs", rootfs, "cat", "/run/systemd/resolve/stub-resolv.conf")
    os.unlink(f"{rootfs}/etc/resolv.conf")
    os.symlink(f"{tmp_path}/planted", f"{rootfs}/etc/resolv.conf")
    world.ok("run", "--rm", "--rootfs", rootfs, "true")
    assert not os.path.exists(f"{tmp_path}/planted")


def test_absurd_passwd_is_no_traceback(world: World) -> None:
    script = "echo big:x:$(printf %05000d 7 | tr 0 9):0:::/ >> /etc/passwd; exec payload sleep 0"
    name = started(world, command=("sh", "-c", script))
    assert world.ok("exec", name, "payload", "out", "fine") == "fine"
    assert "beyond the container's ids" in world.refused(125, "exec", "-u", "9" * 5000, name, "true")


@pytest.mark.vm
def test_more_mounts_than_a_message_holds(world: World, tmp_path: Path) -> None:
    bystander = started(world)
    mounts = [word for number in range(300) for word in ("-v", f"{tmp_path}:/m/{number}:ro")]
    assert "fewer mounts" in world.refused(125, "run", "--rm", *mounts, IMAGE, "true")
    assert world.ok("run", "--rm", *mounts[:400], IMAGE, "payload", "out", "two hundred") == "two hundred"
    assert world.status(bystander) == "running"


def test_name_that_is_another_ones_id(world: World) -> None:
    one, other = started(world), started(world)
    container_id = world.inspect(one)["id"]
    assert "is taken" in world.refused(4, "rename", other, container_id)
    assert "is taken" in world.refused(125, "run", "--name", container_id, IMAGE, "true")


def test_slow_reader_of_a_copy_holds_nobody_up(world: World) -> None:
    name = started(
        world, command=("sh", "-c", "dd if=/dev/zero of=/big bs=1M count=8 2>/dev/null; exec payload sleep 0")
    )
    poll_until(lambda: world.ok("exec", name, "stat", "-c", "%s", "/big") == str(8 << 20))
    with world.popen("cp", f"{name}:/big", "-") as slow:
        assert slow.stdout is not None
        slow.stdout.read(1)
        world.ok("rm", "-f", name, timeout_seconds=10)
        slow.kill()

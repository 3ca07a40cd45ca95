"""Profile system: an instance with its own init, and control groups that it may arrange but not leave."""

import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.conftest import IMAGE
from tests.support.features import why_not
from tests.support.images import copy_rootfs
from tests.support.poll import poll_until
from tests.support.terminal import Terminal
from tests.support.world import World, unique_name

pytestmark = pytest.mark.vm

HANDED_OVER = {"cgroup.procs", "cgroup.threads", "cgroup.subtree_control", "memory.oom.group", "memory.reclaim"}
MIB = 1 << 20


@pytest.fixture
def instance(world: World) -> Iterator[str]:
    """An instance that sleeps, with a cap on memory and on processes."""
    name = unique_name()
    options = ("--profile", "system", "-m", "64M", "--pids-limit", "100")
    world.ok("run", "-d", "--name", name, *options, IMAGE, "sleep", "1000")
    yield name
    world.ok("rm", "-f", name)


def cgroups_of(world: World, name: str) -> list[Path]:
    """Return the directories of the host's hierarchies that carry the limits of a container."""
    container_id = world.inspect(name)["id"]
    return [Path(path) for path, _, _ in os.walk("/sys/fs/cgroup") if path.endswith(f"/{container_id}")]


def limits_of(world: World, name: str) -> dict[str, str]:
    """Return all that can be read and written in these directories."""
    found = {}
    for directory in cgroups_of(world, name):
        for path in directory.iterdir():
            is_count = re.search("pressure|usage|failcnt|procs|threads|tasks|peak", path.name)
            if path.is_file() and path.stat().st_mode & 0o600 == 0o600 and not is_count:
                try:
                    found[str(path)] = path.read_text()
                except OSError:  # some are for other types of cgroups
                    continue
    return found


def sh(world: World, name: str, script: str) -> str:
    return world.ok("exec", name, "sh", "-c", script)


def test_an_app_sees_its_own_cgroup_and_cannot_write_it(world: World) -> None:
    """PS-04; the namespace begins at the container."""
    script = (
        "cat /proc/self/cgroup; mkdir /sys/fs/cgroup/x; grep /sys/fs/cgroup /proc/mounts | cut -d' ' -f4 | cut -c1-3"
    )
    result = world.cli("run", "--rm", IMAGE, "sh", "-c", script)
    lines = result.stdout.splitlines()
    assert {line.rpartition(":")[2] for line in lines if ":" in line} == {"/"}
    assert {line for line in lines if ":" not in line} == {"ro,"}
    assert "Read-only file system" in result.stderr


def test_only_what_the_kernel_lists_is_writable(world: World, instance: str) -> None:
    """PS-04: and nothing of it is a limit."""
    script = "cd /sys/fs/cgroup; for f in *; do (: >> $f) 2>/dev/null && echo $f; done; mkdir x && echo dir"
    writable = set(sh(world, instance, script).split())
    expected = {"dir", "cgroup.procs", "cgroup.threads", "cgroup.subtree_control"}
    if not why_not("cgroup_v2"):
        expected |= HANDED_OVER & set(Path("/sys/kernel/cgroup/delegate").read_text().split())
    assert writable == expected


def test_root_inside_cannot_change_its_own_limits(world: World, instance: str) -> None:
    """PS-04: through what is mounted, through fresh mounts of every hierarchy, from its namespace's top."""
    before = limits_of(world, instance)
    assert any(path.endswith(("/memory.max", "/memory.limit_in_bytes")) for path in before)
    script = """
    mkdir /fresh
    for type in "cgroup2" "cgroup -o memory" "cgroup -o pids" "cgroup -o cpu" "cgroup -o devices" "cgroup -o freezer"; do
        umount /fresh 2>/dev/null
        mount -t $type none /fresh 2>/dev/null || continue
        echo "seen: $type"
        for file in /fresh/*max /fresh/*limit* /fresh/*quota* /fresh/*shares /fresh/*weight /fresh/release_agent \
                    /fresh/notify_on_release /fresh/devices.* /fresh/freezer.state /fresh/cgroup.freeze /fresh/cgroup.kill \
                    /fresh/cgroup.max.* /fresh/memory.oom_control /fresh/tasks /fresh/../cgroup.procs; do
            test -f $file || continue
            for value in max 1 "a *:* rwm" $$; do
                echo "$value" 2>/dev/null > $file && echo "written: $file"
            done
        done
        case $type in
        cgroup2) ;;
        *) mkdir /fresh/below 2>/dev/null && echo "made: $type"; echo $$ 2>/dev/null > /fresh/cgroup.procs && echo "moved" ;;
        esac
    done
    umount /fresh 2>/dev/null
    for file in /sys/fs/cgroup/*; do
        case ${file##*/} in
        cgroup.procs | cgroup.threads | cgroup.subtree_control | memory.oom.group | memory.reclaim) continue ;;
        esac
        for value in max 1; do echo $value 2>/dev/null > $file && echo "written: $file"; done
    done
    for above in /sys/fs/cgroup/.. /sys/fs /proc/1/root/sys/fs/cgroup/..; do
        mkdir $above/mine 2>/dev/null && echo "made above"
        echo $$ 2>/dev/null > $above/cgroup.procs && echo "moved above"
    done
    true
    """
    said = sh(world, instance, script).splitlines()
    assert [line for line in said if not line.startswith("seen: ")] == []
    assert "seen: cgroup2" in said, "the fresh mount is the one way to look further, so it must have been tried"
    assert limits_of(world, instance) == before


def test_a_fresh_mount_shows_no_more(world: World, instance: str) -> None:
    script = "mkdir -p /fresh /sys/fs/cgroup/mine && mount -t cgroup2 none /fresh && ls -d /fresh/*/"
    assert sh(world, instance, script).split() == ["/fresh/mine/"]


def test_an_instance_cannot_make_cgroups_without_end(world: World, instance: str) -> None:
    """RES-09"""
    script = "cd /sys/fs/cgroup; i=0; while mkdir $i 2>/dev/null; do i=$((i+1)); done; echo $i"
    made = int(sh(world, instance, script))
    assert made == 1024 - 1  # the one that is handed over counts
    script = "cd /sys/fs/cgroup; rmdir *[0-9]; i=0; while mkdir d 2>/dev/null && cd d; do i=$((i+1)); done; echo $i"
    assert int(sh(world, instance, script)) == 32 - 1


def test_everything_sees_processes_in_nested_cgroups(world: World, instance: str) -> None:
    """top, pause, stats, and the end."""
    script = """
    mkdir -p /sys/fs/cgroup/a/b
    sleep 4711 & echo $! > /sys/fs/cgroup/a/b/cgroup.procs
    i=0; while true; do i=$((i+1)); done & echo $! > /sys/fs/cgroup/a/cgroup.procs
    """
    sh(world, instance, script)
    assert "sleep 4711" in world.ok("top", instance)
    pid = next(int(line.split()[0]) for line in world.ok("top", instance).splitlines() if "sleep 4711" in line)
    assert f"/{world.inspect(instance)['id']}/" in Path(f"/proc/{pid}/cgroup").read_text()
    world.ok("pause", instance)
    world.wait_for_status(instance, "paused")
    world.ok("unpause", instance)
    world.ok("rm", "-f", instance)
    assert not os.path.exists(f"/proc/{pid}")
    world.ok("run", "-d", "--name", instance, IMAGE, "sleep", "1000")


def test_exec_lands_beside_the_init(world: World, instance: str) -> None:
    """Also when the top holds no processes any more, because controllers were passed on."""
    script = """
    cd /sys/fs/cgroup && mkdir init other && for pid in $(cat cgroup.procs); do echo $pid > init/cgroup.procs; done
    for controller in $(cat cgroup.controllers); do echo +$controller; done > cgroup.subtree_control
    """
    sh(world, instance, script)
    assert sh(world, instance, "tail -1 /proc/self/cgroup") == "0::/init"
    if not why_not("cgroup_v2"):
        script = "cd /sys/fs/cgroup && echo 8M > other/memory.max && cat other/memory.max memory.max"
        assert sh(world, instance, script).split() == [str(8 * MIB), str(64 * MIB + os.sysconf("SC_PAGE_SIZE"))]
        world.ok("set", "-m", "80M", instance)
        assert sh(world, instance, "cat /sys/fs/cgroup/memory.max") == str(80 * MIB + os.sysconf("SC_PAGE_SIZE"))


def test_the_cap_holds_for_what_is_nested(world: World, instance: str) -> None:
    """RES-01, and whose limit it was is still told."""
    script = """
    mkdir /sys/fs/cgroup/a; echo $$ > /sys/fs/cgroup/a/cgroup.procs
    i=0; while [ $i -lt 150 ]; do sleep 1000 & i=$((i+1)); done
    """
    assert "fork" in world.cli("exec", instance, "sh", "-c", script).stderr
    assert world.inspect(instance)["status"] == "running"
    pids = next(line.split() for line in world.ok("limits", instance).splitlines() if " pids " in line)
    assert "100" in pids
    assert int(pids[-2]) > 0, "how often the cap said no"


def test_ids_of_who_may_ping_are_the_containers(world: World) -> None:
    script = "cat /proc/sys/net/ipv4/ping_group_range"
    assert world.ok("run", "--rm", IMAGE, "sh", "-c", script).split() == ["0", "65535"]
    option = ("--sysctl", "net.ipv4.ping_group_range=5 7")
    assert world.ok("run", "--rm", *option, IMAGE, "sh", "-c", script).split() == ["5", "7"]
    before = Path("/proc/sys/net/ipv4/ping_group_range").read_text()
    world.ok("run", "--rm", "--network", "host", IMAGE, "true")
    assert Path("/proc/sys/net/ipv4/ping_group_range").read_text() == before


def test_the_root_of_an_app_is_nosuid(world: World) -> None:
    """CAP-02: what no_new_privs refuses anyway is no reason to fail; an instance of its own keeps su and sudo."""
    script = "grep ' / ' /proc/mounts | cut -d' ' -f4 | tr , '\\n' | grep -c nosuid"
    assert world.cli("run", "--rm", IMAGE, "sh", "-c", script).stdout.strip() == "1"
    assert world.cli("run", "--rm", "--profile", "system", IMAGE, "sh", "-c", script).stdout.strip() == "0"
    assert (
        world.cli("run", "--rm", "--security-opt", "no-new-privileges=false", IMAGE, "sh", "-c", script).stdout.strip()
        == "0"
    )


def seccomp_of(world: World, name: str) -> dict[str, set[str]]:
    """Return command -> what `Seccomp:` says of its tasks, in the host's /proc. 2: a filter."""
    found: dict[str, set[str]] = {}
    for line in world.ok("top", name).splitlines()[1:]:
        for task in Path(f"/proc/{line.split()[0]}/task").iterdir():
            status = dict(each.split(":\t", 1) for each in (task / "status").read_text().splitlines())
            found.setdefault(status["Name"], set()).add(status["Seccomp"])
    return found


@pytest.mark.parametrize("profile", ["app", "system"])
def test_a_filter_on_every_task(world: World, profile: str) -> None:
    """SEC-03: the first process, what it starts, and what joins it, with and without a terminal or more privileges."""
    name = unique_name()
    world.ok(
        "run", "-d", "-t", "--name", name, "--profile", profile, IMAGE, "sh", "-c", "tail -f /dev/null & sleep 1000"
    )
    sessions = [
        world.popen("exec", name, "sh", "-c", "nc -l -p 1 & cat /dev/zero"),
        world.popen("exec", "--privileged", name, "yes"),
        world.popen("attach", name),
    ]
    try:
        with Terminal(world.argv("exec", "-it", name, "vi"), world.environment):
            expected = {"tail", "sleep", "nc", "cat", "yes", "vi"}
            poll_until(lambda: expected <= set(seccomp_of(world, name)), what="all of them are there")
            filters = seccomp_of(world, name)
    finally:
        world.ok("rm", "-f", name)
        for session in sessions:
            session.kill()
            session.communicate()
    assert filters == dict.fromkeys(expected, {"2"})


def test_no_filter_where_none_was_asked_for(world: World) -> None:
    """SEC-03: what the test above would see without one."""
    name = unique_name()
    world.ok("run", "-d", "--name", name, "--security-opt", "seccomp=unconfined", IMAGE, "sleep", "1000")
    assert seccomp_of(world, name) == {"sleep": {"0"}}
    world.ok("rm", "-f", name)


@pytest.mark.parametrize(("command", "restarts"), [("poweroff", False), ("reboot", True)])
def test_reboot_and_poweroff_from_inside(world: World, command: str, restarts: bool) -> None:
    """The kernel tells them apart; neither is a failure."""
    name = unique_name()
    world.ok("run", "-d", "--name", name, "--profile", "system", IMAGE, "sleep", "1000")
    boot_id = world.ok("exec", name, "cat", "/proc/sys/kernel/random/boot_id")
    assert boot_id != Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    before = world.inspect(name)["pid"]
    world.cli("exec", name, command, "-f")
    if restarts:
        poll_until(lambda: world.inspect(name)["pid"] not in (0, None, before), what="it is up again")
        assert world.ok("exec", name, "cat", "/proc/sys/kernel/random/boot_id") != boot_id
    else:
        world.wait_for_status(name, "stopped")
        assert world.inspect(name)["exit_code"] == 0
    world.ok("rm", "-f", name)


def test_an_app_cannot_reboot(world: World) -> None:
    result = world.cli("run", "--rm", IMAGE, "reboot", "-f")
    assert (result.exit_code, "not permitted" in result.stderr) == (1, True)


@pytest.fixture
def own_rootfs(busybox_rootfs: str) -> Iterator[str]:
    """A root file system that a test may change, on a real disk."""
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="pct-own-") as directory:
        yield copy_rootfs(busybox_rootfs, f"{directory}/rootfs")


def test_busybox_init_is_stopped_in_its_own_way(world: World, own_rootfs: str) -> None:
    """As of Alpine: it runs what its table has for a shutdown, and powers off."""
    rootfs, name = own_rootfs, unique_name()
    Path(rootfs, "etc/inittab").write_text(
        "::sysinit:/bin/touch /up\n::respawn:sleep 1000\n::shutdown:/bin/touch /down\n"
    )
    Path(rootfs, "sbin/init").unlink(missing_ok=True)
    Path(rootfs, "sbin/init").symlink_to("/bin/busybox")
    world.ok("run", "-d", "--name", name, "--profile", "system", "--rootfs", f"{rootfs}:rw")
    poll_until(lambda: "sleep 1000" in world.ok("top", name), what="it has booted")
    world.ok("stop", "-t", "20", name)
    assert world.inspect(name)["exit_code"] == 0
    assert Path(rootfs, "down").exists()
    world.ok("rm", name)

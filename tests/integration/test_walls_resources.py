"""What one container uses up is its own: neither the host nor a neighbour runs short. Small and bounded."""

import os
import subprocess

import pytest

from tests.integration.conftest import IMAGE
from tests.support.poll import poll_until
from tests.support.world import World, unique_name


def taken(text: str) -> dict[str, int]:
    """Return how many of each kind `payload take` got."""
    return {line.split(": ")[0]: int(line.split(": ")[1].split()[0]) for line in text.split("\n")}


@pytest.mark.vm
@pytest.mark.parametrize("profile", ["app", "system"])
def test_what_the_kernel_counts_by_user_is_the_containers_own(world: World, busybox_rootfs: str, profile: str) -> None:
    """RES-04: inotify instances, queued signals, timers and terminals; the host's root and a neighbour have theirs still.

    The kernel counts these for the container's users and for whoever made its user namespace.
    """
    kinds = ("inotify", "signals", "pty")
    verbs = [word for kind in kinds for word in ("take", kind)]
    greedy, neighbour = unique_name(), unique_name()
    for name in (greedy, neighbour):
        world.ok("run", "-d", "-i", "--name", name, "--profile", profile, IMAGE, "sh")
    holder = world.popen("exec", greedy, "payload", *verbs, "out", "all", "sleep", "0")
    assert holder.stdout is not None
    lines = [holder.stdout.readline().decode().strip() for _ in range(len(kinds) + 1)]
    assert lines[-1] == "all"
    assert not [line for line in lines if "unbounded" in line]
    own = taken("\n".join(lines[:-1]))
    assert min(own.values()) > 0
    # ... also when the greedy one comes as another of its users
    assert taken(world.ok("exec", "-u", "1000", greedy, "payload", "take", "signals"))["signals"] >= 0
    of_neighbour = taken(world.ok("exec", neighbour, "payload", *verbs))
    assert of_neighbour == own
    on_host = subprocess.run(
        [f"{busybox_rootfs}/bin/payload", "take", "inotify", "take", "signals", "take", "epoll"],
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=_few_files,
    )
    host = taken(on_host.stdout.strip())
    assert host["inotify"] > 50, "inotify instances of the host's root"
    assert host["signals"] > 100, "queued signals of the host's root"
    world.ok("rm", "-f", greedy)
    holder.communicate(timeout=60)


@pytest.mark.vm
def test_open_files_are_bounded(world: World) -> None:
    """RES-04"""
    name = unique_name()
    world.ok("run", "-d", "--name", name, IMAGE, "payload", "sleep", "0")
    assert "unbounded" not in world.ok("exec", name, "payload", "take", "files")
    assert world.cli("exec", name, "true").exit_code == 0


@pytest.mark.vm
def test_limits_are_not_those_of_the_callers_shell(own_world: World) -> None:
    """RES-04: what a container starts with is finite where it counts, and the same whoever came first."""
    world = own_world
    world.ok("service", "stop")
    poll_until(lambda: not world.processes(), what="the services are gone")
    shell = (
        "ulimit -S -f 5000; ulimit -S -t 600; ulimit -l unlimited; ulimit -i unlimited; ulimit -q unlimited; " + '"$@"'
    )
    argv = world.argv("run", "--rm", IMAGE, "cat", "/proc/self/limits")
    done = subprocess.run(
        ["bash", "-c", shell, "sh", *argv], capture_output=True, text=True, env=world.environment, check=True
    )
    soft = {line[:26].strip(): line[26:].split()[0] for line in done.stdout.splitlines()[1:]}
    hard = {line[:26].strip(): line[26:].split()[1] for line in done.stdout.splitlines()[1:]}
    for free in ("Max file size", "Max cpu time", "Max address space"):
        assert soft[free] == "unlimited", free
    assert int(soft["Max locked memory"]) <= 8 << 20
    assert int(soft["Max pending signals"]) <= 32768
    assert int(soft["Max msgqueue size"]) <= 819200
    assert int(hard["Max open files"]) <= 1 << 20
    assert (soft["Max core file size"], hard["Max core file size"]) == ("0", "0")


@pytest.mark.vm
@pytest.mark.parametrize("path", ["/dev/shm/x", "/tmp/mem/x"])
def test_memory_as_files_stays_within_the_cap(world: World, path: str) -> None:
    """RES-02: shared memory and tmpfs are the container's; they go with it."""
    name = unique_name()
    script = f"dd if=/dev/zero of={path} bs=1M count=128; echo wrote"
    world.cli(
        "run",
        "--name",
        name,
        "-m",
        "48M",
        "--shm-size",
        "256M",
        "--tmpfs",
        "/tmp/mem:size=256M",
        IMAGE,
        "sh",
        "-c",
        script,
    )
    assert world.inspect(name)["oom_killed"] or "wrote" in world.ok("logs", name)
    assert world.cli("ps").exit_code == 0


@pytest.mark.vm
def test_forks_of_many_users_stop_at_the_cap(world: World) -> None:
    """RES-01: and the host and a neighbour fork on; the end of the container is not held up."""
    name, neighbour = unique_name(), unique_name()
    for each in (name, neighbour):
        world.ok("run", "-d", "--name", each, "--pids-limit", "64", IMAGE, "payload", "sleep", "0")
    holders = [
        world.popen("exec", "-u", str(uid), name, "payload", "fork", "190", "sleep", "0") for uid in (0, 1000, 1001)
    ]
    poll_until(lambda: len(world.ok("top", name).split("\n")) > 60, what="it is full")
    assert "64 of 64 processes" in world.refused(125, "exec", name, "true")
    assert world.cli("exec", neighbour, "true").exit_code == 0
    subprocess.run(["true"], check=True)
    world.ok("stop", "-t", "0", name)
    for holder in holders:
        holder.communicate(timeout=60)


def test_hundreds_of_execs_leave_nothing(world: World) -> None:
    """RES-08: no zombie, no descriptor, no log line of a failure."""
    name = unique_name()
    world.ok("run", "-d", "--name", name, IMAGE, "payload", "sleep", "0")
    world.ok("exec", name, "true")
    before = _descriptors(world)
    for _ in range(10):
        processes = [world.popen("exec", name, "payload", "out", "x") for _ in range(20)]
        assert [process.communicate(timeout=120)[0] for process in processes] == [b"x\n"] * 20
    poll_until(lambda: len(world.ok("top", name).split("\n")) == 2, what="init is alone")
    poll_until(lambda: _descriptors(world) <= before, what="all descriptors are closed")
    for pid in world.processes():
        with open(f"/proc/{pid}/status") as file:
            assert "State:\tZ" not in file.read()


def _few_files() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))


def _descriptors(world: World) -> int:
    """Return how many descriptors the services of `world` hold."""
    count = 0
    for pid in world.processes():
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            if b"payload" not in file.read():
                count += len(os.listdir(f"/proc/{pid}/fd"))
    return count

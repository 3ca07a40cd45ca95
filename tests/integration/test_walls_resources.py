"""What one container uses up is its own: neither the host nor a neighbour runs short. Small and bounded."""

import os
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.integration.conftest import IMAGE
from tests.support.poll import SLOWNESS, poll_until
from tests.support.terminal import Terminal
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
@pytest.mark.parametrize("path", ["/dev/shm/x", "/tmp/mem/x", "/x"])
def test_memory_as_files_stays_within_the_cap(world: World, path: str) -> None:
    """RES-02: shared memory and tmpfs are the container's, and go with it; page cache makes room by itself.

    What is left of a container's memory counts for the directory above, which a neighbour keeps.
    """
    name, neighbour = unique_name(), unique_name()
    world.ok("run", "-d", "--name", neighbour, IMAGE, "payload", "sleep", "0")
    own = world.inspect(neighbour)["cgroup"]["paths"]["memory"]
    above = own[: own.index("/", own.index(world.paths.marker))]
    result = world.cli(
        "run", "--name", name, "-m", "48M", "--shm-size", "256M", "--tmpfs", "/tmp/mem:size=256M",
        IMAGE, "dd", "if=/dev/zero", f"of={path}", "bs=1M", "count=112",
    )  # fmt: skip
    killed = path != "/x"
    assert (result.exit_code, world.inspect(name)["oom_killed"]) == (137 if killed else 0, killed)
    if killed:
        poll_until(lambda: _used(above) < 16 << 20, what="its memory is the host's again")


@pytest.mark.vm
@pytest.mark.parametrize("kind", ["pipes", "unix", "locked"])
def test_memory_of_the_kernel_stays_within_the_cap(world: World, kind: str) -> None:
    """RES-02: what pipes and sockets hold, and locked memory: the kernel kills inside, and we say so; the others go on."""
    bystander, name = unique_name(), unique_name()
    world.ok("run", "-d", "--name", bystander, IMAGE, "payload", "sleep", "0")
    supervisor = world.supervisor_pid()
    limit = "6M" if kind == "locked" else "32M"  # locked memory has a cap of its own, 8 MiB
    options = ("-d", "--name", name, "-m", limit)
    world.ok("run", *options, IMAGE, "payload", "hold", f"{kind},96", "out", "held", "sleep", "0")
    world.wait_for_status(name, "stopped", timeout_seconds=30)
    record = world.inspect(name)
    assert (record["exit_code"], record["oom_killed"], world.ok("logs", name)) == (137, True, "")
    assert world.ok("exec", bystander, "payload", "out", "alive") == "alive"
    assert world.supervisor_pid() == supervisor


@pytest.mark.vm
def test_memory_of_datagrams_stays_within_the_cap(world: World) -> None:
    """RES-02: v2 counts it as memory, and kills for it; on v1 it has a cap of its own, a quarter of the other."""
    name = unique_name()
    options = ("-d", "--name", name, "-m", "32M")
    world.ok("run", *options, IMAGE, "sh", "-c", "payload hold udp,96 sleep 0; sleep 1000")
    poll_until(lambda: "held" in world.ok("logs", name) or world.inspect(name)["oom_killed"], timeout_seconds=30)
    record = world.inspect(name)
    directory = record["cgroup"]["paths"].get("memory")
    if directory is None:  # its shell was killed with it
        assert (record["exit_code"], record["oom_killed"]) == (137, True)
    elif os.path.exists(f"{directory}/memory.kmem.tcp.usage_in_bytes"):
        assert 6 << 20 < _number(f"{directory}/memory.kmem.tcp.max_usage_in_bytes") <= 8 << 20
        assert _number(f"{directory}/memory.kmem.tcp.limit_in_bytes") == 8 << 20
    else:
        assert record["oom_killed"]
        assert _number(f"{directory}/memory.current") <= 33 << 20


def _number(path: str) -> int:
    with open(path) as file:
        return int(file.read())


def _used(directory: str) -> int:
    names = ("memory.usage_in_bytes", "memory.current")
    return next(_number(f"{directory}/{name}") for name in names if os.path.exists(f"{directory}/{name}"))


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


@pytest.mark.vm
@pytest.mark.measures
def test_a_container_that_burns_all_processors_leaves_others_their_share(world: World) -> None:
    """RES-07: a neighbour of equal weight gets 40 % of its half, and every request is answered within a second."""
    hungry, other, third = unique_name(), unique_name(), unique_name()
    processors = os.cpu_count() or 1
    for name, count in ((hungry, 8 * processors), (other, processors)):
        burn = f"i=0; while [ $i -lt {count} ]; do payload spin 600 & i=$((i+1)); done; wait"
        world.ok("run", "-d", "--name", name, IMAGE, "sh", "-c", burn)
    with world.client() as client:
        slowest: dict[str, float] = {}

        def timed(what: str, act: Callable[[], object]) -> None:
            began = time.monotonic()
            act()
            slowest[what] = max(slowest.get(what, 0), time.monotonic() - began)

        def used() -> dict[str, int]:
            return {sample["name"]: sample["cpu_usec"] for sample in client.stats()}

        poll_until(lambda: len(client.container(hungry).top()) > 8 * processors, what="all burn")
        before = used()
        for _ in range(10):
            timed("list", client.list_containers)
            timed("inspect", client.container(other).inspect)
            timed("create", lambda: client.create(IMAGE, ["payload", "sleep", "0"], name=third))
            timed("start", lambda: client.container(third).start())
            timed("exec", lambda: client.container(third).exec(["true"]))
            timed("stop", lambda: client.container(third).stop(timeout_seconds=0))
            timed("delete", lambda: client.container(third).remove())
        poll_until(lambda: used()[hungry] - before[hungry] > 2_000_000, what="two seconds were burnt")
        after = used()
    burnt = {name: after[name] - before[name] for name in (hungry, other)}
    assert burnt[other] >= 0.4 * 0.5 * sum(burnt.values()), burnt
    assert max(slowest.values()) < 1 * SLOWNESS, slowest


def test_five_hundred_execs_at_once(world: World) -> None:
    """RES-08: all there at the same time; then no zombie, descriptor, thread or cgroup, and each has its own output."""
    name = unique_name()
    world.ok("run", "-d", "--name", name, "--pids-limit", "600", IMAGE, "payload", "sleep", "0")
    world.ok("exec", name, "mkfifo", "/tmp/gate")
    before = _held(world)
    with world.client() as client:
        container = client.container(name)

        def one(number: int) -> tuple[int, str]:
            done = container.exec(["sh", "-c", ": < /tmp/gate; echo $0", str(number)])
            return done.exit_code, done.stdout

        with ThreadPoolExecutor(500) as threads:
            try:
                results = threads.map(one, range(500), timeout=120 * SLOWNESS)
                poll_until(lambda: len(container.top()) == 501, timeout_seconds=60, what="all are there")
                opener = world.popen("exec", "-i", name, "sh", "-c", "exec 3<> /tmp/gate; cat", stdin=subprocess.PIPE)
                assert list(results) == [(0, f"{number}\n") for number in range(500)]
                opener.communicate(timeout=60 * SLOWNESS)
            except BaseException:
                container.kill()  # or the threads would wait for ever
                raise
    poll_until(lambda: len(world.ok("top", name).split("\n")) == 2, what="init is alone")
    _wait_until_held(world, before)


@pytest.mark.parametrize("options", [(), ("-i",), ("-it",)])
def test_what_goes_to_the_background_with_its_output_holds_nothing(world: World, options: tuple[str, ...]) -> None:
    """RES-08: exec returns with the program's end, whoever has its output still; the services hold nothing for it."""
    name = unique_name()
    world.ok("run", "-d", "--name", name, IMAGE, "payload", "sleep", "0")
    world.ok("exec", name, "true")
    before = _held(world)
    for _ in range(10):
        argv = world.argv("exec", *options, name, "payload", "ignore", "1", "out", "back", "daemon", "sleep", "0")
        with Terminal(argv, world.environment) as person:  # stdin stays open
            person.expect("back")
            assert person.wait() == 0
    assert world.ok("top", name).count("payload ignore 1 out back daemon sleep 0") == 10
    _wait_until_held(world, before)
    world.ok("rm", "-f", name)


def _few_files() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))


def _held(world: World) -> dict[str, int]:
    """Count what the services of `world` hold, their children too: a zombie, which has no command line, is one."""
    services = []
    for pid in world.processes():
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            if b"-m\0pycontainer" in (command := file.read()) or b"import sys" in command:
                services.append(pid)
    held = {"services": len(services)}
    for kind in ("fd", "task"):
        held[kind] = sum(len(os.listdir(f"/proc/{pid}/{kind}")) for pid in services)
    held["children"] = sum(len(_children(pid)) for pid in services)
    return held


def _wait_until_held(world: World, before: dict[str, int]) -> None:
    """Wait until the services of `world` hold no more than `before`, which may have counted what was just going."""

    def more() -> list[str]:
        held = _held(world)
        return [f"{kind}: {held[kind]} instead of {count}" for kind, count in before.items() if held[kind] > count]

    poll_until(lambda: not more(), what=f"the services let go of {more()}")


def _children(pid: int) -> list[str]:
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return file.read().split()

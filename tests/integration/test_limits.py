"""Caps hold, are what was asked for, and hurt nobody else."""

import json
import os
import signal
import time
from collections.abc import Iterator

import pytest

from tests.integration.conftest import IMAGE
from tests.support.poll import SLOWNESS, poll_until
from tests.support.world import World, unique_name

pytestmark = pytest.mark.vm


def cgroup_files(world: World, name: str, *candidates: str) -> str:
    """Return what the first existing file of `candidates` holds in the container's cgroups, v1 or v2."""
    container_id = world.inspect(name)["id"]
    for directory, _, files in os.walk("/sys/fs/cgroup"):
        if world.paths.marker in directory and container_id in directory:
            for candidate in set(candidates).intersection(files):
                with open(f"{directory}/{candidate}") as file:
                    return file.read().strip()
    raise AssertionError(f"none of {candidates} in the cgroups of {name}")


def idle(world: World, *options: str, command: tuple[str, ...] = ("payload", "sleep", "0")) -> str:
    name = unique_name()
    world.ok("run", "-d", "--name", name, *options, IMAGE, *command)
    return name


def test_limits_are_in_the_kernel(world: World) -> None:
    name = idle(world, "-m", "96M", "--cpus", "0.5", "--pids-limit", "17", "--cpuset-cpus", "0")
    assert cgroup_files(world, name, "memory.max", "memory.limit_in_bytes") == str(96 << 20)
    assert cgroup_files(world, name, "pids.max") == "17"
    assert cgroup_files(world, name, "cpuset.cpus") == "0"
    quota = cgroup_files(world, name, "cpu.max", "cpu.cfs_quota_us").split()[0]
    assert quota == "50000"


def test_memory_cap_kills_inside_only(world: World) -> None:
    """RES-02, anonymous memory"""
    bystander = idle(world)
    name = idle(world, "-m", "32M", command=("payload", "allocate", "96"))
    world.wait_for_status(name, "stopped")
    record = world.inspect(name)
    assert (record["exit_code"], record["oom_killed"]) == (137, True)
    assert world.status(bystander) == "running"


def test_memory_below_the_cap_is_fine(world: World) -> None:
    assert world.ok("run", "--rm", "-m", "64M", IMAGE, "payload", "allocate", "40") == "allocated 40"


def test_tmpfs_counts_towards_the_memory_cap(world: World) -> None:
    """RES-02, tmpfs"""
    result = world.cli(
        "run",
        "--rm",
        "-m",
        "32M",
        "--tmpfs",
        "/fill:size=200m",
        IMAGE,
        "dd",
        "if=/dev/zero",
        "of=/fill/x",
        "bs=1M",
        "count=96",
    )
    assert result.exit_code != 0


def test_shm_size(world: World) -> None:
    assert " 2048 " in world.ok("run", "--rm", "--shm-size", "2M", IMAGE, "sh", "-c", "df -k /dev/shm | tail -1")


def test_pids_cap(world: World) -> None:
    """RES-01: forks beyond the cap are refused, the container is stopped all the same."""
    name = idle(world, "--pids-limit", "20", command=("payload", "fork", "60", "sleep", "0"))
    poll_until(lambda: "forked" in world.ok("logs", name))
    assert world.ok("logs", name) == "fork: EAGAIN\nforked 19"
    began = time.monotonic()
    world.ok("rm", "-f", name)
    assert time.monotonic() - began < 10 * SLOWNESS


def test_pids_cap_counts_every_user(world: World) -> None:
    """RES-01"""
    name = idle(world, "--pids-limit", "20", command=("payload", "fork", "10", "sleep", "0"))
    poll_until(lambda: "forked 10" in world.ok("logs", name))
    text = world.cli("exec", "-u", "1000", name, "payload", "fork", "60").stdout
    assert text.startswith("fork: EAGAIN")


@pytest.mark.measures
def test_cpu_cap_holds(world: World) -> None:
    name = idle(world, "--cpus", "0.25", command=("payload", "spin", "4"))
    world.wait_for_status(name, "stopped", timeout_seconds=30)
    # what it used is told by the program itself, which the cap slowed: compare with the accounting
    name = idle(world, "--cpus", "0.25", command=("payload", "spin", "60"))
    poll_until(lambda: _cpu_usec(world, name) > 0)
    first, began = _cpu_usec(world, name), time.monotonic()
    time.sleep(3)
    share = (_cpu_usec(world, name) - first) / 1e6 / (time.monotonic() - began)
    assert 0.20 < share < 0.28


def _cpu_usec(world: World, name: str) -> int:
    (row,) = json.loads(world.ok("stats", "--no-stream", "--format", "json", name))
    return int(row["cpu_usec"])


def test_impossible_cpuset_is_refused(world: World) -> None:
    result = world.cli("run", "--rm", "--cpuset-cpus", str(os.cpu_count()), IMAGE, "true")
    assert result.exit_code == 125
    assert f"CPU {os.cpu_count()} is not online" in result.stderr


@pytest.mark.parametrize("file", ["memory.max", "memory.limit_in_bytes", "pids.max", "cgroup.procs"])
def test_own_limits_cannot_be_written(world: World, file: str) -> None:
    """PS-04"""
    script = f"find /sys/fs/cgroup -name {file} | while read f; do echo 1 > $f && echo WROTE $f; done"
    result = world.cli("run", "--rm", "-m", "64M", IMAGE, "sh", "-c", script)
    assert "WROTE" not in result.stdout


def test_default_pids_cap_is_there(world: World) -> None:
    name = idle(world)
    assert cgroup_files(world, name, "pids.max") == "2048"


# -- changing them while it runs


def test_set_changes_the_kernel_and_the_record(world: World) -> None:
    name = idle(world, "-m", "96M", "--pids-limit", "17")
    world.ok("set", name, "--memory", "128M", "--cpus", "0.25", "--pids-limit", "unlimited", "--cpuset-cpus", "1")
    assert cgroup_files(world, name, "memory.max", "memory.limit_in_bytes") == str(128 << 20)
    assert cgroup_files(world, name, "pids.max") == "max"
    assert cgroup_files(world, name, "cpuset.cpus") == "1"
    assert cgroup_files(world, name, "cpu.max", "cpu.cfs_quota_us").split()[0] == "25000"
    world.ok("restart", "-t", "0", name)
    assert cgroup_files(world, name, "memory.max", "memory.limit_in_bytes") == str(128 << 20)
    world.ok("update", name, "--memory", "unlimited")
    assert world.inspect(name)["memory_bytes"] is None
    assert world.inspect(name)["limits"]["memory"]["limit"] is None


def test_what_was_given_is_taken_away(world: World) -> None:
    def shares(name: str) -> str:
        return cgroup_files(world, name, "cpu.weight", "cpu.shares")

    usual, name = shares(idle(world)), idle(world, "--cpu-weight", "300", "-m", "96M", "--memory-reservation", "64M")
    assert shares(name) != usual
    world.ok("set", name, "--cpu-weight", "default")
    assert shares(name) == usual
    refused = world.refused(2, "set", name, "-m", "32M")
    assert "memory_low: 64MiB is more than the 32MiB of memory" in refused
    world.ok("set", name, "-m", "32M", "--memory-reservation", "default")
    assert world.inspect(name)["limits"]["memory"]["limit"] == 32 << 20


def test_transient_changes_hold_whatever_else_is_set(world: World) -> None:
    def held(name: str) -> tuple[object, object]:
        limits = world.inspect(name)["limits"]
        return limits["memory"]["limit"], limits["pids"]["limit"]

    name = idle(world, "-m", "96M", "--pids-limit", "50")
    world.ok("set", name, "-m", "64M", "--transient")
    world.ok("set", name, "--pids-limit", "40", "--transient")
    assert held(name) == (64 << 20, 40)
    world.ok("set", name, "--pids-limit", "30")
    assert held(name) == (64 << 20, 30)
    world.ok("set", name, "-m", "80M")
    assert held(name) == (80 << 20, 30)
    world.ok("set", name, "-m", "64M", "--transient")
    refused = world.refused(2, "set", name, "--memory-reservation", "72M")
    assert "is more than the 64MiB of memory" in refused and "were set with --transient" in refused
    world.ok("restart", "-t", "0", name)
    assert held(name) == (80 << 20, 30)


def test_transient_change_is_over_with_the_run(world: World) -> None:
    name = idle(world, "-m", "96M")
    world.ok("set", name, "-m", "64M", "--transient")
    assert world.inspect(name)["limits"]["memory"]["limit"] == 64 << 20
    world.ok("restart", "-t", "0", name)
    assert world.inspect(name)["limits"]["memory"]["limit"] == 96 << 20
    world.ok("stop", "-t", "0", name)
    assert "does not run" in world.refused(5, "set", name, "-m", "64M", "--transient")
    world.ok("set", name, "-m", "64M")
    world.ok("start", name)
    assert world.inspect(name)["limits"]["memory"]["limit"] == 64 << 20


def test_cap_below_what_is_in_use_is_refused(world: World) -> None:
    name = idle(
        world, "-m", "96M", "--pids-limit", "17", command=("payload", "allocate", "40", "fork", "5", "sleep", "0")
    )
    poll_until(lambda: "forked 5" in world.ok("logs", name))
    message = world.refused(5, "set", name, "-m", "24M", "--pids-limit", "3")
    assert "memory: " in message
    assert "in use, more than 24MiB; pids: 6 processes and threads are there, more than 3" in message
    assert "--force" in message
    assert cgroup_files(world, name, "memory.max", "memory.limit_in_bytes") == str(96 << 20)
    world.ok("set", name, "--pids-limit", "3", "--force")
    assert cgroup_files(world, name, "pids.max") == "3"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "nothing to change"),
        (("--memory", "200Q"), "'200Q' is not a size"),
        (("--memory", "200Q", "--cpus", "much"), "'much' is not a number of CPUs"),
        (("--cpuset-cpus", "99"), "CPU 99 is not online"),
        (("--restart", "sometimes"), "sometimes"),
    ],
)
def test_set_with_bad_input(world: World, options: tuple[str, ...], words: str) -> None:
    name = idle(world, "-m", "96M")
    assert words in world.refused(2, "set", name, *options)
    assert world.inspect(name)["limits"]["memory"]["limit"] == 96 << 20


def test_limits_tell_what_failed(world: World) -> None:
    name, calm = idle(world, "--pids-limit", "3", command=("payload", "fork", "5", "sleep", "0")), idle(world)
    poll_until(lambda: "fork: EAGAIN" in world.ok("logs", name))

    def rows(*options: str) -> dict[tuple[str, str], dict[str, object]]:
        listed = json.loads(world.ok("limits", "--format", "json", *options))
        return {(row["name"], row["resource"]): row for row in listed}

    pids = rows()[name, "pids"]
    assert (pids["held"], pids["limit"], pids["unit"]) == (3, 3, "tasks")
    assert int(str(pids["fail_count"])) >= 1
    assert (name, "pids") in rows("-q")
    assert (calm, "pids") not in rows("-q")
    assert rows("-r")[name, "pids"]["fail_count"] == pids["fail_count"]
    assert rows("-r")[name, "pids"]["fail_count"] == 0
    (line,) = [line.split() for line in world.ok("limits", name).splitlines() if "pids" in line]
    assert line[:5] == [name, "pids", "3", line[3], "3"]


# -- weights and reservations


def test_soft_limits_are_in_the_kernel(world: World) -> None:
    name = idle(
        world,
        "-m",
        "96M",
        "--memory-swap",
        "128M",
        "--memory-reservation",
        "48M",
        "--cpus",
        "0.5",
        "--cpu-burst",
        "0.25",
        "--cpu-weight",
        "300",
    )
    assert cgroup_files(world, name, "memory.low", "memory.soft_limit_in_bytes") == str(48 << 20)
    assert cgroup_files(world, name, "memory.swap.max", "memory.memsw.limit_in_bytes") in (
        str(32 << 20),
        str(128 << 20),
    )
    assert cgroup_files(world, name, "cpu.max.burst", "cpu.cfs_burst_us") == "25000"
    assert cgroup_files(world, name, "cpu.weight", "cpu.shares") in ("300", "3072")
    world.ok("set", name, "--memory-reservation", "unlimited", "--cpu-weight", "50")
    assert cgroup_files(world, name, "memory.low", "memory.soft_limit_in_bytes") in ("0", "9223372036854771712")
    assert cgroup_files(world, name, "cpu.weight", "cpu.shares") in ("50", "512")


@pytest.mark.requires("cgroup_v1")
def test_v1_kills_nobody_for_a_lower_cap(world: World) -> None:
    name = idle(world, "-m", "96M", command=("payload", "allocate", "40", "sleep", "0"))
    poll_until(lambda: "allocated" in world.ok("logs", name))
    refused = world.refused(5, "set", name, "-m", "24M", "--pids-limit", "17", "--force")
    assert "cannot cap memory at 24MiB: more is in use, and cgroup v1 kills nobody for it" in refused
    limits = world.inspect(name)["limits"]
    assert (limits["memory"]["limit"], limits["pids"]["limit"]) == (96 << 20, 2048)
    assert world.inspect(name)["status"] == "running"


@pytest.mark.requires("cgroup_v1")
def test_limits_that_v1_does_not_have_are_refused(world: World) -> None:
    message = world.refused(125, "run", "--rm", "--memory-high", "32M", "--memory-min", "16M", IMAGE, "true")
    assert "memory_high: cgroup v1 has no such limit; memory_min: cgroup v1 has no such limit" in message


def cpu_usec_in(world: World, *names: str, seconds: float) -> dict[str, int]:
    """Return how much CPU time each of the containers uses while we wait."""

    def used() -> dict[str, int]:
        samples = json.loads(world.ok("stats", "--no-stream", "--format", "json", *names))
        return {sample["name"]: sample["cpu_usec"] for sample in samples}

    before = used()
    time.sleep(seconds)
    after = used()
    return {name: after[name] - before[name] for name in names}


@pytest.mark.measures
def test_weights_share_a_busy_cpu(world: World) -> None:
    """Two on one CPU, 300 against 100: three quarters and one quarter."""
    heavy = idle(world, "--cpuset-cpus", "0", "--cpu-weight", "300", command=("payload", "spin", "60"))
    light = idle(world, "--cpuset-cpus", "0", "--cpu-weight", "100", command=("payload", "spin", "60"))
    used = cpu_usec_in(world, heavy, light, seconds=4)
    assert 2.4 < used[heavy] / used[light] < 3.6


@pytest.mark.requires("cgroup_v2")
def test_any_file_of_v2_can_be_asked_for(world: World) -> None:
    """cpu.idle has no setting of its own: such a group gets what nobody else wants."""
    last = idle(
        world, "--cpuset-cpus", "0", "--cgroup-conf", "cpu.idle=1", "--cgroup-conf", "memory.swap.high=67108864",
        command=("payload", "spin", "60"),
    )  # fmt: skip
    assert cgroup_files(world, last, "cpu.idle") == "1"
    assert cgroup_files(world, last, "memory.swap.high") == str(64 << 20)
    first = idle(world, "--cpuset-cpus", "0", command=("payload", "spin", "60"))
    used = cpu_usec_in(world, first, last, seconds=4)
    assert used[last] < 0.05 * used[first]
    world.ok("set", last, "--cgroup-conf", "cpu.idle=0")
    assert cgroup_files(world, last, "cpu.idle") == "0"
    assert world.inspect(last)["spec"]["cgroup_conf"] == [["cpu.idle", "0"], ["memory.swap.high", str(64 << 20)]]
    refused = world.refused(6, "set", last, "--cgroup-conf", "memory.swap.high=5000")
    assert "cannot set memory.swap.high to '5000': the kernel holds '4096'" in refused
    assert cgroup_files(world, last, "memory.swap.high") == str(64 << 20)


@pytest.mark.requires("cgroup_v1")
def test_files_of_v2_are_refused_on_v1(world: World) -> None:
    message = world.refused(125, "run", "--rm", "--cgroup-conf", "cpu.idle=1", IMAGE, "true")
    assert "this host has cgroup hybrid; the files named are those of v2" in message


# -- disks


def seconds_to_write(world: World, name: str, mebibytes: int) -> float:
    """Return how long direct writes take inside."""
    began = time.monotonic()
    world.ok("exec", name, "dd", "if=/dev/zero", "of=/data", "bs=1M", f"count={mebibytes}", "oflag=direct")
    return time.monotonic() - began


@pytest.mark.measures
def test_disk_writes_are_held_at_the_cap(world: World) -> None:
    name = idle(world, "--io-write", "8M/s")
    asked = 8 << 20
    held_seconds = seconds_to_write(world, name, 24)
    reached = (24 << 20) / held_seconds
    assert reached < asked * 1.15
    assert reached > asked * 0.6
    free = idle(world)
    assert seconds_to_write(world, free, 24) < held_seconds * 0.8
    world.ok("set", name, "--io-write", "unlimited")
    assert seconds_to_write(world, name, 24) < held_seconds * 0.8


@pytest.mark.measures
def test_reads_and_operations_are_held(world: World) -> None:
    name = idle(world, "--io-read-ops", "50", "--io-write-ops", "50")
    began = time.monotonic()
    world.ok("exec", name, "dd", "if=/dev/zero", "of=/data", "bs=4k", "count=150", "oflag=direct")
    world.ok("exec", name, "dd", "if=/data", "of=/dev/null", "bs=4k", "count=150", "iflag=direct")
    assert 4 < time.monotonic() - began < 6 + 3 * SLOWNESS  # what comes on top are two commands
    limits = world.inspect(name)["limits"]
    assert (limits["io_read_ops"]["limit"], limits["io_write"]["limit"]) == (50, None)


@pytest.mark.requires("cgroup_v1")
def test_v1_says_that_buffered_writes_are_not_held(world: World) -> None:
    name = idle(world, "--io-write", "8M/s")
    assert "page cache" in world.inspect(name)["warnings"][0]


@pytest.fixture
def huge_pages() -> Iterator[None]:
    """Eight huge pages of 2 MiB for everybody on this machine."""
    path = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"
    with open(path) as file:
        before = file.read()
    with open(path, "w") as file:
        file.write("8")
    yield
    with open(path, "w") as file:
        file.write(before)


@pytest.mark.requires("hugetlb")
def test_huge_pages(world: World, huge_pages: None) -> None:
    held = idle(world, "--hugetlb", "2M=4M", command=("payload", "huge", "2", "sleep", "0"))
    poll_until(lambda: world.inspect(held)["limits"]["hugetlb"]["held"] == 4 << 20, what="both pages are touched")
    beyond = world.cli("run", "--rm", "--hugetlb", "2M=4M", IMAGE, "payload", "huge", "3")
    assert beyond.exit_code == 128 + signal.SIGBUS
    assert world.ok("run", "--rm", "--hugetlb", "2M=6M", IMAGE, "payload", "huge", "3") == "huge: 3"  # a neighbour
    assert "hugetlb" in world.refused(5, "set", held, "--hugetlb", "2M=2M")
    world.ok("set", held, "--hugetlb", "2M=8M")
    assert world.inspect(held)["limits"]["hugetlb"]["limit"] == 8 << 20


def test_huge_pages_that_are_not_there(world: World) -> None:
    assert "hugetlb" in world.refused(125, "run", "--hugetlb", "512K=1M", IMAGE, "true")


def test_memory_nodes(world: World) -> None:
    name = idle(world, "--cpuset-mems", "0")
    assert cgroup_files(world, name, "cpuset.mems") == "0"
    assert "memory node 1000 is not online here" in world.refused(125, "run", "--cpuset-mems", "1000", IMAGE, "true")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--memory", "1024T"), "memory: 1PiB asked, but this host has"),
        (("--disk", "1024T"), "disk: 1PiB asked, but the file system of"),
        (("--cpus", "8000"), "cpus: 8000 asked, but this host has"),
        (("--init", "--pids", "1"), "pids: 1 asked, but the start itself needs 2: the init and the command"),
    ],
)
def test_more_than_there_is_and_less_than_a_start_needs(world: World, options: tuple[str, ...], reason: str) -> None:
    assert reason in world.refused(125, "run", *options, IMAGE, "true")
    assert world.ok("ps", "-aq", "--filter", "status=created") == ""


def open_files_limit(pid: int) -> str:
    """Return "soft hard" of a process; prlimit(2) would need more rights than every host has."""
    with open(f"/proc/{pid}/limits") as file:
        return " ".join(next(line for line in file if line.startswith("Max open files")).split()[3:5])


def test_ulimits_change_for_all_that_runs(world: World) -> None:
    name = idle(
        world, "--ulimit", "nofile=100:200", "--ulimit", "core=0", command=("payload", "fork", "3", "sleep", "0")
    )
    poll_until(lambda: len(world.ok("top", name).splitlines()) == 5, what="the children are there")
    world.ok("set", name, "--ulimit", "nofile=50:150")
    pids = [int(line.split()[0]) for line in world.ok("top", name).splitlines()[1:]]
    assert {open_files_limit(pid) for pid in pids} == {"50 150"}
    assert world.ok("exec", name, "sh", "-c", "ulimit -n; ulimit -Hn; ulimit -c") == "50\n150\n0"
    assert world.inspect(name)["spec"]["ulimits"] == [
        {"name": "nofile", "soft": 50, "hard": 150},
        {"name": "core", "soft": 0, "hard": 0},
    ]


def test_best_effort_starts_and_ps_and_inspect_tell(world: World) -> None:
    asked = ("--disk-inodes", "100", IMAGE, "payload", "sleep", "0")  # alone, a disk image cannot
    assert "cannot cap inodes alone" in world.refused(125, "run", "-d", *asked)
    started = world.cli("run", "-d", "--name", "best", "--best-effort", *asked)
    words = "disk is not limited as asked: cannot cap inodes alone with a disk image"
    assert started.exit_code == 0
    assert f"pycontainer: warning: {words}" in started.stderr
    assert world.inspect("best")["warnings"] == [words]
    (line,) = [line for line in world.ok("ps").splitlines() if "best" in line]
    assert ", 1 warning" in line


def test_best_effort_holds_the_rest(world: World) -> None:
    asked = ("--hugetlb", "512K=1M", "--memory", "64M", IMAGE, "payload", "sleep", "0")  # no page is of this size
    assert "hugetlb: " in world.refused(125, "run", "-d", *asked)
    world.ok("run", "-d", "--name", "rest", "--best-effort", *asked)
    info = world.inspect("rest")
    assert info["limits"]["memory"]["limit"] == 64 << 20
    (warning,) = info["warnings"]
    assert warning.startswith("hugetlb is not limited as asked: ")


@pytest.mark.requires("cgroup_v1")
def test_best_effort_on_v1_leaves_out_what_v2_alone_has(world: World) -> None:
    asked = ("--memory", "64M", "--memory-high", "32M", IMAGE, "payload", "sleep", "0")
    assert "memory_high: cgroup v1 has no such limit" in world.refused(125, "run", "-d", *asked)
    world.ok("run", "-d", "--name", "old", "--best-effort", *asked)
    info = world.inspect("old")
    assert info["limits"]["memory"]["limit"] == 64 << 20
    assert info["warnings"] == ["memory is not limited as asked: cannot hold memory_high: cgroup v1 has no such limit"]

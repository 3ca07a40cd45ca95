"""Cgroups of OCI containers on the running kernel, whichever hierarchies it has: what is set is read back from its files."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pycontainer.cgroup.base import own_cgroups, read_file, remove_tree, write_file
from pycontainer.errors import InvalidInput, InvalidState, NotPermitted, Unsupported
from pycontainer.oci.cgroups import Entrance, Group, make
from pycontainer.oci.stats import UNLIMITED
from tests.support.devices import make_nodes, opened_in
from tests.support.poll import poll_until

pytestmark = pytest.mark.vm

MIB = 1 << 20
PARENT = f"/pycontainer-oci-t{os.getpid()}"
IS_V2 = os.path.exists("/sys/fs/cgroup/cgroup.controllers")
HOG = "import sys; held = bytearray(b'x' * (int(sys.argv[1]) << 20)); print('held', flush=True); sys.stdin.read()"


def ours() -> list[str]:
    """Return all directories beneath a parent of ours, in all hierarchies."""
    return [f"{at}/{name}" for at, names, _ in os.walk("/sys/fs/cgroup") for name in names if PARENT in f"{at}/{name}"]


@pytest.fixture
def group() -> Iterator[Group]:
    """One that is made, and of which nothing may be left."""
    made = make(f"{PARENT}/c1", "c1", resources={})
    made.create()
    yield made
    made.kill()
    made.delete()
    assert ours() == []


Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a command; it is killed in the end."""
    processes: list[subprocess.Popen[str]] = []

    def popen(*command: str) -> subprocess.Popen[str]:
        processes.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        return processes[-1]

    yield popen
    for process in processes:
        process.kill()
        process.communicate()


def directory_of(group: Group, controller: str) -> str:
    return group.paths()[controller]


def held(group: Group, controller: str, file: str) -> str:
    return read_file(f"{directory_of(group, controller)}/{file}").strip()


def test_made_joined_killed_and_removed_with_what_is_nested(group: Group, start: Start) -> None:
    direct, nested = start("sleep", "1000"), start("sleep", "1000")
    group.attach(direct.pid)
    assert all(path.endswith(f"{PARENT}/c1") for path in own_cgroups(direct.pid).values() if "process_api" not in path)
    inner = f"{directory_of(group, 'pids' if IS_V2 else 'freezer')}/inner/deep"
    os.makedirs(inner)
    write_file(f"{inner}/cgroup.procs", str(nested.pid))
    again = Group.reopen(json.loads(json.dumps(group.record())))
    assert sorted(again.pids()) == sorted([direct.pid, nested.pid])
    with pytest.raises(InvalidState, match="cannot remove the cgroup of container 'c1': processes .* live in it"):
        again.delete(timeout_seconds=0.05)
    again.kill()
    assert (direct.wait(), nested.wait()) == (-signal.SIGKILL, -signal.SIGKILL)
    again.delete()
    assert ours() == []
    again.delete()
    again.kill()
    assert (again.pids(), again.is_frozen(), again.exists(), again.oom_kills()) == ([], False, False, 0)


def test_all_hierarchies_of_the_host_are_joined(group: Group, start: Start) -> None:
    """An engine looks for a container by /proc/PID/cgroup, also where no limit was set."""
    process = start("sleep", "1000")
    group.attach(process.pid)
    for hierarchy, path in own_cgroups(process.pid).items():
        if hierarchy in group.paths():
            assert path.endswith(f"{PARENT}/c1"), hierarchy


def test_frozen_and_thawed(group: Group, start: Start) -> None:
    process = start("sh", "-c", "while :; do echo x; done")
    group.attach(process.pid)
    assert process.stdout is not None and process.stdout.readline() == "x\n"
    assert not group.is_frozen()
    group.freeze()
    assert group.is_frozen()
    group.freeze()
    used = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]
    for _ in range(50):  # whoever runs would get its turn
        time.sleep(0.001)
    assert Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13] == used
    group.thaw()
    group.thaw()
    assert not group.is_frozen()
    group.freeze()
    group.kill()
    assert process.wait() == -signal.SIGKILL


BOTH: dict[str, Any] = {
    "cpu": {"shares": 512, "quota": 50000, "period": 200000, "burst": 10000, "cpus": "0", "mems": "0"},
    "memory": {"limit": 64 * MIB, "reservation": 32 * MIB},
    "pids": {"limit": 17},
}


@pytest.mark.requires("cgroup_v1")
def test_limits_are_held_v1(group: Group) -> None:
    wanted = BOTH | {
        "memory": {
            "limit": 64 * MIB,
            "swap": 96 * MIB,
            "reservation": 32 * MIB,
            "swappiness": 10,
            "disableOOMKiller": True,
            "useHierarchy": True,
        }
    }
    group.apply(wanted)
    files = {
        ("cpu", "cpu.shares"): "512",
        ("cpu", "cpu.cfs_quota_us"): "50000",
        ("cpu", "cpu.cfs_period_us"): "200000",
        ("cpu", "cpu.cfs_burst_us"): "10000",
        ("cpuset", "cpuset.cpus"): "0",
        ("cpuset", "cpuset.mems"): "0",
        ("memory", "memory.limit_in_bytes"): str(64 * MIB),
        ("memory", "memory.memsw.limit_in_bytes"): str(96 * MIB),
        ("memory", "memory.soft_limit_in_bytes"): str(32 * MIB),
        ("memory", "memory.swappiness"): "10",
        ("pids", "pids.max"): "17",
    }
    assert {at: held(group, *at) for at in files} == files
    assert "oom_kill_disable 1" in held(group, "memory", "memory.oom_control")
    group.update({"cpu": {"idle": 1}})
    assert held(group, "cpu", "cpu.idle") == "1"
    group.update({"memory": {"limit": 128 * MIB, "swap": 256 * MIB}})  # larger than the old limit of both
    group.update({"memory": {"limit": 16 * MIB, "swap": 16 * MIB}})
    assert held(group, "memory", "memory.memsw.limit_in_bytes") == str(16 * MIB)
    group.update({"memory": {"limit": -1}, "cpu": {"quota": -1}, "pids": {"limit": -1}})
    assert int(held(group, "memory", "memory.memsw.limit_in_bytes")) > 1 << 60
    assert int(held(group, "memory", "memory.limit_in_bytes")) > 1 << 60
    assert held(group, "cpu", "cpu.cfs_quota_us") == "-1"
    assert held(group, "pids", "pids.max") == "max"


@pytest.mark.requires("cgroup_v2")
def test_limits_are_held_v2(group: Group) -> None:
    wanted = BOTH | {
        "memory": {"limit": 64 * MIB, "swap": 96 * MIB, "reservation": 32 * MIB, "disableOOMKiller": False},
        "hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MIB}],
        "unified": {"memory.high": str(60 * MIB), "memory.oom.group": "1", "cgroup.max.depth": "3"},
    }
    group.apply(wanted)
    files = {
        "cpu.weight": "20",
        "cpu.max": "50000 200000",
        "cpu.max.burst": "10000",
        "cpuset.cpus": "0",
        "cpuset.mems": "0",
        "memory.max": str(64 * MIB),
        "memory.swap.max": str(32 * MIB),
        "memory.low": str(32 * MIB),
        "memory.high": str(60 * MIB),
        "memory.oom.group": "1",
        "pids.max": "17",
        "hugetlb.2MB.max": str(4 * MIB),
        "hugetlb.2MB.rsvd.max": str(4 * MIB),
        "cgroup.max.depth": "3",
    }
    assert {file: held(group, "cpu", file) for file in files} == files
    group.update({"cpu": {"quota": -1, "idle": 1}, "memory": {"limit": -1}, "pids": {"limit": -1}})
    after = {"cpu.max": "max 200000", "cpu.idle": "1", "memory.max": "max", "memory.swap.max": "max", "pids.max": "max"}
    assert {file: held(group, "cpu", file) for file in after} == after
    group.update({"memory": {"limit": 32 * MIB}})
    group.update({"memory": {"swap": 40 * MIB}})
    assert held(group, "memory", "memory.swap.max") == str(8 * MIB)


def block_device() -> str:
    """Return the number of a whole disk with a queue, which is what the kernel throttles."""
    for name in sorted(os.listdir("/sys/block")):
        if not name.startswith(("loop", "ram", "zram")):
            return Path(f"/sys/block/{name}/dev").read_text().strip()
    for name in sorted(os.listdir("/sys/block")):
        return Path(f"/sys/block/{name}/dev").read_text().strip()
    return ""


def test_disks_are_throttled(group: Group) -> None:
    number = block_device()
    if not number:
        pytest.skip("no block device")
    major, minor = map(int, number.split(":"))
    entries = [{"major": major, "minor": minor, "rate": MIB}]
    wanted = {"blockIO": {"throttleReadBpsDevice": entries, "throttleWriteIOPSDevice": entries}}
    group.apply(wanted)
    if IS_V2:
        assert held(group, "io", "io.max") == f"{number} rbps={MIB} wbps=max riops=max wiops={MIB}"
    else:
        assert held(group, "blkio", "blkio.throttle.read_bps_device") == f"{number} {MIB}"
        assert held(group, "blkio", "blkio.throttle.write_iops_device") == f"{number} {MIB}"
    group.update({"blockIO": {"throttleReadBpsDevice": [{"major": major, "minor": minor, "rate": 0}]}})
    read = held(group, "io", "io.max") if IS_V2 else held(group, "blkio", "blkio.throttle.read_bps_device")
    assert read == (f"{number} rbps=max wbps=max riops=max wiops={MIB}" if IS_V2 else "")


def test_a_refused_update_changes_nothing(group: Group) -> None:
    group.apply(BOTH)
    files = (
        [
            ("cpu", "cpu.weight"),
            ("cpu", "cpu.max"),
            ("cpuset", "cpuset.cpus"),
            ("memory", "memory.max"),
            ("pids", "pids.max"),
        ]
        if IS_V2
        else [
            ("cpu", "cpu.shares"),
            ("cpu", "cpu.cfs_quota_us"),
            ("cpuset", "cpuset.cpus"),
            ("memory", "memory.limit_in_bytes"),
            ("pids", "pids.max"),
        ]
    )
    before = [held(group, *at) for at in files]
    changed: dict[str, Any] = {
        "cpu": {"shares": 2, "quota": 40000, "cpus": "0"},
        "memory": {"limit": 100 * MIB},
        "pids": {"limit": 1 << 40},
    }
    with pytest.raises(InvalidInput) as caught:
        group.update(changed, "resources")
    assert (
        caught.value.message
        == "resources.pids.limit: the kernel refuses '1099511627776' for pids.max: Invalid argument"
    )
    assert [held(group, *at) for at in files] == before
    with pytest.raises(InvalidInput, match=r"linux\.resources\.cpu\.cpus: the kernel refuses '4000' for cpuset\.cpus"):
        group.update({"cpu": {"shares": 2, "cpus": "4000"}})
    assert [held(group, *at) for at in files] == before


def test_a_limit_below_what_is_in_use(group: Group, start: Start) -> None:
    process = start(sys.executable, "-c", HOG, "0")
    group.update({"memory": {"limit": 256 * MIB, "swap": 256 * MIB}})
    group.attach(process.pid)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    hog = start("sh", "-c", f'read go; exec {sys.executable} -c "{HOG}" 64')
    group.attach(hog.pid)
    assert hog.stdin is not None and hog.stdout is not None
    hog.stdin.write("go\n")
    hog.stdin.flush()
    assert hog.stdout.readline() == "held\n"
    with pytest.raises(InvalidState, match=r"memory\.limit: 4194304 is below the \d+ bytes that are in use"):
        group.update({"memory": {"limit": 4 * MIB, "checkBeforeUpdate": True}})
    assert hog.poll() is None
    assert held(group, "memory", "memory.max" if IS_V2 else "memory.limit_in_bytes") == str(256 * MIB)


def test_memory_runs_out_and_that_is_counted(group: Group, start: Start) -> None:
    group.apply({"memory": {"limit": 32 * MIB, "swap": 32 * MIB}})
    hog = start("sh", "-c", f'read go; exec {sys.executable} -c "{HOG}" 64')
    group.attach(hog.pid)
    assert group.oom_kills() == 0
    hog.communicate("go\n")
    assert hog.returncode == -signal.SIGKILL
    assert group.oom_kills() == 1
    assert group.stats()["memory"]["event_count"]["oom_kill"] == 1


NODES = [("c", 1, 3), ("c", 1, 11), ("c", 1, 7), ("c", 10, 200), ("b", 7, 1000)]


def opened(group: Group, directory: str) -> dict[str, str]:
    """Return node -> `ok` or the error's name, of opening for reading in the container's cgroup."""
    made = make_nodes(directory, NODES)
    answers = opened_in(directory_of(group, "devices" if not IS_V2 else "cpu"), [(path, os.O_RDONLY) for path in made])
    return {
        f"{kind} {major}:{minor}": answer for (kind, major, minor), answer in zip(made.values(), answers, strict=True)
    }


def test_devices(group: Group, tmp_path: Path) -> None:
    """Nothing but the defaults; then what the list adds, and all again."""

    def node_directory(name: str) -> str:
        (tmp_path / name).mkdir()
        return str(tmp_path / name)

    group.apply({"devices": [{"allow": False, "access": "rwm"}]})
    found = opened(group, node_directory("a"))
    assert found["c 1:3"] == found["c 1:7"] == "ok"
    assert found["c 1:11"] == found["c 10:200"] == found["b 7:1000"] == "EPERM"
    group.update({"devices": [{"allow": True, "type": "c", "major": 1, "minor": 11, "access": "r"}]})
    found = opened(group, node_directory("b"))
    assert (found["c 1:11"], found["c 10:200"]) == ("ok", "EPERM")
    group.update({"pids": {"limit": 5}})
    assert opened(group, node_directory("c")) == found
    group.update(
        {"devices": [{"allow": True, "access": "rwm"}, {"allow": False, "type": "c", "major": 10, "access": "rw"}]}
    )
    found = opened(group, node_directory("d"))
    assert (found["c 1:11"], found["c 10:200"]) == ("ok", "EPERM")
    assert found["b 7:1000"] in ("ok", "ENXIO")


def test_a_part_that_is_refused_again(group: Group, tmp_path: Path) -> None:
    """v2 holds the list in its order. v1 cannot, and would take the line and not hold it."""
    wanted = {
        "devices": [
            {"allow": True, "type": "c", "major": 1, "access": "rw"},
            {"allow": False, "type": "c", "major": 1, "minor": 11, "access": "r"},
        ]
    }
    if not IS_V2:
        with pytest.raises(Unsupported, match="cgroup v1 cannot refuse 'c 1:11 r' as a part of 'c 1:. rw'"):
            group.apply(wanted)
        return
    group.apply(wanted)
    found = opened(group, str(tmp_path))
    assert (found["c 1:3"], found["c 1:11"]) == ("ok", "EPERM")


def test_a_cgroup_in_use_is_nobody_elses(group: Group, start: Start) -> None:
    """Two with one path would die together."""
    process = start("sleep", "1000")
    group.attach(process.pid)
    other = make(f"{PARENT}/c1", "c2")
    with pytest.raises(InvalidState, match=f"for container 'c2' is in use by processes {process.pid}"):
        other.create()
    assert group.pids() == [process.pid]
    assert group.exists()


@pytest.mark.requires("cgroup_v1")
def test_in_use_in_one_hierarchy_alone(start: Start) -> None:
    """As a host does that puts its services into cgroups of memory and nothing else."""
    process = start("sleep", "1000")
    taken = f"/sys/fs/cgroup/memory{PARENT}"
    os.makedirs(f"{taken}/c1/inner")
    write_file(f"{taken}/c1/inner/cgroup.procs", str(process.pid))
    try:
        with pytest.raises(InvalidState, match=f"'{taken}/c1' for container 'c1' is in use by processes {process.pid}"):
            make(f"{PARENT}/c1", "c1").create()
        assert ours() == sorted([taken, f"{taken}/c1", f"{taken}/c1/inner"])
    finally:
        process.kill()
        process.wait()
        remove_tree(taken, 2)


def test_a_frozen_cgroup_is_not_taken(group: Group) -> None:
    if IS_V2:
        write_file(f"{directory_of(group, 'cpu')}/cgroup.freeze", "1")
    else:
        write_file(f"{directory_of(group, 'freezer')}/freezer.state", "FROZEN")
    poll_until(group.is_frozen)
    with pytest.raises(InvalidState, match="for container 'c2' is frozen"):
        make(f"{PARENT}/c1", "c2").create()
    group.thaw()
    again = make(f"{PARENT}/c1", "c2")
    again.create()  # empty and thawed: a container that ended badly may have left it
    again.delete()


def test_many_at_once_below_one_parent_that_comes_and_goes() -> None:
    failed: list[BaseException] = []

    def cycle(number: int) -> None:
        try:
            for _ in range(20):
                group = make(f"{PARENT}/pods/c{number}", f"c{number}")
                group.create()
                assert group.exists()
                group.delete()
        except BaseException as error:  # an assertion in a thread is lost otherwise
            failed.append(error)

    threads = [threading.Thread(target=cycle, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    left = sorted(ours(), reverse=True)
    for directory in left:
        remove_tree(directory, 1)
    assert failed == []
    # A parent belongs to who made it: if that one goes first, the last one leaves it, as runc always does.
    assert {os.path.basename(directory) for directory in left} <= {"pods", PARENT.strip("/")}


def test_a_failed_create_leaves_nothing() -> None:
    broken = make(f"{PARENT}/a/b/{'x' * 200}/cgroup.procs", "c1")
    with pytest.raises(InvalidInput, match=r"cgroup\.procs' is a file of the kernel"):
        broken.create()
    assert ours() == []


def test_where_the_mount_inside_comes_from(group: Group) -> None:
    sources = group.mount_sources()
    assert sources
    for name, directory in sources:
        assert directory.endswith(f"{PARENT}/c1")
        assert os.path.isdir(directory)
        assert os.path.isdir(f"/sys/fs/cgroup/{name}")
    if IS_V2:
        assert [name for name, _ in sources] == [""]
    else:
        assert {"memory", "pids", "freezer"} <= {name for name, _ in sources}


def test_relative_paths_begin_at_our_own_cgroup() -> None:
    own = own_cgroups("self")
    group = make("", f"pycontainer-oci-t{os.getpid()}")
    for hierarchy, directory in group.paths().items():
        above = own.get("" if IS_V2 else hierarchy, "/")
        above = os.path.dirname(above) if IS_V2 else above
        assert directory.endswith(f"{above.rstrip('/')}{PARENT}")
    group.create()
    assert group.exists()
    group.delete()
    assert ours() == []


def test_statistics(group: Group, start: Start) -> None:
    group.apply({"memory": {"limit": 64 * MIB}, "pids": {"limit": 50}})
    process = start("sh", "-c", f'read go; exec {sys.executable} -c "{HOG}" 8')
    group.attach(process.pid)
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    assert process.stdout.readline() == "held\n"
    found = group.stats()
    assert found["pids"] == {"current": 1, "limit": 50}
    assert found["memory"]["usage"]["limit"] == 64 * MIB
    assert 8 * MIB <= found["memory"]["usage"]["usage"] <= 64 * MIB
    assert found["memory"]["swap"]["limit"] in (UNLIMITED, (1 << 63) - os.sysconf("SC_PAGE_SIZE"), 0)
    usage = found["cpu"]["usage"]
    assert 0 < usage["total"] < 60 * 10**9
    assert usage["kernel"] + usage["user"] <= usage["total"] + 2 * 10**7  # v1 tells the two in ticks
    assert found["memory"]["raw"]
    assert set(found) == {"cpu", "cpuset", "memory", "pids", "blkio", "hugetlb", "intel_rdt", "network_interfaces"}
    if os.path.exists("/sys/fs/cgroup/cgroup.pressure") or (IS_V2 and os.path.exists("/proc/pressure/cpu")):
        assert found["cpu"]["psi"]["some"]["total"] >= 0
        assert found["memory"]["psi"]["full"]["avg10"] >= 0


def as_nobody(work: Callable[[], str]) -> str:
    """Return what `work` does as a user without rights, or its error as `Class: message`."""
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            try:
                answer = work()
            except Exception as error:
                answer = f"{type(error).__name__}: {error}"
            os.write(write_fd, answer.encode())
        finally:
            os._exit(0)
    os.close(write_fd)
    with open(read_fd) as file:
        answer = file.read()
    os.waitpid(pid, 0)
    return answer


def test_a_user_without_rights() -> None:
    """Nothing is asked for, and nothing comes; what was asked for is refused."""

    def optional() -> str:
        group = make("", "c1", rootless=True)
        group.create()
        group.apply({"devices": [{"allow": False, "access": "rwm"}]})
        return json.dumps(group.record())

    def limited() -> str:
        group = make("", "c1", rootless=True)
        group.create()
        group.apply({"pids": {"limit": 5}})
        return "no error"

    def asked() -> str:
        make(f"{PARENT}/c1", "c1", rootless=True).create()
        return "no error"

    assert json.loads(as_nobody(optional)) == {"driver": "cgroupfs", "container_id": "c1"}
    assert as_nobody(limited).startswith(
        f"{NotPermitted.__name__}: config.json: linux.resources.pids.limit: the container has no"
    )
    assert "Permission denied" in as_nobody(asked)
    assert ours() == []


def born_at(entrance: Entrance) -> str:
    return os.readlink(f"/proc/self/fd/{entrance.born_fd}") if entrance.born_fd >= 0 else ""


@pytest.mark.requires("cgroup_v2")
def test_a_process_is_born_inside(group: Group) -> None:
    entrance = group.entrance(lambda fd: fd)
    assert (born_at(entrance), entrance.doors) == (directory_of(group, "cpu"), ())
    entrance.close()
    unborn = group.entrance(lambda fd: fd, is_born=False)
    assert (unborn.born_fd, unborn.doors) == (-1, ())


@pytest.mark.requires("cgroup_v1")
def test_on_v1_a_process_moves_itself_and_is_born_in_the_tree_beside_it(group: Group, start: Start) -> None:
    entrance = group.entrance(lambda fd: fd)
    paths = group.paths()
    assert born_at(entrance) == paths.get("", "")
    doors = {os.readlink(f"/proc/self/fd/{fd}") for fd in entrance.doors}
    assert doors == {f"{directory}/tasks" for name, directory in paths.items() if name}
    moving, waiting = start("sleep", "1000"), start("sleep", "1000")
    if "" in paths:
        write_file(f"{paths['']}/cgroup.procs", str(moving.pid))
    for path in doors:
        write_file(path, str(moving.pid))
    group.see_in(moving.pid, entrance)
    began = time.monotonic()
    group.see_in(waiting.pid, entrance)  # one that did not go, or could not
    assert time.monotonic() - began >= 0.005
    entrance.close()
    for process in (moving, waiting):
        assert all(directory.endswith(own_cgroups(process.pid)[name]) for name, directory in paths.items())


@pytest.mark.requires("cgroup_v1")
def test_a_kernel_that_bears_nobody_there_is_no_failure_where_a_child_can_be_moved(group: Group) -> None:
    entrance = group.entrance(lambda fd: fd)
    asked = []

    def clone(fd: int) -> tuple[int, int]:
        asked.append(fd)
        if fd >= 0:
            raise OSError(errno.EINVAL, "clone3")
        return 1, 2

    had = entrance.born_fd
    assert entrance.bear(clone) == (1, 2)
    assert asked == ([had, -1] if had >= 0 else [-1])
    entrance.close()


@pytest.mark.requires("cgroup_v2")
def test_a_process_joins_beside_an_init_that_moved_down(group: Group, start: Start) -> None:
    """As systemd in a container: with controllers passed on, the kernel takes no process at the top."""
    init, joining = start("sleep", "1000"), start("sleep", "1000")
    top = directory_of(group, "cpu")
    os.mkdir(f"{top}/init.scope")
    write_file(f"{top}/init.scope/cgroup.procs", str(init.pid))
    write_file(f"{top}/cgroup.subtree_control", "+pids")
    with pytest.raises(InvalidState, match="a cgroup of v2 has processes, or cgroups with controllers|cannot move"):
        group.attach(joining.pid)
    group.attach(joining.pid, beside=init.pid)
    assert own_cgroups(joining.pid)[""].endswith(f"{PARENT}/c1/init.scope")
    entrance = group.entrance(lambda fd: fd, beside=init.pid)
    assert born_at(entrance) == f"{top}/init.scope"
    entrance.close()


@pytest.mark.requires("cgroup_v2")
def test_controllers_reach_a_nested_path() -> None:
    group = make(f"{PARENT}/a/b/c1", "c1")
    group.create()
    try:
        controllers = set(held(group, "cpu", "cgroup.controllers").split())
        assert controllers == set(read_file("/sys/fs/cgroup/cgroup.controllers").split()) & set(group.paths())
        with pytest.raises(Unsupported, match=r"unified\.cpu\.nonsense: this kernel has no cpu\.nonsense"):
            group.apply({"unified": {"cpu.nonsense": "1"}})
    finally:
        group.delete()
    assert ours() == []


@pytest.mark.requires("cgroup_v2")
def test_a_cgroup_with_processes_above_passes_nothing_on(start: Start) -> None:
    """Which controller is missing is told, not that a file is."""
    process = start("sleep", "1000")
    os.mkdir(f"/sys/fs/cgroup{PARENT}")
    write_file(f"/sys/fs/cgroup{PARENT}/cgroup.procs", str(process.pid))
    group = make(f"{PARENT}/c1", "c1")
    try:
        group.create()
        with pytest.raises(Unsupported, match=r"pids\.limit: the cgroup above does not pass the controller 'pids' on"):
            group.apply({"pids": {"limit": 5}})
        group.attach(process.pid)  # which a cgroup below a root of threads would not take
        assert group.pids() == [process.pid]
    finally:
        process.kill()
        process.wait()
        group.delete()
        remove_tree(f"/sys/fs/cgroup{PARENT}", 2)


@pytest.mark.requires("cgroup_v1")
def test_what_v1_of_this_host_lacks(group: Group) -> None:
    with pytest.raises(Unsupported, match=r"unified\.memory\.high: this host has cgroup v1"):
        group.apply({"unified": {"memory.high": "1"}})
    if "net_cls" not in group.paths():
        with pytest.raises(Unsupported, match=r"network\.classID: this host has no cgroup controller 'net_cls'"):
            group.apply({"network": {"classID": 1}})


def test_a_thread_of_errors_has_the_place(group: Group) -> None:
    """The errno of the kernel is in the words of the field, and its cause is kept."""
    with pytest.raises(InvalidInput) as caught:
        group.apply({"cpu": {"quota": 1}})
    assert "linux.resources.cpu.quota: the kernel refuses" in caught.value.message
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.EINVAL

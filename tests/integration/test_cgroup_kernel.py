"""Cgroups and controllers on the running kernel, whichever hierarchies it has: every cap must really hold.

The payloads are forked children that wait until they are inside. No world is needed, and none is made.
"""

import errno
import fcntl
import os
import signal
import struct
import time
from collections.abc import Callable, Iterator

import pytest

from pycontainer.cgroup.base import read_file, remove_tree, write_file
from pycontainer.cgroup.detect import Layout, detect
from pycontainer.cgroup.hierarchy import Hierarchy
from pycontainer.controllers import registry
from pycontainer.controllers.cpu import CpuController, used_usec
from pycontainer.controllers.memory import MemoryController
from pycontainer.controllers.pids import PidsController
from pycontainer.controllers.protocol import Instance, read_host
from pycontainer.controllers.stats import stats
from pycontainer.linux.libc import syscall
from pycontainer.spec.model import ContainerSpec
from tests.support.poll import poll_until

pytestmark = pytest.mark.vm

MB = 1024 * 1024
CPUS = sorted(os.sched_getaffinity(0))


def our_directories(layout: Layout, name: str) -> list[str]:
    return sorted(f"{base}/{name}" for base in set(layout.controllers.values()) if os.path.isdir(f"{base}/{name}"))


@pytest.fixture
def hierarchy() -> Iterator[Hierarchy]:
    """A parent of our own; nothing of it may be left afterwards."""
    name = f"pycontainer-t{os.getpid()}"
    hierarchy = Hierarchy(detect(), name)
    yield hierarchy
    for container_id, tenant in hierarchy.containers():
        hierarchy.open(container_id, tenant).kill()
        hierarchy.open(container_id, tenant).delete()
    assert hierarchy.remove_parent() is True
    assert our_directories(hierarchy.layout, name) == []


class Child:
    """A forked process that runs `work` once it is let go; killed and reaped at the end."""

    def __init__(self, work: Callable[[], int | None]) -> None:
        gate_read_fd, self._gate_fd = os.pipe()
        self.out_fd, out_write_fd = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            code = 99
            try:
                os.close(self._gate_fd)
                os.read(gate_read_fd, 1)
                os.dup2(out_write_fd, 1)
                code = work() or 0
            finally:
                os._exit(code)
        os.close(gate_read_fd)
        os.close(out_write_fd)
        self.wait_status: int | None = None

    def go(self) -> "Child":
        os.write(self._gate_fd, b"x")
        return self

    def wait(self) -> int:
        """Return the exit code, negative for a signal."""
        if self.wait_status is None:
            self.wait_status = os.waitpid(self.pid, 0)[1]
        return os.waitstatus_to_exitcode(self.wait_status)

    def output(self) -> str:
        """Return all it wrote until it, and all that it forked, ended."""
        with open(self.out_fd, closefd=False) as file:
            return file.read()

    def close(self) -> None:
        if self.wait_status is None:
            os.kill(self.pid, signal.SIGKILL)
            self.wait()
        os.close(self._gate_fd)
        os.close(self.out_fd)


@pytest.fixture
def child_of() -> Iterator[Callable[[Callable[[], int | None]], Child]]:
    made: list[Child] = []

    def make(work: Callable[[], int | None]) -> Child:
        made.append(Child(work))
        return made[-1]

    yield make
    for child in made:
        child.close()


ChildOf = Callable[[Callable[[], int | None]], Child]


def spin() -> None:
    while True:
        pass


def sleep() -> None:
    signal.pause()


def count_forever() -> None:
    """Write without end: what can be read tells whether it runs."""
    while True:
        os.write(1, b"x")


def test_create_open_list_delete(hierarchy: Hierarchy) -> None:
    cgroup = hierarchy.create("0123456789ab")
    assert hierarchy.containers() == [("0123456789ab", "")]
    assert all(os.path.isdir(path) for path in cgroup.paths().values())
    assert all(os.path.isdir(path) for _, path in cgroup.mount_sources())
    with pytest.raises(FileExistsError):
        hierarchy.create("0123456789ab")
    assert hierarchy.remove_parent() is False
    adopted = hierarchy.open("0123456789ab")
    assert adopted.paths() == cgroup.paths()
    assert adopted.exists()
    adopted.delete()
    assert not cgroup.exists()
    assert cgroup.pids() == []
    cgroup.delete()
    cgroup.kill()


def test_attach_and_nested_pids(hierarchy: Hierarchy, child_of: ChildOf) -> None:
    cgroup = hierarchy.create("c1")
    direct, nested = child_of(sleep), child_of(sleep)
    cgroup.attach(direct.pid)
    inner = f"{cgroup.paths()['freezer' if cgroup.version == 1 else 'memory']}/inner"
    os.mkdir(inner)
    write_file(f"{inner}/cgroup.procs", str(nested.pid))
    assert sorted(cgroup.pids()) == sorted([direct.pid, nested.pid])
    with pytest.raises(OSError, match="processes are left in the cgroup") as caught:
        cgroup.delete(timeout_seconds=0.05)
    assert caught.value.errno == errno.EBUSY
    cgroup.kill()
    assert (direct.wait(), nested.wait()) == (-signal.SIGKILL, -signal.SIGKILL)
    cgroup.delete()
    assert hierarchy.containers() == []


def test_attach_of_a_process_that_is_gone(hierarchy: Hierarchy, child_of: ChildOf) -> None:
    child = child_of(lambda: 0).go()
    child.wait()
    with pytest.raises(ProcessLookupError):
        hierarchy.create("c1").attach(child.pid)


def test_a_child_moves_itself_in_by_the_doors(hierarchy: Hierarchy, child_of: ChildOf) -> None:
    cgroup = hierarchy.create("c1")
    doors = cgroup.doors()
    if cgroup.version == 2:
        assert doors == []  # a child is born inside
        return

    def move_in() -> None:
        for path in doors:
            with open(path, "w") as file:
                file.write("0")
        os.write(1, b"x")
        sleep()

    child = child_of(move_in)
    assert not cgroup.holds(child.pid)
    child.go()
    assert os.read(child.out_fd, 1) == b"x"
    assert cgroup.holds(child.pid)
    for directory in set(cgroup.paths().values()):
        assert read_file(f"{directory}/cgroup.procs").split() == [str(child.pid)]
    hierarchy.create("c11").attach(child.pid)
    assert not cgroup.holds(child.pid)
    hierarchy.open("c11").kill()
    child.wait()
    assert not cgroup.holds(child.pid)


def test_freeze_and_thaw(hierarchy: Hierarchy, child_of: ChildOf) -> None:
    cgroup = hierarchy.create("c1")
    child = child_of(count_forever)
    cgroup.attach(child.pid)
    child.go()
    assert os.read(child.out_fd, 1) == b"x"
    assert not cgroup.is_frozen()
    cgroup.freeze()
    assert cgroup.is_frozen()
    os.set_blocking(child.out_fd, False)

    def drain() -> int:
        try:
            return len(os.read(child.out_fd, 1 << 20))
        except BlockingIOError:
            return 0

    while drain():  # what the pipe held; a running child would fill it again and this would not end
        pass
    cgroup.freeze()
    cgroup.thaw()
    assert not cgroup.is_frozen()
    poll_until(drain, what="the child writes again")
    cgroup.thaw()


def test_what_is_gone_is_not_frozen(hierarchy: Hierarchy) -> None:
    cgroup = hierarchy.create("c1")
    cgroup.delete()
    assert not cgroup.is_frozen()


def test_kill_takes_a_frozen_process(hierarchy: Hierarchy, child_of: ChildOf) -> None:
    cgroup = hierarchy.create("c1")
    child = child_of(sleep)
    cgroup.attach(child.pid)
    cgroup.freeze()
    cgroup.kill()
    assert child.wait() == -signal.SIGKILL


def fork_bomb() -> int:
    """Fork without end, each child too; report each refusal."""
    while True:
        try:
            os.fork()
        except BlockingIOError:
            os.write(1, b"x")
            time.sleep(0.01)


def test_fork_bomb_is_bounded_and_killed_whole(hierarchy: Hierarchy, child_of: ChildOf) -> None:
    cgroup = hierarchy.create("c1")
    registry.apply(Instance(cgroup), ContainerSpec(pids_max=20))
    child = child_of(fork_bomb)
    cgroup.attach(child.pid)
    child.go()
    assert os.read(child.out_fd, 1) == b"x"
    poll_until(lambda: len(cgroup.pids()) == 20, what="the bomb fills its limit")
    reading = PidsController().read(Instance(cgroup))
    assert (reading.held, reading.limit) == (20, 20)
    assert reading.peak in (20, None)
    assert reading.fail_count >= 1
    cgroup.kill()
    assert child.wait() == -signal.SIGKILL
    poll_until(lambda: cgroup.pids() == [], what="all of the bomb is dead")
    child.output()  # end of file: nobody holds the pipe any more
    cgroup.delete()


def allocate() -> int:
    """Take megabyte after megabyte, and say so for each."""
    held = []
    while True:
        held.append(b"x" * MB)
        os.write(1, b"m")


def test_memory_beyond_the_limit_is_killed_inside(hierarchy: Hierarchy, child_of: ChildOf) -> None:
    cgroup = hierarchy.create("c1")
    assert registry.apply(Instance(cgroup), ContainerSpec(memory_bytes=32 * MB)) == []

    child = child_of(allocate)
    cgroup.attach(child.pid)
    assert child.go().wait() == -signal.SIGKILL
    assert 20 <= len(child.output()) < 32
    assert cgroup.oom_kills() == 1
    assert MemoryController().account(Instance(cgroup)) == {"memory_oom_kills": 1}
    reading = MemoryController().read(Instance(cgroup))
    assert reading.limit == 32 * MB
    assert reading.peak is None or 30 * MB <= reading.peak <= 32 * MB
    assert reading.fail_count >= 1


def test_all_containers_together_leave_the_host_its_memory(hierarchy: Hierarchy, child_of: ChildOf) -> None:
    """I6. No container asked for a cap; the kernel kills among them, the largest first, and nobody else."""
    capped = Hierarchy(hierarchy.layout, hierarchy.parent_name, memory_bytes=48 * MB)
    hungry, modest = capped.create("c1"), capped.create("c2")
    for cgroup in (hungry, modest):
        assert registry.apply(Instance(cgroup, is_new=True), ContainerSpec()) == []
    neighbour = child_of(lambda: signal.pause())
    modest.attach(neighbour.pid)
    neighbour.go()

    child = child_of(allocate)
    hungry.attach(child.pid)
    assert child.go().wait() == -signal.SIGKILL
    assert 0 < len(child.output()) < 48  # a fork of a large process copies some of that first
    assert hungry.oom_kills() == 1


def test_a_cap_that_the_operator_set_on_all_of_ours_stays(hierarchy: Hierarchy) -> None:
    hierarchy.create("c1").delete()
    name = "memory.max" if hierarchy.layout.is_v2 else "memory.limit_in_bytes"
    path = f"{hierarchy.layout.controllers['memory']}/{hierarchy.parent_name}/{name}"
    write_file(path, str(40 * MB))
    Hierarchy(hierarchy.layout, hierarchy.parent_name, memory_bytes=48 * MB).create("c2").delete()
    assert int(read_file(path)) == 40 * MB


def test_cpu_quota_gives_that_share(hierarchy: Hierarchy, child_of: ChildOf) -> None:
    cgroup = hierarchy.create("c1")
    registry.apply(Instance(cgroup), ContainerSpec(cpu_quota_usec=20_000))
    child = child_of(spin)
    cgroup.attach(child.pid)
    child.go()
    poll_until(lambda: CpuController().read(Instance(cgroup)).fail_count, what="it is throttled")
    started, used_before = time.monotonic(), used_usec(cgroup)
    poll_until(lambda: time.monotonic() - started >= 2, timeout_seconds=5, what="two seconds")
    used_seconds = (used_usec(cgroup) - used_before) / 1_000_000
    share = used_seconds / (time.monotonic() - started)
    assert 0.10 <= share <= 0.23, share  # less on a busy machine, more only by the last period
    assert CpuController().account(Instance(cgroup))["cpu_throttled_usec"] > 0


def test_cpuset_is_the_affinity_inside(hierarchy: Hierarchy, child_of: ChildOf) -> None:
    cgroup = hierarchy.create("c1")

    def affinity() -> None:
        os.write(1, repr(sorted(os.sched_getaffinity(0))).encode())

    for cpus, expected in ((str(CPUS[-1]), [CPUS[-1]]), ("", CPUS)):
        registry.apply(Instance(cgroup), ContainerSpec(cpuset_cpus=cpus))
        child = child_of(affinity)
        cgroup.attach(child.pid)
        child.go()
        assert child.output() == repr(expected)
        assert child.wait() == 0


def test_limits_go_up_down_and_away(hierarchy: Hierarchy) -> None:
    cgroup = hierarchy.create("c1")
    specs = [
        ContainerSpec(memory_bytes=100 * MB, cpu_quota_usec=50_000, cpuset_cpus=str(CPUS[0]), pids_max=10),
        ContainerSpec(memory_bytes=300 * MB + 1, cpu_quota_usec=5_000, cpu_period_usec=10_000, pids_max=20),
        ContainerSpec(memory_bytes=200 * MB, cpu_quota_usec=100_000, cpu_period_usec=1_000_000, pids_max=None),
        ContainerSpec(pids_max=None),
    ]
    host = read_host(hierarchy.layout)
    for spec in specs:
        assert registry.validate(spec, host) == []
        assert registry.apply(Instance(cgroup), spec) == []
        limits = {name: reading.limit for name, (_, reading) in registry.readings(Instance(cgroup)).items()}
        assert limits["memory"] == (spec.memory_bytes and spec.memory_bytes // host.page_bytes * host.page_bytes)
        assert limits["cpu"] == spec.cpu_quota_usec
        assert limits["pids"] == spec.pids_max


def test_a_cap_that_the_kernel_refuses_is_an_error(hierarchy: Hierarchy) -> None:
    cgroup = hierarchy.create("c1")
    with pytest.raises(OSError, match="write '10") as caught:
        registry.apply(Instance(cgroup), ContainerSpec(cpu_quota_usec=10))
    assert caught.value.errno == errno.EINVAL
    assert os.path.basename(caught.value.filename) in ("cpu.max", "cpu.cfs_quota_us")


def test_stats(hierarchy: Hierarchy, child_of: ChildOf) -> None:
    cgroup = hierarchy.create("c1")
    registry.apply(Instance(cgroup), ContainerSpec(memory_bytes=64 * MB, pids_max=7))

    def hold() -> None:
        held = b"x" * (8 * MB)
        os.write(1, held[:1])
        signal.pause()

    child = child_of(hold)
    cgroup.attach(child.pid)
    child.go()
    assert os.read(child.out_fd, 1) == b"x"
    found = stats(cgroup)
    assert 8 * MB <= found["memory_bytes"] <= 40 * MB
    assert found["cpu_usec"] > 0
    assert (found["memory_limit_bytes"], found["pids"], found["pids_limit"]) == (64 * MB, 1, 7)
    assert (found["io_read_bytes"], found["io_write_bytes"]) >= (0, 0)
    assert registry.account(Instance(cgroup))["cpu_usec"] >= found["cpu_usec"]


def test_a_parent_that_was_removed_is_made_again(hierarchy: Hierarchy) -> None:
    hierarchy.create("c1").delete()
    for directory in our_directories(hierarchy.layout, hierarchy.parent_name):
        os.rmdir(directory)
    assert hierarchy.create("c2").exists()


def test_dirfd(hierarchy: Hierarchy, child_of: ChildOf) -> None:
    """On v2 a child is born inside by CLONE_INTO_CGROUP; on v1 there is no such thing."""
    cgroup = hierarchy.create("c1")
    cgroup_dirfd = cgroup.dirfd()
    if cgroup.version == 1:
        assert cgroup_dirfd is None
        return
    assert cgroup_dirfd is not None
    try:
        assert fcntl.fcntl(cgroup_dirfd, fcntl.F_GETFD) == fcntl.FD_CLOEXEC
        assert os.path.samestat(os.fstat(cgroup_dirfd), os.stat(cgroup.paths()["memory"]))
        assert clone_into(cgroup_dirfd) == 0
    finally:
        os.close(cgroup_dirfd)


def clone_into(cgroup_dirfd: int) -> int:
    """Return the exit code of a child born in the cgroup: 0 if it finds itself there."""
    import ctypes

    CLONE_INTO_CGROUP = 0x200000000
    args = struct.pack("11Q", CLONE_INTO_CGROUP, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, 0, 0, cgroup_dirfd)
    buffer = ctypes.create_string_buffer(args, len(args))
    pid = syscall("clone3", ctypes.addressof(buffer), len(args))
    if pid == 0:
        code = 1
        try:
            with open("/proc/self/cgroup") as file:
                code = 0 if file.read().strip().endswith("/c1") else 2
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.fixture
def service() -> Iterator[str]:
    """A cgroup as systemd makes for a service; with what a test makes below it."""
    directory = f"/sys/fs/cgroup/pycontainer-service{os.getpid()}"
    os.mkdir(directory)
    yield directory
    remove_tree(directory, 2.0)


def make_container_and_tell(layout: Layout) -> int:
    """Make, cap and remove a container; write where it was, and where this process is afterwards."""
    hierarchy = Hierarchy(layout, "ours")
    cgroup = hierarchy.create("c1")
    registry.apply(Instance(cgroup), ContainerSpec(memory_bytes=10 * MB))
    with open("/proc/self/cgroup") as file:
        own = file.read().strip().removeprefix("0::")
    os.write(1, f"{cgroup.paths()['memory']} {own}".encode())
    cgroup.delete()
    return 0 if hierarchy.remove_parent() else 1


@pytest.mark.requires("cgroup_v2")
def test_a_base_with_processes_is_vacated(service: str, child_of: ChildOf) -> None:
    """As in a container whose cgroup namespace begins at a directory that holds all its processes."""
    layout = Layout("v2", dict.fromkeys(detect().controllers, service), must_vacate=True)
    write_file("/sys/fs/cgroup/cgroup.subtree_control", " ".join(f"+{name}" for name in layout.controllers))
    child, neighbour = child_of(lambda: make_container_and_tell(layout)), child_of(sleep)
    for process in (child, neighbour):
        write_file(f"{service}/cgroup.procs", str(process.pid))
    child.go()
    assert child.output() == f"{service}/ours/c1 /{os.path.basename(service)}/supervisor"
    assert child.wait() == 0
    assert read_file(f"{service}/supervisor/cgroup.procs").split() == [str(neighbour.pid)]

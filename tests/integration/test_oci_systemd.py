"""Containers' cgroups as scopes of a systemd that runs."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pycontainer.cgroup.base import own_cgroups
from pycontainer.errors import AlreadyExists, InvalidState
from pycontainer.oci.cgroups import Group, make
from pycontainer.oci.systemd import ScopeGroup
from tests.support.poll import poll_until

pytestmark = [pytest.mark.systemd, pytest.mark.requires("systemd", "cgroup_v2")]

MIB = 1 << 20
SLICE = f"pycontainertest-t{os.getpid()}.slice"
INSIDE = f"/pycontainertest.slice/{SLICE}/oci-c1.scope"
UNIT = "oci-c1.scope"


def systemctl(*arguments: str) -> str:
    done = subprocess.run(["systemctl", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"systemctl {arguments}: {done.stderr}"
    return done.stdout.strip()


def property_of(name: str) -> str:
    return systemctl("show", "--property", name, "--value", UNIT)


@pytest.fixture
def process() -> Iterator["subprocess.Popen[bytes]"]:
    started = subprocess.Popen(["sleep", "1000"])
    yield started
    started.kill()
    started.wait()


@pytest.fixture(autouse=True)
def slices() -> Iterator[None]:
    yield
    subprocess.run(["systemctl", "stop", SLICE, "pycontainertest.slice"], capture_output=True, check=False)
    poll_until(lambda: not os.path.exists("/sys/fs/cgroup/pycontainertest.slice"))


def held(group: Group, file: str) -> str:
    return Path(group.paths()["cpu"], file).read_text().strip()


LIMITS = {
    "cpu": {"shares": 1024, "quota": 12345, "period": 50000, "cpus": "0", "mems": "0"},
    "memory": {"limit": 64 * MIB, "swap": 96 * MIB, "reservation": 8 * MIB},
    "pids": {"limit": 20},
    "hugepageLimits": [{"pageSize": "2MB", "limit": 2 * MIB}],
    "unified": {"memory.high": str(60 * MIB)},
    "devices": [{"allow": False, "access": "rwm"}],
}
HELD = {
    "cpu.weight": "39",
    "cpuset.cpus": "0",
    "cpuset.mems": "0",
    "memory.max": str(64 * MIB),
    "memory.swap.max": str(32 * MIB),
    "memory.low": str(8 * MIB),
    "memory.high": str(60 * MIB),
    "pids.max": "20",
    "hugetlb.2MB.max": str(2 * MIB),
}


def started(process: "subprocess.Popen[bytes]") -> Group:
    group = make(f"{SLICE}:oci:c1", "c1", systemd=True, resources=LIMITS)
    group.create()
    group.apply(LIMITS)
    entrance = group.entrance(lambda fd: fd)
    assert (entrance.born_fd, entrance.doors) == (-1, ())
    assert not group.exists()
    group.attach(process.pid)
    return group


def test_the_life_of_a_scope(process: "subprocess.Popen[bytes]") -> None:
    group = started(process)
    assert own_cgroups(process.pid)[""] == INSIDE
    assert group.paths()["memory"] == f"/sys/fs/cgroup{INSIDE}"
    assert {
        name: property_of(name)
        for name in ("Delegate", "ActiveState", "Slice", "ControlGroup", "MemoryMax", "TasksMax")
    } == {
        "Delegate": "yes",
        "ActiveState": "active",
        "Slice": SLICE,
        "ControlGroup": INSIDE,
        "MemoryMax": str(64 * MIB),
        "TasksMax": "20",
    }
    assert {file: held(group, file) for file in HELD} == HELD
    assert held(group, "cpu.max") == "12345 50000"
    systemctl("daemon-reload")
    assert {file: held(group, file) for file in HELD} == HELD

    again = Group.reopen(json.loads(json.dumps(group.record())))
    again.update({"memory": {"limit": 128 * MIB}, "pids": {"limit": -1}})
    again.update({"memory": {"swap": 256 * MIB}})
    systemctl("daemon-reload")
    assert (held(group, "memory.max"), held(group, "pids.max")) == (str(128 * MIB), "max")
    assert (property_of("MemoryMax"), property_of("MemorySwapMax")) == (str(128 * MIB), str(128 * MIB))

    again.freeze()
    assert again.is_frozen()
    again.thaw()
    assert again.stats()["pids"]["current"] == 1
    assert again.pids() == [process.pid]
    with pytest.raises(
        InvalidState, match=f"cannot remove the scope '{UNIT}' of container 'c1': processes {process.pid} live"
    ):
        again.delete(timeout_seconds=0.1)
    assert process.poll() is None
    again.kill()
    assert process.wait() == -signal.SIGKILL
    again.delete()
    assert not os.path.exists(f"/sys/fs/cgroup{INSIDE}")
    assert property_of("LoadState") == "not-found"
    again.delete()


def test_a_name_that_is_taken(process: "subprocess.Popen[bytes]") -> None:
    """The other's scope stays as it is, also when ours is cleaned up."""
    group = started(process)
    other = subprocess.Popen(["sleep", "1000"])
    try:
        second = make(f"{SLICE}:oci:c1", "c2", systemd=True, resources={})
        with pytest.raises(InvalidState, match=f"'{UNIT}' for container 'c2' is in use by processes {process.pid}"):
            second.create()
        second.delete()
        assert (process.poll(), group.pids()) == (None, [process.pid])
        late = ScopeGroup.of_path(f"{SLICE}:oci:c1", "c3", rootless=False)  # it began before the other was there
        with pytest.raises(AlreadyExists, match=f"cannot start the scope '{UNIT}': systemd has a unit of that name"):
            late.attach(other.pid)
        late.kill()
        late.delete()
        assert (process.poll(), group.pids()) == (None, [process.pid])
    finally:
        other.kill()
        other.wait()
        group.kill()
        group.delete()


def test_one_that_failed_does_not_stand_in_the_way(process: "subprocess.Popen[bytes]") -> None:
    """Memory runs out, the scope has failed, and a container of the same name starts."""
    group = started(process)
    group.update({"memory": {"limit": 16 * MIB, "swap": 16 * MIB}, "unified": {"memory.high": "max"}})
    hog = subprocess.Popen(["sh", "-c", "read go; tail /dev/zero"], stdin=subprocess.PIPE)
    group.attach(hog.pid)
    hog.communicate(b"go\n")
    poll_until(lambda: group.oom_kills() >= 1)
    group.kill()
    process.wait()
    group.delete()
    replacement = subprocess.Popen(["sleep", "1000"])
    try:
        second = started(replacement)
        assert second.pids() == [replacement.pid]
        second.kill()
        replacement.wait()
        second.delete()
    finally:
        replacement.kill()
        replacement.wait()

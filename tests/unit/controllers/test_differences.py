"""What a cgroup holds other than was set is found by the controllers themselves, and nothing is written for that."""

import dataclasses
from pathlib import Path

import pytest

from pycontainer.cgroup.v2 import CgroupV2
from pycontainer.controllers import registry
from pycontainer.controllers.protocol import Instance
from pycontainer.spec.model import ContainerSpec

SPEC = ContainerSpec(
    name="x",
    memory_bytes=64 << 20,
    cpu_quota_usec=50_000,
    cpu_burst_usec=10_000,
    pids_max=50,
    cpuset_cpus="0",
    io_weight=200,
    cgroup_conf=(("memory.swap.high", "1048576"),),
)
FILES = {
    "memory.max": str(64 << 20), "memory.swap.max": "0", "memory.high": "max", "memory.low": "0", "memory.min": "0",
    "memory.oom.group": "0", "memory.swap.high": "1048576", "cpu.max": "50000 100000", "cpu.max.burst": "10000",
    "cpu.weight": "100", "cpuset.cpus": "0", "cpuset.cpus.effective": "0", "cpuset.mems": "", "cpuset.mems.effective": "0",
    "pids.max": "50", "io.max": "", "io.weight": "default 200",
}  # fmt: skip


@pytest.fixture
def instance(tmp_path: Path) -> Instance:
    for name, text in FILES.items():
        (tmp_path / name).write_text(f"{text}\n")
    return Instance(CgroupV2("c1", dict.fromkeys(("memory", "cpu", "cpuset", "pids", "io"), str(tmp_path))))


def content(directory: Path) -> dict[str, str]:
    return {path.name: path.read_text().strip() for path in directory.iterdir()}


def test_nothing_differs(instance: Instance, tmp_path: Path) -> None:
    """A burst that is to stay is none, though it is taken away for a moment when a quota changes."""
    assert registry.differences(instance, SPEC) == []
    assert content(tmp_path) == FILES


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("memory.max", "max", f"memory.max is 'max', not '{64 << 20}'"),
        ("memory.max", str(128 << 20), f"memory.max is '{128 << 20}', not '{64 << 20}'"),
        ("memory.swap.max", "max", "memory.swap.max is 'max', not '0'"),
        ("memory.low", "4096", "memory.low is '4096', not '0'"),
        ("memory.swap.high", "max", "memory.swap.high is 'max', not '1048576'"),
        ("cpu.max", "max 100000", "cpu.max is 'max 100000', not '50000 100000'"),
        ("cpu.weight", "10000", "cpu.weight is '10000', not '100'"),
        ("cpu.max.burst", "20000", "cpu.max.burst is '20000', not '0'"),
        ("cpuset.cpus", "0-1", "cpuset.cpus is '0-1', not '0'"),
        ("cpuset.mems", "0", "cpuset.mems is '0', not '\\n'"),
        ("pids.max", "max", "pids.max is 'max', not '50'"),
        ("io.weight", "default 100", "io.weight is 'default 100', not 'default 200'"),
        ("io.max", "8:0 rbps=1000 wbps=max riops=max wiops=max", "io_read of disk 8:0 is 1000, not None"),
    ],
)
def test_each_file_is_missed(instance: Instance, tmp_path: Path, name: str, value: str, said: str) -> None:
    (tmp_path / name).write_text(f"{value}\n")
    assert registry.differences(instance, SPEC) == [said]
    assert content(tmp_path) == FILES | {name: value}


def test_several_at_once(instance: Instance, tmp_path: Path) -> None:
    for name in ("memory.max", "pids.max"):
        (tmp_path / name).write_text("max\n")
    assert len(registry.differences(instance, SPEC)) == 2


def test_what_the_kernel_lacks_is_no_difference(instance: Instance, tmp_path: Path) -> None:
    """Nor what lies outside of the cgroup: the network's caps, and those of the disk."""
    (tmp_path / "memory.swap.high").unlink()
    (tmp_path / "cpu.max.burst").unlink()
    spec = dataclasses.replace(SPEC, net_out_bits=1_000_000, disk_bytes=1 << 30)
    assert registry.differences(instance, spec) == []


def test_an_idle_group_has_no_weight(instance: Instance, tmp_path: Path) -> None:
    (tmp_path / "cpu.weight").write_text("0\n")
    (tmp_path / "cpu.idle").write_text("1\n")
    assert registry.differences(instance, SPEC) == []

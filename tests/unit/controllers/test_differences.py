"""What a cgroup holds other than was set is found by the controllers themselves, and nothing is written for that."""

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from pycontainer.cgroup.base import Above
from pycontainer.cgroup.v1 import CgroupV1
from pycontainer.cgroup.v2 import CgroupV2
from pycontainer.controllers import registry
from pycontainer.controllers.devices import DEFAULT
from pycontainer.controllers.protocol import Controller, Instance
from pycontainer.spec.model import ContainerSpec, Device

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


CHANGES = pytest.mark.parametrize(
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


@CHANGES
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


# -- one look after another --


@pytest.fixture(autouse=True)
def nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of other tests' cgroups."""
    monkeypatch.setattr(registry, "_kinds", [])


@pytest.fixture
def above() -> Iterator[Above]:
    with contextlib.closing(Above()) as made:
        yield made


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of the controllers that are asked, in turn, from here on."""
    names: list[str] = []
    for each in registry.controllers():

        def apply(instance: Instance, spec: ContainerSpec, each: Controller = each) -> list[str]:
            names.append(each.name)
            return type(each).apply(each, instance, spec)

        monkeypatch.setattr(each, "apply", apply)
    return names


@CHANGES
def test_each_file_is_missed_after_all_was_well(
    instance: Instance, tmp_path: Path, above: Above, name: str, value: str, said: str
) -> None:
    for _ in range(2):
        assert registry.differences(instance, SPEC, above) == []
        (tmp_path / name).write_text(f"{value}\n")
        for _ in range(2):
            assert registry.differences(instance, SPEC, above) == [said]
        (tmp_path / name).write_text(f"{FILES[name]}\n")


def test_what_reads_as_before_is_not_judged_again(instance: Instance, above: Above, judged: list[str]) -> None:
    """But by those that look elsewhere: at the program for devices."""
    assert registry.differences(instance, SPEC, above) == []
    assert len(judged) == len(registry.controllers())
    judged.clear()
    assert registry.differences(instance, SPEC, above) == []
    assert judged == ["devices"]
    assert registry.differences(instance, SPEC) == []
    assert len(judged) == 1 + len(registry.controllers())


def test_another_wish_is_judged(instance: Instance, above: Above) -> None:
    assert registry.differences(instance, SPEC, above) == []
    spec = dataclasses.replace(SPEC, pids_max=51)
    assert registry.differences(instance, spec, above) == ["pids.max is '50', not '51'"]
    assert registry.differences(instance, SPEC, above) == []


def test_a_file_that_comes_or_goes_is_noticed(
    instance: Instance, tmp_path: Path, above: Above, judged: list[str]
) -> None:
    (tmp_path / "cpu.max.burst").unlink()
    spec = dataclasses.replace(SPEC, cpu_burst_usec=None)
    assert registry.differences(instance, spec, above) == []
    (tmp_path / "cpu.max.burst").write_text("5\n")
    assert registry.differences(instance, spec, above) == ["cpu.max.burst is '5', not '0'"]
    (tmp_path / "cpu.max.burst").write_text("0\n")
    assert registry.differences(instance, spec, above) == []
    judged.clear()
    (tmp_path / "cpu.max.burst").unlink()
    assert registry.differences(instance, spec, above) == []
    assert len(judged) == len(registry.controllers())


def another(instance: Instance, tmp_path: Path, name: str = "c2") -> Instance:
    """Return an instance that reads the same."""
    shutil.copytree(tmp_path, tmp_path / name, ignore=shutil.ignore_patterns("c*[0-9]"))
    return Instance(CgroupV2(name, dict.fromkeys(instance.cgroup.paths(), f"{tmp_path}/{name}")))


def test_one_of_which_the_same_is_asked_is_not_judged(
    instance: Instance, tmp_path: Path, above: Above, judged: list[str]
) -> None:
    twin, changed = another(instance, tmp_path), another(instance, tmp_path, "c3")
    assert registry.differences(instance, SPEC, above) == []
    judged.clear()
    alike = dataclasses.replace(SPEC, name="another", command=("true",), hostname="h")
    assert registry.differences(twin, alike, above) == []
    assert judged == ["devices"]
    (tmp_path / "c2/pids.max").write_text("51\n")
    assert registry.differences(twin, alike, above) == ["pids.max is '51', not '50'"]
    (tmp_path / "c3/pids.max").write_text("51\n")
    assert registry.differences(changed, alike, above) == ["pids.max is '51', not '50'"]
    assert registry.differences(changed, dataclasses.replace(SPEC, pids_max=51), above) == []


def test_each_wish_that_a_controller_looks_at_makes_another_kind(
    instance: Instance, tmp_path: Path, above: Above, judged: list[str]
) -> None:
    wishes: dict[str, object] = {
        "memory_bytes": 1 << 20, "memory_swap_bytes": 1 << 30, "cpu_quota_usec": 5000, "cpu_weight": 7, "pids_max": 1,
        "cpuset_cpus": "0-1", "cpuset_mems": "0", "io_read_bps": 1, "io_weight": 5, "cgroup_conf": (("memory.high", "1"),),
        "hugetlb": ((2 << 20, 0),), "devices": (Device("/dev/null", "/dev/n"),),
    }  # fmt: skip
    assert registry.differences(instance, SPEC, above) == []
    for number, (name, value) in enumerate(wishes.items()):
        twin = another(instance, tmp_path, f"c{number + 10}")
        judged.clear()
        registry.differences(twin, dataclasses.replace(SPEC, **{name: value}), above)  # type: ignore[arg-type]
        assert len(judged) == len(registry.controllers()), name


def test_disks_are_looked_for_in_each_look(instance: Instance, tmp_path: Path, above: Above) -> None:
    """Once: those beneath may be others by then."""
    (tmp_path / "io.max").write_text("8:0 rbps=1000 wbps=1000 riops=max wiops=max\n")
    disks, looked = ["8:0"], 0

    def find_disks() -> list[str]:
        nonlocal looked
        looked += 1
        return disks

    instance = instance._replace(find_disks=find_disks)
    spec = dataclasses.replace(SPEC, io_read_bps=1000, io_write_bps=1000)
    assert registry.differences(instance, spec, above) == []
    assert registry.differences(instance, spec, above) == []
    assert looked == 2
    disks[:] = ["8:16"]
    assert len(registry.differences(instance, spec, above)) == 2


# -- version 1 --

V1_FILES = {
    "memory.limit_in_bytes": str((1 << 63) - 4096), "memory.soft_limit_in_bytes": str((1 << 63) - 4096),
    "cpu.shares": "1024", "cpu.cfs_quota_us": "-1", "cpuset.cpus": "0-1", "cpuset.mems": "0", "pids.max": "2048",
    "blkio.throttle.read_bps_device": "", "blkio.throttle.write_bps_device": "", "blkio.throttle.read_iops_device": "",
    "blkio.throttle.write_iops_device": "", "blkio.bfq.weight": "100", "devices.list": "\n".join(map(str, DEFAULT)),
}  # fmt: skip


@pytest.fixture
def legacy(tmp_path: Path) -> Instance:
    (tmp_path / "c1").mkdir()
    for name, text in V1_FILES.items():
        (tmp_path / "c1" / name).write_text(f"{text}\n")
    for name in ("cpuset.cpus", "cpuset.mems"):
        (tmp_path / name).write_text(f"{V1_FILES[name]}\n")
    names = ("memory", "cpu", "cpuset", "pids", "blkio", "devices")
    return Instance(CgroupV1("c1", dict.fromkeys(names, f"{tmp_path}/c1")))


def test_nobody_is_asked_where_files_tell_all(legacy: Instance, above: Above, judged: list[str]) -> None:
    spec = ContainerSpec(name="x")
    assert registry.differences(legacy, spec, above) == []
    judged.clear()
    assert registry.differences(legacy, spec, above) == []
    assert judged == []


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("memory.limit_in_bytes", "4096", "memory.limit_in_bytes is '4096', not '-1'"),
        ("cpu.shares", "2", "cpu.shares is '2', not '1024'"),
        ("cpu.cfs_quota_us", "1000", "cpu.cfs_quota_us is '1000', not '-1'"),
        ("cpuset.cpus", "0", "cpuset.cpus is '0', not '0-1'"),
        ("pids.max", "max", "pids.max is 'max', not '2048'"),
        ("blkio.throttle.read_bps_device", "8:0 1000", "io_read of disk 8:0 is 1000, not None"),
        ("blkio.throttle.write_bps_device", "8:0 1000", "io_write of disk 8:0 is 1000, not None"),
        ("blkio.throttle.read_iops_device", "8:0 1000", "io_read_ops of disk 8:0 is 1000, not None"),
        ("blkio.throttle.write_iops_device", "8:0 1000", "io_write_ops of disk 8:0 is 1000, not None"),
        ("blkio.bfq.weight", "500", "blkio.bfq.weight is '500', not 'default 100'"),
        ("devices.list", "a *:* rwm", "the devices allowed are None"),
    ],
)
def test_each_file_of_v1_is_missed_after_all_was_well(
    legacy: Instance, tmp_path: Path, above: Above, name: str, value: str, said: str
) -> None:
    spec = ContainerSpec(name="x")
    assert registry.differences(legacy, spec, above) == []
    (tmp_path / "c1" / name).write_text(f"{value}\n")
    assert registry.differences(legacy, spec, above) == [said]
    assert registry.differences(legacy, spec) == [said]
    assert content(tmp_path / "c1") == V1_FILES | {name: value}


def test_what_lies_above_is_read_once_a_look_and_again_by_who_differs(
    legacy: Instance, tmp_path: Path, above: Above
) -> None:
    spec = ContainerSpec(name="x")
    for _ in range(2):
        assert registry.differences(legacy, spec, above) == []
    for directory in (tmp_path, tmp_path / "c1"):
        (directory / "cpuset.cpus").write_text("0\n")
    assert registry.differences(legacy, spec, above) == []
    (tmp_path / "cpuset.cpus").write_text("1\n")
    with contextlib.closing(Above()) as next_look:
        assert registry.differences(legacy, spec, next_look) == ["cpuset.cpus is '0', not '1'"]


def test_what_was_read_of_a_tenant_tells_nothing_of_a_container(legacy: Instance, tmp_path: Path, above: Above) -> None:
    """Of a tenant nobody reads which devices are allowed."""
    spec = ContainerSpec(pids_max=2048)
    shutil.copytree(tmp_path / "c1", tmp_path / "t")
    tenant = Instance(CgroupV1("t", dict.fromkeys(legacy.cgroup.paths(), f"{tmp_path}/t")), is_tenant=True)
    for look in (None, above):
        assert registry.differences(tenant, spec, look) == []
    assert registry._kinds == []
    (tmp_path / "c1/devices.list").write_text("a *:* rwm\n")
    assert registry.differences(legacy, spec, above) == ["the devices allowed are None"]


def test_a_kind_is_kept_once_and_the_newest_are(legacy: Instance, above: Above) -> None:
    for number in (*range(20), *range(10, 20)):
        spec = ContainerSpec(name=f"x{number}", net_connections=number + 1)
        assert registry.differences(legacy, spec, above) == []
    kept = [each.spec.net_connections or 0 for each in registry._kinds]
    assert kept == sorted(set(kept), reverse=True) and len(kept) == 16


def test_a_node_that_becomes_another_device_is_noticed(legacy: Instance, tmp_path: Path, above: Above) -> None:
    spec = ContainerSpec(name="x", devices=(Device(f"{tmp_path}/node", "/dev/node", "rw"),))
    os.symlink("/dev/null", tmp_path / "node")
    assert registry.differences(legacy, spec, above) == []
    (tmp_path / "node").unlink()
    os.symlink("/dev/kmsg", tmp_path / "node")
    (found,) = registry.differences(legacy, spec, above)
    assert found.startswith("the devices allowed are")

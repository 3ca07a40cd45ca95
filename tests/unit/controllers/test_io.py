"""The caps on disk traffic, against files that behave as the kernel's do."""

import pytest

from pycontainer.controllers.io import IoReadController, IoWriteController, IoWriteOpsController
from pycontainer.controllers.protocol import Instance, Reading
from pycontainer.errors import Unsupported
from pycontainer.spec.model import ContainerSpec
from tests.unit.controllers.fake import FakeCgroup, host

DISKS = ("254:0", "8:16")
V1 = "blkio.throttle.write_bps_device"
WRITE, READ, WRITE_OPS = IoWriteController(), IoReadController(), IoWriteOpsController()


def v1() -> FakeCgroup:
    """blkio.throttle.*: a line for each disk that is held; 0 takes it away."""
    cgroup = FakeCgroup(1, {V1: "", "blkio.throttle.write_iops_device": ""})

    def change(name: str, value: str) -> str:
        disk, number = value.split()
        held = dict(line.split() for line in cgroup.files[name].splitlines()) | {disk: number}
        return "\n".join(f"{d} {n}" for d, n in held.items() if n != "0")

    cgroup.change = {name: lambda value, name=name: change(name, value) for name in cgroup.files}  # type: ignore[misc]
    return cgroup


def v2() -> FakeCgroup:
    """io.max: four keys for each disk that has a limit."""
    cgroup = FakeCgroup(2, {"io.max": ""})

    def change(value: str) -> str:
        disk, pair = value.split()
        key, _, number = pair.partition("=")
        held = {
            line.split()[0]: dict(p.split("=") for p in line.split()[1:])
            for line in cgroup.files["io.max"].splitlines()
        }
        held.setdefault(disk, dict.fromkeys(("rbps", "wbps", "riops", "wiops"), "max"))[key] = number
        lines = [(d, keys) for d, keys in held.items() if set(keys.values()) != {"max"}]
        return "\n".join(f"{d} {' '.join(f'{k}={n}' for k, n in keys.items())}" for d, keys in lines)

    cgroup.change = {"io.max": change}
    return cgroup


def test_v2() -> None:
    cgroup = v2()
    spec = ContainerSpec(io_write_bps=1000, io_write_ops_per_second=20)
    instance = Instance(cgroup, lambda: DISKS)
    assert WRITE.apply(instance, spec) == WRITE_OPS.apply(instance, spec) == READ.apply(instance, spec) == []
    assert cgroup.files["io.max"].splitlines() == [
        f"{disk} rbps=max wbps=1000 riops=max wiops=20"
        for disk in sorted(DISKS, key=lambda disk: cgroup.files["io.max"].index(disk))
    ]
    assert WRITE.read(Instance(cgroup)) == Reading(None, None, 1000, 0)
    assert READ.read(Instance(cgroup)) == Reading(None, None, None, 0)
    WRITE.apply(Instance(cgroup, lambda: DISKS[:1]), ContainerSpec(io_write_bps=2000))
    assert cgroup.files["io.max"].count("wbps=2000") == cgroup.files["io.max"].count("wbps=max") == 1
    for controller in (WRITE, WRITE_OPS):
        controller.apply(Instance(cgroup, lambda: DISKS), ContainerSpec())
    assert cgroup.files["io.max"] == ""


def test_v1_tells_what_it_does_not_hold() -> None:
    cgroup = v1()
    assert WRITE.apply(Instance(cgroup, lambda: DISKS), ContainerSpec(io_write_bps=1000)) == [
        "io_write: cgroup v1 holds direct and synchronous writes; those through the page cache are not held"
    ]
    assert sorted(cgroup.files[V1].splitlines()) == ["254:0 1000", "8:16 1000"]
    assert WRITE.apply(Instance(cgroup, lambda: DISKS), ContainerSpec()) == []
    assert cgroup.files[V1] == ""
    assert cgroup.written[-1].endswith(" 0")


def test_nothing_asked_nothing_written() -> None:
    for cgroup in (v1(), v2()):
        assert WRITE.apply(Instance(cgroup, lambda: DISKS), ContainerSpec()) == []
        assert cgroup.written == []


def test_a_limit_without_a_disk_is_refused() -> None:
    with pytest.raises(Unsupported, match="cannot hold io_write: no disk lies beneath"):
        WRITE.apply(Instance(v2(), tuple), ContainerSpec(io_write_bps=1000))


def test_a_kernel_that_holds_something_else_is_refused() -> None:
    cgroup = v1()
    cgroup.change = {V1: lambda value: "254:0 999"}
    with pytest.raises(Unsupported, match="cannot set io_write of disk 254:0 to 1000: the kernel holds 999"):
        WRITE.apply(Instance(cgroup, lambda: DISKS[:1]), ContainerSpec(io_write_bps=1000))


@pytest.mark.parametrize(("version", "without"), [("v1", "blkio"), ("v2", "io")])
def test_host_without_the_controller(version: str, without: str) -> None:
    spec = ContainerSpec(io_write_bps=1000)
    assert WRITE.validate(spec, host(version, without=without)) == ["io_write: this host has no io controller"]
    assert WRITE.validate(spec, host(version)) == WRITE.validate(ContainerSpec(), host(version, without=without)) == []

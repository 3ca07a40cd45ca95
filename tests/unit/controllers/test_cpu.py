"""The CPU time controller."""

from pathlib import Path

import pytest

from pycontainer.controllers.cpu import CpuController
from pycontainer.controllers.protocol import Instance, Reading
from pycontainer.errors import Unsupported
from pycontainer.spec.model import ContainerSpec
from tests.unit.controllers.fake import FakeCgroup, host

CONTROLLER = CpuController()
HALF = ContainerSpec(cpu_quota_usec=50_000)


def v1(quota: str = "-1", period: str = "100000", *, directory: str = "/cgroup/ours/c1") -> FakeCgroup:
    return FakeCgroup(1, {"cpu.cfs_quota_us": quota, "cpu.cfs_period_us": period}, directory=directory)


@pytest.mark.parametrize(
    ("quota", "period", "problems"),
    [
        (None, 100_000, []),
        (200_000, 100_000, []),
        (1_000, 100_000, []),
        (200_001, 100_000, ["cpus: 2.00001 asked, but this host has 2"]),
        (999, 100_000, ["cpus: 999 of 100000 microseconds is less than the kernel can give; ask for 0.01 or more"]),
        (5_000, 2_000_000, ["cpus: a period of 2000000 microseconds is out of the kernel's range 1000-1000000"]),
    ],
)
def test_validate(quota: int | None, period: int, problems: list[str]) -> None:
    assert CONTROLLER.validate(ContainerSpec(cpu_quota_usec=quota, cpu_period_usec=period), host(cpus=2)) == problems


def test_validate_without_the_controller() -> None:
    assert CONTROLLER.validate(HALF, host(without="cpu")) == ["cpus: this host has no cpu controller"]


def test_v2() -> None:
    cgroup = FakeCgroup(2, {"cpu.max": "max 100000"})
    assert CONTROLLER.apply(Instance(cgroup), ContainerSpec()) == []
    assert cgroup.written == []
    assert CONTROLLER.apply(Instance(cgroup), HALF) == []
    assert cgroup.files["cpu.max"] == "50000 100000"
    assert CONTROLLER.apply(Instance(cgroup), ContainerSpec()) == []
    assert cgroup.files["cpu.max"] == "max 100000"


def test_v1_gives_no_more_than_the_tenant_has_and_takes_from_children_first(tmp_path: Path) -> None:
    child = tmp_path / "c1"
    child.mkdir()
    (child / "cpu.cfs_quota_us").write_text("30000")
    (child / "cpu.cfs_period_us").write_text("50000")
    cgroup = v1(directory=str(tmp_path))
    cgroup.above["cpu.cfs_quota_us"] = "40000"
    CONTROLLER.apply(Instance(cgroup), HALF)
    assert cgroup.files["cpu.cfs_quota_us"] == "40000"
    assert (child / "cpu.cfs_quota_us").read_text() == "20000"


def test_v1() -> None:
    cgroup = v1()
    assert CONTROLLER.apply(Instance(cgroup), ContainerSpec()) == []
    assert cgroup.written == []
    assert CONTROLLER.apply(Instance(cgroup), HALF) == []
    assert cgroup.written == ["cpu.cfs_quota_us=50000"]
    assert CONTROLLER.apply(Instance(cgroup), ContainerSpec()) == []
    assert cgroup.files["cpu.cfs_quota_us"] == "-1"


def test_v1_another_period_never_meets_the_old_quota() -> None:
    cgroup = v1("50000")
    CONTROLLER.apply(Instance(cgroup), ContainerSpec(cpu_quota_usec=5_000, cpu_period_usec=10_000))
    assert cgroup.written == ["cpu.cfs_quota_us=-1", "cpu.cfs_period_us=10000", "cpu.cfs_quota_us=5000"]


def test_a_changed_value_is_refused() -> None:
    cgroup = FakeCgroup(2, {"cpu.max": "max 100000"}, change={"cpu.max": lambda value: "60000 100000"})
    with pytest.raises(Unsupported, match="cannot set cpu.max to '50000 100000': the kernel holds '60000 100000'"):
        CONTROLLER.apply(Instance(cgroup), HALF)


def test_read_and_account() -> None:
    v2 = FakeCgroup(2, {"cpu.max": "50000 100000", "cpu.stat": "usage_usec 70\nnr_throttled 4\nthrottled_usec 900"})
    assert CONTROLLER.read(Instance(v2)) == Reading(None, None, 50_000, 4)
    assert CONTROLLER.account(Instance(v2)) == {"cpu_usec": 70, "cpu_throttled_usec": 900}
    old = FakeCgroup(
        1, {"cpu.cfs_quota_us": "-1", "cpu.stat": "nr_throttled 4\nthrottled_time 900000", "cpuacct.usage": "70999"}
    )
    assert CONTROLLER.read(Instance(old)) == Reading(None, None, None, 4)
    assert CONTROLLER.account(Instance(old)) == {"cpu_usec": 70, "cpu_throttled_usec": 900}


@pytest.mark.parametrize(
    ("version", "name", "value", "default"),
    [
        (2, "cpu.weight", "200", "100"),
        (1, "cpu.shares", "2048", "1024"),
    ],
)
def test_weight_comes_and_goes(version: int, name: str, value: str, default: str) -> None:
    cgroup = v1() if version == 1 else FakeCgroup(2, {"cpu.max": "max 100000"})
    cgroup.files[name] = default
    CONTROLLER.apply(Instance(cgroup), ContainerSpec(cpu_weight=200))
    assert cgroup.files[name] == value
    CONTROLLER.apply(Instance(cgroup), ContainerSpec())
    assert cgroup.files[name] == default


@pytest.mark.parametrize("version", [1, 2])
def test_burst_never_exceeds_the_quota(version: int) -> None:
    cgroup = v1() if version == 1 else FakeCgroup(2, {"cpu.max": "max 100000"})
    name = "cpu.cfs_burst_us" if version == 1 else "cpu.max.burst"
    cgroup.files[name] = "0"
    CONTROLLER.apply(Instance(cgroup), ContainerSpec(cpu_quota_usec=50_000, cpu_burst_usec=40_000))
    cgroup.written.clear()
    CONTROLLER.apply(Instance(cgroup), ContainerSpec(cpu_quota_usec=20_000, cpu_burst_usec=10_000))
    assert [entry.partition("=")[2].split()[0] for entry in cgroup.written] == ["0", "20000", "10000"]


def test_burst_on_a_kernel_without_it() -> None:
    with pytest.raises(Unsupported, match=r"cannot set cpu.max.burst: this kernel has no such file"):
        CONTROLLER.apply(
            Instance(FakeCgroup(2, {"cpu.max": "max 100000"})),
            ContainerSpec(cpu_quota_usec=50_000, cpu_burst_usec=1000),
        )

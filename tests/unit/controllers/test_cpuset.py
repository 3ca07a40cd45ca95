"""The cpuset controller."""

from pathlib import Path

import pytest

from pycontainer.controllers.cpuset import CpusetController, MemoryNodesController
from pycontainer.controllers.protocol import Instance, Reading, parse_cpu_list
from pycontainer.errors import Unsupported
from pycontainer.spec.model import ContainerSpec
from tests.unit.controllers.fake import FakeCgroup, host

CONTROLLER = CpusetController()


@pytest.mark.parametrize(
    ("cpus", "problems"),
    [
        ("", []),
        ("0-1", []),
        ("1-3", ["cpuset_cpus: CPU 2, 3 is not online here; there are 0, 1"]),
        ("x", ["cpuset_cpus: not a list of CPUs: 'x'"]),
    ],
)
def test_validate(cpus: str, problems: list[str]) -> None:
    assert CONTROLLER.validate(ContainerSpec(cpuset_cpus=cpus), host(cpus=2)) == problems


def test_validate_without_the_controller() -> None:
    assert CONTROLLER.validate(ContainerSpec(cpuset_cpus="0"), host(without="cpuset")) == [
        "cpuset_cpus: this host has no cpuset controller"
    ]


@pytest.mark.parametrize(("version", "effective"), [(1, "cpuset.effective_cpus"), (2, "cpuset.cpus.effective")])
def test_apply_compares_sets_and_what_is_effective(version: int, effective: str) -> None:
    wish = ContainerSpec(cpuset_cpus="0,1")
    cgroup = FakeCgroup(version, {"cpuset.cpus": "", effective: "0-1"}, change={"cpuset.cpus": lambda value: "0-1"})
    assert CONTROLLER.apply(Instance(cgroup), wish) == []
    assert CONTROLLER.read(Instance(cgroup)) == Reading(2, None, 2, 0)
    cgroup.files[effective] = "0"
    with pytest.raises(Unsupported, match="cannot confine the container to CPUs '0,1': the kernel allows '0' only"):
        CONTROLLER.apply(Instance(cgroup), wish)


def test_v2_taken_off() -> None:
    cgroup = FakeCgroup(2, {"cpuset.cpus": "1", "cpuset.cpus.effective": "0-1"})
    assert CONTROLLER.apply(Instance(cgroup), ContainerSpec()) == []
    assert cgroup.files["cpuset.cpus"] == ""
    assert CONTROLLER.read(Instance(cgroup)) == Reading(2, None, None, 0)
    cgroup.written.clear()
    CONTROLLER.apply(Instance(cgroup), ContainerSpec())
    assert cgroup.written == []


def test_v1_takes_no_more_than_the_tenant_has() -> None:
    cgroup = FakeCgroup(1, {"cpuset.cpus": "0", "cpuset.effective_cpus": "0"})
    with pytest.raises(Unsupported, match="to CPUs '0-2': the kernel allows '0,1' only"):
        CONTROLLER.apply(Instance(cgroup), ContainerSpec(cpuset_cpus="0-2"))
    assert cgroup.written == []


def test_v1_children_make_room_for_a_smaller_tenant(tmp_path: Path) -> None:
    for name, cpus in (("c1", "0-1"), ("c2", "1"), ("c3", "0")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "cpuset.cpus").write_text(cpus)
    cgroup = FakeCgroup(1, {"cpuset.cpus": "0-1", "cpuset.effective_cpus": "1"}, directory=str(tmp_path))
    CONTROLLER.apply(Instance(cgroup, is_tenant=True), ContainerSpec(cpuset_cpus="1"))
    for name in ("c1", "c2", "c3"):
        assert parse_cpu_list((tmp_path / name / "cpuset.cpus").read_text()) == {1}


def test_v1_taken_off_is_what_the_parent_has() -> None:
    cgroup = FakeCgroup(1, {"cpuset.cpus": "1"})
    assert CONTROLLER.apply(Instance(cgroup), ContainerSpec()) == []
    assert cgroup.written == ["cpuset.cpus=0-1"]


def test_memory_nodes() -> None:
    controller = MemoryNodesController()
    assert controller.validate(ContainerSpec(cpuset_mems="0"), host()) == []
    assert controller.validate(ContainerSpec(cpuset_mems="0-1"), host()) == [
        "cpuset_mems: memory node 1 is not online here; there are 0"
    ]
    cgroup = FakeCgroup(2, {"cpuset.mems": "", "cpuset.mems.effective": "0"})
    assert controller.apply(Instance(cgroup), ContainerSpec(cpuset_mems="0")) == []
    assert controller.read(Instance(cgroup)) == Reading(1, None, 1, 0)
    cgroup.files["cpuset.mems.effective"] = ""
    with pytest.raises(Unsupported, match="cannot confine the container to memory nodes '0'"):
        controller.apply(Instance(cgroup), ContainerSpec(cpuset_mems="0"))

"""Files of cgroup v2 by name."""

import pytest

from pycontainer.controllers.others import OthersController
from pycontainer.controllers.protocol import Instance, Lacking
from pycontainer.errors import Unsupported
from pycontainer.spec.model import ContainerSpec
from tests.unit.controllers.fake import FakeCgroup, host

CONTROLLER = OthersController()


def asked(*pairs: tuple[str, str]) -> ContainerSpec:
    return ContainerSpec(cgroup_conf=pairs)


def test_validate() -> None:
    assert CONTROLLER.validate(ContainerSpec(), host("v1")) == []
    assert CONTROLLER.validate(asked(("memory.swap.high", "5"), ("misc.max", "sev 1")), host()) == []
    assert CONTROLLER.validate(
        asked(("memory.max", "5"), ("hugetlb.2MB.max", "0"), ("cgroup.freeze", "1"), ("dmem.max", "x 1")), host()
    ) == [
        "cgroup_conf: memory.max has a setting of its own: memory",
        "cgroup_conf: hugetlb.2MB.max has a setting of its own: hugetlb",
        "cgroup_conf: cgroup.freeze is the runtime's own",
        "cgroup_conf: this host has no dmem controller for dmem.max",
    ]
    (problem,) = CONTROLLER.validate(asked(("misc.max", "sev 1")), host("v1"))
    assert problem == "cgroup_conf: this host has cgroup v1; the files named are those of v2"
    assert isinstance(problem, Lacking)


def test_apply_sets_and_compares_one_line_of_a_keyed_file() -> None:
    files = {"misc.max": "sev max", "io.latency": "", "cpu.idle": "0"}
    change = {
        "misc.max": lambda value: f"sev_es max\n{value}",
        "io.latency": lambda value: f"{value} depth=1",
    }
    cgroup = FakeCgroup(2, files, change=change)
    wishes = asked(("misc.max", "sev 10"), ("io.latency", "8:0 target=1000"), ("cpu.idle", "1"))
    assert CONTROLLER.apply(Instance(cgroup), wishes) == []
    assert cgroup.written == ["misc.max=sev 10", "io.latency=8:0 target=1000", "cpu.idle=1"]


def test_what_the_kernel_changed_or_does_not_have() -> None:
    cgroup = FakeCgroup(2, {"memory.swap.high": "max", "cpu.idle": "0"}, change={"memory.swap.high": lambda _: "4096"})
    with pytest.raises(Unsupported, match="cannot set memory.swap.high to '5000': the kernel holds '4096'"):
        CONTROLLER.apply(Instance(cgroup), asked(("memory.swap.high", "5000")))
    with pytest.raises(Unsupported, match="cannot set cpu.new, rdma.max: this kernel has no such file"):
        CONTROLLER.apply(Instance(cgroup), asked(("cpu.new", "1"), ("rdma.max", "x"), ("cpu.idle", "1")))
    assert cgroup.files["cpu.idle"] == "1"  # the rest was set before
    with pytest.raises(Unsupported, match="no such file in cgroup v2"):
        CONTROLLER.apply(Instance(FakeCgroup(1, {"misc.max": "max"})), asked(("misc.max", "sev 1")))

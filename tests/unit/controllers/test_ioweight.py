"""Shares of disk time: which file, what it takes, and what is said where there is none."""

import pytest

from pycontainer.controllers.ioweight import IoWeightController
from pycontainer.controllers.protocol import Instance
from pycontainer.errors import Unsupported
from pycontainer.spec.model import ContainerSpec
from tests.unit.controllers.fake import FakeCgroup, host

CONTROLLER = IoWeightController()


def test_v2() -> None:
    cgroup = FakeCgroup(2, {"io.weight": "default 100\n8:0 200"})
    CONTROLLER.apply(Instance(cgroup), ContainerSpec())
    assert cgroup.written == []
    CONTROLLER.apply(Instance(cgroup), ContainerSpec(io_weight=5000))
    assert cgroup.files["io.weight"] == "default 5000"
    CONTROLLER.apply(Instance(cgroup), ContainerSpec())
    assert cgroup.files["io.weight"] == "default 100"


def test_v1_has_a_smaller_range() -> None:
    cgroup = FakeCgroup(1, {"blkio.bfq.weight": "100"}, change={"blkio.bfq.weight": lambda value: value.split()[-1]})
    CONTROLLER.apply(Instance(cgroup), ContainerSpec(io_weight=5000))
    assert cgroup.files["blkio.bfq.weight"] == "1000"


def test_a_kernel_without_weights() -> None:
    instance = Instance(FakeCgroup(1, {}))
    assert CONTROLLER.apply(instance, ContainerSpec()) == []
    with pytest.raises(Unsupported, match="this kernel shares disks without weights"):
        CONTROLLER.apply(instance, ContainerSpec(io_weight=50))
    problems = CONTROLLER.validate(ContainerSpec(io_weight=50), host(without="io"))
    assert problems == ["io_weight: this host has no io controller"]

"""The pids controller."""

import pytest

from pycontainer.controllers.pids import MAXIMUM, PidsController
from pycontainer.controllers.protocol import Instance, Reading
from pycontainer.spec.model import ContainerSpec
from tests.unit.controllers.fake import FakeCgroup, host

CONTROLLER = PidsController()


@pytest.mark.parametrize(
    ("pids", "problems"),
    [
        (None, []),
        (1, []),
        (MAXIMUM, []),
        (0, ["pids: 0 leaves no process to start; ask for 1 or more"]),
        (
            MAXIMUM + 1,
            ["pids: 4194305 is more than a kernel can have; ask for 4194304 or less, or for no limit"],
        ),
    ],
)
def test_validate(pids: int | None, problems: list[str]) -> None:
    assert CONTROLLER.validate(ContainerSpec(pids_max=pids), host()) == problems


def test_validate_without_the_controller() -> None:
    assert CONTROLLER.validate(ContainerSpec(), host(without="pids")) == ["pids: this host has no pids controller"]


@pytest.mark.parametrize("version", [1, 2])
def test_apply(version: int) -> None:
    cgroup = FakeCgroup(version, {"pids.max": "max"})
    assert CONTROLLER.apply(Instance(cgroup), ContainerSpec(pids_max=100)) == []
    assert cgroup.files["pids.max"] == "100"
    assert CONTROLLER.apply(Instance(cgroup), ContainerSpec(pids_max=None)) == []
    assert cgroup.files["pids.max"] == "max"


def test_read() -> None:
    files = {"pids.current": "3", "pids.max": "max", "pids.events": "max 2"}
    assert CONTROLLER.read(Instance(FakeCgroup(2, files))) == Reading(3, None, None, 2)
    assert CONTROLLER.read(Instance(FakeCgroup(2, files | {"pids.peak": "8", "pids.max": "10"}))) == Reading(
        3, 8, 10, 2
    )


def test_excess() -> None:
    instance = Instance(FakeCgroup(2, {"pids.current": "30"}))
    assert (
        CONTROLLER.excess(instance, ContainerSpec(pids_max=10))
        == "pids: 30 processes and threads are there, more than 10"
    )
    assert CONTROLLER.excess(instance, ContainerSpec(pids_max=30)) == ""
    assert CONTROLLER.excess(instance, ContainerSpec(pids_max=None)) == ""

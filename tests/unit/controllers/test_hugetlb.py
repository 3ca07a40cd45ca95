"""The hugetlb controller."""

import pytest

from pycontainer.controllers import hugetlb
from pycontainer.controllers.hugetlb import HugetlbController
from pycontainer.controllers.protocol import Instance, Reading
from pycontainer.errors import Unsupported
from pycontainer.spec.model import ContainerSpec
from tests.unit.controllers.fake import FakeCgroup, host

CONTROLLER = HugetlbController()
MIB = 1 << 20
WISH = ContainerSpec(hugetlb=((2 * MIB, 64 * MIB),))


@pytest.fixture(autouse=True)
def one_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hugetlb, "huge_page_bytes", lambda: frozenset({2 * MIB}))


def test_validate() -> None:
    here = host()._replace(huge_page_bytes=frozenset({2 * MIB}))
    assert CONTROLLER.validate(WISH, here) == []
    assert CONTROLLER.validate(ContainerSpec(hugetlb=((2 * MIB, 3 * MIB),)), here) == [
        "hugetlb: 3MiB is no multiple of the page size 2MiB"
    ]
    assert CONTROLLER.validate(ContainerSpec(hugetlb=((1 << 30, 1 << 30),)), here) == [
        "hugetlb: there are no huge pages of 1GiB here; there are 2MiB"
    ]
    assert CONTROLLER.validate(WISH, host(without="hugetlb")) == ["hugetlb: this host has no hugetlb controller"]


@pytest.mark.parametrize(
    ("version", "limit", "files"),
    [
        (1, "hugetlb.2MB.limit_in_bytes",
         {"hugetlb.2MB.limit_in_bytes": str((1 << 63) - 2 * MIB), "hugetlb.2MB.usage_in_bytes": "2097152",
          "hugetlb.2MB.failcnt": "3"}),
        (2, "hugetlb.2MB.max",
         {"hugetlb.2MB.max": "max", "hugetlb.2MB.current": "2097152", "hugetlb.2MB.events": "max 3"}),
    ],
)  # fmt: skip
def test_apply_read_and_take_off(version: int, limit: str, files: dict[str, str]) -> None:
    unlimited = files[limit]
    cgroup = FakeCgroup(version, files, change={limit: lambda value: unlimited if value == "-1" else value})
    assert CONTROLLER.apply(Instance(cgroup), ContainerSpec()) == []
    assert cgroup.written == []
    assert CONTROLLER.apply(Instance(cgroup), WISH) == []
    assert CONTROLLER.read(Instance(cgroup)) == Reading(2 * MIB, None, 64 * MIB, 3)
    assert CONTROLLER.excess(Instance(cgroup), ContainerSpec(hugetlb=((2 * MIB, 0),))) == (
        "hugetlb: 2MiB in pages of 2MiB are there already"
    )
    CONTROLLER.apply(Instance(cgroup), ContainerSpec())
    assert cgroup.files[limit] == unlimited


def test_what_the_kernel_did_not_take() -> None:
    cgroup = FakeCgroup(2, {"hugetlb.2MB.max": "max"}, change={"hugetlb.2MB.max": lambda value: "0"})
    with pytest.raises(Unsupported, match="cannot set hugetlb"):
        CONTROLLER.apply(Instance(cgroup), WISH)


def test_without_the_controller() -> None:
    cgroup = FakeCgroup(1, {}, without="hugetlb")
    assert CONTROLLER.apply(Instance(cgroup), ContainerSpec()) == []
    assert CONTROLLER.read(Instance(cgroup)) is None
    with pytest.raises(Unsupported, match="no hugetlb controller"):
        CONTROLLER.apply(Instance(cgroup), WISH)

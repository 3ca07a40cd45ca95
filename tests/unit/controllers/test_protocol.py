"""Kernel lists and limits, and the read-back that makes a cap a promise."""

import pytest

from pycontainer.controllers.protocol import parse_cpu_list, parse_limit, read_pressure, set_and_compare
from pycontainer.errors import Unsupported
from tests.unit.controllers.fake import FakeCgroup


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("0", {0}), ("0-3", {0, 1, 2, 3}), ("0-1,3\n", {0, 1, 3}), ("", set()), ("2,2,2-2", {2})],
)
def test_parse_cpu_list(text: str, numbers: set[int]) -> None:
    assert parse_cpu_list(text) == numbers


@pytest.mark.parametrize("text", ["a", "1-", "-1", "3-1", "0-1-2", "٣", "1 2", "1.5", "0-999999"])
def test_parse_cpu_list_refuses(text: str) -> None:
    with pytest.raises(ValueError, match="not a list of CPUs"):
        parse_cpu_list(text)


def test_parse_limit() -> None:
    assert [parse_limit(text) for text in ("max", "-1", "0", "42")] == [None, None, 0, 42]


def test_a_value_that_the_kernel_changed_is_refused() -> None:
    cgroup = FakeCgroup(2, {"pids.max": "max"}, change={"pids.max": lambda value: "7"})
    with pytest.raises(Unsupported) as caught:
        set_and_compare(cgroup, "pids", "pids.max", "8")
    assert caught.value.message == "cannot set pids.max to '8': the kernel holds '7'"
    assert caught.value.feature == "pids"
    assert caught.value.hint


def test_a_difference_that_is_known_is_accepted() -> None:
    cgroup = FakeCgroup(2, {"pids.max": "max"}, change={"pids.max": lambda value: "7"})
    set_and_compare(cgroup, "pids", "pids.max", "8", same=lambda found: found == "7")
    assert cgroup.written == ["pids.max=8"]


def test_read_pressure() -> None:
    line = "some avg10=1.25 avg60=0.00 avg300=0.00 total=12\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0"
    assert read_pressure(FakeCgroup(2, {"memory.pressure": line}), "memory") == 1.25
    assert read_pressure(FakeCgroup(2, {}), "memory") is None
    assert read_pressure(FakeCgroup(1, {"memory.pressure": line}), "memory") is None

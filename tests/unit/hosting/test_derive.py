"""Plans made of plans and of the host, and how they get into files."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycontainer.client.types import Promise
from pycontainer.errors import AlreadyExists, InvalidInput
from pycontainer.hosting.derive import part_of, plan_text, scaled, write_plan
from pycontainer.hosting.plans import Plans
from pycontainer.spec.parse import parse_spec
from pycontainer.spec.yamlfile import read_tree

G = 1 << 30


def test_amounts_are_scaled_and_nothing_else() -> None:
    limits = {
        "memory": "256M",
        "memory_swap": "300M",
        "cpus": "0.25",
        "cpu_weight": 8000,
        "cpuset_cpus": "0-1",
        "pids": 101,
        "disk": "unlimited",
        "hugetlb": {"2M": "6M"},
        "io_read": "10M/s",
        "io_write_ops": "20iops",
        "net_in": "20mbit",
        "net_out": "1MB/s",
        "ulimits": {"nofile": 1024},
    }
    assert scaled(limits, 1500) == {
        "memory": "384MiB",
        "memory_swap": "450MiB",
        "cpus": "0.375",
        "cpu_weight": 10_000,
        "cpuset_cpus": "0-1",
        "pids": 151,
        "disk": "unlimited",
        "hugetlb": {"2M": "8MiB"},
        "io_read": "15MiB",
        "io_write_ops": 30,
        "net_in": "30mbit",
        "net_out": "12mbit",
        "ulimits": {"nofile": 1024},
    }


def test_rounding_is_downwards_and_readable() -> None:
    assert scaled({"memory": "256M", "cpus": "1", "net_in": "1mbit"}, 1333) == {
        "memory": "341MiB",
        "cpus": "1.333",
        "net_in": "1333kbit",
    }


def test_what_comes_to_nothing_or_too_much_is_refused() -> None:
    with pytest.raises(InvalidInput) as caught:
        scaled({"memory": "256M", "pids": 100, "cpus": "0.5"}, 1)
    assert caught.value.message.split("\n") == [
        "0.001 times the plan is no plan: memory: '260KiB' is less than the least size, 1MiB",
        "pids: 0 is out of range",
        "cpus: '0' is less than the least share, 0.01 CPUs",
    ]
    with pytest.raises(InvalidInput, match="1000 times the plan is no plan: net_in: .* is more than the largest rate"):
        scaled({"net_in": "1gbit"}, 1_000_000)


@given(st.integers(100, 100_000))
def test_a_scaled_plan_is_a_plan(thousandths: int) -> None:
    plans = Plans.load("/nonexistent")
    found = parse_spec({"image": "a", **scaled(plans.limits("small"), thousandths)})
    asked = parse_spec({"image": "a", **plans.limits("small")})
    assert found.memory_bytes is not None and asked.memory_bytes is not None
    assert found.memory_bytes <= asked.memory_bytes * thousandths // 1000 < found.memory_bytes + (1 << 20)


def row(resource: str, physical: int | None, promised: int = 0, ratio: float | None = None) -> Promise:
    return {
        "resource": resource,
        "unit": "",
        "physical": physical,
        "promised": promised,
        "uncapped": 0,
        "used": None,
        "ratio": ratio,
    }


HOST = [
    row("memory", 15 * G, 5 * G, 1.2),
    row("cpus", 200_000, 100_000, 4),
    row("pids", 4_194_304),
    row("disk", 100 * G, 60 * G),
    row("net_in", None),
    row("net_out", 10**9, 10**8),
]


def test_a_part_of_the_host() -> None:
    assert part_of(HOST, 40) == {
        "memory": "460MiB",
        "cpus": "0.2",
        "pids": 4096,
        "disk": "2560MiB",
        "net_out": "25mbit",
    }
    assert part_of(HOST, 40, free=True) == {
        "memory": "332MiB",
        "cpus": "0.175",
        "pids": 4096,
        "disk": "1GiB",
        "net_out": "22500kbit",
    }
    assert part_of(HOST, 1)["cpus"] == "2"  # not the eight that may be promised: there are two


def test_parts_too_small_to_be_any_good() -> None:
    with pytest.raises(InvalidInput, match="one of 1000 parts of what is there is no plan: cpus: '0.008' is less than"):
        part_of(HOST, 1000)
    with pytest.raises(InvalidInput, match="parts of what is free is no plan: memory: the size is 0"):
        part_of([row("memory", G, 2 * G)], 2, free=True)


def test_a_file_is_read_as_it_was_meant(tmp_path: Path) -> None:
    limits: dict[str, object] = {
        "memory": "384MiB",
        "pids": 7,
        "cpus": "2",
        "net_in": "unlimited",
        "oddly": "true",
        "ulimits": {"nofile": "1:2", "core": 0},
        "cgroup_conf": {"misc.max": 'sev "10": #x'},
    }
    tree = read_tree(plan_text(limits, "1.5 times: 'small' # yes"), source="p")
    assert tree.data == {"description": "1.5 times: 'small' # yes", "limits": limits}
    assert tree.problems == []


def test_a_plan_is_written(tmp_path: Path) -> None:
    directory = str(tmp_path / "plans")
    path = write_plan(directory, "half", plan_text({"memory": "64M"}, "half of it"))
    assert path == f"{directory}/half.yaml"
    assert oct(os.stat(path).st_mode & 0o777) == "0o644"
    assert Plans.load(directory).limits("half")["memory"] == "64M"
    with pytest.raises(AlreadyExists, match=f"there is a plan 'half' already, in '{path}'"):
        write_plan(directory, "half", plan_text({"memory": "32M"}))
    write_plan(directory, "half", plan_text({"memory": "32M"}), replace=True)
    assert Plans.load(directory).limits("half")["memory"] == "32M"
    assert os.listdir(directory) == ["half.yaml"]


def test_what_is_built_in_is_replaced_by_force_alone(tmp_path: Path) -> None:
    with pytest.raises(AlreadyExists, match="there is a plan 'small' already, built in"):
        write_plan(str(tmp_path), "small", plan_text({"memory": "64M"}))
    write_plan(str(tmp_path), "small", plan_text({"memory": "64M"}), replace=True)
    assert Plans.load(str(tmp_path)).limits("small")["memory"] == "64M"


def test_a_plan_among_others_in_a_file_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "all.yaml").write_text("plans: {blog: {inherits: small}}\n")
    with pytest.raises(AlreadyExists, match=r"already, in '.*/all\.yaml'") as caught:
        write_plan(str(tmp_path), "blog", plan_text({"memory": "64M"}), replace=True)
    assert caught.value.hint == "choose another name"
    assert os.listdir(tmp_path) == ["all.yaml"]


def test_a_file_that_is_there_without_being_that_plan(tmp_path: Path) -> None:
    """A file blog.yaml that holds other plans is not written over, whether or not blog is one of them."""
    for own in ("", ", blog: {inherits: small}"):
        (tmp_path / "blog.yaml").write_text(f"plans: {{other: {{inherits: small}}{own}}}\n")
        for replace in (False, True):
            with pytest.raises(AlreadyExists, match=r"'.*/blog\.yaml' holds other plans: other"):
                write_plan(str(tmp_path), "blog", plan_text({"memory": "64M"}), replace=replace)
    assert os.listdir(tmp_path) == ["blog.yaml"]


def test_a_bad_name(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="'../x' is not a plan name"):
        write_plan(str(tmp_path), "../x", "limits: {}\n")

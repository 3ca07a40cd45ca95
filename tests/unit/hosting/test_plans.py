"""Plans: what they inherit, what they refuse, and what becomes of a container's spec that names one."""

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pycontainer.errors import InvalidInput, NotFound
from pycontainer.hosting.plans import KEYS, Plans, check_limits
from pycontainer.spec.fields import POOLED
from pycontainer.spec.parse import parse_changes, parse_pool, parse_spec


def load(tmp_path: Path, **files: str) -> Plans:
    for name, text in files.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    return Plans.load(str(tmp_path))


def problems(tmp_path: Path, **files: str) -> list[str]:
    with pytest.raises(InvalidInput) as caught:
        load(tmp_path, **files)
    return [line.removeprefix(f"{tmp_path}/") for line in caught.value.message.split("\n")]


def test_what_is_built_in(tmp_path: Path) -> None:
    plans = Plans.load(str(tmp_path / "missing"))
    assert plans.names() == ["default", "large", "medium", "small"]
    for name in plans.names():
        limits = plans.limits(name)
        assert {"memory", "cpus", "pids", "disk", "net_in", "net_out"} <= limits.keys()
        assert parse_spec({"image": "busybox", **limits}).memory_bytes is not None
        assert parse_changes(limits)  # any plan can be applied to a container that runs
        assert parse_pool(plans.pool(name))


def test_a_plan_inherits(tmp_path: Path) -> None:
    plans = load(
        tmp_path,
        shop="inherits: small\nlimits:\n  memory: 300M\n  ulimits: {nofile: 4096, core: 0}\n",
        extra="plans:\n  big-shop:\n    inherits: shop\n    limits:\n      ulimits: [nofile=9999]\n      disk: unlimited\n"
        "  alias: {inherits: shop}\n",
    )
    assert plans.limits("shop") == {
        "memory": "300M",
        "cpus": "0.5",
        "pids": 200,
        "disk": "5G",
        "net_in": "50mbit",
        "net_out": "20mbit",
        "ulimits": {"nofile": 4096, "core": 0},
    }
    big = plans.limits("big-shop")
    assert big["ulimits"] == {"nofile": "9999", "core": 0}
    assert parse_spec({"image": "a", **big}).disk_bytes is None
    assert plans.limits("alias") == plans.limits("shop")
    assert plans.get("shop").source == f"{tmp_path}/shop.yaml:1"
    assert plans.get("big-shop").source == f"{tmp_path}/extra.yaml:2"
    assert plans.get("small").source == ""


def test_who_names_none_inherits_the_default_and_that_what_is_built_in(tmp_path: Path) -> None:
    plans = load(tmp_path, default="limits: {memory: 512M}\n", blog="limits: {pids: 50}\n")
    assert plans.limits("default")["memory"] == "512M"
    assert plans.limits("default")["cpus"] == "0.25"
    assert plans.limits("blog") == plans.limits("default") | {"pids": 50}
    assert plans.limits("small")["memory"] == "256M"


def test_a_file_replaces_what_is_built_in(tmp_path: Path) -> None:
    plans = load(tmp_path, small="description: ours\nlimits: {memory: 64M}\n")
    assert plans.limits("small")["memory"] == "64M"
    assert plans.limits("small")["cpus"] == "0.25"
    assert plans.get("small").description == "ours"


def test_an_unknown_plan(tmp_path: Path) -> None:
    plans = load(tmp_path)
    with pytest.raises(NotFound, match="no plan 'smal', did you mean 'small'") as caught:
        plans.limits("smal")
    assert "default, large" in caught.value.hint
    with pytest.raises(NotFound, match="no plan 5"):
        plans.expand({"image": "a", "plan": 5})
    assert "small" in plans
    assert "smal" not in plans


def test_the_limits_of_a_container_that_names_a_plan(tmp_path: Path) -> None:
    plans = load(tmp_path, shop="limits: {memory: 300M, ulimits: {nofile: 4096, core: 0}}\n")
    spec = parse_spec(plans.expand({"image": "a", "plan": "shop", "pids": 7, "ulimits": ["core=1"], "memory": None}))
    assert (spec.memory_bytes, spec.pids_max) == (300 << 20, 7)
    assert {each.name: each.hard for each in spec.ulimits} == {"nofile": 4096, "core": 1}
    assert plans.expand({"image": "a", "memory": "1G"}) == {"image": "a", "memory": "1G"}


def test_what_cannot_be_capped_gets_no_cap(tmp_path: Path) -> None:
    plans = load(tmp_path)
    for networks in ("none", ["host"]):
        expanded = plans.expand({"image": "a", "plan": "small", "networks": networks})
        assert parse_spec(expanded).net_in_bits is None
        assert parse_spec(expanded).disk_bytes == 5 << 30
    expanded = plans.expand({"rootfs": "/srv/a", "rootfs_writable": True, "plan": "small"})
    assert (parse_spec(expanded).disk_bytes, parse_spec(expanded).memory_bytes) == (None, 256 << 20)


def test_limits_alone_are_limits() -> None:
    assert {"memory", "cpus", "disk", "net_in", "ulimits", "cgroup_conf", "net_connections"} <= set(KEYS)
    assert not {"image", "env", "restart", "health_cmd", "snapshots", "onboot", "tenant", "privileged"} & set(KEYS)
    assert set(POOLED) <= set(KEYS)
    assert [problem.text() for problem in check_limits({"memory": "1G", "restart": "no"})] == [
        "restart: is not a limit that a plan can hold"
    ]


def test_everything_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    """Two files, each problem with its own line; nothing is told again of a plan that inherits it."""
    found = problems(
        tmp_path,
        a="inherits: nobody\n"
        "limts: {}\n"
        "limits:\n"
        "  memory: 200Q\n"
        "  memroy: 1G\n"
        "  image: x\n"
        "  pids:\n"
        "  cpus: 0.5\n"
        "  cpu_burst: 2\n",
        b="plans:\n"
        "  tight:\n"
        "    inherits: sound\n"
        "    limits:\n"
        "      memory: 100M\n"
        "  sound:\n"
        "    limits: {memory: 1G, memory_high: 900M, memory_low: 800M}\n"
        "  child: {inherits: a}\n"
        "  one: {inherits: two}\n"
        "  two: {inherits: one}\n"
        "  -x: {inherits: small}\n"
        "  flat: 5\n"
        "  bare: {description: x}\n"
        "  loose: {memory: 5M, limits: [a]}\n"
        "  a: {limits: {pids: 1}}\n",
    )
    assert found == [
        "a.yaml:1: inherits: no plan 'nobody'",
        "a.yaml:2: unknown key 'limts', did you mean 'limits'?",
        "a.yaml:4: memory: '200Q' is not a size",
        "a.yaml:5: unknown limit 'memroy', did you mean 'memory'?",
        "a.yaml:6: image: is not a limit that a plan can hold",
        "a.yaml:7: pids: there is no value",
        "a.yaml:9: cpu_burst: 2 is more than the 0.5 of cpus",
        "b.yaml:4: memory_high: 900MiB is more than the 100MiB of memory, and memory_high is inherited from 'sound'",
        "b.yaml:9: inherits: the plans inherit in a circle: one -> two -> one",
        "b.yaml:11: '-x' is not a plan name",
        "b.yaml:12: plan 'flat': 5 is not a mapping",
        "b.yaml:13: plan 'bare' holds no limits",
        "b.yaml:14: limit 'memory' stands beside 'limits'",
        "b.yaml:14: limits: ['a'] is not a mapping",
        f"b.yaml:15: plan 'a' is there already: {tmp_path}/a.yaml:1",
    ]


def test_files_that_are_no_plans(tmp_path: Path) -> None:
    (tmp_path / "other.yml").write_text("limits: {}\n")
    (tmp_path / "latin.yaml").write_bytes(b"limits:\n  memory: \xe4\n")
    (tmp_path / "kept.yaml~").write_text("{{{")
    (tmp_path / ".swap.yaml").write_text("{{{")
    found = problems(
        tmp_path,
        empty="",
        broken="limits: [\n",
        beside="plans: {a: {inherits: small}}\nlimits: {}\n",
        anchor="limits: &a {}\n",
    )
    assert found == [
        "anchor.yaml:1: anchor '&a' is not supported",
        "beside.yaml:2: key 'limits' stands beside 'plans'",
        "broken.yaml:2: not YAML: did not find expected node content",
        "empty.yaml:1: the file holds no plan",
        "latin.yaml:2: the file is not UTF-8",
        "other.yml: it is not read: the files of plans end in .yaml",
    ]


def test_a_plan_that_inherits_the_one_it_replaces(tmp_path: Path) -> None:
    assert problems(tmp_path, small="inherits: small\n", default="\ninherits: medium\n") == [
        "default.yaml:2: inherits: the plans inherit in a circle: default -> medium -> default",
        "small.yaml:1: inherits: the plans inherit in a circle: small -> small",
    ]


def test_a_long_row_of_plans(tmp_path: Path) -> None:
    rows = "".join(f"  p{number}: {{inherits: p{number + 1}}}\n" for number in range(3000))
    plans = load(tmp_path, many=f"plans:\n{rows}  p3000: {{limits: {{pids: 3}}}}\n")
    assert plans.limits("p0")["pids"] == 3


WORDS = st.sampled_from(
    [*KEYS[:12], "inherits", "limits", "plans", "description", "a", "b", "default", "small", "", "\x1b[", "x" * 99]
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 10**20)
    | WORDS
    | st.sampled_from(["64M", "0.5", "unlimited", "10mbit"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=150)
@given(st.dictionaries(WORDS, VALUES, max_size=4), st.dictionaries(WORDS, VALUES, max_size=4))
def test_nonsense_is_told_with_its_place(one: dict[str, object], other: dict[str, object]) -> None:
    """Whatever stands in the files: plans whose limits are all sound, or problems that each have a file and a line."""
    with tempfile.TemporaryDirectory() as directory:
        for name, data in (("a", one), ("b", {"plans": other})):
            with open(f"{directory}/{name}.yaml", "w") as file:
                json.dump(data, file)
        try:
            plans = Plans.load(directory)
        except InvalidInput as error:
            for line in error.message.split("\n"):
                assert line.startswith((f"{directory}/a.yaml:1: ", f"{directory}/b.yaml:1: ", "and "))
            return
    for name in plans.names():
        assert check_limits(plans.limits(name)) == []
        assert set(plans.origins(name)) == set(plans.limits(name))

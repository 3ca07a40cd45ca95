"""The policy of promises, the sums, and what is too much."""

import pytest

from pycontainer.errors import InvalidInput
from pycontainer.spec.capacity import (
    NOTHING,
    RESOURCES,
    Amounts,
    Policy,
    Promised,
    amounts,
    beside,
    of_pool,
    plus,
    read_policy,
    too_much,
    total,
)
from pycontainer.spec.parse import parse_spec

G = 1 << 30
KEYS = [resource.key for resource in RESOURCES]


def promise(**given: int | None) -> Amounts:
    return tuple(given.get(key, 0) for key in KEYS)


def sums(**given: tuple[int, int]) -> list[Promised]:
    return [Promised(*given.get(key, (0, 0))) for key in KEYS]


def test_a_policy() -> None:
    text = "admission: refuse\nratios: {memory: 1.25, cpus: 400%, disk: 1}\nphysical:\n  net_in: 1gbit\n  memory: 8G\n"
    assert read_policy(text, source="c") == Policy(
        "refuse", {"memory": 1250, "cpus": 4000, "disk": 1000}, {"net_in": 10**9, "memory": 8 * G}
    )
    assert read_policy("admission: off\n", source="c") == Policy()
    assert not Policy("warn").is_judging
    assert not Policy("off", {"memory": 1000}).is_judging
    assert Policy("warn", {"memory": 1000}).is_judging


def test_everything_that_is_wrong_with_a_policy() -> None:
    text = (
        "admision: warn\n"
        "admission: maybe\n"
        "ratios:\n"
        "  memory: 0\n"
        "  memroy: 1\n"
        "  cpus: -1\n"
        "  disk:\n"
        "  image: 2\n"
        "physical:\n"
        "  net_in: 100\n"
        "  disk: 5GB\n"
    )
    with pytest.raises(InvalidInput) as caught:
        read_policy(text, source="capacity.yaml")
    assert caught.value.message.split("\n") == [
        "capacity.yaml:1: unknown key 'admision', did you mean 'admission'?",
        "capacity.yaml:2: admission: 'maybe' is none",
        "capacity.yaml:4: ratios.memory: 0 is out of range",
        "capacity.yaml:5: ratios.memroy: there is no such resource, did you mean 'memory'?",
        "capacity.yaml:6: ratios.cpus: -1 is not a ratio",
        "capacity.yaml:7: ratios.disk: None is not a ratio",
        "capacity.yaml:8: ratios.image: there is no such resource",
        "capacity.yaml:10: physical.net_in: 100 is not a rate of a network",
        "capacity.yaml:11: physical.disk: '5GB' is ambiguous: 1000 or 1024",
    ]
    assert "resources are memory, cpus, pids, disk, net_in, net_out" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "c:1: the file holds no settings"),
        ("[a]", "c:1: the file holds no settings"),
        ("admission: warn", "c:1: admission: there are no ratios to judge by"),
        ("admission: warn\nratios: 5", "c:2: ratios: 5 is not a mapping"),
        ("admission: &a warn\nratios: {}", "c:1: anchor '&a' is not supported"),
        ("admission: [", "c:2: not YAML: did not find expected node content"),
    ],
)
def test_what_is_no_policy(text: str, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_policy(text, source="c")
    assert caught.value.message == message


def test_what_a_container_promises() -> None:
    spec = parse_spec({"image": "a", "memory": "1G", "cpus": 1.5, "net_in": "10mbit", "disk": "5G"})
    assert amounts(spec) == promise(memory=G, cpus=150_000, pids=2048, disk=5 * G, net_in=10**7, net_out=None)
    assert amounts(spec, default_disk_bytes=5 * G)[KEYS.index("disk")] is None
    nothing = amounts(parse_spec({"image": "a", "pids": "unlimited"}))
    assert nothing == (None,) * len(KEYS)


def test_a_tenant_promises_in_place_of_its_containers() -> None:
    pool = promise(memory=2 * G, cpus=None, pids=None, disk=None, net_in=None, net_out=None)
    own = promise(memory=None, cpus=50_000, pids=7)
    assert beside(own, pool) == promise(cpus=50_000, pids=7)
    assert beside(own, None) == own
    assert of_pool(pool) == promise(memory=2 * G)
    assert total([beside(own, pool), of_pool(pool), promise(memory=G)]) == sums(
        memory=(3 * G, 0), cpus=(50_000, 0), pids=(7, 0)
    )


def test_sums() -> None:
    assert total([]) == sums()
    base = total([promise(memory=5), promise(memory=None), promise(memory=7, pids=1)])
    assert base == sums(memory=(12, 1), pids=(1, 0))
    assert plus(base, promise(memory=None, pids=2)) == sums(memory=(12, 2), pids=(3, 0))
    assert plus(base, NOTHING) == base


POLICY = Policy("refuse", {"memory": 1500, "net_in": 1000})


def test_more_than_may_be_promised() -> None:
    there = {"memory": 8 * G, "cpus": 100_000}
    before = sums(memory=(11 * G, 3))
    assert too_much(before, sums(memory=(12 * G, 3)), there, POLICY) == []
    assert too_much(before, sums(memory=(12 * G + 1, 3), cpus=(10**9, 5)), there, POLICY) == [
        "memory: 12GiB would be promised of 8GiB, and 1.5 times that is the most (11GiB are promised already)"
    ]
    assert too_much(before, sums(memory=(11 * G, 4)), there, POLICY) == [
        "memory: no cap, so it could take all of the 8GiB there are"
    ]


def test_what_is_not_raised_is_not_blamed() -> None:
    """What stands above the ratio already, because that was lowered, can be kept, and go down."""
    there = {"memory": G, "net_in": 1000}
    assert too_much(sums(memory=(9 * G, 2)), sums(memory=(8 * G, 2)), there, POLICY) == []
    assert too_much(sums(memory=(9 * G, 2)), sums(memory=(9 * G, 1), net_in=(900, 0)), there, POLICY) == []


def test_what_nobody_knows_the_size_of_is_not_judged() -> None:
    assert too_much(sums(), sums(net_in=(10**12, 1)), {"memory": G}, POLICY) == []

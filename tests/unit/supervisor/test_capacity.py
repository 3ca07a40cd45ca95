"""The judge of promises: what it sums up, what it refuses, when it reads its file again."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pycontainer.errors import InvalidInput, InvalidState
from pycontainer.runtime.container import Container
from pycontainer.spec.capacity import Policy
from pycontainer.spec.model import ContainerSpec
from pycontainer.spec.parse import parse_spec
from pycontainer.supervisor.capacity import Capacity, link_speed, uplink
from pycontainer.supervisor.world import World

G = 1 << 30


class Host(Capacity):
    """One with 8 GiB and 2 CPUs, whatever it runs on."""

    def physical(self, policy: Policy) -> dict[str, int]:
        return {"memory": 8 * G, "cpus": 200_000, "disk": 100 * G, **policy.physical}


class Events:
    def __init__(self) -> None:
        self.told: list[tuple[str, str, dict[str, object]]] = []

    def emit(self, kind: str, container: object = None, *, detail: str = "", **details: object) -> None:
        self.told.append((kind, detail, details))


def container(**settings: object) -> Container:
    return cast(Container, SimpleNamespace(spec=parse_spec({"image": "a", **settings})))


def make(tmp_path: Path, policy: str, *present: Container, tenants: dict[str, ContainerSpec] | None = None) -> Host:
    path = tmp_path / "capacity.yaml"
    path.write_text(policy)
    path.chmod(0o644)
    world = SimpleNamespace(
        paths=SimpleNamespace(capacity_file=str(path), containers_dir=str(tmp_path)),
        present=lambda: list(present),
        tenants=SimpleNamespace(by_name={name: SimpleNamespace(spec=spec) for name, spec in (tenants or {}).items()}),
        volumes=SimpleNamespace(all=list),
        events=Events(),
    )
    return Host(cast(World, world))


REFUSE = "admission: refuse\nratios: {memory: 1.5}\n"


def test_a_container_within_and_beyond(tmp_path: Path) -> None:
    small, large = container(name="a", memory="4G"), container(name="b", memory="4097M")
    judge = make(tmp_path, REFUSE, container(memory="8G"), small, large)
    with pytest.raises(InvalidState) as caught:  # both are being made
        judge.admit_new(large)
    assert "container 'b' is more than this host may promise: memory: 16GiB would be promised of 8GiB" in str(
        caught.value
    )
    with pytest.raises(InvalidState):
        judge.admit_spec(small.spec)
    assert make(tmp_path, REFUSE, container(memory="8G"), small).admit_new(small) == []
    assert make(tmp_path, REFUSE, container(memory="8G")).admit_spec(small.spec) == []
    with pytest.raises(InvalidState, match="no cap, so it could take all of the 8GiB"):
        judge.admit_new(container(name="c"))


def test_without_a_file_or_ratios_nothing_is_judged(tmp_path: Path) -> None:
    judge = make(tmp_path, "admission: off\nratios: {memory: 0.1}\n")
    assert judge.admit_new(container()) == []
    os.unlink(tmp_path / "capacity.yaml")
    assert judge.admit_new(container()) == []
    assert judge.policy() == Policy()


def test_a_warning_is_told_and_an_event(tmp_path: Path) -> None:
    judge = make(tmp_path, "admission: warn\nratios: {memory: 1}\n", container(memory="8G"))
    (words,) = judge.admit_new(container(memory="1G"))
    assert words.startswith(
        f"more is promised than '{tmp_path}/capacity.yaml' allows: memory: 9GiB would be promised of 8GiB"
    )
    info = judge.tell([words], {"name": "acme", "warnings": ["w"]})
    assert info["warnings"] == ["w", words]
    events: Any = judge._world.events
    assert events.told == [("over-capacity", words, {"tenant": "acme"})]
    assert judge.tell([], {"warnings": []}) == {"warnings": []}


def test_a_change_is_judged_by_what_it_adds(tmp_path: Path) -> None:
    one = container(memory="8G")
    judge = make(tmp_path, REFUSE, one, container(memory="8G"))  # more than is allowed since the ratio was lowered
    assert judge.admit_change(one, container(memory="7G").spec) == []
    assert judge.admit_change(one, container(memory="8G", cpus=2).spec) == []
    with pytest.raises(InvalidState):
        judge.admit_change(one, container(memory="8193M").spec)
    with pytest.raises(InvalidState):
        judge.admit_change(one, container(memory="unlimited").spec)


def test_a_tenant_stands_for_its_containers(tmp_path: Path) -> None:
    """What is sold to the tenant is judged once; its containers may divide it as they like."""
    members = [container(tenant="acme", memory="4G") for _ in range(5)]
    pool = ContainerSpec(memory_bytes=10 * G, pids_max=None)
    judge = make(tmp_path, REFUSE, *members, tenants={"acme": pool})
    assert judge.admit_new(members[0]) == []
    assert judge.admit_new(container(tenant="acme")) == []
    assert judge.admit_tenant("acme", ContainerSpec(memory_bytes=12 * G)) == []
    with pytest.raises(InvalidState, match=r"tenant 'acme' is .* 13GiB would be promised .*10GiB are promised already"):
        judge.admit_tenant("acme", ContainerSpec(memory_bytes=13 * G))
    with pytest.raises(
        InvalidState, match="memory: 20GiB would be promised"
    ):  # then its containers promise for themselves
        judge.admit_tenant("acme", ContainerSpec())
    with pytest.raises(InvalidState, match="tenant 'new' is more"):
        judge.admit_tenant("new", ContainerSpec(memory_bytes=3 * G))
    assert judge.admit_tenant("new", ContainerSpec(memory_bytes=2 * G)) == []


def test_a_member_of_a_tenant_whose_record_is_damaged_promises_for_itself(tmp_path: Path) -> None:
    judge = make(tmp_path, REFUSE, container(tenant="gone", memory="12G"))
    with pytest.raises(InvalidState):
        judge.admit_new(container(memory="1M"))


def test_the_file_is_read_when_it_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judge = make(tmp_path, REFUSE)
    reads: list[int] = []
    read = judge._read

    def counted() -> object:
        reads.append(1)
        return read()

    monkeypatch.setattr(judge, "_read", counted)
    assert [judge.policy().ratios for _ in range(3)] == [{"memory": 1500}] * 3
    assert len(reads) == 1
    (tmp_path / "capacity.yaml").write_text("admission: refuse\nratios: {memory: 1.25}\n")
    assert judge.policy().ratios == {"memory": 1250}


def test_a_file_that_cannot_be_read_refuses(tmp_path: Path) -> None:
    judge = make(tmp_path, "admission: refuse\nratios: {memry: 1}\n")
    path = tmp_path / "capacity.yaml"
    for _ in range(2):
        with pytest.raises(InvalidInput, match=f"unknown:\n{path}:2: ratios.memry: there is no such resource"):
            judge.admit_new(container(memory="1M"))
    path.write_text(REFUSE)
    assert judge.admit_new(container(memory="1M")) == []
    path.chmod(0o666)
    with pytest.raises(InvalidState, match="others could have written it"):
        judge.admit_tenant("acme", ContainerSpec())
    path.unlink()
    path.mkdir()
    with pytest.raises(InvalidState, match="not a regular file"):
        judge.admit_new(container(memory="1M"))


ROUTES = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
wlan0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0
eth0\t00000000\t0100000A\t0003\t0\t0\t100\t00000000\t0\t0\t0
down0\t00000000\t0100000A\t0002\t0\t0\t1\t00000000\t0\t0\t0
eth0\t0000000A\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0
half0\t00000000\t0100000A\t0003\t0\t0\t0\t00000080\t0\t0\t0
"""
ZERO = "0" * 32
ROUTES6 = f"""\
{ZERO} 00 {ZERO} 00 fe80{"0" * 27}1 00000400 00000001 00000000 00000003     eth1
{ZERO} 00 {ZERO} 00 {ZERO} ffffffff 00000001 00000000 00200200       lo
fe80{"0" * 28} 40 {ZERO} 00 {ZERO} 00000100 00000001 00000000 00000001     eth2
"""


def test_the_uplink(tmp_path: Path) -> None:
    """The default route of the least metric; that of IPv6 where there is none of IPv4."""
    routes, routes6 = tmp_path / "route", tmp_path / "ipv6_route"
    routes6.write_text(ROUTES6)
    routes.write_text(ROUTES)
    assert uplink(str(routes), str(routes6)) == "eth0"
    routes.write_text(ROUTES.splitlines()[0])
    assert uplink(str(routes), str(routes6)) == "eth1"
    routes6.write_text("")
    assert uplink(str(routes), str(routes6)) == ""
    assert uplink(str(tmp_path / "none"), str(tmp_path / "none")) == ""
    assert isinstance(uplink(), str)  # whatever this host has


@pytest.mark.parametrize(("text", "speed"), [("1000\n", 10**9), ("-1\n", None), ("0\n", None), ("odd\n", None)])
def test_the_speed_of_a_link(tmp_path: Path, text: str, speed: int | None) -> None:
    (tmp_path / "eth0").mkdir()
    (tmp_path / "eth0" / "speed").write_text(text)
    assert link_speed("eth0", str(tmp_path)) == speed
    assert link_speed("eth1", str(tmp_path)) is None
    assert link_speed("", str(tmp_path)) is None

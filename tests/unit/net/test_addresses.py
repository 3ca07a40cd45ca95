"""Subnets, pools and the records on disk."""

import ipaddress
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycontainer.errors import AlreadyExists, InvalidInput, InvalidState
from pycontainer.net.addresses import (
    Endpoint,
    Network,
    Pool,
    Records,
    Reservation,
    first_address,
    host_routes,
    parse_subnet,
    pick_subnet,
    random_subnet6,
)
from pycontainer.spec.model import Port

ROUTES = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
tun0\t0000400A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
"""


def pool(subnet: str = "10.77.0.0/29") -> Pool:
    return Pool(ipaddress.ip_network(subnet), "net")


def test_pool_hands_out_in_turn_and_does_not_reuse_at_once() -> None:
    made = pool()
    assert [made.take("a"), made.take("b")] == ["10.77.0.2", "10.77.0.3"]
    made.free("10.77.0.2")
    assert [made.take("c") for _ in range(3)] == ["10.77.0.4", "10.77.0.5", "10.77.0.6"]
    assert made.take("d") == "10.77.0.2"


def test_full_pool() -> None:
    made = pool()
    for _ in range(5):
        made.take("a")
    with pytest.raises(InvalidState) as caught:
        made.take("b")
    assert caught.value.message == "network 'net' has no free address in 10.77.0.0/29"


@pytest.mark.parametrize(
    ("ip", "message"),
    [
        ("10.78.0.2", "address 10.78.0.2 is not in subnet 10.77.0.0/29 of network 'net'"),
        ("fd00::2", "address fd00::2 is not in subnet 10.77.0.0/29 of network 'net'"),
        ("10.77.0.0", "address 10.77.0.0 is the first or last of subnet 10.77.0.0/29"),
        ("10.77.0.7", "address 10.77.0.7 is the first or last of subnet 10.77.0.0/29"),
    ],
)
def test_address_that_cannot_be_claimed(ip: str, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        pool().claim(ip, "a")
    assert caught.value.message == message


@pytest.mark.parametrize(("ip", "holder"), [("10.77.0.1", "the gateway"), ("10.77.0.2", "container 'a'")])
def test_address_that_is_taken(ip: str, holder: str) -> None:
    made = pool()
    made.claim("10.77.0.2", "container 'a'")
    with pytest.raises(AlreadyExists) as caught:
        made.claim(ip, "b")
    assert caught.value.message == f"address {ip} of network 'net' is taken by {holder}"


def test_last_address_of_an_ipv6_subnet_is_usable() -> None:
    pool("fd00::/126").claim("fd00::3", "a")


def test_wished_number_is_given_when_free() -> None:
    made = pool("fd00::/64")
    assert made.take("a", wished=9) == "fd00::9"
    assert made.take("b", wished=9) == "fd00::a"
    assert made.number("fd00::a") == 10


@given(st.lists(st.one_of(st.none(), st.integers(0, 13)), max_size=60))
def test_no_address_is_given_twice(steps: list[int | None]) -> None:
    """None takes one; a number frees the one that was taken so many steps ago, if there is one."""
    made = pool("10.77.0.0/28")
    held: list[str] = []
    for step in steps:
        if step is None and len(held) < 13:
            ip = made.take("a")
            assert ip not in held
            held.append(ip)
        elif step is not None and step < len(held):
            made.free(held.pop(step))


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("10.77.0.1/24", 4),
        ("10.77.0.0/31", 4),
        ("fd00::/64", 4),
        ("10.77.0.0/24", 6),
        ("x", 4),
        ("127.0.0.0/8", 4),
        ("224.0.0.0/8", 4),
        ("fe80::/64", 6),
        ("fd00::/127", 6),
    ],
)
def test_bad_subnet(text: str, version: int) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_subnet(text, version)
    assert caught.value.field == ("subnet" if version == 4 else "subnet6")


def test_host_routes_are_those_but_the_default(tmp_path: Path) -> None:
    (tmp_path / "route").write_text(ROUTES)
    assert [str(route) for route in host_routes(str(tmp_path / "route"))] == ["192.0.2.0/24", "10.64.0.0/16"]


@pytest.mark.parametrize("text", ["", ROUTES.splitlines(keepends=True)[0]])
def test_a_host_without_routes(tmp_path: Path, text: str) -> None:
    """The kernel writes no heading when there is nothing below it."""
    (tmp_path / "route").write_text(text)
    assert host_routes(str(tmp_path / "route")) == []


def test_picked_subnet_overlaps_nothing() -> None:
    assert str(pick_subnet([], "")) == "10.64.0.0/16"
    assert str(pick_subnet([ipaddress.ip_network("10.0.0.0/8")], "")) == "172.16.0.0/16"
    assert pick_subnet([], "0001") != pick_subnet([], "0002")
    everything = [ipaddress.ip_network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")]
    with pytest.raises(InvalidState) as caught:
        pick_subnet(everything, "00ff")
    assert caught.value.message == "no private IPv4 subnet is free on this host"


def test_random_subnet6_is_unique_local() -> None:
    first, second = random_subnet6(), random_subnet6()
    assert first != second
    assert first.subnet_of(ipaddress.ip_network("fd00::/8"))  # type: ignore[arg-type]
    assert first.prefixlen == 64
    assert first_address("fd00:1::/64") == "fd00:1::1"
    assert first_address("") == ""


def test_records_come_back_as_they_were(tmp_path: Path) -> None:
    records = Records(str(tmp_path / "networks"))
    assert (records.load_networks(), records.load_reservations()) == ([], [])
    network = Network("net", "bridge", 3, "10.77.0.0/24", "fd00::/64", "10.77.0.1", "fd00::1")
    reservation = Reservation(
        "a" * 12, "web", "web.example", [Endpoint("net", "eth0", 7, "10.77.0.2", "fd00::2", index=9)],
        [Port(8080, 80, "udp", "192.0.2.1")], [("db", "10.0.0.1")],
    )  # fmt: skip
    records.save_network(network)
    records.save_reservation(reservation)
    reservation.endpoints[0].index = 0  # a fact of this run, not of the record
    again = Records(str(tmp_path / "networks"))
    assert (again.load_networks(), again.load_reservations()) == ([network], [reservation])
    again.delete_reservation("a" * 12)
    again.delete_reservation("a" * 12)
    again.delete_network("net")
    assert os.listdir(tmp_path / "networks") == ["addresses"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        "null",
        '{"name": "a", "name": "b"}',
        '{"nmae": 1}',
        "[" * 5000,
        '{"name": NaN}',
        '{"endpoints": 5}',
    ],
)
def test_damaged_record_is_named(tmp_path: Path, text: str) -> None:
    """FLT-09"""
    (tmp_path / "net.json").write_text(text)
    with pytest.raises(InvalidState, match=f"^cannot read '{tmp_path}/net.json': "):
        Records(str(tmp_path)).load_networks()
    (tmp_path / "addresses").mkdir()
    (tmp_path / "addresses/0123456789ab.json").write_text(text)
    with pytest.raises(InvalidState, match=f"^cannot read '{tmp_path}/addresses/0123456789ab.json': "):
        Records(str(tmp_path)).load_reservations()

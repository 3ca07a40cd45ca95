"""Subnets, pools and the records on disk."""

import copy
import ipaddress
import json
import os
from pathlib import Path
from typing import Any

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
    host_addresses,
    host_routes,
    parse_subnet,
    pick_subnet,
    random_subnet6,
)
from pycontainer.spec.model import Port
from tests.support.netrecords import NETWORK as ROUTED
from tests.support.netrecords import RESERVATION

ROUTES = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
tun0\t0000400A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
"""

TRIE = """\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 192.0.2.0/24 2 0 2
        +-- 192.0.2.0/30 2 0 2
           |-- 192.0.2.0
              /24 link UNICAST
           |-- 192.0.2.2
              /32 host LOCAL
        |-- 192.0.2.255
           /32 link BROADCAST
Local:
  +-- 0.0.0.0/0 3 0 5
     |-- 10.92.0.1
        /32 host LOCAL
        |-- 192.0.2.2
           /32 host LOCAL
     |-- 10.92.0.7
        /32 link UNICAST
"""


def pool(subnet: str = "10.77.0.0/29") -> Pool:
    return Pool(ipaddress.ip_network(subnet), "net")


def test_pool_hands_out_in_turn_and_does_not_reuse_at_once() -> None:
    made = pool()
    assert [made.take("a"), made.take("b")] == ["10.77.0.2", "10.77.0.3"]
    made.free("10.77.0.2")
    assert [made.take("c") for _ in range(3)] == ["10.77.0.4", "10.77.0.5", "10.77.0.6"]
    assert made.take("d") == "10.77.0.2"


def test_a_new_pool_goes_on_after_the_highest_in_use() -> None:
    made = pool()
    for ip in ("10.77.0.2", "10.77.0.4"):
        made.claim(ip, "a")
    assert [made.take("b") for _ in range(3)] == ["10.77.0.5", "10.77.0.6", "10.77.0.3"]


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


def test_host_addresses_are_those_of_its_links(tmp_path: Path) -> None:
    """Not networks, not broadcast addresses; what both tables show is there once."""
    (tmp_path / "trie").write_text(TRIE)
    assert [str(address) for address in host_addresses(str(tmp_path / "trie"))] == ["10.92.0.1/32", "192.0.2.2/32"]
    (tmp_path / "trie").write_text("")
    assert host_addresses(str(tmp_path / "trie")) == []


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
    assert (records.load_networks().whole, records.load_reservations().whole) == ([], [])
    network = Network("net", "bridge", 3, "10.77.0.0/24", "fd00::/64", "10.77.0.1", "fd00::1")
    reservation = Reservation(
        "a" * 12, "web", "web.example", [Endpoint("net", "eth0", 7, "10.77.0.2", "fd00::2", index=9)],
        [Port(8080, 80, "udp", "192.0.2.1")], [("db", "10.0.0.1")],
    )  # fmt: skip
    records.save_network(network)
    records.save_reservation(reservation)
    reservation.endpoints[0].index = 0  # a fact of this run, not of the record
    again = Records(str(tmp_path / "networks"))
    networks, reservations = again.load_networks(), again.load_reservations()
    assert (networks.whole, reservations.whole) == ([network], [reservation])
    assert (networks.damaged, reservations.damaged) == ({}, {})
    again.delete_reservation("a" * 12)
    again.delete_reservation("a" * 12)
    again.delete_network("net")
    assert os.listdir(tmp_path / "networks") == ["addresses"]


NETWORK = {**ROUTED, "driver": "bridge"}
ID = "0123456789ab"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not JSON at character 0: Expecting value"),
        ("{", "not JSON at character 1: Expecting property name enclosed in double quotes"),
        ("[]", "[] is not an object"),
        ("{}", "field 'name' is missing"),
        ("null", "None is not an object"),
        ('{"name": "a", "name": "b"}', "a key is given twice"),
        ("[" * 5000, "more than 32 levels deep"),
        ('{"name": NaN}', "NaN is not JSON"),
        ('{"version": 2}', "version 2 is of a newer pycontainer, this one knows 1"),
        (None, "it is not a regular file"),
    ],
)
def test_a_damaged_record_costs_one_object(tmp_path: Path, text: str | None, reason: str) -> None:
    """FLT-09"""
    (tmp_path / "addresses").mkdir()
    for path in (tmp_path / "net.json", tmp_path / f"addresses/{ID}.json"):
        path.mkdir() if text is None else path.write_text(text)
    (tmp_path / "other.json").write_text(json.dumps({**NETWORK, "name": "other"}))
    (tmp_path / "addresses/other.json").write_text(json.dumps(RESERVATION))
    networks, reservations = Records(str(tmp_path)).load_networks(), Records(str(tmp_path)).load_reservations()
    assert [network.name for network in networks.whole] == ["other"]
    assert (
        networks.damaged["net"].message == f"cannot read the record of network 'net': '{tmp_path}/net.json': {reason}"
    )
    assert [reservation.container_id for reservation in reservations.whole] == ["other"]
    assert reservations.damaged[ID].message == (
        f"cannot read the addresses of container '{ID}': '{tmp_path}/addresses/{ID}.json': {reason}"
    )
    records = Records(str(tmp_path))
    records.delete_network("net")
    records.delete_reservation(ID)
    assert (records.load_networks().damaged, records.load_reservations().damaged) == ({}, {})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "other"), ("name", 5), ("driver", "macvlan"), ("number", 0), ("number", "3"), ("number", 1 << 40),
        ("subnet", "10.77.0.0/33"), ("subnet", "fd00::/64"), ("subnet", "127.0.0.0/8"), ("subnet", None),
        ("subnet6", ""), ("gateway", "10.77.0.2"), ("gateway6", "fd00::2"), ("version", "1"),
    ],
)  # fmt: skip
def test_a_network_of_another_kind(tmp_path: Path, key: str, value: object) -> None:
    """FLT-09"""
    (tmp_path / "net.json").write_text(json.dumps({**NETWORK, key: value}))
    found = Records(str(tmp_path)).load_networks()
    assert found.whole == [] and list(found.damaged) == ["net"]


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("name",), 5), (("hostname",), None), (("tenant",), ["a"]), (("endpoints",), {}), (("endpoints",), [5]),
        (("endpoints", 0, "ip"), "fd00::5"), (("endpoints", 0, "ip"), 5), (("endpoints", 0, "ip6"), "10.0.0.1"),
        (("endpoints", 0, "device"), "eth0;reboot"), (("endpoints", 0, "slot"), -1), (("endpoints", 0, "network"), None),
        (("ports", 0, "host_port"), 70000), (("ports", 0, "protocol"), "sctp"), (("ports", 0, "host_ip"), "x"),
        (("add_hosts",), [["a"]]), (("add_hosts",), ["ab"]), (("add_hosts",), [["a", 5]]),
        (("packets_per_second",), "5"), (("connections",), 1.5),
    ],
)  # fmt: skip
def test_a_reservation_of_another_kind(tmp_path: Path, keys: tuple[str | int, ...], value: object) -> None:
    """FLT-09"""
    (tmp_path / "addresses").mkdir()
    record = copy.deepcopy(RESERVATION)
    inner: Any = record
    for step in keys[:-1]:
        inner = inner[step]
    inner[keys[-1]] = value
    (tmp_path / f"addresses/{ID}.json").write_text(json.dumps(record))
    found = Records(str(tmp_path)).load_reservations()
    assert found.whole == [] and list(found.damaged) == [ID]


def test_what_a_damaged_network_still_tells(tmp_path: Path) -> None:
    """FLT-09: what must not be given away."""
    path = tmp_path / "net.json"
    path.write_text(json.dumps({**NETWORK, "version": 2, "driver": "new"}))
    remains = Records(str(tmp_path)).remains("net")
    assert remains.number == 3
    assert [str(subnet) for subnet in remains.subnets] == ["10.77.0.0/24", "fd00::/64"]
    path.write_text(json.dumps({**NETWORK, "number": [], "subnet": 5}))
    remains = Records(str(tmp_path)).remains("net")
    assert (remains.number, [str(subnet) for subnet in remains.subnets]) == (0, ["fd00::/64"])
    path.write_text("{")
    assert Records(str(tmp_path)).remains("net").subnets == []

"""What the manager decides before it touches the host."""

import pytest

from pycontainer.net.elements import Element
from pycontainer.net.manager import _port_elements
from pycontainer.net.ports import _overlap
from pycontainer.spec.model import Port

TARGETS = {"ip": "10.0.0.2", "ip6": "fd00::2"}
PUB4, PUB6 = Element("pub4", "tcp . 8080", "10.0.0.2 . 80"), Element("pub6", "tcp . 8080", "fd00::2 . 80")


@pytest.mark.parametrize(
    ("host_ip", "expected"),
    [
        ("", [PUB4, PUB6]),
        ("0.0.0.0", [PUB4]),
        ("::", [PUB6]),
        ("127.0.0.1", []),
        ("127.1.2.3", []),
        ("::1", []),
        ("192.0.2.1", [Element("at4", "192.0.2.1 . tcp . 8080", "10.0.0.2 . 80")]),
        ("2001:db8::1", [Element("at6", "2001:db8::1 . tcp . 8080", "fd00::2 . 80")]),
    ],
)
def test_elements_of_a_port(host_ip: str, expected: list[Element]) -> None:
    assert _port_elements([Port(8080, 80, host_ip=host_ip)], TARGETS) == expected


def test_elements_without_ipv6() -> None:
    assert _port_elements([Port(8080, 80)], {"ip": "10.0.0.2", "ip6": ""}) == [PUB4]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("", "", True), ("", "192.0.2.1", True), ("", "::1", True), ("0.0.0.0", "192.0.2.1", True),
        ("0.0.0.0", "::", False), ("0.0.0.0", "::1", False), ("::", "2001:db8::1", True),
        ("192.0.2.1", "192.0.2.1", True), ("192.0.2.1", "192.0.2.2", False), ("127.0.0.1", "::1", False),
    ],
)  # fmt: skip
def test_overlap_of_host_addresses(first: str, second: str, expected: bool) -> None:
    assert _overlap(first, second) is expected
    assert _overlap(second, first) is expected

"""Elements that go to the kernel by themselves are those that nft makes of the same words."""

import re
from collections.abc import Iterator

import pytest

from pycontainer.net.elements import Element, Elements
from pycontainer.net.firewall import Firewall
from tests.support.hostns import NetworkNamespace

TABLE = "pct_elements"
EVERY_KIND = (
    Element("own4", '"px-v1" . 10.64.0.2'),
    Element("own6", '"px-v1" . fd00::2'),
    Element("network", '"px-v1"', "7"),
    Element("member", '"px-v1" . 7'),
    Element("pub4", "tcp . 8080", "10.64.0.2 . 80"),
    Element("pub4", "udp . 53", "10.64.0.2 . 5353"),
    Element("pub6", "tcp . 8080", "fd00::2 . 80"),
    Element("at4", "192.0.2.1 . tcp . 65535", "10.64.0.2 . 1"),
    Element("at6", "2001:db8::1 . udp . 443", "fd00::2 . 443"),
    Element("who4", "10.64.0.2", "3"),
    Element("who6", "fd00::2", "3"),
    Element("share", "3", connections=8192),
)
OTHER = Element("own4", '"a-name-of-15-ch" . 10.64.0.3')


@pytest.fixture
def host() -> Iterator[NetworkNamespace]:
    made = NetworkNamespace()
    yield made
    made.close()


def listed(host: NetworkNamespace) -> str:
    return re.sub("[0-9]+ limit", "limit", host.run("nft", "list", "table", "inet", TABLE))


def in_firewall(host: NetworkNamespace, *elements: Element) -> str:
    """Return the table as it is when libnftables fills it."""

    def work() -> None:
        firewall = Firewall(TABLE, "px-")
        firewall.adopt({"all": elements})
        firewall.close()

    host.call(work)
    return listed(host)


@pytest.mark.requires("root", "nft")
def test_each_kind_is_what_nft_makes_of_it(host: NetworkNamespace) -> None:
    """All at once, in and out again, and those that stay are left alone."""
    wanted, empty = in_firewall(host, OTHER, *EVERY_KIND), in_firewall(host, OTHER)
    assert wanted.count("elements = ") == len({each.where for each in EVERY_KIND}) and wanted != empty

    def work() -> tuple[str, str]:
        elements = Elements(TABLE)
        assert Elements.can_change(EVERY_KIND)
        elements.change([], EVERY_KIND)
        filled = listed(host)
        elements.change(EVERY_KIND, [])
        elements.close()
        return filled, listed(host)

    assert host.call(work) == (wanted, empty)


@pytest.mark.requires("root", "nft")
def test_one_that_is_refused_takes_back_all(host: NetworkNamespace) -> None:
    before = in_firewall(host, OTHER)

    def work() -> list[str]:
        elements = Elements(TABLE)
        said = []
        for old, new in (
            ([Element("who4", "10.64.0.9")], EVERY_KIND),  # is not there
            ([OTHER], [*EVERY_KIND, Element("pub4", "tcp . 8080", "10.64.0.4 . 80")]),  # is there, and another
        ):
            with pytest.raises(OSError, match="elements of nftables: ") as caught:
                elements.change(old, new)
            said.append(str(caught.value.strerror))
        elements.change([OTHER], [OTHER])  # nothing of the refused ones is left to be answered
        elements.close()
        return said

    assert host.call(work) == [
        "elements of nftables: No such file or directory",
        "elements of nftables: File exists",
    ]
    assert listed(host) == before


@pytest.mark.requires("root", "nft")
def test_without_a_table_it_is_an_error(host: NetworkNamespace) -> None:
    with pytest.raises(FileNotFoundError, match="elements of nftables"):
        host.call(lambda: Elements(TABLE).change([], [OTHER]))


def test_what_is_not_known_here_is_for_nft() -> None:
    assert not Elements.can_change([Element("mac", '"px-v1" . 02:50:00:00:00:01')])
    assert not Elements.can_change([Element("guard", '"px-v1"', statements="limit rate over 5/second counter")])
    assert not Elements.can_change([OTHER] * 201)

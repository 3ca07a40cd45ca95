"""Templates: what is patched is exactly what pyroute2 would have encoded."""

import socket

import pytest

from pycontainer.net.link import NOARP, Wire
from pycontainer.net.messages import (
    ACK,
    CREATE,
    INDEX,
    IP,
    IP6,
    MAC,
    MARKERS,
    NAME,
    NEW_LINK,
    NEW_ROUTE,
    SET_LINK,
    Template,
    link,
    route,
)  # fmt: skip

NLM_F_ACK = 0x4


def test_filled_template_equals_a_direct_encoding() -> None:
    marked = link(NEW_LINK, CREATE, {"index": INDEX.mark, "flags": NOARP}, [("IFLA_ADDRESS", MAC.mark)])
    filled = Template([("create", marked)]).fill({INDEX: 77, MAC: b"\x02\x50\x0a\x00\x00\x02"})
    direct = link(NEW_LINK, CREATE, {"index": 77, "flags": NOARP}, [("IFLA_ADDRESS", "02:50:0a:00:00:02")])
    assert filled == Template([("create", direct)]).fill({})


def test_addresses_of_both_families_are_patched() -> None:
    v4 = route(NEW_ROUTE, ACK, {"family": socket.AF_INET, "dst_len": 32}, [("RTA_DST", IP.mark)])
    v6 = route(NEW_ROUTE, ACK, {"family": socket.AF_INET6, "dst_len": 128}, [("RTA_DST", IP6.mark)])
    ip, ip6 = socket.inet_aton("10.1.2.3"), socket.inet_pton(socket.AF_INET6, "fd00::5")
    filled = Template([("v4", v4), ("v6", v6)]).fill({IP: ip, IP6: ip6, NAME: b"unused"})
    direct4 = route(NEW_ROUTE, ACK, {"family": socket.AF_INET, "dst_len": 32}, [("RTA_DST", "10.1.2.3")])
    direct6 = route(NEW_ROUTE, ACK, {"family": socket.AF_INET6, "dst_len": 128}, [("RTA_DST", "fd00::5")])
    assert filled == Template([("v4", direct4), ("v6", direct6)]).fill({})


def test_messages_are_aligned_and_numbered() -> None:
    message = link(SET_LINK, ACK, {}, [("IFLA_IFNAME", "odd")])
    data = Template([("a", message), ("b", message)]).fill({})
    assert len(data) % 8 == 0
    half = len(data) // 2
    assert (data[8], data[half + 8]) == (1, 2)
    assert (data[6], data[half + 6]) == (ACK & ~NLM_F_ACK, ACK)


def test_short_name_is_padded_and_a_long_one_refused() -> None:
    template = Template([("rename", link(SET_LINK, ACK, {}, [("IFLA_IFNAME", NAME.mark)]))])
    assert template.fill({NAME: b"pc-v1"}).endswith(b"pc-v1" + bytes(11))
    with pytest.raises(ValueError, match="does not fit into 16 bytes"):
        template.fill({NAME: b"x" * 17})


def test_missing_value_is_an_error() -> None:
    template = Template([("rename", link(SET_LINK, ACK, {"index": INDEX.mark}, []))])
    with pytest.raises(KeyError):
        template.fill({})


def test_no_marker_lies_in_another() -> None:
    for one in MARKERS:
        assert sum(one.data in other.data for other in MARKERS) == 1


def test_each_device_has_its_metric_and_each_address_its_mac() -> None:
    wire = Wire("pc-v1", "eth3", "10.0.0.2", "", "10.0.0.1", "", "10.0.0.0/24", "")
    assert wire.metric == 103
    assert wire.mac == bytes.fromhex("0250") + bytes((10, 0, 0, 2))

"""Published ports: every form, every refusal."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycontainer.errors import InvalidInput
from pycontainer.spec.model import Port
from pycontainer.spec.ports import format_port, parse_ports


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (80, (Port(0, 80),)),
        ("80", (Port(0, 80),)),
        ("80/udp", (Port(0, 80, "udp"),)),
        ("8080:80", (Port(8080, 80),)),
        ("8080:80/tcp", (Port(8080, 80),)),
        ("127.0.0.1:8080:80", (Port(8080, 80, "tcp", "127.0.0.1"),)),
        ("127.0.0.1::80", (Port(0, 80, "tcp", "127.0.0.1"),)),
        ("0.0.0.0:53:53/udp", (Port(53, 53, "udp", "0.0.0.0"),)),
        ("[::1]:8080:80", (Port(8080, 80, "tcp", "::1"),)),
        ("[::1]::80", (Port(0, 80, "tcp", "::1"),)),
        ("[FD00:0::1]:8080:80", (Port(8080, 80, "tcp", "fd00::1"),)),
        ("8000-8001:80-81", (Port(8000, 80), Port(8001, 81))),
        ("80-81/udp", (Port(0, 80, "udp"), Port(0, 81, "udp"))),
        ("65535:65535", (Port(65535, 65535),)),
    ],
)
def test_ports(entry: object, expected: tuple[Port, ...]) -> None:
    assert parse_ports(entry) == expected


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("", "the value is empty"),
        (":80", "':80' is not a port"),
        ("80:", "'80:' is not a port"),
        ("::80", "'::80' is not a port"),
        ("a:80", "'a:80' is not a port"),
        ("127.0.0.1:80", "'127.0.0.1:80' is not a port"),
        ("8080:80/", "'8080:80/' is not a port: protocol '' is neither tcp nor udp"),
        ("8080:80/TCP", "'8080:80/TCP' is not a port: protocol 'TCP' is neither tcp nor udp"),
        ("8080:80/sctp", "'8080:80/sctp': protocol 'sctp' is not supported"),
        ("0:80", "'0:80': port 0 is out of range"),
        ("080:80", "'080:80': port 080 is out of range"),
        ("8080:0", "'8080:0': port 0 is out of range"),
        ("65536:80", "'65536:80': port 65536 is out of range"),
        ("123456:80", "'123456:80' is not a port"),
        ("-1:80", "'-1:80' is not a port"),
        ("\uff18\uff10", "'\uff18\uff10' is not a port"),
        ("80\n", "'80\\n' holds a control character"),
        (" 80", "' 80' is not a port"),
        ("81-80:81-80", "'81-80:81-80': port range '81-80' runs backwards"),
        ("8000-8002:80-81", "'8000-8002:80-81': the ranges have 3 and 2 ports"),
        ("8000-8001:80", "'8000-8001:80': the ranges have 2 and 1 ports"),
        ("localhost:8080:80", "'localhost' is not an IP address"),
        ("256.0.0.1:8080:80", "'256.0.0.1' is not an IP address"),
        ("127.1:8080:80", "'127.1' is not an IP address"),
        ("010.0.0.1:8080:80", "'010.0.0.1' is not an IP address"),
        ("::1:8080:80", "'::1:8080:80' is not a port"),
        ("[127.0.0.1]:8080:80", "'[127.0.0.1]:8080:80' is not a port: brackets are for IPv6 addresses"),
        ("[fe80::1%eth0]:8080:80", "'fe80::1%eth0' is not an IP address"),
        ("[]:8080:80", "the value is empty"),
        (True, "true is true or false where text is wanted"),
        ({"host": 80}, "{'host': 80} is not text"),
    ],
)
def test_what_is_no_port(entry: object, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_ports(entry)
    assert caught.value.message == message


@given(
    st.builds(
        Port,
        st.integers(0, 65535),
        st.integers(1, 65535),
        st.sampled_from(["tcp", "udp"]),
        st.one_of(st.just(""), st.ip_addresses().map(str)),
    )
)
def test_format_port_is_read_back(port: Port) -> None:
    assert parse_ports(format_port(port)) == (port,)


@given(st.text("0123456789:-/[].tcpud", max_size=20))
def test_any_entry_is_proper_ports_or_invalid_input(entry: str) -> None:
    try:
        ports = parse_ports(entry)
    except InvalidInput:
        return
    assert ports and all(0 <= port.host_port <= 65535 and 1 <= port.container_port <= 65535 for port in ports)

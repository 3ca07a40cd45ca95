"""Published ports (spec/ports.py)."""

from pycontainer.spec.ports import format_port, parse_ports
from tests.fuzz.inputs import parsed, value_of

SEEDS = (
    b"80",
    b"8080:80/udp",
    b"127.0.0.1:5353:53/udp",
    b"127.0.0.1::80",
    b"[::1]:8080:80",
    b"8000-8009:80-89",
    b"080:80",
)
MAX_BYTES = 100


def try_one(data: bytes) -> None:
    ports = parsed(parse_ports, value_of(data))
    if isinstance(ports, tuple):
        assert 1 <= len(ports) <= 65535
        for port in ports[:3]:
            assert 0 <= port.host_port <= 65535 and 1 <= port.container_port <= 65535
            assert parse_ports(format_port(port)) == (port,)

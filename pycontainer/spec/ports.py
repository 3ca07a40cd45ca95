"""Published ports: `[[hostip:][hostport]:]containerport[/tcp|udp]`, each port a number or a range `first-last`.

80                     a free port of the host, on all its addresses, to port 80 inside
8080:80  8080:80/udp   port 8080 of the host
127.0.0.1:8080:80      on one address of the host only; IPv6 in brackets: [::1]:8080:80
127.0.0.1::80          a free port on that address
8000-8009:80-89        ten ports, one to one
"""

import re

from pycontainer.errors import InvalidInput
from pycontainer.spec.model import Port
from pycontainer.spec.values import parse_ip, parse_word
from pycontainer.units import shown

_PORT = r"[0-9]{1,5}(?:-[0-9]{1,5})?"
_ENTRY = re.compile(
    rf"(?:(?:\[(?P<ip6>[^\]]*)\]|(?P<ip4>[^:\[\]]+)):)??(?:(?P<host>{_PORT}|):)?(?P<inside>{_PORT})(?:/(?P<protocol>[^/]*))?",
    re.ASCII,
)
_HINT = "write [HOSTIP:][HOSTPORT:]PORT[/tcp|udp], such as 8080:80 or 127.0.0.1:5353:53/udp"
PROTOCOLS = ("tcp", "udp")


def parse_ports(value: object) -> tuple[Port, ...]:
    """Return the ports of one entry: one, or as many as its range holds."""
    text = parse_word(value)
    match = _ENTRY.fullmatch(text)
    if match is None:
        raise InvalidInput(f"{shown(text)} is not a port", hint=_HINT)
    address = match["ip6"] if match["ip6"] is not None else match["ip4"]
    if match["host"] == "" and address is None or match["host"] is None and address is not None:
        raise InvalidInput(f"{shown(text)} is not a port", hint=_HINT)
    protocol = match["protocol"] if match["protocol"] is not None else "tcp"
    if protocol == "sctp":
        raise InvalidInput(
            f"{shown(text)}: protocol 'sctp' is not supported", hint="tcp and udp ports can be published"
        )
    if protocol not in PROTOCOLS:
        raise InvalidInput(f"{shown(text)} is not a port: protocol {protocol!r} is neither tcp nor udp", hint=_HINT)
    host_ip = parse_ip(address) if address is not None else ""
    if (":" in host_ip) != (match["ip6"] is not None):
        raise InvalidInput(f"{shown(text)} is not a port: brackets are for IPv6 addresses", hint=_HINT)
    inside = _port_range(match["inside"], text)
    if not match["host"]:
        return tuple(Port(0, port, protocol, host_ip) for port in inside)
    host = _port_range(match["host"], text)
    if len(host) != len(inside):
        raise InvalidInput(
            f"{shown(text)}: the ranges have {len(host)} and {len(inside)} ports",
            hint="write ranges of the same length",
        )
    return tuple(Port(outer, inner, protocol, host_ip) for outer, inner in zip(host, inside, strict=True))


def format_port(port: Port) -> str:
    """Return the entry that `parse_ports` reads back: `127.0.0.1:8080:80/tcp`."""
    host_ip = f"[{port.host_ip}]" if ":" in port.host_ip else port.host_ip
    host = f"{host_ip}:" if host_ip else ""
    host += f"{port.host_port or ''}:" if port.host_port or host_ip else ""
    return f"{host}{port.container_port}/{port.protocol}"


def _port_range(text: str, entry: str) -> range:
    first, _, last = text.partition("-")
    numbers = [int(first), int(last or first)]
    for number, digits in zip(numbers, (first, last or first), strict=True):
        if not 1 <= number <= 65535 or digits != str(number):
            raise InvalidInput(
                f"{shown(entry)}: port {digits} is out of range",
                hint="ports go from 1 to 65535; leave the host's out for a free one",
            )
    if numbers[1] < numbers[0]:
        raise InvalidInput(
            f"{shown(entry)}: port range {text!r} runs backwards", hint=f"write {numbers[1]}-{numbers[0]}"
        )
    return range(numbers[0], numbers[1] + 1)

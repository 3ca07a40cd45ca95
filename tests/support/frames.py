"""Frames as root in a container may write them, which no socket of the kernel would let out.

    Ethernet: target MAC, source MAC, [VLAN tags], type ── ARP | IPv4 ── UDP | IPv6 ── UDP, ICMPv6

Addresses of frames are bytes, those of packets text. Checksums are right, so that nothing is dropped for being malformed.
"""

import socket
import struct

from tests.support.hostns import NetworkNamespace

ARP, IPV4, IPV6, VLAN, QINQ = 0x0806, 0x0800, 0x86DD, 0x8100, 0x88A8
EVERYBODY = b"\xff" * 6
ALL_NODES_MAC = bytes.fromhex("333300000001")
REQUEST, REPLY = 1, 2
ROUTER_ADVERTISEMENT, NEIGHBOUR_SOLICITATION, NEIGHBOUR_ADVERTISEMENT, REDIRECT = 134, 135, 136, 137
_ICMPV6 = 58


def ethernet(
    target: bytes, source: bytes, kind: int, packet: bytes, *, tags: tuple[tuple[int, int], ...] = ()
) -> bytes:
    """Return a frame; `tags` are (ethertype, VLAN id), outermost first."""
    marks = b"".join(struct.pack("!HH", tag_type, vlan) for tag_type, vlan in tags)
    return target + source + marks + struct.pack("!H", kind) + packet


def arp(operation: int, sender_mac: bytes, sender_ip: str, target_mac: bytes, target_ip: str) -> bytes:
    head = struct.pack("!HHBBH", 1, IPV4, 6, 4, operation)
    return head + sender_mac + socket.inet_aton(sender_ip) + target_mac + socket.inet_aton(target_ip) + bytes(18)


def udp4(source: str, target: str, port: int, data: bytes, *, source_port: int = 5000) -> bytes:
    udp = struct.pack("!HHHH", source_port, port, 8 + len(data), 0) + data
    addresses = socket.inet_aton(source) + socket.inet_aton(target)
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0) + addresses
    return header[:10] + struct.pack("!H", _checksum(header)) + header[12:] + udp


def udp6(source: str, target: str, port: int, data: bytes, *, source_port: int = 5000) -> bytes:
    udp = struct.pack("!HHHH", source_port, port, 8 + len(data), 0) + data
    return _ipv6(source, target, 17, udp, checksum_at=6, hops=64)


def icmp6(source: str, target: str, kind: int, body: bytes) -> bytes:
    return _ipv6(source, target, _ICMPV6, struct.pack("!BBH", kind, 0, 0) + body, checksum_at=2, hops=255)


def advertisement(source: str, target: str, advertised: str, mac: bytes) -> bytes:
    """Return a neighbour advertisement that overrides: `advertised` is at `mac`."""
    body = struct.pack("!I", 0x20000000) + socket.inet_pton(socket.AF_INET6, advertised) + b"\x02\x01" + mac
    return icmp6(source, target, NEIGHBOUR_ADVERTISEMENT, body)


def router_advertisement(source: str, target: str) -> bytes:
    """Return an advertisement of a default router, with a prefix to make addresses of."""
    prefix = struct.pack("!BBBBIII", 3, 4, 64, 0xC0, 3600, 3600, 0) + socket.inet_pton(
        socket.AF_INET6, "2001:db8:bad::"
    )
    return icmp6(source, target, ROUTER_ADVERTISEMENT, struct.pack("!BBHII", 64, 0, 1800, 0, 0) + prefix)


def redirect(source: str, target: str, router: str, destination: str) -> bytes:
    addresses = (socket.inet_pton(socket.AF_INET6, ip) for ip in (router, destination))
    return icmp6(source, target, REDIRECT, bytes(4) + b"".join(addresses))


def send_frame(namespace: NetworkNamespace, frame: bytes, device: str = "eth0") -> None:
    """Send a frame from a namespace as it is."""

    def send() -> None:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
            sock.bind((device, 0))
            sock.send(frame)

    namespace.call(send)


def mac_of(namespace: NetworkNamespace, device: str = "eth0") -> bytes:
    def read() -> bytes:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
            sock.bind((device, 0))
            return bytes(sock.getsockname()[4])

    return namespace.call(read)


class Listener:
    """Hears every frame that arrives at a device, whatever it is and to whom."""

    def __init__(self, namespace: NetworkNamespace, device: str = "eth0") -> None:
        self._socket = namespace.call(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003)))
        self._socket.bind((device, 0x0003))

    def close(self) -> None:
        self._socket.close()

    def heard_until(self, last: bytes, *, timeout_seconds: float) -> list[bytes]:
        """Return the frames that came before one that holds `last`; TimeoutError if that does not come."""
        self._socket.settimeout(timeout_seconds)
        frames: list[bytes] = []
        while True:
            data, address = self._socket.recvfrom(1 << 16)
            if address[2] == socket.PACKET_OUTGOING:
                continue
            if last in data:
                return frames
            frames.append(data)


def _ipv6(source: str, target: str, protocol: int, payload: bytes, *, checksum_at: int, hops: int) -> bytes:
    addresses = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, target)
    total = _checksum(addresses + struct.pack("!II", len(payload), protocol) + payload)
    payload = payload[:checksum_at] + struct.pack("!H", total) + payload[checksum_at + 2 :]
    return struct.pack("!IHBB", 6 << 28, len(payload), protocol, hops) + addresses + payload


def _checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + bytes(len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF

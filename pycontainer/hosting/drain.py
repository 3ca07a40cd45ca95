"""When the requests that a replica still answers are over: no connection of this host leads to it any more."""

import ipaddress
import threading
import time

_TABLES = ("/proc/self/net/tcp", "/proc/self/net/tcp6")
_OPEN = {"01", "02"}  # ESTABLISHED and SYN_SENT, net/tcp_states.h: neither side has said that it is done
_QUIET_SECONDS, _LOOK_SECONDS = 1.0, 0.1


def wait_until_drained(address: str, port: int, seconds: float, stop: threading.Event) -> bool:
    """Wait until nobody has been connected for a second; False if that takes longer than `seconds`, or on `stop`.

    A worker of the proxy that is about to leave may take one more request just now: a single look would miss it.
    """
    deadline = time.monotonic() + seconds
    quiet_since = time.monotonic()
    while True:
        now = time.monotonic()
        if connections(address, port):
            quiet_since = now
        elif now - quiet_since >= min(_QUIET_SECONDS, seconds):
            return True
        if now >= deadline or stop.wait(_LOOK_SECONDS):
            return False


def connections(address: str, port: int, tables: tuple[str, ...] = _TABLES) -> int:
    """Return how many connections of this host's network namespace lead to an address. proc_net_tcp.rst"""
    wanted = _as_written(address, port)
    found = 0
    for table in tables:
        try:
            with open(table) as file:
                lines = file.readlines()[1:]
        except FileNotFoundError:  # a kernel without IPv6
            continue
        found += sum(fields[2] == wanted and fields[3] in _OPEN for fields in (line.split() for line in lines))
    return found


def _as_written(address: str, port: int) -> str:
    """Return an address as the kernel writes it: in words of 32 bits, each in the machine's order, which is little-endian."""
    packed = ipaddress.ip_address(address).packed
    words = "".join(packed[start : start + 4][::-1].hex() for start in range(0, len(packed), 4))
    return f"{words.upper()}:{port:04X}"

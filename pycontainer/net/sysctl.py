"""Settings of the network namespace that this process is in, below /proc/sys/net; and those of our ends of links.

What is set inside of a container is no control: root in there sets it otherwise. These are the host's.
Source: kernel Documentation/networking/ip-sysctl.rst.
"""

import os

_SYSCTL = "/proc/sys/net"


def has_ipv6() -> bool:
    return read("ipv6/conf/all/disable_ipv6") == "0"


def read(name: str) -> str:
    """Return a setting, empty if there is none such."""
    try:
        fd = os.open(f"{_SYSCTL}/{name}", os.O_RDONLY | os.O_CLOEXEC)  # open() makes twice as many system calls
    except FileNotFoundError:
        return ""
    try:
        return os.read(fd, 4096).decode().strip()
    finally:
        os.close(fd)


def write(name: str, value: str) -> None:
    """Change a setting, unless it is as wished; FileNotFoundError if there is none such."""
    if read(name) != value:
        with open(f"{_SYSCTL}/{name}", "w") as file:
            file.write(value)


def guard_link(name: str, *, ipv6: bool, is_bridge: bool = False) -> None:
    """Have the host believe nothing that comes in at a link of ours, whatever its defaults are for new ones.

    Router advertisements and redirects from there must not change the host's routes, and its services on 127.0.0.0/8 are
    not for there. The host answers ARP on a bridge for the gateway alone, not for its other addresses.
    """
    _put(f"ipv4/conf/{name}/route_localnet", b"0")
    _put(f"ipv4/conf/{name}/accept_redirects", b"0")
    if is_bridge:
        _put(f"ipv4/conf/{name}/arp_ignore", b"1")
    if ipv6:
        _put(f"ipv6/conf/{name}/accept_ra", b"0")
        _put(f"ipv6/conf/{name}/accept_redirects", b"0")


def _put(name: str, value: bytes) -> None:
    fd = os.open(f"{_SYSCTL}/{name}", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value)
    finally:
        os.close(fd)

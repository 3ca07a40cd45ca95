"""What the links of instances have carried, as the instances count it: what leaves by the host's end is received."""

import errno
from collections.abc import Mapping
from contextlib import suppress

from pycontainer.net.innerend import InnerEnd, inner_end
from pycontainer.net.messages import Netlink

# By the index of the host's end: whether the inner one is to be asked what it received, which takes three times as long.
Links = Mapping[int, bool]
LinkBytes = Mapping[int, tuple[int, int]]  # by the same: bytes received and sent
_ATTEMPTS = 3  # root inside may move it between two questions


class AtLeast(int):
    """So many bytes, or more: the inner end does not say just now how many came past ours."""


def link_bytes(netlink: Netlink, links: Links) -> LinkBytes:
    """Return the bytes of each of `links` that is there still."""
    counts = {}
    for index, is_read_inside in links.items():
        try:
            sent, received = netlink.byte_counts(index)
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise
            continue
        if is_read_inside:
            inner = _ask(netlink, index)
            received = inner.received_bytes if inner is not None else AtLeast(received)
        counts[index] = received, sent
    return counts


def received_inside(links: Links) -> dict[int, tuple[int, int] | None]:
    """Return (bytes, packets) that came by those links whose inner end is to be asked; None: it does not say just now.

    It asks in the network namespace of the thread that calls it.
    """
    ends: dict[int, InnerEnd | None] = {index: None for index, is_read_inside in links.items() if is_read_inside}
    with suppress(OSError), Netlink() as netlink:  # no descriptor is free
        ends = {index: _ask(netlink, index) for index in ends}
    return {index: (end.received_bytes, end.received_packets) if end else None for index, end in ends.items()}


def _ask(netlink: Netlink, index: int) -> InnerEnd | None:
    for _ in range(_ATTEMPTS):
        try:
            return inner_end(netlink, index)
        except OSError:  # it is moved, or was in a network namespace that has ended
            pass
    return None

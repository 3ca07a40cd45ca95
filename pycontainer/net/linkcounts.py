"""What the links of instances have carried, as the instances count it: what leaves by the host's end is received."""

import errno
from collections.abc import Mapping

from pycontainer.net.innerend import inner_end
from pycontainer.net.messages import Netlink

# By the index of the host's end: whether the inner one is to be asked what it received, which takes three times as long.
Links = Mapping[int, bool]
# By the same: bytes received, None if that is not known just now, and sent.
LinkBytes = Mapping[int, tuple[int | None, int]]


def link_bytes(netlink: Netlink, links: Links) -> LinkBytes:
    """Return the bytes of each of `links` that is there still."""
    counts: dict[int, tuple[int | None, int]] = {}
    for index, is_read_inside in links.items():
        try:
            sent, received = netlink.byte_counts(index)
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise
        else:
            counts[index] = (_received_inside(netlink, index) if is_read_inside else received, sent)
    return counts


def _received_inside(netlink: Netlink, index: int) -> int | None:
    try:
        return inner_end(netlink, index).received_bytes
    except OSError:  # root inside moves it just now, or it was in a network namespace that has ended
        return None

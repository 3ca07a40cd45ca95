"""The end of a link that is inside an instance: its counts are read from outside, whatever root inside does with it."""

import errno
import json

import pytest

from pycontainer.net.innerend import InnerEnd, inner_end
from pycontainer.net.messages import Netlink
from tests.integration.net.conftest import Site, ask
from tests.support.hostns import NetworkNamespace

LOOPBACK_INDEX = 1


def look(site: Site, index: int) -> InnerEnd:
    with site.do(Netlink) as netlink:
        return inner_end(netlink, index)


def received(namespace: NetworkNamespace, link: str) -> tuple[int, int]:
    """Return what a link has received, packets and bytes, as its own namespace shows it."""
    (found,) = json.loads(namespace.run("ip", "-json", "-s", "link", "show", "dev", link))
    counts = found["stats64"]["rx"]
    return counts["packets"], counts["bytes"]


@pytest.mark.vm
def test_it_is_found_wherever_it_is(site: Site) -> None:
    web = site.instance("web")
    (index,) = site.manager.links(web.id)
    nested = NetworkNamespace()
    try:
        ask(site.inside, web.ip, 80)
        before = look(site, index)
        assert before.received_packets >= 2
        web.namespace.run("ip", "link", "set", "eth0", "down")
        web.namespace.run("ip", "link", "set", "eth0", "name", "other")
        now = look(site, index)
        assert (now.received_packets, now.received_bytes) == received(web.namespace, "other")
        web.namespace.run("ip", "link", "set", "other", "netns", nested.path)
        moved = look(site, index)
        assert (moved.received_packets, moved.received_bytes) == received(nested, "other")
        assert moved.received_bytes >= now.received_bytes >= before.received_bytes
        assert site.manager.links(web.id) == {index: False}  # its network never was a fast one
        nested.run("ip", "link", "del", "other")
        with pytest.raises(OSError, match="look at link") as caught:
            look(site, index)
        assert caught.value.errno == errno.ENODEV
    finally:
        nested.close()


def test_what_is_no_pair_has_none(site: Site) -> None:
    with pytest.raises(OSError, match="has no other end") as caught:
        look(site, LOOPBACK_INDEX)
    assert caught.value.errno == errno.ENODEV

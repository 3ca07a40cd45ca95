"""What holds for few holds for hundreds, and for many supervisors: how the firewall is looked at, how links are numbered."""

import socket
import sys

from pycontainer.net.link import Links, Wire, index_of, is_there
from tests.integration.net.conftest import Site
from tests.support.hostns import NetworkNamespace
from tests.support.poll import poll_until

_LOOK = """
from pycontainer.net.elements import Element
from pycontainer.net.firewall import Firewall
firewall = Firewall("pct_many", "px-")
elements = {
    f"c{number}": [
        Element("own6", f'"px-v{number}" . fd00::{number + 2:x}'),
        Element("share", str(number + 1), connections=100),
    ]
    for number in range(400)
}
firewall.add(elements)
print(repr(firewall.verify()))
firewall._run('delete element inet pct_many own6 { "px-v399" . fd00::191 }')
print(repr(firewall.verify()))
firewall.rebuild()
print(repr(firewall.verify()))
firewall.delete_table()
"""


def test_hundreds_of_elements_are_looked_for(site: Site) -> None:
    """One that is gone is missed, and nobody dies of the question."""
    lines = site.inside.run(sys.executable, "-c", _LOOK).splitlines()
    assert lines == ["''", "\"elements of 'inet pct_many own6' are gone\"", "''"]


def test_a_link_is_not_deleted_for_one_that_had_its_index() -> None:
    """A supervisor that comes up counts from one again, and parks links that another one numbered."""
    host, first, second = NetworkNamespace(), NetworkNamespace(), NetworkNamespace()

    def work() -> bool:
        links = Links("px-", "")
        wire = Wire("px-v1", "eth0", "10.64.0.2", "", "10.64.0.1", "", "10.64.0.0/16", "")
        links.add_gateway("10.64.0.1", "")
        index = links.attach(wire, first.fd)
        links.detach(index)
        links.delete(index)  # as the end of its namespace does
        following, links._count = links._count, 0
        assert links.attach(wire, second.fd) == index and links._count == following
        links.delete_parked()
        links.close()
        return index_of("px-v1") == index

    try:
        assert host.call(work)
    finally:
        for namespace in (host, first, second):
            namespace.close()


def test_the_list_of_multicast_routes_does_not_grow_with_the_links() -> None:
    """The kernel gives one to each host's end; when the next link is made it is gone, and the link serves as before."""
    host, *instances = (NetworkNamespace() for _ in range(4))
    wires = [
        Wire(f"px-v{n}", "eth0", f"10.64.0.{n}", f"fd00::{n}", "10.64.0.1", "fd00::1", "10.64.0.0/16", "fd00::/64")
        for n in (2, 3, 4)
    ]

    def routed() -> list[str]:
        lines = host.run("ip", "-6", "route", "show", "table", "local", "type", "multicast").splitlines()
        return [line.split()[3] for line in lines]

    def work() -> None:
        links = Links("px-", "")
        links.add_gateway("10.64.0.1", "fd00::1")
        for wire, instance in zip(wires, instances, strict=True):
            links.attach(wire, instance.fd)
            poll_until(lambda name=wire.name: routed() == [name], what="the route of this link alone")  # type: ignore[misc]
        links.delete_multicast_routes()
        assert routed() == []
        links.close()

    try:
        host.call(work)
        for wire, instance in zip(wires, instances, strict=True):
            server = instance.make_socket(socket.AF_INET6)
            server.bind((wire.ip6, 80))
            server.listen()
            client = host.make_socket(socket.AF_INET6)
            client.connect((wire.ip6, 80))
            with client, server, server.accept()[0] as accepted:
                assert accepted.getpeername()[0] == "fd00::1"
    finally:
        for namespace in (host, *instances):
            namespace.close()


def test_all_links_are_listed() -> None:
    """Whosever they are, and however many datagrams that takes; those that are named as ours are told of unless known."""
    host = NetworkNamespace()
    host.run("sh", "-c", "for n in $(seq 300); do echo link add px-v$n type bridge; done | ip -batch -")
    host.run("ip", "link", "add", "px-mine", "type", "bridge")

    def work() -> None:
        links = Links("px-", "")
        there = dict(socket.if_nameindex())
        assert len(there) > 300 and sorted(links.netlink.links()) == sorted(there)
        ours = [index for index, name in there.items() if name.startswith("px-v")]
        assert sorted(links.leftovers()) == sorted((index, there[index]) for index in ours)
        assert links.leftovers(ours[1:]) == [(ours[0], there[ours[0]])]
        links.delete(ours[0])
        assert ours[0] not in links.netlink.links() and not is_there(ours[0]) and is_there(ours[1])
        links.close()

    try:
        host.call(work)
    finally:
        host.close()

"""Names of links, and of the networks and containers that people name. NET-11"""

import pytest

from pycontainer.errors import InvalidInput
from pycontainer.net.addresses import Endpoint, Network
from pycontainer.net.bridge import bridge_name
from pycontainer.net.link import Links
from pycontainer.net.manager import NetworkManager
from pycontainer.paths import HostPaths
from pycontainer.spec.names import check_name

IFNAMSIZ = 16


@pytest.mark.parametrize("root", [None, "/var/tmp/some-other-world"])
def test_three_thousand_instances_have_names_of_their_own(root: str | None) -> None:
    """Links, those that are going, and bridges: unique, at most 15 bytes, none a word of the kernel's or of another kind."""
    paths = HostPaths(root)
    manager = NetworkManager.__new__(NetworkManager)
    manager._prefix = paths.interface_prefix
    links = Links(paths.interface_prefix, paths.world)
    up = [manager._link_name(Endpoint("default", "eth0", slot, "", "")) for slot in [*range(1, 3001), 9_999_999]]
    going = [links.dying_name(links.next_index()) for _ in range(3000)]
    bridges = [
        bridge_name(manager._prefix, Network("n", "bridge", number, "", "", "", "")) for number in range(1, 1001)
    ]
    names = [*up, *going, *bridges]
    assert len(set(names)) == len(names)
    assert max(map(len, names)) < IFNAMSIZ
    assert not {"lo", "all", "default"} & set(names)
    assert all(name.startswith(paths.interface_prefix) for name in names)


def test_worlds_do_not_share_names() -> None:
    prefixes = {HostPaths(root).interface_prefix for root in (None, "/var/tmp/a", "/var/tmp/b")}
    assert len(prefixes) == 3


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a" * 64,
        "a" * 200,
        "a/b",
        "..",
        ".",
        "a b",
        "a%d",
        "%s",
        "ä",
        "a\n",
        "a\0",
        "-a",
        "_a",
        "a@b",
        "a+b",
        "a:b",
        '"',
        "{",
    ],
)
@pytest.mark.parametrize("kind", ["network", "container"])
def test_names_that_are_refused(name: str, kind: str) -> None:
    with pytest.raises(InvalidInput):
        check_name(name, kind)


@pytest.mark.parametrize("name", ["a", "a" * 15, "a" * 16, "a" * 63, "lo", "all", "default", "eth0", "pc-v1"])
def test_names_that_could_be_a_link_are_no_links(name: str) -> None:
    """They are only ever names of files and lines: what people choose never becomes the name of a link."""
    check_name(name, "container")
    manager = NetworkManager.__new__(NetworkManager)
    manager._prefix = "pc-"
    assert manager._link_name(Endpoint(name, "eth0", 7, "", "")) == "pc-v7"
    assert bridge_name("pc-", Network(name, "bridge", 3, "", "", "", "")) == "pc-b3"

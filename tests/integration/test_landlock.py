"""A container on the host's network does not reach the abstract sockets of the host. NET-06, CVE-2020-15257."""

import socket
from collections.abc import Iterator

import pytest

from tests.integration.conftest import IMAGE
from tests.support.hostns import HostNetwork
from tests.support.world import World, unique_name

pytestmark = [pytest.mark.vm, pytest.mark.requires("landlock_scopes")]

NAME = "pct-of-the-host"
HOST = ("--network", "host")


@pytest.fixture
def host_socket(host_network: HostNetwork) -> Iterator[str]:
    """A service of the world's host, which listens on an abstract socket."""
    with host_network.inside.make_socket(socket.AF_UNIX) as listener:
        listener.bind(f"\0{NAME}")
        listener.listen(8)
        yield NAME


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), "reach: EPERM"),
        (("--init",), "reach: EPERM"),
        (("-u", "1000"), "reach: EPERM"),
        (("--profile", "system"), "reach: EPERM"),
        (("--profile", "system", "-u", "1000"), "reach: EPERM"),
        (("--security-opt", "landlock=unconfined"), "reach: ok"),
        (("--privileged",), "reach: ok"),
    ],
)
def test_the_hosts_sockets(world: World, host_socket: str, options: tuple[str, ...], expected: str) -> None:
    assert world.ok("run", "--rm", *HOST, *options, IMAGE, "payload", "reach", host_socket) == expected


def test_a_session_does_not_reach_them_either(world: World, host_socket: str) -> None:
    name = unique_name()
    world.ok("run", "-d", "--name", name, *HOST, IMAGE, "payload", "sleep", "0")
    assert world.ok("exec", name, "payload", "reach", host_socket) == "reach: EPERM"


def test_own_sockets_work(world: World) -> None:
    """Processes of one container, which were not started by `exec`, reach one another; so does what is in the file system."""
    script = "payload serve own sleep 9 & until payload reach own | grep ok; do sleep 0.1; done; kill $!"
    assert world.ok("run", "--rm", *HOST, IMAGE, "sh", "-c", script) == "reach: ok"


def test_taking_it_off_is_marked(world: World) -> None:
    name = unique_name()
    world.ok("create", "--name", name, *HOST, "--security-opt", "landlock=unconfined", IMAGE, "true")
    assert world.inspect(name)["security"]["loosened"] == ["--network host", "--security-opt landlock=unconfined"]

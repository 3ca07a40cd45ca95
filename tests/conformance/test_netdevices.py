"""linux.netDevices: interfaces that move from the runtime's network, here one of the test's own, into the container's."""

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conformance.holder import Holder
from tests.conformance.runtime import SLEEP, Container, Runtime

pytestmark = pytest.mark.requires("veth")

UNKNOWN = "1.1 does not know netDevices"


@pytest.fixture
def network(runtime: Runtime, nothing_leaks: None) -> Iterator[Holder]:
    """The runtime's network: the pair here0, with addresses, and peer0."""
    holder = Holder("--net")
    try:
        holder.run("ip", "link", "add", "here0", "type", "veth", "peer", "name", "peer0")
        holder.run("ip", "address", "add", "10.9.8.7/24", "dev", "here0")
        holder.run("ip", "address", "add", "fd00:9::7/64", "dev", "here0", "nodad")
        holder.run("ip", "link", "set", "here0", "mtu", "1400", "up")
        holder.run("ip", "link", "set", "peer0", "up")
        runtime.wrapper = holder.wrapper()
        yield holder
    finally:
        runtime.clear()
        holder.close()


def links_of(pid: int) -> dict[str, Any]:
    """Return what `ip` says of each link of the network that `pid` is in, by name."""
    done = subprocess.run(
        ["nsenter", f"--net=/proc/{pid}/ns/net", "ip", "-json", "address"], capture_output=True, text=True, check=True
    )
    return {link["ifname"]: link for link in json.loads(done.stdout)}


def addresses(link: dict[str, Any]) -> set[str]:
    return {f"{each['local']}/{each['prefixlen']}" for each in link["addr_info"] if each["scope"] == "global"}


@pytest.mark.deviates("runc", UNKNOWN)
@pytest.mark.parametrize(
    ("device", "name"), [({"name": "eth7"}, "eth7"), ({}, "here0"), ({"name": "net%d"}, "net0")],
    ids=["named", "as-it-is", "numbered"],
)  # fmt: skip
def test_moved(container: Container, network: Holder, device: dict[str, str], name: str) -> None:
    """It keeps its addresses and its MTU, is up, and has gone from outside."""
    container.linux["netDevices"] = {"here0": device}
    container.process["capabilities"] = {kind: ["CAP_NET_RAW"] for kind in ("bounding", "effective", "permitted")}
    container.create_and_start(*SLEEP)
    inside, outside = links_of(container.pid()), links_of(network.pid)
    assert set(inside) == {"lo", name} and "here0" not in outside
    assert addresses(inside[name]) == {"10.9.8.7/24", "fd00:9::7/64"}
    assert inside[name]["mtu"] == 1400 and "UP" in inside[name]["flags"]
    network.run("ip", "address", "add", "10.9.8.1/24", "dev", "peer0")
    assert container.exec("ping", "-c", "1", "-W", "5", "10.9.8.1").code == 0


@pytest.mark.deviates("runc", UNKNOWN)
def test_in_a_user_namespace(container: Container, network: Holder) -> None:
    container.with_user_namespace()
    container.linux["netDevices"] = {"here0": {"name": "eth0"}}
    container.create_and_start(*SLEEP)
    assert set(links_of(container.pid())) == {"lo", "eth0"}


@pytest.mark.deviates("runc", UNKNOWN)
def test_device_that_is_not_there(container: Container, network: Holder) -> None:
    container.linux["netDevices"] = {"none0": {}}
    done = container.try_create("true")
    assert done.code == 1 and "linux.netDevices.none0" in done.err
    assert not container.exists()


@pytest.mark.deviates("runc", UNKNOWN)
def test_name_that_is_taken_inside(container: Container, network: Holder) -> None:
    """The device stays where it was, as it was."""
    before = links_of(network.pid)["here0"]
    container.linux["netDevices"] = {"here0": {"name": "lo"}}
    done = container.try_create("true")
    assert done.code == 1 and "linux.netDevices.here0" in done.err
    after = links_of(network.pid)["here0"]
    assert ("UP" in after["flags"], addresses(after)) == ("UP" in before["flags"], addresses(before))


@pytest.mark.deviates("runc", UNKNOWN)
def test_without_a_network_of_its_own(container: Container, network: Holder) -> None:
    container.without_namespace("network")
    container.config["mounts"] = [mount for mount in container.config["mounts"] if mount["type"] != "sysfs"]
    container.linux["netDevices"] = {"here0": {}}
    done = container.try_create("true")
    assert done.code == 1 and "linux.netDevices" in done.err
    assert "here0" in links_of(network.pid)


@pytest.mark.parametrize("fails", [pytest.param("next", marks=pytest.mark.deviates("runc", UNKNOWN)), "later"])
@pytest.mark.parametrize("name", ["eth7", "net%d"])
def test_moved_in_vain(container: Container, network: Holder, name: str, fails: str) -> None:
    """What has moved comes back as it was if the next one cannot, or the program is not there."""
    network.run("ip", "link", "add", "idle0", "type", "veth", "peer", "name", "idle1")
    before = links_of(network.pid)
    devices = {"here0": {"name": name}, "idle0": {"name": name.replace("7", "8")}}
    if "%" in name:  # in the other order of their numbers
        devices = dict(reversed(devices.items()))
    container.linux["netDevices"] = devices
    if fails == "next":
        container.linux["netDevices"]["none0"] = {}
    done = container.try_create("no-such-program")
    assert done.code == 1 and ("linux.netDevices.none0" if fails == "next" else "executable file not found") in done.err
    after = links_of(network.pid)
    assert set(after) == set(before)
    for device in ("here0", "idle0"):
        assert ("UP" in after[device]["flags"]) == ("UP" in before[device]["flags"]), device
        assert addresses(after[device]) == addresses(before[device]), device
        assert after[device]["mtu"] == before[device]["mtu"]


@pytest.mark.deviates("runc", UNKNOWN)
def test_two_are_numbered(container: Container, network: Holder) -> None:
    """Each has its own addresses, whatever their order was outside."""
    network.run("ip", "link", "add", "late0", "type", "veth", "peer", "name", "late1")
    network.run("ip", "address", "add", "10.9.7.7/24", "dev", "late0")
    container.linux["netDevices"] = {"late0": {"name": "net%d"}, "here0": {"name": "net%d"}}
    container.create_and_start(*SLEEP)
    inside = links_of(container.pid())
    assert addresses(inside["net0"]) == {"10.9.7.7/24"}
    assert addresses(inside["net1"]) == {"10.9.8.7/24", "fd00:9::7/64"}

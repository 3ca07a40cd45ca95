"""network_create, network_set, network_list, network_inspect, network_rm, network_connect, network_disconnect."""

import os

from pycontainer.errors import InvalidInput
from pycontainer.failpoints import reach
from pycontainer.runtime.container import Container
from pycontainer.supervisor.authorise import may_see_network, telling_no_holder
from pycontainer.supervisor.call import Call
from pycontainer.supervisor.caller import current_caller
from pycontainer.supervisor.world import World


async def network_create(world: World, call: Call) -> object:
    world.reserve.require_room("a network")
    return world.networks.create(
        call.text("name"),
        driver=call.text("driver", "routed"),
        subnet=call.text("subnet"),
        subnet6=call.text("subnet6"),
        fast_path=call.flag("fast_path"),
    )


async def network_set(world: World, call: Call) -> object:
    return world.networks.set_fast_path(call.text("network"), call.flag("fast_path"))


async def network_list(world: World, call: Call) -> object:
    return [_seen(world, info) for info in world.networks.list() if may_see_network(str(info["name"]))]


async def network_inspect(world: World, call: Call) -> object:
    return _seen(world, world.networks.inspect(call.text("network")))


def _seen(world: World, info: dict[str, object]) -> dict[str, object]:
    """Return NetworkInfo with those of its containers that who asks may see."""
    if current_caller() is None:
        return info
    members, seen = info["containers"], {container.id for container in world.seen()}
    assert isinstance(members, dict)
    return {**info, "containers": {key: member for key, member in members.items() if key in seen}}


async def network_rm(world: World, call: Call) -> object:
    world.networks.remove(call.text("network"))
    return {}


async def network_connect(world: World, call: Call) -> object:
    container = world.find(call.text("container"))
    if set(container.spec.networks) & {"host", "none"} and not container.addresses:
        raise InvalidInput(
            f"container '{container.spec.name}' uses network '{container.spec.networks[0]}'",
            field="network",
            hint="a container joins networks when it was created with one; create it with --network NAME",
        )
    async with world.lock(container):
        world.require(container)
        netns_fd, ports = _netns(world, container), list(container.spec.ports)
        network, ip, ip6 = call.text("network"), call.text("ip"), call.text("ip6")
        try:
            with telling_no_holder(container):
                world.networks.connect(container.id, network, ip, ip6, netns_fd, ports)
        finally:
            if netns_fd is not None:
                os.close(netns_fd)
        _record_addresses(world, container)
        reach("connect:recorded")
    return {}


async def network_disconnect(world: World, call: Call) -> object:
    container = world.find(call.text("container"))
    async with world.lock(container):
        world.require(container)
        netns_fd = _netns(world, container)
        world.ledger.before_change(container)
        try:
            world.networks.disconnect(container.id, call.text("network"), netns_fd)
        finally:
            if netns_fd is not None:
                os.close(netns_fd)
        _record_addresses(world, container)
        reach("disconnect:recorded")
    return {}


def _netns(world: World, container: Container) -> int | None:
    if container.id not in world.runs:
        return None
    return os.open(f"/proc/{container.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _record_addresses(world: World, container: Container) -> None:
    container.addresses = world.networks.addresses(container.id)
    container.save()

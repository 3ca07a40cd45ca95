"""A restore that a crash cut off is finished in a thread: it may have millions of files to delete in a disk image."""

import asyncio
import os
import threading
from pathlib import Path

import pytest

from pycontainer.disk.layers import FrozenLayers
from pycontainer.paths import HostPaths
from pycontainer.runtime import rootfs
from pycontainer.runtime.container import Container
from pycontainer.spec.model import ContainerSpec
from pycontainer.supervisor import layers
from pycontainer.supervisor.world import World

_ID = "0123456789ab"


@pytest.mark.parametrize("way", ["as it comes up", "cancelled"])
def test_the_event_loop_goes_on_while_a_layer_is_emptied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """FLT-01. And who waits for the container's lock waits until it is over, whatever becomes of who asked."""
    paths = HostPaths(str(tmp_path))
    for directory in (paths.containers_dir, paths.layers_dir, paths.run_containers_dir):
        os.makedirs(directory)
    world = World(paths, open_files_soft=1024)
    os.mkdir(paths.container_dir(_ID))
    container = Container(paths, _ID, ContainerSpec(name="x", rootfs="/"), None, base=0, created=0.0)
    container.driver = "overlay"
    container.storage().prepare()
    upper = Path(container.directory, "rootfs", "upper")
    (upper / "file").write_text("x")
    container.clearing = True
    world.add(container)
    may_go_on, order = threading.Event(), list[str]()

    def settle(container: Container, frozen: FrozenLayers) -> str:
        assert may_go_on.wait(30)
        trash = rootfs.settle(container, frozen)
        order.append("settled")
        return trash

    monkeypatch.setattr(layers, "settle", settle)

    async def hold() -> None:
        async with world.lock(container):
            await world.layers.settle(container)

    async def others() -> None:
        asyncio.get_running_loop().call_later(0.1, may_go_on.set)  # not before the loop has gone round
        if way == "cancelled":
            task = asyncio.create_task(hold())
            await asyncio.sleep(0.05)
            task.cancel()
        else:
            world.layers.recover()
        await asyncio.sleep(0)
        order.append("served others")
        async with world.lock(container):
            order.append("started")
        while world._tasks:
            await asyncio.sleep(0.01)

    asyncio.run(others())
    assert order == ["served others", "settled", "started"]
    assert os.listdir(upper) == [] and not container.clearing

"""What a container needs is in use while it is being made: copying its root takes long, and others ask meanwhile."""

import asyncio
import os
from pathlib import Path

import pytest

from pycontainer.disk.storage import Caps
from pycontainer.errors import InvalidState
from pycontainer.paths import HostPaths
from pycontainer.runtime.container import Container, ImageRecord
from pycontainer.spec.model import ContainerSpec, Mount
from pycontainer.supervisor.storagecheck import findings
from pycontainer.supervisor.verbs import creation
from pycontainer.supervisor.volumes import users_of
from pycontainer.supervisor.world import World
from tests.support.doctor import make_old

_CONFIG: dict[str, object] = {"cmd": ["sh"], "env": [], "entrypoint": [], "volumes": []}


def test_what_is_needed_while_a_root_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """IMG-05, FLT-05. Nobody removes its image and its volume, nothing of it is a finding; a failure leaves nothing."""
    layer = tmp_path / "layer"
    layer.mkdir()
    paths = HostPaths(str(tmp_path / "root"))
    for directory in (paths.containers_dir, paths.layers_dir, paths.run_containers_dir, paths.tenants_dir):
        os.makedirs(directory)
    world = World(paths, open_files_soft=1024)
    image = ImageRecord("i", f"sha256:{'5' * 64}", [str(layer)], _CONFIG)
    spec = ContainerSpec(
        name="copied", image="i", rootfs_driver="copy", networks=("none",), mounts=(Mount("volume", "/data", "held"),)
    )
    seen: list[str] = []

    def fill(container: Container, layers: tuple[str, ...]) -> None:
        make_old(container.directory)
        assert world.images_in_use() == {image.id}
        assert users_of(world, "held") == [container]
        with pytest.raises(InvalidState, match="volume 'held' is used by 'copied'"):
            world.volumes.remove(world, "held")
        assert findings(world) == []
        seen.append(container.id)
        raise OSError("the disk is full")

    monkeypatch.setattr(creation, "fill", fill)

    async def make() -> None:
        world.volumes.create("held", Caps())
        with pytest.raises(OSError, match="the disk is full"):
            await creation.make(world, spec, image, capped=True)

    asyncio.run(make())
    assert len(seen) == 1
    assert world.making == {} and world.names == {}
    assert world.images_in_use() == set()
    assert os.listdir(paths.containers_dir) == []

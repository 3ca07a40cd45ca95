"""The first content of a volume: all of it, or none that anybody takes for all (FLT-01)."""

import asyncio
import contextlib
import os
from pathlib import Path

import pytest

from pycontainer.disk.storage import Caps
from pycontainer.disk.volume import VolumeData
from pycontainer.errors import PycontainerError, StartFailed
from pycontainer.paths import HostPaths
from pycontainer.runtime.container import Container, ImageRecord
from pycontainer.spec.model import ContainerSpec, Mount
from pycontainer.supervisor.world import World


@pytest.mark.parametrize(
    ("failure", "raised"),
    [
        (OSError("no descriptors"), OSError),
        (asyncio.CancelledError(), asyncio.CancelledError),
        (PycontainerError("the disk is full"), StartFailed),
    ],
)
def test_a_filling_that_fails_is_begun_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException, raised: type[BaseException]
) -> None:
    """Whatever cuts it off: the next start does not take half of the content for all of it."""
    (tmp_path / "layer" / "srv").mkdir(parents=True)
    (tmp_path / "layer" / "srv" / "page").write_text("x")
    world = World(HostPaths(str(tmp_path / "root")), open_files_soft=1024)
    image = ImageRecord("i", f"sha256:{'5' * 64}", [str(tmp_path / "layer")], {})
    spec = ContainerSpec(name="x", image="i", mounts=(Mount("volume", "/srv", "site"),))
    container = Container(world.paths, "0123456789ab", spec, image, base=0, created=0.0)
    volume = world.volumes.create("site", Caps())
    failures = [failure]

    async def copy(image_fd: int, target: str, data: VolumeData) -> None:
        Path(volume.data, "half" if failures else "whole").write_text("x")
        if failures:
            raise failures.pop()

    monkeypatch.setattr(world.volumes, "_copy", copy)

    async def fill() -> None:
        with contextlib.ExitStack() as undo:
            await world.volumes.fill(world, container, undo)

    with pytest.raises(raised):
        asyncio.run(fill())
    asyncio.run(fill())
    assert os.listdir(volume.data) == ["whole"]
    assert not Path(volume.directory, "filling").exists()

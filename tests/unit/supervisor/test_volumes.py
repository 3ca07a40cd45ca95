"""The first content of a volume: all of it, or none that anybody takes for all (FLT-01)."""

import asyncio
import contextlib
import os
from pathlib import Path

import pytest

from pycontainer.disk.storage import Caps
from pycontainer.disk.volume import VolumeData
from pycontainer.errors import InvalidState, PycontainerError, StartFailed
from pycontainer.paths import HostPaths
from pycontainer.runtime.container import Container, ImageRecord
from pycontainer.spec.model import ContainerSpec, Mount
from pycontainer.supervisor.world import World


@pytest.mark.parametrize(
    ("failure", "raised"),
    [
        (OSError("no descriptors"), StartFailed),
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


def test_whose_start_has_a_volume_is_at_work_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails afterwards, a restore or the filling of another start, would empty what this one has written by then."""
    (tmp_path / "layer" / "srv").mkdir(parents=True)
    (tmp_path / "layer" / "srv" / "page").write_text("x")
    world = World(HostPaths(str(tmp_path / "root")), open_files_soft=1024)
    image = ImageRecord("i", f"sha256:{'5' * 64}", [str(tmp_path / "layer")], {})
    mounts = (Mount("volume", "/srv", "site"),)
    first = Container(world.paths, "0" * 12, ContainerSpec(name="x", mounts=mounts), None, base=0, created=0.0)
    other = Container(
        world.paths, "1" * 12, ContainerSpec(name="y", image="i", mounts=mounts), image, base=0, created=0.0
    )
    world.containers |= {each.id: each for each in (first, other)}
    volume = world.volumes.create("site", Caps())

    async def copy(image_fd: int, target: str, data: VolumeData) -> None:
        raise AssertionError("it is filled for nobody")

    monkeypatch.setattr(world.volumes, "_copy", copy)

    async def restore() -> None:
        async with world.volumes.restoring(world, "site", Caps(), {}) as data:
            assert data.is_empty()

    async def both() -> None:
        with contextlib.ExitStack() as start:
            await world.volumes.fill(world, first, start)
            with pytest.raises(InvalidState, match="volume 'site' is in use by 'x'"):
                await restore()
            with contextlib.ExitStack() as second:
                await world.volumes.fill(world, other, second)
        await restore()

    asyncio.run(both())
    assert os.listdir(volume.data) == []


def test_a_volume_that_is_mounted_twice_is_filled_by_the_mount_that_has_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "layer" / "srv").mkdir(parents=True)
    (tmp_path / "layer" / "srv" / "page").write_text("x")
    world = World(HostPaths(str(tmp_path / "root")), open_files_soft=1024)
    image = ImageRecord("i", f"sha256:{'5' * 64}", [str(tmp_path / "layer")], {})
    mounts = (Mount("volume", "/nothing-there", "site"), Mount("volume", "/srv", "site"))
    spec = ContainerSpec(name="x", image="i", mounts=mounts)
    container = Container(world.paths, "0123456789ab", spec, image, base=0, created=0.0)
    world.containers[container.id] = container
    volume = world.volumes.create("site", Caps())

    async def copy(image_fd: int, target: str, data: VolumeData) -> None:
        Path(volume.data, "from").write_text(target)

    monkeypatch.setattr(world.volumes, "_copy", copy)

    async def fill() -> None:
        with contextlib.ExitStack() as undo:
            await world.volumes.fill(world, container, undo)

    asyncio.run(fill())
    assert Path(volume.data, "from").read_text() == "/srv"

"""A repair comes long after the look: it looks again, and touches nothing that is somebody's by now (FLT-05)."""

import asyncio
import os
from pathlib import Path

import pytest

from pycontainer.disk.storage import Caps
from pycontainer.paths import HostPaths
from pycontainer.runtime.container import Container
from pycontainer.spec.model import ContainerSpec
from pycontainer.supervisor.finding import Finding, repair
from pycontainer.supervisor.storagecheck import deep_findings, findings
from pycontainer.supervisor.world import World
from tests.support.doctor import GONE, make_old


@pytest.fixture
def world(tmp_path: Path) -> World:
    paths = HostPaths(str(tmp_path))
    for directory in (paths.containers_dir, paths.layers_dir, paths.run_containers_dir, paths.tenants_dir):
        os.makedirs(directory)
    made = World(paths, open_files_soft=1024)
    made.images.make_directories()
    return made


def the_only(world: World, kind: str) -> Finding:
    (found,) = findings(world)
    assert found.kind == kind
    return found


def test_a_volume_that_was_filled_meanwhile_keeps_its_content(world: World) -> None:
    volume = world.volumes.create("site", Caps())
    Path(volume.data, "half").write_text("of it")
    marker = Path(volume.directory, "filling")
    marker.write_text("")
    found = the_only(world, "half-filled volume")

    async def come_too_late() -> None:
        async with world.volumes.locked("site"):  # a start is at it
            assert not await repair(world, found)
        marker.unlink()
        assert not await repair(world, found)
        assert os.listdir(volume.data) == ["half"]
        marker.write_text("")
        assert await repair(world, found)

    asyncio.run(come_too_late())
    assert os.listdir(volume.data) == [] and not marker.exists()


def test_a_run_of_a_container_that_is_there_by_now_stays(world: World) -> None:
    path = Path(world.paths.run_containers_dir, f"{GONE}.json")
    path.write_text("{}")
    found = the_only(world, "run of a container that is gone")
    world.making[GONE] = Container(world.paths, GONE, ContainerSpec(name="x"), None, base=0, created=0.0)
    assert not asyncio.run(repair(world, found))
    assert path.exists()
    world.making.clear()
    assert asyncio.run(repair(world, found))
    assert not path.exists()


def test_a_record_and_a_blob_that_came_anew_stay(world: World) -> None:
    store = world.images
    ref = Path(store.directory, "refs", "web.json")
    ref.write_text("{")
    found = the_only(world, "damaged record")
    assert found.repair is not None
    blob = Path(store.blobs.path(f"sha256:{'2' * 64}"))
    blob.write_text("damaged")
    (damaged,) = deep_findings(world)

    ref.unlink()
    store.refs.write(
        {"name": "web", "id": f"sha256:{'b' * 64}", "created": 0.0, "size_bytes": 0, "platform": "linux/amd64",
         "config": {}, "layers": [f"sha256-{'a' * 64}"], "manifest": None, "blobs": []}
    )  # fmt: skip
    found.repair()  # as if it came between the second look and the lock
    assert store.refs.read("web")["name"] == "web"

    blob.rename(f"{blob}.old")
    blob.write_text("new one")
    asyncio.run(repair(world, damaged))
    assert blob.read_text() == "new one"
    (damaged,) = deep_findings(world)
    asyncio.run(repair(world, damaged))
    assert not blob.exists()


def test_the_pool_of_a_tenant_that_came_meanwhile_stays(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Path(world.paths.tenant_pool("acme"))
    pool.mkdir()
    (pool / "disk.img").write_text("x")
    make_old(pool)
    found = the_only(world, "pool of a tenant that is gone")
    monkeypatch.setattr(world.tenants, "find", lambda name: name)
    assert not asyncio.run(repair(world, found))
    assert pool.exists()
    monkeypatch.undo()
    assert asyncio.run(repair(world, found))
    assert not pool.exists()

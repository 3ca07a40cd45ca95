"""Freezing what does not stop: all others are served meanwhile, and it goes on in the end."""

import asyncio
from collections.abc import Generator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pycontainer.cgroup.v2 import CgroupV2
from pycontainer.errors import Busy
from pycontainer.supervisor.freezing import freeze


class Patient(CgroupV2):
    """A cgroup that is given up after a tenth of a second."""

    __slots__ = ()

    def freezing(self, *, timeout_seconds: float = 0.1) -> Generator[float]:
        return super().freezing(timeout_seconds=timeout_seconds)


def world_with(directory: Path, *, frozen: bool) -> tuple[Any, Any]:
    """Return a world in which one container runs, and that container; its processes stop, or do not."""
    (directory / "cgroup.events").write_text(f"populated 1\nfrozen {int(frozen)}\n")
    (directory / "cgroup.freeze").touch()
    run = SimpleNamespace(cgroup=Patient("c1", {"memory": str(directory)}))
    container = SimpleNamespace(id="c1", spec=SimpleNamespace(name="web"))
    return SimpleNamespace(runs={"c1": run}, run_of=lambda container: run), container


def state(directory: Path) -> str:
    return (directory / "cgroup.freeze").read_text()


def test_one_that_stops(tmp_path: Path) -> None:
    world, container = world_with(tmp_path, frozen=True)
    assert asyncio.run(freeze(world, container)) is True
    assert state(tmp_path) == "1"


def test_one_that_does_not_stop(tmp_path: Path) -> None:
    world, container = world_with(tmp_path, frozen=False)
    served: list[str] = []

    async def serve() -> None:
        asyncio.get_running_loop().call_soon(lambda: served.append(state(tmp_path)))
        with pytest.raises(Busy, match="cannot stop container 'web' for a while: one of its processes goes on"):
            await freeze(world, container)

    asyncio.run(serve())
    assert served == ["1"], "others had their turn while it was waited for"
    assert state(tmp_path) == "0"


def test_one_that_ends_meanwhile(tmp_path: Path) -> None:
    world, container = world_with(tmp_path, frozen=False)

    def end() -> None:
        world.runs.clear()
        (tmp_path / "cgroup.events").unlink()

    async def ends() -> bool:
        asyncio.get_running_loop().call_soon(end)
        return await freeze(world, container)

    assert asyncio.run(ends()) is False


def test_who_asked_leaves(tmp_path: Path) -> None:
    world, container = world_with(tmp_path, frozen=False)

    async def leave() -> None:
        task = asyncio.create_task(cast(Any, freeze(world, container)))
        await asyncio.sleep(0)
        assert state(tmp_path) == "1"
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert state(tmp_path) == "0"

    asyncio.run(leave())

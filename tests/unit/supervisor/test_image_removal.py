"""Images go in one step of the event loop, with their records and layers; only the deleting is done beside (IMG-05)."""

import asyncio
import os
import threading
from pathlib import Path

import pytest

from pycontainer.errors import NotFound
from pycontainer.paths import HostPaths
from pycontainer.store import staging
from pycontainer.store.layers import plain_key, write_layer
from pycontainer.supervisor import imagework
from pycontainer.supervisor.call import Call
from pycontainer.supervisor.verbs import images
from pycontainer.supervisor.world import World

_DIFF = f"sha256:{'a' * 64}"


async def silent(event: object, fds: list[int]) -> None:
    raise AssertionError(event)


def put_image(world: World, name: str) -> str:
    """Write an image of one layer into the store; return its id."""
    store = world.images
    store.make_directories()
    os.makedirs(f"{store.layers_dir}/{plain_key(_DIFF)}/fs")
    write_layer(
        f"{store.layers_dir}/{plain_key(_DIFF)}", diff_id=_DIFF, size_bytes=0, form="tar", blob=None, media_type="x"
    )
    image_id = f"sha256:{'b' * 64}"
    Path(store.blobs.path(image_id)).write_text("{}")
    config: dict[str, object] = {}
    store.refs.write(
        {"name": name, "id": image_id, "created": 0.0, "size_bytes": 0, "platform": "linux/amd64", "config": config,
         "layers": [plain_key(_DIFF)], "manifest": None, "blobs": []}
    )  # fmt: skip
    return image_id


@pytest.mark.parametrize("verb", ["image_rm", "image_prune"])
def test_a_create_while_an_image_is_deleted_has_nothing_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    """Who comes first wins: an image that is not there any more, or one that stays. The loop serves others meanwhile."""
    world = World(HostPaths(str(tmp_path)), open_files_soft=1024)
    put_image(world, "web")
    began, may_go_on = threading.Event(), threading.Event()
    places: list[list[str]] = []

    def remove_all(doomed: tuple[staging.Doomed, ...]) -> None:
        began.set()
        assert may_go_on.wait(30)
        places.extend(sorted(os.listdir(directory)) for directory, _ in doomed)
        staging.remove_all(doomed)

    monkeypatch.setattr(imagework, "remove_all", remove_all)
    call = Call(verb, {"image": "web", "all": True}, [], silent)

    async def remove() -> None:
        removal = asyncio.create_task(getattr(images, verb)(world, call))
        assert await asyncio.to_thread(began.wait, 30)
        with pytest.raises(NotFound):
            world.images.get("web")
        assert os.listdir(world.images.layers_dir) == []
        assert world.images.blobs.all() == set()
        may_go_on.set()
        result = await removal
        assert verb == "image_rm" or [image["name"] for image in result] == ["web"]

    asyncio.run(remove())
    assert places == [["0", "1"]]
    assert os.listdir(world.images.staging.directory) == []


def test_what_a_removal_that_was_cut_off_leaves_is_removed_by_the_next(tmp_path: Path) -> None:
    """FLT-01."""
    world = World(HostPaths(str(tmp_path)), open_files_soft=1024)
    put_image(world, "web")
    for _, lock_fd in world.images.retire("web", frozenset()):
        os.close(lock_fd)
    assert len(os.listdir(world.images.staging.directory)) == 1
    assert world.images.prune(frozenset()) == ()
    assert os.listdir(world.images.staging.directory) == []

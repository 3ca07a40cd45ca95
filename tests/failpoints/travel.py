"""Images, and instances that travel."""

import os
import subprocess
from collections.abc import Iterator

from tests.failpoints.common import IMAGE, STOCKED, created, is_there, remove, works
from tests.support.snapshots import inside
from tests.support.world import World


def import_an_image(world: World) -> Iterator[tuple[str, ...]]:
    with open(f"{world.root}/archive.tar", "wb") as file:
        subprocess.run(["tar", "-c", "-C", "/etc", "hostname", "passwd"], stdout=file, check=True)
    yield ("image", "import", f"{world.root}/archive.tar", "other")
    if "other" in world.ok("image", "list", "-q").split():
        world.ok("image", "rm", "other")
    world.ok("image", "import", f"{world.root}/archive.tar", "other")
    world.ok("image", "rm", "other")
    os.unlink(f"{world.root}/archive.tar")


def remove_an_image(world: World) -> Iterator[tuple[str, ...]]:
    os.makedirs(f"{world.root}/tree/bin")
    world.ok("image", "import", f"{world.root}/tree", "other")
    yield ("image", "rm", "other")
    assert "other" not in world.ok("image", "list", "-q").split()
    os.removedirs(f"{world.root}/tree/bin")


def import_an_instance(world: World) -> Iterator[tuple[str, ...]]:
    created(world)
    inside(world, "one", "echo kept > /file")
    world.ok("export", "one", "-o", f"{world.root}/one.tar")
    world.ok("rm", "one")
    yield ("import", f"{world.root}/one.tar")
    if is_there(world, "one"):
        works(world, "one")
        assert world.ok("exec", "one", "cat", "/file") == "kept"
        assert world.inspect("one")["image"] in world.ok("image", "list", "-q").split()
    remove(world, "one")
    for image in set(world.ok("image", "list", "-q").split()) - {IMAGE, STOCKED}:
        assert image.startswith("instance/")
        world.ok("image", "rm", image)
    os.unlink(f"{world.root}/one.tar")

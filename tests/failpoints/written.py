"""What containers have written: snapshots, and containers made of others."""

from collections.abc import Iterator

from tests.failpoints.common import created, is_there, remove, running, works
from tests.support.snapshots import inside, names
from tests.support.world import World


def snapshot(world: World) -> Iterator[tuple[str, ...]]:
    created(world)
    inside(world, "one", "echo kept > /file")
    yield ("snapshot", "create", "one", "s")
    assert names(world, "one") in ([], ["s"])
    works(world, "one")
    assert world.ok("exec", "one", "cat", "/file") == "kept"
    world.ok("snapshot", "create", "one", "again")
    remove(world, "one")


def snapshot_of_a_running_one(world: World) -> Iterator[tuple[str, ...]]:
    running(world)
    world.ok("exec", "one", "sh", "-c", "echo kept > /file")
    yield ("snapshot", "create", "one", "s")
    assert world.status("one") == "running"  # not frozen any more
    assert names(world, "one") in ([], ["s"])
    assert world.ok("exec", "one", "cat", "/file") == "kept"
    world.ok("snapshot", "create", "one", "again")
    remove(world, "one")


def _restore(world: World, *options: str) -> Iterator[tuple[str, ...]]:
    # restoring by force stops what runs: a `sleep` that heeds no TERM would take the whole 10 s
    created(world, *options, "--stop-signal", "KILL")
    inside(world, "one", "echo one > /file")
    world.ok("snapshot", "create", "one", "s")
    inside(world, "one", "echo two > /file")
    yield ("snapshot", "restore", "one", "s")
    assert names(world, "one") == ["s"]
    works(world, "one")
    assert world.ok("exec", "one", "cat", "/file") in ("one", "two")
    world.ok("snapshot", "restore", "--force", "one", "s")
    works(world, "one")
    assert world.ok("exec", "one", "cat", "/file") == "one"
    remove(world, "one")


def restore(world: World) -> Iterator[tuple[str, ...]]:
    yield from _restore(world)


def restore_a_copy(world: World) -> Iterator[tuple[str, ...]]:
    yield from _restore(world, "--rootfs-driver", "copy")


def clone(world: World) -> Iterator[tuple[str, ...]]:
    created(world)
    inside(world, "one", "echo kept > /file")
    yield ("clone", "one", "two")
    for name in ("one", "two") if is_there(world, "two") else ("one",):
        works(world, name)
        assert world.ok("exec", name, "cat", "/file") == "kept"
    remove(world, "one", "two")

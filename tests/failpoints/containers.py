"""The life of containers."""

import json
import os
from collections.abc import Iterator

from tests.failpoints.common import IMAGE, RICH, SERVE, STOCKED, created, drop_volumes, is_there, remove, running, works
from tests.support.deaths import kill_supervisor
from tests.support.poll import poll_until
from tests.support.snapshots import inside
from tests.support.world import World


def create(world: World) -> Iterator[tuple[str, ...]]:
    yield ("create", "--name", "one", *RICH, STOCKED, *SERVE)
    if is_there(world, "one"):
        works(world, "one")
    else:
        assert world.ok("volume", "list", "-q") == ""
    remove(world, "one")
    drop_volumes(world, "named")


def create_in_a_pool(world: World) -> Iterator[tuple[str, ...]]:
    world.ok("tenant", "create", "acme", "--disk", "64M")
    yield ("create", "--name", "one", "--tenant", "acme", IMAGE, *SERVE)
    if is_there(world, "one"):
        works(world, "one")
    remove(world, "one")
    world.ok("tenant", "rm", "acme")


def create_a_copy(world: World) -> Iterator[tuple[str, ...]]:
    yield ("create", "--name", "one", "--rootfs-driver", "copy", "--disk", "64M", IMAGE, *SERVE)
    if is_there(world, "one"):
        works(world, "one")
    remove(world, "one")


def start(world: World) -> Iterator[tuple[str, ...]]:
    created(world, *RICH)
    yield ("start", "one")
    assert world.status("one") in ("created", "stopped", "running")
    works(world, "one")
    remove(world, "one")
    drop_volumes(world, "named")


def run(world: World) -> Iterator[tuple[str, ...]]:
    """Made and started as one: all of it, or nothing; a volume that has a name may stay."""
    yield ("run", "-d", "--name", "one", *RICH, STOCKED, *SERVE)
    if is_there(world, "one"):
        works(world, "one")
    else:
        assert world.ok("volume", "list", "-q") in ("", "named")
    remove(world, "one")
    drop_volumes(world, "named")


def start_with_snapshots(world: World) -> Iterator[tuple[str, ...]]:
    created(world)
    inside(world, "one", "echo kept > /file")
    world.ok("snapshot", "create", "one", "s")
    yield ("start", "one")
    works(world, "one")
    assert world.ok("exec", "one", "cat", "/file") == "kept"
    remove(world, "one")


def start_with_another_range(world: World) -> Iterator[tuple[str, ...]]:
    created(world)
    directory = world.inspect("one")["directory"]
    kill_supervisor(world)
    with os.scandir(world.paths.idranges_dir) as entries:
        (claim,) = [e.path for e in entries if e.is_symlink() and os.readlink(e.path) == directory]
    os.unlink(claim)
    world.ok("ps")
    yield ("start", "one")
    works(world, "one")
    remove(world, "one")


def fill_a_volume(world: World) -> Iterator[tuple[str, ...]]:
    created(world, "-v", "named:/etc")
    yield ("start", "one")
    works(world, "one")
    assert "root:" in world.ok("exec", "one", "cat", "/etc/passwd")
    assert not os.path.exists(f"{world.paths.volumes_dir}/named/filling")
    remove(world, "one")
    drop_volumes(world, "named")


def stop(world: World) -> Iterator[tuple[str, ...]]:
    running(world, "--restart", "always", command=("payload", "ignore", "15", "sleep", "0"))
    pid = world.inspect("one")["pid"]
    yield ("stop", "-t", "0.1", "one")
    if os.path.exists(f"/proc/{pid}"):
        world.ok("stop", "-t", "0", "one")
    world.wait_for_status("one", "stopped")
    assert world.inspect("one")["pid"] in (0, None)  # nobody has started it again
    works(world, "one")
    remove(world, "one")


def end(world: World) -> Iterator[tuple[str, ...]]:
    yield ("run", "-d", "--name", "one", *RICH, IMAGE, "payload", "exit", "3")
    if is_there(world, "one"):
        poll_until(lambda: world.status("one") in ("stopped", "created"), what="it is over, or never began")
        assert world.inspect("one")["exit_code"] == (3 if world.status("one") == "stopped" else None)
    remove(world, "one")
    drop_volumes(world, "named")


def rm(world: World) -> Iterator[tuple[str, ...]]:
    created(world, *RICH, image=STOCKED)
    inside(world, "one", "echo kept > /file")
    world.ok("snapshot", "create", "one", "s")
    yield ("rm", "-v", "one")
    if is_there(world, "one"):
        works(world, "one")
        assert world.ok("exec", "one", "cat", "/file") == "kept"
    else:
        poll_until(lambda: world.ok("volume", "list", "-q") == "named", what="its own volume is gone")
    remove(world, "one")
    drop_volumes(world, "named")


def rename(world: World) -> Iterator[tuple[str, ...]]:
    running(world)
    running(world, name="neighbour")
    yield ("rename", "one", "two")
    name = "one" if is_there(world, "one") else "two"
    (info,) = json.loads(world.ok("network", "inspect", "default"))
    assert {member["name"] for member in info["containers"].values()} == {name, "neighbour"}
    assert name in world.ok("exec", "neighbour", "cat", "/etc/hosts")
    works(world, name)
    remove(world, "one", "two", "neighbour")


def change(world: World) -> Iterator[tuple[str, ...]]:
    running(world, "-m", "64M", "--pids-limit", "100")
    yield ("set", "one", "-m", "96M", "--pids-limit", "200")
    rows = {row["resource"]: row["limit"] for row in json.loads(world.ok("limits", "one", "--format", "json"))}
    recorded = world.inspect("one")["memory_bytes"]
    assert (recorded, rows["memory"], rows["pids"]) in ((64 << 20, 64 << 20, 100), (96 << 20, 96 << 20, 200))
    world.ok("set", "one", "-m", "96M")
    remove(world, "one")

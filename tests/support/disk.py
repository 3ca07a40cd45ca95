"""Containers whose disk is filled, and what is said of it inside and outside."""

import json

from tests.support.world import World, unique_name

MIB = 1 << 20


def fill(world: World, name: str, path: str = "/big") -> tuple[int, str]:
    """Write until the disk is full; return how many bytes came to be there, and the words of the refusal."""
    result = world.cli("exec", name, "dd", "if=/dev/zero", f"of={path}", "bs=64k")
    assert result.exit_code == 1, result
    return int(world.ok("exec", name, "stat", "-c", "%s", path)), result.stderr


def size_inside(world: World, name: str) -> int:
    """Return what `df` inside says the root file system can hold, bytes."""
    return _df(world, name, -5)


def free_inside(world: World, name: str) -> int:
    """Return what `df` inside says can still be written, bytes."""
    return _df(world, name, -3)


def _df(world: World, name: str, column: int) -> int:
    return int(world.ok("exec", name, "df", "-k", "/").splitlines()[-1].split()[column]) * 1024


def run(world: World, *options: str) -> str:
    name = unique_name()
    world.ok("run", "-d", "--name", name, *options, "busybox", "sleep", "1000")
    return name


def limit_of(world: World, name: str, resource: str) -> dict[str, object]:
    rows = json.loads(world.ok("limits", name, "--format", "json"))
    return next(row for row in rows if row["resource"] == resource)

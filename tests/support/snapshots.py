"""Containers with snapshots, as the tests make them."""

import os

from tests.support.world import World, unique_name


def create(world: World, *options: str) -> str:
    name = unique_name()
    world.ok("create", "--name", name, *options, "busybox", "sleep", "1000")
    return name


def inside(world: World, name: str, script: str) -> str:
    """Run a script in a container that is started for it, and stopped again."""
    world.ok("start", name)
    said = world.ok("exec", name, "sh", "-c", script)
    world.ok("stop", "-t", "0", name)
    return said


def layers(world: World) -> list[str]:
    return sorted(os.listdir(world.paths.layers_dir)) if os.path.isdir(world.paths.layers_dir) else []


def names(world: World, name: str) -> list[str]:
    return world.ok("snapshot", "list", "-q", name).split()

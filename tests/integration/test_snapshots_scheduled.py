"""Snapshots that are made by themselves: when, how many are kept, what is made up for, what fails."""

import json
import time

from pycontainer.runtime.container import load
from pycontainer.runtime.snapshots import Snapshot, save_snapshot
from tests.support.deaths import kill_supervisor
from tests.support.poll import poll_until
from tests.support.snapshots import create, inside, names
from tests.support.world import World

DAY = 86400.0


def test_missed_ones_are_made_up_for_and_old_ones_go(own_world: World) -> None:
    """A supervisor that was away makes one snapshot, however many were missed; those of people stay."""
    world = own_world
    name = create(world, "--snapshots", "every=1d,keep=2")
    inside(world, name, "touch /a")
    world.ok("snapshot", "create", name, "mine")
    container = load(world.paths, world.inspect(name)["id"])
    assert container.spec.snapshots is not None
    kill_supervisor(world)
    for days in (5, 4, 3):
        save_snapshot(container.directory, Snapshot(f"auto-{days}", time.time() - days * DAY, tuple(container.lowers)))
    poll_until(lambda: len(names(world, name)) == 3, what="one was made, two were taken away")
    made = json.loads(world.ok("snapshot", "list", "--format", "json", name))
    assert [one["name"] for one in made if not one["automatic"]] == ["mine"]
    newest = made[-1]
    assert newest["automatic"]
    assert newest["name"] == time.strftime("auto-%Y-%m-%dT%H:%M:%SZ", time.gmtime(newest["created"]))
    assert [one["name"] for one in made if one["automatic"]] == ["auto-3", newest["name"]]


def test_by_the_clock_and_changed_while_it_runs(own_world: World) -> None:
    world = own_world
    name = create(world)
    world.ok("start", name)
    world.ok("exec", name, "touch", "/a")
    world.ok("set", name, "--snapshots", "every=10s,keep=2")
    poll_until(lambda: len(names(world, name)) == 1, timeout_seconds=30, what="the first one")
    assert world.status(name) == "running"
    world.ok("set", name, "--snapshots", "none")
    assert world.inspect(name)["spec"]["snapshots"] is None


def test_what_fails_is_told_and_tried_again(own_world: World) -> None:
    world = own_world
    name = create(world, "--snapshots", "every=1d,keep=2")
    container = load(world.paths, world.inspect(name)["id"])
    world.ok("mount", name)
    kill_supervisor(world)
    container.created -= 2 * DAY
    container.save()
    poll_until(
        lambda: any(
            "scheduled snapshot: " in text and "is mounted at" in text for text in world.inspect(name)["warnings"]
        ),
        what="the warning",
    )
    assert names(world, name) == []
    world.ok("umount", name)
    world.ok("set", name, "--snapshots", "every=1d,keep=3")  # which looks at the time anew
    poll_until(lambda: len(names(world, name)) == 1, what="the snapshot")
    assert world.inspect(name)["warnings"] == []

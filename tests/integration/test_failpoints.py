"""Each step of each operation is the last one of who works on it. FLT-01, FLT-04.

An operation is a generator: it prepares, yields the command that is cut off, and looks at what is left when the next
supervisor has come up: the object is whole or gone, and its name can be used. Then all is removed, and the host and the
world are as before.
"""

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from pycontainer.failpoints import NAMES
from tests.integration.conftest import IMAGE, make_world
from tests.support.deaths import at_rest, die_at, kill_supervisor, stop_services
from tests.support.hostns import HostNetwork
from tests.support.leaks import Lines
from tests.support.poll import poll_until
from tests.support.snapshots import inside, names
from tests.support.world import World

Operation = Callable[[World], Iterator[tuple[str, ...]]]

STOCKED = "stocked"  # an image that asks for a volume
SERVE = ("sleep", "1000")
RICH = ("-p", "8080:80", "-v", "named:/data", "-m", "64M", "--net-out", "1gbit")


@pytest.fixture(scope="module")
def mortal(host_network: HostNetwork, busybox_rootfs: str) -> Iterator[World]:
    """A world whose services die all the time, with images `busybox` and `stocked`."""
    for world in make_world(host_network, busybox_rootfs):
        world.ok("image", "import", "-v", "/srv", busybox_rootfs, STOCKED)
        world.ok("volume", "prune", "--yes")  # makes the directory of volumes
        yield world
        world.ok("ps")


@pytest.fixture(scope="module")
def rested(mortal: World) -> Lines:
    """What the world holds with nothing in it."""
    mortal.ok("volume", "create", "first")
    mortal.ok("run", "--rm", *RICH, IMAGE, "true")
    mortal.ok("volume", "rm", "first", "named")
    container = "warm"
    mortal.ok("create", "--name", container, IMAGE, *SERVE)
    mortal.ok("snapshot", "create", container, "one")
    mortal.ok("rm", container)
    return at_rest(mortal)


def is_there(world: World, name: str) -> bool:
    result = world.cli("inspect", name)
    assert result.exit_code in (0, 3), result
    return result.exit_code == 0


def works(world: World, name: str) -> None:
    """The container runs, after a start if need be, and does what it is told."""
    if world.status(name) != "running":
        world.ok("start", name)
    assert world.ok("exec", name, "payload", "out", "alive") == "alive"


def remove(world: World, *containers: str) -> None:
    """Remove containers that may be there, and see that their names are free."""
    for name in containers:
        if is_there(world, name):
            world.ok("rm", "-f", "-v", name)
        world.ok("run", "--rm", "--name", name, IMAGE, "true")


def drop_volumes(world: World, *volumes: str) -> None:
    world.ok("volume", "rm", "--force", *volumes)


def running(world: World, *options: str, name: str = "one", command: tuple[str, ...] = SERVE) -> None:
    world.ok("run", "-d", "--name", name, *options, IMAGE, *command)


def created(world: World, *options: str, name: str = "one", image: str = IMAGE) -> None:
    world.ok("create", "--name", name, *options, image, *SERVE)


# -- containers ----------------------------------------------------------------------------------------------------------


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
    yield ("stop", "-t", "1", "one")
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


# -- what they have written ----------------------------------------------------------------------------------------------


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
    created(world, *options)
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


# -- images and instances that travel ------------------------------------------------------------------------------------


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


# -- volumes, networks, tenants ------------------------------------------------------------------------------------------


def create_a_volume(world: World) -> Iterator[tuple[str, ...]]:
    yield ("volume", "create", "v", "--size", "32M")
    if world.ok("volume", "list", "-q"):
        world.ok("volume", "rm", "v")
    world.ok("volume", "create", "v", "--size", "32M")
    world.ok("volume", "rm", "v")


def remove_a_volume(world: World) -> Iterator[tuple[str, ...]]:
    world.ok("volume", "create", "v")
    yield ("volume", "rm", "v")
    assert world.ok("volume", "list", "-q") == ""


def restore_a_volume(world: World) -> Iterator[tuple[str, ...]]:
    with open(f"{world.root}/volume.tar", "wb") as file:
        subprocess.run(["tar", "-c", "-C", "/etc", "hostname", "passwd"], stdout=file, check=True)
    yield ("volume", "restore", "v", f"{world.root}/volume.tar")
    drop_volumes(world, "v")
    world.ok("volume", "restore", "v", f"{world.root}/volume.tar")
    assert sorted(os.listdir(f"{world.paths.volumes_dir}/v/data")) == ["hostname", "passwd"]
    drop_volumes(world, "v")
    os.unlink(f"{world.root}/volume.tar")


def networks(world: World) -> list[str]:
    return world.ok("network", "ls", "-q").split()


def create_a_network(world: World) -> Iterator[tuple[str, ...]]:
    yield ("network", "create", "back")
    if "back" in networks(world):
        world.ok("network", "rm", "back")
    world.ok("network", "create", "back")
    running(world, "--network", "back")
    remove(world, "one")
    world.ok("network", "rm", "back")


def remove_a_network(world: World) -> Iterator[tuple[str, ...]]:
    world.ok("network", "create", "back")
    running(world, "--network", "back")
    world.ok("rm", "-f", "one")
    yield ("network", "rm", "back")
    if "back" in networks(world):
        running(world, "--network", "back")
        remove(world, "one")
        world.ok("network", "rm", "back")


def _links(world: World) -> set[str]:
    return {line.split(":")[0].split()[0] for line in world.ok("exec", "one", "cat", "/proc/net/dev").splitlines()[2:]}


def connect(world: World) -> Iterator[tuple[str, ...]]:
    world.ok("network", "create", "back")
    running(world)
    yield ("network", "connect", "back", "one")
    addresses = world.inspect("one")["networks"]
    poll_until(lambda: _links(world) == {"lo", *(f"eth{n}" for n in range(len(addresses)))}, what="links as recorded")
    if "back" not in addresses:
        world.ok("network", "connect", "back", "one")
    remove(world, "one")
    world.ok("network", "rm", "back")


def disconnect(world: World) -> Iterator[tuple[str, ...]]:
    world.ok("network", "create", "back")
    running(world)
    world.ok("network", "connect", "back", "one")
    yield ("network", "disconnect", "back", "one")
    addresses = world.inspect("one")["networks"]
    poll_until(lambda: _links(world) == {"lo", *(f"eth{n}" for n in range(len(addresses)))}, what="links as recorded")
    if "back" in addresses:
        world.ok("network", "disconnect", "back", "one")
    remove(world, "one")
    world.ok("network", "rm", "back")


def tenants(world: World) -> list[str]:
    return world.ok("tenant", "ls", "-q").split()


def create_a_tenant(world: World) -> Iterator[tuple[str, ...]]:
    yield ("tenant", "create", "acme", "--disk", "64M", "--memory", "256M")
    if "acme" in tenants(world):
        world.ok("tenant", "rm", "acme")
    world.ok("tenant", "create", "acme", "--disk", "64M")
    world.ok("tenant", "rm", "acme")


def change_a_tenant(world: World) -> Iterator[tuple[str, ...]]:
    world.ok("tenant", "create", "acme", "--memory", "256M")
    running(world, "--tenant", "acme")
    yield ("tenant", "set", "acme", "--memory", "512M")
    (info,) = json.loads(world.ok("tenant", "inspect", "acme"))
    rows = json.loads(world.ok("limits", "--tenant", "acme", "--format", "json"))
    held = next(row["limit"] for row in rows if row["resource"] == "memory")
    assert (info["limits"]["memory_bytes"], held) in ((256 << 20, 256 << 20), (512 << 20, 512 << 20))
    remove(world, "one")
    world.ok("tenant", "rm", "acme")


def remove_a_tenant(world: World) -> Iterator[tuple[str, ...]]:
    world.ok("tenant", "create", "acme", "--disk", "64M", "--memory", "256M")
    running(world, "--tenant", "acme")
    world.ok("rm", "-f", "one")
    yield ("tenant", "rm", "acme")
    if "acme" in tenants(world):
        running(world, "--tenant", "acme")
        remove(world, "one")
        world.ok("tenant", "rm", "acme")
    world.ok("tenant", "create", "acme", "--disk", "64M")
    world.ok("tenant", "rm", "acme")


# -- coming up, and the monitor ------------------------------------------------------------------------------------------


def come_up(world: World) -> Iterator[tuple[str, ...]]:
    """What runs, what has ended meanwhile, what waits for its next start, what is half made and half removed."""
    running(world, *RICH)
    running(world, name="ended", command=("payload", "sleep", "0"))
    running(world, "--rm", name="brief", command=("payload", "sleep", "0"))
    created(world, name="whole")
    pid = world.inspect("one")["pid"]
    ended, brief = (world.inspect(name)["pid"] for name in ("ended", "brief"))
    kill_supervisor(world)
    for each in (ended, brief):
        os.kill(each, signal.SIGKILL)
        poll_until(lambda each=each: not os.path.exists(f"/proc/{each}"), what="its end")  # type: ignore[misc]
    os.makedirs(f"{world.paths.containers_dir}/{'a' * 12}/rootfs")
    os.makedirs(f"{world.paths.containers_dir}/.removed-{'b' * 12}/rootfs")
    yield ("ps",)
    assert world.inspect("one")["pid"] == pid
    works(world, "one")
    assert world.status("ended") == "stopped"
    works(world, "whole")
    poll_until(lambda: not is_there(world, "brief"), what="the removal that was promised")
    remove(world, "one", "ended", "brief", "whole")
    drop_volumes(world, "named")


def start_by_a_monitor(world: World) -> Iterator[tuple[str, ...]]:
    created(world, *RICH)
    yield ("start", "one")
    assert world.status("one") in ("created", "stopped", "running")
    works(world, "one")
    remove(world, "one")
    drop_volumes(world, "named")


def end_by_a_monitor(world: World) -> Iterator[tuple[str, ...]]:
    yield ("run", "-d", "--name", "one", *RICH, IMAGE, "payload", "exit", "3")
    world.wait_for_status("one", "stopped")
    assert world.inspect("one")["exit_code"] in (3, None)  # what nobody can know is not made up
    remove(world, "one")
    drop_volumes(world, "named")


OPERATIONS: dict[Operation, tuple[str, ...]] = {
    create: ("create:claimed", "create:range", "create:storage", "create:noted", "create:volumes", "create:addresses",
             "create:files", "create:recorded"),
    create_in_a_pool: ("create:admitted",),
    create_a_copy: ("create:filled",),
    start: ("start:ports", "start:monitor", "start:volumes", "start:cgroup", "start:limits", "start:born", "start:network",
            "start:ready", "start:noted", "start:released", "start:over"),
    start_with_snapshots: ("start:settled",),
    start_with_another_range: ("start:range",),
    fill_a_volume: ("volume:filling", "volume:filled"),
    stop: ("stop:noted", "stop:asked", "stop:killed"),
    end: ("end:heard", "end:network", "end:limits", "end:cgroup", "end:over"),
    rm: ("rm:storage", "rm:renamed", "rm:network", "rm:range", "rm:forgotten", "rm:volumes", "rm:erased"),
    rename: ("rename:neighbours", "rename:recorded"),
    change: ("set:noted", "set:applied", "set:recorded"),
    snapshot: ("snapshot:intent", "snapshot:moved", "snapshot:frozen", "snapshot:recorded"),
    snapshot_of_a_running_one: ("snapshot:begun", "snapshot:still", "snapshot:copied"),
    restore: ("restore:intent", "restore:cleared", "restore:over"),
    restore_a_copy: ("restore:filled",),
    clone: ("clone:frozen", "clone:made"),
    import_an_image: ("image:staged", "image:layer", "image:blobs", "image:named"),
    remove_an_image: ("image-rm:unnamed", "image-rm:retired"),
    import_an_instance: ("import:loaded", "import:made", "import:tagged"),
    create_a_volume: ("volume:begun", "volume:prepared", "volume:named"),
    remove_a_volume: ("volume:retired",),
    restore_a_volume: ("volume:restored",),
    create_a_network: ("network:recorded",),
    remove_a_network: ("network:down", "network:unnamed"),
    connect: ("connect:linked", "connect:reserved", "connect:recorded"),
    disconnect: ("disconnect:reserved", "disconnect:unlinked", "disconnect:recorded"),
    create_a_tenant: ("tenant:pool", "tenant:recorded"),
    change_a_tenant: ("tenant:noted", "tenant:applied", "tenant:updated"),
    remove_a_tenant: ("tenant:unnamed", "tenant:lowered", "tenant:erased"),
    come_up: ("recover:read", "recover:adopted", "recover:networks", "recover:ended", "recover:cgroups", "recover:over"),
    start_by_a_monitor: ("monitor:born", "monitor:prepared", "monitor:released"),
    end_by_a_monitor: ("monitor:reaped", "monitor:recorded"),
}  # fmt: skip
EVERY_RECORD = "record:written"
POINTS = [(point, operation) for operation, points in OPERATIONS.items() for point in points]


def test_every_failpoint_has_an_operation() -> None:
    assert sorted([EVERY_RECORD, *(point for point, _ in POINTS)]) == sorted(NAMES)


def cut_off(world: World, failpoint: str, operation: Operation) -> bool:
    """Do an operation, dying at a failpoint, and look at what is left; tell whether it was reached."""
    steps = operation(world)
    command = next(steps)
    if operation is not come_up:
        stop_services(world, monitor=operation in (start_by_a_monitor, end_by_a_monitor))
    is_reached, result = die_at(world, failpoint, *command)
    if is_reached:
        assert result.exit_code in (0, 1, 8, 125), result
    else:
        assert result.exit_code == 0, result
    kill_supervisor(world)  # if it lost only its monitor or worker: it has the failpoint all the same
    world.ok("ps")
    with suppress(StopIteration):
        next(steps)
    return is_reached


@pytest.mark.parametrize(("point", "operation"), POINTS, ids=[point for point, _ in POINTS])
def test_killed_there(mortal: World, rested: Lines, point: str, operation: Operation) -> None:
    """FLT-01"""
    assert cut_off(mortal, point, operation), f"{point} was not reached"
    at_rest(mortal, rested)


@pytest.mark.parametrize(
    "operation",
    [each for each in OPERATIONS if each not in (start_by_a_monitor, end_by_a_monitor)],
    ids=lambda each: each.__name__,
)
def test_killed_before_each_record_counts(mortal: World, rested: Lines, operation: Operation) -> None:
    """FLT-01. Before each rename that makes a record the one that counts, until the operation has no further one."""
    for number in range(1, 30):
        if not cut_off(mortal, f"{EVERY_RECORD}:{number}", operation):
            break
    else:
        raise AssertionError("there is no end of records")
    at_rest(mortal, rested)


@pytest.mark.parametrize("point", OPERATIONS[end])
@pytest.mark.parametrize("policy", ["--restart=always", "--rm"])
def test_what_was_to_follow_an_end_follows(
    mortal: World, rested: Lines, tmp_path: Path, point: str, policy: str
) -> None:
    """FLT-01. A policy, or the removal that was promised, is not lost with who was about to see to it."""
    world = mortal
    stop_services(world)
    tmp_path.chmod(0o777)
    script = "echo x >> /count/runs; [ $(wc -l < /count/runs) -gt 1 ] && sleep 1000; exit 3"
    command = ("run", "-d", policy, "--name", "one", "-v", f"{tmp_path}:/count", IMAGE, "sh", "-c", script)
    is_reached, _ = die_at(world, point, *command)
    assert is_reached
    world.ok("ps")
    if policy == "--rm":
        poll_until(lambda: not is_there(world, "one"), what="it is removed")
    else:
        world.wait_for_status("one", "running")
    remove(world, "one")
    at_rest(world, rested)

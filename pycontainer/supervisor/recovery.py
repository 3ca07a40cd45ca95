"""Coming up: every record is read, what runs is adopted, what ended meanwhile is finished, what nobody owns goes.

boot    ──▶ is it the one that we have seen? else what ran then has ended with it
records ──▶ containers, damaged ones, half-made and half-removed ones
kernel  ──▶ which of them run ──▶ networks, limits, end of those that do not
"""

import asyncio
import os
import stat
import time
from collections.abc import Callable

from pycontainer.errors import PycontainerError
from pycontainer.failpoints import reach
from pycontainer.linux import files
from pycontainer.linux.process import pidfd_open
from pycontainer.runtime.container import Container, load
from pycontainer.runtime.start import Run
from pycontainer.spec.names import is_container_id
from pycontainer.supervisor import leftovers, log, making
from pycontainer.supervisor.damaged import Damaged, from_container, from_directory, lost_record, same_name
from pycontainer.supervisor.keeping import was_fleeting
from pycontainer.supervisor.mounting import find_mounts
from pycontainer.supervisor.removal import TRASH, removed_id
from pycontainer.supervisor.world import World

_MISSED_SECONDS, _LOOK_SECONDS = 2.0, 0.01


async def recover(world: World) -> None:
    """Make `world` what its records and the kernel say."""
    world.endings.watch_kills()
    _make_directories(world)
    world.reserve.take()
    files.make_room = world.reserve.give
    world.events.open()
    world.boot.load()
    world.rootfs_driver()  # while we have one thread: what is not known of a file system is tried by a child
    _read_records(world)
    leftovers.sweep(world)
    reach("recover:read")
    for error in world.damages():
        log.say(error.message, hint=error.hint)
    if left_over := world.volumes.left_over():
        world.repaired += [f"half-made or half-removed volume: {directory}" for directory in left_over]
        world.spawn(world.volumes.erase(*left_over))
    world.mounted.update(find_mounts(world.paths))
    _tried("id ranges", world.idranges.sweep)
    world.ledger.open()  # before any end is finished
    await _adopt_runs(world)
    reach("recover:adopted")
    _reconcile_networks(world)
    reach("recover:networks")
    for container in list(world.containers.values()):
        if container.pid and container.id not in world.runs:  # it ended while nobody looked
            world.endings.keep_result(container.id)
            world.endings.finish(container, exit_code=container.exit_code)
        elif container.restarting:  # we left while it waited for its next start
            world.restarts.resume(container)
        elif container.spec.auto_remove and container.id not in world.runs and _is_over(container):
            world.endings.tell_result(container)
            world.removal.remove_ended(container)  # we left before that
        elif container.id not in world.runs:
            world.boot.recovered(container)
    reach("recover:ended")
    for cgroup_id, tenant in world.hierarchy.containers():
        if cgroup_id not in world.runs and not (cgroup_id in world.broken and world.broken[cgroup_id].is_alive):
            world.endings.remove_cgroup(world.hierarchy.open(cgroup_id, tenant))
    reach("recover:cgroups")
    _tried("tenants", world.tenants.adopt)
    _tried("layers", world.layers.recover)
    world.transient.load()
    world.unfinished.finish()
    await world.unfinished.remove_begun()
    world.transfer.recover()
    leftovers.finish_images(world)
    for container in world.containers.values():
        world.schedule.plan(container)
    reach("recover:over")
    world.boot.go_on()


def _tried(what: str, step: Callable[[], object]) -> None:
    """Do what a full or read-only disk must not keep us from coming up for; say what stood in its way."""
    try:
        step()
    except OSError as error:
        log.say(f"{what}: {error}")


def _make_directories(world: World) -> None:
    paths = world.paths
    for directory in (paths.state_dir, paths.run_dir):
        os.makedirs(directory, mode=0o700, exist_ok=True)
        mode = 0o750 if directory == paths.run_dir else 0o700
        if stat.S_IMODE(os.stat(directory).st_mode) != mode:  # or a read-only one would keep us from coming up
            os.chmod(directory, mode)
    for directory in (paths.containers_dir, paths.layers_dir, paths.run_containers_dir, paths.tenants_dir):
        os.makedirs(directory, mode=0o700, exist_ok=True)


def _read_records(world: World) -> None:
    for container_id in sorted(os.listdir(world.paths.containers_dir)):
        if container_id.startswith(TRASH):  # cut off in the middle of `remove`
            world.repaired.append(f"half-removed container: {world.paths.containers_dir}/{container_id}")
            world.spawn(world.removal.erase_later(removed_id(container_id)))
            continue
        _read_record(world, container_id)
    for container in list(world.containers.values()):
        if container.addresses and not world.networks.has_reservation(container.id):
            if _went_with_power(world, container.id):
                del world.containers[container.id], world.names[container.spec.name]
                continue
            error = world.networks.reservation_is_gone(container.id)
            world.networks.hold(container.id, container.spec.name, container.addresses)
            del world.containers[container.id]
            _set_aside(world, from_container(container, error))


def _read_record(world: World, container_id: str) -> None:
    """Read what is in one directory: a container, a damaged one, or a create that was cut off before its last step."""
    directory = world.paths.container_dir(container_id)
    if os.path.lexists(f"{directory}/spec.json"):
        try:
            container = load(world.paths, container_id)
        except PycontainerError as error:
            if not _went_with_power(world, container_id):
                _set_aside(world, from_directory(world.paths, container_id, error))
            return
        if (other := world.names.get(container.spec.name)) is not None:
            _set_aside(world, from_container(container, same_name(container, other)))
            return
        making.forget(directory)
        world.add(container)
    elif not is_container_id(container_id):
        log.say(f"'{directory}' is none of ours: left alone")
    elif world.unfinished.is_beginning(container_id):
        for cgroup_id, tenant in world.hierarchy.containers():
            if cgroup_id == container_id:  # first: its program may run, and write
                world.endings.remove_cgroup(world.hierarchy.open(cgroup_id, tenant))
        world.repaired.append(f"container whose run was cut off: {directory}")
        world.removal.discard_half_made(container_id)
    elif _went_with_power(world, container_id):
        return
    elif any(
        map(
            os.path.lexists,
            (
                f"{directory}/exit.json",
                f"{directory}/running.json",
                world.paths.runtime_state(container_id),
            ),
        )
    ):
        _set_aside(world, from_directory(world.paths, container_id, lost_record(world.paths, container_id)))
    else:
        world.repaired.append(f"half-made container: {directory}")
        world.removal.discard_half_made(container_id)


def _is_over(container: Container) -> bool:
    """Tell whether a container that does not run has run: that it was started is all that a loss of power may have left."""
    return container.finished is not None or not container.ran_in and was_fleeting(container.directory)


def _went_with_power(world: World, container_id: str) -> bool:
    """Take away what a loss of power has left of a container that was to go with its end; False if this is none."""
    directory = world.paths.container_dir(container_id)
    if not is_container_id(container_id) or not was_fleeting(directory):
        return False
    if container_id in dict(world.hierarchy.containers()):  # it runs
        return False
    world.repaired.append(f"container that ended with its host: {directory}")
    world.removal.discard_half_made(container_id)
    return True


def _set_aside(world: World, damaged: Damaged) -> None:
    world.broken[damaged.id] = damaged
    if damaged.name:
        world.names.setdefault(damaged.name, damaged.id)


async def _adopt_runs(world: World) -> None:
    """Take over what runs; damaged containers among them keep what they have until somebody ends them."""
    children: set[str] = set()
    joined: dict[int, str] = {}
    is_lost = False
    if await world.link.connect(start=False):
        try:
            for child in await world.link.children():
                if child["kind"] == "init":
                    children.add(str(child["id"]))
                else:
                    joined[int(str(child["pid"]))] = str(child["id"])
        except PycontainerError:  # it died of something while we asked: what runs gets another one
            is_lost = True
    await _learn_missed(world, children)
    for container in list(world.containers.values()):
        if (pidfd := _open_run(container)) >= 0:
            streams = world.link.take_streams(container.id)
            run = Run(world.cgroup(container), container.pid, pidfd, streams, netns_fd=_open_netns(container))
            world.endings.adopt(container, run, has_monitor=is_lost or container.id in children)
    world.link.drop_streams(keep=world.broken)
    if is_lost:
        world.endings.lost_monitor()
    world.health.recovered(joined)
    for container_id, tenant in world.hierarchy.containers():
        if (damaged := world.broken.get(container_id)) is not None:
            damaged.tenant = tenant
            damaged.is_alive = bool(world.hierarchy.open(container_id, tenant).pids())


async def _learn_missed(world: World, children: set[str]) -> None:
    """Wait for what the monitor has to tell of `children` of its that have ended while we read the records."""
    deadline = time.monotonic() + _MISSED_SECONDS
    waited_for = [c for c in world.containers.values() if c.pid]
    while waited_for and time.monotonic() < deadline:
        gone = [container for container in waited_for if not container.is_running()]
        waited_for = [container for container in gone if not world.endings.knows_missed(container)]
        if not any(container.id in children for container in waited_for):
            return
        await asyncio.sleep(_LOOK_SECONDS)


def _open_run(container: Container) -> int:
    """Return a pidfd of the first process of the present run, -1 if that is over."""
    if not container.pid:
        return -1
    try:
        pidfd = pidfd_open(container.pid)  # first: from here on it is that process which we ask about
    except ProcessLookupError:
        return -1
    if container.is_running():
        return pidfd
    os.close(pidfd)
    return -1


def _open_netns(container: Container) -> int:
    """Return the network namespace of a container that runs, -1 if it has no links of ours, or has just ended."""
    if not container.addresses:
        return -1
    try:
        netns_fd = os.open(f"/proc/{container.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1
    if container.is_running():  # so it was its own
        return netns_fd
    os.close(netns_fd)
    return -1


def _reconcile_networks(world: World) -> None:
    tenants = {container_id: world.containers[container_id].spec.tenant for container_id in world.runs}
    tenants |= {damaged.id: damaged.tenant for damaged in world.broken.values() if damaged.is_alive}
    world.watch_walls()
    live = dict.fromkeys(tenants, True)
    for problem in world.networks.reconcile(live, {container_id: of for container_id, of in tenants.items() if of}):
        log.say(problem)

"""start, stop, restart, kill, rm, wait, rename, pause, unpause; `create` and `run` are in creation.py and running.py."""

import contextlib
import dataclasses
import os
import signal
from collections.abc import Callable

from pycontainer.cgroup.base import Cgroup
from pycontainer.controllers import registry
from pycontainer.disk.beneath import can_map_ids
from pycontainer.errors import InvalidState, NotFound, PycontainerError, StartFailed
from pycontainer.failpoints import reach
from pycontainer.linux.files import read_bounded, write_atomically
from pycontainer.runtime import planner, view
from pycontainer.runtime.container import Container
from pycontainer.runtime.start import Host
from pycontainer.runtime.start import start as start_container
from pycontainer.spec.model import ContainerSpec
from pycontainer.spec.names import check_name
from pycontainer.spec.signals import signal_number
from pycontainer.supervisor import log
from pycontainer.supervisor.authorise import telling_no_holder
from pycontainer.supervisor.call import Call
from pycontainer.supervisor.freezing import freeze
from pycontainer.supervisor.mounting import unmount
from pycontainer.supervisor.report import container_info
from pycontainer.supervisor.verbs.creation import require_free
from pycontainer.supervisor.world import World


async def start(world: World, call: Call) -> object:
    container = world.find(call.text("container"))
    attached = call.require_socket() if call.flag("attach") else None
    try:
        async with world.lock(container):
            world.require(container)
            if container.id in world.runs:
                raise InvalidState(f"container '{container.spec.name}' is already running")
            world.restarts.cancel(container)
            container.restart_count = 0
            try:
                await start_now(world, container, attached=attached, window=call.window())
            except BaseException:
                if container.spec.auto_remove:  # it would otherwise wait for an end that never comes
                    await world.removal.remove(container)
                raise
        if attached is None:  # who is attached sees the output, and must take it
            await until_ready(world, call, container)
    finally:
        if attached is not None:
            attached.close()
    return container_info(world, container)


async def start_now(
    world: World,
    container: Container,
    *,
    attached: object = None,
    window: tuple[int, int] | None = None,
    keep: Callable[[], None] = lambda: None,
) -> None:
    """Start a container whose lock is held. What keeps it from starting is an event, too. `keep` as in `Host`."""
    world.traces.follow(container.id)
    try:
        await _start_now(world, container, attached, window, keep)
    except (PycontainerError, OSError) as error:
        step = {"step": error.step} if isinstance(error, StartFailed) else {}
        world.events.emit("start-failed", container, detail=getattr(error, "message", str(error)), **step)
        raise


async def _start_now(
    world: World, container: Container, attached: object, window: tuple[int, int] | None, keep: Callable[[], None]
) -> None:
    spec = container.spec
    if container.id in world.runs:  # its cgroup would be taken for what a run left behind, and killed
        raise InvalidState(f"container '{spec.name}' is already running")
    world.boot.require_up()
    _require_startable(world, container)
    world.require_unmounted(container)
    world.endings.settle(container.id)
    await world.endings.unmounted(container.id)
    if container.lowers or container.clearing:
        await world.layers.settle(container)
        reach("start:settled")
    container.stopping = container.restarting = container.rebooting = False
    if not world.idranges.holds(container.base, container.directory):
        container.base = world.idranges.allocate(container.directory)  # on disk all ids are those seen inside
        reach("start:range")
        container.save()
    networked = bool(container.addresses)
    try:
        if networked:
            with telling_no_holder(container):
                world.networks.claim_ports(container.id, list(spec.ports))
            reach("start:ports")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{container.directory}/exit.json")
        wanted = world.rights(spec)
        rights = world.holdable(wanted)
        label, container.missing_walls = world.labels.choose(rights, base=container.base, is_reaped=spec.init)
        if wanted.hides_abstract_sockets and not rights.hides_abstract_sockets:
            container.missing_walls.append(
                "can reach the host's abstract unix sockets: they need Landlock of Linux 6.12"
            )
        await world.link.connect(start=True)
        reach("start:monitor")
        layers = container.layers()
        notify_dir = world.health.prepare(container)
        host = Host(
            launcher=world.link,
            network=world.networks if networked else None,
            create_cgroup=lambda: _fresh_cgroup(world, container),
            apply_limits=lambda cgroup: _apply(world, container, cgroup),
            release_limits=lambda cgroup: registry.release(world.instance(container, cgroup)),
            files=_files(world, container, notify_dir),
            layers=layers,
            open_rootfs=container.storage().open_tree,
            rights=rights,
            seccomp=world.filter_of(rights),
            label=label,
            volumes=world.volumes.sources(spec.mounts),
            may_limit_late=may_limit_late(spec),
            keep=keep,
        )
        with contextlib.ExitStack() as held:
            await world.volumes.fill(world, container, held)
            reach("start:volumes")
            run = await start_container(container, host, window=window, attached=attached)  # type: ignore[arg-type]
    except BaseException:
        if networked:
            world.networks.release_ports(container.id)
        world.health.ended(container)
        raise
    world.endings.began(container, run)
    world.transfer.began(container)
    reach("start:over")


def _require_startable(world: World, container: Container) -> None:
    """Raise InvalidState if the record of its tenant, or of one of its networks, is damaged, or its transfer is used up."""
    if container.spec.tenant:
        world.transfer.refuse(world.tenants.find(container.spec.tenant))
    if container.addresses:
        world.networks.require_usable(container.id)


def _fresh_cgroup(world: World, container: Container) -> Cgroup:
    tenant = container.spec.tenant
    if tenant:
        world.tenants.raise_limits(tenant, container.disks())
    try:
        return world.hierarchy.create(container.id, tenant)
    except FileExistsError:  # left by a run whose end nobody saw
        left = world.cgroup(container)
        left.kill()
        left.delete()
        return world.hierarchy.create(container.id, tenant)


def may_limit_late(spec: ContainerSpec) -> bool:
    """Tell whether limits may be set while its first process is born, which takes as long.

    A cap on the disk is a mount, of which the root is made; a tenant may have no room for the process; limits on what each
    process has would be this one's; what is delegated has its limits before; what is wrong with a device its controller says
    better than who mounts it; and controllers of others, or files that the user names, may count on an empty cgroup.
    """
    is_plain = not (spec.tenant or spec.profile == "system" or spec.has_disk_cap)
    return is_plain and not (spec.ulimits or spec.devices or spec.cgroup_conf or registry.has_others())


def _apply(world: World, container: Container, cgroup: Cgroup) -> None:
    spec = container.spec
    try:
        container.warnings = registry.apply(
            world.instance(container, cgroup, is_new=True), world.measured(container, spec)
        )
    except OSError as error:
        raise StartFailed(
            f"cannot start '{spec.name}': limit on '{error.filename}': {error.strerror or error}",
            step="limits",
            errno=error.errno or 0,
        ) from error


def _files(world: World, container: Container, notify_dir: str) -> planner.Files:
    """Return what is bound over the container's files; the writable ones are its own copies, never the host's."""
    etc = f"{container.directory}/etc"
    hosts = f"{etc}/hosts"
    if container.addresses:
        hosts = world.networks.hosts_path(container.id, container.spec.add_hosts)
    elif "host" in container.spec.networks:
        hosts = "/etc/hosts"  # read-only inside
        if not container.spec.dns:
            with contextlib.suppress(FileNotFoundError):
                write_atomically(
                    f"{etc}/resolv.conf", read_bounded("/etc/resolv.conf", 1 << 20), mode=0o644, sync=False
                )
    seen = view.write(etc, world.effective_limits(container), world.lxcfs.files)
    if container.spec.profile == "system":
        seen = [*seen, view.write_boot_id(etc)]
    hostname, resolv_conf, is_mapped = f"{etc}/hostname", f"{etc}/resolv.conf", can_map_ids(etc)
    if not is_mapped:
        for path in (hostname, resolv_conf):
            os.chown(path, container.base, container.base)
    return planner.Files(
        hosts=hosts, hostname=hostname, resolv_conf=resolv_conf, view=seen, is_mapped=is_mapped, notify_dir=notify_dir
    )


async def stop(world: World, call: Call) -> object:
    container = world.find(call.text("container"))
    async with world.lock(container):
        world.require(container)
        await stop_now(world, container, call.number("timeout_seconds"))
    return container_info(world, container)


async def stop_now(world: World, container: Container, timeout_seconds: float | None, *, cause: str = "stop") -> None:
    """Ask it to end, then make it; nothing to do is success. `cause` is what was asked for, for the events."""
    container.stopping = True
    if world.restarts.cancel(container):
        world.events.emit("stop", container, cause=cause)
    if container.id not in world.runs:
        world.boot.forget(container)
        if container.spec.auto_remove and container.finished is not None:  # it was to start again, and then to go
            world.removal.remove_ended(container)  # once our caller has let go of it
        return
    await end_now(world, container, timeout_seconds, cause=cause)


async def end_now(world: World, container: Container, timeout_seconds: float | None = None, *, cause: str) -> None:
    """Ask a container that runs to end, then make it; what comes next its policy decides."""
    run = world.run_of(container)
    world.traces.follow(container.id)
    try:
        container.save_run()  # another supervisor, if we are killed here, does not start it again
    except OSError as error:  # a disk that takes nothing: it is stopped all the same
        log.say(f"cannot note that '{container.spec.name}' is being stopped: {error}", container=container)
    reach("stop:noted")
    if run.cgroup.is_frozen():
        run.cgroup.thaw()  # a frozen process takes no signal
    config = container.image.config if container.image else {}
    timeout = container.spec.stop_timeout_seconds if timeout_seconds is None else timeout_seconds
    program = ""
    with contextlib.suppress(OSError):  # it ended just now
        program = os.readlink(f"/proc/{run.pid}/exe")
    world.endings.send(container, planner.stop_signal_number(container.spec, config, program), cause=cause)
    reach("stop:asked")
    if not await world.endings.wait_exit(container, max(timeout, 0)):
        world.endings.send(container, signal.SIGKILL, cause=f"{cause}: still running after {timeout:g} s")
        reach("stop:killed")
        await world.endings.wait_exit(container)
    world.events.emit("stop", container, cause=cause)


async def restart(world: World, call: Call) -> object:
    container = world.find(call.text("container"))
    async with world.lock(container):
        world.require(container)
        _require_startable(world, container)  # before it is stopped
        world.being_restarted.add(container.id)
        try:
            await stop_now(world, container, call.number("timeout_seconds"), cause="restart")
            container.restart_count = 0
            await start_now(world, container)
        finally:
            world.being_restarted.discard(container.id)
    await until_ready(world, call, container)
    return container_info(world, container)


async def became_ready(world: World, call: Call) -> object:
    """Answer who started a container by the supervisor before us, and waits until it says that it is ready."""
    container = world.find(call.text("container"))
    await until_ready(world, call, container)
    return container_info(world, container)


async def until_ready(world: World, call: Call, container: Container) -> None:
    """Wait for READY=1, if it is to be said. How long that takes is the container's: no reload has to wait for it."""
    if world.health.is_awaited(container):
        call.waits_for = {**(call.waits_for or {}), "container": container.id}
        call.is_answered = lambda: not world.health.is_awaited(container)
    await world.health.until_ready(container)
    call.waits_for = None


async def kill(world: World, call: Call) -> object:
    container = world.find(call.text("container"))
    number = signal_number(call.text("signal", "KILL"))
    run = world.run_of(container)
    if number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        container.stopping = True  # asked to end by a person: no restart policy applies
        try:
            container.save_run()
        except OSError as error:  # a disk that takes nothing: it is ended all the same
            log.say(f"cannot note that '{container.spec.name}' is being killed: {error}", container=container)
    if number == signal.SIGKILL:
        run.cgroup.thaw()  # or it waits, on v1, also of what is just being frozen
    world.endings.send(container, number, cause="kill")
    return {}


async def rm(world: World, call: Call) -> object:
    reference = call.text("container")
    if (damaged := world.find_damaged(reference)) is not None:
        if not call.flag("force"):
            raise damaged.refuse()
        await world.removal.remove_damaged(damaged)
        return {}
    if world.removal.has_remains(reference):  # of one that is removed: something kept them the last time
        await world.removal.erase_remains(reference)
        return {}
    container = world.find(reference)
    async with world.lock(container):
        if container.id not in world.containers:
            return {}  # it was removed while we waited: what was asked for is so
        if container.id in world.runs or world.status(container) == "restarting":
            if not call.flag("force"):
                raise InvalidState(
                    f"container '{container.spec.name}' is {world.status(container)}",
                    hint=f"stop it first, or: pycontainer rm --force {container.spec.name}",
                )
            await stop_now(world, container, 0, cause="rm")
        if call.flag("force"):
            unmount(world, container)
        world.require_unmounted(container)
        if container.id in world.containers:
            await world.removal.remove(container, with_volumes=call.flag("volumes"))
    return {}


async def wait(world: World, call: Call) -> object:
    """Wait for an end. One that has removed itself since is known to who waited when we took over, and asks only now."""
    try:
        container = world.find(call.text("container"))
    except NotFound:
        if (result := world.endings.take_result(call.text("container"))) is not None:
            return result
        raise
    return await end_of(world, call, container)


async def end_of(world: World, call: Call, container: Container) -> object:
    """Wait until a container ends and return how, as `wait` answers it."""
    call.waits_for, call.is_answered = {"container": container.id}, lambda: world.endings.is_over(container)
    await world.endings.wait_exit(container)
    call.waits_for = None
    return {"exit_code": container.exit_code, "oom_killed": container.oom_killed}


async def ended(world: World, call: Call) -> object:
    """Answer who waited for this with the supervisor before us; by now the container may be gone with its end."""
    if (result := world.endings.take_result(call.text("container"))) is not None:
        return result
    return await wait(world, call)


async def rename(world: World, call: Call) -> object:
    container = world.find(call.text("container"))
    name = call.text("name")
    async with world.lock(container):
        world.require(container)
        check_name(name, "container")
        require_free(world, name)
        if container.addresses:
            world.networks.rename(container.id, name)
            reach("rename:neighbours")
        before, old = container.spec, container.spec.name
        container.spec = dataclasses.replace(before, name=name)
        try:
            container.save()
        except BaseException:
            container.spec = before
            if container.addresses:
                world.networks.rename(container.id, old)
            raise
        reach("rename:recorded")
        del world.names[old]
        world.names[name] = container.id
        world.events.emit("rename", container, old_name=old)
    return container_info(world, container)


async def pause(world: World, call: Call) -> object:
    container = world.find(call.text("container"))
    async with world.lock(container):
        run = world.run_of(container)
        if run.cgroup.is_frozen():
            raise InvalidState(f"container '{container.spec.name}' is already paused")
        if not await freeze(world, container):
            raise InvalidState(f"container '{container.spec.name}' has ended")
        world.events.emit("pause", container)
    return container_info(world, container)


async def unpause(world: World, call: Call) -> object:
    container = world.find(call.text("container"))
    async with world.lock(container):
        run = world.run_of(container)
        if not run.cgroup.is_frozen():
            raise InvalidState(f"container '{container.spec.name}' is not paused")
        run.cgroup.thaw()
        world.events.emit("unpause", container)
    return container_info(world, container)

"""One world: everything the supervisor holds, and what happens when a container ends.

    Client ── verbs/* ──▶ World ──▶ runtime (start, exec, ...)      one event loop, one thread
                            ├── containers, names, runs
                            ├── store, networks, cgroups, id ranges
                            └── MonitorLink ──▶ monitor

Operations on one container take its lock one after the other. Whatever can be asked of the kernel is asked.
"""

import asyncio
import contextlib
import time
from collections.abc import Coroutine

from pycontainer.cgroup.base import Cgroup
from pycontainer.cgroup.detect import detect
from pycontainer.cgroup.hierarchy import Hierarchy
from pycontainer.cgroup.reserve import memory_for_containers, total_memory_bytes
from pycontainer.controllers import registry
from pycontainer.controllers.memory import working_set_bytes
from pycontainer.controllers.protocol import Instance
from pycontainer.disk.beneath import can_be_upper, can_map_ids
from pycontainer.errors import InvalidInput, InvalidState, NotFound, PycontainerError
from pycontainer.linux.files import is_mount_point
from pycontainer.linux.release import kernel_version
from pycontainer.net.manager import NetworkManager
from pycontainer.paths import HostPaths
from pycontainer.runtime.container import Container
from pycontainer.runtime.hostfacts import LANDLOCK_SCOPES, landlock_abi
from pycontainer.runtime.start import Run
from pycontainer.runtime.view import Effective, effective, rewrite
from pycontainer.security.apparmor import AppArmor
from pycontainer.security.idranges import IdRanges
from pycontainer.security.lsm import Labels
from pycontainer.security.profile import Rights, rights
from pycontainer.security.seccomp_compile import loadable
from pycontainer.spec.model import ContainerSpec
from pycontainer.store.images import ImageStore
from pycontainer.supervisor import log
from pycontainer.supervisor.ages import Ages
from pycontainer.supervisor.boot import Boot
from pycontainer.supervisor.caller import Caller, current_caller, may_see
from pycontainer.supervisor.capacity import Capacity
from pycontainer.supervisor.damaged import Damaged
from pycontainer.supervisor.endings import Endings
from pycontainer.supervisor.events import Events
from pycontainer.supervisor.eventstream import Scope
from pycontainer.supervisor.health import Health
from pycontainer.supervisor.journal import Journal
from pycontainer.supervisor.layers import Layers
from pycontainer.supervisor.ledger import Ledger
from pycontainer.supervisor.looks import Looks
from pycontainer.supervisor.lxcfs import Lxcfs
from pycontainer.supervisor.measures import Measures
from pycontainer.supervisor.monitorlink import MonitorLink
from pycontainer.supervisor.operators import Operators
from pycontainer.supervisor.reconcile import Reconcile
from pycontainer.supervisor.removal import Removal
from pycontainer.supervisor.reserve import Reserve
from pycontainer.supervisor.restarts import Restarts
from pycontainer.supervisor.schedule import Schedule
from pycontainer.supervisor.tenants import Tenants
from pycontainer.supervisor.tracing import Traces
from pycontainer.supervisor.transfer import Transfer
from pycontainer.supervisor.transient import Transient
from pycontainer.supervisor.unfinished import Unfinished
from pycontainer.supervisor.volumes import VolumeKeeper
from pycontainer.supervisor.wallwatch import WallWatch
from pycontainer.units import shown


class World:
    """The state of one supervisor."""

    def __init__(self, paths: HostPaths, *, open_files_soft: int) -> None:
        """`open_files_soft` is the limit that containers start with; our own was raised."""
        self.paths = paths
        self.containers: dict[str, Container] = {}
        self.making: dict[str, Container] = {}  # without a record yet: what they need is in use all the same
        self.names: dict[str, str] = {}
        self.runs: dict[str, Run] = {}
        self.looks: dict[str, Looks] = {}  # of each run
        self.locks: dict[str, asyncio.Lock] = {}
        self.broken: dict[str, Damaged] = {}  # records that cannot be read: one container each, not all
        self.mounted: set[str] = set()  # containers whose root is mounted on the host, by `mount`
        self.repaired: list[str] = []  # what `recover` found and put right, for `doctor`
        self.images = ImageStore(paths)
        self.volumes = VolumeKeeper(paths)
        self.layers = Layers(self)
        self.events = Events(Journal(paths.events_dir))
        self.measures = Measures()
        self.traces = Traces()
        self.endings = Endings(self)
        self.ledger = Ledger(self)
        self.transfer = Transfer(self)
        self.restarts = Restarts(self)
        self.being_restarted: set[str] = set()  # by who asked for it: between its end and its start it is not over
        self.health = Health(self)
        self.removal = Removal(self)
        self.boot = Boot(self)
        self.schedule = Schedule(self)
        self.unfinished = Unfinished(self)
        self.transient = Transient(self)
        self.reconcile = Reconcile(self)
        self.reserve = Reserve(paths.state_dir)
        self.capacity = Capacity(self)
        self.ages = Ages()
        self.networks = NetworkManager(paths)
        self.idranges = IdRanges(paths.idranges_dir)
        self.hierarchy = Hierarchy(
            detect(name=paths.marker), paths.marker, memory_bytes=memory_for_containers(total_memory_bytes())
        )
        self.tenants = Tenants(
            paths,
            self.hierarchy,
            self.networks,
            lambda tenant: tenant.measured(self.transient.spec_of_tenant(tenant)),
        )
        self.link = MonitorLink(
            paths,
            self.endings.heard_exit,
            self.endings.lost_monitor,
            open_files_soft=open_files_soft,
            scope=self.hierarchy.layout.scope,
        )
        self.lxcfs = Lxcfs(paths)
        self.labels = Labels(AppArmor(paths.apparmor_dir))
        self._driver: str | None = None
        self._kernel = kernel_version()
        self.last_activity = time.monotonic()
        self.seen_failures: dict[tuple[str, str], int] = {}  # by the last `limits --recent`
        self._wall_watch: WallWatch | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.leave = asyncio.Event()
        self.new_code: asyncio.Future[None] | None = None  # asked for: `leave` means to become it
        self.is_reloading = False
        self.is_ending = False  # by a signal: nothing is more important
        self.operators = Operators()

    # -- finding ---------------------------------------------------------------------------------------------------

    def find(self, reference: str) -> Container:
        """Return the container with this name, id, or unambiguous beginning of an id, of those that who asks may see."""
        if (caller := current_caller()) is not None:
            return self._find_own(caller, reference)
        container_id = self.names.get(reference, reference)
        if container_id in self.containers:
            return self.containers[container_id]
        matches = [key for key in self.containers if reference and key.startswith(reference)]
        if (damaged := self.find_damaged(reference)) is not None:
            raise damaged.refuse()
        if len(matches) == 1:
            return self.containers[matches[0]]
        if matches:
            raise _ambiguous(reference, len(matches))
        raise _no_container(reference)

    def _find_own(self, caller: Caller, reference: str) -> Container:
        """Find among what is of the caller's tenant; of all else not even its number is told."""
        own = {key: each for key, each in self.containers.items() if each.spec.tenant == caller.tenant}
        for name in (caller.full_name(reference), reference):
            if (container_id := self.names.get(name, name)) in own:
                return own[container_id]
        matches = [key for key in own if reference and key.startswith(reference)]
        if len(matches) > 1:
            raise _ambiguous(reference, len(matches))
        if not matches:
            raise _no_container(reference)
        return own[matches[0]]

    def seen(self) -> list[Container]:
        """Return the containers that who asks may see."""
        return [container for container in self.containers.values() if may_see(container.spec.tenant)]

    def seen_running(self) -> list[Container]:
        """Return those of them that run, in the order of their starts."""
        running = [self.containers[container_id] for container_id in self.runs]
        return [container for container in running if may_see(container.spec.tenant)]

    def seen_broken(self) -> list[Damaged]:
        """Return the damaged containers, to who may see those of all tenants: whose one is only its record could tell."""
        return [*self.broken.values()] if current_caller() is None else []

    def scope(self) -> Scope | None:
        """Return what who asks may hear of, None for all; a tenant of the same name that was removed is another one."""
        if (caller := current_caller()) is None:
            return None
        return Scope(caller.tenant, self.tenants.find(caller.tenant).created)

    def seen_names(self) -> dict[str, str]:
        """Return the ids of the containers that who asks may see, by all names that he may give them."""
        caller = current_caller()
        if caller is None:
            return self.names
        found = {container.spec.name: container.id for container in self.seen()}
        return found | {caller.short_name(name): container_id for name, container_id in found.items()}

    def find_damaged(self, reference: str) -> Damaged | None:
        """Return the damaged container with this id, name, or unambiguous beginning of an id, if there is one.

        Whose it is only its record could tell: to a tenant's user it is not there.
        """
        if current_caller() is not None:
            return None
        if reference in self.broken:
            return self.broken[reference]
        if not reference or reference in self.names and self.names[reference] in self.containers:
            return None
        if any(key.startswith(reference) for key in self.containers):
            return None
        matches = [
            damaged for key, damaged in self.broken.items() if damaged.name == reference or key.startswith(reference)
        ]
        return matches[0] if len(matches) == 1 else None

    def damages(self) -> list[PycontainerError]:
        """Return what is wrong with the records of this world, one error for each that is damaged."""
        containers = [damaged.error for damaged in self.broken.values()]
        kinds = (self.tenants.damaged, self.networks.damaged_networks, self.images.damaged())
        addresses = [e for key, e in self.networks.damaged_reservations.items() if key not in self.broken]
        return [*containers, *(error for errors in kinds for error in errors.values()), *addresses]

    def present(self) -> list[Container]:
        """Return the containers that there are, and those that are being made just now."""
        return [*self.containers.values(), *self.making.values()]

    def require(self, container: Container) -> None:
        """Raise NotFound if the container was removed while its lock was waited for."""
        if self.containers.get(container.id) is not container:
            raise NotFound(f"container '{container.spec.name}' was removed meanwhile")

    def lock(self, container: Container) -> asyncio.Lock:
        return self.locks.setdefault(container.id, asyncio.Lock())

    def require_unmounted(self, container: Container) -> None:
        """Raise InvalidState if the root is mounted on the host: nothing else may use the layer that it writes to."""
        if container.id in self.mounted:
            if is_mount_point(self.paths.mount_dir(container.id)):
                raise InvalidState(
                    f"container '{container.spec.name}' is mounted at '{self.paths.mount_dir(container.id)}'",
                    hint=f"pycontainer umount {container.spec.name}",
                )
            self.mounted.discard(container.id)

    def run_of(self, container: Container) -> Run:
        """Return the present run, or raise InvalidState."""
        run = self.runs.get(container.id)
        if run is None:
            raise InvalidState(
                f"container '{container.spec.name}' is not running",
                hint=f"start it: pycontainer start {container.spec.name}",
            )
        return run

    def status(self, container: Container) -> str:
        run = self.runs.get(container.id)
        if run is not None:
            return "paused" if run.cgroup.is_frozen() else "running"
        if container.id in self.restarts or container.id in self.being_restarted:
            return "restarting"
        never_ran = container.started is None and container.finished is None and not container.ran_in
        return "created" if never_ran else "stopped"

    def rootfs_driver(self) -> str:
        """Return the driver for containers that ask for none: overlay, where the file system can hold the layers of one."""
        if self._driver is None:
            directory = self.paths.containers_dir
            self._driver = "overlay" if can_be_upper(directory) and can_map_ids(directory) else "copy"
        return self._driver

    def images_in_use(self) -> set[str]:
        """Return the ids of images that containers were made from.

        While nobody knows that of a damaged one there is "?" among them, and the store keeps all that it has.
        """
        used = {container.image.id for container in self.present() if container.image}
        return used | {"?" if each.image_id is None else each.image_id for each in self.broken.values()} - {""}

    def cgroup(self, container: Container) -> Cgroup:
        """Return its cgroup as it is, without looking whether it exists."""
        return self.hierarchy.open(container.id, container.spec.tenant)

    def effective_limits(self, container: Container) -> Effective:
        """Return what the container can have at most just now, its tenant's limits included."""
        tenant = container.spec.tenant
        pool = self.transient.spec_of_tenant(self.tenants.find(tenant)) if tenant else None
        return effective(self.transient.spec_of(container), pool)

    def apply_to_tenant(self, name: str) -> None:
        """Write the limits of a tenant that is raised again, and those of its running containers."""
        running = [self.containers[container_id] for container_id in self.runs]
        disks = {disk for container in running if container.spec.tenant == name for disk in container.disks()}
        self.tenants.apply(name, disks)
        self.apply_to_members(name)

    def measured(self, container: Container, spec: ContainerSpec) -> ContainerSpec:
        """Return what a measure against its tenant leaves of a container's `spec`."""
        tenant = self.tenants.by_name.get(container.spec.tenant)
        return spec if tenant is None else tenant.measured_member(spec)

    def spec_in_force(self, container: Container) -> ContainerSpec:
        """Return what the kernel is to hold now: the record's, or what was set for this run, less what a measure takes."""
        return self.measured(container, self.transient.spec_of(container))

    def apply_to_members(self, tenant: str) -> None:
        """Write the limits of a tenant's running containers again: v1 lets none exceed its parent's."""
        for container_id, run in self.runs.items():
            container = self.containers[container_id]
            if container.spec.tenant == tenant:
                spec = self.spec_in_force(container)
                container.warnings = registry.apply(self.instance(container, run.cgroup), spec)
                self.refresh_view(container, run.cgroup)

    def refresh_view(self, container: Container, cgroup: Cgroup) -> None:
        """Let a running container see limits that changed."""
        used_bytes = working_set_bytes(cgroup)
        if not rewrite(f"{container.directory}/etc", self.effective_limits(container), used_bytes):
            container.warnings = [*container.warnings, "free and the like show the new limits from the next start on"]

    def rights(self, spec: ContainerSpec) -> Rights:
        """Return what a container of `spec` may do; InvalidInput for a seccomp profile that is none."""
        return rights(spec, self._kernel)

    def rights_of(self, container: Container) -> Rights:
        """Return the same, as far as this host can hold it."""
        return self.holdable(self.rights(container.spec))

    def holdable(self, given: Rights) -> Rights:
        """Return `given` without the walls that this host has nothing for."""
        can_hide = landlock_abi() >= LANDLOCK_SCOPES
        return given._replace(hides_abstract_sockets=given.hides_abstract_sockets and can_hide)

    def filter_of(self, given: Rights) -> tuple[int, bytes] | None:
        """Return the compiled filter of system calls, with its flags."""
        return loadable(given.seccomp, self.paths.seccomp_dir)

    def instance(self, container: Container, cgroup: Cgroup, *, is_new: bool = False) -> Instance:
        """Return what controllers act on; `is_new` if the cgroup was made just now."""
        storage = None if container.spec.rootfs_writable else container.storage()
        network = self.networks.bandwidth(container.id, container.spec.tenant) if container.addresses else None
        return Instance(cgroup, container.disks, network, storage, is_new=is_new)

    def add(self, container: Container) -> None:
        self.containers[container.id] = container
        self.names[container.spec.name] = container.id

    def watch_walls(self) -> None:
        """Repair the firewall whenever another process damages it."""
        with contextlib.suppress(OSError):  # a kernel without nftables: no network can be attached either
            self._wall_watch = WallWatch(self.networks, self._heard_repair)

    def _heard_repair(self, harm: str, culprit: str) -> None:
        """Tell that the firewall was damaged by another process, and is whole again."""
        log.say(f"the firewall was repaired: {harm}, by '{culprit}'")
        self.events.emit("firewall-repaired", detail=harm, by=culprit)

    def end(self) -> None:
        """Leave: a signal says so."""
        self.is_ending = True
        self.leave.set()

    async def ask_for_new_code(self) -> None:
        """Leave so that the process goes on with the code that is installed now. Returns never; raises why it cannot be."""
        self.new_code = asyncio.get_running_loop().create_future()
        self.leave.set()
        try:
            await self.new_code
        finally:
            self.new_code = None

    def spawn(self, coroutine: Coroutine[object, object, None]) -> asyncio.Task[None]:
        """Run a task of our own and keep it alive until it ends."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def is_idle(self) -> bool:
        return self._nothing_runs() and not self.restarts and not self._tasks and not self.transfer.is_waiting()

    def is_at_work(self) -> bool:
        """Tell whether something that nobody waits for would be cut off if we ended now."""
        return self.boot.is_at_work or self.transfer.is_at_work

    def _nothing_runs(self) -> bool:
        return not self.runs and not any(damaged.is_alive for damaged in self.broken.values())

    def close(self) -> None:
        """Leave; with nothing running, nothing of ours stays on the host."""
        self.endings.settle()
        nothing_runs = self._nothing_runs()
        self.reconcile.close()
        self.endings.close()
        self.health.close()
        self.ledger.close()
        self.events.close(cause="asked" if self.leave.is_set() else "idle")
        if self._wall_watch is not None:
            self._wall_watch.close()
        self.networks.close(remove=nothing_runs)
        if nothing_runs:
            self.link.dismiss()
            self.lxcfs.stop()
            self.hierarchy.remove_parent()
        else:
            self.link.close()


def _no_container(reference: str) -> NotFound:
    return NotFound(f"no container {shown(reference)}", hint="'pycontainer ps --all' lists them")


def _ambiguous(reference: str, count: int) -> InvalidInput:
    return InvalidInput(f"'{reference}' is the beginning of {count} container ids", hint="give more of it, or the name")

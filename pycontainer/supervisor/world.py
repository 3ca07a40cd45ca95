"""One world: everything the supervisor holds, and what happens when a container ends.

    Client ── verbs/* ──▶ World ──▶ runtime (start, exec, ...)      one event loop, one thread
                            ├── containers, names, runs
                            ├── store, networks, cgroups, id ranges
                            └── MonitorLink ──▶ monitor

Operations on one container take its lock one after the other. Whatever can be asked of the kernel is asked.
"""

import asyncio
import contextlib
import os
import sys
import time
import traceback
from collections.abc import Callable

from pycontainer.cgroup.base import Cgroup
from pycontainer.cgroup.detect import detect
from pycontainer.cgroup.hierarchy import Hierarchy
from pycontainer.cgroup.reserve import memory_for_containers, total_memory_bytes
from pycontainer.controllers import registry
from pycontainer.controllers.memory import working_set_bytes
from pycontainer.controllers.protocol import Instance
from pycontainer.disk.beneath import can_be_upper, can_map_ids
from pycontainer.disk.storage import erase, open_storage
from pycontainer.errors import InvalidInput, InvalidState, NotFound, PycontainerError
from pycontainer.linux.files import is_mount_point
from pycontainer.linux.process import pidfd_open
from pycontainer.net.manager import NetworkManager
from pycontainer.paths import HostPaths
from pycontainer.record import remove_record
from pycontainer.runtime.container import Container, exit_code, load, now
from pycontainer.runtime.hostfacts import LANDLOCK_SCOPES, kernel_version, landlock_abi
from pycontainer.runtime.start import Run
from pycontainer.runtime.view import Effective, effective, rewrite
from pycontainer.security.apparmor import AppArmor
from pycontainer.security.idranges import IdRanges
from pycontainer.security.lsm import Labels
from pycontainer.security.profile import Rights, rights
from pycontainer.security.seccomp_compile import loadable
from pycontainer.spec.model import ContainerSpec
from pycontainer.spec.names import is_container_id
from pycontainer.store.images import ImageStore
from pycontainer.supervisor.damaged import Damaged, from_container, from_directory, lost_record, same_name
from pycontainer.supervisor.layers import Layers
from pycontainer.supervisor.looks import Looks
from pycontainer.supervisor.lxcfs import Lxcfs
from pycontainer.supervisor.monitorlink import MonitorLink
from pycontainer.supervisor.mounting import find_mounts
from pycontainer.supervisor.oomwatch import Kill, OomWatch
from pycontainer.supervisor.operators import Operators
from pycontainer.supervisor.schedule import Schedule
from pycontainer.supervisor.tenants import Tenants
from pycontainer.supervisor.volumes import VolumeKeeper
from pycontainer.supervisor.wallwatch import WallWatch
from pycontainer.units import shown

_TRASH = ".removed-"
EXIT_OURS = 125
_NETWORK_SWEEP_SECONDS = 2.0
_RESTART_FIRST_SECONDS, _RESTART_MAX_SECONDS, _RESTART_RESET_SECONDS = 0.1, 60.0, 10.0


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
        self.schedule = Schedule(self)
        self.networks = NetworkManager(paths)
        self.idranges = IdRanges(paths.idranges_dir)
        self.hierarchy = Hierarchy(
            detect(name=paths.marker), paths.marker, memory_bytes=memory_for_containers(total_memory_bytes())
        )
        self.tenants = Tenants(paths, self.hierarchy, self.networks)
        self.link = MonitorLink(
            paths,
            self._heard_exit,
            self._lost_monitor,
            open_files_soft=open_files_soft,
            scope=self.hierarchy.layout.scope,
        )
        self.lxcfs = Lxcfs(paths)
        self.labels = Labels(AppArmor(paths.apparmor_dir))
        self._driver: str | None = None
        self._kernel = kernel_version(os.uname().release)
        self.last_activity = time.monotonic()
        self.seen_failures: dict[tuple[str, str], int] = {}  # by the last `limits --recent`
        self._exits: dict[str, asyncio.Event] = {}
        self._early_exits: dict[str, dict[str, object]] = {}
        self._exec_exits: dict[str, asyncio.Future[int]] = {}
        self._listeners: set[Callable[[dict[str, object]], None]] = set()
        self._restarts: dict[str, asyncio.TimerHandle] = {}
        self._network_sweep: asyncio.TimerHandle | None = None
        self._oom_told: dict[str, int] = {}  # container -> kills of its present run that were told with their victims
        self._oom_watch: OomWatch | None = None
        self._wall_watch: WallWatch | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._erasing: dict[str, asyncio.Task[None]] = {}  # id of a removed container -> its files are going
        self.leave = asyncio.Event()
        self.operators = Operators()
        self.start: Callable[[Container], object] | None = None  # verbs/lifecycle, for restart policies

    # -- finding ---------------------------------------------------------------------------------------------------

    def find(self, reference: str) -> Container:
        """Return the container with this name, id, or unambiguous beginning of an id."""
        container_id = self.names.get(reference, reference)
        if container_id in self.containers:
            return self.containers[container_id]
        matches = [key for key in self.containers if reference and key.startswith(reference)]
        if (damaged := self.find_damaged(reference)) is not None:
            raise damaged.refuse()
        if len(matches) == 1:
            return self.containers[matches[0]]
        if matches:
            raise InvalidInput(
                f"'{reference}' is the beginning of {len(matches)} container ids", hint="give more of it, or the name"
            )
        raise NotFound(f"no container {shown(reference)}", hint="'pycontainer ps --all' lists them")

    def find_damaged(self, reference: str) -> Damaged | None:
        """Return the damaged container with this id, name, or unambiguous beginning of an id, if there is one."""
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
        if container.id in self._restarts:
            return "restarting"
        return "created" if container.started is None and container.finished is None else "stopped"

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
        """Return what the container can have at most, its tenant's limits included."""
        tenant = container.spec.tenant
        return effective(container.spec, self.tenants.find(tenant).spec if tenant else None)

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

    # -- events ----------------------------------------------------------------------------------------------------

    def emit(self, kind: str, container: Container | None = None, **details: object) -> None:
        """Tell everybody who listens; `kind` is create, start, die, oom, stop, pause, ..."""
        event: dict[str, object] = {"time": now(), "type": kind, **details}
        if container is not None:
            event.update(id=container.id, name=container.spec.name)
        for listener in list(self._listeners):
            listener(event)

    @contextlib.contextmanager
    def listening(self, listener: Callable[[dict[str, object]], None]):  # type: ignore[no-untyped-def]
        """Have `listener` called with every event while the block runs."""
        self._listeners.add(listener)
        try:
            yield
        finally:
            self._listeners.discard(listener)

    # -- coming up -------------------------------------------------------------------------------------------------

    async def recover(self) -> None:
        """Read every record, adopt what runs, finish what ended meanwhile, remove what nobody owns."""
        self._oom_watch = OomWatch(self._heard_kill)
        for directory in (self.paths.state_dir, self.paths.run_dir):
            os.makedirs(directory, mode=0o700, exist_ok=True)
            os.chmod(directory, 0o750 if directory == self.paths.run_dir else 0o700)
        for directory in (
            self.paths.containers_dir,
            self.paths.layers_dir,
            self.paths.run_containers_dir,
            self.paths.tenants_dir,
        ):
            os.makedirs(directory, mode=0o700, exist_ok=True)
        self.rootfs_driver()  # while we have one thread: what is not known of a file system is tried by a child
        for container_id in sorted(os.listdir(self.paths.containers_dir)):
            if container_id.startswith(_TRASH):  # cut off in the middle of `remove`
                self.repaired.append(f"half-removed container: {self.paths.containers_dir}/{container_id}")
                self.spawn(self._erase_later(container_id.removeprefix(_TRASH)))
                continue
            self._recover_record(container_id)
        for container in list(self.containers.values()):
            if container.addresses and not self.networks.has_reservation(container.id):
                error = self.networks.reservation_is_gone(container.id)
                self.networks.hold(container.id, container.spec.name, container.addresses)
                del self.containers[container.id]
                self._set_aside(from_container(container, error))
        for error in self.damages():
            print(f"{error.message}\nhint: {error.hint}", file=sys.stderr)
        if left_over := self.volumes.left_over():
            self.repaired += [f"half-made or half-removed volume: {directory}" for directory in left_over]
            self.spawn(self.volumes.erase(*left_over))
        self.mounted.update(find_mounts(self.paths))
        self.idranges.sweep()
        children: dict[str, dict[str, object]] = {}
        if await self.link.connect(start=False):
            children = {str(child["id"]): child for child in await self.link.children() if child["kind"] == "init"}
        live: dict[str, bool] = {}
        for container in list(self.containers.values()):
            if container.is_running():
                pidfd = pidfd_open(container.pid)
                self.runs[container.id] = Run(self.cgroup(container), container.pid, pidfd, [])
                self.looks[container.id] = Looks(container, -1)
                self._exits[container.id] = asyncio.Event()
                live[container.id] = True
                if container.id not in children:  # its monitor died: it goes on, and we see its end by the pidfd
                    asyncio.get_running_loop().add_reader(pidfd, self._ended_unwatched, container)
        tenants = {
            container_id: tenant for container_id in live if (tenant := self.containers[container_id].spec.tenant)
        }
        for container_id, tenant in self.hierarchy.containers():
            if (damaged := self.broken.get(container_id)) is not None:
                damaged.tenant = tenant
                damaged.is_alive = bool(self.hierarchy.open(container_id, tenant).pids())
                if damaged.is_alive:  # it keeps its network; who is to end it can
                    live[container_id] = True
                    tenants |= {container_id: tenant} if tenant else {}
        with contextlib.suppress(OSError):  # a kernel without nftables: no network can be attached either
            self._wall_watch = WallWatch(self.networks, self._heard_repair)
        for problem in self.networks.reconcile(live, tenants):
            print(problem, file=sys.stderr)
        for container in list(self.containers.values()):
            if container.pid and container.id not in self.runs:  # it ended while nobody looked
                self._finish(container, exit_code=container.exit_code)
            elif container.restarting:  # we left while it waited for its next start
                self._after_end(container, lasted_seconds=0)
        for cgroup_id, tenant in self.hierarchy.containers():
            if cgroup_id not in self.runs and not (cgroup_id in self.broken and self.broken[cgroup_id].is_alive):
                self._remove_cgroup(self.hierarchy.open(cgroup_id, tenant))
        self.tenants.adopt()
        self.layers.recover()
        for container in self.containers.values():
            self.schedule.plan(container)

    def _recover_record(self, container_id: str) -> None:
        """Read what is in one directory: a container, a damaged one, or a create that was cut off before its last step."""
        directory = self.paths.container_dir(container_id)
        if os.path.lexists(f"{directory}/spec.json"):
            try:
                container = load(self.paths, container_id)
            except PycontainerError as error:
                self._set_aside(from_directory(self.paths, container_id, error))
                return
            if (other := self.names.get(container.spec.name)) is not None:
                self._set_aside(from_container(container, same_name(container, other)))
                return
            self.add(container)
        elif not is_container_id(container_id):
            print(f"'{directory}' is none of ours: left alone", file=sys.stderr)
        elif any(
            map(os.path.lexists, (f"{directory}/log", f"{directory}/exit.json", self.paths.runtime_state(container_id)))
        ):
            self._set_aside(from_directory(self.paths, container_id, lost_record(self.paths, container_id)))
        else:
            self.repaired.append(f"half-made container: {directory}")
            self.discard_half_made(container_id)

    def _set_aside(self, damaged: Damaged) -> None:
        self.broken[damaged.id] = damaged
        if damaged.name:
            self.names.setdefault(damaged.name, damaged.id)

    async def remove_damaged(self, damaged: Damaged) -> None:
        """Take away all that a damaged container has, its processes first; nobody learns how they ended."""
        for container_id, tenant in self.hierarchy.containers():
            if container_id == damaged.id:
                cgroup = self.hierarchy.open(container_id, tenant)
                cgroup.kill()
                cgroup.delete()
        directory = self.paths.container_dir(damaged.id)
        self.networks.release(damaged.id)
        base = self.idranges.lookup(directory)
        if base is not None:
            with contextlib.suppress(OSError):  # a disk image that is damaged too has nothing to forget
                open_storage(directory, base).release()
            self.idranges.release(base, directory)
        remove_record(self.paths.runtime_state(damaged.id))
        with contextlib.suppress(FileNotFoundError):
            os.rename(directory, self._remains(damaged.id))
        if self.names.get(damaged.name) == damaged.id:
            del self.names[damaged.name]
        self.broken.pop(damaged.id, None)
        self.layers.sweep()
        self.emit("remove", id=damaged.id, name=damaged.name)
        await self.erase_remains(damaged.id)

    def _damaged_ended(self, damaged: Damaged) -> None:
        """A damaged container that went on running has ended: what it held of the host goes, its files stay."""
        damaged.is_alive = False
        self.networks.detach(damaged.id, alive=False)
        self._sweep_networks_later()
        self._remove_cgroup(self.hierarchy.open(damaged.id, damaged.tenant))
        self.emit("die", id=damaged.id, name=damaged.name, exit_code=None)

    def add(self, container: Container) -> None:
        self.containers[container.id] = container
        self.names[container.spec.name] = container.id

    def discard_half_made(self, container_id: str) -> None:
        """Take away a directory without a record: a create that was cut off before its last step."""
        directory = self.paths.container_dir(container_id)
        base = self.idranges.lookup(directory)
        if base is not None:
            self.idranges.release(base, directory)
        self.networks.release(container_id)
        os.rename(directory, self._remains(container_id))
        self.spawn(self._erase_later(container_id))

    # -- running and ending ------------------------------------------------------------------------------------------

    def began(self, container: Container, run: Run) -> None:
        """A start succeeded."""
        self.runs[container.id] = run
        self.looks[container.id] = Looks(container, run.root_fd)
        self._exits[container.id] = asyncio.Event()
        self.emit("start", container)
        early = self._early_exits.pop(container.id, None)
        if early is not None:
            self._ended(container, early)

    async def wait_exit(self, container: Container, timeout_seconds: float | None = None) -> bool:
        """Wait for the end of the present run; False when the time is over first."""
        event = self._exits.get(container.id)
        if event is None:
            return True
        try:
            await asyncio.wait_for(event.wait(), timeout_seconds)
        except TimeoutError:
            return False
        return True

    def expect_exec_exit(self, exec_id: str) -> asyncio.Future[int]:
        """Return a future of the exit code of a process that joined."""
        return self._exec_exits.setdefault(exec_id, asyncio.get_running_loop().create_future())

    def forget_exec(self, exec_id: str) -> None:
        self._exec_exits.pop(exec_id, None)

    def _heard_exit(self, message: dict[str, object]) -> None:
        child_id = str(message["id"])
        if message["kind"] == "exec":
            future = self._exec_exits.get(child_id)
            if future is not None and not future.done():
                future.set_result(exit_code(int(str(message["wait_status"]))))
            return
        if (damaged := self.broken.get(child_id)) is not None:
            self._damaged_ended(damaged)
            return
        container = self.containers.get(child_id)
        if container is None:
            return
        if child_id in self.runs:
            self._ended(container, message)
        else:
            self._early_exits[child_id] = message

    def _heard_repair(self, harm: str, culprit: str) -> None:
        """Tell that the firewall was damaged by another process, and is whole again."""
        print(f"the firewall was repaired: {harm}, by '{culprit}'", file=sys.stderr)
        self.emit("firewall-repaired", detail=harm, by=culprit)

    def _heard_kill(self, kill: Kill) -> None:
        """Tell of a process that the kernel killed for want of memory, whose limit it was, and how large it was."""
        container_id, own = kill.place(self.paths.marker) or ("", "")
        container = self.containers.get(container_id)
        if container is None or not self._has_untold_kill(container):
            return
        limit_of = "host"
        if kill.limited_by == own or kill.limited_by.startswith(f"{own}/"):
            limit_of = "container"
        elif container.spec.tenant and kill.limited_by == os.path.dirname(own):
            limit_of = "tenant"
        elif os.path.basename(kill.limited_by) == self.paths.marker:
            limit_of = "all containers"
        self._oom_told[container.id] = self._oom_told.get(container.id, 0) + 1
        victim = {"pid": kill.pid, "command": kill.command, "rss_bytes": kill.rss_bytes}
        self.emit("oom", container, victim=victim, limit_of=limit_of)

    def _has_untold_kill(self, container: Container) -> bool:
        """Ask the kernel whether more processes were killed there than we have told of."""
        run = self.runs.get(container.id)
        if run is None:
            return container.oom_killed
        try:
            return run.cgroup.oom_kills() > self._oom_told.get(container.id, 0)
        except OSError:  # it is just ending
            return True

    def _lost_monitor(self) -> None:
        """The monitor died: its children go on, we watch them by pidfd until they end."""
        loop = asyncio.get_running_loop()
        for exec_exit in self._exec_exits.values():
            if not exec_exit.done():
                exec_exit.set_exception(PycontainerError("the monitor died: the exit code of this process is unknown"))
        for container_id, run in self.runs.items():
            container = self.containers[container_id]
            self.emit("monitor-lost", container)
            loop.add_reader(run.pidfd, self._ended_unwatched, container)

    def _ended_unwatched(self, container: Container) -> None:
        asyncio.get_running_loop().remove_reader(self.runs[container.id].pidfd)
        with contextlib.suppress(ValueError, OSError):  # damaged, it says as little as one that is not there
            container.load_exit()
        self._finish(container, exit_code=None)

    def _ended(self, container: Container, message: dict[str, object]) -> None:
        container.ended(int(str(message["wait_status"])))
        self._finish(container, exit_code=container.exit_code)

    def _finish(self, container: Container, *, exit_code: int | None) -> None:
        """The run is over: take down what it had, record how it ended, start again if the policy says so."""
        run = self.runs.pop(container.id, None)
        self.looks.pop(container.id, None)
        cgroup = run.cgroup if run is not None else self.cgroup(container)
        try:
            container.oom_killed = cgroup.oom_kills() > 0
        except OSError:
            pass
        if container.addresses:
            self.networks.detach(container.id, alive=False)
            self._sweep_networks_later()
        try:
            registry.release(self.instance(container, cgroup))
        except OSError as error:
            self.emit("leftover", container, detail=f"limits: {error}")
        self._remove_cgroup(cgroup)
        if run is not None:
            run.close()
        container.exit_code, container.finished = exit_code, container.finished or now()
        if run is not None:
            container.finished = now()
        lasted_seconds = container.finished - (container.started or container.finished)
        container.forget_run()
        if container.oom_killed and container.id not in self._oom_told:
            self.emit("oom", container)
        self._oom_told.pop(container.id, None)
        self.emit("die", container, exit_code=exit_code)
        event = self._exits.pop(container.id, None)
        if event is not None:
            event.set()
        self._after_end(container, lasted_seconds=lasted_seconds)

    def _sweep_networks_later(self) -> None:
        if self._network_sweep is None:
            self._network_sweep = asyncio.get_running_loop().call_later(_NETWORK_SWEEP_SECONDS, self._sweep_networks)

    def _sweep_networks(self) -> None:
        self._network_sweep = None
        self.networks.sweep()

    def _remove_cgroup(self, cgroup: Cgroup) -> None:
        try:
            cgroup.kill()
            cgroup.delete()
        except (OSError, TimeoutError) as error:
            self.emit("leftover", detail=f"cgroup: {error}")

    def _after_end(self, container: Container, *, lasted_seconds: float) -> None:
        """Start it again if the policy says so or it asked to, later each time; a run that lasted begins the count anew."""
        if lasted_seconds > _RESTART_RESET_SECONDS:
            container.restart_count = 0
        policy = container.spec.restart
        wanted = policy.name in ("always", "unless-stopped") or (
            policy.name == "on-failure" and container.exit_code != 0
        )
        if policy.name == "on-failure" and policy.max_retries and container.restart_count >= policy.max_retries:
            wanted = False
        wanted = wanted or container.rebooting
        if wanted and not container.stopping and self.start is not None:
            delay = min(_RESTART_FIRST_SECONDS * 2 ** min(container.restart_count, 16), _RESTART_MAX_SECONDS)
            container.restart_count += 1
            container.restarting = True
            container.save_run()
            self._restarts[container.id] = asyncio.get_running_loop().call_later(delay, self._restart, container)
        elif container.spec.auto_remove:
            self.spawn(self._remove_later(container))

    def cancel_restart(self, container: Container) -> bool:
        """Do not start it again; True if that was about to happen."""
        handle = self._restarts.pop(container.id, None)
        if handle is not None:
            handle.cancel()
            container.forget_run()
        return handle is not None

    def _restart(self, container: Container) -> None:
        self._restarts.pop(container.id, None)
        self.spawn(self._start_again(container))

    async def _start_again(self, container: Container) -> None:
        async with self.lock(container):
            if container.id in self.runs or container.id not in self.containers:
                return
            try:
                assert self.start is not None
                await self.start(container)  # type: ignore[misc]
            except Exception as error:  # whatever it is, the policy goes on
                if not isinstance(error, PycontainerError):
                    traceback.print_exc()
                container.warnings = [f"restart failed: {error}"]
                container.exit_code = getattr(error, "exit_code", EXIT_OURS)
                self._after_end(container, lasted_seconds=0)

    async def _remove_later(self, container: Container) -> None:
        async with self.lock(container):
            if container.id in self.containers and container.id not in self.runs:
                try:
                    await self.remove(container)
                except InvalidState as error:
                    self.emit("leftover", detail=f"files of container '{container.id}': {error}")

    def spawn(self, coroutine) -> None:  # type: ignore[no-untyped-def]
        """Run a task of our own and keep it alive until it ends."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def remove(self, container: Container, *, with_volumes: bool = False) -> None:
        """Take away all a stopped container has. Every step may be repeated; its files go last, beside other requests.

        `with_volumes`: also those that its image asked for, as for a container that removes itself.
        """
        self.cancel_restart(container)
        self.networks.detach(container.id, alive=False)
        self.networks.release(container.id)
        with contextlib.suppress(FileNotFoundError):
            container.storage().release()
        self.idranges.release(container.base, container.directory)
        container.forget_run()
        with contextlib.suppress(FileNotFoundError):
            os.rename(container.directory, self._remains(container.id))
        if self.names.get(container.spec.name) == container.id:
            del self.names[container.spec.name]
        self.containers.pop(container.id, None)
        self.locks.pop(container.id, None)
        self.schedule.forget(container.id)
        self.seen_failures = {key: count for key, count in self.seen_failures.items() if key[0] != container.id}
        self.emit("remove", container)
        if container.lowers or container.snapshots:
            self.layers.sweep()
        retired: list[str] = []
        if with_volumes or container.spec.auto_remove:
            retired = self.volumes.retire_anonymous(self, container.spec.mounts)
        await self.erase_remains(container.id)
        if retired:
            await self.volumes.erase(*retired)

    def is_erasing(self, container_id: str) -> bool:
        """Tell whether the files of a removed container are going just now."""
        return container_id in self._erasing

    def has_remains(self, container_id: str) -> bool:
        """Tell whether files of a removed container are there, still or because something kept them."""
        return is_container_id(container_id) and os.path.lexists(self._remains(container_id))

    async def erase_remains(self, container_id: str) -> None:
        """Delete the files of a removed container; InvalidState names what cannot go. May be repeated.

        Beside other requests, as a tenant may have made millions of files; who asks for the same waits for the same.
        """
        task = self._erasing.get(container_id)
        if task is None:
            erasing = asyncio.to_thread(erase, self._remains(container_id))
            task = self._erasing[container_id] = asyncio.get_running_loop().create_task(erasing)
            task.add_done_callback(lambda _: self._erasing.pop(container_id, None))
        try:
            await asyncio.shield(task)
        except OSError as error:
            raise InvalidState(
                f"the container is removed, but not all of its files: {error.strerror}",
                hint=f"see what holds them (findmnt, lsattr), then: pycontainer rm {container_id}",
            ) from error

    async def _erase_later(self, container_id: str) -> None:
        try:
            await self.erase_remains(container_id)
        except InvalidState as error:
            self.emit("leftover", detail=f"files of container '{container_id}': {error}")

    def _remains(self, container_id: str) -> str:
        return f"{self.paths.containers_dir}/{_TRASH}{container_id}"

    def is_idle(self) -> bool:
        return self._nothing_runs() and not self._restarts and not self._tasks

    def _nothing_runs(self) -> bool:
        return not self.runs and not any(damaged.is_alive for damaged in self.broken.values())

    def close(self) -> None:
        """Leave; with nothing running, nothing of ours stays on the host."""
        nothing_runs = self._nothing_runs()
        if self._oom_watch is not None:
            self._oom_watch.close()
        if self._wall_watch is not None:
            self._wall_watch.close()
        self.networks.close(remove=nothing_runs)
        self.link.close()
        if nothing_runs:
            self.lxcfs.stop()
            self.hierarchy.remove_parent()

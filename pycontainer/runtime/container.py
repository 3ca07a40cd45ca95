"""One container on disk: what was asked, what it got, what became of it.

    containers/ID/spec.json      the record: id, created, spec, image, id range, warnings   (written by create)
                 /exit.json      how the last run ended                        (written by the monitor)
                 /running.json   it runs, or ran when the host went down: in which boot, since when
                 /snapshots/NAME.json                          (runtime/snapshots.py)
                 /rootfs/ log etc/
    run/containers/ID.json       the present run: pid, start ticks, started, label    (gone at boot)

Whether it runs is asked of the kernel: the pid must exist and have begun when the state says it began.
"""

import contextlib
import json
import os
import signal
import time

from pycontainer.disk.layers import FrozenLayers, is_layer_id
from pycontainer.disk.storage import Storage, open_storage
from pycontainer.errors import InvalidState, NotFound, PycontainerError
from pycontainer.linux.blockdevices import disks_of
from pycontainer.linux.files import write_atomically
from pycontainer.linux.hostboot import name_of_boot
from pycontainer.linux.process import start_time_ticks
from pycontainer.paths import HostPaths
from pycontainer.record import Record, check_version, read_record, read_unsynced, remove_record
from pycontainer.runtime.healthcheck import STATUSES
from pycontainer.runtime.snapshots import Snapshot, load_snapshots
from pycontainer.security.idranges import COUNT, FIRST, LAST
from pycontainer.spec.model import ContainerSpec
from pycontainer.spec.names import is_container_id
from pycontainer.spec.parse import from_plain, to_plain
from pycontainer.store.imageconfig import check_config
from pycontainer.units import shown

RECORD_VERSION = 1
DRIVERS = ("overlay", "copy")
_CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
_MAX_PID = 1 << 22  # PID_MAX_LIMIT
_MAX_NOTE_BYTES = 4096


class ImageRecord:
    """What a container took from its image when it was created; later changes of the name do not touch it."""

    __slots__ = ("config", "id", "layers", "name")

    def __init__(self, name: str, image_id: str, layers: list[str], config: dict[str, object]) -> None:
        self.name, self.id, self.layers, self.config = name, image_id, layers, config


class Container:
    """A container's record and its last known run."""

    __slots__ = (
        "_storage",
        "base",
        "cause",
        "clearing",
        "created",
        "damaged_snapshots",
        "driver",
        "ending",
        "exit_code",
        "finished",
        "finished_uptime",
        "health",
        "id",
        "image",
        "is_proven",
        "killed_by",
        "label",
        "lowers",
        "missing_walls",
        "oom_killed",
        "paths",
        "pid",
        "ran_in",
        "restart_count",
        "spec",
        "start_ticks",
        "started",
        "stopping",
        "restarting",
        "rebooting",
        "snapshots",
        "warnings",
        "was_ready",
        "image_warnings",
        "addresses",
        "dropped_output_bytes",
    )

    def __init__(
        self,
        paths: HostPaths,
        container_id: str,
        spec: ContainerSpec,
        image: ImageRecord | None,
        *,
        base: int,
        created: float,
    ) -> None:
        self.paths, self.id, self.spec, self.image, self.base, self.created = (
            paths,
            container_id,
            spec,
            image,
            base,
            created,
        )
        self._storage: tuple[int, Storage] | None = None  # with the base that it is for
        self.driver = "overlay"  # or copy: the image's tree was copied into the writable layer, which is the root
        self.lowers: list[str] = []  # its frozen layers, lowest first
        self.clearing = False  # a restore is on its way to an empty writable layer
        self.snapshots: dict[str, Snapshot] = {}
        self.damaged_snapshots: list[str] = []  # warnings; while there are any, no frozen layer is deleted
        self.addresses: dict[str, dict[str, str]] = {}
        self.warnings: list[str] = []
        self.image_warnings: list[str] = []  # what its image, or who made it, asked for and did not get
        self.label: list[str] = []  # of the present run, as of security/lsm.Label
        self.missing_walls: list[str] = []  # warnings: what confines others and not the present run
        self.pid = 0
        self.start_ticks = 0
        self.started: float | None = None
        self.finished: float | None = None
        self.finished_uptime: float | None = None  # the same by a clock that nobody sets, of this boot
        self.exit_code: int | None = None
        self.oom_killed = False
        self.killed_by = 0  # the signal that ended its first process
        self.cause = ""  # of its end, see cause_of_end
        self.ending = ""  # why we end it: health or not-ready, where nobody asked for it
        self.health = ""  # of the present run, as of runtime/healthcheck.STATUSES
        self.was_ready = False  # the last run has said READY=1, where that was asked for
        self.is_proven = False  # the present run has been healthy, or ready where it has no check
        self.restart_count = 0
        self.dropped_output_bytes = 0
        self.stopping = False  # stop or kill asked for it: no restart policy applies
        self.restarting = False  # it ended, and its policy will start it again
        self.rebooting = False  # it ended by asking to be started again
        self.ran_in = ""  # the boot of the host in which it runs, or ran when that went down

    @property
    def directory(self) -> str:
        return self.paths.container_dir(self.id)

    def base_layers(self) -> list[str]:
        """Return the directories that it was created from, lowest first."""
        return self.image.layers if self.image else [self.spec.rootfs]

    def layers(self) -> tuple[str, ...]:
        """Return the directories beneath its writable layer, lowest first. NotFound, by its name, for one that is gone."""
        if self.driver == "copy":
            return ()
        if not self.lowers:
            return tuple(self.base_layers())
        frozen = FrozenLayers(self.paths.layers_dir)
        for layer in self.lowers:
            if not frozen.exists(layer):
                raise NotFound(
                    f"a layer of container '{self.spec.name}' is gone: '{frozen.path(layer)}'",
                    hint="bring it back from a backup, or restore a snapshot that does not need it",
                )
        return (*self.base_layers(), *map(frozen.path, self.lowers))

    def storage(self) -> Storage:
        """Return its writable layer; of which kind that is was found out once."""
        if self._storage is None or self._storage[0] != self.base:
            self._storage = self.base, open_storage(self.directory, self.base)
        return self._storage[1]

    def disks(self) -> tuple[str, ...]:
        """Return the disks that hold what the container uses, as major:minor."""
        layers = self.base_layers()
        binds = [mount.source for mount in self.spec.mounts if mount.type == "bind"]
        return disks_of((self.directory, *layers, self.paths.volumes_dir, *binds))

    def save(self, *, sync: bool = True) -> None:
        """Write the record, all at once or not at all; without `sync` a loss of power may leave nothing of it."""
        image = self.image
        record = {
            "version": RECORD_VERSION,
            "id": self.id,
            "created": self.created,
            "base": self.base,
            "spec": to_plain(self.spec),
            "warnings": self.warnings,
            "image_warnings": self.image_warnings,
            "addresses": self.addresses,
            "driver": self.driver,
            "lowers": self.lowers,
            "clearing": self.clearing,
            "image": image and {"name": image.name, "id": image.id, "layers": image.layers, "config": image.config},
        }
        write_atomically(f"{self.directory}/spec.json", json.dumps(record).encode(), sync=sync)

    def save_run(self) -> None:
        """Write the present run; lost at boot on purpose, so no fsync."""
        state = {
            "id": self.id,
            "pid": self.pid,
            "start_ticks": self.start_ticks,
            "started": self.started,
            "restart_count": self.restart_count,
            "label": self.label,
            "missing_walls": self.missing_walls,
            "stopping": self.stopping,
            "restarting": self.restarting,
            "ending": self.ending,
            "health": self.health,
            "is_proven": self.is_proven,
            "boot": name_of_boot(),
        }
        write_atomically(self.paths.runtime_state(self.id), json.dumps(state).encode(), sync=False)

    def run_ended(self) -> None:
        """The run is over; what is on disk of it stays until somebody knows what follows."""
        self.pid = self.start_ticks = 0
        self.label = []
        self.restarting = False

    def lasted_seconds(self, uptime: float) -> float:
        """Return how long the present run had lasted at a certain uptime of the host."""
        return max(0.0, uptime - self.start_ticks / _CLOCK_TICKS)

    def forget_run(self) -> None:
        """The run is over, and nothing is to follow."""
        self.run_ended()
        try:
            os.unlink(self.paths.runtime_state(self.id))
        except FileNotFoundError:
            pass

    def load_run(self) -> None:
        """Read what is known of the present run; ValueError when that is damaged. What another boot left goes."""
        try:
            state = read_record(self.paths.runtime_state(self.id))
            if state.text("id") != self.id:
                raise ValueError("the present run is another container's")
            if "boot" in state and state.text("boot") != name_of_boot():  # its pid is somebody else's today
                with contextlib.suppress(OSError):  # on a disk that is read-only it stays, and says the same again
                    os.unlink(self.paths.runtime_state(self.id))
                return
            self.pid, self.start_ticks = state.integer("pid", most=_MAX_PID), state.integer("start_ticks")
            self.started = None if state["started"] is None else state.time("started")
            self.restart_count = state.integer("restart_count")
            self.stopping, self.restarting = state.flag("stopping"), state.flag("restarting")
            self.label, self.missing_walls = state.texts("label"), state.texts("missing_walls")
            if "health" in state:  # else it is from a version that asked nobody
                self.ending, self.health, self.is_proven = (
                    state.text("ending"),
                    state.text("health"),
                    state.flag("is_proven"),
                )
                if self.health not in STATUSES:
                    raise ValueError(f"field 'health' holds {shown(self.health)}")
        except FileNotFoundError:
            pass

    def note_running(self) -> None:
        """Note on disk that it runs, for the time after the next boot. Not synced: the caller may not wait for a disk."""
        record = {"boot": name_of_boot(), "started": self.started}
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(f"{self.directory}/running.json", flags, 0o600)
        self.ran_in = name_of_boot()  # also if there is no room for more than the name: it is there, and to be removed
        try:
            os.write(fd, json.dumps(record).encode())
        finally:
            os.close(fd)

    def forget_running(self) -> None:
        """It has ended, and is not to run again by itself."""
        remove_record(f"{self.directory}/running.json")
        self.ran_in = ""

    def load_running(self) -> None:
        """Read whether it ran when it was last heard of. A note that is damaged, as by a loss of power, says that it did."""
        try:
            record = read_record(f"{self.directory}/running.json", _MAX_NOTE_BYTES)
            self.ran_in = record.text("boot")
            if self.started is None:
                self.started = record.time("started")
        except FileNotFoundError:
            pass
        except (ValueError, OSError):
            self.ran_in = self.ran_in or "?"

    def save_exit(self, record: object) -> None:
        """Write the monitor's record of how the last run ended, which it could not write itself."""
        write_atomically(f"{self.directory}/exit.json", json.dumps(record).encode())

    def save_unknown_exit(self) -> None:
        """Have it on disk that the run ended, if nothing says so: the monitor died before it could."""
        if not os.path.lexists(f"{self.directory}/exit.json"):
            self.save_exit({"wait_status": None, "finished": self.finished, "dropped_output_bytes": 0})

    def load_exit(self) -> None:
        """Read how the last run ended, if it did; ValueError when that is damaged."""
        path = f"{self.directory}/exit.json"
        try:
            record = read_unsynced(path)
        except FileNotFoundError:
            return
        if record is None:  # it has ended, and when is all that is left
            self.finished = os.lstat(path).st_mtime
            return
        wait_status = None if record["wait_status"] is None else record.integer("wait_status", most=0xFFFF)
        finished, dropped_bytes = record.time("finished"), record.integer("dropped_output_bytes")
        self.finished_uptime = record.time("uptime") if "uptime" in record else None
        if wait_status is not None:  # else nobody knows
            self.ended(wait_status)
        self.finished, self.dropped_output_bytes = finished, dropped_bytes

    def ended(self, wait_status: int) -> None:
        """Note how its first process ended.

        The kernel has two signals for that process when something inside calls reboot(2), and lets no other sender use
        them: SIGINT for the wish to power off, SIGHUP to start anew. Both are orderly ends. pid_namespaces(7)
        """
        number = os.WTERMSIG(wait_status) if os.WIFSIGNALED(wait_status) else 0
        self.rebooting = number == signal.SIGHUP
        self.killed_by = 0 if number in (signal.SIGHUP, signal.SIGINT) else number
        self.exit_code = 0 if number in (signal.SIGHUP, signal.SIGINT) else exit_code(wait_status)

    def cause_of_end(self) -> str:
        """Return why it ended, in one word.

        health, not-ready   we ended it for that           oom        killed for want of memory
        asked               stop, kill, restart or rm      signal     killed by a signal of somebody else, or its own
        reboot              it asked for that inside       failure    ended by itself, with another code than 0
        unknown             nobody saw it                  exit       ended by itself with 0, or powered off
        """
        if self.ending or self.stopping:
            return self.ending or "asked"
        if self.rebooting:
            return "reboot"
        if self.exit_code is None:
            return "unknown"
        if self.oom_killed and self.exit_code == 128 + signal.SIGKILL:
            return "oom"
        if self.killed_by or (self.spec.init and self.exit_code > 128):  # the reaper hands it on as a code
            return "signal"
        return "failure" if self.exit_code else "exit"

    def is_running(self) -> bool:
        """Ask the kernel whether the first process of the present run is alive."""
        if not self.pid:
            return False
        try:
            return start_time_ticks(self.pid) == self.start_ticks
        except (FileNotFoundError, ProcessLookupError):
            return False


def exit_code(wait_status: int) -> int:
    """Return 0-255 from a raw wait status: the program's own code, or 128 and the signal."""
    code = os.waitstatus_to_exitcode(wait_status)
    return code if code >= 0 else 128 - code


def load(paths: HostPaths, container_id: str) -> Container:
    """Read the records of one container. Raises InvalidState naming the file that cannot be understood."""
    path = f"{paths.container_dir(container_id)}/spec.json"
    try:
        record = read_record(path)
        check_version(record, RECORD_VERSION)
        if not is_container_id(container_id) or record.text("id") != container_id:
            raise ValueError(f"it is that of {shown(record['id'])}")
        base = record.integer("base", FIRST, LAST)
        if base % COUNT:
            raise ValueError(f"base {base} is not a multiple of {COUNT}")
        container = Container(
            paths,
            container_id,
            from_plain(record["spec"]),
            _image(record["image"]),
            base=base,
            created=record.time("created"),
        )
        container.warnings = record.texts("warnings")
        container.image_warnings = record.texts("image_warnings") if "image_warnings" in record else []
        container.addresses = {name: where.all_texts() for name, where in record.records("addresses").items()}
        if "lowers" in record:  # else it is from a version without frozen layers
            container.driver, container.clearing = record.text("driver"), record.flag("clearing")
            container.lowers = record.texts("lowers")
            if container.driver not in DRIVERS or not all(map(is_layer_id, container.lowers)):
                raise ValueError(f"it has driver {shown(container.driver)} and layers {shown(container.lowers)}")
        container.snapshots, container.damaged_snapshots = load_snapshots(container.directory)
        path = paths.runtime_state(container_id)
        container.load_run()
        container.load_running()
        path = f"{container.directory}/exit.json"
        container.load_exit()
        if container.finished is not None and not container.pid:
            container.cause = container.cause_of_end()
        return container
    except (ValueError, OSError, PycontainerError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InvalidState(
            f"cannot read the record of container {shown(container_id)}: '{path}': {reason}",
            hint=f"repair it, then 'pycontainer service stop'; 'pycontainer rm --force {container_id}' removes the container",
        ) from error


def _image(fields: object) -> ImageRecord | None:
    if fields is None:
        return None
    image = Record(fields)
    return ImageRecord(image.text("name"), image.text("id"), image.texts("layers"), check_config(image["config"]))


def now() -> float:
    """Wall time, for people; time-outs use the monotonic clock."""
    return time.time()


def uptime_seconds() -> float:
    """How long the host has been up, asleep or not: for how long something lasted, whatever is done to the wall clock."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)

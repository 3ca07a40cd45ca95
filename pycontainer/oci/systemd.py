"""A container's cgroup as a scope of systemd (`--systemd-cgroup`), where `linux.cgroupsPath` is `SLICE:PREFIX:NAME`.

    machine-a.slice:podman:ID   unit podman-ID.scope in /machine.slice/machine-a.slice/
    :podman:ID                  in system.slice, or in user.slice of the user's own manager
    nothing                     unit pycontainer-ID.scope

systemd makes the cgroup when it is given the first process, and holds what it knows of the limits as properties of the unit,
for it writes them anew whenever it reloads. What it does not know is written to the files, as is all else that Group does;
the scope is delegated, so that systemd leaves what is in it alone. It runs v2 alone: a mixed host's files would be half ours.
Source: org.freedesktop.systemd1(5), systemd.resource-control(5), systemd's CGROUP_DELEGATION.md.
"""

from __future__ import annotations

import errno
import os
import time

from pycontainer.cgroup.base import own_cgroups, processes_below, waits
from pycontainer.errors import AlreadyExists, InvalidInput, InvalidState, PycontainerError, Unsupported
from pycontainer.oci import devicepolicy
from pycontainer.oci.cgroups import ROOT, V2_CONTROLLERS, Entrance, Group, PlainV2, few, pass_on
from pycontainer.oci.dbus import SYSTEM_BUS, Bus, DBusError, session_bus
from pycontainer.oci.resources import WHERE, plan, present_in, swap_alone, weight_of_shares

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pycontainer.cgroup.base import Cgroup

    Property = tuple[str, tuple[str, Any]]  # name, (D-Bus type, value)

_MANAGER = ("org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager")
_JOBS = f"type='signal',sender='{_MANAGER[0]}',path='{_MANAGER[1]}',interface='{_MANAGER[2]}',member='JobRemoved'"
_PROPERTIES = "org.freedesktop.DBus.Properties"
_NO_SUCH_UNIT = "org.freedesktop.systemd1.NoSuchUnit"
_UNIT_EXISTS = "org.freedesktop.systemd1.UnitExists"
_UNIT_BYTES_MAX = 255
_UNIT_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:-_.\\@")
_INFINITY = (1 << 64) - 1
_PERIOD_USEC, _SECOND_USEC = 100_000, 1_000_000
_PERCENT_USEC = 10_000  # systemd writes whole percents into the unit's file, and reads them back when it reloads
_MEMORY_FILES = {
    "memory.min": "MemoryMin",
    "memory.low": "MemoryLow",
    "memory.high": "MemoryHigh",
    "memory.max": "MemoryMax",
    "memory.swap.max": "MemorySwapMax",
    "pids.max": "TasksMax",
}
# What an annotation may set: how and when the scope ends, and what is told of it. Limits are config.json's to set, and an
# annotation comes from further away: from who wrote the pod, not from who admitted it.
_ANNOTATION = "org.systemd.property."
_ANNOTATED = (
    "After", "Before", "CollectMode", "DefaultDependencies", "Description", "Documentation", "FinalKillSignal", "KillMode",
    "KillSignal", "OOMPolicy", "RuntimeMaxUSec", "SendSIGHUP", "SendSIGKILL", "TimeoutStopUSec",
)  # fmt: skip
_GVARIANT_TYPES = {"byte": "y", "int16": "n", "uint16": "q", "int32": "i", "uint32": "u", "int64": "x", "uint64": "t"}
_CPUSET_FILES = {"cpuset.cpus": "AllowedCPUs", "cpuset.mems": "AllowedMemoryNodes"}


class ScopeGroup(Group):
    """A cgroup that is a scope; it is there when the first process was attached."""

    driver = "systemd"
    __slots__ = ("_annotated", "_bus", "_is_started", "_is_user", "_pending", "_slice", "unit")

    def __init__(self, container_id: str, unit: str, slice_unit: str, *, is_user: bool) -> None:
        super().__init__(container_id, None)
        self.unit = unit
        self._slice = slice_unit
        self._is_user = is_user
        self._annotated: list[Property] = []
        self._bus: Bus | None = None
        self._is_started = False
        self._pending: tuple[dict[str, Any], str] | None = None  # limits to set once there is a cgroup

    @classmethod
    def of_path(
        cls, cgroups_path: str, container_id: str, *, rootless: bool, annotations: dict[str, str] | None = None
    ) -> ScopeGroup:
        """Return the group for a `SLICE:PREFIX:NAME`. InvalidInput, Unsupported."""
        slice_unit, unit = unit_of(cgroups_path, container_id, rootless=rootless)
        if not os.path.isdir("/run/systemd/system"):  # sd_booted(3)
            raise Unsupported(
                "--systemd-cgroup: systemd is not the first process of this host",
                hint="leave the option out; in an engine: cgroup manager 'cgroupfs'",
                feature="systemd",
            )
        if not os.path.exists(f"{ROOT}/cgroup.controllers"):
            raise Unsupported(
                "--systemd-cgroup: this host does not have cgroup v2 alone",
                hint="leave the option out, or boot with systemd.unified_cgroup_hierarchy=1",
                feature="cgroup",
            )
        group = cls(container_id, unit, slice_unit, is_user=rootless)
        group._annotated = annotated(annotations or {})
        return group

    @classmethod
    def of_record(cls, record: dict[str, Any], cgroup: Cgroup | None) -> ScopeGroup:
        """Return the group that `record` was taken of. ValueError."""
        unit, slice_unit, is_user = record.get("unit"), record.get("slice"), record.get("is_user")
        if not (isinstance(unit, str) and isinstance(slice_unit, str) and isinstance(is_user, bool)):
            raise ValueError("the record of a cgroup is damaged")
        if not (unit.endswith(".scope") and set(unit) <= _UNIT_CHARACTERS):
            raise ValueError(f"the record of a cgroup names {unit!r}, which is no scope")
        group = cls(record["container_id"], unit, slice_unit, is_user=is_user)
        group._cgroup, group._is_started = cgroup, True
        return group

    def record(self) -> dict[str, Any]:
        return super().record() | {"unit": self.unit, "slice": self._slice, "is_user": self._is_user}

    def check(self) -> None:
        plan(self.resources, 2, lambda _controller, _file: None)
        devicepolicy.steps(self.resources.get("devices"), WHERE)
        properties(self.resources)

    def create(self) -> None:
        """Find systemd, which makes the scope when it is given a process, and where the cgroup will be.

        Raises InvalidState if others live there, and Unsupported.
        """
        bus = self._connected()
        above = ""
        if self._is_user:
            try:
                (manager,) = bus.call(_MANAGER[0], _MANAGER[1], _PROPERTIES, "Get", "ss", _MANAGER[2], "ControlGroup")
            except (OSError, DBusError) as error:
                raise Unsupported(
                    f"--systemd-cgroup: systemd does not say where it runs: {error}", feature="systemd"
                ) from error
            above = str(manager).rstrip("/")
        directory = f"{ROOT}{above}{slice_path(self._slice)}/{self.unit}"
        if pids := processes_below(directory):
            raise InvalidState(
                f"the scope '{self.unit}' for container '{self.container_id}' is in use by processes {few(pids)}",
                hint="choose another linux.cgroupsPath",
            )
        self._cgroup = PlainV2(self.container_id, dict.fromkeys(V2_CONTROLLERS, directory))

    def apply(self, wanted: dict[str, Any], where: str = WHERE) -> None:
        """As Group's; before there is a process the limits are kept and set when it comes."""
        if not self._is_started:
            self.resources, self._pending = wanted, (wanted, where)
        else:
            super().apply(wanted, where)

    def update(self, wanted: dict[str, Any], where: str = WHERE) -> None:
        """As Group's; the kernel is asked first, whether it takes them, and last, for systemd rounds."""
        super().update(wanted, where)
        changed = properties(wanted, self._memory_limit())
        if changed:
            self._call("SetUnitProperties", "sba(sv)", self.unit, True, changed)
            super().update(wanted, where)

    def attach(self, pid: int, *, beside: int = 0) -> None:
        """Have systemd start the scope with process `pid`, or move it into one that is there."""
        if self._is_started:
            super().attach(pid, beside=beside)
            return
        self._start(pid)
        directory = self.paths()["pids"]
        path = own_cgroups(pid).get("", "")
        if ROOT + path != directory:
            raise PycontainerError(f"systemd put process {pid} into the cgroup '{path}', not into '{directory}'")
        pass_on(os.path.dirname(directory), [])  # hugetlb, rdma and misc are none of systemd's
        if self._pending is not None:
            wanted, where = self._pending
            self._pending = None
            super().apply(wanted, where)

    def kill(self) -> None:
        """As Group's; before the scope is ours nobody dies, for another's may bear its name."""
        if self._is_started:
            super().kill()

    def entrance(
        self, high: Callable[[int], int], *, beside: int = 0, is_born: bool = True, moves_itself: bool = True
    ) -> Entrance:
        """As Group's; none as long as there is no scope, which begins with `attach`."""
        if not self._is_started:
            return Entrance()
        return super().entrance(high, beside=beside, is_born=is_born, moves_itself=moves_itself)

    def delete(self, *, timeout_seconds: float = 2.0) -> None:
        """Stop the scope and wait for it, and remove what is left. InvalidState if processes live there: systemd would end
        them, in its own time."""
        if self._is_started:
            self._check_empty(timeout_seconds)
            self._stop()
            self._is_started = False
            super().delete(timeout_seconds=timeout_seconds)
        if self._bus is not None:
            self._bus.close()
            self._bus = None

    def _memory_limit(self) -> int:
        """Return the limit that the kernel holds; 0 if there is none."""
        held = "max" if self._cgroup is None else present_in(self._cgroup)("memory", "memory.max")
        return 0 if held in (None, "max") else int(held)

    def _check_empty(self, timeout_seconds: float) -> None:
        deadline = time.monotonic() + timeout_seconds
        for wait_seconds in waits():
            pids = self.pids()
            if not pids:
                return
            if time.monotonic() >= deadline:
                raise InvalidState(
                    f"cannot remove the scope '{self.unit}' of container '{self.container_id}': processes {few(pids)}"
                    " live in it",
                    hint="kill them first: kill --all ID KILL",
                )
            time.sleep(wait_seconds)

    def _start(self, pid: int) -> None:
        wanted = dict(scope_properties(self.container_id, self._slice, pid) + self._annotated) | dict(
            properties(self.resources)
        )
        for is_last in (False, True):
            try:
                self._job("StartTransientUnit", "ssa(sv)a(sa(sv))", self.unit, "replace", list(wanted.items()), [])
                return
            except DBusError as error:
                if error.name != _UNIT_EXISTS:
                    raise self._failed("start", error) from error
                if is_last:
                    raise AlreadyExists(
                        f"cannot start the scope '{self.unit}': systemd has a unit of that name",
                        hint="see systemctl status",
                    ) from error
                self._reset_failed()  # one that failed stays until somebody looked at it

    def _stop(self) -> None:
        try:
            self._job("StopUnit", "ss", self.unit, "replace")
        except DBusError as error:
            if error.name != _NO_SUCH_UNIT:  # it went with its last process
                raise self._failed("stop", error) from error
        self._reset_failed()

    def _reset_failed(self) -> None:
        try:
            self._bus_call("ResetFailedUnit", "s", self.unit)
        except DBusError as error:
            if error.name != _NO_SUCH_UNIT:
                raise self._failed("reset", error) from error

    def _job(self, method: str, signature: str, *values: Any) -> None:
        """Call a method that begins a job, and wait until the job is done."""
        (job,) = self._bus_call(method, signature, *values)
        self._is_started = True
        while True:
            try:
                _, removed, _, result = self._connected().signal("JobRemoved")
            except OSError as error:
                raise self._lost(error) from error
            if removed == job:
                break
        if result != "done":
            self._reset_failed()
            raise PycontainerError(f"systemd could not do {method} of '{self.unit}': {result}", hint="see journalctl")

    def _call(self, method: str, signature: str, *values: Any) -> None:
        try:
            self._bus_call(method, signature, *values)
        except DBusError as error:
            raise self._failed("change", error) from error

    def _bus_call(self, method: str, signature: str, *values: Any) -> list[Any]:
        bus = self._connected()
        try:
            return bus.call(*_MANAGER, method, signature, *values)
        except OSError as error:
            raise self._lost(error) from error

    def _connected(self) -> Bus:
        if self._bus is None:
            address = session_bus(dict(os.environ)) if self._is_user else SYSTEM_BUS
            try:
                if not address:
                    raise FileNotFoundError(errno.ENOENT, "the user has no bus")
                bus = Bus(address)
                bus.match(_JOBS)
                bus.call(*_MANAGER, "Subscribe")  # it sends signals to nobody otherwise
            except (OSError, DBusError) as error:
                raise Unsupported(
                    f"--systemd-cgroup: cannot talk to systemd: {error}",
                    hint="is dbus running? A user needs a session: loginctl enable-linger"
                    if self._is_user
                    else "is dbus running?",
                    feature="systemd",
                ) from error
            self._bus = bus
        return self._bus

    def _failed(self, verb: str, error: DBusError) -> PycontainerError:
        return PycontainerError(f"systemd does not {verb} the scope '{self.unit}': {error.message or error.name}")

    def _lost(self, error: OSError) -> PycontainerError:
        return PycontainerError(f"systemd does not answer for the scope '{self.unit}': {error}")


def unit_of(cgroups_path: str, container_id: str, *, rootless: bool = False) -> tuple[str, str]:
    """Return the slice and the scope that `SLICE:PREFIX:NAME` means. InvalidInput."""
    place = "config.json: linux.cgroupsPath"
    slice_unit, prefix, name = "", "pycontainer", container_id
    if cgroups_path:
        parts = cgroups_path.split(":")
        if len(parts) != 3:
            raise InvalidInput(
                f'{place}: expected cgroupsPath to be of format "slice:prefix:name" for systemd cgroups, got {cgroups_path!r}'
            )
        slice_unit, prefix, name = parts
    slice_unit = slice_unit or ("user.slice" if rootless else "system.slice")
    unit = f"{prefix}-{name}.scope" if prefix else f"{name}.scope"
    if not name or name.endswith(".slice") or not set(unit) <= _UNIT_CHARACTERS or len(unit) > _UNIT_BYTES_MAX:
        raise InvalidInput(f"{place}: {unit!r} is no name for a scope")
    slice_path(slice_unit)
    return slice_unit, unit


def slice_path(slice_unit: str) -> str:
    """Return where the cgroup of a slice lies: `a-b.slice` in /a.slice/a-b.slice, `-.slice` at the root. InvalidInput.

    systemd makes those above it by itself. Source: systemd.slice(5).
    """
    name = slice_unit.removesuffix(".slice")
    parts = name.split("-")
    is_plain = set(name) <= _UNIT_CHARACTERS - {".", "@"} and "" not in parts
    if not slice_unit.endswith(".slice") or len(slice_unit) > _UNIT_BYTES_MAX or not (is_plain or name == "-"):
        raise InvalidInput(f"config.json: linux.cgroupsPath: {slice_unit!r} is no name of a slice")
    return "" if name == "-" else "".join(f"/{'-'.join(parts[: count + 1])}.slice" for count in range(len(parts)))


def scope_properties(container_id: str, slice_unit: str, pid: int) -> list[Property]:
    """Return what makes a scope one for a container."""
    return [
        ("Description", ("s", f"pycontainer container {container_id}")),
        ("Slice", ("s", slice_unit)),
        ("PIDs", ("au", [pid])),
        ("Delegate", ("b", True)),
        (
            "DefaultDependencies",
            ("b", False),
        ),  # when the host goes down, the engine ends containers, not systemd beside it
        ("CollectMode", ("s", "inactive-or-failed")),  # one whose memory ran out is forgotten, too
        ("MemoryAccounting", ("b", True)),
        ("CPUAccounting", ("b", True)),
        ("IOAccounting", ("b", True)),
        ("TasksAccounting", ("b", True)),
    ]


def properties(resources: dict[str, Any], memory_limit: int = 0) -> list[Property]:
    """Return those of `linux.resources` that systemd knows, as properties of a unit.

    `memory_limit` is what holds where none is set in the resources; 0 is none.
    """
    found: dict[str, tuple[str, Any]] = {}
    cpu, memory = resources.get("cpu") or {}, resources.get("memory") or {}
    if shares := cpu.get("shares"):
        found["CPUWeight"] = ("t", weight_of_shares(shares))
    if cpu.get("idle"):
        found["CPUWeight"] = ("t", 0)  # systemd's for cpu.idle
    _quota(found, cpu.get("quota") or 0, cpu.get("period") or 0)
    for name, key in (("cpus", "AllowedCPUs"), ("mems", "AllowedMemoryNodes")):
        if text := cpu.get(name):
            found[key] = ("ay", bits_of_list(text, f"{WHERE}.cpu.{name}"))
    limit, swap = memory.get("limit") or 0, memory.get("swap") or 0
    if limit:
        found["MemoryMax"] = ("t", _limit(limit))
    if memory.get("reservation"):
        found["MemoryLow"] = ("t", _limit(memory["reservation"]))
    if limit < 0 or swap < 0:
        found["MemorySwapMax"] = ("t", _limit(swap or -1))
    elif swap and (limit or memory_limit):
        found["MemorySwapMax"] = ("t", swap_alone(limit or memory_limit, swap, WHERE))
    if pids := (resources.get("pids") or {}).get("limit"):
        found["TasksMax"] = ("t", _limit(pids))
    for file, text in (resources.get("unified") or {}).items():
        _of_file(found, file, text.strip())
    return list(found.items())


def annotated(annotations: dict[str, str]) -> list[Property]:
    """Return the properties that annotations `org.systemd.property.NAME` set; their values are GVariant's text, as with runc.

    `TimeoutStopSec: 5` is `TimeoutStopUSec: uint64 5000000`. InvalidInput.
    """
    found = []
    for annotation, text in annotations.items():
        if not annotation.startswith(_ANNOTATION):
            continue
        place, name = f"config.json: annotations.{annotation}", annotation.removeprefix(_ANNOTATION)
        kind, value = _gvariant(text.strip(), place)
        if name.endswith("Sec") and not name.endswith("USec"):
            name = f"{name.removesuffix('Sec')}USec"
            if not isinstance(value, int) or not 0 <= value < 1 << 40:
                raise InvalidInput(f"{place}: {text!r} is no number of seconds")
            kind, value = "t", value * _SECOND_USEC
        if name not in _ANNOTATED:
            raise InvalidInput(f"{place}: an annotation may not set this", hint=f"one may set {', '.join(_ANNOTATED)}")
        found.append((name, ("t", value) if name.endswith("USec") and isinstance(value, int) else (kind, value)))
    return found


def _gvariant(text: str, place: str) -> tuple[str, Any]:
    """Return the type and value of the simple forms: 'text', true, 5, uint64 5, ['a', 'b']. InvalidInput."""
    if text in ("true", "false"):
        return "b", text == "true"
    if (
        text[:1] in ("'", '"')
        and text[-1:] == text[:1]
        and len(text) > 1
        and not set(text[1:-1]) & {text[0], "\\", "\0"}
    ):
        return "s", text[1:-1]
    if text.startswith("[") and text.endswith("]"):
        items = [_gvariant(item.strip(), place) for item in text[1:-1].split(",")]
        if all(kind == "s" for kind, _ in items):
            return "as", [value for _, value in items]
    kind, _, digits = text.rpartition(" ")
    code = _GVARIANT_TYPES.get(kind, "" if kind else "i")
    if code and digits.isascii() and digits.removeprefix("-").isdigit() and len(digits) < 20:
        value = int(digits)
        bits = {"y": 8, "n": 15, "q": 16, "i": 31, "u": 32, "x": 63, "t": 64}[code]
        if (-(1 << bits) if code in "nix" else 0) <= value < 1 << bits:
            return code, value
    raise InvalidInput(f"{place}: {text!r} is no value such as 'text', true, 5, uint64 5 or ['a', 'b']")


def bits_of_list(text: str, place: str) -> bytes:
    """Return `0-1,9` as a bit for each number, the least first. InvalidInput."""
    mask = 0
    for part in text.replace("\n", "").split(","):
        first, dash, last = part.strip().partition("-")
        numbers = (first, last if dash else first)
        if not all(number.isascii() and number.isdigit() and len(number) < 5 for number in numbers):
            raise InvalidInput(f"{place}: {text!r} is no list of numbers such as 0-1,3")
        low, high = map(int, numbers)
        if high < low:
            raise InvalidInput(f"{place}: {part!r} runs backwards")
        mask |= (1 << (high + 1)) - (1 << low)
    return mask.to_bytes((mask.bit_length() + 7) // 8, "little")


def _of_file(found: dict[str, tuple[str, Any]], file: str, text: str) -> None:
    """Put down the property that systemd has for a file of v2; a text that the kernel will refuse is left to the kernel."""
    words = text.split()
    if not all(word == "max" or (word.isascii() and word.isdigit()) for word in words) and file not in _CPUSET_FILES:
        return
    if file in _MEMORY_FILES and len(words) == 1:
        found[_MEMORY_FILES[file]] = ("t", _INFINITY if text == "max" else int(text))
    elif file == "cpu.weight" and len(words) == 1 and text != "max":
        found["CPUWeight"] = ("t", int(text))
    elif file == "cpu.max" and words and "max" not in words[1:]:
        _quota(found, -1 if words[0] == "max" else int(words[0]), int(words[1]) if len(words) > 1 else 0)
    elif file in _CPUSET_FILES and text:
        found[_CPUSET_FILES[file]] = ("ay", bits_of_list(text, f"{WHERE}.unified.{file}"))


def _quota(found: dict[str, tuple[str, Any]], quota: int, period: int) -> None:
    if period:
        found["CPUQuotaPeriodUSec"] = ("t", period)
    if quota < 0:
        found["CPUQuotaPerSecUSec"] = ("t", _INFINITY)
    elif quota:
        of_second = quota * _SECOND_USEC // (period or _PERIOD_USEC)
        found["CPUQuotaPerSecUSec"] = ("t", -(-of_second // _PERCENT_USEC) * _PERCENT_USEC)


def _limit(value: int) -> int:
    return _INFINITY if value < 0 else value

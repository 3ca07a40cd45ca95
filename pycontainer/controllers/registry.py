"""All controllers that are installed, and what is done with all of them at once.

They are found through the entry-point group `pycontainer.controllers`; a package adds one with

    [project.entry-points."pycontainer.controllers"]
    NAME = "package.module:Class"

Ours are declared the same way in pyproject.toml. They also stand in `_BUILT_IN`, because a checkout that runs without
installed metadata must not lose its limits; an entry point of the same name takes precedence.
"""

import functools
import importlib
from typing import NamedTuple, cast
from weakref import WeakKeyDictionary

from pycontainer.cgroup.base import Above, Cgroup
from pycontainer.controllers.protocol import Controller, Host, Instance, Lacking, Reading
from pycontainer.errors import InvalidInput, Unsupported
from pycontainer.spec.model import ContainerSpec

GROUP = "pycontainer.controllers"

_BUILT_IN = {
    "memory": "pycontainer.controllers.memory:MemoryController",
    "cpu": "pycontainer.controllers.cpu:CpuController",
    "cpuset": "pycontainer.controllers.cpuset:CpusetController",
    "cpuset_mems": "pycontainer.controllers.cpuset:MemoryNodesController",
    "pids": "pycontainer.controllers.pids:PidsController",
    "hugetlb": "pycontainer.controllers.hugetlb:HugetlbController",
    "io_read": "pycontainer.controllers.io:IoReadController",
    "io_write": "pycontainer.controllers.io:IoWriteController",
    "io_read_ops": "pycontainer.controllers.io:IoReadOpsController",
    "io_write_ops": "pycontainer.controllers.io:IoWriteOpsController",
    "io_weight": "pycontainer.controllers.ioweight:IoWeightController",
    "disk": "pycontainer.controllers.disk:DiskController",
    "disk_inodes": "pycontainer.controllers.disk:DiskInodesController",
    "net_in": "pycontainer.controllers.net:NetInController",
    "net_out": "pycontainer.controllers.net:NetOutController",
    "net_packets": "pycontainer.controllers.net:NetPacketsController",
    "net_connections": "pycontainer.controllers.net:NetConnectionsController",
    "devices": "pycontainer.controllers.devices:DevicesController",
    "cgroup_conf": "pycontainer.controllers.others:OthersController",
    "ulimits": "pycontainer.controllers.rlimits:RlimitsController",
}


@functools.cache
def controllers() -> tuple[Controller, ...]:
    """Return one object of each controller: ours first, then others by name. Looked up once per process.

    Raises Unsupported if one cannot be loaded: a limit that is installed may not silently be missing.
    """
    return load(_declared())


@functools.cache
def has_others() -> bool:
    """Tell whether another package has added a controller, or put one in the place of ours."""
    kinds = {f"{type(each).__module__}:{type(each).__qualname__}" for each in controllers()}
    return kinds != {*_BUILT_IN.values()}


def load(declared: dict[str, str]) -> tuple[Controller, ...]:
    """Return the controllers declared as name -> "module:Class"."""
    order = [*(name for name in _BUILT_IN if name in declared), *sorted(set(declared) - set(_BUILT_IN))]
    return tuple(_load_one(name, declared[name]) for name in order)


def validate(spec: ContainerSpec, host: Host) -> list[str]:
    """Return the problems that all controllers find, and the limits that no controller knows.

    What the host lacks is none with `best_effort`: `apply` warns of it.
    """
    added = [controller.name for controller in controllers() if controller.name not in _BUILT_IN]
    known = f"there is {', '.join(added)}" if added else "no package with more controllers is installed"
    unknown = [f"limit {name}: no controller has this name; {known}" for name, _ in spec.limits if name not in added]
    problems = [problem for controller in controllers() for problem in controller.validate(spec, host)]
    return unknown + [text for text in problems if not (spec.best_effort and isinstance(text, Lacking))]


def excess(instance: Instance, spec: ContainerSpec) -> list[str]:
    """Return what is in use beyond the spec, one sentence for each controller that has something to say."""
    return [words for controller in controllers() if (words := controller.excess(instance, spec))]


def apply(instance: Instance, spec: ContainerSpec) -> list[str]:
    """Set and prove every cap of the spec; return the warnings.

    The first refusal is raised, unless the spec asks for the best effort: then it becomes a warning.
    """
    warnings: list[str] = []
    for controller in controllers():
        try:
            warnings += controller.apply(instance, spec)
        except (OSError, Unsupported) as error:
            if not spec.best_effort:
                raise
            warnings.append(f"{controller.name} is not limited as asked: {_reason(error)}")
    return warnings


class _Well(NamedTuple):
    """What was read of a cgroup when nothing differed: as long as it reads so, its files alone need not be judged again.

    Nor need those of another container's that reads the same, if the same was asked for it. A tenant's is none: it is
    judged by fewer files.
    """

    spec: ContainerSpec
    asked: tuple[tuple[str, object], ...]  # the fields of the spec that were looked at, and what they hold
    seen: tuple[tuple[tuple[str, str], bytes | None], ...]
    others: tuple[Controller, ...]  # those that judge by more than these files

    def is_asked_by(self, spec: ContainerSpec) -> bool:
        return all(getattr(spec, name) == value for name, value in self.asked)


class _Noted:
    """A spec that notes which of its fields are looked at."""

    __slots__ = ("_spec", "asked")

    def __init__(self, spec: ContainerSpec) -> None:
        self._spec = spec
        self.asked: dict[str, object] = {}

    def __getattr__(self, name: str) -> object:
        value = self.asked[name] = getattr(self._spec, name)
        return value


_well: WeakKeyDictionary[Cgroup, _Well] = WeakKeyDictionary()
_kinds: list[_Well] = []  # the newest first: of many containers most are of a few kinds
_KINDS_MAX = 16


def differences(instance: Instance, spec: ContainerSpec, above: Above | None = None) -> list[str]:
    """Say what the cgroup of `instance` holds other than `apply` has set, the first thing of each controller.

    Nothing is changed: each goes its way through a cgroup that takes nothing, and compares what it reads. What the host
    cannot hold, and what lies outside of the cgroup, is no difference. With `above`, a cgroup that reads as it did when
    nothing differed, or as another one did of which the same was asked, is not judged; a tenant's always is.
    """
    cgroup = instance.cgroup
    if instance.is_tenant:
        above = None
    well = _find_well(cgroup, spec, above) if above is not None else None
    if well is None:
        _well.pop(cgroup, None)
    elif not well.others:
        return []
    view = cgroup.untouched()
    find_disks = functools.cache(instance.find_disks)
    looked_at = instance._replace(cgroup=view, find_disks=find_disks, network=None, storage=None, is_new=False)
    found: list[str] = []
    others: list[Controller] = []
    noted = _Noted(spec)
    wishes = cast("ContainerSpec", noted)
    for controller in controllers() if well is None else well.others:
        asked = find_disks.cache_info()
        try:
            controller.apply(looked_at, wishes if _is_ours(controller) else spec)
        except Unsupported as error:
            found += filter(None, [error.difference])
        except (OSError, InvalidInput):  # the kernel has no such file, or there is no such device any more
            pass
        if not _judges_by_files(controller, instance, wishes) or find_disks.cache_info() != asked:
            others.append(controller)
    if well is None and above is not None and not found and view.seen:
        _note_well(cgroup, _Well(spec, (*noted.asked.items(),), (*view.seen.items(),), (*others,)))
    return found


def _note_well(cgroup: Cgroup, well: _Well) -> None:
    """Note that nothing differed, for the next look and for others of this kind."""
    _well[cgroup] = well
    _kinds[:] = [well, *(each for each in _kinds if each[1:] != well[1:])][:_KINDS_MAX]


def _find_well(cgroup: Cgroup, spec: ContainerSpec, above: Above) -> _Well | None:
    """Return what tells that nothing differs as far as files say, which were read for it; None: it is to be judged."""
    well = _well.get(cgroup)
    if well is None or well.spec is not spec:
        kind = next((each for each in _kinds if each.is_asked_by(spec)), None)
        well = kind and kind._replace(spec=spec)
    if well is None or not cgroup.reads_as(well.seen, above):
        return None
    _well[cgroup] = well
    return well


def _judges_by_files(controller: Controller, instance: Instance, spec: ContainerSpec) -> bool:
    """Tell whether a controller looks at nothing but the files of the cgroup, and the disks."""
    if controller.name == "devices" and (instance.cgroup.version == 2 or spec.devices):
        return False  # at a program, or at nodes
    return _is_ours(controller)


def _is_ours(controller: Controller) -> bool:
    return _BUILT_IN.get(controller.name) == f"{type(controller).__module__}:{type(controller).__qualname__}"


def readings(instance: Instance) -> dict[str, tuple[str, Reading]]:
    """Return name -> (unit, reading) of every controller that has one."""
    found = ((controller, controller.read(instance)) for controller in controllers())
    return {controller.name: (controller.unit, reading) for controller, reading in found if reading is not None}


def account(instance: Instance) -> dict[str, int]:
    """Return the cumulative numbers of all controllers in one dict."""
    return {key: value for controller in controllers() for key, value in controller.account(instance).items()}


def release(instance: Instance) -> None:
    """Have every controller give back what it holds; one that cannot does not keep the others from it."""
    failures = []
    for controller in controllers():
        try:
            controller.release(instance)
        except OSError as error:
            failures.append(error)
    if failures:
        raise failures[0]


def _reason(error: Exception) -> str:
    return str(error.strerror or error) if isinstance(error, OSError) else str(error)


def _declared() -> dict[str, str]:
    from importlib.metadata import entry_points  # 15-25 ms, spent in the supervisor only

    return _BUILT_IN | {entry.name: entry.value for entry in entry_points(group=GROUP)}


def _load_one(name: str, target: str) -> Controller:
    module, _, attribute = target.partition(":")
    try:
        made: Controller = getattr(importlib.import_module(module), attribute)()
    except (ImportError, AttributeError, TypeError) as error:
        raise Unsupported(
            f"cannot load the resource controller {name!r} from {target!r}: {error}",
            hint="repair or uninstall the package that declares it",
            feature=name,
        ) from error
    return made

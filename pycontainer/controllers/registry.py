"""All controllers that are installed, and what is done with all of them at once.

They are found through the entry-point group `pycontainer.controllers`; a package adds one with

    [project.entry-points."pycontainer.controllers"]
    NAME = "package.module:Class"

Ours are declared the same way in pyproject.toml. They also stand in `_BUILT_IN`, because a checkout that runs without
installed metadata must not lose its limits; an entry point of the same name takes precedence.
"""

import functools
import importlib

from pycontainer.cgroup.base import Cgroup
from pycontainer.controllers.protocol import Controller, Disks, Host, Reading
from pycontainer.errors import Unsupported
from pycontainer.spec.model import ContainerSpec

GROUP = "pycontainer.controllers"

_BUILT_IN = {
    "memory": "pycontainer.controllers.memory:MemoryController",
    "cpu": "pycontainer.controllers.cpu:CpuController",
    "cpuset": "pycontainer.controllers.cpuset:CpusetController",
    "pids": "pycontainer.controllers.pids:PidsController",
    "io_read": "pycontainer.controllers.io:IoReadController",
    "io_write": "pycontainer.controllers.io:IoWriteController",
    "io_read_ops": "pycontainer.controllers.io:IoReadOpsController",
    "io_write_ops": "pycontainer.controllers.io:IoWriteOpsController",
}


@functools.cache
def controllers() -> tuple[Controller, ...]:
    """Return one object of each controller: ours first, then others by name. Looked up once per process.

    Raises Unsupported if one cannot be loaded: a limit that is installed may not silently be missing.
    """
    return load(_declared())


def load(declared: dict[str, str]) -> tuple[Controller, ...]:
    """Return the controllers declared as name -> "module:Class"."""
    order = [*(name for name in _BUILT_IN if name in declared), *sorted(set(declared) - set(_BUILT_IN))]
    return tuple(_load_one(name, declared[name]) for name in order)


def validate(spec: ContainerSpec, host: Host) -> list[str]:
    """Return the problems that all controllers find."""
    return [problem for controller in controllers() for problem in controller.validate(spec, host)]


def excess(cgroup: Cgroup, spec: ContainerSpec) -> list[str]:
    """Return what is in use beyond the spec, one sentence for each controller that has something to say."""
    return [words for controller in controllers() if (words := controller.excess(cgroup, spec))]


def readings(cgroup: Cgroup) -> dict[str, tuple[str, Reading]]:
    """Return name -> (unit, reading) of every controller."""
    return {controller.name: (controller.unit, controller.read(cgroup)) for controller in controllers()}


def apply(cgroup: Cgroup, spec: ContainerSpec, disks: Disks = ()) -> list[str]:
    """Set and prove every cap of the spec; return the warnings. The first refusal is raised."""
    return [warning for controller in controllers() for warning in controller.apply(cgroup, spec, disks)]


def account(cgroup: Cgroup) -> dict[str, int]:
    """Return the cumulative numbers of all controllers in one dict."""
    return {key: value for controller in controllers() for key, value in controller.account(cgroup).items()}


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

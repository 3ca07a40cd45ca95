"""`update ID`: change the limits of a container while it runs, from a file, standard input, or single options.

What is not named stays; 0 and "" name nothing, for engines send whole objects in which they set a few fields. The limits
that hold are the kernel's to tell, so nothing is recorded.
"""

from __future__ import annotations

from pycontainer.errors import InvalidInput, InvalidState, Unsupported
from pycontainer.linux.files import read_bounded
from pycontainer.oci import config, text
from pycontainer.oci.state import State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontainer.oci.arguments import Options

MAX_BYTES = 1 << 20
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}
# option's attribute: section and field of linux.resources
_NUMBERS = {
    "cpu_quota": ("cpu", "quota"),
    "cpu_period": ("cpu", "period"),
    "cpu_share": ("cpu", "shares"),
    "cpu_burst": ("cpu", "burst"),
    "cpu_idle": ("cpu", "idle"),
    "cpu_rt_period": ("cpu", "realtimePeriod"),
    "cpu_rt_runtime": ("cpu", "realtimeRuntime"),
    "pids_limit": ("pids", "limit"),
    "blkio_weight": ("blockIO", "weight"),
}
_TEXTS = {"cpuset_cpus": ("cpu", "cpus"), "cpuset_mems": ("cpu", "mems")}
_SIZES = {
    "memory": ("memory", "limit"),
    "memory_reservation": ("memory", "reservation"),
    "memory_swap": ("memory", "swap"),
}


def run(options: Options) -> None:
    """Apply the limits: all of them, or none."""
    State.load(options.root, options.id)  # who names no container is told so before standard input is read
    where, resources = _asked(options)
    with State.lock(options.root, options.id):
        state = State.load(options.root, options.id)
        if state.status(holds_lock=True) in ("stopped", "creating"):
            raise InvalidState("container not running")
        group = state.group()
        if group is None:
            raise Unsupported("cannot limit a container without a cgroup", feature="cgroup")
        group.update(resources, where)


def _asked(options: Options) -> tuple[str, dict[str, object]]:
    """Return where the wish stands, as messages name it, and the wish."""
    if not options.resources:
        where = "update: resources"
        data: object = from_options(options)
    else:
        name = "standard input" if options.resources == "-" else f"'{options.resources}'"
        where = f"{name}: resources"
        data = text.loads(read_bounded(0 if options.resources == "-" else options.resources, MAX_BYTES), name)
    return where, config.parse_resources(data, where)


def from_options(options: Options) -> dict[str, object]:
    """Return the part of `linux.resources` that single options ask for."""
    made: dict[str, dict[str, object]] = {}
    for attribute, (section, field) in (*_NUMBERS.items(), *_TEXTS.items()):
        value = getattr(options, attribute)
        if value not in (None, ""):
            made.setdefault(section, {})[field] = value
    for attribute, (section, field) in _SIZES.items():
        value = getattr(options, attribute)
        if value:
            made.setdefault(section, {})[field] = size(value, attribute.replace("_", "-"))
    return dict(made)


def size(value: str, name: str) -> int:
    """Return bytes: a number, or one with k, m, g, t or p, powers of 1024; -1 is unlimited."""
    if value == "-1":
        return -1
    digits = value.lower().removesuffix("b").removesuffix("i")
    unit = digits[-1:] if digits[-1:] in _UNITS else ""
    digits = digits.removesuffix(unit)
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 19 or int(digits) * _UNITS[unit] >= 1 << 63:
        raise InvalidInput(f"flag '--{name}' is a size such as 200m, not '{value}'")
    return int(digits) * _UNITS[unit]

"""Plans that are derived: of another plan, by a factor; of the host, as a part of what it has.

What is derived holds all limits itself, so that it stays as it is when the plan changes that it came from.
"""

import contextlib
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from pycontainer.errors import AlreadyExists, InvalidInput
from pycontainer.hosting.plans import SUFFIX, Plans, check_limits
from pycontainer.spec.fields import BY_KEY
from pycontainer.spec.names import check_name
from pycontainer.spec.problems import as_error
from pycontainer.units import (
    BIT_RATE_MAX,
    format_bit_rate,
    format_bytes,
    format_cpus,
    format_ratio,
    parse_bytes,
    parse_count,
)

if TYPE_CHECKING:
    from pycontainer.client.types import Promise

_PIDS_MOST = 4096  # of a part of the host; what one service has use for, whatever there is
_WEIGHTS = ("cpu_weight", "io_weight")
_WEIGHT_MOST = 10_000
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./%-]*", re.ASCII)
_WORDS = {"null", "true", "false"}


def _round_bytes(count: int) -> int:
    """Round down to what is easy to read: whole MiB of what is many of them, else whole pages."""
    step = 1 << 20 if count >= 64 << 20 else 4096
    return count // step * step


def _bytes(count: int) -> str:
    return format_bytes(_round_bytes(count))


def _cpus(quota_usec: int) -> str:
    return format_cpus(quota_usec // 100 * 100)  # 0.001 CPUs


def _bits(rate: int) -> str:
    return format_bit_rate(rate // 1000 * 1000)


_WRITE: dict[str, Callable[[int], object]] = {
    **dict.fromkeys(
        (
            "memory",
            "memory_swap",
            "memory_high",
            "memory_low",
            "memory_min",
            "disk",
            "disk_soft",
            "io_read",
            "io_write",
        ),
        _bytes,
    ),
    **dict.fromkeys(("cpus", "cpu_burst"), _cpus),
    **dict.fromkeys(("net_in", "net_out", "net_in_min", "net_out_min"), _bits),
    **dict.fromkeys(
        ("pids", "disk_inodes", "disk_inodes_soft", "io_read_ops", "io_write_ops", "net_packets", "net_connections"),
        int,
    ),
}


def scaled(limits: Mapping[str, object], thousandths: int) -> dict[str, object]:
    """Return limits of which each amount is `thousandths` of what it was, rounded down; one InvalidInput for what comes to
    nothing, or to more than there can be.

    Weights are scaled within their range. What is no amount (`cpuset_cpus`, `ulimits`, `cgroup_conf`, `limit`) stays.
    """
    found: dict[str, object] = {}
    for key, value in limits.items():
        if key in _WRITE:
            amount = BY_KEY[key].parse(value)
            found[key] = _WRITE[key](amount * thousandths // 1000) if isinstance(amount, int) else value
        elif key in _WEIGHTS:
            found[key] = min(_WEIGHT_MOST, max(1, parse_count(value) * thousandths // 1000))
        elif key == "hugetlb" and isinstance(value, Mapping):
            found[key] = {page: _pages(page, size, thousandths) for page, size in value.items()}
        else:
            found[key] = value
    return _checked(found, f"{format_ratio(thousandths)} times the plan")


def _pages(page: str, size: object, thousandths: int) -> str:
    """Return a size in huge pages, in whole ones of them."""
    page_bytes = parse_bytes(page)
    return format_bytes(parse_bytes(size) * thousandths // 1000 // page_bytes * page_bytes)


def part_of(resources: "Sequence[Promise]", count: int, *, free: bool = False) -> dict[str, object]:
    """Return limits of which `count` containers fill the host, as far as may be promised of it.

    What nobody knows the size of is left out, so that it is the default plan's. With `free` they fill what is not
    promised yet. InvalidInput if the parts are too small to be any good.
    """
    found: dict[str, object] = {}
    for row in resources:
        if row["physical"] is None:
            continue
        allowed = row["physical"] if row["ratio"] is None else int(row["physical"] * row["ratio"])
        amount = max(0, allowed - (row["promised"] if free else 0)) // count
        key = row["resource"]
        if key == "pids":
            amount = min(amount, _PIDS_MOST)
        if key.startswith("net_"):
            amount = min(amount, BIT_RATE_MAX)
        if key == "cpus" and row["physical"] < amount:
            amount = row["physical"]  # one container has no use for more than there is
        found[key] = _WRITE[key](amount)
    return _checked(found, f"one of {count} parts of what is {'free' if free else 'there'}")


def _checked(limits: dict[str, object], what: str) -> dict[str, object]:
    if problems := check_limits(limits):
        error = as_error(problems)
        raise InvalidInput(f"{what} is no plan: {error.message}", hint=error.hint, field=error.field)
    return limits


# -- files -----------------------------------------------------------------------------------------------------------


def plan_text(limits: Mapping[str, object], description: str = "") -> str:
    """Return the file of a plan."""
    lines = [f"description: {_value(description)}"] if description else []
    lines.append("limits:")
    for key, value in limits.items():
        if isinstance(value, Mapping):
            lines.append(f"  {key}:")
            lines += [f"    {_value(name)}: {_value(content)}" for name, content in value.items()]
        else:
            lines.append(f"  {key}: {_value(value)}")
    return "\n".join(lines) + "\n"


def _value(value: object) -> str:
    """Return a value as our reader of YAML understands it; JSON is a part of that."""
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value not in _WORDS and not value.isdigit():
        return value
    return json.dumps(value)


def write_plan(directory: str, name: str, text: str, *, replace: bool = False) -> str:
    """Write a new plan to its file and return the path. AlreadyExists if there is one of the name, unless `replace`.

    What is replaced is the file of just this plan; one that holds several stays what it is.
    """
    check_name(name, "plan")
    plans = Plans.load(directory)
    path = f"{directory}/{name}{SUFFIX}"
    sources = {each: plans.get(each).source.rpartition(":")[0] for each in plans.names()}
    if others := [each for each, source in sources.items() if source == path and each != name]:
        raise AlreadyExists(f"'{path}' holds other plans: {', '.join(others)}", hint="choose another name")
    source = sources.get(name)
    if source is not None and (not replace or source not in ("", path)):
        where = f"in '{source}'" if source else "built in"
        hint = "choose another name" if source not in ("", path) else "choose another name, or give --force"
        raise AlreadyExists(f"there is a plan {name!r} already, {where}", hint=hint)
    os.makedirs(directory, mode=0o755, exist_ok=True)
    temporary = f"{directory}/.{name}.{os.getpid()}.new"
    try:
        with open(temporary, "x") as file:
            os.fchmod(file.fileno(), 0o644)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if source == path:
            os.rename(temporary, path)
        else:
            os.link(temporary, path)  # claims the name: another one who writes it at the same moment is not overwritten
    except FileExistsError:
        raise AlreadyExists(f"'{path}' is being written by somebody else", hint="look at it, and try again") from None
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
    return path

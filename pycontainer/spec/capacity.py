"""What is promised of a host, and how much of it may be: /etc/pycontainer/capacity.yaml, and the sums.

    admission: refuse               off (without the file), warn or refuse: what happens to a promise too much
    ratios:                         what may be promised, in parts of what there is; what is not named is not judged
      memory: 1.2
      cpus: 4
    physical:                       what cannot be measured, or of which only a part is meant for containers
      net_in: 1gbit

A container promises its own limits, a tenant its own in place of those of its containers: that is what the kernel holds
them to together. What has no cap promises nothing that could be counted. It is counted as such, and where `refuse` judges a
resource it is refused, as it could take all of it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from pycontainer.errors import InvalidInput, did_you_mean
from pycontainer.spec.model import ContainerSpec
from pycontainer.spec.problems import Problem, as_error
from pycontainer.units import (
    CPU_PERIOD_USEC,
    format_bit_rate,
    format_bytes_short,
    format_cpus,
    format_ratio,
    parse_bit_rate,
    parse_bytes,
    parse_count,
    parse_cpus,
    parse_ratio,
    shown,
)

ADMISSIONS = ("off", "warn", "refuse")
_KEYS = ("admission", "ratios", "physical")


class Resource(NamedTuple):
    """Something that can be promised: the key of the spec, its attribute, and how an amount of it is written."""

    key: str
    attribute: str
    unit: str
    parse: Callable[[object], int]
    show: Callable[[int], str]


RESOURCES: tuple[Resource, ...] = (
    Resource("memory", "memory_bytes", "bytes", parse_bytes, format_bytes_short),
    Resource("cpus", "cpu_quota_usec", "usec", parse_cpus, format_cpus),  # of each 100 ms, as `limits` has it
    Resource("pids", "pids_max", "tasks", parse_count, str),
    Resource("disk", "disk_bytes", "bytes", parse_bytes, format_bytes_short),
    Resource("net_in", "net_in_bits", "bits/s", parse_bit_rate, format_bit_rate),
    Resource("net_out", "net_out_bits", "bits/s", parse_bit_rate, format_bit_rate),
)
BY_KEY = {resource.key: resource for resource in RESOURCES}
DISK = [resource.key for resource in RESOURCES].index("disk")

Amounts = tuple[int | None, ...]  # of each resource; None is no cap
NOTHING: Amounts = (0,) * len(RESOURCES)


@dataclass(frozen=True, slots=True)
class Policy:
    """How much may be promised. `ratios` are thousandths; `physical` is in the units of the resources."""

    admission: str = "off"
    ratios: Mapping[str, int] = field(default_factory=dict)
    physical: Mapping[str, int] = field(default_factory=dict)

    @property
    def is_judging(self) -> bool:
        return self.admission != "off" and bool(self.ratios)


class Promised(NamedTuple):
    """The sum of promises of one resource, and how many could take all, because nothing caps them."""

    amount: int
    uncapped: int


def read_policy(text: str | bytes, *, source: str) -> Policy:
    """Return what capacity.yaml says; one InvalidInput tells all that is wrong with it, with its lines."""
    from pycontainer.spec.yamlfile import read_tree  # 15 ms that a supervisor without the file saves

    tree = read_tree(text, source=source)
    problems = tree.problems
    data = tree.data
    if not isinstance(data, dict):
        problems.append(
            Problem("", "the file holds no settings", "write admission: refuse, and ratios: below it", line=1)
        )
        data = {}
    for key in data:
        if key not in _KEYS:
            guess = did_you_mean(key, _KEYS) if isinstance(key, str) else ""
            message = f"unknown key {shown(key)}{guess}"
            problems.append(
                Problem(str(key), message, "" if guess else f"keys are {', '.join(_KEYS)}", names_field=True)
            )
    admission = data.get("admission", "off")
    if admission not in ADMISSIONS:
        problems.append(Problem("admission", f"{shown(admission)} is none", f"one of {', '.join(ADMISSIONS)}"))
    ratios = _amounts(data, "ratios", dict.fromkeys(BY_KEY, parse_ratio), problems)
    physical = _amounts(data, "physical", {key: resource.parse for key, resource in BY_KEY.items()}, problems)
    if admission in ("warn", "refuse") and "ratios" not in data:
        hint = "write ratios: and below it, for instance, memory: 1.2"
        problems.append(Problem("admission", "there are no ratios to judge by", hint))
    if problems:
        problems = [replace(problem, line=problem.line_in(tree.lines)) for problem in problems]
        raise as_error(sorted(problems, key=lambda problem: problem.line), source=source)
    return Policy(str(admission), ratios, physical)


def _amounts(
    data: Mapping[object, object], key: str, parsers: Mapping[str, Callable[[object], int]], problems: list[Problem]
) -> dict[str, int]:
    entries = data.get(key, {})
    if not isinstance(entries, dict):
        problems.append(Problem(key, f"{shown(entries)} is not a mapping", "write resource: number lines"))
        return {}
    found = {}
    for name, value in entries.items():
        parse = parsers.get(name) if isinstance(name, str) else None
        if parse is None:
            guess = did_you_mean(name, parsers) if isinstance(name, str) else ""
            hint = "" if guess else f"resources are {', '.join(parsers)}"
            problems.append(Problem(f"{key}.{name}", f"there is no such resource{guess}", hint))
            continue
        try:
            found[name] = parse(value)
        except InvalidInput as error:
            problems.append(Problem(f"{key}.{name}", error.message, error.hint))
    return found


# -- sums ------------------------------------------------------------------------------------------------------------


def amounts(spec: ContainerSpec, *, default_disk_bytes: int | None = None) -> Amounts:
    """Return what a spec promises. A disk cap of just `default_disk_bytes` is what all get who asked for none: no promise."""
    cpus = spec.cpu_quota_usec
    if cpus is not None and spec.cpu_period_usec != CPU_PERIOD_USEC:
        cpus = cpus * CPU_PERIOD_USEC // spec.cpu_period_usec
    disk = spec.disk_bytes if spec.disk_bytes != default_disk_bytes else None
    return spec.memory_bytes, cpus, spec.pids_max, disk, spec.net_in_bits, spec.net_out_bits


def beside(own: Amounts, pool: Amounts | None) -> Amounts:
    """Return what a container promises beside its tenant: nothing of what that promises for all of its containers."""
    if pool is None:
        return own
    return tuple(amount if cap is None else 0 for amount, cap in zip(own, pool, strict=True))


def of_pool(pool: Amounts) -> Amounts:
    """Return what a tenant promises itself: what it does not cap, its containers do, each for itself."""
    return tuple(cap or 0 for cap in pool)


def total(promises: Iterable[Amounts]) -> list[Promised]:
    """Return the sum of promises, of each resource."""
    return [Promised(sum(filter(None, column)), column.count(None)) for column in zip(NOTHING, *promises, strict=True)]


def plus(sums: Sequence[Promised], one: Amounts) -> list[Promised]:
    """Return the sums with one promise more."""
    return [
        Promised(promised.amount + (amount or 0), promised.uncapped + (amount is None))
        for promised, amount in zip(sums, one, strict=True)
    ]


def too_much(
    before: Sequence[Promised], after: Sequence[Promised], physical: Mapping[str, int], policy: Policy
) -> list[str]:
    """Return what a change promises beyond what the policy allows; what it does not raise is not blamed on it.

    A resource whose size nobody knows is not judged.
    """
    found = []
    for resource, was, will in zip(RESOURCES, before, after, strict=True):
        ratio, there = policy.ratios.get(resource.key), physical.get(resource.key)
        if ratio is None or there is None:
            continue
        if will.uncapped > was.uncapped:
            found.append(f"{resource.key}: no cap, so it could take all of the {resource.show(there)} there are")
        if will.amount > was.amount and will.amount * 1000 > there * ratio:
            found.append(
                f"{resource.key}: {resource.show(will.amount)} would be promised of {resource.show(there)}, "
                f"and {format_ratio(ratio)} times that is the most ({resource.show(was.amount)} are promised already)"
            )
    return found

"""Plans: named sets of limits in /etc/pycontainer/plans, which inherit from each other.

    small.yaml                          or several in a file
    ┌────────────────────────────┐      ┌────────────────────────────┐
    │ inherits: default          │      │ plans:                     │
    │ description: a small shop  │      │   shop: {inherits: small}  │
    │ limits:                    │      │   blog:                    │
    │   memory: 256M             │      │     limits: {pids: 80}     │
    │   ulimits: {nofile: 4096}  │      └────────────────────────────┘
    └────────────────────────────┘

A plan's limits are those of the plan it inherits, with its own over them; of limits that hold several (`ulimits`), entry by
entry. Who names no other inherits `default`, and that rests on what is built in: nothing is without a cap unless a plan
says `unlimited`. A file replaces the built-in plan of its name.

All that is wrong with the files is told at once, with file and line.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from pycontainer.errors import InvalidInput, NotFound, did_you_mean
from pycontainer.spec.fields import BY_KEY, FIELDS, POOLED, Shape
from pycontainer.spec.names import check_name
from pycontainer.spec.parse import check_spec
from pycontainer.spec.problems import Problem, as_error
from pycontainer.spec.textfile import read_text_file
from pycontainer.spec.yamlfile import read_tree
from pycontainer.units import shown

DEFAULT = "default"
SUFFIX = ".yaml"
# What a plan can hold: all caps that can be changed while a container runs, so that any plan can be applied to any one.
_NO_CAPS = ("restart", "onboot", "boot_order", "boot_delay", "snapshots")
KEYS: tuple[str, ...] = tuple(
    each.key for each in FIELDS if each.live and each.key not in _NO_CAPS and not each.key.startswith("health_")
)
_PLAN_KEYS = ("inherits", "description", "limits")
_NET_KEYS = tuple(key for key in KEYS if key.startswith("net_"))
_DISK_KEYS = tuple(key for key in KEYS if key.startswith("disk"))
_DESCRIPTION_MAX = 200

_BUILT_IN: dict[str, tuple[str, dict[str, object]]] = {  # name: what it is for, its own limits
    DEFAULT: (
        "what holds where nothing else is said",
        {"memory": "128M", "cpus": "0.25", "pids": 100, "disk": "1G", "net_in": "20mbit", "net_out": "10mbit"},
    ),
    "small": (
        "a static site, a small service",
        {"memory": "256M", "cpus": "0.5", "pids": 200, "disk": "5G", "net_in": "50mbit", "net_out": "20mbit"},
    ),
    "medium": (
        "an application with a database of its own",
        {"memory": "1G", "cpus": "1", "pids": 400, "disk": "20G", "net_in": "100mbit", "net_out": "50mbit"},
    ),
    "large": (
        "a shop, a busy application",
        {"memory": "4G", "cpus": "2", "pids": 1000, "disk": "80G", "net_in": "200mbit", "net_out": "100mbit"},
    ),
}


@dataclass(frozen=True, slots=True)
class Plan:
    """One plan as it was written. `own` has its own limits alone; `source` is file:line, empty of one that is built in."""

    name: str
    inherits: str  # empty: nothing but what is built in
    own: Mapping[str, object]
    description: str = ""
    source: str = ""
    lines: Mapping[str, int] = field(default_factory=dict)  # of inherits, limits and each limit


class Plans:
    """All plans of a host, resolved."""

    def __init__(self, plans: Mapping[str, Plan], resolved: Mapping[str, dict[str, object]]) -> None:
        """Made by `load`."""
        self._plans, self._resolved = plans, resolved

    @classmethod
    def load(cls, directory: str) -> "Plans":
        """Read all plans of `directory`, which need not exist; one InvalidInput tells all that is wrong with them."""
        plans = {name: _built_in(name) for name in _BUILT_IN}
        problems: list[Problem] = []
        written: dict[str, Plan] = {}
        for path in _files(directory, problems):
            for plan in _read(path, problems):
                if earlier := written.get(plan.name):
                    message = f"plan {plan.name!r} is there already: {earlier.source}"
                    problems.append(_at(plan, "", message, "give it another name"))
                else:
                    written[plan.name] = plan
        plans |= written
        resolved = _resolve(plans, problems)
        if problems:
            problems.sort(key=lambda problem: (problem.source, problem.line))
            raise as_error(problems)
        return cls(plans, resolved)

    def __contains__(self, name: object) -> bool:
        return name in self._plans

    def names(self) -> list[str]:
        """Return the names of all plans, those that are built in among them, in order."""
        return sorted(self._plans)

    def get(self, name: object) -> Plan:
        """Return the plan of this name as it was written. Raises NotFound."""
        if not isinstance(name, str) or name not in self._plans:
            guess = did_you_mean(name, self._plans) if isinstance(name, str) else ""
            raise NotFound(f"no plan {shown(name)}{guess}", hint=f"there is {', '.join(self.names())}")
        return self._plans[name]

    def limits(self, name: object) -> dict[str, object]:
        """Return all limits of a plan, as keys of a container's spec and values as they were written. Raises NotFound."""
        return dict(self._resolved[self.get(name).name])

    def origins(self, name: object) -> dict[str, str]:
        """Return which plan each limit comes from; of what is merged entry by entry, the nearest."""
        found: dict[str, str] = {}
        above = self.get(name).name
        while above:
            plan = self._plans[above]
            found |= {key: above for key in plan.own if key not in found}
            above = plan.inherits
        return dict.fromkeys(self._resolved[self.get(name).name], "built in") | found

    def pool(self, name: object) -> dict[str, object]:
        """Return those limits of a plan that the containers of a tenant can share. Raises NotFound."""
        return {key: value for key, value in self.limits(name).items() if key in POOLED}

    def expand(self, plain: Mapping[str, object]) -> dict[str, object]:
        """Return a container's plain spec with the limits of its `plan` in place of the name; what it says itself goes first.

        Without the key it is returned as it is. What cannot be capped needs no cap: the network of a container that has
        none of its own, the disk of one that writes into the host's directory. Raises NotFound.
        """
        if plain.get("plan") is None:
            return {key: value for key, value in plain.items() if key != "plan"}
        limits = self.limits(plain["plan"])
        own = {key: value for key, value in plain.items() if key != "plan" and value is not None}
        if own.get("networks") in ("host", "none", ["host"], ["none"], ("host",), ("none",)):
            limits = {key: value for key, value in limits.items() if key not in _NET_KEYS}
        if own.get("rootfs_writable"):
            limits = {key: value for key, value in limits.items() if key not in _DISK_KEYS}
        return merged(limits, own)


def merged(base: Mapping[str, object], over: Mapping[str, object]) -> dict[str, object]:
    """Return the settings of `base` with those of `over` in their place; of pairs, entry by entry."""
    result = dict(base)
    for key, value in over.items():
        own, inherited = _as_pairs(key, value), _as_pairs(key, base.get(key))
        result[key] = value if own is None or inherited is None else inherited | own
    return result


def _as_pairs(key: str, value: object) -> dict[str, object] | None:
    """Return a setting that holds pairs as a mapping, however it was written; None if it holds none, or nonsense."""
    kind = BY_KEY.get(key)
    if kind is None or kind.shape is not Shape.PAIRS or key not in KEYS:
        return None
    if isinstance(value, Mapping):
        return {str(name): content for name, content in value.items()}
    entries = value if isinstance(value, list | tuple) else [value]
    if not all(isinstance(entry, str) and kind.separator in entry for entry in entries):
        return None
    return {name: content for name, _, content in (str(entry).partition(kind.separator) for entry in entries)}


def check_limits(limits: Mapping[str, object]) -> list[Problem]:
    """Return what is wrong with limits, each for itself and one against another."""
    problems = []
    for key in limits:
        if key not in KEYS:
            problems.append(_not_a_limit(key))
    known = {key: value for key, value in limits.items() if key in KEYS}
    hint = "write one, or delete the line; unlimited takes an inherited cap away"
    problems += [Problem(key, "there is no value", hint) for key, value in known.items() if value is None]
    return problems + check_spec({"image": "any", **known})[1]


def _not_a_limit(key: object) -> Problem:
    if isinstance(key, str) and key in BY_KEY:
        return Problem(key, "is not a limit that a plan can hold", f"what can be: {', '.join(KEYS)}")
    guess = did_you_mean(key, KEYS) if isinstance(key, str) else ""
    hint = "" if guess else f"limits are {', '.join(KEYS)}"
    return Problem(key if isinstance(key, str) else shown(key), f"unknown limit {shown(key)}{guess}", hint, True)


# -- reading ---------------------------------------------------------------------------------------------------------


def _built_in(name: str) -> Plan:
    description, limits = _BUILT_IN[name]
    return Plan(name, "" if name == DEFAULT else DEFAULT, limits, description)


def _files(directory: str, problems: list[Problem]) -> list[str]:
    """Return the files that hold plans; what an editor or a packager left beside them is none."""
    try:
        names = sorted(name for name in os.listdir(directory) if not name.startswith("."))
    except FileNotFoundError:
        return []
    except OSError as error:
        problems.append(Problem("", f"cannot read {directory!r}: {error.strerror}"))
        return []
    for name in names:
        if name.endswith(".yml"):
            message = "it is not read: the files of plans end in .yaml"
            problems.append(Problem("", message, f"rename it to {name[:-4]}.yaml", source=f"{directory}/{name}"))
    return [f"{directory}/{name}" for name in names if name.endswith(SUFFIX)]


def _read(path: str, problems: list[Problem]) -> list[Plan]:
    """Return the plans of one file, as far as they can be understood."""
    try:
        tree = read_tree(read_text_file(path), source=path)
    except InvalidInput as error:
        place = error.source.removeprefix(f"{path}:")
        message = error.message.removeprefix(f"{error.source}: ")
        line = int(place) if place.isdigit() else 0
        problems.append(Problem("", message, error.hint, line=line, source=path))
        return []
    problems += [replace(problem, source=path) for problem in tree.problems]

    def wrong(where: str, message: str, hint: str = "") -> None:
        line = Problem(where, "").line_in(tree.lines) or 1
        problems.append(Problem("", message, hint, line=line, source=path))

    hint = "write limits: and beneath it key: value lines, such as memory: 200M"
    if not isinstance(tree.data, dict) or not tree.data:
        wrong("", "the file holds no plan", hint)
        return []
    if "plans" not in tree.data:
        entries, prefix = {os.path.basename(path).removesuffix(SUFFIX): tree.data}, ""
    else:
        for key in tree.data:
            if key != "plans":
                wrong(str(key), f"key {shown(key)} stands beside 'plans'", "put it into one of the plans")
        entries, prefix = tree.data["plans"], "plans"
        if not isinstance(entries, dict) or not entries:
            wrong("plans", "there is no mapping of names to plans", hint)
            return []
    found = []
    for name, data in entries.items():
        where = f"{prefix}.{name}" if prefix else ""
        try:
            check_name(name, "plan")
        except InvalidInput as error:
            wrong(where, error.message, error.hint)
            continue
        if not isinstance(data, dict):
            wrong(where, f"plan {name!r}: {shown(data)} is not a mapping", hint)
            continue
        plan = _plan(name, data, tree.lines, where, path)
        problems += _own_problems(plan, data)
        found.append(plan)
    return found


def _plan(name: str, data: Mapping[object, object], lines: Mapping[str, int], where: str, path: str) -> Plan:
    own = data.get("limits")
    inherits, description = data.get("inherits"), data.get("description")
    prefix = f"{where}." if where else ""
    return Plan(
        name,
        inherits if isinstance(inherits, str) else "" if name == DEFAULT else DEFAULT,
        {str(key): value for key, value in own.items()} if isinstance(own, dict) else {},
        description if isinstance(description, str) else "",
        f"{path}:{lines.get(where, 1)}",
        {key.removeprefix(prefix): line for key, line in lines.items() if key.startswith(prefix)},
    )


def _own_problems(plan: Plan, data: Mapping[object, object]) -> list[Problem]:
    """Return what is wrong with how a plan is written; its limits are looked at when it is known what it inherits."""
    problems = []
    for key in data:
        if key in _PLAN_KEYS:
            continue
        if key in KEYS:
            problems.append(
                _at(plan, str(key), f"limit {shown(key)} stands beside 'limits'", "indent it below limits:")
            )
        else:
            guess = did_you_mean(key, _PLAN_KEYS) if isinstance(key, str) else ""
            hint = "" if guess else f"keys of a plan are {', '.join(_PLAN_KEYS)}"
            problems.append(_at(plan, str(key), f"unknown key {shown(key)}{guess}", hint))
    if "limits" in data and not isinstance(data["limits"], dict):
        problems.append(
            _at(plan, "limits", f"limits: {shown(data['limits'])} is not a mapping", "write key: value lines")
        )
    if "inherits" in data and not isinstance(data["inherits"], str):
        problems.append(_at(plan, "inherits", f"inherits: {shown(data['inherits'])} is not the name of a plan"))
    text = data.get("description", "")
    if not isinstance(text, str) or len(text) > _DESCRIPTION_MAX or not text.isprintable():
        message = f"description: {shown(text)} is not a line of at most {_DESCRIPTION_MAX} characters"
        problems.append(_at(plan, "description", message))
    if not {"limits", "inherits"} & data.keys():
        problems.append(_at(plan, "", f"plan {plan.name!r} holds no limits", "write limits: and beneath it key: value"))
    return problems


def _at(plan: Plan, field: str, message: str, hint: str = "") -> Problem:
    """Return a problem of a plan with the place of `field` in its file, or else that of the plan."""
    path, _, first = plan.source.rpartition(":")
    line = Problem(field, "").line_in(plan.lines) or int(first or 0)
    return Problem("", message, hint, line=line, source=path)


# -- inheritance -----------------------------------------------------------------------------------------------------


def _resolve(plans: Mapping[str, Plan], problems: list[Problem]) -> dict[str, dict[str, object]]:
    """Return all limits of each plan; what is wrong is told of the plan that brings it in, not of those that inherit it."""
    problems += _unknown(plans.values(), plans)
    in_circle = _circles(plans, problems)
    resolved: dict[str, dict[str, object]] = {}
    told: dict[str, set[str]] = {}  # what is wrong with a plan and those it inherits

    def resolve(name: str) -> None:
        chain = [name]  # a loop, as nobody bounds how long it is
        while (above := plans[chain[-1]].inherits) in plans and above not in resolved and chain[-1] not in in_circle:
            chain.append(above)
        for each in reversed(chain):
            plan = plans[each]
            is_root = plan.inherits not in resolved
            base = dict(_BUILT_IN[DEFAULT][1]) if is_root else resolved[plan.inherits]
            known = {key: value for key, value in plan.own.items() if key in KEYS and value is not None}
            resolved[each] = merged(base, known)
            seen = told.get(plan.inherits, set())
            found = check_limits({**resolved[each], **plan.own})
            told[each] = seen | {problem.text() for problem in found}
            problems.extend(
                _at(plan, f"limits.{problem.field}", _explained(plan, problem), problem.hint)
                for problem in found
                if problem.text() not in seen
            )

    for name in plans:
        if name not in resolved:
            resolve(name)
    return resolved


def _explained(plan: Plan, problem: Problem) -> str:
    """Say also where a limit comes from that the plan itself does not name."""
    key = problem.field.partition(".")[0].partition("[")[0]
    inherited = key in KEYS and key not in plan.own
    return f"{problem.text()}, and {key} is inherited from {plan.inherits!r}" if inherited else problem.text()


def _unknown(among: Iterable[Plan], plans: Mapping[str, Plan]) -> list[Problem]:
    found = []
    for plan in among:
        if plan.inherits and plan.inherits not in plans:
            guess = did_you_mean(plan.inherits, plans)
            hint = "" if guess else f"there is {', '.join(sorted(plans))}"
            found.append(_at(plan, "inherits", f"inherits: no plan {shown(plan.inherits)}{guess}", hint))
    return found


def _circles(plans: Mapping[str, Plan], problems: list[Problem]) -> set[str]:
    """Return the plans that inherit themselves in the end; each circle is told once, of one that stands in a file."""
    inside: set[str] = set()
    done: set[str] = set()
    for name in plans:
        path: list[str] = []
        while name in plans and name not in done:
            done.add(name)
            path.append(name)
            name = plans[name].inherits
        if name in path:
            circle = path[path.index(name) :]
            inside |= set(circle)
            first = next(
                each for each in circle if plans[each].source
            )  # those that are built in are none by themselves
            start = circle.index(first)
            words = " -> ".join([*circle[start:], *circle[:start], first])
            hint = "one of them must inherit a plan outside, or nothing"
            problems.append(_at(plans[first], "inherits", f"inherits: the plans inherit in a circle: {words}", hint))
    return inside

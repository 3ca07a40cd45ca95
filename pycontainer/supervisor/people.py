"""Whose users may manage what is of a tenant: groups of the host, in one file that root alone may write.

    /etc/pycontainer/tenant-groups.yaml

    groups:                              # group of the host, name or number: tenant
      acme-admins: acme
    images: ["debian*", busybox]         # what users of any tenant may start from; left out: nothing
    tenants:                             # what those of one may do besides
      acme: {images: ["acme/*"], networks: [acme-net], ports: 20000-20099}

A file that is damaged opens nothing to anybody. A group that the host has not, or not yet, opens nothing itself.
"""

import grp
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from pycontainer.errors import InvalidInput, did_you_mean
from pycontainer.linux.files import identity
from pycontainer.record import read_own
from pycontainer.spec.names import IMAGE_MAX_LENGTH, is_name
from pycontainer.spec.problems import Problem, as_error
from pycontainer.supervisor.caller import Caller
from pycontainer.units import shown

_MAX_BYTES, _MAX_GROUPS = 1 << 20, 10_000
_KEYS, _TENANT_KEYS = ("groups", "images", "tenants"), ("images", "networks", "ports")


class People(NamedTuple):
    """Callers by the groups that make one of them; `problem` says what of the file opens nothing."""

    callers: Mapping[int, Caller] = {}  # by gid
    groups: Mapping[int, str] = {}  # what the file calls each gid
    problem: str = ""

    def of(self, gids: Iterable[int]) -> dict[str, Caller]:
        """Return whom a process with these groups may act for, by tenant."""
        return {caller.tenant: caller for gid in gids if (caller := self.callers.get(gid)) is not None}

    def describe(self) -> str:
        """Say in words whose users may connect, "" for nobody's."""
        return ", ".join(
            f"group '{name}' for tenant '{self.callers[gid].tenant}'"
            for name, gid in sorted((name, gid) for gid, name in self.groups.items())
        )


def signature(path: str) -> tuple[int, ...]:
    """Return what differs when a file has changed; nothing of one that is not there."""
    try:
        return identity(path)
    except OSError:
        return ()


def load_people(path: str) -> People:
    """Read the file; one that is not there opens nothing, and is no problem."""
    try:
        data = read_own(path, _MAX_BYTES)
    except FileNotFoundError:
        return People()
    except (OSError, ValueError) as error:
        return People(problem=f"no users of tenants: '{path}': {getattr(error, 'strerror', None) or error}")
    try:
        return _parse(data, path)
    except InvalidInput as error:
        return People(problem=f"no users of tenants: {'; '.join(error.message.splitlines())}")


def _parse(data: bytes, path: str) -> People:
    from pycontainer.spec.yamlfile import read_tree  # 15 ms that hosts without such users save

    tree = read_tree(data, source=path)
    problems = list(tree.problems)
    top = _mapping(tree.data, "", _KEYS, problems)
    shared = _patterns(top.get("images"), "images", problems)
    extras = {
        str(tenant): _extras(f"tenants.{tenant}", given, problems)
        for tenant, given in _mapping(top.get("tenants"), "tenants", None, problems).items()
    }
    groups = _mapping(top.get("groups"), "groups", None, problems)
    if not groups:
        problems.append(Problem("groups", "there is no group", "write groups: {GROUP: TENANT}"))
    if len(groups) > _MAX_GROUPS:
        problems.append(Problem("groups", f"{len(groups)} groups are more than {_MAX_GROUPS}"))
    callers: dict[int, Caller] = {}
    names: dict[int, str] = {}
    missing: list[str] = []
    for group, tenant in groups.items():
        where = f"groups.{group}"
        if not isinstance(tenant, str) or not is_name(tenant):
            problems.append(Problem(where, f"{shown(tenant)} is not a tenant's name"))
            continue
        if "." in tenant:
            hint = "what its users name is NAME.TENANT, which must lead to one tenant"
            problems.append(Problem(where, f"tenant '{tenant}' has a dot in its name: it can have no users", hint))
            continue
        try:
            gid = group if isinstance(group, int) else grp.getgrnam(str(group)).gr_gid
        except (KeyError, ValueError):
            missing.append(str(group))
            continue
        if not 0 < gid < (1 << 32) - 1:
            problems.append(Problem(where, f"group {gid} cannot be a tenant's"))
        elif gid in callers and callers[gid].tenant != tenant:
            problems.append(Problem(where, f"it is the same group as '{names[gid]}', which is of another tenant"))
        else:
            own = extras.get(tenant, Caller(""))
            callers[gid] = own._replace(tenant=tenant, images=(*shared, *own.images))
            names[gid] = str(group)
    if unused := sorted(extras.keys() - {str(tenant) for tenant in groups.values()}):
        problems.append(Problem(f"tenants.{unused[0]}", "no group is this tenant's"))
    if problems:
        raise as_error(problems, source=path, lines=tree.lines)
    problem = f"'{path}': this host has no group {', '.join(map(repr, missing))}" if missing else ""
    return People(callers, names, problem)


def _extras(where: str, given: object, problems: list[Problem]) -> Caller:
    entry = _mapping(given, where, _TENANT_KEYS, problems)
    networks = _texts(entry.get("networks"), f"{where}.networks", problems)
    for name in networks:
        if not is_name(name) or name == "host":
            problems.append(Problem(f"{where}.networks", f"{shown(name)} is no network that a tenant can be given"))
    return Caller(
        "",
        _patterns(entry.get("images"), f"{where}.images", problems),
        networks,
        _ports(entry.get("ports"), f"{where}.ports", problems),
    )


def _mapping(value: object, where: str, keys: tuple[str, ...] | None, problems: list[Problem]) -> dict[object, object]:
    if value is None and where:
        return {}
    if not isinstance(value, dict):
        problems.append(Problem(where, f"{shown(value)} is not a mapping", "write key: value"))
        return {}
    for key in value:
        if keys is not None and key not in keys:
            guess = did_you_mean(str(key), keys)
            path = f"{where}.{key}" if where else str(key)
            problems.append(
                Problem(path, f"unknown key {shown(key)}{guess}", f"one of {', '.join(keys)}", names_field=True)
            )
    return value


def _texts(value: object, where: str, problems: list[Problem]) -> tuple[str, ...]:
    given = [] if value is None else value if isinstance(value, list) else [value]
    if any(not isinstance(each, str) for each in given):
        problems.append(Problem(where, f"{shown(value)} is no list of names"))
        return ()
    return tuple(given)


def _patterns(value: object, where: str, problems: list[Problem]) -> tuple[str, ...]:
    """Return patterns of images' names; what would match nothing but by accident is refused."""
    patterns = _texts(value, where, problems)
    for pattern in patterns:
        if not 0 < len(pattern) <= IMAGE_MAX_LENGTH or not pattern.isascii():
            problems.append(Problem(where, f"{shown(pattern)} is no pattern of an image's name"))
    return patterns


def _ports(value: object, where: str, problems: list[Problem]) -> tuple[int, int] | None:
    if value is None:
        return None
    first, separator, last = str(value).partition("-")
    numbers = [
        int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0 for text in (first, last or first)
    ]
    if (separator and not last) or not 0 < numbers[0] <= numbers[1] < 65536:
        problems.append(Problem(where, f"{shown(value)} is no range of ports", "write FIRST-LAST"))
        return None
    return numbers[0], numbers[1]

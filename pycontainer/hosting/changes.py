"""What has to change so that what is there becomes what is wanted. Pure: nothing here asks or does anything.

    wanted ─┬─▶ changes ─┬─ tenants: create, set                  in this order: a tenant before its sites,
    found ──┘            ├─ sites: each with the fate of           sites beside each other,
                         │   every container of it                 tenants that are left without sites last
                         └─ tenants: remove

A container whose `hosting.spec` is the wanted one differs at most in limits, which `set` changes while it runs: its record
says which. One with another is made anew. Both are told by what is there, so it does not matter who or what was cut off.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pycontainer.errors import InvalidInput
from pycontainer.hosting.found import Found, Replica
from pycontainer.hosting.site import Description, Site, Tenant, fixed
from pycontainer.spec.fields import BY_KEY, FIELDS, TENANT_FIELDS, Field, Shape
from pycontainer.spec.model import ContainerSpec
from pycontainer.spec.parse import DEFAULT, to_plain
from pycontainer.spec.transfer import Allowance

_RESETS: tuple[object, ...] = ("unlimited", "none", "no", 0)  # how a setting is said to be what it is when left out
_HEALTH_TARGETS = frozenset({"health_cmd", "health_http", "health_tcp"})
_SAME_AS_VOLUMES = ("mounts", "tmpfs")  # all three are mounts in the record
_FROM_IMAGE = "image content"


class Action(StrEnum):
    """What happens to a tenant or a site as a whole."""

    CREATE = "create"
    CHANGE = "change"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True)
class TenantChange:
    """One tenant; `limits` is what `create_tenant` or `Tenant.set` gets."""

    name: str
    action: Action
    limits: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Setting:
    """Settings of one container that are to change while it runs."""

    replica: Replica
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SiteChange:
    """What happens to the containers of one site; what is in none of the lists stays as it is.

    `kept` stay, among them those that `settings` change, that have to be started (`stopped`) or to become healthy (`unwell`);
    `outdated` are those that new ones take the place of, `surplus` those that go without. `missing` is how many new ones
    are to be made.
    """

    path: str
    action: Action
    site: Site | None = None  # None: it is to go
    kept: tuple[Replica, ...] = ()
    settings: tuple[Setting, ...] = ()
    stopped: tuple[Replica, ...] = ()
    unwell: tuple[Replica, ...] = ()
    missing: int = 0
    outdated: tuple[Replica, ...] = ()
    surplus: tuple[Replica, ...] = ()
    volumes: Mapping[str, int | None] = field(default_factory=dict)  # to be made, or of another size
    is_route_new: bool = False  # the front door knows the site by other domains, or another certificate
    differs: tuple[str, ...] = ()  # settings for which containers are made anew


@dataclass(frozen=True, slots=True)
class Changes:
    """Everything that has to change, in the order in which it is done."""

    tenants: tuple[TenantChange, ...] = ()
    sites: tuple[SiteChange, ...] = ()
    empty_tenants: tuple[TenantChange, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.tenants or self.sites or self.empty_tenants)

    @property
    def removed(self) -> list[str]:
        """What a person is asked about: the sites that go, whole."""
        return [change.path for change in self.sites if change.action is Action.REMOVE]

    def described(self) -> dict[str, str]:
        """Return what changes, by subject (`site acme/shop`), a line each: `+` comes, `~` changes, `-` goes."""
        tenants = {
            f"tenant {each.name}": f"{_MARKS[each.action]} tenant {each.name}{_listed(each.limits)}"
            for each in (*self.tenants, *self.empty_tenants)
        }
        return tenants | {f"site {each.path}": _site_line(each) for each in self.sites}

    def lines(self) -> list[str]:
        """Return what changes, a line each, for people."""
        return [*self.described().values()]


def changes(wanted: Description, found: Found) -> Changes:
    """Return what has to change."""
    there: dict[str, list[Replica]] = {}
    for replica in found.replicas:
        there.setdefault(replica.site, []).append(replica)
    sites = [_site_change(site, there.pop(site.path, []), found) for site in wanted.sites]
    gone = [SiteChange(path, Action.REMOVE, surplus=tuple(replicas)) for path, replicas in sorted(there.items())]
    return Changes(
        tuple(change for tenant in wanted.tenants if (change := _tenant_change(tenant, found))),
        (*(site for site in sites if site), *gone),
        tuple(_left_empty({tenant.name for tenant in wanted.tenants}, gone, found)),
    )


def removal(wanted: Description, found: Found) -> Changes:
    """Return what has to change so that nothing of a hosting is there."""
    there: dict[str, list[Replica]] = {}
    for replica in found.replicas:
        there.setdefault(replica.site, []).append(replica)
    gone = [SiteChange(path, Action.REMOVE, surplus=tuple(replicas)) for path, replicas in sorted(there.items())]
    named = {tenant.name for tenant in wanted.tenants if tenant.name in found.tenants}
    return Changes((), tuple(gone), tuple(_left_empty(set(), gone, found, named)))


def _left_empty(
    wanted: set[str], gone: Iterable[SiteChange], found: Found, named: Iterable[str] = ()
) -> Iterable[TenantChange]:
    """Yield the tenants that nobody wants any more, and that have no container but those that go."""
    names = {change.path.partition("/")[0] for change in gone} | set(named)
    going = {replica.id for change in gone for replica in change.surplus}
    for name in sorted(names - wanted):
        if name in found.tenants and going.issuperset(found.tenants[name]["containers"]):
            yield TenantChange(name, Action.REMOVE)


def _tenant_change(tenant: Tenant, found: Found) -> TenantChange | None:
    there = found.tenants.get(tenant.name)
    if there is None:
        return TenantChange(tenant.name, Action.CREATE, tenant.limits)
    before = dict(there["limits"])
    if (transfer := there["transfer"]) is not None:
        before |= {"transfer": transfer["allowance_bytes"], "transfer_action": transfer["action"]}
    after = _encoded(tenant.pool)
    after |= {key: str(value) if key == "transfer_action" else value for key, value in tenant.alone.items()}
    limits: dict[str, object] = {
        key: value for key, value in tenant.limits.items() if before.get(_target(key)) != after.get(_target(key))
    }
    for each in (*FIELDS, *TENANT_FIELDS):
        if before.get(each.target) is not None and each.target not in after and each.key != "transfer_action":
            limits[each.key] = "unlimited" if _takes(each, "unlimited") else DEFAULT
    if before.get("transfer_action", _DEFAULT_ACTION) != _DEFAULT_ACTION and "transfer_action" not in after:
        limits["transfer_action"] = _DEFAULT_ACTION
    return TenantChange(tenant.name, Action.CHANGE, limits) if limits else None


def _site_change(site: Site, there: list[Replica], found: Found) -> SiteChange | None:
    digest, image_id = site.digest, found.images.get(site.spec.image, "")
    right: list[tuple[Replica, Mapping[str, Any]]] = []
    outdated: list[Replica] = []
    differs: dict[str, None] = {}
    for replica in there:
        values, reasons = _settings(site, replica)
        if replica.digest != digest:
            reasons = _differences(site, replica)
        elif image_id and replica.image_id != image_id:
            reasons = [_FROM_IMAGE]
        elif not reasons:
            right.append((replica, values))
            continue
        outdated.append(replica)
        differs |= dict.fromkeys(reasons)
    right.sort(key=lambda pair: (not pair[0].is_up, pair[0].number))  # of too many those stay that work
    kept = [replica for replica, _ in right[: site.replicas]]
    change = SiteChange(
        site.path,
        Action.CHANGE if there else Action.CREATE,
        site,
        tuple(kept),
        tuple(Setting(replica, values) for replica, values in right[: site.replicas] if values),
        tuple(replica for replica in kept if _has_to_start(replica)),
        tuple(replica for replica in kept if replica.status in ("running", "restarting") and not replica.is_well),
        site.replicas - len(kept),
        tuple(outdated),
        tuple(replica for replica, _ in right[site.replicas :]),
        {
            name: size
            for name, size in site.volumes.items()
            if name not in found.volumes or (size is not None and found.volumes[name] != size)
        },
        _is_route_new(site, found),
        tuple(differs),
    )
    work = (
        change.settings, change.stopped, change.unwell, change.missing, change.outdated, change.surplus, change.volumes,
        change.is_route_new,
    )  # fmt: skip
    return change if any(work) else None


def _is_route_new(site: Site, found: Found) -> bool:
    there = found.routes.get(site.path)
    if there is None or not site.domains:
        return (there is not None) != bool(site.domains)
    return (there.domains, there.certificate, there.key) != (site.domains, site.certificate, site.key)


def _has_to_start(replica: Replica) -> bool:
    """Tell whether it has to be started: not what has done its work, and not what somebody holds still."""
    if replica.is_up or replica.status == "damaged":
        return False
    policy = replica.spec.get("restart")
    name = policy.get("name") if isinstance(policy, Mapping) else ""
    return not (name in ("no", "on-failure") and replica.status == "stopped" and replica.exit_code == 0)


def _settings(site: Site, replica: Replica) -> tuple[dict[str, Any], list[str]]:
    """Return the settings that make a container's limits those wanted, and the keys of those that `set` cannot change so."""
    wanted, found = to_plain(site.spec), replica.spec
    values: dict[str, Any] = {}
    stuck = []
    for each in FIELDS:
        if not each.live or wanted[each.target] == found.get(each.target):
            continue
        if each.shape is Shape.PAIRS and not _keys(found.get(each.target)) <= _keys(wanted[each.target]):
            stuck.append(each.key)  # `set` adds to these, and takes none away
        elif each.key in site.plain:
            values[each.key] = site.plain[each.key]
        elif each.target in _HEALTH_TARGETS and any(key in site.plain for key in _HEALTH_TARGETS):
            continue  # there is one check: the new one takes the place of the old
        elif (word := _reset(each.key)) is not None:
            values[each.key] = word
        else:
            stuck.append(each.key)
    return values, stuck


def _reset(key: str) -> object:
    """Return the word that gives a setting the value it has when it is left out; None if there is none."""
    kind = BY_KEY[key]
    if kind.shape is not Shape.ONE:
        return None
    for word in _RESETS:
        if _takes(kind, word) and kind.parse(word) == kind.default:
            return word
    return DEFAULT if kind.default is None else None


def _takes(kind: Field, word: object) -> bool:
    """Tell whether a setting understands a word."""
    try:
        kind.parse(word)
    except InvalidInput:
        return False
    return True


def _keys(pairs: object) -> set[object]:
    """Return the first members of recorded pairs; of ulimits, their names."""
    if not isinstance(pairs, list):
        return set()
    return {pair["name"] if isinstance(pair, Mapping) else pair[0] for pair in pairs}


def _differences(site: Site, replica: Replica) -> list[str]:
    """Return the keys of settings that differ and cannot be changed, for people."""
    one, other = fixed(to_plain(site.spec)), fixed(replica.spec)
    names = {each for each in {*one, *other} if one.get(each) != other.get(each)}
    keys = [each.key for each in FIELDS if each.target in names and each.key not in _SAME_AS_VOLUMES]
    return [*keys, *(["port"] if replica.port != (site.port if site.domains else 0) else [])]


def _target(key: str) -> str:
    return BY_KEY[key].target if key in BY_KEY else key


def _encoded(pool: Mapping[str, object]) -> dict[str, object]:
    """Return a tenant's limits as `list_tenants` tells them: as JSON, without those that cap nothing."""
    return {
        key: [list(item) if isinstance(item, tuple) else item for item in value] if isinstance(value, tuple) else value
        for key, value in pool.items()
        if value != getattr(_NO_POOL, key)
    }


_NO_POOL = ContainerSpec(pids_max=None)
_DEFAULT_ACTION = str(Allowance().action)


# -- words -----------------------------------------------------------------------------------------------------------

_MARKS = {Action.CREATE: "+", Action.CHANGE: "~", Action.REMOVE: "-"}


def _listed(limits: Mapping[str, object]) -> str:
    return ": " + ", ".join(f"{key} {_short(value)}" for key, value in limits.items()) if limits else ""


def _short(value: object) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {content}" for key, content in value.items()) + "}"
    return str(value)


def _site_line(change: SiteChange) -> str:
    site = change.site
    start = f"{_MARKS[change.action]} site {change.path}"
    if site is None:
        return f"{start}: {_count(len(change.surplus), 'container')}"
    if change.action is Action.CREATE:
        where = f", {', '.join(site.domains)}" if site.domains else ""
        return f"{start}: {_count(site.replicas, 'replica')} of {site.spec.image or site.spec.rootfs}{where}"
    words = []
    anew = min(change.missing, len(change.outdated))
    less = len(change.surplus) + len(change.outdated) - anew
    if anew:
        how = "one after the other" if site.is_rolling else "with a gap"
        reasons = f" for {', '.join(change.differs)}" if change.differs else ""
        words.append(f"{_count(anew, 'container')} made anew{reasons}, {how}")
    if change.missing > anew:
        words.append(f"{_count(change.missing - anew, 'replica')} more")
    if less:
        words.append(f"{_count(less, 'container')} less")
    seen: dict[str, Any] = {}
    for setting in change.settings:
        seen |= setting.values
    words += [f"{key} {_short(value)}" for key, value in seen.items()]
    if change.stopped:
        words.append(f"{_count(len(change.stopped), 'container')} started")
    if change.unwell:
        words.append(f"{_count(len(change.unwell), 'container')} not healthy")
    if change.volumes:
        words.append(f"volume {', '.join(change.volumes)}")
    if change.is_route_new:
        words.append(f"served as {', '.join(site.domains)}" if site.domains else "not served any more")
    return f"{start}: {'; '.join(words)}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"

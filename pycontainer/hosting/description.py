"""hosting.yaml: tenants, their pools and their sites, in one file.

    hosting: shops                          which of this host's files it is; `default` if left out
    tenants:
      acme:
        contacts: [ops@acme.example]
        limits: {memory: 1G, cpus: 1}       the pool of its sites; or plan: medium
        volumes: {data: 5G}                 sizes of named volumes; others hold what their site's plan says of disk
        sites:
          shop:
            image: acme-shop                this, and what else stands here, as `run -f` takes it (docs/spec.md)
            plan: small
            limits: {memory: 300M}          instead of the plan's
            replicas: 2
            domains: [shop.acme.example]
            port: 8080                      inside, where it answers
            certificate: shop.pem
            key: shop.key

Strict: what is unknown is refused. All that is wrong is told at once, each with its line and its path; nothing here asks the
host, `admission.py` does.
"""

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pycontainer.errors import InvalidInput, NotFound
from pycontainer.hosting.domains import check_domain
from pycontainer.hosting.plans import DEFAULT, KEYS, Plans, merged
from pycontainer.hosting.routes import check_path
from pycontainer.hosting.site import (
    DRAIN_SECONDS,
    FILE,
    LABEL_PREFIX,
    READY_SECONDS,
    Description,
    Site,
    Tenant,
    container_name,
    volume_name,
)
from pycontainer.spec.capacity import RESOURCES
from pycontainer.spec.fields import BY_KEY, POOLED
from pycontainer.spec.hostpaths import absolute_host_paths
from pycontainer.spec.model import ContainerSpec, Port
from pycontainer.spec.names import NAME, check_name
from pycontainer.spec.parse import check_spec, parse_pool
from pycontainer.spec.problems import Problem, as_error, did_you_mean
from pycontainer.spec.textfile import read_text_file
from pycontainer.spec.validate import addresses_overlap, validate_pool
from pycontainer.spec.values import parse_port
from pycontainer.spec.yamlfile import read_tree
from pycontainer.units import parse_bytes, parse_count, parse_duration_seconds, shown

DEFAULT_FILE = "hosting.yaml"
DEFAULT_NAME = "default"
MAX_REPLICAS, MAX_DOMAINS, MAX_CONTACTS = 100, 1000, 20
FRONT_DOOR_PORTS = (80, 443)
_START_PERIOD_SECONDS = 60  # how long a check may fail at first
_MAX_DRAIN_SECONDS = 3600

_FILE_KEYS = ("hosting", "tenants")
_TENANT_KEYS = ("contacts", "plan", "limits", "volumes", "sites")
_SITE_KEYS = (
    "plan", "limits", "replicas", "domains", "port", "certificate", "key", "update", "drain",
)  # fmt: skip
_REFUSED = {  # keys of a container that a site has not, and why
    "name": "its containers are named after tenant and site",
    "tenant": "it is the tenant's beneath whose name it stands",
    "auto_remove": "what has ended is kept, and made right by the next up",
    "tty": "nobody sits at it",
    "stdin_open": "nobody types into it",
    "mounts": "write volumes: or tmpfs:",
}
_SPEC_KEYS = tuple(key for key in BY_KEY if key not in KEYS and key not in _REFUSED)
_CHECKS = ("health_cmd", "health_http", "health_tcp")
_UPDATES = ("rolling", "recreate")

CheckCertificate = Callable[[Path, Path, Sequence[str]], list[str]]


def load(path: str, *, plans: Plans, check_certificate: CheckCertificate | None = None) -> Description:
    """Return what the file at `path` describes; one InvalidInput tells all that is wrong with it."""
    base_dir = os.path.dirname(os.path.abspath(path))
    text = read_text_file(path)
    return load_text(text, source=path, base_dir=base_dir, plans=plans, check_certificate=check_certificate)


def load_text(
    text: str | bytes, *, source: str, base_dir: str, plans: Plans, check_certificate: CheckCertificate | None = None
) -> Description:
    """Return what a text describes; `source` names it in errors, `base_dir` is where its paths begin."""
    tree = read_tree(text, source=source)
    reader = _Reader(base_dir, plans, check_certificate or _certificate_problems)
    description = reader.read(tree.data)
    problems = [
        replace(problem, line=problem.line_in(tree.lines) or 1) for problem in (*tree.problems, *reader.problems)
    ]
    if problems:
        raise as_error(sorted(problems, key=lambda problem: problem.line), source=source)
    return replace(description, source=source, lines=tree.lines)


def from_data(
    data: Mapping[str, object], *, base_dir: str, plans: Plans, check_certificate: CheckCertificate | None = None
) -> Description:
    """Return what plain data, as a file would hold it, describes; one InvalidInput tells all that is wrong with it."""
    reader = _Reader(os.path.abspath(base_dir), plans, check_certificate or _certificate_problems)
    description = reader.read(data)
    if reader.problems:
        raise as_error(reader.problems)
    return description


def _certificate_problems(certificate: Path, key: Path, domains: Sequence[str]) -> list[str]:
    from pycontainer.hosting.certificates import check  # OpenSSL, 15 ms that files without certificates save

    return check(certificate, key, domains)


class _Reader:
    """Turns plain data into a description; `problems` is what is wrong with it."""

    def __init__(self, base_dir: str, plans: Plans, check_certificate: CheckCertificate) -> None:
        self.problems: list[Problem] = []
        self._base_dir, self._plans, self._check_certificate = base_dir, plans, check_certificate
        self._domains: dict[str, str] = {}  # each with the site that has it
        self._names: dict[str, str] = {}  # of first containers, each with its site
        self._ports: dict[tuple[str, int], list[tuple[Port, str]]] = {}

    def read(self, data: object) -> Description:
        hint = "write tenants: and beneath it a name: for each"
        if not isinstance(data, Mapping) or not data:
            self._wrong("", "the file describes no hosting", hint)
            return Description(DEFAULT_NAME)
        self._unknown(data, "", _FILE_KEYS)
        name = data.get("hosting", DEFAULT_NAME)
        self._try("hosting", lambda: check_name(name, "hosting"))
        tenants = [
            self._tenant(key, entry, path) for key, entry, path in self._entries(data, "tenants", "", hint, needed=True)
        ]
        description = Description(str(name), tuple(tenant for tenant in tenants if tenant is not None))
        if self._domains:
            self._check_front_door_ports()
        return description

    # -- tenants

    def _tenant(self, name: str, data: Mapping[str, object], path: str) -> Tenant | None:
        if not self._has_name(name, path, "tenant"):
            return None
        self._unknown(data, path, _TENANT_KEYS, POOLED)
        limits = self._pool_limits(data, path)
        pool: dict[str, Any] = {}
        try:
            pool = parse_pool(limits)[0]
        except InvalidInput:  # each limit by itself, for its line
            for key, value in limits.items():
                try:
                    parse_pool({key: value})
                except InvalidInput as error:
                    self._wrong(f"{path}.limits.{key}", error.message.removeprefix(f"{key}: "), error.hint)
        else:
            for problem in validate_pool(replace(ContainerSpec(), **pool)):
                self._wrong(f"{path}.limits.{problem.field}", problem.message, problem.hint)
        sizes: dict[str, int] = {}
        for key, value in self._mapping(data, "volumes", path, "write name: size, such as data: 5G").items():
            at = f"{path}.volumes.{key}"
            self._try(at, lambda key=key: check_name(key, "volume"))  # type: ignore[misc]
            size = self._try(at, lambda value=value: parse_bytes(value))  # type: ignore[misc]
            sizes[str(key)] = size if isinstance(size, int) else 0
        sites = [
            self._site(name, key, entry, at, pool, sizes)
            for key, entry, at in self._entries(data, "sites", path, "write sites: and beneath it a name: for each")
        ]
        whole = tuple(site for site in sites if site is not None)
        self._check_volumes(name, path, sizes, whole, complete=len(whole) == len(sites))
        contacts = self._texts(data, "contacts", path, _contact, MAX_CONTACTS)
        return Tenant(name, limits, pool, contacts, _with_shared_volumes(whole))

    def _pool_limits(self, data: Mapping[str, object], path: str) -> dict[str, object]:
        limits: dict[str, object] = {}
        if data.get("plan") is not None:
            limits = dict(self._try(f"{path}.plan", lambda: self._plans.pool(data["plan"])) or {})
        own = self._mapping(data, "limits", path, "write key: value lines, such as memory: 1G")
        known: dict[str, object] = {}
        for key, value in own.items():
            at = f"{path}.limits.{key}"
            if key not in POOLED:
                guess = did_you_mean(key, POOLED)
                self._wrong(
                    at,
                    "is not a limit that a tenant's sites can share" if key in BY_KEY else f"unknown limit{guess}",
                    "" if guess else f"what can be: {', '.join(POOLED)}",
                )
            elif value is None:
                self._wrong(at, "there is no value", "write one, or delete the line")
            else:
                known[key] = value
        return merged(limits, known)

    def _check_volumes(
        self, tenant: str, path: str, sizes: Mapping[str, int], sites: Collection[Site], *, complete: bool
    ) -> None:
        used = {name for site in sites for name in site.volumes}
        for name in sizes:
            if complete and volume_name(tenant, name) not in used:
                self._wrong(f"{path}.volumes.{name}", "no site of the tenant has this volume", "delete the line")

    # -- sites

    def _site(
        self,
        tenant: str,
        name: str,
        data: Mapping[str, object],
        path: str,
        pool: Mapping[str, object],
        sizes: Mapping[str, int],
    ) -> Site | None:
        count = len(self.problems)
        if not self._has_name(name, path, "site"):
            return None
        self._unknown(data, path, (*_SITE_KEYS, *_SPEC_KEYS), KEYS, _REFUSED)
        domains = self._texts(data, "domains", path, check_domain, MAX_DOMAINS)
        self._claim_domains(f"{tenant}/{name}", domains, path)
        replicas = self._number(data, "replicas", path, lambda value: parse_count(value, maximum=MAX_REPLICAS), 1)
        port = self._number(data, "port", path, parse_port, 80)
        drain = self._number(data, "drain", path, _parse_drain, DRAIN_SECONDS)
        if "port" in data and not domains:
            self._wrong(f"{path}.port", "there are no domains whose requests it could get", "write domains:")
        certificate, key = self._certificate(data, path, domains)

        plain, written = self._plain(tenant, data, path, port if domains else 0)
        spec = self._spec(plain, data, path, written)
        self._check_pool(spec, tenant, pool, data, path)
        self._check_labels(spec, path)
        self._check_alone(spec, replicas, data, path)
        self._check_reachable(spec, domains, data, path)
        self._claim_ports(spec, f"{tenant}/{name}", path)
        self._claim_names(tenant, name, replicas, path)
        is_rolling = self._is_rolling(spec, domains, replicas, data, path)
        if len(self.problems) > count:
            return None
        volumes = {
            mount.source: sizes.get(mount.source.partition(".")[2], spec.disk_bytes)
            for mount in spec.mounts
            if mount.type == "volume" and mount.source
        }
        start_period = spec.health_start_period_seconds or 0
        return Site(
            tenant, name, plain, spec, replicas, domains, port, certificate, key, volumes, is_rolling,
            start_period + READY_SECONDS, drain,
        )  # fmt: skip

    def _plain(
        self, tenant: str, data: Mapping[str, object], path: str, served_port: int
    ) -> tuple[dict[str, object], dict[str, str]]:
        """Return the plain spec of the site's containers, and the path of each key that the file has."""
        own = {key: value for key, value in data.items() if key in _SPEC_KEYS}
        written = {key: f"{path}.{key}" for key in own}
        limits = self._mapping(data, "limits", path, "write key: value lines, such as memory: 300M")
        for key in limits:
            at = f"{path}.limits.{key}"
            if key in KEYS:
                own[key], written[key] = limits[key], at
            else:
                guess = did_you_mean(key, KEYS)
                what = "stands with the site itself" if key in _SPEC_KEYS else f"unknown limit{guess}"
                self._wrong(at, what, "" if guess or key in _SPEC_KEYS else f"limits are {', '.join(KEYS)}")
        for key, value in list(own.items()):
            if value is None:
                self._wrong(written[key], "there is no value", "write one, or delete the line")
                del own[key]
        own = absolute_host_paths(own, self._base_dir)
        if isinstance(own.get("volumes"), list | str):
            entries = own["volumes"] if isinstance(own["volumes"], list) else [own["volumes"]]
            own["volumes"] = [_own_volume(tenant, entry) for entry in entries]
        base: dict[str, object] = {"restart": "always", **(_health(own, served_port) if served_port else {})}
        try:
            plain = self._plans.expand({**base, **own, "plan": data.get("plan", DEFAULT) or DEFAULT})
        except NotFound as error:
            self._wrong(f"{path}.plan", error.message, error.hint)
            plain = {**base, **own}
        return {**plain, "tenant": tenant}, written

    def _spec(
        self, plain: Mapping[str, object], data: Mapping[str, object], path: str, written: Mapping[str, str]
    ) -> ContainerSpec:
        spec, problems = check_spec(dict(plain))
        for problem in problems:
            key = problem.field.partition(".")[0].partition("[")[0]
            if key in written:
                self._wrong(written[key] + problem.field.removeprefix(key), problem.message, problem.hint)
            else:
                self._wrong(path, problem.text(), problem.hint)
        return spec

    def _check_pool(
        self, spec: ContainerSpec, tenant: str, pool: Mapping[str, object], data: Mapping[str, object], path: str
    ) -> None:
        """One container that may have more than its whole tenant was promised what it can never get."""
        limits = data.get("limits")
        for resource in RESOURCES:
            own, most = getattr(spec, resource.attribute), pool.get(resource.attribute)
            if not isinstance(own, int) or not isinstance(most, int) or own <= most:
                continue
            has_own = isinstance(limits, Mapping) and resource.key in limits
            at = f"limits.{resource.key}" if has_own else "plan" if "plan" in data else ""
            whose = "" if has_own else f"plan {shown(data.get('plan', DEFAULT))} has "
            self._wrong(
                f"{path}.{at}" if at else path,
                f"{resource.key}: {whose}{resource.show(own)}, more than the {resource.show(most)} of tenant '{tenant}'",
                "choose a smaller plan, or give the tenant more",
            )

    def _check_labels(self, spec: ContainerSpec, path: str) -> None:
        for key, _ in spec.labels:
            if key.startswith(LABEL_PREFIX):
                self._wrong(
                    f"{path}.labels", f"label {shown(key)} is ours to give", f"labels '{FILE}' and others are taken"
                )

    def _check_alone(self, spec: ContainerSpec, replicas: int, data: Mapping[str, object], path: str) -> None:
        """What only one container can have."""
        taken = {
            "ports": any(port.host_port for port in spec.ports),
            "ip": bool(spec.ip),
            "ip6": bool(spec.ip6),
            "rootfs_writable": spec.rootfs_writable,
        }
        for key, is_taken in taken.items():
            if is_taken and replicas > 1:
                self._wrong(f"{path}.{key}", f"only one of the {replicas} replicas can have it", "write replicas: 1")
            if is_taken and data.get("update") == "rolling":
                self._wrong(
                    f"{path}.update",
                    f"old and new cannot have {key} at the same time",
                    "leave it out: there is a gap then",
                )

    def _check_reachable(
        self, spec: ContainerSpec, domains: Sequence[str], data: Mapping[str, object], path: str
    ) -> None:
        if domains and spec.networks and spec.networks[0] in ("none", "host"):
            self._wrong(
                f"{path}.networks",
                f"with network {spec.networks[0]!r} it has no address that requests for its domains could go to",
                "leave networks out, or domains",
            )

    def _is_rolling(
        self, spec: ContainerSpec, domains: Sequence[str], replicas: int, data: Mapping[str, object], path: str
    ) -> bool:
        """A new container comes first where somebody asks for the site, unless two would write the same files unawares."""
        update = data.get("update")
        if update is None:
            writes = any(mount.type in ("volume", "bind") and not mount.read_only for mount in spec.mounts)
            is_single = any(port.host_port for port in spec.ports) or spec.ip or spec.ip6 or spec.rootfs_writable
            return bool(domains) and not is_single and (replicas > 1 or not writes)
        if update not in _UPDATES:
            guess = did_you_mean(update, _UPDATES) if isinstance(update, str) else ""
            self._wrong(f"{path}.update", f"{shown(update)} is none{guess}", f"one of {', '.join(_UPDATES)}")
        return update == "rolling"

    def _certificate(
        self, data: Mapping[str, object], path: str, domains: Sequence[str]
    ) -> tuple[Path | None, Path | None]:
        paths: dict[str, Path] = {}
        for key in ("certificate", "key"):
            value = data.get(key)
            if isinstance(value, str) and value:
                place = os.path.normpath(os.path.join(self._base_dir, value))
                if self._try(f"{path}.{key}", lambda place=place: check_path(place)):  # type: ignore[misc]
                    paths[key] = Path(place)
            elif key in data:
                self._wrong(f"{path}.{key}", f"{shown(value)} is not the path of a file", "write where the PEM file is")
        given = [key for key in ("certificate", "key") if key in data]
        if len(given) == 1:
            self._wrong(f"{path}.{given[0]}", "a certificate needs its key, and a key its certificate", "give both")
        elif given and "domains" not in data:
            self._wrong(f"{path}.certificate", "there are no domains that it could be for", "write domains:")
        elif len(paths) == 2 and domains:
            for problem in self._check_certificate(paths["certificate"], paths["key"], domains):
                self._wrong(f"{path}.certificate", problem)
        return paths.get("certificate"), paths.get("key")

    # -- what belongs to one site alone

    def _claim_domains(self, site: str, domains: Sequence[str], path: str) -> None:
        for index, domain in enumerate(domains):
            if domain in self._domains:
                owner = self._domains[domain]
                whose = "is there twice" if owner == site else f"belongs to site '{owner}' already"
                self._wrong(f"{path}.domains[{index}]", f"domain '{domain}' {whose}", "each domain leads to one site")
            self._domains.setdefault(domain, site)

    def _claim_ports(self, spec: ContainerSpec, site: str, path: str) -> None:
        for port in spec.ports:
            if not port.host_port:
                continue
            claims = self._ports.setdefault((port.protocol, port.host_port), [])
            for other, owner in claims:
                if owner != site and addresses_overlap(port.host_ip, other.host_ip):
                    message = f"host port {port.host_port}/{port.protocol} belongs to site '{owner}' already"
                    self._wrong(f"{path}.ports", message, "choose another, or let the front door share it by domains")
                    break
            claims.append((port, site))

    def _check_front_door_ports(self) -> None:
        for number in FRONT_DOOR_PORTS:
            for _, site in self._ports.get(("tcp", number), ()):
                tenant, _, name = site.partition("/")
                self._wrong(
                    f"tenants.{tenant}.sites.{name}.ports",
                    f"host port {number} is the front door's, where requests for all domains come in",
                    "write domains: instead",
                )

    def _claim_names(self, tenant: str, site: str, replicas: int, path: str) -> None:
        first, last = container_name(tenant, site, 0), container_name(tenant, site, 10 * MAX_REPLICAS)
        if not NAME.fullmatch(last):
            self._wrong(path, f"names such as '{first}' would be too long", "shorten the name of tenant or site")
        if owner := self._names.get(first):
            self._wrong(path, f"its containers would be named as those of site '{owner}'", "give it another name")
        self._names.setdefault(first, f"{tenant}/{site}")

    # -- the form

    def _wrong(self, path: str, message: str, hint: str = "") -> None:
        self.problems.append(Problem(path, message, hint))

    def _try(self, path: str, parse: Callable[[], Any]) -> Any:
        """Return what `parse` does; None, and a problem, if it refuses."""
        try:
            return parse()
        except (InvalidInput, NotFound) as error:
            self._wrong(path, error.message, error.hint)
            return None

    def _has_name(self, name: str, path: str, kind: str) -> bool:
        if name.isascii() and name == name.lower() and name.replace("-", "").isalnum() and name.strip("-") == name:
            return True
        self._wrong(
            path, f"{shown(name)} is not the name of a {kind} here", "use a to z, digits, and dashes between them"
        )
        return False

    def _unknown(
        self,
        data: Mapping[str, object],
        path: str,
        known: Sequence[str],
        limits: Collection[str] = (),
        refused: Mapping[str, str] | None = None,
    ) -> None:
        for key in data:
            at = f"{path}.{key}" if path else str(key)
            if key in known:
                continue
            if key in limits:
                self._wrong(at, "the limit stands beside 'limits'", "indent it below limits:")
            elif refused and key in refused:
                self._wrong(at, "a site has no such setting", refused[key])
            else:
                guess = did_you_mean(key, (*known, *limits)) if isinstance(key, str) else ""
                few = known if len(known) < 2 * len(_SITE_KEYS) else _SITE_KEYS
                more = "" if few is known else ", and those of docs/spec.md"
                self._wrong(at, f"unknown key{guess}", "" if guess else f"keys are {', '.join(few)}{more}")

    def _mapping(self, data: Mapping[str, object], key: str, path: str, hint: str) -> dict[str, object]:
        value = data.get(key, {})
        if not isinstance(value, Mapping) or (key in data and value is None):
            self._wrong(f"{path}.{key}" if path else key, f"{shown(value)} is not a mapping", hint)
            return {}
        return {name if isinstance(name, str) else shown(name): entry for name, entry in value.items()}

    def _entries(
        self, data: Mapping[str, object], key: str, path: str, hint: str, *, needed: bool = False
    ) -> Iterable[tuple[str, Mapping[str, object], str]]:
        """Yield the named mappings beneath a key, each with its path."""
        start = f"{path}.{key}" if path else key
        entries = self._mapping(data, key, path, hint)
        if needed and not entries and (key not in data or isinstance(data[key], Mapping)):
            self._wrong(start if key in data else path, f"there are no {key}", hint)
        for name, entry in entries.items():
            at = f"{start}.{name}"
            if isinstance(entry, Mapping):
                yield name, entry, at
            else:
                self._wrong(
                    at, f"{shown(entry)} is not a mapping of settings", "write key: value lines beneath the name"
                )

    def _texts(
        self, data: Mapping[str, object], key: str, path: str, parse: Callable[[object], str], most: int
    ) -> tuple[str, ...]:
        if key not in data:
            return ()
        value, at = data[key], f"{path}.{key}"
        entries = [value] if isinstance(value, str) else value
        if not isinstance(entries, list | tuple):
            self._wrong(at, f"{shown(value)} is not a list", f"write {key}: [...]")
            return ()
        if len(entries) > most:
            self._wrong(at, f"{len(entries)} entries are more than {most}")
            return ()
        found = [
            self._try(at if entries is not value else f"{at}[{index}]", lambda entry=entry: parse(entry))  # type: ignore[misc]
            for index, entry in enumerate(entries)
        ]
        return tuple(text for text in found if isinstance(text, str))

    def _number(
        self, data: Mapping[str, object], key: str, path: str, parse: Callable[[object], int], default: int
    ) -> int:
        found = self._try(f"{path}.{key}", lambda: parse(data[key])) if key in data else default
        return found if isinstance(found, int) else default


def _health(own: Mapping[str, object], port: int) -> dict[str, object]:
    """Return how a site that requests go to is asked whether it can take them, where it does not say so itself."""
    if own.get("health_cmd") == "none":
        return {}
    target = {} if any(key in own for key in _CHECKS) else {"health_tcp": port}
    return {
        **target,
        "health_interval": "10s",
        "health_start_period": f"{_START_PERIOD_SECONDS}s",
        "health_start_interval": "1s",
    }


def _own_volume(tenant: str, entry: object) -> object:
    """Put the tenant's name before that of a volume, so that nobody has another tenant's; paths stay what they are."""
    if not isinstance(entry, str):
        return entry
    source, separator, rest = entry.partition(":")
    is_name = separator and NAME.fullmatch(source)
    return f"{volume_name(tenant, source)}:{rest}" if is_name else entry


def _with_shared_volumes(sites: tuple[Site, ...]) -> tuple[Site, ...]:
    """Give a volume that several sites have one size: the largest that one of them asks for."""
    sizes: dict[str, int | None] = {}
    for site in sites:
        for name, size in site.volumes.items():
            before = sizes.get(name, 0)
            sizes[name] = None if size is None or before is None else max(size, before)
    return tuple(replace(site, volumes={name: sizes[name] for name in site.volumes}) for site in sites)


def _contact(value: object) -> str:
    if not isinstance(value, str) or not value or len(value) > 200 or not value.isprintable():
        raise InvalidInput(f"{shown(value)} is not a line of at most 200 characters")
    return value


def _parse_drain(value: object) -> int:
    seconds = parse_duration_seconds(value)
    if seconds > _MAX_DRAIN_SECONDS:
        raise InvalidInput(f"{shown(value)} is out of range", hint="write a duration of at most 1h")
    return seconds

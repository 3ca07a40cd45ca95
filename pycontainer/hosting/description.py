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
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pycontainer.errors import InvalidInput, NotFound, did_you_mean
from pycontainer.hosting.claims import Claims
from pycontainer.hosting.domains import check_domain
from pycontainer.hosting.form import Form
from pycontainer.hosting.plans import DEFAULT, KEYS, Plans, merged
from pycontainer.hosting.routes import check_path
from pycontainer.hosting.site import (
    DRAIN_SECONDS,
    FILE,
    LABEL_PREFIX,
    MAX_REPLICAS,
    READY_SECONDS,
    Description,
    Site,
    Tenant,
    volume_name,
)
from pycontainer.spec.capacity import RESOURCES
from pycontainer.spec.fields import BY_KEY, POOLED, TENANT_FIELDS
from pycontainer.spec.hostpaths import absolute_host_paths
from pycontainer.spec.model import ContainerSpec
from pycontainer.spec.names import NAME, check_name
from pycontainer.spec.parse import check_spec, parse_pool
from pycontainer.spec.problems import as_error
from pycontainer.spec.textfile import read_text_file
from pycontainer.spec.validate import validate_pool
from pycontainer.spec.values import parse_port
from pycontainer.spec.yamlfile import read_tree
from pycontainer.units import parse_bytes, parse_count, parse_duration_seconds, shown

DEFAULT_FILE = "hosting.yaml"
DEFAULT_NAME = "default"
MAX_DOMAINS, MAX_CONTACTS = 1000, 20
_START_PERIOD_SECONDS = 60  # how long a check may fail at first
_MAX_DRAIN_SECONDS = 3600

_FILE_KEYS = ("hosting", "tenants")
_OF_TENANT = (*POOLED, *(field.key for field in TENANT_FIELDS))
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


class _Reader(Form):
    """Turns plain data into a description; `problems` is what is wrong with it."""

    def __init__(self, base_dir: str, plans: Plans, check_certificate: CheckCertificate) -> None:
        super().__init__()
        self._base_dir, self._plans, self._check_certificate = base_dir, plans, check_certificate
        self._claims = Claims(self.wrong)

    def read(self, data: object) -> Description:
        hint = "write tenants: and beneath it a name: for each"
        if not isinstance(data, Mapping) or not data:
            self.wrong("", "the file describes no hosting", hint)
            return Description(DEFAULT_NAME)
        self.check_keys(data, "", _FILE_KEYS)
        name = data.get("hosting", DEFAULT_NAME)
        self.attempt("hosting", lambda: check_name(name, "hosting"))
        tenants = [
            self._tenant(key, entry, path) for key, entry, path in self.entries(data, "tenants", "", hint, needed=True)
        ]
        description = Description(str(name), tuple(tenant for tenant in tenants if tenant is not None))
        self._claims.check_front_door_ports()
        return description

    # -- tenants

    def _tenant(self, name: str, data: Mapping[str, object], path: str) -> Tenant | None:
        if not self.has_name(name, path, "tenant"):
            return None
        self.check_keys(data, path, _TENANT_KEYS, _OF_TENANT)
        data = self.given(data, path)
        limits = self._pool_limits(data, path)
        pool: dict[str, Any] = {}
        alone: dict[str, Any] = {}
        try:
            pool, alone = parse_pool(limits)
        except InvalidInput:  # each limit by itself, for its line
            for key, value in limits.items():
                try:
                    parse_pool({key: value})
                except InvalidInput as error:
                    self.wrong(f"{path}.limits.{key}", error.message.removeprefix(f"{key}: "), error.hint)
        else:
            for problem in validate_pool(replace(ContainerSpec(), **pool)):
                self.wrong(f"{path}.limits.{problem.field}", problem.message, problem.hint)
        sizes: dict[str, int] = {}
        for key, value in self.mapping(data, "volumes", path, "write name: size, such as data: 5G").items():
            at = f"{path}.volumes.{key}"
            self.attempt(at, lambda key=key: check_name(key, "volume"))  # type: ignore[misc]
            size = self.attempt(at, lambda value=value: parse_bytes(value))  # type: ignore[misc]
            sizes[str(key)] = size if isinstance(size, int) else 0
        sites = [
            self._site(name, key, entry, at, pool, sizes)
            for key, entry, at in self.entries(data, "sites", path, "write sites: and beneath it a name: for each")
        ]
        whole = tuple(site for site in sites if site is not None)
        self._check_volumes(name, path, sizes, whole, complete=len(whole) == len(sites))
        contacts = self.texts(data, "contacts", path, _contact, MAX_CONTACTS)
        return Tenant(name, limits, pool, alone, contacts, _with_shared_volumes(whole))

    def _pool_limits(self, data: Mapping[str, object], path: str) -> dict[str, object]:
        limits: dict[str, object] = {}
        if "plan" in data:
            limits = dict(self.attempt(f"{path}.plan", lambda: self._plans.pool(data["plan"])) or {})
        known: dict[str, object] = {}
        for key, value in self.limits(data, path).items():
            at = f"{path}.limits.{key}"
            if key not in _OF_TENANT:
                guess = did_you_mean(key, _OF_TENANT)
                self.wrong(
                    at,
                    "is not a limit that a tenant's sites can share" if key in BY_KEY else f"unknown limit{guess}",
                    "" if guess else f"what can be: {', '.join(_OF_TENANT)}",
                )
            else:
                known[key] = value
        return merged(limits, known)

    def _check_volumes(
        self, tenant: str, path: str, sizes: Mapping[str, int], sites: Collection[Site], *, complete: bool
    ) -> None:
        used = {name for site in sites for name in site.volumes}
        for name in sizes:
            if complete and volume_name(tenant, name) not in used:
                self.wrong(f"{path}.volumes.{name}", "no site of the tenant has this volume", "delete the line")

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
        if not self.has_name(name, path, "site"):
            return None
        self.check_keys(data, path, (*_SITE_KEYS, *_SPEC_KEYS), KEYS, _REFUSED)
        data = self.given(data, path)
        domains = self.texts(data, "domains", path, check_domain, MAX_DOMAINS)
        self._claims.domains(f"{tenant}/{name}", domains, path)
        replicas = self.number(data, "replicas", path, lambda value: parse_count(value, maximum=MAX_REPLICAS), 1)
        port = self.number(data, "port", path, parse_port, 80)
        drain = self.number(data, "drain", path, _parse_drain, DRAIN_SECONDS)
        if "port" in data and not domains:
            self.wrong(f"{path}.port", "there are no domains whose requests it could get", "write domains:")
        certificate, key = self._certificate(data, path, domains)

        plain, written = self._plain(tenant, data, path, port if domains else 0)
        spec = self._spec(plain, data, path, written)
        self._check_pool(spec, tenant, pool, data, path)
        self._check_labels(spec, path)
        self._check_alone(spec, replicas, data, path)
        self._check_reachable(spec, domains, data, path)
        self._claims.ports(f"{tenant}/{name}", spec.ports, path)
        self._claims.name(tenant, name, path)
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
        limits = self.limits(data, path)
        for key in limits:
            at = f"{path}.limits.{key}"
            if key in KEYS:
                own[key], written[key] = limits[key], at
            else:
                guess = did_you_mean(key, KEYS)
                what = "stands with the site itself" if key in _SPEC_KEYS else f"unknown limit{guess}"
                self.wrong(at, what, "" if guess or key in _SPEC_KEYS else f"limits are {', '.join(KEYS)}")
        own = absolute_host_paths(own, self._base_dir)
        if isinstance(own.get("volumes"), list | str):
            entries = own["volumes"] if isinstance(own["volumes"], list) else [own["volumes"]]
            own["volumes"] = [_own_volume(tenant, entry) for entry in entries]
        base: dict[str, object] = {"restart": "always", **(_health(own, served_port) if served_port else {})}
        try:
            plain = self._plans.expand({**base, **own, "plan": data.get("plan", DEFAULT)})
        except NotFound as error:
            self.wrong(f"{path}.plan", error.message, error.hint)
            plain = {**base, **own}
        return {**plain, "tenant": tenant}, written

    def _spec(
        self, plain: Mapping[str, object], data: Mapping[str, object], path: str, written: Mapping[str, str]
    ) -> ContainerSpec:
        spec, problems = check_spec(dict(plain))
        for problem in problems:
            key = problem.field.partition(".")[0].partition("[")[0]
            if key in written:
                self.wrong(written[key] + problem.field.removeprefix(key), problem.message, problem.hint)
            else:
                self.wrong(path, problem.text(), problem.hint)
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
            self.wrong(
                f"{path}.{at}" if at else path,
                f"{resource.key}: {whose}{resource.show(own)}, more than the {resource.show(most)} of tenant '{tenant}'",
                "choose a smaller plan, or give the tenant more",
            )

    def _check_labels(self, spec: ContainerSpec, path: str) -> None:
        for key, _ in spec.labels:
            if key.startswith(LABEL_PREFIX):
                self.wrong(
                    f"{path}.labels", f"label {shown(key)} is ours to give", f"labels '{FILE}' and others are taken"
                )

    def _check_alone(self, spec: ContainerSpec, replicas: int, data: Mapping[str, object], path: str) -> None:
        """What only one container can have."""
        for mount in spec.mounts:
            if mount.type == "volume" and not mount.source:
                self.wrong(
                    f"{path}.volumes",
                    f"a volume without a name, for '{mount.target}', would go with each container that is replaced",
                    f"give it one: name:{mount.target}",
                )
        taken = {
            "ports": any(port.host_port for port in spec.ports),
            "ip": bool(spec.ip),
            "ip6": bool(spec.ip6),
            "rootfs_writable": spec.rootfs_writable,
        }
        for key, is_taken in taken.items():
            if is_taken and replicas > 1:
                self.wrong(f"{path}.{key}", f"only one of the {replicas} replicas can have it", "write replicas: 1")
            if is_taken and data.get("update") == "rolling":
                self.wrong(
                    f"{path}.update",
                    f"old and new cannot have {key} at the same time",
                    "leave it out: there is a gap then",
                )

    def _check_reachable(
        self, spec: ContainerSpec, domains: Sequence[str], data: Mapping[str, object], path: str
    ) -> None:
        if domains and spec.networks and spec.networks[0] in ("none", "host"):
            self.wrong(
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
            self.wrong(f"{path}.update", f"{shown(update)} is none{guess}", f"one of {', '.join(_UPDATES)}")
        return update == "rolling"

    def _certificate(
        self, data: Mapping[str, object], path: str, domains: Sequence[str]
    ) -> tuple[Path | None, Path | None]:
        paths: dict[str, Path] = {}
        for key in ("certificate", "key"):
            value = data.get(key)
            if isinstance(value, str) and value:
                place = os.path.normpath(os.path.join(self._base_dir, value))
                if self.attempt(f"{path}.{key}", lambda place=place: check_path(place)):  # type: ignore[misc]
                    paths[key] = Path(place)
            elif key in data:
                self.wrong(f"{path}.{key}", f"{shown(value)} is not the path of a file", "write where the PEM file is")
        given = [key for key in ("certificate", "key") if key in data]
        if len(given) == 1:
            self.wrong(f"{path}.{given[0]}", "a certificate needs its key, and a key its certificate", "give both")
        elif given and "domains" not in data:
            self.wrong(f"{path}.certificate", "there are no domains that it could be for", "write domains:")
        elif len(paths) == 2 and domains:
            for problem in self._check_certificate(paths["certificate"], paths["key"], domains):
                self.wrong(f"{path}.certificate", problem)
        return paths.get("certificate"), paths.get("key")


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

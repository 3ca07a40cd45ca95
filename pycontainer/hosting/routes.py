"""What the front door is to serve: sites with their domains, where they are answered, and their certificates.

All of it is checked here, once: who has a SiteRoute that passed `check_routes` can write it into any configuration.
"""

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from pycontainer.errors import InvalidInput
from pycontainer.hosting.domains import check_domain
from pycontainer.record import Record
from pycontainer.spec.names import check_name
from pycontainer.spec.problems import Problem, as_error
from pycontainer.units import shown

MAX_BACKENDS = 256  # of one site


class Backend(NamedTuple):
    """Where a replica of a site answers HTTP."""

    ip: str
    port: int


@dataclass(frozen=True, slots=True)
class SiteRoute:
    """The way to a site. `name` is TENANT/SITE, as the label `hosting.site` of its containers says.

    With `certificate` and `key` it is served by TLS as well; what asks without is sent there, unless `redirect` is False.
    """

    domains: tuple[str, ...]
    backends: tuple[Backend, ...]
    certificate: Path | None
    key: Path | None
    name: str
    redirect: bool = True


def check_routes(routes: Iterable[SiteRoute]) -> tuple[SiteRoute, ...]:
    """Return the routes by name, each value in its one form; one InvalidInput for all that is wrong with them."""
    problems: list[Problem] = []
    found: dict[str, SiteRoute] = {}
    owners: dict[str, str] = {}
    for route in routes:

        def wrong(message: str, hint: str = "", name: str = route.name) -> None:
            problems.append(Problem("", f"site {shown(name)[1:-1]}: {message}", hint))

        try:
            checked = _checked(route)
        except InvalidInput as error:
            wrong(error.message, error.hint)
            continue
        if route.name in found:
            wrong("there are two of that name")
        found[route.name] = checked
        for domain in checked.domains:
            if (owner := owners.setdefault(domain, route.name)) != route.name:
                wrong(f"domain '{domain}' is that of site {owner}", "a domain leads to one site")
    if problems:
        raise as_error(problems)
    return tuple(found[name] for name in sorted(found))


def _checked(route: SiteRoute) -> SiteRoute:
    tenant, _, site = route.name.partition("/") if isinstance(route.name, str) else ("", "", "")
    check_name(tenant, "tenant")
    check_name(site, "site")
    if not route.domains:
        raise InvalidInput("it has no domain")
    if len(route.backends) > MAX_BACKENDS:
        raise InvalidInput(f"it has {len(route.backends)} replicas, more than {MAX_BACKENDS}")
    if (route.certificate is None) != (route.key is None):
        raise InvalidInput("a certificate and its key go together")
    domains = tuple(dict.fromkeys(check_domain(domain) for domain in route.domains))
    backends = tuple(dict.fromkeys(check_backend(*backend) for backend in route.backends))
    for path in (route.certificate, route.key):
        if path is not None:
            check_path(str(path))
    return replace(route, domains=domains, backends=backends)


def check_backend(ip: str, port: int) -> Backend:
    """Return an address and a port as the kernel knows them."""
    try:
        address = ipaddress.ip_address(ip)
    except ValueError:
        raise InvalidInput(f"{shown(ip)} is not an IP address") from None
    if type(port) is not int or not 0 < port < 65536:
        raise InvalidInput(f"{shown(port)} is not a port", hint="ports are 1 to 65535")
    if getattr(address, "scope_id", None):
        raise InvalidInput(f"{shown(ip)} holds the name of a link", hint="name an address that is not link-local")
    return Backend(str(address), port)


def check_path(path: str) -> str:
    """Return a path that can stand in quotes: nothing in it ends them, and nothing is taken for a variable."""
    if not path.startswith("/") or not path.isprintable() or any(character in path for character in '"\\$'):
        raise InvalidInput(
            f"{shown(path)} cannot be the path of a file here", hint='write it from / on, without ", \\ and $'
        )
    return path


def shown_backend(backend: Backend) -> str:
    """Return 10.0.0.2:80, or [fd00::2]:80."""
    return f"[{backend.ip}]:{backend.port}" if ":" in backend.ip else f"{backend.ip}:{backend.port}"


# -- records ---------------------------------------------------------------------------------------------------------


def to_record(route: SiteRoute) -> dict[str, object]:
    return {
        "name": route.name,
        "domains": [*route.domains],
        "backends": [{"ip": backend.ip, "port": backend.port} for backend in route.backends],
        "certificate": str(route.certificate or ""),
        "key": str(route.key or ""),
        "redirect": route.redirect,
    }


def from_records(records: Sequence[Record]) -> tuple[SiteRoute, ...]:
    """Return the routes of what `to_record` made; ValueError, or InvalidInput, for what it did not."""
    return check_routes(
        SiteRoute(
            tuple(record.texts("domains")),
            tuple(Backend(each.text("ip"), each.integer("port")) for each in record.each("backends")),
            Path(certificate) if (certificate := record.text("certificate")) else None,
            Path(key) if (key := record.text("key")) else None,
            record.text("name"),
            record.flag("redirect"),
        )
        for record in records
    )

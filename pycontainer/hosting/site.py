"""What a hosting file describes, as data: a hosting has tenants, a tenant has sites, a site has replicas.

    hosting "shops" ── tenant "acme" (a pool) ── site "acme/web" ── container acme-web-0   labels: hosting.file    shops
                                             │                  └─ container acme-web-1           hosting.site    acme/web
                                             └─ volume acme.data                                  hosting.replica 1
                                                                                                  hosting.spec    SHA-256
                                                                                                  hosting.port    8080

The labels are all that is remembered: what `up` finds is what containers say, so there is no state that could be lost.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pycontainer.spec.fields import FIELDS
from pycontainer.spec.model import ContainerSpec
from pycontainer.spec.parse import to_plain

FILE, SITE, REPLICA, SPEC, PORT = "hosting.file", "hosting.site", "hosting.replica", "hosting.spec", "hosting.port"
LABEL_PREFIX = "hosting."
READY_SECONDS, DRAIN_SECONDS, MAX_REPLICAS = 30, 10, 100
LIVE_ATTRIBUTES = frozenset(each.target for each in FIELDS if each.live)


@dataclass(frozen=True, slots=True)
class Site:
    """One site. `plain` is what `create` gets for each of its containers, but for their names and labels of ours."""

    tenant: str
    name: str
    plain: Mapping[str, object]
    spec: ContainerSpec  # of the same
    replicas: int = 1
    domains: tuple[str, ...] = ()
    port: int = 80
    certificate: Path | None = None
    key: Path | None = None
    volumes: Mapping[str, int | None] = field(default_factory=dict)  # full names, and their sizes in bytes
    is_rolling: bool = False  # a new replica comes before an old one goes
    ready_seconds: int = READY_SECONDS  # in which a container has to become healthy
    drain_seconds: int = DRAIN_SECONDS  # that requests have to end, before the replica that answers them is stopped

    @property
    def path(self) -> str:
        return f"{self.tenant}/{self.name}"

    @property
    def digest(self) -> str:
        """What cannot be changed of a container that exists, in 64 digits: one with another has to be made anew."""
        served = {"port": self.port} if self.domains else {}
        text = json.dumps({**fixed(to_plain(self.spec)), **served}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Tenant:
    """One tenant; `limits` as they were written, `pool` the same as attributes of the spec, `alone` what no container has."""

    name: str
    limits: Mapping[str, object] = field(default_factory=dict)
    pool: Mapping[str, object] = field(default_factory=dict)
    alone: Mapping[str, object] = field(default_factory=dict)
    contacts: tuple[str, ...] = ()
    sites: tuple[Site, ...] = ()


@dataclass(frozen=True, slots=True)
class Description:
    """A whole file. `source` and `lines` say where things stand in it."""

    name: str
    tenants: tuple[Tenant, ...] = ()
    source: str = ""
    lines: Mapping[str, int] = field(default_factory=dict)

    @property
    def sites(self) -> tuple[Site, ...]:
        return tuple(site for tenant in self.tenants for site in tenant.sites)


def container_name(tenant: str, site: str, number: int) -> str:
    return f"{tenant}-{site}-{number}"


def volume_name(tenant: str, name: str) -> str:
    """Return the name of a tenant's volume on the host: no tenant has a dot in its name, so none can have another's."""
    return f"{tenant}.{name}"


def fixed(plain: Mapping[str, object]) -> dict[str, object]:
    """Return of a spec, as `to_plain` writes it, what `set` cannot change; what has its default is left out.

    So a later version with one more setting finds the same here, and makes nothing anew.
    """
    found = {
        key: value
        for key, value in plain.items()
        if key not in LIVE_ATTRIBUTES and key not in ("name", "labels") and value != _DEFAULTS.get(key)
    }
    labels = plain.get("labels")
    if isinstance(labels, list) and (own := [pair for pair in labels if not str(pair[0]).startswith(LABEL_PREFIX)]):
        found["labels"] = own
    return found


_DEFAULTS = to_plain(ContainerSpec())

"""What is there of a hosting, by what containers say of themselves; and of others, what could be in the way."""

import contextlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pycontainer.errors import NotFound
from pycontainer.hosting.routes import SiteRoute
from pycontainer.hosting.site import FILE, PORT, REPLICA, SITE, SPEC, Description

if TYPE_CHECKING:
    from pycontainer.client.client import Client
    from pycontainer.client.container import Container
    from pycontainer.client.types import ContainerInfo, TenantInfo

_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Replica:
    """A container of a site. `spec` is its record, as `to_plain` writes it; `address` where the front door finds it."""

    id: str
    name: str
    site: str  # TENANT/SITE
    number: int
    digest: str
    status: str
    spec: Mapping[str, Any] = field(default_factory=dict)
    image_id: str = ""
    address: str = ""
    port: int = 0  # where it is asked, for the domains of its site
    health: str = ""
    exit_code: int | None = None

    @property
    def is_up(self) -> bool:
        return self.status in ("running", "restarting", "paused")

    @property
    def is_well(self) -> bool:
        """Tell whether it answers, as far as anybody asks."""
        return self.status == "running" and self.health in ("", "healthy", "ready")


@dataclass(frozen=True, slots=True)
class Found:
    """What is there. `others` are containers that are not of this hosting, with their names."""

    replicas: tuple[Replica, ...] = ()
    tenants: Mapping[str, "TenantInfo"] = field(default_factory=dict)
    images: Mapping[str, str] = field(default_factory=dict)  # name: id
    volumes: Mapping[str, int | None] = field(default_factory=dict)  # name: size in bytes
    networks: frozenset[str] = frozenset()
    others: Mapping[str, "ContainerInfo"] = field(default_factory=dict)
    routes: Mapping[str, SiteRoute] = field(default_factory=dict)  # of the front door, by site


def look(client: "Client", wanted: Description, routes: Iterable[SiteRoute] = ()) -> Found:
    """Return what there is. Volumes are looked at where the file has some: their use is counted for each."""
    infos = client.list_containers(all=True)
    mine = {info["id"] for info in infos if _is_of(info, wanted.name)}
    ours = client.containers(all=True, filters={"label": f"{FILE}={wanted.name}"})
    has_volumes = any(site.volumes for site in wanted.sites)
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        replicas = [replica for replica in threads.map(_replica, ours) if replica and replica.id in mine]
    return Found(
        tuple(sorted(replicas, key=lambda replica: (replica.site, replica.number))),
        {tenant["name"]: tenant for tenant in client.list_tenants()},
        _images(client, {site.spec.image for site in wanted.sites}),
        {volume["name"]: volume["size_bytes"] for volume in client.list_volumes()} if has_volumes else {},
        frozenset(network["name"] for network in client.list_networks()),
        {info["name"]: info for info in infos if info["id"] not in mine},
        {route.name: route for route in routes},
    )


def _is_of(info: "ContainerInfo", hosting: str) -> bool:
    """Tell whether a container is of a hosting: one that says it is of another tenant's site says what anybody could."""
    labels = info["labels"]
    return labels.get(FILE) == hosting and labels.get(SITE, "").partition("/")[0] == info["tenant"]


def _images(client: "Client", wanted: Iterable[str]) -> dict[str, str]:
    """Return the ids of images by name, also by other names that mean one, such as an id."""
    found = {image["name"]: image["id"] for image in client.list_images()}
    for name in wanted:
        if name and name not in found:
            with contextlib.suppress(NotFound):
                found[name] = client.image(name).info["id"]
    return found


def _replica(container: "Container") -> Replica | None:
    try:
        record = container.inspect()
    except NotFound:  # it went just now
        return None
    labels = record["labels"]
    return Replica(
        container.id,
        record["name"],
        labels.get(SITE, ""),
        _number(labels.get(REPLICA, "")),
        labels.get(SPEC, ""),
        record["status"],
        record["spec"],
        record["image_id"],
        address_of(record),
        _number(labels.get(PORT, "")),
        record["health"],
        record["exit_code"],
    )


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 0


def address_of(info: Mapping[str, Any]) -> str:
    """Return the address of a container on its first network, IPv4 before IPv6; empty without one."""
    for network in info["networks"].values():
        if address := network.get("ip") or network.get("ip6"):
            return str(address)
    return ""

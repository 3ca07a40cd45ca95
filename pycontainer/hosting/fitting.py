"""Which replicas of a site are sent requests now: of those that were wanted, who is there and well."""

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pycontainer.hosting.routes import SiteRoute

if TYPE_CHECKING:
    from pycontainer.client.types import ContainerInfo

SITE_LABEL = "hosting.site"  # TENANT/SITE
_WELL = ("", "ready", "healthy")  # nobody asks; it said so; it was found so


def fit(
    routes: Iterable[SiteRoute], containers: "Iterable[ContainerInfo]", subnets: Iterable[str]
) -> tuple[SiteRoute, ...]:
    """Return the routes with the backends that can answer. `subnets` are those of our networks.

    An address of ours is sent requests only while it is that of a container of the very site that runs and is well: once a
    container is removed its address may be another tenant's. An address of others is theirs to answer for, and stays.
    """
    homes = {address: _site(info) for info in containers if is_well(info) for address in _ips(info)}
    ours = [ipaddress.ip_network(subnet) for subnet in subnets if subnet]

    def stays(ip: str, site: str) -> bool:
        address = ipaddress.ip_address(ip)
        return homes.get(ip) == site if any(address in subnet for subnet in ours) else True

    return tuple(
        replace(route, backends=tuple(backend for backend in route.backends if stays(backend.ip, route.name)))
        for route in routes
    )


def is_well(info: "ContainerInfo") -> bool:
    """Tell whether a container runs and nothing is known against it. One that is still starting is not well yet."""
    return info["status"] == "running" and info["health"] in _WELL


def _site(info: "ContainerInfo") -> str:
    """Return the site of a container, if it is its own tenant's: labels are for their owners to give."""
    site = info["labels"].get(SITE_LABEL, "")
    return site if site.partition("/")[0] == info["tenant"] else ""


def left_out(wanted: Sequence[SiteRoute], fitted: Sequence[SiteRoute]) -> dict[str, int]:
    """Return how many replicas of each site are not sent requests, for those with any."""
    missing = {one.name: len(one.backends) - len(other.backends) for one, other in zip(wanted, fitted, strict=True)}
    return {name: count for name, count in missing.items() if count}


def _ips(info: "ContainerInfo") -> list[str]:
    """Return the addresses of a container in their one form."""
    found = [ip for address in info["networks"].values() for ip in (address["ip"], address["ip6"])]
    return [str(ipaddress.ip_address(ip)) for ip in found if ip]

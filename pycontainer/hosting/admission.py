"""Whether a host can take what a file describes: what is missing, what belongs to others, what is too much. Pure.

What is found here is told with the places of the file, before anything changes. The supervisor judges each step again, and
its word counts.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pycontainer.errors import did_you_mean
from pycontainer.hosting.capacity import excess
from pycontainer.hosting.found import Found
from pycontainer.hosting.site import FILE, SITE, Description, Site, Tenant
from pycontainer.spec.capacity import RESOURCES, Amounts, amounts, beside, of_pool
from pycontainer.spec.model import ContainerSpec
from pycontainer.spec.problems import Problem
from pycontainer.spec.validate import addresses_overlap

if TYPE_CHECKING:
    from pycontainer.client.types import Capacity, ContainerInfo

_MADE_ON_USE = ("default", "host", "none")  # networks


def obstacles(wanted: Description, found: Found) -> list[Problem]:
    """Return what is in the way of what is wanted."""
    names = _bases(found.others)
    domains = {domain: name for name, route in foreign_routes(found).items() for domain in route.domains}
    problems = []
    for tenant in wanted.tenants:
        there = found.tenants.get(tenant.name)
        if there and there["damaged"]:
            problems.append(Problem(f"tenants.{tenant.name}", there["damaged"], "repair or remove it first"))
        for site in tenant.sites:
            path = f"tenants.{tenant.name}.sites.{site.name}"
            problems += _files(site, path, found)
            problems += _claims(site, path, found.others, names, domains)
    return problems


def foreign_routes(found: Found) -> "Mapping[str, Any]":
    """Return the routes of the front door that belong to other files: those of sites that have containers."""
    theirs = {info["labels"].get(SITE): info["tenant"] for info in found.others.values() if info["labels"].get(FILE)}
    return {name: route for name, route in found.routes.items() if theirs.get(name) == name.partition("/")[0]}


def _files(site: Site, path: str, found: Found) -> Iterator[Problem]:
    spec = site.spec
    if spec.image and spec.image not in found.images:
        guess = did_you_mean(spec.image, found.images)
        yield Problem(
            f"{path}.image", f"no image '{spec.image}'{guess}", "'pycontainer image list' shows what there is"
        )
    if spec.rootfs and not os.path.isdir(spec.rootfs):
        yield Problem(f"{path}.rootfs", f"'{spec.rootfs}' is not a directory")
    for mount in spec.mounts:
        if mount.type == "bind" and not os.path.exists(mount.source):
            yield Problem(f"{path}.volumes", f"'{mount.source}' is not there", "make it, or name a volume")
    for network in spec.networks:
        if network not in found.networks and network not in _MADE_ON_USE:
            guess = did_you_mean(network, found.networks)
            yield Problem(f"{path}.networks", f"no network '{network}'{guess}", f"pycontainer network create {network}")


def _claims(
    site: Site,
    path: str,
    others: "Mapping[str, ContainerInfo]",
    names: Mapping[str, str],
    domains: Mapping[str, str],
) -> Iterator[Problem]:
    """Yield what of a site's belongs to others on this host already."""
    if taken := names.get(f"{site.tenant}-{site.name}"):
        whose = others[taken]["labels"].get(FILE)
        what = f"of hosting '{whose}'" if whose else "of no hosting"
        yield Problem(
            path, f"there is a container '{taken}' {what}", f"rename the site, or: pycontainer rm --force {taken}"
        )
    for index, domain in enumerate(site.domains):
        if owner := domains.get(domain):
            yield Problem(f"{path}.domains[{index}]", f"domain '{domain}' belongs to site '{owner}' of another hosting")
    for port in site.spec.ports:
        for info in others.values():
            if info["status"] in ("created", "stopped"):
                continue
            if any(
                port.host_port == there["host_port"]
                and port.protocol == there["protocol"]
                and addresses_overlap(port.host_ip, there["host_ip"])
                for there in info["ports"]
                if port.host_port
            ):
                message = f"host port {port.host_port}/{port.protocol} is that of container '{info['name']}' already"
                yield Problem(f"{path}.ports", message, "choose another")


def _bases(others: Iterable[str]) -> dict[str, str]:
    """Return what containers are called before their number, if they end in one, each with a whole name."""
    parts = ((name, *name.rpartition("-")) for name in others)
    return {base: name for name, base, _, number in parts if number.isdecimal()}


# -- capacity --------------------------------------------------------------------------------------------------------


def overcommitment(wanted: Description, found: Found, capacity: "Capacity") -> list[Problem]:
    """Return what would be promised beyond what the host may, of the tenants that bring it in.

    `capacity["admission"]` says whether that is refused, or only told.
    """
    if capacity["admission"] == "off":
        return []
    gone = [*_promised_there(wanted, found)]
    coming: list[Amounts] = []
    told: set[str] = set()
    problems = []
    for tenant in wanted.tenants:
        coming += _promises(tenant)
        for text in excess(capacity, coming, gone):
            if (resource := text.partition(":")[0]) not in told:
                told.add(resource)
                hint = "smaller plans, fewer sites, or a larger ratio in capacity.yaml"
                problems.append(Problem(f"tenants.{tenant.name}", f"more than this host may promise: {text}", hint))
    return problems


def _promises(tenant: Tenant) -> Iterator[Amounts]:
    pool = _of_limits(tenant.pool)
    yield of_pool(pool)
    for site in tenant.sites:
        yield from [beside(amounts(site.spec), pool)] * site.replicas


def _promised_there(wanted: Description, found: Found) -> Iterator[Amounts]:
    """Yield what those that the file speaks of promise now."""
    tenants = {tenant.name for tenant in wanted.tenants}
    pools = {name: _of_limits(info["limits"]) for name, info in found.tenants.items()}
    for name, pool in pools.items():
        if name in tenants:
            yield of_pool(pool)
    for replica in found.replicas:
        own = _of_limits(replica.spec, period_usec=replica.spec.get("cpu_period_usec"))
        yield beside(own, pools.get(str(replica.spec.get("tenant", ""))))


def _of_limits(limits: Mapping[str, Any], *, period_usec: int | None = None) -> Amounts:
    spec = ContainerSpec(pids_max=None)
    names = {resource.attribute for resource in RESOURCES}
    known = {name: limits[name] for name in names if name in limits}
    if period_usec:
        known["cpu_period_usec"] = period_usec
    return amounts(replace(spec, **known))

"""What is in the way of a hosting on a host: what is missing, what others have, what is promised too much."""

from pathlib import Path
from typing import Any

import pytest

from pycontainer.hosting.admission import foreign_routes, obstacles, overcommitment
from pycontainer.hosting.found import Found
from pycontainer.hosting.plans import Plans
from pycontainer.hosting.routes import SiteRoute
from pycontainer.hosting.site import Description
from tests.unit.hosting.test_changes import found, read, replica, tenant_info


@pytest.fixture(scope="module")
def plans(tmp_path_factory: pytest.TempPathFactory) -> Plans:
    return Plans.load(str(tmp_path_factory.mktemp("plans")))


TEXT = """\
tenants:
  acme:
    limits: {memory: 1G}
    sites:
      shop:
        image: busybox
        domains: [a.example]
        ports: ["8080:80"]
"""


def container(
    name: str, *, hosting: str = "", site: str = "", status: str = "running", port: int = 0, tenant: str = ""
) -> Any:
    labels = {"hosting.file": hosting, "hosting.site": site} if hosting else {}
    ports = [{"host_ip": "127.0.0.1", "host_port": port, "container_port": 80, "protocol": "tcp"}] if port else []
    return {
        "name": name,
        "labels": labels,
        "status": status,
        "ports": ports,
        "tenant": tenant or site.partition("/")[0],
    }


def told(wanted: Description, there: Found) -> list[str]:
    return [f"{problem.line_in(wanted.lines)}: {problem.text()}" for problem in obstacles(wanted, there)]


def test_nothing_is_in_the_way(plans: Plans) -> None:
    wanted = read(TEXT, plans)
    others = {name: container(name) for name in ("acme-shop", "shop-0", "acme-shop-x", "acme-shop2-0")}
    others["web"] = container("web", status="stopped", port=8080)
    assert told(wanted, Found(images={"busybox": "1"}, others=others)) == []


def test_what_is_missing(plans: Plans, tmp_path: Path) -> None:
    wanted = read(
        TEXT.replace("busybox", "busibox").replace(
            "ports:", f"networks: [bak]\n        volumes: ['{tmp_path}/x:/x']\n        ports:"
        )
        + f"      other: {{rootfs: {tmp_path}/missing}}\n",
        plans,
    )
    there = Found(images={"busybox": "1"}, networks=frozenset({"back"}))
    site = "tenants.acme.sites.shop"
    assert told(wanted, there) == [
        f"6: {site}.image: no image 'busibox', did you mean 'busybox'?",
        f"9: {site}.volumes: '{tmp_path}/x' is not there",
        f"8: {site}.networks: no network 'bak', did you mean 'back'?",
        f"11: tenants.acme.sites.other.rootfs: '{tmp_path}/missing' is not a directory",
    ]


def test_what_others_have(plans: Plans) -> None:
    wanted = read(TEXT, plans)
    others = {
        "acme-shop-7": container("acme-shop-7", hosting="else", site="acme/shop"),
        "web": container("web", port=8080),
        "blog-x-0": container("blog-x-0", hosting="else", site="blog/x"),
        "liar": container("liar", hosting="else", site="lied/z", tenant="blog"),
    }
    routes = {
        "blog/x": SiteRoute(("a.example",), (), None, None, "blog/x"),
        "lied/z": SiteRoute(("z.example",), (), None, None, "lied/z"),
        "gone/y": SiteRoute(("y.example",), (), None, None, "gone/y"),
    }
    there = Found(images={"busybox": "1"}, others=others, routes=routes)
    site = "tenants.acme.sites.shop"
    assert told(wanted, there) == [
        f"5: {site}: there is a container 'acme-shop-7' of hosting 'else'",
        f"7: {site}.domains[0]: domain 'a.example' belongs to site 'blog/x' of another hosting",
        f"8: {site}.ports: host port 8080/tcp is that of container 'web' already",
    ]
    assert [*foreign_routes(there)] == ["blog/x"]  # a site without containers has no route, nor has a lie


def test_a_damaged_tenant(plans: Plans) -> None:
    wanted = read(TEXT, plans)
    info = tenant_info("acme", {}) | {"damaged": "its record cannot be read"}
    assert told(wanted, Found(images={"busybox": "1"}, tenants={"acme": info})) == [
        "2: tenants.acme: its record cannot be read"
    ]


def capacity(admission: str, promised: int, physical: int) -> Any:
    keys = ("memory", "cpus", "pids", "disk", "net_in", "net_out")
    rows: list[dict[str, Any]] = [
        {"resource": key, "promised": 0, "uncapped": 0, "physical": None, "ratio": None} for key in keys
    ]
    rows[0] |= {"promised": promised, "physical": physical, "ratio": 1.0}
    return {"admission": admission, "resources": rows}


def test_more_than_the_host_may_promise(plans: Plans) -> None:
    """The tenant that goes beyond is named; what is promised already and goes makes room."""
    more = "  blog: {limits: {memory: 2G}, sites: {b: {image: busybox, replicas: 9}}}\n  c: {sites: {d: {image: busybox}}}\n"
    wanted = read(TEXT + more, plans)
    gib = 1 << 30
    assert overcommitment(wanted, Found(), capacity("off", 0, gib)) == []
    assert overcommitment(wanted, Found(), capacity("refuse", 0, 4 * gib)) == []
    (problem,) = overcommitment(wanted, Found(), capacity("refuse", 0, 2 * gib))
    assert problem.line_in(wanted.lines) == 9
    assert problem.text().startswith(
        "tenants.blog: more than this host may promise: memory: 3GiB would be promised of 2GiB"
    )
    (problem,) = overcommitment(wanted, Found(), capacity("refuse", 0, 3 * gib))  # the pools fit, c has none
    assert problem.field == "tenants.c"
    there = found(wanted, *(replica(site, 0) for site in wanted.sites))
    assert overcommitment(wanted, there, capacity("refuse", 3 * gib + (128 << 20), 2 * gib)) == []  # nothing is raised

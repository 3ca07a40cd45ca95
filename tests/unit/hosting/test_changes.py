"""What has to change: of what is wanted and what is there, in which order, and in which words."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pycontainer.hosting.changes import Action, Changes, changes, removal
from pycontainer.hosting.description import load_text
from pycontainer.hosting.found import Found, Replica
from pycontainer.hosting.plans import Plans
from pycontainer.hosting.routes import SiteRoute
from pycontainer.hosting.site import Description, Site
from pycontainer.spec.parse import from_plain, to_plain

BASE = """\
tenants:
  acme:
    limits: {memory: 1G}
    sites:
      shop: {image: busybox, replicas: 2, domains: [a.example], limits: {memory: 64M}}
"""


@pytest.fixture(scope="module")
def plans(tmp_path_factory: pytest.TempPathFactory) -> Plans:
    return Plans.load(str(tmp_path_factory.mktemp("plans")))


def read(text: str, plans: Plans) -> Description:
    return load_text(text, source="h.yaml", base_dir="/base", plans=plans)


def tenant_info(name: str, limits: Mapping[str, Any], containers: Mapping[str, str] | None = None) -> Any:
    return {
        "name": name, "limits": dict(limits), "transfer": None, "containers": dict(containers or {}), "damaged": "",
    }  # fmt: skip


def replica(site: Site, number: int, **differs: Any) -> Replica:
    """Return a container as `up` would have made it, but for `differs`."""
    plain = from_plain(to_plain(site.spec))  # as JSON has it
    fields: dict[str, Any] = {
        "id": f"{site.path}#{number}",
        "name": f"{site.tenant}-{site.name}-{number}",
        "site": site.path,
        "number": number,
        "digest": site.digest,
        "status": "running",
        "spec": to_plain(plain),
        "image_id": "sha256:1",
        "address": f"10.0.0.{number}",
        "port": site.port,
        "health": "healthy",
    }
    return Replica(**{**fields, **differs})


def found(wanted: Description, *replicas: Replica, **differs: Any) -> Found:
    """Return a host on which all tenants of a file are, and these containers."""
    fields: dict[str, Any] = {
        "replicas": replicas,
        "tenants": {tenant.name: tenant_info(tenant.name, tenant.pool) for tenant in wanted.tenants},
        "images": {"busybox": "sha256:1"},
        "volumes": {name: size for site in wanted.sites for name, size in site.volumes.items()},
        "routes": {
            site.path: SiteRoute(site.domains, (), site.certificate, site.key, site.path)
            for site in wanted.sites
            if site.domains
        },
    }
    return Found(**{**fields, **differs})


def test_nothing_is_there(plans: Plans) -> None:
    wanted = read(BASE, plans)
    todo = changes(wanted, Found())
    assert [(each.name, each.action, each.limits) for each in todo.tenants] == [
        ("acme", Action.CREATE, {"memory": "1G"})
    ]
    (change,) = todo.sites
    assert (change.path, change.action, change.missing, change.is_route_new) == ("acme/shop", Action.CREATE, 2, True)
    assert todo.lines() == ["+ tenant acme: memory 1G", "+ site acme/shop: 2 replicas of busybox, a.example"]
    assert todo and not todo.removed


def test_all_is_there(plans: Plans) -> None:
    wanted = read(BASE, plans)
    (site,) = wanted.sites
    todo = changes(wanted, found(wanted, replica(site, 0), replica(site, 1)))
    assert todo == Changes() and not todo


def only(todo: Changes) -> Any:
    (change,) = todo.sites
    assert not todo.tenants and not todo.empty_tenants
    return change


def test_limits_alone_are_set(plans: Plans) -> None:
    before = read(BASE, plans)
    (site,) = before.sites
    after = read(BASE.replace("memory: 64M}", "memory: 96M, memory_high: 90M, ulimits: {nofile: 100}}"), plans)
    there = found(before, replica(site, 0), replica(site, 1))
    change = only(changes(after, there))
    assert (change.missing, change.outdated, change.surplus) == (0, (), ())
    assert [each.values for each in change.settings] == [
        {"memory": "96M", "memory_high": "90M", "ulimits": {"nofile": 100}}
    ] * 2
    line = "~ site acme/shop: memory 96M; memory_high 90M; ulimits {nofile: 100}"
    assert changes(after, there).lines() == [line]


def test_limits_that_are_left_out_go_back(plans: Plans) -> None:
    more = "memory: 64M, memory_high: 60M, io_weight: 50"
    before = read(BASE.replace("memory: 64M}", f"{more}}}, boot_order: 5, snapshots: {{every: 1d, keep: 2}}"), plans)
    (site,) = before.sites
    after = read(BASE, plans)
    values = {"memory_high": "unlimited", "boot_order": "none", "io_weight": "default", "snapshots": "none"}
    without_weight = replica(site, 0, spec={**replica(site, 0).spec, "io_weight": None})
    change = only(changes(after, found(before, without_weight, replica(site, 1))))
    assert [each.values for each in change.settings] == [
        {key: word for key, word in values.items() if key != "io_weight"},
        values,
    ]
    assert change.outdated == ()


def test_pairs_that_are_left_out_need_a_new_container(plans: Plans) -> None:
    before = read(BASE.replace("memory: 64M}", "memory: 64M, ulimits: {nofile: 100, core: 0}}"), plans)
    (site,) = before.sites
    after = read(BASE.replace("memory: 64M}", "memory: 64M, ulimits: {nofile: 100}}"), plans)
    change = only(changes(after, found(before, replica(site, 0), replica(site, 1))))
    assert (change.missing, len(change.outdated), change.differs) == (2, 2, ("ulimits",))


def test_another_check_is_set(plans: Plans) -> None:
    before = read(BASE, plans)
    after = read(BASE.replace("replicas: 2", "replicas: 2, health_http: 80/well"), plans)
    (site,) = before.sites
    change = only(changes(after, found(before, replica(site, 0), replica(site, 1))))
    assert change.settings[0].values["health_http"] == "80/well" and "health_tcp" not in change.settings[0].values


@pytest.mark.parametrize(
    ("old", "new", "differs", "how"),
    [
        ("replicas: 2", "replicas: 2, env: {A: 1}", ("env",), "one after the other"),
        ("replicas: 2", "replicas: 2, env: {A: 1}, update: recreate", ("env",), "with a gap"),
        ("image: busybox", "rootfs: /srv", ("image", "rootfs"), "one after the other"),
        ("replicas: 2", "replicas: 2, port: 81", ("port",), "one after the other"),
    ],
)
def test_what_set_cannot_change_is_made_anew(
    old: str, new: str, differs: tuple[str, ...], how: str, plans: Plans
) -> None:
    before, after = read(BASE, plans), read(BASE.replace(old, new), plans)
    (site,) = before.sites
    there = found(before, replica(site, 0), replica(site, 1))
    change = only(changes(after, there))
    assert (change.kept, change.missing, change.outdated) == ((), 2, (replica(site, 0), replica(site, 1)))
    assert change.differs == differs
    assert f"{how}" in changes(after, there).lines()[0]


def test_another_image_of_the_same_name(plans: Plans) -> None:
    wanted = read(BASE, plans)
    (site,) = wanted.sites
    old, new = replica(site, 0, image_id="sha256:0"), replica(site, 1)
    change = only(changes(wanted, found(wanted, old, new)))
    assert (change.kept, change.outdated, change.differs) == ((new,), (old,), ("image content",))


def test_more_and_less(plans: Plans) -> None:
    wanted = read(BASE, plans)
    (site,) = wanted.sites
    assert only(changes(wanted, found(wanted, replica(site, 3)))).missing == 1
    three = [replica(site, 0, status="stopped", exit_code=1), replica(site, 1), replica(site, 2)]
    change = only(changes(wanted, found(wanted, *three)))
    assert change.surplus == (three[0],) and change.kept == (three[1], three[2])  # those stay that work
    assert changes(wanted, found(wanted, *three)).lines() == ["~ site acme/shop: 1 container less"]


@pytest.mark.parametrize(
    ("restart", "status", "exit_code", "starts"),
    [
        ("always", "created", None, True),  # cut off between its creation and its start
        ("always", "stopped", 0, True),
        ("on-failure", "stopped", 1, True),
        ("on-failure", "stopped", 0, False),  # it has done its work
        ("no", "created", None, True),
        ("always", "paused", None, False),  # somebody holds it still
        ("always", "restarting", 1, False),
    ],
)
def test_what_has_to_start(restart: str, status: str, exit_code: int | None, starts: bool, plans: Plans) -> None:
    wanted = read(BASE.replace("replicas: 2", f"replicas: 1, restart: '{restart}'"), plans)
    (site,) = wanted.sites
    there = replica(site, 0, status=status, exit_code=exit_code)
    todo = changes(wanted, found(wanted, there))
    assert [each for change in todo.sites for each in change.stopped] == ([there] if starts else [])


def test_after_a_rolling_update_was_cut_off(plans: Plans) -> None:
    """Two new ones are there and an old one: nothing is made, the old one goes."""
    wanted = read(BASE, plans)
    (site,) = wanted.sites
    old = replica(site, 1, digest="0" * 64)
    change = only(changes(wanted, found(wanted, replica(site, 0), old, replica(site, 2))))
    assert (change.missing, change.outdated, [each.number for each in change.kept]) == (0, (old,), [0, 2])


def test_sites_and_tenants_that_go(plans: Plans) -> None:
    before = read(BASE + "      old: {image: busybox}\n  gone: {sites: {x: {image: busybox}}}\n", plans)
    after = read(BASE, plans)
    shop, old, gone = before.sites
    there = [replica(shop, 0), replica(shop, 1), replica(old, 0), replica(gone, 0)]
    tenants = {
        "acme": tenant_info("acme", {"memory_bytes": 1 << 30}, {there[2].id: ""}),
        "gone": tenant_info("gone", {}, {there[3].id: ""}),
    }
    todo = changes(after, found(before, *there, tenants=tenants))
    assert todo.removed == ["acme/old", "gone/x"]
    assert [each.name for each in todo.empty_tenants] == ["gone"]
    assert todo.lines() == ["- tenant gone", "- site acme/old: 1 container", "- site gone/x: 1 container"]
    tenants["gone"]["containers"]["another"] = "by hand"
    assert changes(after, found(before, *there, tenants=tenants)).empty_tenants == ()


def test_tenants_change(plans: Plans) -> None:
    wanted = read(BASE.replace("{memory: 1G}", "{memory: 1G, cpus: 2}"), plans)
    (site,) = wanted.sites
    tenants = {"acme": tenant_info("acme", {"memory_bytes": 1 << 29, "cpu_quota_usec": 200_000, "disk_bytes": 5})}
    todo = changes(wanted, found(wanted, replica(site, 0), replica(site, 1), tenants=tenants))
    assert [(each.action, each.limits) for each in todo.tenants] == [
        (Action.CHANGE, {"memory": "1G", "disk": "unlimited"})
    ]
    assert not todo.sites and todo.lines() == ["~ tenant acme: memory 1G, disk unlimited"]


def test_domains_and_certificates_change_nothing_but_the_front_door(plans: Plans) -> None:
    before = read(BASE, plans)
    (site,) = before.sites
    there = [replica(site, 0), replica(site, 1)]
    other = read(BASE.replace("[a.example]", "[b.example]"), plans)
    change = only(changes(other, found(before, *there)))
    assert change.is_route_new and not change.missing and not change.outdated
    assert changes(other, found(before, *there)).lines() == ["~ site acme/shop: served as b.example"]
    route = SiteRoute(("a.example",), (), Path("/c"), Path("/k"), "acme/shop")
    assert only(changes(before, found(before, *there, routes={"acme/shop": route}))).is_route_new


def test_volumes_are_made_before_and_grow(plans: Plans) -> None:
    text = BASE.replace("    sites", "    volumes: {d: 2G}\n    sites").replace(
        "replicas", "volumes: ['d:/d'], replicas"
    )
    wanted = read(text, plans)
    (site,) = wanted.sites
    there = [replica(site, 0), replica(site, 1)]
    assert only(changes(wanted, found(wanted, *there, volumes={}))).volumes == {"acme.d": 2 << 30}
    assert only(changes(wanted, found(wanted, *there, volumes={"acme.d": 1 << 30}))).volumes == {"acme.d": 2 << 30}
    assert not changes(wanted, found(wanted, *there))


def test_all_goes(plans: Plans) -> None:
    wanted = read(BASE, plans)
    (site,) = wanted.sites
    there = [replica(site, 0), replica(site, 1)]
    tenants = {"acme": tenant_info("acme", {}, {each.id: "" for each in there}), "other": tenant_info("other", {})}
    todo = removal(wanted, found(wanted, *there, tenants=tenants))
    assert todo.removed == ["acme/shop"] and [each.name for each in todo.empty_tenants] == ["acme"]
    tenants["acme"]["containers"]["foreign"] = "x"
    assert removal(wanted, found(wanted, *there, tenants=tenants)).empty_tenants == ()
    assert not removal(wanted, Found())


@pytest.mark.parametrize(
    ("text", "change"),
    [
        ("max_containers: 5, transfer: 1T, transfer_action: 'slow:1mbit'", None),
        ("max_containers: 5, transfer: 2T, transfer_action: 'slow:1mbit'", {"transfer": "2T"}),
        ("max_containers: 6, transfer: 1T", {"max_containers": 6, "transfer_action": "warn"}),
        ("transfer: 1T, transfer_action: stop", {"max_containers": "unlimited", "transfer_action": "stop"}),
        ("", {"max_containers": "unlimited", "transfer": "unlimited", "transfer_action": "warn"}),
    ],
)
def test_what_a_tenant_has_beside_its_limits(text: str, change: dict[str, object] | None, plans: Plans) -> None:
    wanted = read(BASE.replace("{memory: 1G}", f"{{memory: 1G, {text}}}"), plans)
    (site,) = wanted.sites
    info = tenant_info("acme", {"memory_bytes": 1 << 30, "max_containers": 5})
    info["transfer"] = {"allowance_bytes": 1 << 40, "action": "slow:1mbit"}
    todo = changes(wanted, found(wanted, replica(site, 0), replica(site, 1), tenants={"acme": info}))
    assert [each.limits for each in todo.tenants] == ([] if change is None else [change])

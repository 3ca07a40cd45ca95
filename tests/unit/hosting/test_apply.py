"""Doing what has to change, on a host of plain objects: order, cut offs, failures, and who answers meanwhile."""

import itertools
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from pycontainer.errors import AlreadyExists, InvalidInput, InvalidState, NotFound, PycontainerError, StartFailed
from pycontainer.hosting import rollout
from pycontainer.hosting.apply import Progress
from pycontainer.hosting.hosting import Hosting
from pycontainer.hosting.routes import SiteRoute
from pycontainer.paths import HostPaths
from pycontainer.spec.parse import parse_pool, parse_spec, to_plain


class Killed(BaseException):
    """What no code of ours survives."""


class FakeContainer:
    """What `Container` does, as far as hosting asks."""

    def __init__(self, host: "FakeHost", container_id: str, plain: Mapping[str, Any]) -> None:
        self.host, self.id, self.spec = host, container_id, parse_spec(dict(plain))
        self.status, self.address = "created", f"10.0.{host.serial // 250}.{host.serial % 250 + 1}"
        self.env = dict(self.spec.env)
        self.looks = 0
        self.warnings = ("it is old",) if "OLD" in self.env else ()

    @property
    def info(self) -> dict[str, Any]:
        health = ""
        if self.status == "running" and (self.spec.health_tcp or self.spec.health_http):
            is_starting = self.looks < int(self.env.get("SLOW", "0"))
            health = "unhealthy" if "ILL" in self.env else "starting" if is_starting else "healthy"
        return {
            "id": self.id,
            "name": self.spec.name,
            "labels": dict(self.spec.labels),
            "tenant": self.spec.tenant,
            "status": self.status,
            "health": health,
            "ports": [],
            "networks": {"default": {"ip": self.address, "ip6": ""}},
            "restart": self.spec.restart.name,
            "restart_count": 0,
            "exit_code": None,
            "warnings": [],
        }

    def inspect(self) -> dict[str, Any]:
        self._is_there()
        self.looks += 1
        return {**self.info, "spec": to_plain(self.spec), "image_id": self.host.images.get(self.spec.image, "")}

    def start(self, *, remove_on_failure: bool = False) -> dict[str, Any]:
        self.host.step(f"start {self.spec.name}")
        self._is_there()
        if "BROKEN" in self.env:
            if remove_on_failure:
                del self.host.there[self.id]
            raise StartFailed(f"cannot start container '{self.spec.name}'")
        self.status = "running"
        return self.info

    def stop(self) -> None:
        self.host.step(f"stop {self.spec.name}")
        self._is_there()
        assert self.address not in self.host.door.addresses(), "stopped while requests go to it"
        self.status = "stopped"

    def remove(self, *, force: bool = False) -> None:
        self.host.step(f"remove {self.spec.name}")
        self._is_there()
        del self.host.there[self.id]

    def set(self, **values: Any) -> dict[str, Any]:
        self.host.step(f"set {self.spec.name}")
        changed = parse_spec({"image": "x", **values})
        plain = {**to_plain(self.spec)}
        for attribute, value in to_plain(changed).items():
            if attribute in ("memory_bytes", "cpu_quota_usec") and value is not None:
                plain[attribute] = value
        from pycontainer.spec.parse import from_plain

        self.spec = from_plain(plain)
        return {"warnings": [f"{self.spec.name} has less now"]}

    def logs(self, tail: int) -> Sequence[Any]:
        return []

    def _is_there(self) -> None:
        if self.id not in self.host.there:
            raise NotFound("no container")


class FakeDoor:
    """A front door that refuses to send requests where nobody answers."""

    def __init__(self) -> None:
        self.served: tuple[SiteRoute, ...] = ()
        self.history: list[dict[str, list[str]]] = []
        self.host: FakeHost | None = None
        self.trouble: PycontainerError | None = None

    def start(self) -> bool:
        if self.trouble:
            raise self.trouble
        return False

    def routes(self) -> Sequence[SiteRoute]:
        return self.served

    def addresses(self) -> set[str]:
        return {backend.ip for route in self.served for backend in route.backends}

    def apply(self, routes: Sequence[SiteRoute]) -> None:
        assert self.host is not None
        running = {each.address for each in [*self.host.there.values()] if each.status == "running"}
        assert {backend.ip for route in routes for backend in route.backends} <= running
        starting = {each.address for each in [*self.host.there.values()] if each.info["health"] == "starting"}
        for route in routes:
            asked = [backend.ip in starting for backend in route.backends]
            assert not any(asked) or all(asked), "requests go to one that has not said it is well, while others are"
        self.served = tuple(routes)
        names = {each.address: each.spec.name for each in [*self.host.there.values()]}
        self.history.append({route.name: [names[each.ip] for each in route.backends] for route in routes})


class FakeHost:
    """What `Client` does, as far as hosting asks. `killed_at` is the step at which a kill comes."""

    def __init__(self, root: Path) -> None:
        self.paths = HostPaths(str(root))
        self.there: dict[str, FakeContainer] = {}
        self.pools: dict[str, dict[str, Any]] = {}
        self.volumes: dict[str, int | None] = {}
        self.images = {"busybox": "sha256:1"}
        self.door = FakeDoor()
        self.door.host = self
        self.steps: list[str] = []
        self.killed_at: int | None = None
        self.serial = 0
        self._lock = threading.Lock()

    def step(self, what: str) -> None:
        """Note a step that changes something; die there if that is wanted."""
        with self._lock:
            if self.killed_at is not None and len(self.steps) >= self.killed_at:
                raise Killed
            self.steps.append(what)

    def create_from(self, plain: Mapping[str, Any]) -> FakeContainer:
        self.step(f"create {plain['name']}")
        with self._lock:
            if any(each.spec.name == plain["name"] for each in [*self.there.values()]):
                raise AlreadyExists(f"the name '{plain['name']}' is taken")
            self.serial += 1
            container = FakeContainer(self, f"id{self.serial}", plain)
            self.there[container.id] = container
        if container.spec.tenant not in self.pools:
            raise NotFound(f"no tenant '{container.spec.tenant}'")
        return container

    def container(self, container_id: str) -> FakeContainer:
        if container_id not in self.there:
            raise NotFound("no container")
        return self.there[container_id]

    def containers(self, *, all: bool, filters: Mapping[str, str]) -> list[FakeContainer]:
        key, _, value = filters["label"].partition("=")
        return [each for each in [*self.there.values()] if dict(each.spec.labels).get(key) == value]

    def list_containers(self, *, all: bool) -> list[dict[str, Any]]:
        return [each.info for each in [*self.there.values()]]

    def list_tenants(self) -> list[dict[str, Any]]:
        return [
            {
                "name": name,
                "limits": limits,
                "transfer": None,
                "damaged": "",
                "containers": {each.id: "" for each in [*self.there.values()] if each.spec.tenant == name},
            }
            for name, limits in self.pools.items()
        ]

    def create_tenant(self, name: str, **limits: Any) -> None:
        self.step(f"create tenant {name}")
        if name == "bad":
            raise InvalidState("tenant 'bad' is more than this host may promise")
        self.pools[name] = parse_pool(limits)[0]

    def tenant(self, name: str) -> Any:
        host = self

        class Handle:
            def set(self, **limits: Any) -> None:
                host.step(f"set tenant {name}")
                host.pools[name] |= parse_pool(limits)[0]

            def remove(self) -> None:
                host.step(f"remove tenant {name}")
                assert not any(each.spec.tenant == name for each in host.there.values())
                del host.pools[name]

        return Handle()

    def list_images(self) -> list[dict[str, Any]]:
        return [{"name": name, "id": image_id} for name, image_id in self.images.items()]

    def image(self, name: str) -> Any:
        raise NotFound("no image")

    def list_networks(self) -> list[dict[str, Any]]:
        return []

    def list_volumes(self) -> list[dict[str, Any]]:
        return [{"name": name, "size_bytes": size} for name, size in self.volumes.items()]

    def create_volume(self, name: str, *, size: str) -> None:
        self.step(f"create volume {name}")
        self.volumes[name] = int(size)

    def remove_volume(self, name: str) -> None:
        del self.volumes[name]

    def capacity(self, seconds: float) -> dict[str, Any]:
        return {"admission": "off", "resources": []}


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    monkeypatch.setattr(rollout, "_SETTLED_SECONDS", 0.0)
    monkeypatch.setattr(rollout, "wait_until_drained", lambda *_: True)
    return FakeHost(tmp_path)


Sites = Mapping[str, Mapping[str, object]]


def hosting(host: FakeHost, **tenants: Sites) -> Hosting:
    """Return a hosting of these tenants, each with its sites."""
    data = {"hosting": "test", "tenants": {name: {"sites": sites} for name, sites in tenants.items()}}
    client: Any = host
    return Hosting.of(data, client, door=host.door, check_certificate=lambda *_: [])


def site(**settings: object) -> dict[str, object]:
    return {"image": "busybox", **settings}


def names(host: FakeHost) -> list[str]:
    return sorted(each.spec.name for each in host.there.values() if each.status == "running")


def test_up_and_up_again(host: FakeHost) -> None:
    wanted = {"shop": site(domains=["a.example"], replicas=2), "worker": site()}
    outcome = hosting(host, acme=wanted).up()
    assert sorted(outcome.done) == ["site acme/shop", "site acme/worker", "tenant acme"] and not outcome.failed
    assert names(host) == ["acme-shop-0", "acme-shop-1", "acme-worker-0"]
    assert host.door.history[-1] == {"acme/shop": ["acme-shop-0", "acme-shop-1"]}
    labels = dict(next(each for each in host.there.values() if each.spec.name == "acme-shop-1").spec.labels)
    assert {key: labels[key] for key in ("hosting.file", "hosting.site", "hosting.replica", "hosting.port")} == {
        "hosting.file": "test",
        "hosting.site": "acme/shop",
        "hosting.replica": "1",
        "hosting.port": "80",
    }
    host.steps.clear()
    count = len(host.door.history)
    again = hosting(host, acme=wanted)
    assert not again.diff() and again.up().done == []
    assert host.steps == [] and len(host.door.history) == count


def test_progress_is_told(host: FakeHost) -> None:
    news: list[Progress] = []
    hosting(host, acme={"shop": site(domains=["a.example"]), "ill": site(env={"BROKEN": "1"})}).up(
        on_progress=news.append
    )
    finished = {each.subject: each for each in news if each.is_finished}
    assert finished.keys() == {"tenant acme", "site acme/shop", "site acme/ill"}
    assert finished["site acme/ill"].error and not finished["site acme/shop"].error
    assert news[-1].done == news[-1].total == 3
    assert "making replica 0" in {each.step for each in news if each.subject == "site acme/shop"}


def test_a_failing_site_does_not_stop_the_others(host: FakeHost) -> None:
    sites = {f"s{number}": site(domains=[f"{number}.example"]) for number in range(30)}
    sites["s7"]["env"], sites["s9"]["env"] = {"BROKEN": "1"}, {"ILL": "1"}
    outcome = hosting(host, acme=sites).up()
    assert sorted((subject, error.message) for subject, error in outcome.failed) == [
        ("site acme/s7", "cannot start container 'acme-s7-0'"),
        ("site acme/s9", "container 'acme-s9-0' is unhealthy"),
    ]
    assert len(outcome.done) == 29 and len(host.door.served) == 28
    again = hosting(host, acme=sites)
    assert again.diff().lines() == [
        "~ site acme/s7: 1 container started; served as 7.example",
        "~ site acme/s9: 1 container not healthy; served as 9.example",
    ]
    assert [subject for subject, _ in again.up().failed] == ["site acme/s7", "site acme/s9"]


def test_sites_of_a_tenant_that_cannot_be_made(host: FakeHost) -> None:
    outcome = hosting(host, bad={"a": site()}, good={"b": site()}).up()
    assert [subject for subject, _ in outcome.failed] == ["tenant bad", "site bad/a"]
    assert names(host) == ["good-b-0"]


def test_a_rolling_update_has_all_replicas_at_each_moment(host: FakeHost) -> None:
    hosting(host, acme={"shop": site(domains=["a.example"], replicas=3)}).up()
    host.door.history.clear()
    host.steps.clear()
    outcome = hosting(host, acme={"shop": site(domains=["a.example"], replicas=3, env={"V": "2"})}).up()
    assert not outcome.failed
    assert all(len(served["acme/shop"]) >= 3 for served in host.door.history)
    assert {each.env.get("V") for each in host.there.values()} == {"2"} and len(host.there) == 3
    assert host.steps[:5] == [
        "create acme-shop-3", "start acme-shop-3", "stop acme-shop-0", "remove acme-shop-0", "create acme-shop-0",
    ]  # fmt: skip


def test_an_update_that_does_not_become_healthy_leaves_the_old_ones(host: FakeHost) -> None:
    hosting(host, acme={"shop": site(domains=["a.example"], replicas=2)}).up()
    for trouble in ("ILL", "BROKEN"):
        outcome = hosting(host, acme={"shop": site(domains=["a.example"], replicas=2, env={trouble: "1"})}).up()
        assert [subject for subject, _ in outcome.failed] == ["site acme/shop"]
        assert names(host) == ["acme-shop-0", "acme-shop-1"] and len(host.there) == 2
        assert [len(route.backends) for route in host.door.served] == [2]


def test_what_cannot_be_twice_goes_before_it_comes(host: FakeHost) -> None:
    settings = {"domains": ["a.example"], "volumes": ["data:/data"]}
    hosting(host, acme={"db": site(**settings)}).up()
    host.steps.clear()
    assert not hosting(host, acme={"db": site(**settings, env={"V": "2"})}).up().failed
    assert host.steps == ["stop acme-db-0", "remove acme-db-0", "create acme-db-0", "start acme-db-0"]
    assert [*host.volumes] == ["acme.data"] and host.volumes["acme.data"] == 1 << 30


def test_limits_are_set_in_place(host: FakeHost) -> None:
    hosting(host, acme={"shop": site(limits={"memory": "64M"})}).up()
    host.steps.clear()
    outcome = hosting(host, acme={"shop": site(limits={"memory": "96M"})}).up()
    assert host.steps == ["set acme-shop-0"] and outcome.warnings == ["site acme/shop: acme-shop-0 has less now"]
    assert not hosting(host, acme={"shop": site(limits={"memory": "96M"})}).diff()


def test_without_a_front_door_nothing_changes(host: FakeHost) -> None:
    host.door.trouble = InvalidState("there is no nginx")
    with pytest.raises(InvalidState, match="no nginx"):
        hosting(host, acme={"shop": site(domains=["a.example"])}).up()
    assert host.steps == []
    assert not hosting(host, acme={"worker": site()}).up().failed


def test_scaling(host: FakeHost) -> None:
    for replicas in (1, 4, 2):
        hosting(host, acme={"shop": site(domains=["a.example"], replicas=replicas)}).up()
        assert len(names(host)) == replicas == len(host.door.served[0].backends)
    assert names(host) == ["acme-shop-0", "acme-shop-1"]


def test_removal_is_asked_for(host: FakeHost) -> None:
    hosting(host, acme={"a": site(domains=["a.example"]), "b": site(volumes=["d:/d"])}, gone={"c": site()}).up()
    fewer = hosting(host, acme={"a": site(domains=["a.example"])})
    steps = len(host.steps)
    with pytest.raises(InvalidInput, match="sites would be removed: acme/b, gone/c"):
        fewer.up()
    assert len(host.steps) == steps
    outcome = fewer.up(remove=True)
    assert sorted(outcome.done) == ["site acme/b", "site gone/c", "tenant gone"]
    assert names(host) == ["acme-a-0"] and [*host.pools] == ["acme"] and [*host.volumes] == ["acme.d"]


def test_down(host: FakeHost) -> None:
    wanted = hosting(host, acme={"a": site(domains=["a.example"]), "b": site(volumes=["d:/d"])})
    wanted.up()
    assert wanted.what_goes().removed == ["acme/a", "acme/b"]
    assert not wanted.down().failed
    assert not host.there and not host.pools and host.door.served == () and [*host.volumes] == ["acme.d"]
    assert wanted.down().done == []
    assert wanted.volumes() == ["acme.d"] and wanted.down(volumes=True).done == ["volume acme.d"]
    assert not host.volumes and wanted.volumes() == []


def test_another_hosting_on_the_same_host_keeps_its_sites(host: FakeHost) -> None:
    client: Any = host
    for name in ("one", "two"):
        data = {"hosting": name, "tenants": {name: {"sites": {"a": site(domains=[f"{name}.example"])}}}}
        assert not Hosting.of(data, client, door=host.door).up().failed
    assert [route.name for route in host.door.served] == ["one/a", "two/a"]
    Hosting.of(data, client, door=host.door).down()
    assert [route.name for route in host.door.served] == ["one/a"] and names(host) == ["one-a-0"]


def test_a_container_that_says_it_is_of_another_tenants_site(host: FakeHost) -> None:
    """Who may give labels to their own containers must not get the requests of others, nor have them kept for theirs."""
    wanted = hosting(host, acme={"shop": site(domains=["a.example"])}, zoo={"x": site()})
    wanted.up()
    real = next(each for each in host.there.values() if each.spec.name == "acme-shop-0")
    host.create_from({**site(), "name": "liar", "tenant": "zoo", "labels": dict(real.spec.labels)}).start()
    assert not wanted.diff() and wanted.up().done == []
    host.there.pop(real.id)
    assert not wanted.up().failed
    assert names(host) == ["acme-shop-0", "liar", "zoo-x-0"]
    assert host.door.history[-1] == {"acme/shop": ["acme-shop-0"]}
    wanted.down()
    assert names(host) == ["liar"]


def wanted_after(host: FakeHost) -> Hosting:
    return hosting(
        host,
        acme={
            "shop": site(domains=["a.example"], replicas=2, env={"V": "2"}),
            "db": site(volumes=["data:/data"], env={"V": "2"}),
            "new": site(domains=["n.example"]),
        },
    )


def before_that(host: FakeHost) -> None:
    hosting(
        host,
        acme={
            "shop": site(domains=["a.example"], replicas=2),
            "db": site(volumes=["data:/data"]),
            "old": site(domains=["o.example"]),
        },
    ).up()


def outcome_of(host: FakeHost) -> tuple[list[str], dict[str, int]]:
    served = {route.name: len(route.backends) for route in host.door.served}
    return sorted(f"{each.spec.name.rpartition('-')[0]} {each.env}" for each in host.there.values()), served


def test_cut_off_at_each_step_and_done_again(host: FakeHost, tmp_path: Path) -> None:
    """FLT-09: wherever a kill comes, the next `up` ends where an undisturbed one does, and somebody always answers."""
    before_that(host)
    start = len(host.steps)
    wanted_after(host).up(remove=True)
    expected, count = outcome_of(host), len(host.steps) - start
    assert count > 12
    for step in range(count):
        each = FakeHost(tmp_path / str(step))
        before_that(each)
        each.door.history.clear()
        each.killed_at = len(each.steps) + step
        with pytest.raises(Killed):
            wanted_after(each).up(remove=True, parallel=1)
        each.killed_at = None
        assert not wanted_after(each).up(remove=True).failed
        assert outcome_of(each) == expected, step
        assert all(len(served["acme/shop"]) >= 2 for served in each.door.history), step
        assert not wanted_after(each).diff()


def test_a_successor_that_was_just_started_is_waited_for(host: FakeHost) -> None:
    """The `up` before was cut off between the start and the health of the new version: the old one stays until then."""
    hosting(host, acme={"shop": site(domains=["a.example"])}).up()
    wanted = hosting(host, acme={"shop": site(domains=["a.example"], env={"SLOW": "5"})})
    host.killed_at = len(host.steps) + 2  # after `create` and `start`
    with pytest.raises(Killed):
        wanted.up()
    host.killed_at = None
    for each in host.there.values():
        each.looks = 0  # as if the kill had come that early
    assert names(host) == ["acme-shop-0", "acme-shop-1"]
    assert wanted.diff().lines() == ["~ site acme/shop: 1 container less; 1 container not healthy"]
    assert not wanted.up().failed and names(host) == ["acme-shop-1"]
    assert host.door.history[-1] == {"acme/shop": ["acme-shop-1"]}


def test_many_sites_with_few_requests_at_once(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    at_work, most, lock = itertools.count(), [0], threading.Lock()
    now = 0
    create = host.create_from

    def counted(plain: Mapping[str, Any]) -> FakeContainer:
        nonlocal now
        with lock:
            now += 1
            most[0] = max(most[0], now)
        next(at_work)
        try:
            return create(plain)
        finally:
            with lock:
                now -= 1

    monkeypatch.setattr(host, "create_from", counted)
    sites = {f"s{number}": site(domains=[f"{number}.example"]) for number in range(500)}
    outcome = hosting(host, acme=sites).up(parallel=3)
    assert not outcome.failed and len(host.there) == 500 == len(host.door.served)
    assert most[0] <= 3
    assert not hosting(host, acme=sites).diff()


def test_two_at_the_same_time(host: FakeHost, tmp_path: Path) -> None:
    file = tmp_path / "hosting.yaml"
    file.write_text("tenants: {acme: {sites: {a: {image: busybox}}}}\n")
    client: Any = host
    one, two = (Hosting.load(file, client, door=host.door) for _ in range(2))
    errors: list[PycontainerError] = []

    def meanwhile(progress: Progress) -> None:
        try:
            two.up()
        except PycontainerError as error:
            errors.append(error)

    one.up(on_progress=meanwhile)
    assert errors and all("is being brought up or taken down just now" in error.message for error in errors)
    assert two.up().done == []


def test_an_interrupt_ends_all_threads(host: FakeHost) -> None:
    started = threading.Event()

    def interrupted(progress: Progress) -> None:
        if progress.subject == "site acme/s1":
            started.set()
            raise KeyboardInterrupt

    before = threading.active_count()
    sites = {f"s{number}": site(domains=[f"{number}.example"]) for number in range(100)}
    with pytest.raises(KeyboardInterrupt):
        hosting(host, acme=sites).up(on_progress=interrupted)
    assert started.is_set() and threading.active_count() == before and len(host.there) < 100


Change = Callable[[FakeHost], None]


def remove_one(host: FakeHost) -> None:
    del host.there[next(iter(host.there))]


def stop_one(host: FakeHost) -> None:
    next(iter(host.there.values())).status = "stopped"


@pytest.mark.parametrize("change", [remove_one, stop_one])
def test_what_somebody_changed_by_hand_is_made_right(host: FakeHost, change: Change) -> None:
    wanted = hosting(host, acme={"shop": site(domains=["a.example"], replicas=2)})
    wanted.up()
    change(host)
    assert wanted.diff() and not wanted.up().failed
    assert names(host) == ["acme-shop-0", "acme-shop-1"] and not wanted.diff()

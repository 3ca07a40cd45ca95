"""What a tenant's user may do: nothing is left undecided, and what reaches beyond his tenant is refused by its name."""

import dataclasses
from collections import Counter
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pycontainer.api import messages
from pycontainer.disk.storage import Caps
from pycontainer.errors import Busy, InvalidInput, InvalidState, NotFound, NotPermitted
from pycontainer.spec.model import ContainerSpec
from pycontainer.spec.parse import parse_spec
from pycontainer.supervisor import authorise
from pycontainer.supervisor.authorise import HEAVY, SETTINGS, VERBS, admitted, at_work, judge_change, refusals, require
from pycontainer.supervisor.call import Call
from pycontainer.supervisor.caller import Caller, calling, may_see
from pycontainer.supervisor.server import VERBS as SERVED
from pycontainer.supervisor.world import World

ACME = Caller("acme", ("debian*", "busybox"), ("acme-net",), (20000, 20099))
BARE = Caller("acme")


async def _nothing(event: object, fds: list[int]) -> None:
    pass


def call(verb: str, **arguments: object) -> Call:
    return Call(verb, arguments, [], _nothing)


def fake_world(**parts: object) -> World:
    return cast(World, SimpleNamespace(**parts))


def test_every_verb_is_decided() -> None:
    """API-01: a new verb is refused to tenants' users until somebody gives it a row; so are those of no row at all."""
    assert set(VERBS) == set(messages.VERBS) == set(SERVED)
    assert set(VERBS) >= HEAVY
    with pytest.raises(NotPermitted, match="may not 'levitate': nobody has decided about it yet"):
        require(fake_world(), BARE, call("levitate"))
    require(fake_world(), None, call("levitate"))


def test_every_setting_is_decided() -> None:
    """API-01"""
    assert set(SETTINGS) == {field.name for field in dataclasses.fields(ContainerSpec)}


@pytest.mark.parametrize("verb", [verb for verb, row in VERBS.items() if isinstance(row, str)])
def test_verbs_of_the_host_alone(verb: str) -> None:
    """API-01: refused before anything is looked at, in one line that says why."""
    with pytest.raises(NotPermitted) as caught:
        require(fake_world(), BARE, call(verb))
    assert caught.value.message == f"a user of tenant 'acme' may not '{verb}': {VERBS[verb]}"


REFUSED = [
    ({"privileged": True}, "privileged: it would be the host's"),
    ({"volumes": ["/etc:/x"]}, "volumes: '/etc' is the host's: use a volume"),
    ({"volumes": ["/srv/acme:/x:ro,idmap"]}, "volumes: '/srv/acme' is the host's: use a volume"),
    ({"devices": ["/dev/fuse"]}, "devices: '/dev/fuse' is the host's"),
    ({"networks": ["host"]}, "networks: 'host' is the host's own"),
    ({"ip": "10.88.0.9"}, "ip: addresses are given by the host"),
    ({"ip6": "fd00::9"}, "ip6: addresses are given by the host"),
    ({"ports": ["80:80"]}, "ports: host ports 20000 to 20099 are this tenant's, not 80"),
    ({"ports": ["80"]}, "ports: host ports 20000 to 20099 are this tenant's, not a free one"),
    ({"ports": ["20000:80", "20100:81"]}, "ports: host ports 20000 to 20099 are this tenant's, not 20100"),
    ({"cap_add": ["SYS_ADMIN"]}, "cap_add: its profile says what it can do"),
    ({"cap_add": ["ALL"]}, "cap_add: its profile says what it can do"),
    ({"security_opt": ["seccomp=unconfined"]}, "security_opt: 'seccomp=unconfined' changes the walls around it"),
    ({"security_opt": ["apparmor=other"]}, "security_opt: 'apparmor=other' changes the walls around it"),
    ({"security_opt": ["label=disable"]}, "security_opt: 'label=disable' changes the walls around it"),
    ({"security_opt": ["label=level:s0"]}, "security_opt: 'label:level=s0' changes the walls around it"),
    ({"security_opt": ["landlock=unconfined"]}, "security_opt: 'landlock=unconfined' changes the walls around it"),
    (
        {"security_opt": ["no-new-privileges=false"]},
        "security_opt: 'no-new-privileges=false' changes the walls around it",
    ),
    ({"sysctls": {"net.core.somaxconn": "9"}}, "sysctls: they change the host's kernel for it"),
    ({"cgroup_conf": {"misc.max": "sev 1"}}, "cgroup_conf: it is written to the kernel as it is"),
    ({"hugetlb": {"2M": "64M"}}, "hugetlb: huge pages are the host's"),
    ({"limit": {"idle": "yes"}}, "limit: what other packages add is the host's"),
    ({"cpuset_cpus": "0"}, "cpuset_cpus: which CPUs are whose is the host's"),
    ({"cpuset_mems": "0"}, "cpuset_mems: which memory is whose is the host's"),
    ({"net_connections": 100000}, "net_connections: the table of connections is the host's"),
    ({"pids": "unlimited"}, "pids: it needs a number"),
    ({"ulimits": {"rtprio": 99}}, "ulimits: 'rtprio' reaches beyond the container"),
    ({"ulimits": {"nofile": 64, "msgqueue": "unlimited"}}, "ulimits: 'msgqueue' reaches beyond the container"),
    ({"best_effort": True}, "best_effort: a limit that cannot be held is refused"),
    ({"boot_order": 1}, "boot_order: the order at boot is the host's"),
    ({"boot_delay": 60}, "boot_delay: others wait for it at boot"),
    ({"notify": True, "notify_timeout": "1h"}, "notify_timeout: the most is 90 s: others wait for their turn at boot"),
    ({"health_interval": 1}, "health_interval: the least is 5 s"),
    ({"health_start_interval": 1}, "health_start_interval: the least is 5 s"),
    ({"snapshots": {"every": "10s", "keep": 1}}, "snapshots: no more often than every 3600 s"),
    ({"snapshots": {"every": "1d", "keep": 11}}, "snapshots: no more than 10 can be kept"),
    ({"rootfs_driver": "copy"}, "rootfs_driver: how layers are kept is the host's"),
    ({"labels": {"a": "b", "hosting.site": "beta/shop"}}, "labels: 'hosting.site' is set by who runs this host"),
    ({"env": {"A": "x" * 70000}}, "all settings together: more than 64 KiB"),
]


@pytest.mark.parametrize(("asked", "reason"), REFUSED, ids=lambda value: str(value)[:40])
def test_settings_that_reach_beyond_the_tenant(asked: dict[str, Any], reason: str) -> None:
    """API-01, VAL-01: each is refused by its name, and by nothing else."""
    spec = parse_spec({"image": "busybox", **asked})
    assert refusals(ACME, spec) == [reason]
    with calling(ACME), pytest.raises(NotPermitted) as caught:
        admitted(fake_world(), spec)
    assert caught.value.message == f"a user of tenant 'acme' may not ask for {reason}"
    assert admitted(fake_world(), spec) is spec  # the host's own may


def test_what_is_refused_is_told_together() -> None:
    spec = parse_spec({"rootfs": "/srv/root", "privileged": True, "ports": ["20001:80"]})
    assert refusals(BARE, spec) == [
        "rootfs: it is a directory of the host",
        "ports: this tenant has no ports of the host",
        "privileged: it would be the host's",
    ]


def test_an_ordinary_container_is_the_tenants() -> None:
    """API-01: whatever tenant was asked for, and under a name that no other tenant can have."""
    asked = {
        "name": "web",
        "image": "busybox",
        "tenant": "beta",
        "memory": "100M",
        "cpus": 0.5,
        "pids": 50,
        "networks": ["acme-net"],
        "ports": ["20000:80"],
        "profile": "system",
        "cap_add": ["NET_ADMIN"],  # which the profile has
        "cap_drop": ["MKNOD"],
        "security_opt": ["no-new-privileges"],
        "ulimits": {"nofile": 100},
        "tmpfs": "/scratch",
        "labels": {"tier": "front"},
        "restart": "always",
        "health_cmd": ["true"],
        "health_interval": 30,
        "snapshots": {"every": "1d", "keep": 7},
    }
    spec = parse_spec(asked)
    with calling(ACME):
        made = admitted(fake_world(), spec)
        assert admitted(fake_world(), made) == made
    assert (made.tenant, made.name, made.hostname) == ("acme", "web.acme", "web")
    assert dataclasses.replace(made, tenant="beta", name="web", hostname="") == spec


def test_networks_of_others_are_not_found() -> None:
    """API-01: in the words of what does not exist (net/manager.py)."""
    with calling(BARE), pytest.raises(NotFound, match=r"^no network 'beta-net'$"):
        admitted(fake_world(), parse_spec({"image": "busybox", "networks": ["default", "beta-net"]}))


def test_names() -> None:
    assert [ACME.full_name(name) for name in ("web", "web.acme", "web.beta", "x.acme.beta", "")] == [
        "web.acme",
        "web.acme",
        "web.beta.acme",
        "x.acme.beta.acme",
        "",
    ]
    assert ACME.short_name("web.acme") == "web" and ACME.short_name("acme-shop-0") == "acme-shop-0"
    assert not ACME.name_problem("x" * 58) and not ACME.name_problem("../x")  # which is no name, others say
    with calling(ACME), pytest.raises(InvalidInput, match="too long for a name"):
        admitted(fake_world(), parse_spec({"image": "busybox", "name": "x" * 59}))


def test_a_change_is_judged_by_what_it_changes() -> None:
    """API-01: what an operator gave to a container stays, more of it is refused."""
    before = parse_spec({"image": "busybox", "volumes": ["/srv:/srv"], "net_connections": 9000, "boot_order": 1})
    with calling(ACME):
        judge_change(dataclasses.replace(before, memory_bytes=1 << 30), before, Caps(hard_bytes=10))
        with pytest.raises(NotPermitted, match="net_connections: the table"):
            judge_change(dataclasses.replace(before, net_connections=9001), before, Caps())
        with pytest.raises(NotPermitted, match="disk: the most is 1GiB, as this tenant has no disk of its own"):
            judge_change(dataclasses.replace(before, disk_bytes=2 << 30), before, Caps(hard_bytes=1 << 30))
        capped = dataclasses.replace(before, disk_bytes=1 << 30)
        judge_change(capped, before, Caps(hard_bytes=1 << 30))
        with pytest.raises(NotPermitted, match="disk: the most"):
            judge_change(dataclasses.replace(before, disk_bytes=None), capped, Caps(hard_bytes=1 << 30))
        judge_change(dataclasses.replace(before, disk_bytes=2 << 30), before, Caps())  # within the tenant's pool
    judge_change(dataclasses.replace(before, net_connections=9001), before, Caps())


def test_how_many_containers() -> None:
    def world(most: int | None, count: int) -> World:
        members = [SimpleNamespace(spec=ContainerSpec(tenant="acme")) for _ in range(count)]
        others = [SimpleNamespace(spec=ContainerSpec(tenant="beta"))] * 500
        return fake_world(
            tenants=SimpleNamespace(find=lambda name: SimpleNamespace(max_containers=most)),
            present=lambda: [*members, *others],
            broken={"1": SimpleNamespace(tenant="acme"), "2": SimpleNamespace(tenant=None)},
        )

    authorise.require_place(world(None, 1000), "acme")
    authorise.require_place(world(5, 3), "acme")
    with pytest.raises(InvalidState, match="tenant 'acme' has 5 containers, and may have 5"):
        authorise.require_place(world(5, 4), "acme")
    with calling(ACME), pytest.raises(InvalidState, match="may have 100"):
        authorise.require_place(world(None, 99), "acme")


def test_what_costs_much_is_counted_by_tenant() -> None:
    """API-05"""
    count: Counter[str] = Counter()
    beta = Caller("beta")
    with at_work(ACME, "export", count), at_work(ACME, "cp_to", count), at_work(ACME, "clone", count):
        with at_work(ACME, "diff", count):
            with pytest.raises(Busy, match="4 copies, snapshots or backups of tenant 'acme' are under way"):
                at_work(ACME, "export", count).__enter__()
            with at_work(ACME, "list", count), at_work(beta, "export", count), at_work(None, "export", count):
                pass
        with at_work(ACME, "export", count):
            pass
    assert not count.total()


def test_whose_things_are_seen() -> None:
    assert may_see("acme") and may_see("") and may_see("beta")
    with calling(ACME):
        assert may_see("acme") and not may_see("") and not may_see("beta")
        assert authorise.may_see_image("debian-nginx") and not authorise.may_see_image("instance/shop:1")
        assert authorise.may_see_volume({"tenant": "acme"}) and not authorise.may_see_volume({})
        assert authorise.may_see_network("acme-net") and not authorise.may_see_network("beta-net")


IMAGES = [
    {"name": "debian-nginx", "id": "sha256:" + "aaaaaa11" * 8},
    {"name": "debian-php", "id": "sha256:" + "aaaaaa22" * 8},
    {"name": "secret", "id": "sha256:" + "bbbbbb11" * 8},
    {"name": "secret2", "id": "sha256:" + "bbbbbb22" * 8},
    {"name": "broken", "damaged": "x"},
]


def test_images_of_others_are_not_found() -> None:
    """API-01: not by their ids either, of which not even the number is told."""
    world = fake_world(images=SimpleNamespace(list=lambda: IMAGES))
    with calling(ACME):
        assert authorise.image_name(world, "debian-nginx") == "debian-nginx"
        assert authorise.image_name(world, "aaaaaa11") == "debian-nginx"
        assert authorise.image_name(world, "sha256:" + "aaaaaa22" * 8) == "debian-php"
        with pytest.raises(InvalidInput, match="is the beginning of 2 image ids"):
            authorise.image_name(world, "aaaaaa")
        said = []
        for reference in ("secret", "bbbbbb", "bbbbbb11", "cccccc", "nothing"):
            with pytest.raises(NotFound) as caught:
                authorise.image_name(world, reference)
            said.append((caught.value.message.replace(reference, "X"), caught.value.hint))
        assert len(set(said)) == 1
        for reference in ("secret:latest", "secrett", "secre"):
            with pytest.raises(NotFound, match=f"^no image '{reference}'$") as caught:
                authorise.image_name(world, reference)
            assert "secret'" not in caught.value.hint
        with pytest.raises(NotFound) as caught:
            authorise.image_name(world, "debian-php:latest")
        assert caught.value.hint == "there is 'debian-php'"
    assert authorise.image_name(world, "secret") == "secret"


def volumes_world(disk_bytes: int | None) -> World:
    volumes = {
        "data.acme": SimpleNamespace(name="data.acme", labels={"tenant": "acme"}),
        "given": SimpleNamespace(name="given", labels={"tenant": "acme"}),
        "data.beta": SimpleNamespace(name="data.beta", labels={"tenant": "beta"}),
        "bare.acme": SimpleNamespace(name="bare.acme", labels={}),
    }
    return fake_world(
        volumes=SimpleNamespace(
            has=lambda name: name in volumes,
            get=volumes.__getitem__,
            all=lambda: [*volumes.values()],
            data=lambda name: SimpleNamespace(caps=lambda: Caps(hard_bytes=1 << 30)),
        ),
        tenants=SimpleNamespace(find=lambda name: SimpleNamespace(spec=ContainerSpec(disk_bytes=disk_bytes))),
    )


def test_volumes_of_others_are_not_found() -> None:
    """API-01: what counts is the label, not the name."""
    world = volumes_world(None)
    for reference, name in (("data", "data.acme"), ("data.acme", "data.acme"), ("given", "given")):
        one = call("volume_rm", volume=reference)
        with calling(ACME):
            require(world, ACME, one)
        assert one.text("volume") == name
    for reference in ("data.beta", "bare", "bare.acme", "nothing"):
        with calling(ACME), pytest.raises(NotFound, match=f"^no volume '{reference}'$"):
            require(world, ACME, call("volume_rm", volume=reference, force=True))
        with calling(ACME), pytest.raises(NotFound, match=f"^no volume '{reference}'$"):
            admitted(world, parse_spec({"image": "busybox", "volumes": [f"{reference}:/x"]}))
    with calling(ACME):
        made = admitted(world, parse_spec({"image": "busybox", "volumes": ["data:/x:ro"]}))
    assert [mount.source for mount in made.mounts] == ["data.acme"]


def test_volumes_have_a_size_within_the_tenants_disk() -> None:
    """API-05: together, as they lie outside of its pool."""
    world = volumes_world(4 << 30)
    one = call("volume_create", name="new", size="2G", labels={"tenant": "beta", "a": "b"})
    with calling(ACME):
        require(world, ACME, one)
        assert one.text("name") == "new.acme" and one.mapping("labels") == {"tenant": "acme", "a": "b"}
        assert one.text("inodes") == str((2 << 30) // 16384)
        with pytest.raises(InvalidState, match="may have volumes of 4GiB in all, others hold 2GiB"):
            require(world, ACME, call("volume_create", name="new", size="2049M"))
        require(world, ACME, call("volume_set", volume="data", size="3G"))
        with pytest.raises(InvalidState):
            require(world, ACME, call("volume_set", volume="data", size="3073M"))
        for arguments in ({"size": ""}, {"size": "unlimited"}, {"size": "1M", "inodes": "unlimited"}):
            with pytest.raises(NotPermitted, match="a volume without end: give it a size"):
                require(world, ACME, call("volume_create", name="new", **arguments))
        with pytest.raises(NotPermitted, match="inodes: say the size with it"):
            require(world, ACME, call("volume_set", volume="data", inodes="10"))
        restored = call("volume_restore", volume="back", size="1G")
        require(world, ACME, restored)
        assert restored.text("volume") == "back.acme"
        with pytest.raises(NotPermitted, match="this tenant has no disk to share out"):
            require(volumes_world(None), ACME, call("volume_create", name="new", size="1M"))


def test_tenants_of_others_are_not_found() -> None:
    """API-01"""
    mine = call("tenant_inspect", tenant="")
    require(fake_world(), ACME, mine)
    assert mine.text("tenant") == "acme"
    for verb, arguments in (("tenant_inspect", {"tenant": "beta"}), ("limits", {"tenants": ["acme", "beta"]})):
        with pytest.raises(NotFound, match=r"^no tenant 'beta'$"):
            require(fake_world(), ACME, call(verb, **arguments))

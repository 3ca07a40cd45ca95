"""Tenants: what their containers hold together, whatever each was promised; made, changed, watched and removed."""

import json

import pytest

from tests.support.poll import poll_until
from tests.support.world import World, unique_name

pytestmark = pytest.mark.vm


def create_tenant(world: World, *options: str) -> str:
    name = unique_name("acme")
    world.ok("tenant", "create", name, *options)
    return name


def run(world: World, tenant: str, *command: str, options: tuple[str, ...] = ()) -> str:
    name = unique_name()
    world.ok("run", "-d", "--name", name, "--tenant", tenant, *options, "busybox", *command)
    return name


def limits_of(world: World, tenant: str) -> dict[str, dict[str, object]]:
    rows = json.loads(world.ok("limits", "--tenant", tenant, "--format", "json"))
    return {row["resource"]: row for row in rows}


def remove(world: World, tenant: str, *members: str) -> None:
    world.ok("rm", "-f", *members)
    world.ok("tenant", "rm", tenant)


def test_processes_are_counted_together(world: World) -> None:
    tenant = create_tenant(world, "--pids-limit", "20")
    members = [run(world, tenant, "payload", "fork", count, "sleep", "0") for count in ("5", "100")]
    poll_until(lambda: limits_of(world, tenant)["pids"]["fail_count"], what="the tenant's limit says no")
    pids = limits_of(world, tenant)["pids"]
    assert (pids["held"], pids["limit"]) == (20, 20)
    words = "20 of 20 processes that are its tenant's limit are there"
    assert words in world.refused(125, "run", "--tenant", tenant, "busybox", "true")
    assert words in world.refused(125, "exec", members[0], "true")
    assert limits_of(world, tenant)["pids"]["held"] == 20
    remove(world, tenant, *members)


def test_memory_is_capped_together_and_a_neighbour_outside_lives(world: World) -> None:
    """Each may use 64M of its own; the tenant's 80M are exceeded by the second, and one of them is killed for it."""
    neighbour = unique_name()
    world.ok("run", "-d", "--name", neighbour, "busybox", "payload", "allocate", "64", "sleep", "0")
    tenant = create_tenant(world, "--memory", "80M")
    members = [run(world, tenant, "payload", "allocate", "50", "sleep", "0", options=("-m", "64M")) for _ in range(2)]
    poll_until(lambda: [world.status(name) for name in members].count("running") == 1, what="one of them is killed")
    held = limits_of(world, tenant)["memory"]["held"]
    assert isinstance(held, int)
    assert held <= 80 << 20
    assert world.status(neighbour) == "running"
    world.ok("rm", "-f", neighbour)
    remove(world, tenant, *members)


@pytest.mark.measures
def test_cpu_time_is_shared(world: World) -> None:
    """Four containers of half a CPU together, each of which may have a whole one."""
    tenant = create_tenant(world, "--cpus", "0.5")
    members = [run(world, tenant, "payload", "spin", "60", options=("--cpus", "1")) for _ in range(4)]
    with world.client() as client:
        before = {name: client.container(name).stats() for name in members}
        poll_until(
            lambda: (
                client.container(members[0]).stats()["monotonic_seconds"] >= before[members[0]]["monotonic_seconds"] + 4
            ),
            what="four seconds pass",
        )
        after = {name: client.container(name).stats() for name in members}
    used = sum(after[name]["cpu_usec"] - before[name]["cpu_usec"] for name in members)
    elapsed = after[members[0]]["monotonic_seconds"] - before[members[0]]["monotonic_seconds"]
    assert used / elapsed / 1e6 == pytest.approx(0.5, rel=0.1)
    world.ok("tenant", "set", tenant, "--cpus", "0.2")
    assert limits_of(world, tenant)["cpu"]["limit"] == 20_000
    world.ok("tenant", "set", tenant, "--cpus", "1.5")
    with world.client() as client:
        limit = next(row for row in client.limits([members[0]]) if row["resource"] == "cpu")["limit"]
    assert limit == 100_000  # its own again, which v1 had lowered with the tenant's
    remove(world, tenant, *members)


def test_records(world: World) -> None:
    tenant = create_tenant(world, "--memory", "1G", "--cpus", "2", "--pids-limit", "2000", "--net-out", "100mbit")
    member = run(world, tenant, "sleep", "1000")
    row = next(line for line in world.ok("tenant", "ls").splitlines() if tenant in line)
    assert row.split()[1:] == ["1GiB", "2", "2000", "unlimited", "100mbit", "-", "1", "1"]
    (info,) = json.loads(world.ok("tenant", "inspect", tenant))
    assert info["limits"] == {
        "memory_bytes": 1 << 30,
        "cpu_quota_usec": 200_000,
        "pids_max": 2000,
        "net_out_bits": 100_000_000,
    }
    assert list(info["containers"].values()) == [member]
    assert world.inspect(member)["tenant"] == tenant
    assert tenant in world.ok("tenant", "ls", "-q").splitlines()
    assert f"tenant '{tenant}' has containers: '{member}'" in world.refused(5, "tenant", "rm", tenant)
    world.ok("rm", "-f", member)
    world.ok("tenant", "rm", tenant)
    assert f"no tenant '{tenant}'" in world.refused(3, "tenant", "inspect", tenant)


def test_a_lower_limit_below_what_is_in_use_is_refused(world: World) -> None:
    tenant = create_tenant(world, "--pids-limit", "100")
    members = [run(world, tenant, "payload", "fork", "20", "sleep", "0") for _ in range(2)]
    poll_until(lambda: int(str(limits_of(world, tenant)["pids"]["held"])) >= 42, what="all processes are there")
    refused = world.refused(5, "tenant", "set", tenant, "--pids-limit", "30")
    assert "42 processes and threads are there, more than 30" in refused
    assert limits_of(world, tenant)["pids"]["limit"] == 100
    world.ok("tenant", "set", tenant, "--pids-limit", "30", "--force")
    assert limits_of(world, tenant)["pids"]["limit"] == 30
    world.ok("tenant", "set", tenant, "--pids-limit", "50", "--transient")
    (info,) = json.loads(world.ok("tenant", "inspect", tenant))
    assert info["limits"] == {"pids_max": 30}
    world.ok("tenant", "set", tenant, "--memory", "200M")
    limits = limits_of(world, tenant)
    assert (limits["pids"]["limit"], limits["memory"]["limit"]) == (50, 200 << 20)
    world.ok("tenant", "set", tenant, "--memory", "128M", "--transient")
    refused = world.refused(2, "tenant", "set", tenant, "--memory-reservation", "160M")
    assert "is more than the 128MiB of memory" in refused and "were set with --transient" in refused
    for member in members:
        world.ok("stop", "-t", "0", member)
    world.ok("start", members[0])
    assert limits_of(world, tenant)["pids"]["limit"] == 30, "that was until the last one had ended"
    remove(world, tenant, *members)


def test_from_python(world: World) -> None:
    with world.client() as client:
        tenant = client.create_tenant(unique_name("acme"), memory="100M", pids=50)
        container = client.run("busybox", ["sleep", "1000"], tenant=tenant.name, detach=True)
        assert [row["limit"] for row in tenant.limits() if row["resource"] == "memory"] == [100 << 20]
        tenant.set(memory="200M")
        assert [row["limit"] for row in tenant.limits() if row["resource"] == "memory"] == [200 << 20]
        assert tenant.name in [other.name for other in client.tenants()]
        container.remove(force=True)
        tenant.remove()


@pytest.mark.parametrize(
    ("exit_code", "arguments", "words"),
    [
        (2, ("tenant", "create", "-x"), "no such option"),
        (2, ("tenant", "create", "a/b"), "'a/b' is not a tenant name"),
        (2, ("tenant", "create", "t", "--memory", "12 parsecs"), "memory: '12 parsecs' is not a size"),
        (2, ("tenant", "create", "t", "--cpus", "4000"), "cpus: 4000 asked, but this host has"),
        (3, ("tenant", "set", "nobody", "--memory", "1G"), "no tenant 'nobody'"),
        (3, ("tenant", "rm", "nobody"), "no tenant 'nobody'"),
        (3, ("limits", "--tenant", "nobody"), "no tenant 'nobody'"),
    ],
)
def test_bad_input(world: World, exit_code: int, arguments: tuple[str, ...], words: str) -> None:
    assert words in world.refused(exit_code, *arguments)

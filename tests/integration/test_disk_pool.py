"""The disk of a tenant: one pool for all that its containers write, whatever each of them was promised."""

import json
import os

import pytest

from tests.integration.conftest import IMAGE
from tests.support.disk import MIB, fill, free_inside, run
from tests.support.world import World, unique_name

pytestmark = pytest.mark.vm


@pytest.fixture
def tenant(world: World) -> str:
    return world.ok("tenant", "create", unique_name(), "--disk", "64M")


def held(world: World, tenant: str) -> dict[str, object]:
    rows = json.loads(world.ok("limits", "--tenant", tenant, "--format", "json"))
    return next(row for row in rows if row["resource"] == "disk")


def test_containers_together_never_hold_more_than_the_pool(world: World, tenant: str) -> None:
    first, second, neighbour = run(world, "--tenant", tenant), run(world, "--tenant", tenant), run(world)
    world.ok("exec", first, "dd", "if=/dev/zero", "of=/x", "bs=1M", "count=40")
    assert free_inside(world, second) == pytest.approx(24 * MIB, rel=0.1)  # df tells what is left of the pool
    written, words = fill(world, second)
    assert "No space left on device" in words
    assert written == pytest.approx(24 * MIB, rel=0.1)
    world.ok("exec", neighbour, "dd", "if=/dev/zero", "of=/x", "bs=1M", "count=70")
    assert world.inspect(first)["disk"]["backend"] == "shared in the tenant's pool (ext4)"
    assert held(world, tenant)["limit"] == 64 * MIB
    assert held(world, tenant)["held"] == pytest.approx(64 * MIB, rel=0.05)
    world.ok("rm", "-f", first)
    assert free_inside(world, second) == pytest.approx(40 * MIB, rel=0.05)


def test_a_cap_of_its_own_within_the_pool(world: World, tenant: str) -> None:
    name = run(world, "--tenant", tenant, "--disk", "32M")
    assert world.inspect(name)["disk"]["backend"] == "loop image (ext4) in the tenant's pool (ext4)"
    written, _ = fill(world, name)
    assert written == pytest.approx(32 * MIB, rel=0.05)
    words = world.refused(125, "run", "--tenant", tenant, "--disk", "1G", IMAGE, "true")
    assert "disk: 1GiB asked, but the pool of its tenant has" in words


def test_it_is_there_after_a_restart_and_for_cp(world: World, tenant: str, tmp_path: object) -> None:
    name = run(world, "--tenant", tenant)
    world.ok("exec", name, "sh", "-c", "echo kept > /file")
    world.ok("restart", "-t", "0", name)
    assert world.ok("exec", name, "cat", "/file") == "kept"
    world.ok("stop", "-t", "0", name)
    world.ok("cp", f"{name}:/file", f"{tmp_path}/out")
    with open(f"{tmp_path}/out") as file:
        assert file.read() == "kept\n"
    world.ok("cp", f"{tmp_path}/out", f"{name}:/copied")
    world.ok("start", name)
    assert world.ok("exec", name, "cat", "/copied") == "kept"


@pytest.mark.requires("mkfs_xfs")
def test_it_grows_while_it_is_in_use(world: World) -> None:
    tenant = world.ok("tenant", "create", unique_name(), "--disk", "320M")
    name = run(world, "--tenant", tenant)
    world.ok("exec", name, "dd", "if=/dev/zero", "of=/x", "bs=1M", "count=100")
    world.ok("tenant", "set", tenant, "--disk", "400M")
    assert free_inside(world, name) == pytest.approx(300 * MIB, rel=0.05)
    assert "cannot shrink" in world.refused(6, "tenant", "set", tenant, "--disk", "200M")
    refused = world.refused(6, "tenant", "set", tenant, "--disk", "500M", "--transient")
    assert f"cannot change the disk of tenant '{tenant}' for a while" in refused
    world.ok("exec", "-d", name, "sleep", "1000")
    refused = world.refused(5, "tenant", "set", tenant, "--disk", "500M", "--pids-limit", "1")
    assert "2 processes and threads are there, more than 1" in refused
    assert free_inside(world, name) == pytest.approx(300 * MIB, rel=0.05)


def test_it_has_to_be_there_before_the_containers_and_goes_with_the_tenant(world: World, tenant: str) -> None:
    pool = world.paths.tenant_pool(tenant)
    assert os.listdir(pool)
    world.ok("tenant", "rm", tenant)
    assert not os.path.exists(pool)
    late = world.ok("tenant", "create", unique_name(), "--memory", "64M")
    name = run(world, "--tenant", late)
    assert "before its first container" in world.refused(5, "tenant", "set", late, "--disk", "64M")
    world.ok("rm", "-f", name)
    world.ok("tenant", "set", late, "--disk", "64M")
    assert "at least" in world.refused(6, "tenant", "create", unique_name(), "--disk", "1M")

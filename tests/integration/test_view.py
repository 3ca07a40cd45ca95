"""What a limited container sees of the machine, and that it cannot change it."""

import os

import pytest

from tests.integration.conftest import IMAGE
from tests.support.world import World, unique_name

pytestmark = pytest.mark.vm

KIB_PER_MIB = 1024


def total_kib(world: World, name: str) -> int:
    return int(world.ok("exec", name, "grep", "MemTotal", "/proc/meminfo").split()[1])


def run(world: World, *options: str) -> str:
    name = unique_name()
    world.ok("run", "-d", "--name", name, *options, IMAGE, "sleep", "1000")
    return name


def test_memory_is_the_cap_and_follows_it(world: World) -> None:
    name = run(world, "-m", "64M")
    assert total_kib(world, name) == 64 * KIB_PER_MIB
    world.ok("set", name, "--memory", "100M")
    assert total_kib(world, name) == 100 * KIB_PER_MIB
    assert world.inspect(name)["view"] == "generated"
    world.ok("set", name, "--memory", "80M", "--transient")
    assert total_kib(world, name) == 80 * KIB_PER_MIB
    world.ok("set", name, "--pids-limit", "100")
    assert total_kib(world, name) == 80 * KIB_PER_MIB
    world.ok("restart", "-t", "0", name)
    assert total_kib(world, name) == 100 * KIB_PER_MIB


def test_cpus_are_counted_by_quota(world: World) -> None:
    assert (os.cpu_count() or 1) >= 2, "this test needs two CPUs"
    name = run(world, "--cpus", "0.5")
    assert world.ok("exec", name, "grep", "-c", "^processor", "/proc/cpuinfo") == "1"
    assert world.ok("exec", name, "cat", "/sys/devices/system/cpu/online") == "0"
    name = run(world, "--cpuset-cpus", "1")
    assert world.ok("exec", name, "nproc") == "1"


def test_the_tenants_limit_counts_too(world: World) -> None:
    tenant = unique_name("acme")
    world.ok("tenant", "create", tenant, "--memory", "48M")
    name = run(world, "--tenant", tenant, "-m", "64M")
    assert total_kib(world, name) == 48 * KIB_PER_MIB
    world.ok("tenant", "set", tenant, "--memory", "56M")
    assert total_kib(world, name) == 56 * KIB_PER_MIB
    world.ok("tenant", "set", tenant, "--memory", "40M", "--transient")
    assert total_kib(world, name) == 40 * KIB_PER_MIB
    world.ok("restart", "-t", "0", name)  # its last container has ended
    assert total_kib(world, name) == 56 * KIB_PER_MIB
    world.ok("rm", "-f", name)
    world.ok("tenant", "rm", tenant)


def test_root_inside_cannot_change_or_uncover_it(world: World) -> None:
    name = run(world, "-m", "64M", "--cap-add", "SYS_ADMIN")
    for command in ("echo x > /proc/meminfo", "umount /proc/meminfo", "mount -o remount,rw,bind /proc/meminfo"):
        assert world.cli("exec", name, "sh", "-c", command).exit_code != 0
    assert total_kib(world, name) == 64 * KIB_PER_MIB


def test_without_limits_it_is_the_hosts(world: World) -> None:
    name = run(world)
    with open("/proc/meminfo") as file:
        assert total_kib(world, name) == int(file.readline().split()[1])
    assert world.inspect(name)["view"] == "host"
    world.ok("set", name, "--memory", "64M")
    assert "free and the like show the new limits from the next start on" in world.inspect(name)["warnings"]

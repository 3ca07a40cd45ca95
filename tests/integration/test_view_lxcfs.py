"""The view through lxcfs, which tells each reader of its own limits and use."""

import os
import signal
from pathlib import Path

import pytest

from tests.integration.conftest import IMAGE
from tests.support.poll import poll_until
from tests.support.world import World, unique_name

pytestmark = pytest.mark.requires("lxcfs")
KIB_PER_MIB = 1024


@pytest.fixture
def lxcfs_world(own_world: World) -> World:
    """A world that looks for lxcfs: the supervisor of `own_world` is started anew with the environment changed."""
    own_world.ok("service", "stop")
    del own_world.environment["PYCONTAINER_LXCFS"]
    return own_world


def meminfo(world: World, name: str) -> dict[str, int]:
    lines = world.ok("exec", name, "cat", "/proc/meminfo").splitlines()
    return {line.split(":")[0]: int(line.split()[1]) for line in lines}


def is_serving(world: World) -> bool:
    try:
        return bool(Path(world.paths.run_dir, "lxcfs/proc/uptime").read_text())
    except OSError:
        return False


def run(world: World, *options: str, command: tuple[str, ...] = ("sleep", "1000")) -> str:
    name = unique_name()
    world.ok("run", "-d", "--name", name, *options, IMAGE, *command)
    return name


def test_memory_in_use_and_the_cap_as_they_change(lxcfs_world: World) -> None:
    world = lxcfs_world
    name = run(world, "-m", "64M", command=("payload", "allocate", "40", "sleep", "0"))
    assert world.inspect(name)["view"] == "lxcfs"
    poll_until(lambda: meminfo(world, name)["MemFree"] < 24 * KIB_PER_MIB, what="what is free went down")
    assert meminfo(world, name)["MemTotal"] == 64 * KIB_PER_MIB
    world.ok("set", name, "--memory", "100M")
    assert meminfo(world, name)["MemTotal"] == 100 * KIB_PER_MIB
    assert float(world.ok("exec", name, "cat", "/proc/uptime").split()[0]) < 600
    world.ok("rm", "-f", name)
    world.close()
    assert not os.path.exists(f"{world.paths.run_dir}/lxcfs")


def test_cpus_and_the_tenant(lxcfs_world: World) -> None:
    world = lxcfs_world
    tenant = world.ok("tenant", "create", unique_name(), "--memory", "48M")
    name = run(world, "--tenant", tenant, "-m", "64M", "--cpus", "0.5")
    assert meminfo(world, name)["MemTotal"] == 48 * KIB_PER_MIB
    assert world.ok("exec", name, "grep", "-c", "^processor", "/proc/cpuinfo") == "1"


def test_it_serves_on_when_the_supervisor_dies(lxcfs_world: World) -> None:
    world = lxcfs_world
    name = run(world, "-m", "64M")
    lxcfs = Path(world.paths.run_dir, "lxcfs.pid").read_text()
    with open(world.paths.supervisor_pidfile) as file:
        os.kill(int(file.read()), signal.SIGKILL)
    assert meminfo(world, name)["MemTotal"] == 64 * KIB_PER_MIB
    other = run(world, "-m", "32M")
    assert meminfo(world, other)["MemTotal"] == 32 * KIB_PER_MIB
    assert Path(world.paths.run_dir, "lxcfs.pid").read_text() == lxcfs


def test_one_that_died_is_started_anew(lxcfs_world: World) -> None:
    world = lxcfs_world
    run(world, "-m", "64M")
    pid = int(Path(world.paths.run_dir, "lxcfs.pid").read_text().split()[0])
    os.kill(pid, signal.SIGKILL)
    poll_until(lambda: not is_serving(world), what="it is dead")
    name = run(world, "-m", "32M")
    assert meminfo(world, name)["MemTotal"] == 32 * KIB_PER_MIB


def test_a_broken_one_does_not_keep_containers_from_starting(own_world: World) -> None:
    own_world.ok("service", "stop")
    own_world.environment["PYCONTAINER_LXCFS"] = "/bin/false"
    name = run(own_world, "-m", "64M")
    assert own_world.inspect(name)["view"] == "generated"
    assert meminfo(own_world, name)["MemTotal"] == 64 * KIB_PER_MIB

"""Where systemd owns the cgroups: containers live in a scope that it handed over, and its service may come and go."""

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pycontainer.client.units import SERVICE_UNITS
from tests.support.origin import free_port
from tests.support.poll import SLOWNESS, poll_until
from tests.support.world import World, unique_name

pytestmark = [pytest.mark.systemd, pytest.mark.requires("systemd", "cgroup_v2")]

RUNTIME_UNITS = Path("/run/systemd/system")
_CGROUPS = "/sys/fs/cgroup"


def systemctl(*arguments: str) -> str:
    done = subprocess.run(["systemctl", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"systemctl {arguments}: {done.stderr}"
    return done.stdout.strip()


def property_of(unit: str, name: str) -> str:
    return systemctl("show", "--property", name, "--value", unit)


def scope_of(world: World) -> str:
    return f"{world.paths.marker}.scope"


def cgroup_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cgroup").read_text().strip().removeprefix("0::")


def monitor_pid(world: World) -> int:
    (pid,) = Path(f"{_CGROUPS}/system.slice/{scope_of(world)}/supervisor/cgroup.procs").read_text().split()
    return int(pid)


def test_containers_live_in_a_delegated_scope(own_world: World) -> None:
    world = own_world  # a shared one would leave for want of work while the others take their time
    name = unique_name()
    world.ok("run", "-d", "--name", name, "-m", "50M", "--hugetlb", "2M=4M", "busybox", "sleep", "1000")
    container = world.inspect(name)
    scope = scope_of(world)
    inside = f"/system.slice/{scope}/{world.paths.marker}/{container['id']}"
    assert cgroup_of(container["pid"]) == inside
    assert (property_of(scope, "Delegate"), property_of(scope, "ActiveState")) == ("yes", "active")
    assert property_of(scope, "ControlGroup") == f"/system.slice/{scope}"
    limits = {each: Path(f"{_CGROUPS}{inside}/{each}").read_text() for each in ("memory.max", "hugetlb.2MB.max")}
    assert limits == {"memory.max": f"{50 << 20}\n", "hugetlb.2MB.max": f"{4 << 20}\n"}
    systemctl("daemon-reload")
    assert {each: Path(f"{_CGROUPS}{inside}/{each}").read_text() for each in limits} == limits
    world.ok("rm", "-f", name)


def test_a_new_monitor_joins_what_the_old_one_left(own_world: World) -> None:
    """The scope stays with the last process in it; systemd would refuse a second one of its name."""
    first, second = unique_name(), unique_name()
    own_world.ok("run", "-d", "--name", first, "busybox", "sleep", "1000")
    before = monitor_pid(own_world)
    os.kill(before, signal.SIGKILL)
    own_world.ok("run", "-d", "--name", second, "busybox", "sleep", "1000")
    assert monitor_pid(own_world) != before
    assert [own_world.status(name) for name in (first, second)] == ["running", "running"]
    own_world.ok("rm", "-f", first, second)
    own_world.ok("service", "stop")
    poll_until(
        lambda: not os.path.exists(f"{_CGROUPS}/system.slice/{scope_of(own_world)}"),
        what="the scope goes with its last process",
    )


@pytest.fixture
def service(own_world: World) -> Iterator[str]:
    """Our units, for `own_world`; systemd listens on its socket."""
    name = own_world.paths.marker
    own_world.ok("service", "stop")
    own_world.ok("generate", "systemd", "--directory", str(RUNTIME_UNITS))
    systemctl("daemon-reload")
    systemctl("start", f"{name}.socket")
    yield f"{name}.service"
    with contextlib.suppress(AssertionError):
        own_world.ok("rm", "-f", *own_world.ok("ps", "-aq").split())
    units = [unit.replace("pycontainer", name, 1) for unit in SERVICE_UNITS]
    systemctl("stop", *units)
    for unit in units:
        (RUNTIME_UNITS / unit).unlink()
    systemctl("daemon-reload")


def test_the_service_restarts_while_containers_run(own_world: World, service: str) -> None:
    """A service with containers beneath its own directory could not be started again: 219/CGROUP."""
    name = unique_name()
    own_world.ok("run", "-d", "--name", name, "busybox", "sleep", "1000")
    assert cgroup_of(int(property_of(service, "MainPID"))) == f"/system.slice/{service}"
    before = own_world.inspect(name)
    supervisor = property_of(service, "MainPID")
    systemctl("restart", service)
    after = own_world.inspect(name)
    assert (after["status"], after["pid"], after["started"]) == ("running", before["pid"], before["started"])
    assert property_of(service, "MainPID") not in (supervisor, "0")
    own_world.ok("exec", name, "true")
    own_world.ok("rm", "-f", name)


def test_the_service_is_reloaded_in_its_place(own_world: World, service: str) -> None:
    """`systemctl reload` ends when the new code answers, in the process that systemd knows; who waits goes on waiting."""
    world = own_world
    world.ok("run", "-d", "--name", "web", "busybox", "sleep", "1000")
    waiting = world.popen("wait", "web", stdout=subprocess.PIPE)

    def who() -> tuple[object, ...]:
        return (
            world.inspect("web")["pid"],
            world.inspect("web")["started"],
            property_of(service, "MainPID"),
            monitor_pid(world),
        )

    before = who()
    systemctl("reload", service)
    assert who() == before
    told = world.ok("events", "--since", "0", "--no-follow", "--format", "json", "--filter", "type=supervisor-stop")
    assert json.loads(told.splitlines()[-1])["cause"] == "reload"
    world.ok("stop", "-t", "0", "web")
    assert waiting.communicate(timeout=60 * SLOWNESS)[0] == b"137\n"


def test_units_of_the_boot_and_of_one_container(own_world: World, service: str) -> None:
    """What starts and stops with pycontainer-boot.service; restarts of the supervisor and the socket end nothing."""
    boot = service.replace(".service", "-boot.service")
    command = ("busybox", "sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1000 & wait $!; done")
    own_world.ok("create", "--name", "web", "--onboot", "yes", *command)
    own_world.ok("create", "--name", "own", *command)
    own_world.ok("generate", "systemd", "--directory", str(RUNTIME_UNITS), "own")
    try:
        systemctl("daemon-reload")
        systemctl("start", boot, "container-own.service")
        before = {name: own_world.inspect(name)["pid"] for name in ("web", "own")}
        assert 0 not in before.values()
        systemctl("restart", service)
        assert {name: own_world.inspect(name)["pid"] for name in before} == before
        assert property_of("container-own.service", "ActiveState") == "active"
        own_world.ok("stop", "own")
        poll_until(
            lambda: property_of("container-own.service", "ActiveState") == "inactive", what="its unit ends with it"
        )
        systemctl("start", "container-own.service")
        systemctl("stop", "container-own.service")
        assert [own_world.status(name) for name in before] == ["running", "stopped"]
        systemctl("stop", boot)
        assert property_of(boot, "Result") == "success"
        assert [own_world.status(name) for name in before] == ["stopped", "stopped"]
        systemctl("start", boot)  # as after a boot
        assert [own_world.status(name) for name in before] == ["running", "stopped"]
    finally:
        (RUNTIME_UNITS / "container-own.service").unlink()


@pytest.mark.requires("nginx")
def test_the_front_door(own_world: World, service: str) -> None:
    """nginx outlives the process that follows what happens, which is started again; 'stop' ends both."""
    world, unit = own_world, service.replace(".service", "-frontdoor.service")
    port = free_port()
    world.ok("frontdoor", "start", "--http", f"127.0.0.1:{port}", "--https", f"127.0.0.1:{free_port()}")
    world.ok("frontdoor", "stop")

    def pids() -> tuple[int | None, int | None]:
        status = json.loads(world.cli("frontdoor", "status", "--format", "json").stdout)
        return status["pid"], status["follower_pid"]

    systemctl("start", unit)
    poll_until(lambda: None not in pids(), timeout_seconds=20, what="both run")
    nginx, follower = pids()
    assert nginx is not None and follower is not None
    assert [cgroup_of(pid) for pid in (nginx, follower)] == [f"/system.slice/{unit}"] * 2
    systemctl("reload", unit)
    assert pids() == (nginx, follower)
    os.kill(follower, signal.SIGKILL)
    poll_until(lambda: pids()[1] not in (None, follower), timeout_seconds=20, what="the follower is back")
    assert pids()[0] == nginx
    systemctl("stop", unit)
    assert pids() == (None, None)
    assert property_of(unit, "ActiveState") == "inactive"

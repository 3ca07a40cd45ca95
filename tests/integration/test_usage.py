"""What the ledger says against what the kernel and the far end of a stream say: over ends, restarts, deaths and reloads."""

import json
import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.hostns import OUTSIDE_IP, HostNetwork
from tests.support.poll import poll_until
from tests.support.traffic import FarEnd
from tests.support.world import World, unique_name

pytestmark = pytest.mark.vm

MIB = 1 << 20


@pytest.fixture
def sink(host_network: HostNetwork) -> Iterator[FarEnd]:
    far = FarEnd(host_network.outside, OUTSIDE_IP)
    yield far
    far.close()


def usage(world: World, *arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(world.ok("usage", "--format", "json", *arguments))
    return found


def of(world: World, name: str) -> dict[str, Any]:
    """Return the row of an instance; nothing used if there is none."""
    rows = [row for row in usage(world)["instances"] if row["name"] == name]
    assert len(rows) <= 1
    keys = ("run_hours", "cpu_seconds", "memory_byte_hours", "io_write_bytes", "net_in_bytes", "net_out_bytes")
    return rows[0] if rows else {**dict.fromkeys(keys, 0), "ids": []}


def in_the_cgroup(container_id: str) -> float:
    """Return the seconds of processor time that the kernel has counted in the cgroup of a container."""
    for path, directories, files in os.walk("/sys/fs/cgroup"):
        if container_id in directories and "cpuacct.usage" in files:
            with open(f"{path}/{container_id}/cpuacct.usage") as file:
                return int(file.read()) / 1e9
        if container_id in directories and "cgroup.controllers" in files:
            with open(f"{path}/{container_id}/cpu.stat") as file:
                return int(file.read().split()[1]) / 1e6
    raise AssertionError("its cgroup is gone")


@pytest.mark.alike  # and its times are those of a machine of usual speed
def test_short_runs_count_to_the_last_byte(world: World, sink: FarEnd) -> None:
    """Each ends long before anybody would look at it: its last counters are read before its link and its cgroup go."""
    name = unique_name()
    program = f"dd if=/dev/zero bs=64k count=64 2>/dev/null | nc {OUTSIDE_IP} {sink.port}"
    world.ok("create", "--name", name, "busybox", "sh", "-c", f"{program} & sleep 1; kill $!; exit 0")
    for number in range(1, 4):
        world.ok("start", name)
        world.ok("wait", name)
        used = of(world, name)
        assert sink.received_bytes == number * 4 * MIB
        assert number * 4 * MIB < used["net_out_bytes"] < number * 4 * MIB * 1.1, "payload, and headers"
        assert 0 < used["net_in_bytes"] < used["net_out_bytes"] / 10, "acknowledgements"
        assert used["run_hours"] * 3600 == pytest.approx(number * 1.1, abs=number * 0.9)
    assert used["ids"] == [world.inspect(name)["id"]]
    world.ok("rm", name)


def test_cpu_time_is_the_kernels_own(own_world: World) -> None:
    """Over a supervisor that is killed, one that is replaced, and the end."""
    world = own_world
    name = unique_name()
    world.ok("run", "-d", "--name", name, "--cpus", "0.5", "busybox", "payload", "spin", "600")

    def differs_by(seconds: float) -> bool:
        """Ask the kernel, the ledger and the kernel again: the ledger's must lie between."""
        with world.client() as client:
            container = client.container(name)
            before = container.stats()["cpu_usec"] / 1e6
            counted = next(row for row in client.usage()["instances"] if row["name"] == name)["cpu_seconds"]
            after = container.stats()["cpu_usec"] / 1e6
        assert before - 1.1 <= counted <= after, (before, counted, after)
        return bool(counted >= seconds)

    poll_until(lambda: differs_by(1), what="a second of processor time is counted", interval_seconds=0.5)
    pid = world.supervisor_pid()
    os.kill(pid, signal.SIGKILL)
    poll_until(lambda: not os.path.exists(f"/proc/{pid}"), what="the supervisor is gone")
    poll_until(lambda: differs_by(2), what="counting goes on after it", interval_seconds=0.5)
    world.ok("service", "reload")
    poll_until(lambda: differs_by(3), what="counting goes on after a reload", interval_seconds=0.5)
    world.ok("stop", "-t", "0", name)
    counted = of(world, name)["cpu_seconds"]
    assert counted == of(world, name)["cpu_seconds"] >= 3
    world.ok("start", name)
    poll_until(
        lambda: of(world, name)["cpu_seconds"] > counted + 0.5, what="the next run adds to it", interval_seconds=0.5
    )
    world.ok("rm", "-f", name)


@pytest.mark.alike  # and its times are those of a machine of usual speed
def test_an_end_that_no_supervisor_saw(own_world: World) -> None:
    """The cgroup has waited for who comes: what it counted is added then."""
    world = own_world
    name = unique_name()
    world.ok("run", "-d", "--name", name, "busybox", "payload", "spin", "3")
    pid, (init, container_id) = world.supervisor_pid(), (world.inspect(name)[key] for key in ("pid", "id"))
    os.kill(pid, signal.SIGKILL)
    poll_until(lambda: not os.path.exists(f"/proc/{init}"), what="it has ended", timeout_seconds=20)
    seconds = in_the_cgroup(container_id)
    assert of(world, name)["cpu_seconds"] == pytest.approx(seconds, abs=0.001)
    world.ok("rm", name)


@pytest.mark.alike
def test_made_anew_under_its_name_it_is_one_account(world: World) -> None:
    tenant, name = unique_name("acme"), unique_name()
    world.ok("tenant", "create", tenant)
    ids = []
    for _ in range(2):
        ids.append(world.ok("run", "-d", "--name", name, "--tenant", tenant, "busybox", "payload", "spin", "1"))
        world.ok("wait", name)
        world.ok("rm", name)
    (row,) = usage(world, "--tenant", tenant)["instances"]
    assert (row["name"], sorted(row["ids"])) == (name, sorted(full[:12] for full in ids))
    assert 0.4 < row["cpu_seconds"] < 2.5
    world.ok("tenant", "rm", tenant)
    (total,) = usage(world, "--tenant", tenant)["tenants"]
    assert (total["tenant"], total["instances"], total["cpu_seconds"]) == (tenant, 1, row["cpu_seconds"])


def test_a_second_link_that_goes_and_comes(world: World, sink: FarEnd) -> None:
    """The bytes of one link are counted before it is taken away, and those of the other only once."""
    name, network = unique_name(), unique_name("net")
    world.ok("network", "create", network)
    world.ok("run", "-d", "--name", name, "busybox", "payload", "sleep", "0")
    program = f"dd if=/dev/zero bs=64k count=32 2>/dev/null | nc {OUTSIDE_IP} {sink.port} & sleep 1; kill $!; exit 0"
    world.ok("exec", name, "sh", "-c", program)
    first = of(world, name)["net_out_bytes"]
    assert 2 * MIB < first < 2.2 * MIB
    for _ in range(2):
        world.ok("network", "connect", network, name)
        world.ok("network", "disconnect", network, name)
        time.sleep(1.1)  # a sample of the last second would be good enough
        assert of(world, name)["net_out_bytes"] < first + 0.1 * MIB
    world.ok("rm", "-f", name)
    world.ok("network", "rm", network)


def test_memory_and_run_time(world: World) -> None:
    name = unique_name()
    world.ok("run", "-d", "--name", name, "busybox", "payload", "allocate", "50", "sleep", "0")
    with world.client() as client:
        poll_until(
            lambda: client.container(name).stats()["memory_bytes"] >= 50 * MIB, what="it holds what it asked for"
        )
    first = of(world, name)
    time.sleep(4)
    second = of(world, name)
    hours = second["run_hours"] - first["run_hours"]
    assert hours * 3600 == pytest.approx(4.5, abs=1.5)
    assert (second["memory_byte_hours"] - first["memory_byte_hours"]) / hours == pytest.approx(51 * MIB, rel=0.1)
    world.ok("rm", "-f", name)


def test_what_lies_on_the_disk_is_counted_while_it_lies_there(world: World) -> None:
    """A walk, where no quota counts, at the least a minute after it was made."""
    name = unique_name()
    world.ok("run", "--name", name, "busybox", "sh", "-c", "dd if=/dev/zero of=/big bs=1M count=64 2>/dev/null")
    poll_until(
        lambda: of(world, name)["disk_byte_hours"] > 0, what="its disk is counted", timeout_seconds=120,
        interval_seconds=5,
    )  # fmt: skip
    first, began = of(world, name)["disk_byte_hours"], time.monotonic()
    time.sleep(10)
    held = (of(world, name)["disk_byte_hours"] - first) / (time.monotonic() - began) * 3600
    assert held == pytest.approx(64 * MIB, rel=0.15)
    world.ok("rm", name)


@pytest.mark.alike
def test_a_damaged_ledger_is_set_aside_and_stops_nothing(own_world: World) -> None:
    world, name = own_world, unique_name()
    world.ok("run", "-d", "--name", name, "busybox", "payload", "sleep", "0")
    assert of(world, name)["run_hours"] > 0
    world.ok("service", "stop")
    for suffix in ("", "-wal", "-shm"):
        if os.path.exists(f"{world.paths.ledger_file}{suffix}"):
            with open(f"{world.paths.ledger_file}{suffix}", "wb") as file:
                file.write(b"damaged" * 1000)
    assert world.status(name) == "running"
    poll_until(lambda: of(world, name)["run_hours"] > 0, what="it is counted anew", interval_seconds=1.1)
    events = world.ok("events", "--since", "1h", "--no-follow", "--format", "json")
    assert "set aside as" in events and "ledger-damaged" in events
    aside = [file for file in os.listdir(world.paths.state_dir) if file.startswith("ledger.db.damaged-")]
    assert aside
    world.ok("rm", "-f", name)


@pytest.mark.alike
def test_what_is_in_the_file_is_what_is_told(world: World) -> None:
    """Who dies now loses nothing: all that was told has been written."""
    name = unique_name()
    world.ok("run", "--name", name, "busybox", "payload", "spin", "1")
    told = of(world, name)
    with sqlite3.connect(f"file:{world.paths.ledger_file}?mode=ro", uri=True) as database:
        rows = database.execute("SELECT cpu_usec FROM used WHERE name = ?", (name,)).fetchall()
    database.close()
    assert [cpu_usec / 1e6 for (cpu_usec,) in rows] == [told["cpu_seconds"]]
    world.ok("rm", name)


@pytest.mark.alike
def test_the_ways_to_show_it(world: World) -> None:
    tenant, name = unique_name("acme"), unique_name()
    world.ok("tenant", "create", tenant)
    world.ok("run", "--name", name, "--tenant", tenant, "busybox", "true")
    lines = world.ok("usage", "--tenant", tenant).splitlines()
    assert lines[0].split()[:3] == ["TENANT", "NAME", "RUN"]
    assert [line.split()[0] for line in lines[1:]] == [tenant, "total"]
    header, row = world.ok("usage", "--tenant", tenant, "--format", "csv").splitlines()
    assert header.startswith("month,tenant,name,run_hours,cpu_seconds,")
    assert row.split(",")[:3] == [time.strftime("%Y-%m", time.gmtime()), tenant, name]
    assert float(row.split(",")[4]) > 0
    assert usage(world, "--month", "1999-12") == {
        "month": "1999-12",
        "is_current": False,
        "instances": [],
        "tenants": [row for row in usage(world, "--month", "1999-12")["tenants"] if row["cpu_seconds"] == 0],
    }
    assert "is not a month" in world.refused(2, "usage", "--month", "2026-13")
    assert "no tenant" in world.refused(3, "usage", "--tenant", unique_name())
    world.ok("rm", name)
    world.ok("tenant", "rm", tenant)


def test_a_transfer_that_is_used_up_slows_the_tenant_and_more_of_it_undoes_that(own_world: World, sink: FarEnd) -> None:
    """Slowed from the look on, over a reload, and a start from its first packet; its guarantee rests, and comes back."""
    world = own_world
    tenant, name = unique_name("acme"), unique_name()
    world.ok("tenant", "create", tenant, "--transfer", "4M", "--transfer-action", "slow:1mbit", "--net-out", "400mbit")
    options = ("--tenant", tenant, "--net-out-min", "50mbit")
    program = f"dd if=/dev/zero bs=64k 2>/dev/null | nc {OUTSIDE_IP} {sink.port}"
    world.ok("run", "-d", "--name", name, *options, "busybox", "sh", "-c", program)
    poll_until(lambda: sink.received_bytes > 5 * MIB, what="it has sent more than it may")
    usage(world)  # looks at it
    poll_until(lambda: transfer(world, tenant)["measure"] == "slow:1mbit", what="it is slowed")
    assert sink.mbit_per_second(3) < 1.3
    world.ok("service", "reload")
    assert sink.mbit_per_second(3) < 1.3
    world.ok("restart", "-t", "0", name)
    assert sink.mbit_per_second(3) < 1.3
    assert held(world, tenant) == {"net_in": 1_000_000, "net_out": 1_000_000}
    world.ok("tenant", "set", tenant, "--transfer", "unlimited")
    poll_until(lambda: transfer(world, tenant) is None, what="nothing is left of it")
    assert held(world, tenant) == {"net_in": None, "net_out": 400_000_000}
    # A sender that lost packets in the long queue of the slow link waits for its timer, which has grown to seconds.
    poll_until(lambda: sink.mbit_per_second(1) > 20, timeout_seconds=60, what="it is fast again")
    world.ok("rm", "-f", name)
    world.ok("tenant", "rm", tenant)


@pytest.mark.alike
def test_a_tenant_that_is_stopped_starts_nothing_until_it_has_more(own_world: World, sink: FarEnd) -> None:
    world = own_world
    tenant, name, other = unique_name("acme"), unique_name(), unique_name()
    world.ok("tenant", "create", tenant, "--transfer", "1M", "--transfer-action", "stop")
    program = f"dd if=/dev/zero bs=64k count=32 2>/dev/null | nc {OUTSIDE_IP} {sink.port} & sleep 600"
    world.ok("create", "--name", other, "--tenant", tenant, "busybox", "sleep", "600")
    world.ok("run", "-d", "--name", name, "--tenant", tenant, "--restart", "always", "busybox", "sh", "-c", program)
    poll_until(lambda: sink.received_bytes >= 2 * MIB, what="it has sent more than it may")
    usage(world)
    world.wait_for_status(name, "stopped", timeout_seconds=30)
    assert "used up its transfer" in world.refused(5, "start", other)
    assert "used up its transfer" in world.refused(5, "start", name)
    os.kill(world.supervisor_pid(), signal.SIGKILL)
    assert "used up its transfer" in world.refused(5, "start", name)
    world.ok("tenant", "set", tenant, "--transfer", "1G")
    world.wait_for_status(name, "running", timeout_seconds=30)
    assert world.status(other) == "created", "it did not run before"
    world.ok("rm", "-f", name, other)
    world.ok("tenant", "rm", tenant)


def transfer(world: World, tenant: str) -> Any:
    (info,) = json.loads(world.ok("tenant", "inspect", tenant))
    return info["transfer"]


def held(world: World, tenant: str) -> dict[str, Any]:
    """Return the rates that the kernel holds for a tenant."""
    rows = json.loads(world.ok("limits", "--tenant", tenant, "--format", "json"))
    return {row["resource"]: row["limit"] for row in rows if row["resource"] in ("net_in", "net_out")}

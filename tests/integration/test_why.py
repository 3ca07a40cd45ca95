"""Why it stopped, and why it is slow: what the kernel really did is what is told."""

import json
import os
import re
import signal
from typing import Any

import pytest

from tests.integration.conftest import IMAGE
from tests.support.poll import poll_until
from tests.support.world import World, unique_name

SPIN = ("sh", "-c", "while :; do :; done")


def why(world: World, name: str, *options: str) -> dict[str, Any]:
    return dict(json.loads(world.ok("why", "--format", "json", *options, name)))


def slow(answer: dict[str, Any], resource: str, of: str = "container") -> list[dict[str, Any]]:
    return [each for each in answer["slow"] if (each["resource"], each["of"]) == (resource, of)]


def ended(world: World, *arguments: str) -> tuple[str, dict[str, Any]]:
    """Run something to its end and return why it ended."""
    name = unique_name()
    world.cli("run", "-d", "--name", name, *arguments)
    world.wait_for_status(name, "stopped", timeout_seconds=30)
    return name, why(world, name)


def test_an_exit_code(world: World) -> None:
    name, answer = ended(world, IMAGE, "sh", "-c", "exit 3")
    assert answer["summary"] == "stopped: it ended by itself with exit code 3"
    text = world.ok("why", name).splitlines()
    assert text[0] == f"{name}: stopped: it ended by itself with exit code 3"
    assert [line.split()[1] for line in text[-3:]] == ["create", "start", "die"]


def test_who_stopped_it(world: World) -> None:
    name = unique_name()
    world.ok("run", "-d", "--name", name, IMAGE, "sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done")
    poll_until(lambda: "ready" in world.ok("logs", name))
    world.ok("stop", "-t", "1", name)
    answer = why(world, name)
    assert answer["summary"].endswith(
        "pycontainer) asked for it (stop) with SIGTERM, then SIGKILL (stop: still running after 1 s); it ended by SIGKILL"
    )
    assert answer["ended"]["cause"] == "asked" and answer["ended"]["actor"].startswith("uid 0 (pid ")


def test_a_signal_that_nobody_told_us_of(world: World) -> None:
    name = unique_name()
    world.ok("run", "-d", "--name", name, IMAGE, "sleep", "1000")
    os.kill(world.inspect(name)["pid"], signal.SIGTERM)
    os.kill(world.inspect(name)["pid"], signal.SIGKILL)
    world.wait_for_status(name, "stopped")
    assert why(world, name)["summary"] == (
        "stopped: it ended by SIGKILL; neither pycontainer nor the kernel's out-of-memory killer sent it: "
        "a process inside did, or root on the host"
    )


def test_its_own_limit_of_memory(world: World) -> None:
    name, _ = ended(world, "-m", "32M", IMAGE, "payload", "allocate", "64")
    poll_until(lambda: "victim" in (why(world, name)["ended"]["oom"] or {}), what="the kernel's log is read")
    answer = why(world, name)
    oom = answer["ended"]["oom"]
    assert answer["ended"]["cause"] == "oom" and answer["ended"]["exit_code"] == 137
    assert (oom["victim"]["command"], oom["limit_of"], oom["limit_bytes"]) == ("payload", "container", 32 << 20)
    assert oom["victim"]["rss_bytes"] == pytest.approx(32 << 20, rel=0.1)
    assert answer["summary"].startswith("stopped: 'payload' (pid ")
    assert answer["summary"].endswith("was killed for want of memory: its own limit of 32MiB was reached")


@pytest.mark.vm
def test_its_tenants_limit_of_memory(world: World) -> None:
    tenant = unique_name("acme")
    world.ok("tenant", "create", tenant, "--memory", "32M")
    name, _ = ended(world, "--tenant", tenant, IMAGE, "payload", "allocate", "64")
    expected = f"was killed for want of memory: the limit of 32MiB of its tenant '{tenant}' was reached"
    poll_until(lambda: str(why(world, name)["summary"]).endswith(expected), what="the tenant's limit is told")
    world.ok("rm", name)
    world.ok("tenant", "rm", tenant)


def test_what_its_start_failed_at(world: World) -> None:
    name = unique_name()
    world.ok("create", "--name", name, IMAGE, "no-such-command")
    assert why(world, name)["summary"] == "never started"
    assert world.cli("start", name).exit_code == 127
    answer = why(world, name)
    assert answer["summary"].startswith("it could not be started: ") and "no-such-command" in answer["summary"]


def test_why_it_is_gone(world: World) -> None:
    name = unique_name()
    world.ok("run", "-d", "--name", name, IMAGE, "sleep", "1000")
    container_id = world.inspect(name)["id"]
    world.ok("rm", "-f", name)
    for reference in (name, container_id, container_id[:8]):
        answer = why(world, reference)
        assert (answer["id"], answer["status"]) == (container_id, "removed")
        assert answer["summary"].startswith("removed by uid 0 (pid ") and "asked for it (rm)" in answer["summary"]
    assert "no container 'never-was'" in world.refused(3, "why", "never-was")


@pytest.mark.vm
def test_cpu_time_is_throttled(world: World) -> None:
    name = unique_name()
    world.ok("run", "-d", "--name", name, "--cpus", "0.1", IMAGE, *SPIN)
    answer = why(world, name)
    (cpu,) = [each for each in slow(answer, "cpu") if "throttled" in each["text"]]
    assert cpu["is_now"] and "throttled by its limit of 0.1 CPUs in " in cpu["text"]
    assert answer["summary"].startswith("running, held up: ")
    world.ok("pause", name)
    assert why(world, name, "--seconds", "0")["summary"].startswith("paused: nothing in it runs; uid 0 (pid ")
    world.ok("rm", "-f", name)


@pytest.mark.vm
@pytest.mark.requires("cgroup_v2")
def test_pressure_is_told(world: World) -> None:
    """What is throttled waits, which only the kernel's pressure says in a share of time."""
    name = unique_name()
    world.ok("run", "-d", "--name", name, "--cpus", "0.1", IMAGE, *SPIN)
    told = re.compile(r"cpu: in [0-9]+% of the last 10 s something in it waited for that")

    def look() -> bool:
        return any(told.fullmatch(each["text"]) for each in slow(why(world, name, "--seconds", "0"), "cpu"))

    poll_until(look, timeout_seconds=20, interval_seconds=0.5, what="the container's pressure is told")
    world.ok("rm", "-f", name)


def test_its_tenant_is_throttled(world: World) -> None:
    tenant, name = unique_name("acme"), unique_name()
    world.ok("tenant", "create", tenant, "--cpus", "0.1")
    world.ok("run", "-d", "--name", name, "--tenant", tenant, IMAGE, *SPIN)
    found = slow(why(world, name), "cpu", "tenant")
    assert any(each["is_now"] and each["text"].startswith("its tenant: cpu: throttled by its limit") for each in found)
    world.ok("rm", "-f", name)
    world.ok("tenant", "rm", tenant)


@pytest.mark.vm
def test_forks_are_refused(world: World) -> None:
    name = unique_name()
    program = "for i in 1 2 3 4 5 6 7 8; do (sleep 1000 &) ; done; sleep 1000"
    world.ok(
        "run", "-d", "--init", "--name", name, "--pids", "6", IMAGE, "sh", "-c", f"({program}) 2>/dev/null; sleep 1000"
    )

    def told() -> str:
        return "".join(each["text"] for each in slow(why(world, name, "--seconds", "0"), "pids"))

    poll_until(lambda: "forks were refused in all" in told(), what="refused forks are told")
    assert "(limit 6)" in told()
    world.ok("rm", "-f", name)


def test_nothing_is_in_the_way(world: World) -> None:
    name = unique_name()
    world.ok("run", "-d", "--name", name, IMAGE, "sleep", "1000")
    answer = why(world, name, "--seconds", "0.1")
    assert [each for each in answer["slow"] if each["of"] == "container"] == []
    world.ok("rm", "-f", name)
    assert "is not in the range" in world.refused(2, "why", "--seconds", "61", name)

"""Plans on real containers, what of the host is promised, and who is refused more (VAL-04)."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pycontainer.hosting.plans import Plans
from tests.support.world import World, unique_name

PLANS = """\
plans:
  tiny:
    limits: {memory: 64M, cpus: 0.2, pids: 30, disk: unlimited, net_in: 5mbit, ulimits: {nofile: 300}}
  wider:
    inherits: tiny
    limits: {memory: 96M, pids: 50, ulimits: {core: 0}}
"""
POLICY = "admission: {}\nratios: {{memory: 1.5, pids: 1}}\nphysical: {{memory: 200M, pids: 1000}}\n"


@pytest.fixture
def etc(world: World) -> Iterator[Path]:
    """The configuration of the world, with two plans; nothing of it is left to other tests."""
    directory = Path(world.paths.config_dir)
    (directory / "plans").mkdir(parents=True)
    (directory / "plans" / "test.yaml").write_text(PLANS)
    yield directory
    shutil.rmtree(directory)


def judge(etc: Path, admission: str) -> None:
    (etc / "capacity.yaml").write_text(POLICY.format(admission))


def limits(world: World, name: str) -> dict[str, Any]:
    """Return what the kernel says of the caps of a running container."""
    return {row["resource"]: row["limit"] for row in json.loads(world.ok("limits", name, "--format", "json"))}


def capacity(world: World) -> dict[str, dict[str, Any]]:
    found = json.loads(world.ok("capacity", "--seconds", "0", "--format", "json"))
    return {row["resource"]: row for row in found["resources"]}


def test_a_container_of_a_plan(world: World, etc: Path) -> None:
    name = unique_name()
    world.ok("run", "-d", "--name", name, "--plan", "tiny", "--pids", "40", "busybox", "sleep", "1000")
    held = limits(world, name)
    assert (held["memory"], held["cpu"], held["pids"], held["net_in"]) == (64 << 20, 20_000, 40, 5_000_000)
    assert world.ok("exec", name, "sh", "-c", "ulimit -n") == "300"
    assert world.ok("plan", "apply", name, "wider") == name
    held = limits(world, name)
    assert (held["memory"], held["cpu"], held["pids"]) == (96 << 20, 20_000, 50)
    assert world.ok("exec", name, "sh", "-c", "ulimit -n; ulimit -c").split() == ["300", "0"]
    assert world.inspect(name)["spec"]["memory_bytes"] == 96 << 20
    world.ok("rm", "-f", name)


def test_a_plan_named_in_a_file(world: World, etc: Path, tmp_path: Path) -> None:
    """What the file says itself goes before the plan, an option before both, and --plan before the file's."""
    name = unique_name()
    file = tmp_path / "web.yaml"
    file.write_text(
        f"name: {name}\nimage: busybox\ncommand: [sleep, 1000]\nplan: tiny\nmemory: 80M\nnetworks: [none]\n"
    )
    for options, memory, pids in (((), 80, 30), (("-m", "70M"), 70, 30), (("--plan", "wider"), 80, 50)):
        world.ok("create", "-f", str(file), *options)
        spec = world.inspect(name)["spec"]
        assert (spec["memory_bytes"], spec["pids_max"], spec["net_in_bits"]) == (memory << 20, pids, None)
        world.ok("rm", name)


def test_plans_are_applied_to_containers_without_a_network_and_to_tenants(world: World, etc: Path) -> None:
    name, tenant = unique_name(), unique_name("acme")
    world.ok("create", "--name", name, "--network", "none", "busybox", "true")
    world.ok("tenant", "create", tenant)
    world.ok("plan", "apply", name, "tiny")
    spec = world.inspect(name)["spec"]
    assert (spec["pids_max"], spec["net_in_bits"], spec["disk_bytes"]) == (30, None, None)
    assert world.ok("plan", "apply", "--tenant", tenant, "tiny") == tenant
    (info,) = json.loads(world.ok("tenant", "inspect", tenant))
    assert info["limits"] == {
        "memory_bytes": 64 << 20,
        "cpu_quota_usec": 20_000,
        "pids_max": 30,
        "net_in_bits": 5_000_000,
        "net_out_bits": 10_000_000,
    }
    refused = world.cli("plan", "apply", "missing", name, "wider")
    assert (refused.exit_code, refused.stdout) == (3, f"{name}\n")
    assert "no container 'missing'" in refused.stderr
    world.ok("rm", name)
    world.ok("tenant", "rm", tenant)


def test_list_show_scale_and_split(world: World, etc: Path) -> None:
    assert world.ok("plan", "list", "-q").split() == ["default", "large", "medium", "small", "tiny", "wider"]
    row = next(line for line in world.ok("plan", "list").splitlines() if line.startswith("wider"))
    assert row.split() == ["wider", "tiny", "96M", "0.2", "50", "unlimited", "5mbit", "10mbit"]
    shown = world.ok("plan", "show", "wider")
    assert shown.splitlines()[0] == f"# wider: {etc}/plans/test.yaml:4, inherits tiny"
    assert "  cpus: 0.2              # tiny" in shown.splitlines()
    assert "  net_out: 10mbit        # default" in shown.splitlines()
    assert "memory: 128MiB" in world.ok("plan", "scale", "tiny", "2")
    assert world.ok("plan", "scale", "wider", "150%", "half-more") == f"{etc}/plans/half-more.yaml"
    derived = Plans.load(str(etc / "plans")).limits("half-more")
    assert (derived["memory"], derived["cpus"], derived["pids"]) == ("144MiB", "0.3", 75)
    assert derived["ulimits"] == {"nofile": 300, "core": 0}
    assert "there is a plan 'half-more' already" in world.refused(4, "plan", "scale", "tiny", "3", "half-more")
    world.ok("plan", "scale", "tiny", "3", "half-more", "--force")
    judge(etc, "refuse")
    assert world.ok("plan", "split", "--n", "4", "quarter") == f"{etc}/plans/quarter.yaml"
    derived = Plans.load(str(etc / "plans")).limits("quarter")
    assert (derived["memory"], derived["pids"]) == ("75MiB", 250)  # of 200 MiB, of which one and a half may be promised
    assert "factor: 'much' is not a ratio" in world.refused(2, "plan", "scale", "tiny", "much")
    assert "no plan 'tini', did you mean 'tiny'?" in world.refused(3, "plan", "show", "tini")


def test_everything_that_is_wrong_with_plans_is_told_before_anything_is_made(
    world: World, etc: Path, tmp_path: Path
) -> None:
    (etc / "plans" / "a.yaml").write_text("limits:\n  memory: 200Q\n  memroy: 1G\n")
    (etc / "plans" / "b.yaml").write_text("inherits: tiny\nlimits:\n  memory_high: 90M\n")
    file = tmp_path / "web.yaml"
    file.write_text("image: busybox\nplan: tiny\n")
    wrong = [
        f"pycontainer: {etc}/plans/a.yaml:2: memory: '200Q' is not a size",
        f"pycontainer: {etc}/plans/a.yaml:3: unknown limit 'memroy', did you mean 'memory'?",
        f"pycontainer: {etc}/plans/b.yaml:3: memory_high: 90MiB is more than the 64MiB of memory",
    ]
    for command in (("create", "--plan", "tiny", "busybox", "true"), ("create", "-f", str(file)), ("plan", "list")):
        assert world.refused(2, *command).splitlines()[:3] == wrong
    for name in ("a", "b"):
        (etc / "plans" / f"{name}.yaml").unlink()
    file.write_text("image: busybox\nplan: tini\npids: no\nmemory: 5GB\n")
    refused = world.refused(2, "create", "-f", str(file)).splitlines()
    assert refused[:3] == [
        f"pycontainer: {file}:2: plan: no plan 'tini', did you mean 'tiny'?",
        f"pycontainer: {file}:3: pids: 'no' is not a whole number",
        f"pycontainer: {file}:4: memory: '5GB' is ambiguous: 1000 or 1024",
    ]
    assert "no plan 'tini'" in world.refused(125, "run", "--plan", "tini", "busybox", "true")
    assert world.ok("ps", "-aq") == ""


def test_what_is_promised(world: World, etc: Path) -> None:
    """Running or not; a tenant in place of its containers; volumes by their size."""
    names, tenant = [unique_name() for _ in range(3)], unique_name("acme")
    before = capacity(world)
    world.ok("tenant", "create", tenant, "--memory", "300M")
    world.ok("create", "--name", names[0], "-m", "100M", "--cpus", "0.5", "--disk", "50M", "busybox", "true")
    world.ok("run", "-d", "--name", names[1], "-m", "150M", "--tenant", tenant, "busybox", "sleep", "1000")
    world.ok("create", "--name", names[2], "--pids", "unlimited", "busybox", "true")
    world.ok("volume", "create", "--size", "40M", "data")
    after = capacity(world)
    grown = {key: after[key]["promised"] - before[key]["promised"] for key in after}
    assert grown == {
        "memory": 400 << 20,
        "cpus": 50_000,
        "pids": 2 * 2048,
        "disk": 90 << 20,
        "net_in": 0,
        "net_out": 0,
    }
    assert after["memory"]["uncapped"] - before["memory"]["uncapped"] == 1
    assert after["pids"]["uncapped"] - before["pids"]["uncapped"] == 1
    assert after["cpus"]["physical"] == (os.cpu_count() or 1) * 100_000
    assert 0 < after["memory"]["used"] <= after["memory"]["physical"]
    assert after["pids"]["used"] >= 1
    assert 0 < after["disk"]["used"] <= after["disk"]["physical"]
    rows = world.ok("capacity", "--seconds", "0.2").splitlines()
    assert rows[0].split() == ["RESOURCE", "PHYSICAL", "PROMISED", "USED", "RATIO", "ALLOWED", "LEFT", "UNCAPPED"]
    assert rows[-1] == "admission: off"
    world.ok("rm", "-f", *names)
    world.ok("tenant", "rm", tenant)
    world.ok("volume", "rm", "data")
    assert {key: row["promised"] for key, row in capacity(world).items()} == {
        key: row["promised"] for key, row in before.items()
    }


def test_who_is_promised_too_much_is_refused(world: World, etc: Path) -> None:
    """300 MiB and 1000 processes may be promised. A refusal leaves nothing, and takes nothing from what is there."""
    judge(etc, "refuse")
    one, two, tenant = unique_name(), unique_name(), unique_name("acme")
    world.ok("run", "-d", "--name", one, "-m", "180M", "--pids", "500", "busybox", "sleep", "1000")
    there = os.listdir(world.paths.containers_dir)
    refused = world.refused(5, "create", "--name", two, "-m", "121M", "--pids", "501", "busybox", "true")
    assert (
        f"container '{two}' is more than this host may promise: memory: 301MiB would be promised of 200MiB, and 1.5 times "
        "that is the most (180MiB are promised already); pids: 1001 would be promised of 1000" in refused
    )
    assert "memory: no cap, so it could take all" in world.refused(
        5, "create", "--name", two, "--pids", "1", "busybox", "true"
    )
    assert "container" in world.refused(125, "run", "--rm", "--name", two, "-m", "1G", "busybox", "true")
    assert "more than" in world.refused(5, "clone", one, two)
    assert "more than" in world.refused(5, "set", one, "--memory", "301M")
    assert "more than" in world.refused(5, "set", one, "--memory", "unlimited", "--transient")
    assert f"tenant '{tenant}' is more than" in world.refused(5, "tenant", "create", tenant, "--memory", "121M")
    assert limits(world, one)["memory"] == 180 << 20
    assert os.listdir(world.paths.containers_dir) == there
    assert world.ok("tenant", "ls", "-q") == ""
    world.ok("tenant", "create", tenant, "--memory", "100M", "--pids-limit", "100")
    world.ok(
        "create", "--name", two, "--tenant", tenant, "-m", "1G", "busybox", "true"
    )  # all that its tenant has is 100M
    assert "more than" in world.refused(5, "tenant", "set", tenant, "--memory", "121M")
    world.ok("tenant", "set", tenant, "--memory", "120M")
    world.ok("set", one, "--memory", "170M")
    assert capacity(world)["memory"]["promised"] == 290 << 20
    (etc / "capacity.yaml").write_text(POLICY.format("refuse").replace("1.5", "1"))
    world.ok("set", one, "--memory", "160M")  # still above the ratio, but less
    world.ok("restart", "-t", "0", one)
    world.ok("rm", "-f", one, two)
    world.ok("tenant", "rm", tenant)


def test_who_is_promised_too_much_is_warned(world: World, etc: Path) -> None:
    judge(etc, "warn")
    one, tenant = unique_name(), unique_name("acme")
    cursor = json.loads(world.ok("events", "--since", "0", "--no-follow", "--format", "json").splitlines()[-1])["seq"]
    for command in (
        ("create", "--name", one, "-m", "301M", "busybox", "true"),
        ("set", one, "--memory", "302M"),
        ("tenant", "create", tenant, "--memory", "10M"),
        ("tenant", "set", tenant, "--memory", "20M"),
        ("run", "--rm", "-m", "400M", "busybox", "true"),
    ):
        done = world.cli(*command)
        assert done.exit_code == 0, done
        assert f"pycontainer: warning: more is promised than '{etc}/capacity.yaml' allows: memory: " in done.stderr
    done = world.cli("set", one, "--memory", "301M")
    assert (done.exit_code, done.stderr) == (0, "")
    events = [
        json.loads(line) for line in world.ok("events", "--since", "0", "--no-follow", "--format", "json").splitlines()
    ]
    told = [event for event in events if event["seq"] > cursor and event["type"] == "over-capacity"]
    assert [event.get("name") == one for event in told] == [True, True, False, False, False]
    assert [event.get("tenant") for event in told] == [None, None, tenant, tenant, None]
    world.ok("rm", one)
    world.ok("tenant", "rm", tenant)


def test_a_policy_that_nobody_understands_refuses_promises_alone(world: World, etc: Path) -> None:
    name = unique_name()
    world.ok("create", "--name", name, "-m", "100M", "busybox", "sleep", "1000")
    (etc / "capacity.yaml").write_text("admission: refuse\nratios: {memry: 1}\nphysical: {disk: much}\n")
    refused = world.refused(2, "create", "-m", "1M", "busybox", "true")
    assert refused.splitlines()[:3] == [
        "pycontainer: how much may be promised is unknown:",
        f"pycontainer: {etc}/capacity.yaml:2: ratios.memry: there is no such resource, did you mean 'memory'?",
        f"pycontainer: {etc}/capacity.yaml:3: physical.disk: 'much' is not a size",
    ]
    shown = world.cli("capacity", "--seconds", "0")
    assert (shown.exit_code, "ratios.memry" in shown.stderr) == (0, True)
    assert "ratios.memry" in world.refused(2, "plan", "split", "--n", "2")
    world.ok("start", name)
    (etc / "capacity.yaml").chmod(0o622)
    assert "others could have written it" in world.refused(5, "set", name, "--memory", "10M")
    (etc / "capacity.yaml").unlink()
    world.ok("set", name, "--memory", "90M")
    world.ok("rm", "-f", name)

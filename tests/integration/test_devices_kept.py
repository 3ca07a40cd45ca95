"""A grant, and the wall around it, stay what they were whatever happens to the container and to what looks after it."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.integration.conftest import IMAGE
from tests.support.devices import FOREVER, check_grant, loop_device, policy, running
from tests.support.poll import poll_until
from tests.support.world import World

pytestmark = pytest.mark.vm


def test_a_grant_is_its_owners_whatever_happens(own_world: World, tmp_path: Path) -> None:
    """DEV-03"""
    world = own_world
    with loop_device(str(tmp_path)) as device:
        owner, other = running(world, "--device", f"{device}:/dev/xvda:r"), running(world)
        check_grant(world, owner, other, device)
        for name in (owner, other):
            world.ok("set", name, "--memory", "64M", "--pids-limit", "100")
        check_grant(world, owner, other, device)
        before = policy(world, owner)
        world.ok("pause", owner)
        assert (world.status(owner), policy(world, owner)) == ("paused", before)
        world.ok("unpause", owner)
        pid = world.supervisor_pid()
        os.kill(pid, signal.SIGKILL)
        poll_until(lambda: pid not in world.processes(), what="the supervisor is gone")
        check_grant(world, owner, other, device)
        world.ok("set", owner, "--memory", "80M")
        check_grant(world, owner, other, device)
        world.ok("restart", "-t", "0", owner, other)
        check_grant(world, owner, other, device)
        assert world.inspect(owner)["security"]["loosened"] == [f"--device {device}"]
        world.ok("rm", "-f", owner, other)


@pytest.mark.requires("cgroup_v1")
def test_a_host_that_cannot_hold_it(own_world: World) -> None:
    """Nothing starts without the wall unless that is asked for, and then it is said."""
    world = own_world
    world.ok("service", "stop")
    script = 'umount /sys/fs/cgroup/devices && exec "$@"'

    def without_devices(*arguments: str) -> "subprocess.CompletedProcess[str]":
        argv = ["unshare", "--mount", "sh", "-c", script, "sh", *world.argv(*arguments)]
        return subprocess.run(argv, env=world.environment, capture_output=True, text=True, check=False)

    refused = without_devices("run", "--rm", IMAGE, "true")
    assert refused.returncode == 125
    assert "this host cannot hold which devices are used: no devices controller" in refused.stderr
    started = without_devices("run", "-d", "--name", "open", "--best-effort", IMAGE, *FOREVER)
    assert started.returncode == 0, started.stderr
    record = world.inspect("open")
    assert record["security"]["devices"] == ["a *:* rwm"]
    assert "devices is not limited as asked" in " ".join(record["warnings"])
    checks = json.loads(without_devices("check", "--format", "json").stdout)["checks"]
    (found,) = (check for check in checks if check["name"] == "device policy")
    assert (found["status"], found["needed"]) == ("missing", True)

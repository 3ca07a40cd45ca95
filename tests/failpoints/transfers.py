"""The transfer of a tenant that is used up, and given back."""

import json
from collections.abc import Iterator

from tests.failpoints.common import remove, running
from tests.support.hostns import OUTSIDE_IP
from tests.support.world import World


def use_up_a_transfer(world: World) -> Iterator[tuple[str, ...]]:
    """A byte is all that it may transfer: its container is stopped, whoever dies before that."""
    _transferring(world)
    yield ("tenant", "set", "acme", "--transfer", "1", "--transfer-action", "stop")
    (info,) = json.loads(world.ok("tenant", "inspect", "acme"))
    if info["transfer"] is not None:
        world.wait_for_status("one", "stopped", timeout_seconds=30)
        assert "has used up its transfer" in world.refused(5, "start", "one")
    _given_back(world)


def give_more_transfer(world: World) -> Iterator[tuple[str, ...]]:
    """What was stopped runs again, whoever dies before that."""
    _transferring(world)
    world.ok("tenant", "set", "acme", "--transfer", "1", "--transfer-action", "stop")
    world.wait_for_status("one", "stopped", timeout_seconds=30)
    yield ("tenant", "set", "acme", "--transfer", "unlimited")
    _given_back(world)


def _transferring(world: World) -> None:
    world.ok("tenant", "create", "acme")
    running(world, "--tenant", "acme", "--stop-timeout", "0")
    world.ok("exec", "one", "sh", "-c", f"echo x | nc -w 1 {OUTSIDE_IP} 9 || true")
    used = json.loads(world.ok("usage", "--tenant", "acme", "--format", "json"))
    assert used["tenants"][0]["net_out_bytes"] > 0


def _given_back(world: World) -> None:
    world.ok("tenant", "set", "acme", "--transfer", "unlimited", "--net-out", "1gbit")
    world.wait_for_status("one", "running", timeout_seconds=30)
    (info,) = json.loads(world.ok("tenant", "inspect", "acme"))
    assert info["transfer"] is None
    remove(world, "one")
    world.ok("tenant", "rm", "acme")

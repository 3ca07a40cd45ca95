"""The self-test proves every cap on this host, and tells of those that it cannot set."""

import json

import pytest

from tests.support.world import World

pytestmark = [pytest.mark.vm, pytest.mark.measures]


def test_every_cap_holds(world: World) -> None:
    result = world.cli("selftest", "limits", "--format", "json", timeout_seconds=300)
    print(result.stdout, result.stderr)  # the figures, for whoever reads a failure
    found = {outcome["resource"]: outcome for outcome in json.loads(result.stdout)["limits"]}
    assert {name: outcome["verdict"] for name, outcome in found.items()} == dict.fromkeys(
        ("memory", "cpu", "pids", "disk", "disk writes", "disk reads", "network out", "network in"), "holds"
    )
    assert result.exit_code == 0
    assert found["pids"]["measured"] == 48
    assert world.ok("ps", "-aq") == ""

"""Random operations while everything is killed that can be: what was answered is true, nothing is left. FLT-01, FLT-03.

PYCONTAINER_TEST_CHAOS_SECONDS (20) is how long, PYCONTAINER_TEST_CHAOS_SEED repeats a run as far as one can be repeated.
"""

import os
import random
from pathlib import Path

import pytest

from tests.chaos.run import Chaos
from tests.support.deaths import at_rest
from tests.support.world import World

SECONDS = float(os.environ.get("PYCONTAINER_TEST_CHAOS_SECONDS", "20"))
CLIENTS = 8


def test_chaos(own_world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world = own_world
    world.ok("create", "--name", "warm", "busybox", "true")
    world.ok("snapshot", "create", "warm", "one")
    world.ok("rm", "warm")
    before = at_rest(world)
    seed = int(os.environ.get("PYCONTAINER_TEST_CHAOS_SEED") or random.randrange(1 << 32))
    with capsys.disabled():
        print(f"\nchaos: PYCONTAINER_TEST_CHAOS_SEED={seed}, {SECONDS:g} s, {CLIENTS} clients")
    chaos = Chaos(world, seed, CLIENTS)
    try:
        chaos.play(SECONDS)
        chaos.finish()
    finally:
        chaos.close()
        logs = [Path(f"{world.paths.run_dir}/{name}.log").read_text() for name in ("supervisor", "monitor")]
        assert not any("Traceback" in log for log in logs), "\n".join(logs)
    told = ", ".join(f"{count} {what}" for what, count in sorted(chaos.kills.items()))
    answered = ", ".join(f"{count} {what}" for what, count in sorted(chaos.answers.items()))
    with capsys.disabled():
        print(f"chaos: killed {told}; answers: {answered}; {chaos.checked} containers looked at")
    assert chaos.answers["ok"] > 0 and chaos.checked >= CLIENTS
    chaos.forget()
    at_rest(world, before)

"""When the kernel kills for want of memory: who, how large, whose limit; and all of a container if that is wished."""

import contextlib
import threading
from typing import Any

import pytest

from pycontainer import PycontainerError
from tests.integration.conftest import IMAGE
from tests.support.poll import poll_until
from tests.support.world import World, unique_name

pytestmark = pytest.mark.vm


class Listener:
    """Collects the events of a world."""

    def __init__(self, world: World) -> None:
        self.events: list[dict[str, Any]] = []
        self._client = world.client()
        self._stream = self._client.events()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        with contextlib.suppress(PycontainerError):  # the world is closed
            for event in self._stream:
                self.events.append(dict(event))

    def first(self, kind: str, name: str) -> dict[str, Any]:
        def find() -> dict[str, Any] | None:
            return next((e for e in self.events if e["type"] == kind and e.get("name") == name), None)

        found = poll_until(find, what=f"event {kind} of {name}")
        assert found is not None
        return found


def test_the_victim_and_its_size_are_told(world: World) -> None:
    listener = Listener(world)
    name = unique_name()
    world.ok("run", "-d", "--name", name, "-m", "32M", IMAGE, "sh", "-c", "payload allocate 64; sleep 1000")
    event = listener.first("oom", name)
    assert event["limit_of"] == "container"
    assert event["victim"]["command"] == "payload"
    assert event["victim"]["rss_bytes"] == pytest.approx(32 << 20, rel=0.1)
    assert world.status(name) == "running"  # the shell lives on


def test_the_limit_was_the_tenants(world: World) -> None:
    listener = Listener(world)
    tenant, name = unique_name("acme"), unique_name()
    world.ok("tenant", "create", tenant, "--memory", "32M")
    world.ok("run", "-d", "--name", name, "--tenant", tenant, IMAGE, "sh", "-c", "payload allocate 64; sleep 1000")
    assert listener.first("oom", name)["limit_of"] == "tenant"
    world.ok("rm", "-f", name)
    world.ok("tenant", "rm", tenant)


@pytest.mark.requires("cgroup_v2")
def test_all_of_a_group_are_killed(world: World) -> None:
    name = unique_name()
    program = "payload sleep 0 & payload allocate 64; sleep 1000"
    world.ok("run", "-d", "--name", name, "-m", "32M", "--oom-group", IMAGE, "sh", "-c", program)
    world.wait_for_status(name, "stopped")
    assert world.inspect(name)["exit_code"] == 137


@pytest.mark.requires("cgroup_v1")
def test_v1_has_no_groups(world: World) -> None:
    assert "oom_group: cgroup v1 has no such limit" in world.refused(2, "create", "--oom-group", IMAGE, "true")

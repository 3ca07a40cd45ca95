"""--systemd-cgroup: the container's cgroup is a scope of a systemd that runs, whose limits are properties of it."""

import json
import os
import subprocess
from collections.abc import Iterator

import pytest

from tests.conformance.runtime import SLEEP, Container
from tests.support.poll import poll_until

pytestmark = [pytest.mark.systemd, pytest.mark.requires("systemd", "cgroup_v2")]

MIB = 1 << 20
PARENT = "pycontainertest.slice"


class Scope:
    """The unit of a container."""

    def __init__(self, container: Container) -> None:
        self.container = container
        self.slice = f"pycontainertest-{container.runtime.tag}.slice"
        self.unit = f"oci-{container.id}.scope"
        self.path = f"/{PARENT}/{self.slice}/{self.unit}"

    def property(self, name: str) -> str:
        command = ["systemctl", "show", "--property", name, "--value", self.unit]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def file(self, name: str) -> str:
        with open(f"/sys/fs/cgroup{self.path}/{name}") as file:
            return file.read().strip()


@pytest.fixture
def scope(container: Container) -> Iterator[Scope]:
    made = Scope(container)
    container.runtime.options = ("--systemd-cgroup",)
    container.linux["cgroupsPath"] = f"{made.slice}:oci:{container.id}"
    yield made
    container.runtime.clear()
    subprocess.run(["systemctl", "stop", made.slice, PARENT], capture_output=True, check=False)
    poll_until(lambda: not os.path.exists(f"/sys/fs/cgroup/{PARENT}"), what="the slices are gone")


def cgroup_of(pid: int | str) -> str:
    with open(f"/proc/{pid}/cgroup") as file:
        return file.read().strip().removeprefix("0::")


def test_life_of_a_scope(container: Container, scope: Scope) -> None:
    container.linux["resources"].update({"memory": {"limit": 64 * MIB}, "pids": {"limit": 30}})
    container.create(*SLEEP)
    assert cgroup_of(container.pid()) == scope.path
    assert (scope.property("ActiveState"), scope.property("Delegate")) == ("active", "yes")
    assert (scope.property("MemoryMax"), scope.file("memory.max")) == (str(64 * MIB), str(64 * MIB))
    container.start()
    assert container.status() == "running"
    container.stop()
    container.delete()
    poll_until(lambda: scope.property("ActiveState") == "inactive", what="the scope has ended")
    assert not os.path.exists(f"/sys/fs/cgroup{scope.path}")


def test_update_outlives_a_reload(container: Container, scope: Scope) -> None:
    """systemd writes its own idea of the limits again whenever it reloads."""
    container.create_and_start(*SLEEP)
    wanted = {"memory": {"limit": 80 * MIB}, "pids": {"limit": 44}, "cpu": {"shares": 2048}}
    container.runtime.ok("update", "--resources", "-", container.id, stdin=json.dumps(wanted))
    subprocess.run(["systemctl", "daemon-reload"], check=True)
    assert (scope.file("memory.max"), scope.file("pids.max"), scope.file("cpu.weight")) == (str(80 * MIB), "44", "79")


def test_exec_pause_and_kill(container: Container, scope: Scope) -> None:
    container.create_and_start(*container.shell("payload sleep 0 & exec payload sleep 0"))
    assert container.exec("cat", "/proc/self/cgroup").out.strip().removeprefix("0::") in (scope.path, "/")
    container.runtime.ok("pause", container.id)
    assert container.status() == "paused" and "frozen 1" in scope.file("cgroup.events")
    container.runtime.ok("resume", container.id)
    assert container.status() == "running"
    container.runtime.ok("kill", "--all", container.id, "KILL")
    container.wait_stopped()


def test_forced_deletion(container: Container, scope: Scope) -> None:
    container.create_and_start(*SLEEP)
    container.delete("--force")
    assert not container.exists()
    poll_until(lambda: scope.property("ActiveState") == "inactive", what="the scope has ended")


@pytest.mark.parametrize("path", ["/absolute", "a:b", "nodot:oci:x", "a/b.slice:oci:x", "../x.slice:oci:x"])
def test_path_that_is_no_unit(container: Container, scope: Scope, path: str) -> None:
    container.linux["cgroupsPath"] = path
    done = container.try_create("true")
    assert done.code == 1 and done.err
    assert not container.exists()

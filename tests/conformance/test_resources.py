"""Limits at creation, update, pause and resume, events."""

import json
import os
import tempfile
from collections.abc import Callable, Sequence

import pytest

from tests.conformance.runtime import SLEEP, Container
from tests.support.poll import poll_until

MIB = 1 << 20
IS_V2 = os.path.exists("/sys/fs/cgroup/cgroup.controllers")


def limits(container: Container) -> dict[str, str]:
    pid = container.pid()
    return {
        "memory": container.cgroup_file("memory", "memory.limit_in_bytes", "memory.max", pid=pid),
        "pids": container.cgroup_file("pids", "pids.max", "pids.max", pid=pid),
        "cpu": container.cgroup_file("cpu", "cpu.cfs_quota_us", "cpu.max", pid=pid).split()[0],
    }


RESOURCES = {
    "memory": {"limit": 64 * MIB},
    "pids": {"limit": 33},
    "cpu": {"quota": 50000, "period": 100000, "shares": 512},
}


@pytest.mark.vm
def test_limits(container: Container) -> None:
    container.linux["resources"].update(RESOURCES)
    container.create(*SLEEP)
    assert limits(container) == {"memory": str(64 * MIB), "pids": "33", "cpu": "50000"}


@pytest.mark.vm
def test_memory_limit_is_kept(container: Container) -> None:
    container.linux["resources"].update({"memory": {"limit": 32 * MIB, "swap": 32 * MIB}})
    assert container.run("payload", "allocate", "96", "out", "survived").code == 128 + 9


@pytest.mark.vm
def test_pids_limit_is_kept(container: Container) -> None:
    container.linux["resources"].update({"pids": {"limit": 16}})
    out = container.output_of("payload", "fork", "40", "out", "end")
    assert "fork: EAGAIN" in out


@pytest.mark.vm
@pytest.mark.parametrize("form", ["/{}", "{}", "/{}/deep/er", "{}/relative"])
def test_cgroups_path(container: Container, form: str) -> None:
    path = form.format(container.id)
    container.linux["cgroupsPath"] = path
    container.create(*SLEEP)
    with open(f"/proc/{container.pid()}/cgroup") as file:
        found = [line.rstrip("\n").split(":", 2)[2] for line in file]
    wanted = f"/{path.lstrip('/')}"
    assert any(each == wanted if path.startswith("/") else each.endswith(wanted) for each in found), found
    container.delete("--force")
    for directory, _, _ in os.walk("/sys/fs/cgroup", topdown=False):  # parents may be others' by now: they stay
        if os.path.basename(directory) in (container.id, "deep") and f"/{container.id}" in directory:
            assert not directory.endswith(path)
            os.rmdir(directory)


def test_update_from_stdin(container: Container) -> None:
    container.linux["resources"].update(RESOURCES)
    container.create_and_start(*SLEEP)
    wanted = {"memory": {"limit": 80 * MIB}, "cpu": {"quota": 70000, "period": 100000}}
    container.runtime.ok("update", "--resources", "-", container.id, stdin=json.dumps(wanted))
    assert limits(container) == {"memory": str(80 * MIB), "pids": "33", "cpu": "70000"}


def test_update_from_a_file(container: Container) -> None:
    container.create_and_start(*SLEEP)
    with open(f"{container.bundle}/resources", "w") as file:
        json.dump({"pids": {"limit": 44}}, file)
    container.runtime.ok("update", f"--resources={container.bundle}/resources", container.id)
    assert limits(container)["pids"] == "44"


def test_update_by_options(container: Container) -> None:
    container.linux["resources"].update(RESOURCES)
    container.create_and_start(*SLEEP)
    container.runtime.ok(
        "update", "--memory", str(96 * MIB), "--pids-limit", "55", "--cpu-quota", "60000", container.id
    )
    assert limits(container) == {"memory": str(96 * MIB), "pids": "55", "cpu": "60000"}


@pytest.mark.vm
def test_every_field_of_an_update(container: Container) -> None:
    """Each by itself: it gets its value, and all others stay."""
    container.linux["resources"].update(RESOURCES | {"memory": {"limit": 64 * MIB, "swap": 128 * MIB}})
    container.create_and_start(*SLEEP)
    pid = container.pid()
    for wanted, *changes in FIELDS:
        before = {name: container.cgroup_file(*names, pid=pid) for name, names in FILES.items()}
        container.runtime.ok("update", "--resources", "-", container.id, stdin=json.dumps(wanted))
        after = {name: container.cgroup_file(*names, pid=pid) for name, names in FILES.items()}
        assert after == before | changes[IS_V2], wanted


FILES = {
    "limit": ("memory", "memory.limit_in_bytes", "memory.max"),
    "reservation": ("memory", "memory.soft_limit_in_bytes", "memory.low"),
    "swap": ("memory", "memory.memsw.limit_in_bytes", "memory.swap.max"),
    "shares": ("cpu", "cpu.shares", "cpu.weight"),
    "quota": ("cpu", "cpu.cfs_quota_us", "cpu.max"),
    "cpus": ("cpuset", "cpuset.cpus", "cpuset.cpus"),
    "mems": ("cpuset", "cpuset.mems", "cpuset.mems"),
    "pids": ("pids", "pids.max", "pids.max"),
}
# what is asked for, the files that change on v1 and on v2, where swap is counted by itself
FIELDS = [
    (
        {"memory": {"limit": 80 * MIB, "swap": 128 * MIB}},
        {"limit": str(80 * MIB)},
        {"limit": str(80 * MIB), "swap": str(48 * MIB)},
    ),
    ({"memory": {"reservation": 16 * MIB}}, {"reservation": str(16 * MIB)}, {"reservation": str(16 * MIB)}),
    ({"memory": {"limit": 80 * MIB, "swap": 100 * MIB}}, {"swap": str(100 * MIB)}, {"swap": str(20 * MIB)}),
    ({"cpu": {"shares": 2048}}, {"shares": "2048"}, {"shares": "79"}),
    ({"cpu": {"quota": 40000, "period": 100000}}, {"quota": "40000"}, {"quota": "40000 100000"}),
    ({"cpu": {"quota": -1, "period": 100000}}, {"quota": "-1"}, {"quota": "max 100000"}),
    ({"cpu": {"cpus": "0"}}, {"cpus": "0"}, {"cpus": "0"}),
    ({"cpu": {"mems": "0"}}, {"mems": "0"}, {"mems": "0"}),
    ({"pids": {"limit": 44}}, {"pids": "44"}, {"pids": "44"}),
    ({"pids": {"limit": -1}}, {"pids": "max"}, {"pids": "max"}),
]


@pytest.mark.vm
@pytest.mark.parametrize(
    ("wanted", "names", "value"),
    [
        ({"cpu": {"idle": 1}}, ("cpu", "cpu.idle", "cpu.idle"), "1"),
        ({"cpu": {"burst": 9000}}, ("cpu", "cpu.cfs_burst_us", "cpu.max.burst"), "9000"),
    ],
    ids=["idle", "burst"],
)
@pytest.mark.deviates("runc", "1.1 does not know it")
def test_newer_fields_of_an_update(
    container: Container, wanted: object, names: tuple[str, str, str], value: str
) -> None:
    container.linux["resources"].update(RESOURCES)
    container.create_and_start(*SLEEP)
    container.runtime.ok("update", "--resources", "-", container.id, stdin=json.dumps(wanted))
    assert container.cgroup_file(*names) == value


@pytest.mark.vm
@pytest.mark.requires("cgroup_v2")
def test_unified(container: Container) -> None:
    """Any file of the unified hierarchy, at creation and later."""
    container.linux["resources"]["unified"] = {"memory.high": str(48 * MIB), "pids.max": "21"}
    container.create_and_start(*SLEEP)
    names = {"memory.high": ("memory", "", "memory.high"), "pids.max": ("pids", "", "pids.max")}
    found = {name: container.cgroup_file(*where) for name, where in names.items()}
    assert found == {"memory.high": str(48 * MIB), "pids.max": "21"}
    container.runtime.ok("update", "--resources", "-", container.id, stdin='{"unified": {"pids.max": "22"}}')
    assert container.cgroup_file("pids", "", "pids.max") == "22"


@pytest.mark.parametrize("text", ["", "x", "[]", '{"memory": {"limit": "64M"}}', '{"pids": {"limit": {}}}'])
def test_bad_update_changes_nothing(container: Container, text: str) -> None:
    container.linux["resources"].update(RESOURCES)
    container.create_and_start(*SLEEP)
    before = limits(container)
    container.runtime.fails("update", "--resources", "-", container.id, stdin=text)
    assert limits(container) == before


# pause, resume


@pytest.mark.vm
def test_pause_and_resume(container: Container) -> None:
    container.create_and_start(*container.shell("while :; do echo x; sleep 0.02; done"))
    container.wait_for_output("x")
    container.runtime.ok("pause", container.id)
    assert container.status() == "paused"
    before = container.output()
    assert container.output() == before
    container.runtime.ok("resume", container.id)
    assert container.status() == "running"
    poll_until(lambda: len(container.output()) > len(before), what="it goes on")


def test_pause_of_what_does_not_run(container: Container) -> None:
    container.create_and_start("true")
    container.wait_stopped()
    container.runtime.fails("pause", container.id)
    assert container.status() == "stopped"


def test_resume_of_what_is_not_paused(container: Container) -> None:
    container.create_and_start(*SLEEP)
    container.runtime.fails("resume", container.id)
    assert container.status() == "running"


@pytest.mark.vm
def test_exec_in_a_paused_container(container: Container) -> None:
    container.create_and_start(*SLEEP)
    container.runtime.ok("pause", container.id)
    container.runtime.fails("exec", container.id, "true", code=255)


@pytest.mark.vm
def test_delete_force_of_a_paused_container(container: Container) -> None:
    container.create_and_start(*SLEEP)
    container.runtime.ok("pause", container.id)
    container.delete("--force")
    assert not container.exists()


@pytest.mark.vm
def test_kill_of_a_paused_container(container: Container) -> None:
    """Engines kill first and resume then, or the other way round."""
    container.create_and_start(*SLEEP)
    container.runtime.ok("pause", container.id)
    container.kill("KILL")
    container.runtime.call("resume", container.id)
    container.wait_stopped()


# events


@pytest.mark.vm
def test_stats(container: Container) -> None:
    container.linux["resources"].update(RESOURCES)
    container.create_and_start("payload", "allocate", "8", *SLEEP[1:])
    container.wait_for_output("allocated 8")
    event = json.loads(container.runtime.ok("events", "--stats", container.id))
    assert (event["type"], event["id"]) == ("stats", container.id)
    data = event["data"]
    assert data["memory"]["usage"]["usage"] >= 8 * MIB
    assert data["memory"]["usage"]["limit"] == 64 * MIB
    assert data["pids"] == {"current": 1, "limit": 33}
    assert data["cpu"]["usage"]["total"] > 0


PSI_DATA = {"avg10": float, "avg60": float, "avg300": float, "total": int}


@pytest.mark.vm
def test_shape_of_stats(container: Container) -> None:
    """containerd and Podman decode these names; what a kernel does not count is absent, and never of another type."""
    container.linux["resources"].update(RESOURCES)
    container.create_and_start(*SLEEP)
    out = container.runtime.ok("events", "--stats", container.id)
    assert out.endswith("\n") and out.count("\n") == 1
    data = json.loads(out)["data"]
    assert {"cpu", "memory", "pids", "blkio", "hugetlb", "intel_rdt", "network_interfaces"} <= set(data)
    usage = data["cpu"]["usage"]
    assert {"kernel", "user"} <= set(usage) and all(isinstance(usage[key], int) for key in ("kernel", "user", "total"))
    assert isinstance(data["cpu"]["throttling"], dict)
    assert set(data["cpu"]["throttling"]) <= {"periods", "throttledPeriods", "throttledTime"}
    for kind in ("usage", "swap", "kernel", "kernelTCP"):
        found = data["memory"][kind]
        assert {"limit", "failcnt"} <= set(found) <= {"limit", "usage", "max", "failcnt"}, kind
        assert all(isinstance(value, int) and value >= 0 for value in found.values()), kind
    assert all(isinstance(value, int) for value in data["memory"]["raw"].values())
    assert {"inactive_file", "cache" if not IS_V2 else "file"} <= set(data["memory"]["raw"])
    assert isinstance(data["blkio"], dict)
    assert set(data["blkio"]) <= {
        "ioServiceBytesRecursive", "ioServicedRecursive", "ioQueueRecursive", "ioServiceTimeRecursive",
        "ioWaitTimeRecursive", "ioMergedRecursive", "ioTimeRecursive", "sectorsRecursive", "psi",
    }  # fmt: skip
    for part in ("cpu", "memory", "blkio"):  # pressure: of v2, and since runc 1.2
        for stall in data[part].get("psi", {}).values():
            assert {key: type(value) for key, value in stall.items()} == PSI_DATA, part


def test_events_of_a_stopped_container(container: Container) -> None:
    container.create_and_start("true")
    container.wait_stopped()
    container.runtime.fails("events", "--stats", container.id)


def test_stream_of_events_ends_with_the_container(container: Container) -> None:
    container.create_and_start(*SLEEP)
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as null:
        fds: Sequence[int] = (null.fileno(), out.fileno(), out.fileno())
        command = container.runtime.start("events", "--interval", "100ms", container.id, fds=fds)

        def lines() -> list[bytes]:
            return os.pread(out.fileno(), 1 << 20, 0).splitlines()

        poll_until(lambda: len(lines()) >= 2, what="two events")
        container.stop()
        container.delete()
        assert command.wait() == 0
        for line in lines():
            event = json.loads(line)
            assert event["type"] == "stats" and event["id"] == container.id


@pytest.mark.vm
@pytest.mark.deviates("runc", "1.1 shares it with a warning, and its delete --force ends the other one")
def test_the_cgroup_of_another_container_is_refused_and_survives(make_container: Callable[[], Container]) -> None:
    """Engines answer a failed create with delete --force: that is no end of the other one."""
    first, second = make_container(), make_container()
    first.create_and_start(*SLEEP)
    with open(f"/proc/{first.pid()}/cgroup") as file:
        paths = [line.rstrip("\n").split(":", 2)[2] for line in file]
    second.linux["cgroupsPath"] = max(paths, key=len)
    assert second.try_create("true").code == 1
    second.runtime.call("delete", "--force", second.id)
    assert first.status() == "running"

"""A page of metrics, of a supervisor and cgroups that are made up; read by prometheus_client's strict parser."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pycontainer.errors import SupervisorUnavailable
from pycontainer.metrics.collector import Collector
from pycontainer.metrics.source import Answer
from pycontainer.paths import HostPaths
from tests.support.cgroupfiles import make_cgroup
from tests.support.openmetrics import parse_openmetrics

NET_DEV = """\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     1       1    0    0    0     0          0         0        1       1    0    0    0     0       0          0
 pc-v1:    11      12   13   14    0     0          0         0       21      22   23   24    0     0       0          0
"""
SUPERVISOR: dict[str, Any] = {
    "version": "8.0", "pid": 1, "started": 1000.5, "cpu_seconds": 2.5, "resident_bytes": 4096, "open_fds": 7,
    "connections": 1, "events": 99, "damaged": 0, "served": {"ping": [3, 1, 0.25]},
}  # fmt: skip


class Stage:
    """A host of files in a directory, and a supervisor that answers with `rows` and `tenants` unless it has a `failure`."""

    def __init__(self, directory: Path, version: int = 2) -> None:
        self.directory, self.version = directory, version
        self.rows: list[dict[str, Any]] = []
        self.tenants: list[dict[str, Any]] = []
        self.supervisor = dict(SUPERVISOR)
        self.failure: Exception | None = None
        self.said: list[str] = []
        (directory / "proc/self/net").mkdir(parents=True)
        (directory / "proc/pressure").mkdir(parents=True)
        (directory / "sys/dev/block").mkdir(parents=True)
        (directory / "sys/dev/block/8:0").symlink_to("../../devices/pci0/block/sda")
        (directory / "sys/dev/block/253:1").symlink_to("../../devices/virtual/block/cciss!c0d0")
        self.proc("loadavg", "0.50 0.40 0.30 1/100 999\n")
        self.proc(
            "meminfo",
            "MemTotal:       1000 kB\nMemAvailable:    600 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\nHugePages_Total:  0\n",
        )
        self.proc("pressure/cpu", "some avg10=0.00 avg60=0.00 avg300=0.00 total=3000000\n")
        self.proc("self/net/dev", NET_DEV)
        self.collector = Collector(
            HostPaths(str(directory)),
            self._ask,
            say=self.said.append,
            proc=str(directory / "proc"),
            sys=str(directory / "sys"),
        )

    def proc(self, name: str, text: str) -> None:
        (self.directory / "proc" / name).write_text(text)

    def run(self, container_id: str = "c1", **changes: Any) -> dict[str, Any]:
        """Let a container run, and return its row."""
        row: dict[str, Any] = {
            "id": container_id, "name": "web", "image": "nginx", "tenant": "acme", "status": "running", "health": "",
            "restarts": 0, "restart_attempts": 0, "started": 5.0, "links": [["eth0", "pc-v1", 3]], "disk": None,
            "cgroups": make_cgroup(self.directory / "cgroup" / container_id, self.version), **changes,
        }  # fmt: skip
        self.rows.append(row)
        return row

    def page(self) -> dict[tuple[str, ...], float]:
        """Return the samples of a page: (name, label values but id, name, image and tenant) -> value."""
        text = self.collector.page().text(openmetrics=True).decode()
        found: dict[tuple[str, ...], float] = {}
        for family in parse_openmetrics(text):
            for sample in family.samples:
                rest = [value for name, value in sample.labels.items() if name not in ("name", "image", "tenant")]
                assert (key := (sample.name, *rest)) not in found
                found[key] = sample.value
        return found

    def _ask(self) -> Answer:
        if self.failure:
            raise self.failure
        return Answer(
            list(self.rows),
            {"cgroup_version": self.version, "tenants": self.tenants, "supervisor": dict(self.supervisor)},
        )


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def test_a_container(stage: Stage) -> None:
    stage.run(health="healthy", disk=[600, 6, 1000, 10])
    page = stage.page()
    expected = {
        ("container_cpu_usage_seconds_total", "c1", "total"): 1.5,
        ("container_cpu_cfs_throttled_periods_total", "c1"): 4,
        ("container_cpu_cfs_throttled_seconds_total", "c1"): 0.25,
        ("container_spec_cpu_quota", "c1"): 50000,
        ("container_memory_usage_bytes", "c1"): 1_000_000,
        ("container_memory_working_set_bytes", "c1"): 800_000,
        ("container_spec_memory_limit_bytes", "c1"): 2_000_000,
        ("container_memory_failures_total", "c1", "pgmajfault", "hierarchy"): 3,
        ("container_oom_events_total", "c1"): 1,
        ("container_fs_reads_bytes_total", "c1", "/dev/sda"): 10,
        ("container_fs_writes_total", "c1", "/dev/cciss/c0d0"): 1,
        ("container_fs_usage_bytes", "c1", "rootfs"): 600,
        ("container_fs_limit_bytes", "c1", "rootfs"): 1000,
        ("container_fs_inodes_free", "c1", "rootfs"): 4,
        ("container_network_receive_bytes_total", "c1", "eth0"): 21,  # what the host has sent
        ("container_network_receive_errors_total", "c1", "eth0"): 23,
        ("container_network_transmit_bytes_total", "c1", "eth0"): 11,
        ("container_network_transmit_packets_dropped_total", "c1", "eth0"): 14,
        ("container_pressure_cpu_waiting_seconds_total", "c1"): 2,
        ("container_pressure_io_waiting_seconds_total", "c1"): 0.5,
        ("container_start_time_seconds", "c1"): 5,
        ("pycontainer_container_status", "c1", "running"): 1,
        ("pycontainer_container_status", "c1", "paused"): 0,
        ("pycontainer_container_health", "c1", "healthy"): 1,
        ("pycontainer_container_restarts_total", "c1"): 0,
        ("pycontainer_host_containers", "running"): 1,
    }
    assert {key: page.get(key) for key in expected} == expected
    assert page["container_last_seen", "c1"] > 1e9


def test_on_cgroup_v1(tmp_path: Path) -> None:
    stage = Stage(tmp_path, version=1)
    stage.run()
    page = stage.page()
    assert page["container_cpu_usage_seconds_total", "c1", "total"] == 1.5
    assert page["container_fs_writes_bytes_total", "c1", "/dev/sda"] == 20
    assert not [key for key in page if key[0].startswith("container_pressure")]


def test_labels_are_those_of_cadvisor_and_the_tenant(stage: Stage) -> None:
    """A rootfs may lie at any path, and a tenant chooses names: nothing of it breaks the text."""
    stage.run(image='/srv/"odd\\\n#', tenant="")
    text = stage.collector.page().text(openmetrics=True).decode()
    (sample,) = next(f for f in parse_openmetrics(text) if f.name == "container_threads").samples
    assert sample.labels == {"id": "c1", "name": "web", "image": '/srv/"odd\\\n#', "tenant": ""}


def test_without_limits(stage: Stage) -> None:
    row = stage.run()
    make_cgroup(Path(row["cgroups"]["memory"]), 2, memory__max="max", cpu__max="max 100000", pids__max="max")
    page = stage.page()
    assert page["container_spec_memory_limit_bytes", "c1"] == 0
    assert page["container_threads_max", "c1"] == 0
    assert ("container_spec_cpu_quota", "c1") not in page


def test_a_paused_one(stage: Stage) -> None:
    row = stage.run()
    make_cgroup(Path(row["cgroups"]["memory"]), 2, cgroup__events="populated 1\nfrozen 1\n")
    page = stage.page()
    assert page["pycontainer_container_status", "c1", "paused"] == 1
    assert page["pycontainer_host_containers", "paused"] == 1 and page["pycontainer_host_containers", "running"] == 0


def test_one_that_does_not_run(stage: Stage) -> None:
    stage.rows.append(
        {"id": "c1", "name": "web", "image": "nginx", "tenant": "", "status": "stopped", "health": "", "restarts": 2,
         "restart_attempts": 1, "exit_code": 137}
    )  # fmt: skip
    page = stage.page()
    assert page["pycontainer_container_exit_code", "c1"] == 137
    assert page["pycontainer_container_restarts_total", "c1"] == 2
    assert page["pycontainer_container_status", "c1", "stopped"] == 1
    assert not [key for key in page if key[0].startswith("container_")]


def test_a_damaged_one_is_told_of(stage: Stage) -> None:
    stage.rows.append({"id": "c1", "name": "", "tenant": "", "status": "damaged"})
    assert stage.page()["pycontainer_container_status", "c1", "damaged"] == 1


def test_one_that_is_not_as_we_know_it(stage: Stage) -> None:
    """A kernel with other files: that is told, once, and costs the others nothing."""
    stage.run("c1")
    make_cgroup(Path(stage.run("c2")["cgroups"]["memory"]), 2, cpu__stat="usage_usec\n")
    assert stage.page()["pycontainer_metrics_unreadable",] == 1
    page = stage.page()
    assert ("container_threads", "c1") in page and ("container_threads", "c2") not in page
    (said,) = stage.said
    assert said.startswith("what 'c2' uses cannot be read: ValueError")


def test_one_whose_cgroup_goes_meanwhile(stage: Stage) -> None:
    stage.run("c1")
    shutil.rmtree(Path(stage.run("c2")["cgroups"]["memory"]))
    page = stage.page()
    assert ("container_threads", "c1") in page and ("container_threads", "c2") not in page
    assert page["pycontainer_metrics_unreadable",] == 0 and not stage.said


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            lambda directory: make_cgroup(directory, 2, cpu__stat="usage_usec 1400000\nuser_usec 0\nsystem_usec 0\n"),
            1.5,
        ),
        (
            lambda directory: make_cgroup(directory, 2, cpu__stat="usage_usec 1600000\nuser_usec 0\nsystem_usec 0\n"),
            1.6,
        ),
    ],
)
def test_counters_do_not_go_down_within_a_run(stage: Stage, change: Callable[[Path], object], expected: float) -> None:
    row = stage.run()
    stage.page()
    change(Path(row["cgroups"]["memory"]))
    assert stage.page()["container_cpu_usage_seconds_total", "c1", "total"] == expected


def test_a_link_and_a_disk_that_begin_anew(stage: Stage) -> None:
    row = stage.run()
    stage.page()
    row["links"] = [["eth0", "pc-v1", 4]]
    make_cgroup(Path(row["cgroups"]["memory"]), 2, io__stat="8:0 rbytes=3 wbytes=0 rios=1 wios=0\n")
    stage.proc("self/net/dev", NET_DEV.replace(" 11 ", " 30 "))
    page = stage.page()
    assert page["container_network_transmit_bytes_total", "c1", "eth0"] == 11 + 30
    assert page["container_fs_reads_bytes_total", "c1", "/dev/sda"] == 10 + 3
    assert ("container_fs_reads_bytes_total", "c1", "/dev/cciss/c0d0") not in page


def test_what_came_by_a_fast_path_is_what_the_supervisor_says(stage: Stage) -> None:
    """The host's end of the link has not seen it; with nobody to say it, there is no figure instead of a wrong one."""
    received = "container_network_receive_bytes_total", "c1", "eth0"
    sent = "container_network_transmit_bytes_total", "c1", "eth0"
    row = stage.run(received_inside={"3": [7000, 5]})
    page = stage.page()
    assert (page[received], page[sent]) == (7000, 11)
    assert page["container_network_receive_packets_total", "c1", "eth0"] == 5
    row["received_inside"] = {"3": None}  # the link moves just now
    page = stage.page()
    assert (received in page, page[sent]) == (False, 11)
    row["received_inside"] = {"3": [8000, 6]}
    assert stage.page()[received] == 8000
    stage.failure = SupervisorUnavailable("it is away")
    page = stage.page()
    assert (received in page, page[sent]) == (False, 11)


def test_the_next_run_counts_from_its_own_beginning(stage: Stage) -> None:
    row = stage.run()
    stage.page()
    directory = Path(row["cgroups"]["memory"])
    directory.rename(directory.with_name("kept"))  # its inode is not given to the next one
    make_cgroup(directory, 2, cpu__stat="usage_usec 100000\nuser_usec 0\nsystem_usec 0\n")
    assert stage.page()["container_cpu_usage_seconds_total", "c1", "total"] == 0.1


def test_restarts_go_on_over_a_restart_of_the_supervisor(stage: Stage) -> None:
    row = stage.run(restarts=3)
    stage.page()
    row["restarts"] = 1
    assert stage.page()["pycontainer_container_restarts_total", "c1"] == 4


def test_without_the_supervisor_the_kernel_is_asked_all_the_same(stage: Stage) -> None:
    """FLT-03: containers go on; what only the supervisor knows is missing rather than old."""
    row = stage.run(health="healthy", disk=[600, 6, 1000, 10])
    stage.tenants.append({"name": "acme", "containers": 1, "running": 1, "cgroups": row["cgroups"], "disk": None})
    stage.page()
    stage.failure = SupervisorUnavailable("gone")
    make_cgroup(Path(row["cgroups"]["memory"]), 2, cpu__stat="usage_usec 9000000\nuser_usec 0\nsystem_usec 0\n")
    page = stage.page()
    assert page["pycontainer_supervisor_up",] == 0 and stage.collector.problem == "gone"
    assert page["container_cpu_usage_seconds_total", "c1", "total"] == 9
    names = {key[0] for key in page}
    assert not names & {
        "pycontainer_container_status", "pycontainer_container_health", "container_fs_usage_bytes",
        "pycontainer_tenant_running", "pycontainer_supervisor_start_time_seconds", "pycontainer_host_containers",
    }  # fmt: skip
    assert "pycontainer_tenant_cpu_usage_seconds_total" in names
    stage.page()
    stage.failure = None
    assert stage.page()["pycontainer_supervisor_up",] == 1 and not stage.collector.problem
    assert stage.said == ["gone", "the supervisor answers again"]


def test_a_supervisor_that_never_answered(stage: Stage) -> None:
    stage.failure = SupervisorUnavailable("gone")
    page = stage.page()
    assert page["pycontainer_supervisor_up",] == 0 and page["pycontainer_host_load1",] == 0.5


def test_a_tenant(stage: Stage) -> None:
    cgroups = make_cgroup(stage.directory / "cgroup/tenant-acme", 2)
    stage.tenants += [
        {"name": "acme", "containers": 3, "running": 2, "cgroups": cgroups, "disk": [5, 1, 9, None]},
        {"name": "idle", "containers": 0, "running": 0, "cgroups": {}, "disk": None},
    ]
    text = stage.collector.page().text(openmetrics=True).decode()
    found = {
        (sample.name, sample.labels["tenant"]): sample.value
        for family in parse_openmetrics(text)
        for sample in family.samples
        if family.name.startswith("pycontainer_tenant")
    }
    assert found["pycontainer_tenant_cpu_usage_seconds_total", "acme"] == 1.5
    assert found["pycontainer_tenant_spec_cpus", "acme"] == 0.5
    assert found["pycontainer_tenant_memory_usage_bytes", "acme"] == 1_000_000
    assert found["pycontainer_tenant_fs_limit_bytes", "acme"] == 9
    assert found["pycontainer_tenant_running", "acme"] == 2
    assert {name for name, tenant in found if tenant == "idle"} == {
        "pycontainer_tenant_containers",
        "pycontainer_tenant_running",
    }


def test_the_supervisor_and_the_host(stage: Stage) -> None:
    page = stage.page()
    expected = {
        ("pycontainer_supervisor_up",): 1,
        ("pycontainer_supervisor_info", "8.0"): 1,
        ("pycontainer_supervisor_start_time_seconds",): 1000.5,
        ("pycontainer_supervisor_requests_total", "ping", "result"): 3,
        ("pycontainer_supervisor_requests_total", "ping", "error"): 1,
        ("pycontainer_supervisor_request_seconds_total", "ping"): 0.25,
        ("pycontainer_supervisor_events_total",): 99,
        ("pycontainer_host_memory_bytes",): 1000 * 1024,
        ("pycontainer_host_memory_available_bytes",): 600 * 1024,
        ("pycontainer_host_pressure_waiting_seconds_total", "cpu"): 3,
    }
    assert {key: page.get(key) for key in expected} == expected

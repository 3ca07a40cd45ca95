"""Metrics of real containers, over HTTP, while the supervisor comes and goes; and its log in JSON."""

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import IMAGE
from tests.support.deaths import kill_supervisor
from tests.support.hostns import NetworkNamespace
from tests.support.openmetrics import parse_openmetrics
from tests.support.poll import poll_until
from tests.support.world import World, unique_name

PORT = 9323
URL = f"http://127.0.0.1:{PORT}"
BURN = ("sh", "-c", "while :; do :; done")
EXAMPLES = Path(__file__).parents[2] / "examples/hosting"

Samples = dict[str, list[tuple[dict[str, str], float]]]


@contextlib.contextmanager
def serving(world: World) -> Iterator["subprocess.Popen[bytes]"]:
    """Have the metrics process of a world serve on its loopback."""
    process = world.popen("metrics", "serve", "--listen", f"127.0.0.1:{PORT}", stderr=subprocess.DEVNULL)
    try:
        assert world.network.inside.http_get_soon(f"{URL}/healthz") == "ok\n"
        yield process
    finally:
        process.terminate()
        assert process.wait(timeout=20) == 0


def scrape(world: World) -> Samples:
    """Return name -> [(labels, value)] of a page that is not the last one again."""
    time.sleep(1.1)
    found: Samples = {}
    for family in parse_openmetrics(world.network.inside.http_get(f"{URL}/metrics", timeout_seconds=20)):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def of(samples: Samples, name: str, container: str, **labels: str) -> float:
    """Return the one value of a metric of a container."""
    wanted = {"name": container, **labels}
    (value,) = [value for found, value in samples[name] if wanted.items() <= found.items()]
    return value


@pytest.mark.vm
def test_a_container_that_works(world: World) -> None:
    """What the kernel counts of it arrives, and so do its limits and whose it is."""
    name, idle, tenant = unique_name(), unique_name(), unique_name("tn")
    world.ok("tenant", "create", tenant, "-m", "512M", "--cpus", "1")
    world.ok(
        "run", "-d", "--name", name, "--tenant", tenant, "-m", "64M", "--cpus", "0.2", "--pids", "50", IMAGE, *BURN
    )
    world.ok("run", "-d", "--name", idle, IMAGE, "sleep", "1000")
    record = world.inspect(name)
    with serving(world):
        first, second = scrape(world), scrape(world)
        labels = next(found for found, _ in first["container_threads"] if found["name"] == name)
        assert labels == {"id": record["id"], "name": name, "image": IMAGE, "tenant": tenant}
        used = [of(page, "container_cpu_usage_seconds_total", name, cpu="total") for page in (first, second)]
        assert used[1] > used[0] > 0
        assert of(second, "container_cpu_cfs_throttled_periods_total", name) > 0
        assert of(second, "container_spec_memory_limit_bytes", name) == 64 << 20
        assert of(second, "container_threads_max", name) == 50
        assert 0 < of(second, "container_memory_working_set_bytes", name) < 64 << 20
        assert of(second, "container_spec_cpu_quota", name) / of(second, "container_spec_cpu_period", name) == 0.2
        assert of(second, "container_start_time_seconds", name) == pytest.approx(record["started"])
        assert of(second, "pycontainer_container_status", name, pycontainer_container_status="running") == 1
        assert {found["tenant"]: value for found, value in second["pycontainer_tenant_running"]} == {tenant: 1}
        ((_, of_tenant),) = second["pycontainer_tenant_cpu_usage_seconds_total"]
        assert of_tenant >= used[0]
        assert second["pycontainer_tenant_spec_cpus"] == [({"tenant": tenant}, 1.0)]
        world.ok("pause", idle)
        world.ok("kill", name)
        page = scrape(world)
        assert of(page, "pycontainer_container_status", idle, pycontainer_container_status="paused") == 1
        assert of(page, "pycontainer_container_exit_code", name) == 137
        assert name not in {found["name"] for found, _ in page["container_threads"]}
        world.ok("unpause", idle)


def test_traffic_is_seen_from_inside(world: World) -> None:
    name = unique_name()
    world.ok("run", "-d", "--name", name, IMAGE, "sleep", "1000")
    with serving(world):
        before = scrape(world)
        with world.client() as host:
            stats: dict[str, Any] = {**host.container(name).stats()}
        after = scrape(world)
        for metric, key in (("receive", "net_rx_bytes"), ("transmit", "net_tx_bytes")):
            bounds = [
                of(page, f"container_network_{metric}_bytes_total", name, interface="eth0") for page in (before, after)
            ]
            assert bounds[0] <= stats[key] <= bounds[1]


def test_the_supervisor_comes_and_goes(own_world: World) -> None:
    """FLT-03: killed, it is told to be down while the container's counters go on; the next one is asked again."""
    world, name = own_world, unique_name()
    world.ok("run", "-d", "--name", name, "--cpus", "0.2", IMAGE, *BURN)
    with serving(world):
        before = scrape(world)
        assert before["pycontainer_supervisor_up"] == [({}, 1)]
        kill_supervisor(world)
        meanwhile = scrape(world)
        assert meanwhile["pycontainer_supervisor_up"] == [({}, 0)]
        assert "pycontainer_container_status" not in meanwhile
        used = [of(page, "container_cpu_usage_seconds_total", name, cpu="total") for page in (before, meanwhile)]
        assert used[1] > used[0]
        assert scrape(world)["pycontainer_supervisor_up"] == [({}, 0)]  # nobody has started it
        world.ok("ps")
        after = scrape(world)
        assert after["pycontainer_supervisor_up"] == [({}, 1)]
        assert of(after, "container_cpu_usage_seconds_total", name, cpu="total") > used[1]
        assert after["pycontainer_supervisor_start_time_seconds"] > before["pycontainer_supervisor_start_time_seconds"]
        world.ok("service", "reload")
        assert scrape(world)["pycontainer_supervisor_up"] == [({}, 1)]


def test_restarts_and_health(world: World) -> None:
    name, sick = unique_name(), unique_name()
    world.ok("run", "-d", "--name", name, "--restart", "on-failure:2", IMAGE, "sh", "-c", "exit 3")
    world.ok("run", "-d", "--name", sick, "--health-cmd", "false", "--health-interval", "1s", "--health-retries", "1", IMAGE,
             "sleep", "1000")  # fmt: skip
    poll_until(lambda: world.inspect(sick)["health"] == "unhealthy", timeout_seconds=30)
    poll_until(lambda: world.inspect(name)["status"] == "stopped", timeout_seconds=30)
    with serving(world):
        page = scrape(world)
        assert of(page, "pycontainer_container_restarts_total", name) == 2
        assert of(page, "pycontainer_container_exit_code", name) == 3
        assert of(page, "pycontainer_container_health", sick, pycontainer_container_health="unhealthy") == 1


def test_show_once(world: World) -> None:
    text = world.ok("metrics", "show", "--format", "plain")
    assert "pycontainer_supervisor_up{} 1\n" in text and "# EOF" not in text
    assert world.ok("metrics", "show").endswith("# EOF")


def test_it_does_not_begin_where_it_cannot_listen(world: World) -> None:
    assert "cannot listen on '127.0.0.1:99999'" in world.refused(2, "metrics", "serve", "--listen", "127.0.0.1:99999")


@pytest.mark.requires("prometheus")
def test_a_real_prometheus(own_world: World, tmp_path: Path) -> None:
    """It scrapes without a complaint, knows the types, and answers each query of the dashboard and the alerts."""
    world, name = own_world, unique_name()
    world.ok("run", "-d", "--name", name, "-m", "64M", "--cpus", "0.2", IMAGE, *BURN)
    inside = world.network.inside
    settings = (EXAMPLES / "prometheus.yml").read_text().replace("15s", "1s")
    (tmp_path / "prometheus.yml").write_text(settings)
    (tmp_path / "alerts.yml").write_text((EXAMPLES / "alerts.yml").read_text())
    subprocess.run(["promtool", "check", "config", tmp_path / "prometheus.yml"], check=True, capture_output=True)
    with serving(world):
        plain = world.ok("metrics", "show", "--format", "plain")
        checked = subprocess.run(
            ["promtool", "check", "metrics"], input=f"{plain}\n", text=True, capture_output=True, check=False
        )
        complaints = [line for line in (checked.stdout + checked.stderr).splitlines() if not _is_cadvisors(line)]
        assert not complaints, complaints
        arguments = ["--config.file=prometheus.yml", "--storage.tsdb.path=data", "--web.listen-address=127.0.0.1:9090"]
        prometheus = subprocess.Popen(
            inside.argv("prometheus", *arguments), cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            inside.http_get_soon("http://127.0.0.1:9090/-/ready", timeout_seconds=60)
            busy = f'rate(container_cpu_usage_seconds_total{{name="{name}"}}[20s])'
            poll_until(
                lambda: any(0.05 < float(row["value"][1]) < 0.5 for row in _ask(inside, busy)), timeout_seconds=60
            )
            assert _ask(inside, 'up{job="pycontainer"}')[0]["value"][1] == "1"
            types = json.loads(inside.http_get("http://127.0.0.1:9090/api/v1/metadata"))["data"]
            assert types["container_cpu_usage_seconds"][0]["type"] == "counter"
            for query in _queries():
                _ask(inside, query)
        finally:
            prometheus.terminate()
            prometheus.wait(timeout=30)


def _is_cadvisors(complaint: str) -> bool:
    """promtool would like other names than cAdvisor has."""
    return complaint.startswith("container_")


def _ask(inside: NetworkNamespace, query: str) -> list[dict[str, Any]]:
    from urllib.parse import quote

    answer = json.loads(inside.http_get(f"http://127.0.0.1:9090/api/v1/query?query={quote(query)}"))
    assert answer["status"] == "success", query
    return list(answer["data"]["result"])


def _queries() -> list[str]:
    dashboard = json.loads((EXAMPLES / "grafana.json").read_text())
    found = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    for old, new in (("$__rate_interval", "1m"), ("$instance", ".*"), ("$tenant", ".*"), ("$container", ".*")):
        found = [query.replace(old, new) for query in found]
    return found


def test_the_log_in_json(own_world: World) -> None:
    """Each line is an object: of events, and of what the supervisor has to say; a reload keeps it so."""
    world, name = own_world, unique_name()
    world.ok("service", "stop")
    poll_until(lambda: not os.path.exists(world.paths.supervisor_socket), timeout_seconds=20)
    log = Path(world.paths.supervisor_log)
    log.unlink()
    world.environment["PYCONTAINER_LOG_FORMAT"] = "json"
    world.ok("run", "-d", "--name", name, IMAGE, "sleep", "1000")
    world.ok("service", "reload")
    world.ok("kill", name)
    world.ok("rm", "-f", name)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert all({"time", "level", "message", "supervisor_pid"} <= line.keys() for line in lines)
    of_container = [line for line in lines if line.get("container") == name]
    assert [line["event"] for line in of_container][:2] == ["create", "start"]
    assert {"die", "remove"} <= {line["event"] for line in of_container}
    assert all(line["container_id"] == of_container[0]["container_id"] for line in of_container)
    assert [line["event"] for line in lines].count("supervisor-start") == 2

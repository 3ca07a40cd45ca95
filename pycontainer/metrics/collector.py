"""One page of metrics: what the supervisor says, what the kernel counts, in the words of families.py.

    supervisor ── metrics ──▶ names, tenants, health, restarts, cgroups, links        one request
                              what came by a fast path: we may not ask for it
    cgroups, /proc/net/dev ─▶ everything that is counted                              read here, by ourselves

While the supervisor is away the containers that it named last are looked at all the same, for they go on: only what it alone
knows is missing then. A container is told of as long as its cgroup is there.
"""

import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from pycontainer.cgroup.base import GONE, Cgroup
from pycontainer.cgroup.v1 import CgroupV1
from pycontainer.cgroup.v2 import CgroupV2
from pycontainer.controllers.samples import Reader, Sample
from pycontainer.errors import PycontainerError
from pycontainer.metrics import families, host
from pycontainer.metrics.counters import AllCounters, Counters
from pycontainer.metrics.exposition import Exposition, labels
from pycontainer.metrics.source import Answer
from pycontainer.paths import HostPaths

_STATUSES = ("created", "running", "paused", "restarting", "stopped", "damaged")
_HEALTH = ("starting", "ready", "healthy", "unhealthy")
_IS_COUNTER = {name: family.kind == families.COUNTER for name, family in families.FAMILIES.items()}
_LAYER = 'device="rootfs"'

Row = Mapping[str, Any]


class Collector:
    """Makes pages; remembers what counters were. One page at a time."""

    def __init__(
        self,
        paths: HostPaths,
        ask: Callable[[], Answer],
        *,
        say: Callable[[str], object] = lambda text: None,
        proc: str = "/proc",
        sys: str = "/sys",
    ) -> None:
        """`say` is told, once, what goes wrong and what goes well again."""
        self._state_dir, self._ask, self._say, self._proc, self._sys = paths.state_dir, ask, say, proc, sys
        self._reader = Reader()
        self._counters = AllCounters()  # of cgroups that are there
        self._lasting = AllCounters()  # of containers, over all of their runs
        self._devices: dict[str, str] = {}
        self._last = Answer([], {})
        self._unreadable: dict[str, str] = {}  # cgroup -> why
        self.problem = ""  # why the supervisor did not answer the last time; empty if it did

    def page(self) -> Exposition:
        """Look at everything now. Never fails for want of the supervisor."""
        began = time.perf_counter()
        page = Exposition()
        before, known = self.problem, self._unreadable
        self._unreadable = {}
        try:
            answer = self._last = self._ask()
            self.problem = ""
        except PycontainerError as error:
            answer, self.problem = self._last, error.message
        if self.problem != before:
            self._say(self.problem or "the supervisor answers again")
        self._add_supervisor(page, answer.rest)
        host.add_host(page, self._state_dir, self._proc)
        links = host.links(self._proc)
        statuses: Counter[str] = Counter()
        version = answer.rest.get("cgroup_version", 2)
        for row in answer.containers:
            statuses[self._add_container(page, row, version, links)] += 1
        for row in answer.rest.get("tenants", ()):
            self._add_tenant(page, row, version)
        ids = [row["id"] for row in answer.containers]
        self._counters.keep([*ids, *(f"tenant:{row['name']}" for row in answer.rest.get("tenants", ()))])
        self._lasting.keep(ids)
        if not self.problem:
            for status in _STATUSES:
                page.add("pycontainer_host_containers", labels({"status": status}), statuses[status])
        for name in self._unreadable.keys() - known.keys():
            self._say(f"what '{name}' uses cannot be read: {self._unreadable[name]}")
        page.add("pycontainer_metrics_unreadable", "", len(self._unreadable))
        page.add("pycontainer_metrics_cpu_usage_seconds", "", time.process_time())
        page.add("pycontainer_metrics_collect_duration_seconds", "", round(time.perf_counter() - began, 6))
        return page

    # -- containers

    def _add_container(self, page: Exposition, row: Row, version: int, links: Mapping[str, list[int]]) -> str:
        """Add what there is to say of a container; return its status."""
        who = labels({"id": row["id"], "name": row["name"], "image": row.get("image", ""), "tenant": row["tenant"]})
        status: str = row["status"]
        if "cgroups" in row and (sample := self._sample(row["id"], row["cgroups"], version)) is not None:
            self._add_run(page, who, row, sample, links)
            if sample.is_frozen and status == "running":
                status = "paused"
        if self.problem:
            return status
        page.add_state("pycontainer_container_status", who, _STATUSES, status)
        if status == "damaged":
            return status
        if row["health"]:
            page.add_state("pycontainer_container_health", who, _HEALTH, row["health"])
        restarts = self._lasting.of(row["id"], None).resumed("restarts", row["restarts"])
        page.add("pycontainer_container_restarts", who, restarts)
        page.add("pycontainer_container_restart_attempts", who, row["restart_attempts"])
        if row.get("exit_code") is not None:
            page.add("pycontainer_container_exit_code", who, row["exit_code"])
        return status

    def _add_run(self, page: Exposition, who: str, row: Row, sample: Sample, links: Mapping[str, list[int]]) -> None:
        counters = self._counters.of(row["id"], sample.inode)
        _add_numbers(page, who, families.CONTAINER_SOURCES, sample, counters)
        for device, counts in sample.devices.items():
            where = f"{who},{labels({'device': self._device_name(device)})}"
            for family, number, *_ in families.DEVICE_SOURCES:
                page.add(family, where, counters.resumed(f"{family} {device}", counts[number]))
        inside = row.get("received_inside", {})  # a supervisor of before says nothing of it
        if self.problem:  # what it said last is of then
            inside = dict.fromkeys(inside)
        for device, link, index in row["links"]:
            if (columns := links.get(link)) is None:
                continue
            seen: dict[int, int | None] = dict(enumerate(columns))
            if (key := str(index)) in inside:
                seen[families.RECEIVED_BYTES], seen[families.RECEIVED_PACKETS] = inside[key] or (None, None)
            where = f"{who},{labels({'interface': device})}"
            for family, column in families.LINK_SOURCES:
                if (count := seen[column]) is not None:
                    page.add(family, where, counters.resumed(f"{family} {device}", count, index))
        if row["disk"] is not None and not self.problem:
            used_bytes, used_inodes, hard_bytes, hard_inodes = row["disk"]
            where = f"{who},{_LAYER}"
            page.add("container_fs_usage_bytes", where, used_bytes)
            if hard_bytes is not None:
                page.add("container_fs_limit_bytes", where, hard_bytes)
            if hard_inodes is not None:
                page.add("container_fs_inodes_total", where, hard_inodes)
                page.add("container_fs_inodes_free", where, max(0, hard_inodes - used_inodes))
        if row["started"] is not None:
            page.add("container_start_time_seconds", who, row["started"])
        page.add("container_last_seen", who, round(time.time(), 3))

    # -- tenants

    def _add_tenant(self, page: Exposition, row: Row, version: int) -> None:
        name = row["name"]
        who = labels({"tenant": name})
        if row["cgroups"] and (sample := self._sample(f"tenant-{name}", row["cgroups"], version)) is not None:
            counters = self._counters.of(f"tenant:{name}", sample.inode)
            _add_numbers(page, who, families.TENANT_SOURCES, sample, counters)
            quota, period = sample.numbers.get("cpu_quota_usec", 0), sample.numbers["cpu_period_usec"]
            page.add("pycontainer_tenant_spec_cpus", who, round(quota / period, 4))
        if self.problem:
            return
        page.add("pycontainer_tenant_containers", who, row["containers"])
        page.add("pycontainer_tenant_running", who, row["running"])
        if row["disk"] is not None:
            page.add("pycontainer_tenant_fs_usage_bytes", who, row["disk"][0])
            if row["disk"][2] is not None:
                page.add("pycontainer_tenant_fs_limit_bytes", who, row["disk"][2])

    # -- the supervisor

    def _add_supervisor(self, page: Exposition, said: Row) -> None:
        page.add("pycontainer_supervisor_up", "", 0 if self.problem else 1)
        if self.problem:
            return
        found = said["supervisor"]
        page.add("pycontainer_supervisor", labels({"version": found["version"]}), 1)
        page.add("pycontainer_supervisor_start_time_seconds", "", found["started"])
        page.add("pycontainer_supervisor_cpu_usage_seconds", "", found["cpu_seconds"])
        page.add("pycontainer_supervisor_resident_memory_bytes", "", found["resident_bytes"])
        page.add("pycontainer_supervisor_open_fds", "", found["open_fds"])
        page.add("pycontainer_supervisor_connections", "", found["connections"])
        page.add("pycontainer_supervisor_events", "", found["events"])
        page.add("pycontainer_supervisor_damaged_records", "", found["damaged"])
        for verb, (results, errors, seconds) in sorted(found["served"].items()):
            page.add("pycontainer_supervisor_requests", labels({"verb": verb, "outcome": "result"}), results)
            page.add("pycontainer_supervisor_requests", labels({"verb": verb, "outcome": "error"}), errors)
            page.add("pycontainer_supervisor_request_seconds", labels({"verb": verb}), round(seconds, 6))

    # -- the kernel

    def _sample(self, name: str, paths: dict[str, str], version: int) -> Sample | None:
        """Return what the kernel counts of a cgroup; None if it is gone, or is not as we know it: others go on."""
        cgroup: Cgroup = CgroupV2(name, paths) if version == 2 else CgroupV1(name, paths)
        try:
            return self._reader.sample(cgroup)
        except (OSError, ValueError, KeyError) as error:
            if not isinstance(error, OSError) or error.errno not in GONE:
                self._unreadable[name] = f"{type(error).__name__}: {error}"
            return None

    def _device_name(self, number: str) -> str:
        """Return /dev/vda for "254:0"; the number where it is gone."""
        name = self._devices.get(number)
        if name is None:
            try:
                target = os.readlink(f"{self._sys}/dev/block/{number}")
                name = f"/dev/{os.path.basename(target).replace('!', '/')}"
            except OSError:
                return number
            if len(self._devices) >= 4096:
                self._devices.clear()
            self._devices[number] = name
        return name


def _add_numbers(
    page: Exposition, who: str, sources: tuple[families.Source, ...], sample: Sample, counters: Counters
) -> None:
    numbers = sample.numbers
    for family, number, more, is_usec, default in sources:
        value: float | None = numbers.get(number, default)
        if value is None:
            continue
        if _IS_COUNTER[family]:
            value = counters.held(number, value)
        page.add(family, f"{who},{more}" if more else who, value / 1e6 if is_usec else value)

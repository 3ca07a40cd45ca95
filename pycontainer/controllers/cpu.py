"""CPU time: at most `cpu_quota_usec` in every `cpu_period_usec`, over all CPUs together, and a weight when it is short."""

import errno

from pycontainer.cgroup.base import Cgroup, parse_keyed, read_file, write_file
from pycontainer.controllers.protocol import Host, Instance, Reading, hold, parse_limit, read_pressure, set_and_compare
from pycontainer.errors import Unsupported
from pycontainer.spec.model import ContainerSpec

# kernel/sched/core.c: the smallest quota and the bounds of a period
MINIMUM_QUOTA_USEC = 1_000
PERIOD_RANGE_USEC = (1_000, 1_000_000)
_QUOTA_FILES_V1 = ("cpu.cfs_quota_us", "cpu.cfs_period_us")


class CpuController:
    """cpu.max on v2, cpu.cfs_quota_us and cpu.cfs_period_us on v1. Limits and readings are microseconds."""

    name, unit = "cpu", "usec"

    def validate(self, spec: ContainerSpec, host: Host) -> list[str]:
        quota, period = spec.cpu_quota_usec, spec.cpu_period_usec
        if quota is None and spec.cpu_weight is None:
            return []
        if "cpu" not in host.layout.controllers:
            return ["cpus: this host has no cpu controller"]
        if quota is None:
            return []
        problems = []
        if not PERIOD_RANGE_USEC[0] <= period <= PERIOD_RANGE_USEC[1]:
            problems.append(
                f"cpus: a period of {period} microseconds is out of the kernel's range "
                f"{PERIOD_RANGE_USEC[0]}-{PERIOD_RANGE_USEC[1]}"
            )
        if quota < MINIMUM_QUOTA_USEC:
            problems.append(
                f"cpus: {quota} of {period} microseconds is less than the kernel can give; "
                f"ask for {max(0.01, MINIMUM_QUOTA_USEC / max(period, 1)):g} or more"
            )
        if quota > period * len(host.cpus):
            problems.append(f"cpus: {quota / max(period, 1):g} asked, but this host has {len(host.cpus)}")
        return problems

    def excess(self, instance: Instance, spec: ContainerSpec) -> str:
        return ""  # time is not held: from the next period on it is less

    def apply(self, instance: Instance, spec: ContainerSpec) -> list[str]:
        _apply_weight(instance, spec.cpu_weight)
        _clear_burst(instance, spec.cpu_burst_usec)
        self._apply_quota(instance, spec)
        _apply_burst(instance, spec.cpu_burst_usec)
        return []

    def _apply_quota(self, instance: Instance, spec: ContainerSpec) -> None:
        cgroup, quota, period = instance.cgroup, spec.cpu_quota_usec, spec.cpu_period_usec
        if quota is None and (instance.is_new or self._limit(cgroup) is None):
            return
        if cgroup.version == 2:
            set_and_compare(cgroup, "cpu", "cpu.max", f"{'max' if quota is None else quota} {period}")
        elif quota is None:
            set_and_compare(cgroup, "cpu", "cpu.cfs_quota_us", "-1")
        else:
            quota = _within_parent_v1(cgroup, quota, period)
            if int(cgroup.read("cpu", "cpu.cfs_period_us")) != period:
                cgroup.write("cpu", "cpu.cfs_quota_us", "-1")  # no wrong mixture of old quota and new period
                set_and_compare(cgroup, "cpu", "cpu.cfs_period_us", str(period))
            set_and_compare(cgroup, "cpu", "cpu.cfs_quota_us", str(quota))

    def read(self, instance: Instance) -> Reading:
        """CPU time is not held: `held` and `peak` are None, `limit` the quota, `fail_count` the throttled periods."""
        cgroup = instance.cgroup
        statistics = parse_keyed(cgroup.read("cpu", "cpu.stat"))
        return Reading(None, None, self._limit(cgroup), statistics.get("nr_throttled", 0), read_pressure(cgroup, "cpu"))

    def account(self, instance: Instance) -> dict[str, int]:
        cgroup = instance.cgroup
        statistics = parse_keyed(cgroup.read("cpu", "cpu.stat"))
        throttled = statistics.get("throttled_usec", statistics.get("throttled_time", 0) // 1000)
        return {"cpu_usec": used_usec(cgroup), "cpu_throttled_usec": throttled}

    def release(self, instance: Instance) -> None:
        pass

    def _limit(self, cgroup: Cgroup) -> int | None:
        if cgroup.version == 2:
            return parse_limit(cgroup.read("cpu", "cpu.max").split()[0])
        return parse_limit(cgroup.read("cpu", "cpu.cfs_quota_us"))


def used_usec(cgroup: Cgroup) -> int:
    """Return the CPU time used since the cgroup was made, microseconds."""
    if cgroup.version == 2:
        return parse_keyed(cgroup.read("cpu", "cpu.stat"))["usage_usec"]
    return int(cgroup.read("cpuacct", "cpuacct.usage")) // 1000  # nanoseconds


def _within_parent_v1(cgroup: Cgroup, quota: int, period: int) -> int:
    """Return the quota, or that of the tenant if it is less, and lower children's: v1 refuses a child more (EINVAL).

    Source: kernel/sched/core.c, tg_cfs_schedulable_down.
    """
    parent_quota, parent_period = (int(cgroup.read_above("cpu", name)) for name in _QUOTA_FILES_V1)
    if parent_quota > 0:
        quota = min(quota, parent_quota * period // parent_period)
    for child in cgroup.beneath("cpu"):
        child_quota, child_period = (int(read_file(f"{child}/{name}")) for name in _QUOTA_FILES_V1)
        if child_quota > 0 and child_quota * period > quota * child_period:
            write_file(f"{child}/cpu.cfs_quota_us", str(max(MINIMUM_QUOTA_USEC, quota * child_period // period)))
    return quota


def _apply_weight(instance: Instance, weight: int | None) -> None:
    """v2 counts from 1 to 10000 around 100, v1 has shares around 1024: the same proportion."""
    cgroup = instance.cgroup
    try:
        if cgroup.version == 2:
            hold(instance, "cpu", "cpu.weight", weight, "100")
        else:
            hold(instance, "cpu", "cpu.shares", None if weight is None else max(2, weight * 1024 // 100), "1024")
    except (OSError, Unsupported) as error:
        is_refused = isinstance(error, Unsupported) or error.errno == errno.EINVAL
        if not is_refused or weight is not None or not _is_idle(cgroup):
            raise  # an idle group, which another controller may have made of it, has no weight


def _is_idle(cgroup: Cgroup) -> bool:
    try:
        return cgroup.read("cpu", "cpu.idle") == "1"
    except FileNotFoundError:  # before 5.15
        return False


def _clear_burst(instance: Instance, wanted_usec: int | None) -> None:
    """Make way for another quota, unless the burst is to stay: the kernel wants burst <= quota at every moment."""
    if instance.is_new:
        return
    try:
        held = instance.cgroup.read("cpu", _burst_file(instance.cgroup))
    except FileNotFoundError:
        return
    if held != str(wanted_usec or 0):
        _apply_burst(instance, None)


def _apply_burst(instance: Instance, burst_usec: int | None) -> None:
    hold(instance, "cpu", _burst_file(instance.cgroup), burst_usec, "0")


def _burst_file(cgroup: Cgroup) -> str:
    return "cpu.max.burst" if cgroup.version == 2 else "cpu.cfs_burst_us"

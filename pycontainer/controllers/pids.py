"""How many processes and threads the container may have."""

from pycontainer.cgroup.base import Cgroup, parse_keyed
from pycontainer.controllers.protocol import Disks, Host, Reading, parse_limit, set_and_compare
from pycontainer.spec.model import ContainerSpec

MAXIMUM = 1 << 22  # PID_MAX_LIMIT of a 64-bit kernel; pids.max takes no larger number


class PidsController:
    """pids.max, the same file in both versions. The unit is tasks: a thread counts as a process does."""

    name, unit = "pids", "tasks"

    def validate(self, spec: ContainerSpec, host: Host) -> list[str]:
        if spec.pids_max is None:
            return []
        if "pids" not in host.layout.controllers:
            return ["pids: this host has no pids controller"]
        if spec.pids_max < 1:
            return [f"pids: {spec.pids_max} leaves no process to start; ask for 1 or more"]
        if spec.pids_max > MAXIMUM:
            return [f"pids: {spec.pids_max} is more than a kernel can have; ask for {MAXIMUM} or less, or for no limit"]
        return []

    def excess(self, cgroup: Cgroup, spec: ContainerSpec) -> str:
        used = int(cgroup.read("pids", "pids.current"))
        if spec.pids_max is None or used <= spec.pids_max:
            return ""
        return f"pids: {used} processes and threads are there, more than {spec.pids_max}"

    def apply(self, cgroup: Cgroup, spec: ContainerSpec, disks: Disks = ()) -> list[str]:
        set_and_compare(cgroup, "pids", "pids.max", "max" if spec.pids_max is None else str(spec.pids_max))
        return []

    def read(self, cgroup: Cgroup) -> Reading:
        try:
            peak = int(cgroup.read("pids", "pids.peak"))
        except FileNotFoundError:  # before 6.11
            peak = None
        return Reading(
            int(cgroup.read("pids", "pids.current")),
            peak,
            parse_limit(cgroup.read("pids", "pids.max")),
            parse_keyed(cgroup.read("pids", "pids.events"))["max"],
        )

    def account(self, cgroup: Cgroup) -> dict[str, int]:
        return {}

"""How many processes and threads the container may have."""

from pycontainer.cgroup.base import Cgroup, parse_keyed, read_file, subdirectories
from pycontainer.controllers.protocol import Host, Instance, Reading, parse_limit, set_and_compare
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
        if spec.init and spec.pids_max < 2:
            return [f"pids: {spec.pids_max} asked, but the start itself needs 2: the init and the command"]
        if spec.pids_max > MAXIMUM:
            return [f"pids: {spec.pids_max} is more than a kernel can have; ask for {MAXIMUM} or less, or for no limit"]
        return []

    def excess(self, instance: Instance, spec: ContainerSpec) -> str:
        used = int(instance.cgroup.read("pids", "pids.current"))
        if spec.pids_max is None or used <= spec.pids_max:
            return ""
        return f"pids: {used} processes and threads are there, more than {spec.pids_max}"

    def apply(self, instance: Instance, spec: ContainerSpec) -> list[str]:
        if spec.pids_max is None and instance.is_new:
            return []
        set_and_compare(instance.cgroup, "pids", "pids.max", "max" if spec.pids_max is None else str(spec.pids_max))
        return []

    def read(self, instance: Instance) -> Reading:
        cgroup = instance.cgroup
        try:
            peak = int(cgroup.read("pids", "pids.peak"))
        except FileNotFoundError:  # before 6.11
            peak = None
        return Reading(
            int(cgroup.read("pids", "pids.current")),
            peak,
            parse_limit(cgroup.read("pids", "pids.max")),
            _refused_forks(cgroup),
        )

    def account(self, instance: Instance) -> dict[str, int]:
        return {}

    def release(self, instance: Instance) -> None:
        pass


def _refused_forks(cgroup: Cgroup) -> int:
    """Return how often a limit said no, here or beneath.

    v1, and v2 before 6.11, count where the fork was tried, not where the limit is: a tenant's lie with its containers, those
    of an instance with its own init anywhere below.
    """
    count = parse_keyed(cgroup.read("pids", "pids.events"))["max"]
    try:
        cgroup.read("pids", "pids.events.local")  # since 6.11 the other file counts what is beneath, too
        return count
    except FileNotFoundError:
        pass
    pending = cgroup.beneath("pids")
    while pending:
        directory = pending.pop()
        try:
            count += parse_keyed(read_file(f"{directory}/pids.events"))["max"]
        except FileNotFoundError:  # it went, or was not given the controller
            continue
        pending += subdirectories(directory)
    return count

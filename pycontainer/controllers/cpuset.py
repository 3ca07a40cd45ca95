"""Which CPUs the container may run on."""

from pycontainer.cgroup.base import Cgroup, read_file, write_file
from pycontainer.controllers.protocol import Host, Instance, Reading, parse_cpu_list, set_and_compare
from pycontainer.errors import Unsupported
from pycontainer.spec.model import ContainerSpec

_EFFECTIVE_FILES = {1: "cpuset.effective_cpus", 2: "cpuset.cpus.effective"}


class CpusetController:
    """cpuset.cpus in both versions. The unit is CPUs."""

    name, unit = "cpuset", "cpus"

    def validate(self, spec: ContainerSpec, host: Host) -> list[str]:
        if not spec.cpuset_cpus:
            return []
        if "cpuset" not in host.layout.controllers:
            return ["cpuset_cpus: this host has no cpuset controller"]
        try:
            wanted = parse_cpu_list(spec.cpuset_cpus)
        except ValueError as error:
            return [f"cpuset_cpus: {error}"]
        if absent := sorted(wanted - host.cpus):
            return [
                f"cpuset_cpus: CPU {', '.join(map(str, absent))} is not online here; "
                f"there are {', '.join(map(str, sorted(host.cpus)))}"
            ]
        return []

    def excess(self, instance: Instance, spec: ContainerSpec) -> str:
        return ""  # the kernel moves what runs elsewhere

    def apply(self, instance: Instance, spec: ContainerSpec) -> list[str]:
        cgroup = instance.cgroup
        if not spec.cpuset_cpus:
            _follow_parent(cgroup)
            return []
        wanted = parse_cpu_list(spec.cpuset_cpus)
        if cgroup.version == 1:
            _make_room_v1(cgroup, wanted, spec.cpuset_cpus)
        set_and_compare(
            cgroup, "cpuset", "cpuset.cpus", spec.cpuset_cpus, same=lambda found: parse_cpu_list(found) == wanted
        )
        if (effective := _effective(cgroup)) != wanted:
            raise _not_allowed(spec.cpuset_cpus, effective)
        return []

    def read(self, instance: Instance) -> Reading:
        """`held` is how many CPUs it may use now, `limit` how many were set; None if it follows the parent."""
        cgroup = instance.cgroup
        own = parse_cpu_list(cgroup.read("cpuset", "cpuset.cpus"))
        return Reading(len(_effective(cgroup)), None, len(own) or None, 0)

    def account(self, instance: Instance) -> dict[str, int]:
        return {}

    def release(self, instance: Instance) -> None:
        pass


def _make_room_v1(cgroup: Cgroup, wanted: frozenset[int], text: str) -> None:
    """Have the children of a tenant give up what it is to lose: v1 refuses a parent less (EBUSY), a child more (EACCES)."""
    allowed = parse_cpu_list(cgroup.read_above("cpuset", "cpuset.cpus"))
    if not wanted <= allowed:
        raise _not_allowed(text, allowed)
    for child in cgroup.beneath("cpuset"):
        held = parse_cpu_list(read_file(f"{child}/cpuset.cpus"))
        if not held <= wanted:
            write_file(f"{child}/cpuset.cpus", _list(held & wanted or wanted))


def _not_allowed(text: str, allowed: frozenset[int]) -> Unsupported:
    return Unsupported(
        f"cannot confine the container to CPUs {text!r}: the kernel allows {_list(allowed)!r} only",
        hint="choose among the CPUs that its tenant, and our parent cgroup, may use",
        feature="cpuset",
    )


def _list(cpus: frozenset[int]) -> str:
    return ",".join(map(str, sorted(cpus)))


def _follow_parent(cgroup: Cgroup) -> None:
    """Allow what the parent has: nothing of its own on v2, a copy on v1, where an empty set admits no process."""
    if cgroup.version == 2:
        if cgroup.read("cpuset", "cpuset.cpus"):
            set_and_compare(cgroup, "cpuset", "cpuset.cpus", "\n", same=lambda found: found == "")
        return
    inherited = cgroup.read_above("cpuset", "cpuset.cpus")
    if cgroup.read("cpuset", "cpuset.cpus") != inherited:
        set_and_compare(cgroup, "cpuset", "cpuset.cpus", inherited)


def _effective(cgroup: Cgroup) -> frozenset[int]:
    return parse_cpu_list(cgroup.read("cpuset", _EFFECTIVE_FILES[cgroup.version]))

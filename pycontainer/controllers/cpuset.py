"""Which CPUs the container may run on, and which memory nodes it may take memory from."""

from pycontainer.cgroup.base import Cgroup, read_file, write_file
from pycontainer.controllers.protocol import Host, Instance, Reading, parse_cpu_list, set_and_compare
from pycontainer.errors import Unsupported
from pycontainer.spec.model import ContainerSpec


class _SubsetController:
    """One file of the cpuset controller, the same in both versions: a list of numbers of what the host has."""

    name = ""
    unit = ""
    field = ""
    what = ""  # one of them, for people
    file = ""
    effective_files: dict[int, str] = {}  # version -> file

    def validate(self, spec: ContainerSpec, host: Host) -> list[str]:
        text = self._wish(spec)
        if not text:
            return []
        if "cpuset" not in host.layout.controllers:
            return [f"{self.field}: this host has no cpuset controller"]
        try:
            wanted = parse_cpu_list(text)
        except ValueError as error:
            return [f"{self.field}: {error}"]
        present = self._present(host)
        if absent := sorted(wanted - present):
            return [
                f"{self.field}: {self.what} {', '.join(map(str, absent))} is not online here; "
                f"there are {', '.join(map(str, sorted(present)))}"
            ]
        return []

    def excess(self, instance: Instance, spec: ContainerSpec) -> str:
        return ""  # the kernel moves what runs, or lies, elsewhere

    def apply(self, instance: Instance, spec: ContainerSpec) -> list[str]:
        cgroup, text = instance.cgroup, self._wish(spec)
        if not text:
            if not instance.is_new:  # a new one follows already
                self._follow_parent(cgroup)
            return []
        wanted = parse_cpu_list(text)
        if cgroup.version == 1:
            self._make_room_v1(cgroup, wanted, text)
        set_and_compare(cgroup, "cpuset", self.file, text, same=lambda found: parse_cpu_list(found) == wanted)
        if (effective := self._effective(cgroup)) != wanted:
            raise self._not_allowed(text, effective)
        return []

    def read(self, instance: Instance) -> Reading:
        """`held` is how many it may use now, `limit` how many were set; None if it follows the parent."""
        cgroup = instance.cgroup
        own = parse_cpu_list(cgroup.read("cpuset", self.file))
        return Reading(len(self._effective(cgroup)), None, len(own) or None, 0)

    def account(self, instance: Instance) -> dict[str, int]:
        return {}

    def release(self, instance: Instance) -> None:
        pass

    def _wish(self, spec: ContainerSpec) -> str:
        text: str = getattr(spec, self.field)
        return text

    def _present(self, host: Host) -> frozenset[int]:
        raise NotImplementedError

    def _make_room_v1(self, cgroup: Cgroup, wanted: frozenset[int], text: str) -> None:
        """Have the children of a tenant give up what it is to lose: v1 refuses a parent less (EBUSY), a child more."""
        allowed = parse_cpu_list(cgroup.read_above("cpuset", self.file))
        if not wanted <= allowed:
            raise self._not_allowed(text, allowed)
        for child in cgroup.beneath("cpuset"):
            held = parse_cpu_list(read_file(f"{child}/{self.file}"))
            if not held <= wanted:
                write_file(f"{child}/{self.file}", _list(held & wanted or wanted))

    def _not_allowed(self, text: str, allowed: frozenset[int]) -> Unsupported:
        return Unsupported(
            f"cannot confine the container to {self.what}s {text!r}: the kernel allows {_list(allowed)!r} only",
            hint="choose among those that its tenant, and our parent cgroup, may use",
            feature="cpuset",
        )

    def _follow_parent(self, cgroup: Cgroup) -> None:
        """Allow what the parent has: nothing of its own on v2, a copy on v1, where an empty set admits no process."""
        if cgroup.version == 2:
            if cgroup.read("cpuset", self.file):
                set_and_compare(cgroup, "cpuset", self.file, "\n", same=lambda found: found == "")
            return
        inherited = cgroup.read_above("cpuset", self.file)
        if cgroup.read("cpuset", self.file) != inherited:
            set_and_compare(cgroup, "cpuset", self.file, inherited)

    def _effective(self, cgroup: Cgroup) -> frozenset[int]:
        return parse_cpu_list(cgroup.read("cpuset", self.effective_files[cgroup.version]))


class CpusetController(_SubsetController):
    """cpuset.cpus. The unit is CPUs."""

    name, unit, field, what = "cpuset", "cpus", "cpuset_cpus", "CPU"
    file = "cpuset.cpus"
    effective_files = {1: "cpuset.effective_cpus", 2: "cpuset.cpus.effective"}

    def _present(self, host: Host) -> frozenset[int]:
        return host.cpus


class MemoryNodesController(_SubsetController):
    """cpuset.mems. The unit is NUMA nodes; what lies on another node already is moved."""

    name, unit, field, what = "cpuset_mems", "nodes", "cpuset_mems", "memory node"
    file = "cpuset.mems"
    effective_files = {1: "cpuset.effective_mems", 2: "cpuset.mems.effective"}

    def apply(self, instance: Instance, spec: ContainerSpec) -> list[str]:
        if instance.cgroup.version == 1 and spec.cpuset_mems:  # v2 always does
            set_and_compare(instance.cgroup, "cpuset", "cpuset.memory_migrate", "1")
        return super().apply(instance, spec)

    def _present(self, host: Host) -> frozenset[int]:
        return host.memory_nodes


def _list(numbers: frozenset[int]) -> str:
    return ",".join(map(str, sorted(numbers)))

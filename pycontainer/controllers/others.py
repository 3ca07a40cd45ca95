"""Every other limit that cgroup v2 has: rdma.max, misc.max, memory.swap.high, cpu.idle, io.latency, and those to come.

The user names the kernel's file and the value as the kernel prints it. Files that a setting of its own holds are refused,
and so are those of the core, cgroup.*, which are the runtime's.
"""

from pycontainer.controllers.protocol import Host, Instance, Lacking, Reading
from pycontainer.errors import Unsupported
from pycontainer.spec.model import ContainerSpec

# Which settings hold these files; hugetlb.SIZE.* is hugetlb's.
_TAKEN = {
    "memory.max": "memory",
    "memory.swap.max": "memory_swap",
    "memory.high": "memory_high",
    "memory.low": "memory_low",
    "memory.min": "memory_min",
    "memory.oom.group": "oom_group",
    "cpu.max": "cpus",
    "cpu.max.burst": "cpu_burst",
    "cpu.weight": "cpu_weight",
    "cpuset.cpus": "cpuset_cpus",
    "cpuset.mems": "cpuset_mems",
    "pids.max": "pids",
    "io.max": "io_read, io_write, io_read_ops, io_write_ops",
    "io.weight": "io_weight",
    "io.bfq.weight": "io_weight",
}


class OthersController:
    """Files of cgroup v2 by name. There is nothing to read: each has a shape of its own."""

    name, unit = "cgroup_conf", ""

    def validate(self, spec: ContainerSpec, host: Host) -> list[str]:
        if not spec.cgroup_conf:
            return []
        if not host.layout.is_v2:
            return [
                Lacking(f"cgroup_conf: this host has cgroup {host.layout.version}; the files named are those of v2")
            ]
        problems: list[str] = []
        for file, _ in spec.cgroup_conf:
            controller = file.partition(".")[0]
            if taken := "hugetlb" if controller == "hugetlb" else _TAKEN.get(file):
                problems.append(f"cgroup_conf: {file} has a setting of its own: {taken}")
            elif controller == "cgroup":
                problems.append(f"cgroup_conf: {file} is the runtime's own")
            elif controller not in host.layout.controllers:
                problems.append(Lacking(f"cgroup_conf: this host has no {controller} controller for {file}"))
        return problems

    def excess(self, instance: Instance, spec: ContainerSpec) -> str:
        return ""  # nothing is known of what they mean

    def apply(self, instance: Instance, spec: ContainerSpec) -> list[str]:
        """All that the kernel has is set before the first that it has not is raised."""
        cgroup = instance.cgroup
        lacking = []
        for file, value in spec.cgroup_conf:
            controller = file.partition(".")[0]
            if cgroup.version != 2 or not cgroup.has(controller):
                lacking.append(file)
                continue
            try:
                cgroup.write(controller, file, value)
            except FileNotFoundError:
                lacking.append(file)
                continue
            found = cgroup.read(controller, file)
            if not _holds(found, value):
                raise Unsupported(
                    f"cannot set {file} to {value!r}: the kernel holds {found!r}",
                    hint="write the value as the kernel prints it, sizes in bytes",
                    feature=controller,
                    difference=f"{file} is {found!r}, not {value!r}",
                )
        if lacking:
            raise Unsupported(
                f"cannot set {', '.join(lacking)}: this kernel has no such file in cgroup v2",
                hint="leave it out",
                feature="cgroup_conf",
            )
        return []

    def read(self, instance: Instance) -> Reading | None:
        return None

    def account(self, instance: Instance) -> dict[str, int]:
        return {}

    def release(self, instance: Instance) -> None:
        pass


def _holds(found: str, value: str) -> bool:
    """Say whether a line of the file has every word of the value: a keyed file has other lines, and other words."""
    words = value.split()
    return any(set(words) <= set(line.split()) for line in found.splitlines())

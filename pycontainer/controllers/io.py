"""Disk bandwidth and operations per second, one controller for each of the four caps.

The user names no device: `find_disks` gives those that hold what the container uses. v2 holds all of its traffic; v1 knows
the writer of direct and synchronous writes alone, so what goes through the page cache is not held there, and people are told.
"""

from pycontainer.cgroup.base import Cgroup
from pycontainer.controllers.protocol import Host, Instance, Lacking, Reading, read_pressure
from pycontainer.errors import Unsupported
from pycontainer.spec.model import ContainerSpec


class _IoController:
    """io.max on v2, blkio.throttle.* on v1."""

    name = ""
    unit = ""
    v1_file = ""
    v2_key = ""

    def validate(self, spec: ContainerSpec, host: Host) -> list[str]:
        if self._wish(spec) is not None and not {"io", "blkio"} & set(host.layout.controllers):
            return [Lacking(f"{self.name}: this host has no io controller")]
        if self._wish(spec) is not None and host.for_tenant and not host.layout.is_v2:
            return [f"{self.name}: cgroup v1 cannot hold a tenant's containers together; set it on each of them"]
        return []

    def excess(self, instance: Instance, spec: ContainerSpec) -> str:
        return ""  # bandwidth is not held

    def apply(self, instance: Instance, spec: ContainerSpec) -> list[str]:
        cgroup = instance.cgroup
        wish = self._wish(spec)
        if wish is not None and not (cgroup.has("io") or cgroup.has("blkio")):
            raise Unsupported(
                f"cannot hold {self.name}: this host has no io controller", hint="leave it out", feature="io"
            )
        held = {} if instance.is_new else self._held(cgroup)
        if wish is None and not held:
            return []
        disks = instance.find_disks()
        if wish is not None and not disks:
            raise Unsupported(
                f"cannot hold {self.name}: no disk lies beneath what the container uses",
                hint="keep the state directory on a file system of a disk, or leave the limit out",
                feature="io",
            )
        for disk in {*disks, *held}:
            wanted = wish if disk in disks else None  # a disk that is not used any more
            if held.get(disk) != wanted:
                self._set(cgroup, disk, wanted)
        if wish is not None and cgroup.version == 1 and self.name.startswith("io_write"):
            return [
                f"{self.name}: cgroup v1 holds direct and synchronous writes; those through the page cache are not held"
            ]
        return []

    def read(self, instance: Instance) -> Reading:
        """`limit` is the least of all disks."""
        cgroup = instance.cgroup
        return Reading(None, None, min(self._held(cgroup).values(), default=None), 0, read_pressure(cgroup, "io"))

    def account(self, instance: Instance) -> dict[str, int]:
        return {}

    def release(self, instance: Instance) -> None:
        pass

    def _wish(self, spec: ContainerSpec) -> int | None:
        value: int | None = getattr(spec, f"{self.name}_{'bps' if self.unit == 'bytes/s' else 'per_second'}")
        return value

    def _held(self, cgroup: Cgroup) -> dict[str, int]:
        """Return disk -> what the kernel holds for it."""
        if cgroup.version == 1:
            if not cgroup.has("blkio"):
                return {}
            return {disk: int(value) for disk, value in map(str.split, cgroup.read("blkio", self.v1_file).splitlines())}
        if not cgroup.has("io"):
            return {}
        found = {}
        for line in cgroup.read("io", "io.max").splitlines():
            disk, *pairs = line.split()
            value = dict(pair.split("=") for pair in pairs)[self.v2_key]
            if value != "max":
                found[disk] = int(value)
        return found

    def _set(self, cgroup: Cgroup, disk: str, value: int | None) -> None:
        if cgroup.version == 1:
            cgroup.write("blkio", self.v1_file, f"{disk} {value or 0}")
        else:
            cgroup.write("io", "io.max", f"{disk} {self.v2_key}={'max' if value is None else value}")
        if self._held(cgroup).get(disk) != value:
            raise Unsupported(
                f"cannot set {self.name} of disk {disk} to {value}: the kernel holds {self._held(cgroup).get(disk)}",
                hint="ask for a value that this kernel can hold, or leave the limit out",
                feature="io",
                difference=f"{self.name} of disk {disk} is {self._held(cgroup).get(disk)}, not {value}",
            )


class IoReadController(_IoController):
    name, unit = "io_read", "bytes/s"
    v1_file, v2_key = "blkio.throttle.read_bps_device", "rbps"


class IoWriteController(_IoController):
    name, unit = "io_write", "bytes/s"
    v1_file, v2_key = "blkio.throttle.write_bps_device", "wbps"


class IoReadOpsController(_IoController):
    name, unit = "io_read_ops", "operations/s"
    v1_file, v2_key = "blkio.throttle.read_iops_device", "riops"


class IoWriteOpsController(_IoController):
    name, unit = "io_write_ops", "operations/s"
    v1_file, v2_key = "blkio.throttle.write_iops_device", "wiops"

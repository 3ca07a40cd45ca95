"""How much a container may write to its own layer: bytes, and inodes, a controller for each.

Both are caps of the file system beneath (disk/storage.py), so cgroups play no part. A tenant's are those of the pool that
its containers' layers lie in. Volumes are not counted: they outlive
the container.
"""

from pycontainer.controllers.protocol import Host, Instance, Reading
from pycontainer.errors import Unsupported
from pycontainer.spec.model import ContainerSpec
from pycontainer.units import format_bytes, format_bytes_short


class DiskController:
    """Bytes; `apply` sets those of inodes too, as a file system takes both at once."""

    name, unit = "disk", "bytes"

    def validate(self, spec: ContainerSpec, host: Host) -> list[str]:
        return []  # what the file system can do, it says when it is asked

    def excess(self, instance: Instance, spec: ContainerSpec) -> str:
        if instance.storage is None or spec.disk_bytes is None:
            return ""
        usage = instance.storage.usage()
        if usage is None or usage.used_bytes <= spec.disk_bytes:
            return ""
        return f"disk: {format_bytes_short(usage.used_bytes)} are written, more than {format_bytes(spec.disk_bytes)}"

    def apply(self, instance: Instance, spec: ContainerSpec) -> list[str]:
        if instance.storage is not None:
            instance.storage.cap(*spec.disk_caps)
        elif spec.has_disk_cap:
            raise Unsupported(
                "cannot hold disk: the container writes into a directory of the host",
                hint="start it from an image, or from a rootfs without :rw",
                feature="disk",
            )
        return []

    def read(self, instance: Instance) -> Reading | None:
        """`fail_count` is 0: file systems do not count what they refuse."""
        usage = instance.storage.usage() if instance.storage is not None else None
        if usage is None:
            return None
        return Reading(usage.used_bytes, None, usage.hard_bytes, 0, soft_limit=usage.soft_bytes)

    def account(self, instance: Instance) -> dict[str, int]:
        return {}

    def release(self, instance: Instance) -> None:
        pass  # the cap is the layer's, not the run's


class DiskInodesController:
    """Inodes: files, directories, links and the like."""

    name, unit = "disk_inodes", "inodes"

    def validate(self, spec: ContainerSpec, host: Host) -> list[str]:
        return []

    def excess(self, instance: Instance, spec: ContainerSpec) -> str:
        if instance.storage is None or spec.disk_inodes is None:
            return ""
        usage = instance.storage.usage()
        if usage is None or usage.used_inodes <= spec.disk_inodes:
            return ""
        return f"disk_inodes: {usage.used_inodes} files are there, more than {spec.disk_inodes}"

    def apply(self, instance: Instance, spec: ContainerSpec) -> list[str]:
        return []  # done with the bytes

    def read(self, instance: Instance) -> Reading | None:
        usage = instance.storage.usage() if instance.storage is not None else None
        if usage is None:
            return None
        return Reading(usage.used_inodes, None, usage.hard_inodes, 0, soft_limit=usage.soft_inodes)

    def account(self, instance: Instance) -> dict[str, int]:
        return {}

    def release(self, instance: Instance) -> None:
        pass

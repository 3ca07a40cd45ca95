"""Shares of disk time when disks are busy: they hold nobody back while nobody else wants the disk."""

from pycontainer.cgroup.base import Cgroup
from pycontainer.controllers.protocol import Host, Instance, Lacking, Reading, set_and_compare
from pycontainer.errors import Unsupported
from pycontainer.spec.model import ContainerSpec

_DEFAULT = 100
_V1_FILES = (("blkio.bfq.weight", 1, 1000), ("blkio.weight", 10, 1000))  # with what they take; CFQ's went with 5.0


class IoWeightController:
    """io.weight on v2 (io.cost, or the bfq scheduler), blkio.bfq.weight on v1."""

    name, unit = "io_weight", "shares"

    def validate(self, spec: ContainerSpec, host: Host) -> list[str]:
        if spec.io_weight is not None and not {"io", "blkio"} & set(host.layout.controllers):
            return [Lacking("io_weight: this host has no io controller")]
        return []

    def excess(self, instance: Instance, spec: ContainerSpec) -> str:
        return ""

    def apply(self, instance: Instance, spec: ContainerSpec) -> list[str]:
        if spec.io_weight is None and instance.is_new:
            return []
        cgroup = instance.cgroup
        found = _file_of(cgroup)
        if found is None:
            if spec.io_weight is None:
                return []
            raise Unsupported(
                "cannot set io_weight: this kernel shares disks without weights",
                hint="use the bfq scheduler, or caps: --io-read, --io-write",
                feature="io",
            )
        controller, name, least, most = found
        wanted = min(most, max(least, _DEFAULT if spec.io_weight is None else spec.io_weight))
        if _held(cgroup, controller, name) != wanted:
            set_and_compare(cgroup, controller, name, f"default {wanted}", same=lambda held: _weight(held) == wanted)
        return []

    def read(self, instance: Instance) -> Reading | None:
        return None  # a share is no amount

    def account(self, instance: Instance) -> dict[str, int]:
        return {}

    def release(self, instance: Instance) -> None:
        pass


def _file_of(cgroup: Cgroup) -> tuple[str, str, int, int] | None:
    """Return (controller, file, least, most) of what this kernel has."""
    if cgroup.version == 2:
        candidates = [("io", "io.weight", 1, 10_000), ("io", "io.bfq.weight", 1, 1000)]
    else:
        candidates = [("blkio", *file) for file in _V1_FILES]
    for controller, name, least, most in candidates:
        try:
            if cgroup.has(controller):
                cgroup.read(controller, name)
                return controller, name, least, most
        except FileNotFoundError:
            continue
    return None


def _held(cgroup: Cgroup, controller: str, name: str) -> int:
    return _weight(cgroup.read(controller, name))


def _weight(text: str) -> int:
    """Return the number of "default 100", which lines for single disks may follow, or of "100" alone."""
    return int(text.splitlines()[0].split()[-1])

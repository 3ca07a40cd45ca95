"""Which devices the container may use: the harmless ones that each has, and what `--device` grants. All else is refused.

The wall stands whatever nodes get inside: by an image, a volume, a mount, or a descriptor that is opened anew. Nobody makes
nodes, not even of the harmless ones: the user namespace refuses mknod(2) anyway, and what it does not need it is not given.
What overlayfs makes for a deleted file (0:0) is no device to the kernel. --privileged changes nothing here: of the machine's
nodes none is inside, and a privileged container that is to have one is granted it by name.
"""

import contextlib
import os
import stat
from collections.abc import Iterator

from pycontainer.cgroup import devices
from pycontainer.cgroup.devicefilter import Rule, merged
from pycontainer.controllers.protocol import Host, Instance, Lacking, Reading
from pycontainer.errors import InvalidInput, Unsupported
from pycontainer.spec.model import ContainerSpec, Device

# Kernel Documentation/admin-guide/devices.txt. The console of a container is one of its ptys, never 5:1.
DEFAULT = (
    Rule("c", 1, 3, "rw"),  # null
    Rule("c", 1, 5, "rw"),  # zero
    Rule("c", 1, 7, "rw"),  # full
    Rule("c", 1, 8, "rw"),  # random
    Rule("c", 1, 9, "rw"),  # urandom
    Rule("c", 5, 0, "rw"),  # tty: the terminal that a process has already
    Rule("c", 5, 2, "rw"),  # ptmx
    Rule("c", 136, None, "rw"),  # its ptys; those of others lie in other instances of devpts
)


class DevicesController:
    """devices.list on v1, a BPF program on v2. There is nothing to measure."""

    name, unit = "devices", ""

    def validate(self, spec: ContainerSpec, host: Host) -> list[str]:
        if host.for_tenant or not host.why_no_device_policy:
            return []
        return [
            Lacking(
                f"devices: this host cannot hold which devices are used: {host.why_no_device_policy}; "
                "see 'pycontainer check', or go without that wall: --best-effort"
            )
        ]

    def excess(self, instance: Instance, spec: ContainerSpec) -> str:
        return ""  # what is open stays open

    def apply(self, instance: Instance, spec: ContainerSpec) -> list[str]:
        """A device that is not there is an error at the start. Of one that goes later, the next `set` takes the grant
        back: the kernel may give its number to another."""
        if instance.is_tenant:
            return []
        granted, gone = [], []
        for device in spec.devices:
            try:
                granted.append(_rule(device))
            except FileNotFoundError:
                gone.append(device.host_path)
        if gone and instance.cgroup.is_untouched:
            return []  # what the next `set` takes back has not been changed by anybody
        if gone and not devices.is_held(instance.cgroup):
            raise InvalidInput(
                f"device '{gone[0]}' does not exist on this host", field="devices", hint="is its driver loaded?"
            )
        devices.hold(instance.cgroup, (*DEFAULT, *granted))
        return [f"device '{path}' is gone from this host, and may not be used any more" for path in gone]

    def read(self, instance: Instance) -> Reading | None:
        return None

    def account(self, instance: Instance) -> dict[str, int]:
        return {}

    def release(self, instance: Instance) -> None:
        pass


def describe(instance: Instance | None, spec: ContainerSpec) -> list[str] | None:
    """Return as lines (`c 1:3 rw`) what the kernel allows now, or, if it does not run, what it will be allowed.

    `a *:* rwm` is everything; None: the kernel does not tell.
    """
    if instance is None:
        return [str(rule) for rule in merged((*DEFAULT, *_present(spec)))]
    try:
        rules = devices.held(instance.cgroup)
    except Unsupported:
        return None
    return ["a *:* rwm"] if rules is None else [str(rule) for rule in rules]


def _present(spec: ContainerSpec) -> Iterator[Rule]:
    """Yield what grants those devices that are there now; a start says what is wrong with the others."""
    for device in spec.devices:
        with contextlib.suppress(OSError, InvalidInput):
            yield _rule(device)


def _rule(device: Device) -> Rule:
    """Return what grants `device`; FileNotFoundError if the host has it no more."""
    found = os.stat(device.host_path)
    if not (stat.S_ISCHR(found.st_mode) or stat.S_ISBLK(found.st_mode)):
        raise InvalidInput(
            f"'{device.host_path}' is not a device node", field="devices", hint="a file or directory is shared with -v"
        )
    kind = "c" if stat.S_ISCHR(found.st_mode) else "b"
    return Rule(kind, os.major(found.st_rdev), os.minor(found.st_rdev), device.access)

"""The subtree that systemd hands over to us, where it is the machine's first process: a scope with Delegate=yes.

systemd owns the tree of v2 and wants to be asked before others make cgroups in it. A scope, not our service: containers
outlive the supervisor, and a service cannot be started again while there are cgroups with controllers in its directory
(status=219/CGROUP). It comes with the monitor and goes with the last process in it, also when that is a container.
Source: systemd.scope(5), systemd-run(1), systemd's CGROUP_DELEGATION.md.
"""

import os

from pycontainer.cgroup.base import parse_keyed, read_file, write_file
from pycontainer.linux.named import NamedTuple

LEAF = "supervisor"  # beneath the scope or a namespace's root: a cgroup has processes or children
_SLICE = "system.slice"


class Scope(NamedTuple):
    """A unit, and its directory in the hierarchy."""

    unit: str
    directory: str

    def is_alive(self) -> bool:
        """Say whether it is there with processes in it, and so stays."""
        try:
            return parse_keyed(read_file(f"{self.directory}/cgroup.events"))["populated"] == 1
        except OSError:  # ENOENT, or ENODEV while it goes
            return False

    def command(self) -> list[str]:
        """Return what is to stand before a command so that it makes the scope and lives in it."""
        return [
            "systemd-run", "--scope", "--quiet", "--collect", f"--unit={self.unit}", f"--slice={_SLICE}",
            "--description=Containers of pycontainer", "--property=Delegate=yes", "--property=TasksMax=infinity", "--",
        ]  # fmt: skip

    def join(self, pid: int) -> None:
        """Move a process into the scope, which must be alive."""
        leaf = f"{self.directory}/{LEAF}"
        os.makedirs(leaf, exist_ok=True)
        write_file(f"{leaf}/cgroup.procs", str(pid))


def scope_of(name: str, mount: str) -> Scope | None:
    """Return the scope for a world called `name`; None where systemd does not run. sd_booted(3)"""
    if not os.path.isdir("/run/systemd/system"):
        return None
    return Scope(f"{name}.scope", f"{mount}/{_SLICE}/{name}.scope")

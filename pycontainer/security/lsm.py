"""The label that a container's processes carry: a profile of AppArmor, or a label of SELinux. A kernel has at most one.

    Rights ──▶ Labels.choose()  ──▶  Label, or none, and warnings     when a container starts
                                       └─ written() ──▶  what its processes write before they execute their program

What was asked for by name and cannot be had is refused. What merely belongs to the profile is left out with a warning.
"""

from typing import NamedTuple

from pycontainer.errors import InvalidInput, Unsupported
from pycontainer.security import selinux
from pycontainer.security.apparmor import PROFILES, AppArmor
from pycontainer.security.profile import Rights

APPARMOR, SELINUX = "apparmor", "selinux"


class Label(NamedTuple):
    """What the processes become, by which module; `files` is the label of mounts made for them, SELinux alone has it."""

    module: str
    process: str
    files: str = ""

    def written(self, *, at_once: bool = False) -> tuple[str, bytes]:
        """Return (file below /proc/PID/attr, what a process writes there about itself).

        It takes effect with the next execve; `at_once` now, for what never executes anything. proc_pid_attr(5)
        """
        if self.module == SELINUX:
            return "exec", self.process.encode()
        if at_once:
            return "apparmor/current", f"changeprofile {self.process}".encode()
        return "apparmor/exec", f"exec {self.process}".encode()


class Labels:
    """Chooses labels; `sys_dir` is other than usual in tests."""

    def __init__(self, apparmor: AppArmor, *, sys_dir: str = "/sys") -> None:
        self._apparmor, self._sys_dir = apparmor, sys_dir

    def check(self, rights: Rights, *, is_reaped: bool) -> None:
        """Raise if what was asked for by name cannot be had: Unsupported, or InvalidInput.

        `is_reaped`: process 1 is our reaper. It never executes a program, so only AppArmor can confine it.
        """
        if rights.needs_apparmor:
            if rights.apparmor in PROFILES.values():
                if not self._apparmor.is_enabled():
                    raise Unsupported("this host has no AppArmor to confine with", hint=_SEE, feature=APPARMOR)
            else:
                self._apparmor.require(rights.apparmor)
        if rights.selinux and not selinux.is_enabled(self._sys_dir):
            raise Unsupported("this host has no SELinux to label with", hint=_SEE, feature=SELINUX)
        if rights.selinux and is_reaped:
            raise InvalidInput(
                "'--init' does not go with an SELinux label: the reaper would stay without one",
                hint="use an image with an init of its own, or leave the label out",
                field="security_opt",
            )

    def choose(self, rights: Rights, *, base: int, is_reaped: bool) -> tuple[Label | None, list[str]]:
        """Return the label of a container that starts now, and warnings about walls that it does without."""
        self.check(rights, is_reaped=is_reaped)
        if rights.selinux:
            return Label(SELINUX, *selinux.labels(dict(rights.selinux), base)), []
        if rights.apparmor and self._apparmor.is_enabled():
            kind = next((kind for kind, name in PROFILES.items() if name == rights.apparmor), None)
            reason = self._apparmor.ensure(kind) if kind else ""
            if not reason:
                return Label(APPARMOR, rights.apparmor), []
            if rights.needs_apparmor:
                raise Unsupported(f"AppArmor profile '{rights.apparmor}': {reason}", hint=_SEE, feature=APPARMOR)
            return None, [f"runs without an AppArmor profile: {reason}"]
        if rights.wants_label and selinux.is_enabled(self._sys_dir):
            return None, ["runs without an SELinux label: give --security-opt label=type:container_t, or label=disable"]
        return None, []


_SEE = "'pycontainer check' says which walls stand on this host"

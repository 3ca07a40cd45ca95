"""A resource controller that another package adds: `--limit idle=yes` gives a container only CPU time that nobody wants.

Install it beside pycontainer, start the supervisor anew, and use it:

    pip install ./examples/controller-idle
    pycontainer service stop
    pycontainer run -d --limit idle=yes debian-nginx
    pycontainer set CONTAINER --limit idle=no

Source: cpu.idle, kernel Documentation/admin-guide/cgroup-v2.rst; v1 has the same file (kernel/sched/core.c). Linux 5.15.
"""

from pycontainer.controllers.protocol import Host, Instance, Reading, set_and_compare
from pycontainer.errors import Unsupported
from pycontainer.spec.model import ContainerSpec

_WORDS = {"yes": "1", "no": "0"}


class IdleController:
    """cpu.idle, the same file in both versions."""

    name, unit = "idle", "yes or no"

    def validate(self, spec: ContainerSpec, host: Host) -> list[str]:
        wish = dict(spec.limits).get(self.name, "no")
        return [] if wish in _WORDS else [f"limit idle: '{wish}' is neither yes nor no"]

    def excess(self, instance: Instance, spec: ContainerSpec) -> str:
        return ""  # nothing is held that could be too much

    def apply(self, instance: Instance, spec: ContainerSpec) -> list[str]:
        wanted = _WORDS[dict(spec.limits).get(self.name, "no")]
        try:
            if instance.cgroup.read("cpu", "cpu.idle") != wanted:
                set_and_compare(instance.cgroup, "cpu", "cpu.idle", wanted)
        except FileNotFoundError:
            if wanted == "1":
                raise Unsupported("this kernel has no cpu.idle", hint="Linux 5.15 has it", feature="idle") from None
        return []

    def read(self, instance: Instance) -> Reading | None:
        return None  # a class of scheduling is no amount

    def account(self, instance: Instance) -> dict[str, int]:
        return {}

    def release(self, instance: Instance) -> None:
        pass  # it goes with the cgroup

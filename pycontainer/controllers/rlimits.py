"""The limits of each process, getrlimit(2). The first process is born with them; here they change for all that run."""

import resource

from pycontainer.controllers.protocol import Host, Instance, Reading
from pycontainer.errors import Unsupported
from pycontainer.linux.namespaces import owner_of_user_namespace
from pycontainer.linux.process import effective_uid
from pycontainer.spec.model import ContainerSpec, Ulimit

_ROUNDS = 10  # a process that forks meanwhile hands on what it had


class RlimitsController:
    """prlimit(2) on every process; children inherit."""

    name, unit = "ulimits", ""

    def validate(self, spec: ContainerSpec, host: Host) -> list[str]:
        return []

    def excess(self, instance: Instance, spec: ContainerSpec) -> str:
        return ""  # what is open stays open; the limit holds from the next one on

    def apply(self, instance: Instance, spec: ContainerSpec) -> list[str]:
        if not spec.ulimits:
            return []
        done: set[int] = set()
        for _ in range(_ROUNDS):
            new = set(instance.cgroup.pids()) - done
            for pid in new:
                for ulimit in spec.ulimits:
                    _set(pid, ulimit)
            done |= new
            if not new:
                break
        return []

    def read(self, instance: Instance) -> Reading | None:
        return None  # each process has its own

    def account(self, instance: Instance) -> dict[str, int]:
        return {}

    def release(self, instance: Instance) -> None:
        pass


def _set(pid: int, ulimit: Ulimit) -> None:
    number = getattr(resource, f"RLIMIT_{ulimit.name.upper()}")
    soft, hard = (resource.RLIM_INFINITY if value is None else value for value in (ulimit.soft, ulimit.hard))
    try:
        try:
            if resource.prlimit(pid, number) != (soft, hard):
                resource.prlimit(pid, number, (soft, hard))
        except PermissionError:  # a host that keeps CAP_SYS_RESOURCE from us: who made the namespace has it there
            with effective_uid(owner_of_user_namespace(pid)):
                resource.prlimit(pid, number, (soft, hard))
    except ProcessLookupError:
        pass  # it has just ended
    except PermissionError as error:
        raise Unsupported(
            f"cannot raise ulimit {ulimit.name} of a running container: that needs CAP_SYS_RESOURCE",
            hint="lower it, or restart the container with another limit",
            feature="ulimits",
        ) from error

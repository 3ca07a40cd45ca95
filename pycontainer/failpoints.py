"""Named moments at which a test lets one of our processes die, as if power or a person had ended it: kill -9.

    PYCONTAINER_FAILPOINT=NAME         the process that comes there first dies there
    PYCONTAINER_FAILPOINT=NAME:3       ... when it comes there for the third time

Off unless a process was started with that; then a visit costs one look into an empty dict. Every step of an operation that
has more than one has a name here, and tests/integration/test_failpoints.py dies at each of them. The name says what was done
last. What dies is who works: the supervisor, but the monitor at `monitor:`, and the worker of images at `image:`.

They are also the steps of which a trace consists (trace.py).
"""

import os

from pycontainer import trace
from pycontainer.linux import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLE = "PYCONTAINER_FAILPOINT"
_SIGKILL = 9  # the module `signal` would bring `enum` to who has neither

NAMES = (
    "record:written",  # every record, before the rename that makes it the one that counts
    # containers
    "create:claimed", "create:range", "create:admitted", "create:storage", "create:noted", "create:volumes",
    "create:addresses", "create:files", "create:filled", "create:recorded",
    "start:settled", "start:range", "start:ports", "start:monitor", "start:volumes", "start:cgroup", "start:trees",
    "start:limits", "start:born", "start:network", "start:ready", "start:noted", "start:released", "start:over",
    "stop:noted", "stop:asked", "stop:killed",
    "end:heard", "end:told", "end:network", "end:limits", "end:cgroup", "end:over",
    "rm:renamed", "rm:network", "rm:storage", "rm:range", "rm:forgotten", "rm:volumes", "rm:erased",
    "rename:neighbours", "rename:recorded",
    "set:noted", "set:applied", "set:recorded",  # of a container, or of a tenant
    # what they have written
    "snapshot:intent", "snapshot:moved", "snapshot:begun", "snapshot:still", "snapshot:copied", "snapshot:frozen",
    "snapshot:recorded",
    "restore:filled", "restore:intent", "restore:cleared", "restore:over",
    "clone:frozen", "clone:made",
    # instances that travel
    "import:loaded", "import:made", "import:tagged",
    # images, in the worker
    "image:staged", "image:layer", "image:blobs", "image:named",
    "image-rm:unnamed", "image-rm:retired",
    # volumes
    "volume:begun", "volume:prepared", "volume:named", "volume:filling", "volume:filled", "volume:retired",
    "volume:restored",
    # networks
    "network:recorded", "network:down", "network:unnamed", "connect:linked", "connect:reserved", "connect:recorded",
    "disconnect:reserved", "disconnect:unlinked", "disconnect:recorded",
    # tenants
    "tenant:pool", "tenant:recorded", "tenant:unnamed", "tenant:lowered", "tenant:erased", "transfer:noted",
    "transfer:acted", "transfer:undone",
    # coming up
    "recover:read", "recover:adopted", "recover:networks", "recover:ended", "recover:cgroups", "recover:over",
    # the monitor
    "monitor:born", "monitor:prepared", "monitor:released", "monitor:reaped", "monitor:recorded",
)  # fmt: skip

_visits: dict[str, int] = {}  # name -> visits until it dies; at most one


def reach(name: str) -> None:
    """Die here, if that was asked; a step is done, for who traces."""
    if name in _visits:
        _visit(name)
    if trace.recorders:
        trace.step(name)


def arm(environment: "Mapping[str, str]") -> None:
    """Take the failpoint of an environment; ValueError for one that there is not. Said once, by a program's `main`."""
    _visits.clear()
    files.before_rename = bool
    wanted = environment.get(VARIABLE, "")
    if not wanted:
        return
    name, _, count = wanted.rpartition(":")
    if not count.isdecimal():
        name, count = wanted, "1"
    if name not in NAMES or int(count) < 1:
        raise ValueError(f"{VARIABLE}: no failpoint {wanted!a}")
    _visits[name] = int(count)
    files.before_rename = _reach_record  # a hook: who runs a container by the OCI command line does not load us


def _reach_record() -> None:
    reach("record:written")


def environment(prefix: str) -> dict[str, str]:
    """Return what a process that we start has in its environment to have our failpoint, if that begins with `prefix`."""
    for name, count in _visits.items():
        if name.startswith(prefix):
            return {VARIABLE: f"{name}:{count}"}
    return {}


def _visit(name: str) -> None:
    _visits[name] -= 1
    if not _visits[name]:
        os.write(2, f"failpoint {name}: killed\n".encode())  # for who asks afterwards whether it was reached
        os.kill(os.getpid(), _SIGKILL)

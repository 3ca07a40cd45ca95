"""`pause ID`: freeze all processes of a container."""

from __future__ import annotations

from pycontainer.errors import InvalidState, Unsupported
from pycontainer.oci.state import State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontainer.oci.arguments import Options


def run(options: Options) -> None:
    """Freeze a container that runs, or waits for its start."""
    with State.lock(options.root, options.id):
        state = State.load(options.root, options.id)
        status = state.status(holds_lock=True)
        if status not in ("running", "created"):
            raise InvalidState(f"container not running: it is {status}")
        group = state.group()
        if group is None:
            raise Unsupported("cannot pause a container without a cgroup", feature="cgroup")
        group.freeze()

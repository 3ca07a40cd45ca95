"""`resume ID`: let the processes of a paused container go on."""

from __future__ import annotations

from pycontainer.errors import InvalidState
from pycontainer.oci.state import State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontainer.oci.arguments import Options


def run(options: Options) -> None:
    """Thaw a container that is paused."""
    with State.lock(options.root, options.id):
        state = State.load(options.root, options.id)
        group = state.group()
        if group is None or state.status(holds_lock=True) != "paused":
            raise InvalidState("container not paused")
        group.thaw()

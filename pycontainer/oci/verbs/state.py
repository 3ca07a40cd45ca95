"""`state ID`: what is recorded of a container and what the kernel says of it, as JSON."""

from __future__ import annotations

from pycontainer.oci import output, text
from pycontainer.oci.state import State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontainer.oci.arguments import Options


def run(options: Options) -> None:
    """Print the state, indented."""
    state = State.load(options.root, options.id)
    shown = state.describe(state.status())
    shown["owner"] = ""  # as runc: its `list` alone has it
    output.write(text.dumps(shown, indent=2) + "\n")

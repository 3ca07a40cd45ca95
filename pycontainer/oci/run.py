"""`run`: create and start; in the foreground wait for the end as well, and delete what was made."""

import os

from pycontainer.errors import NotFound
from pycontainer.oci import create, start
from pycontainer.oci.foreground import Foreground
from pycontainer.oci.state import State
from pycontainer.oci.verbs import delete

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontainer.oci.arguments import Options


def run(options: "Options") -> int:
    """Return the exit code of the container's process; 0 once it runs, with --detach."""
    made = create.create_here(options, detached=options.detach)
    try:
        with State.lock(options.root, options.id):
            begun = start.begin(made.state)
        if begun is not None:
            begun.after(made.state)
    except BaseException:
        _delete(made.state)
        raise
    if options.detach:
        os.close(made.pidfd)
        return 0
    code = Foreground(made.pid, made.pidfd, made.master_fd).wait()
    if not options.keep:
        _delete(made.state)
    return code


def _delete(made: State) -> None:
    """Delete what was made, unless somebody was faster and the id is another container's by now."""
    try:
        with State.lock(made.root, made.id):
            found = State.load(made.root, made.id)
            if (found.pid, found.start_ticks) == (made.pid, made.start_ticks):
                delete.remove(found)
    except NotFound:
        pass

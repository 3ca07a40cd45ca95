"""One walk through what tenants have written, in a process of its own: `tree_worker` (runtime/worker.py).

    PARENT copy FROM TO             copies the directory FROM into the empty one TO (linux/treecopy.py)
    PARENT diff BASE LAYER...       what the layers, topmost first, change of a base (runtime/diff.py)
    PARENT compare BASE TREE        what a tree that was copied from BASE has changed (runtime/compare.py)
    PARENT upper BASE TREE TO       writes the same into the empty directory TO, as an overlay would have it

Directories are given as descriptors. One JSON object comes out: {"changes": [[kind, path]]}, {"is_changed": ..} for `upper`,
{} for a copy, or {"error": ...}, {"errno", "text"}. What a tree costs in memory and descriptors is limited here and ends with
this process, which ends with its parent; the caller sees to the time (runtime/treework.py).
"""

import errno
import json
import os
import resource
import sys

from pycontainer.errors import PycontainerError
from pycontainer.linux.treecopy import MAX_DEPTH, copy_tree
from pycontainer.runtime import compare, diff
from pycontainer.runtime.worker import end_with

_MAX_MEMORY_BYTES = 1 << 30
_OTHER_FDS = 256


def main() -> int:
    """Do the one walk of the command line; return the exit status."""
    parent, what, *numbers = sys.argv[1:]
    end_with(int(parent))
    fds = [int(number) for number in numbers]
    resource.setrlimit(resource.RLIMIT_AS, (_MAX_MEMORY_BYTES, _MAX_MEMORY_BYTES))
    max_fds = (MAX_DEPTH + 1) * len(fds) + _OTHER_FDS
    resource.setrlimit(resource.RLIMIT_NOFILE, (max_fds, max_fds))
    sys.setrecursionlimit(4 * MAX_DEPTH)  # of the diff, two generators for each directory, and of the comparison
    print(json.dumps(_answer(what, fds)))
    return 0


def _answer(what: str, fds: list[int]) -> dict[str, object]:
    try:
        if what == "copy":
            copy_tree(*fds)
            return {}
        if what == "diff":
            return {"changes": diff.changes(fds[1:], fds[0])}
        # That of a detached mount says only where it is: it has to be opened to be read.
        fds = [os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd) for fd in fds]
        found = compare.differences(fds[1], fds[0])
        if what == "compare":
            return {"changes": compare.changes(found)}
        compare.write_upper(found, fds[1], fds[2])
        return {"is_changed": bool(found) or compare.root_differs(fds[1], fds[0])}
    except PycontainerError as error:
        return {"error": error.to_wire()}
    except OSError as error:
        return {"errno": error.errno or errno.EIO, "text": error.strerror or str(error)}
    except MemoryError:
        return {
            "errno": errno.ENOMEM,
            "text": f"what was written takes more than {_MAX_MEMORY_BYTES} bytes to go through",
        }


if __name__ == "__main__":
    sys.exit(main())

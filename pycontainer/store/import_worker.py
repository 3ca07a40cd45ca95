"""One import in a process of its own: `python -I -m pycontainer.store.import_worker`.

One JSON line comes in, {root, source, name, config}; lines go out: {"progress": {"bytes": n}} now and then, then
{"result": ImageInfo} and exit 0, or {"error": ...} and exit 1. The process ends with the one that started it, gains no
privileges, reaches no network, and an archive cannot make it use more than a gigabyte of memory.
"""

import errno
import json
import os
import resource
import signal
import sys

import prctl

from pycontainer.errors import InvalidInput, PycontainerError
from pycontainer.linux.namespaces import CLONE_NEWIPC, CLONE_NEWNET, unshare
from pycontainer.paths import HostPaths
from pycontainer.store.images import ImageStore

_MAX_MEMORY_BYTES = 1 << 30
_MAX_REQUEST_BYTES = 4 << 20


def main() -> int:
    """Serve the one request of standard input; return the exit status."""
    parent = os.getppid()
    prctl.set_pdeathsig(signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the signal was asked for
        return 1
    _confine()
    try:
        result = _serve()
    except PycontainerError as error:
        _say({"error": error.to_wire()})
        return 1
    except OSError as error:
        hint = "free some space in the store's file system" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        _say({"error": PycontainerError(f"the import failed: {error}", hint=hint).to_wire()})
        return 1
    except MemoryError:
        _say({"error": InvalidInput("the archive needs more memory than an import may use").to_wire()})
        return 1
    _say({"result": result})
    return 0


def _confine() -> None:
    """Give up what unpacking does not need."""
    prctl.set_no_new_privs(1)
    unshare(CLONE_NEWNET | CLONE_NEWIPC)
    resource.setrlimit(resource.RLIMIT_AS, (_MAX_MEMORY_BYTES, _MAX_MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.umask(0o022)


def _serve() -> object:
    line = sys.stdin.buffer.readline(_MAX_REQUEST_BYTES)
    try:
        request = json.loads(line)
        root, source, name, config = (request[key] for key in ("root", "source", "name", "config"))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise InvalidInput("the request is not one line of JSON with root, source, name and config") from error
    store = ImageStore(HostPaths(root))
    return store.import_image(source, name, config, lambda progress: _say({"progress": progress}))


def _say(message: dict[str, object]) -> None:
    sys.stdout.buffer.write(json.dumps(message).encode() + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    sys.exit(main())

"""One import in a process of its own: `python -I -m pycontainer.runtime.import_worker`.

One JSON line comes in, {root, source, name, config}; lines go out: {"progress": {"bytes": n}} now and then, then
{"result": ImageInfo} and exit 0, or {"error": ...} and exit 1. The process ends with the one that started it. With the
argument `--clean` it takes {root} and removes what imports left that were killed.

It keeps the rights that the store asks for, so it reads nothing that the source's author wrote: its confined children do that
(runtime/importer.py).
"""

import errno
import json
import os
import signal
import sys

import prctl

from pycontainer.errors import InvalidInput, PycontainerError
from pycontainer.paths import HostPaths
from pycontainer.runtime.importer import Importer
from pycontainer.store.images import ImageStore

_MAX_REQUEST_BYTES = 4 << 20


def main() -> int:
    """Serve the one request of standard input; return the exit status."""
    parent = os.getppid()
    prctl.set_pdeathsig(signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the signal was asked for
        return 1
    os.umask(0o022)
    try:
        result = _serve()
    except PycontainerError as error:
        _say({"error": error.to_wire()})
        return 1
    except OSError as error:
        hint = "free some space in the store's file system" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        _say({"error": PycontainerError(f"the import failed: {error}", hint=hint).to_wire()})
        return 1
    _say({"result": result})
    return 0


def _serve() -> object:
    line = sys.stdin.buffer.readline(_MAX_REQUEST_BYTES)
    try:
        request = json.loads(line)
        root = request["root"]
        if sys.argv[1:] == ["--clean"]:
            ImageStore(HostPaths(root)).remove_left_over()
            return None
        source, name, config = (request[key] for key in ("source", "name", "config"))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise InvalidInput("the request is not one line of JSON with root, source, name and config") from error
    paths = HostPaths(root)
    importer = Importer(paths.seccomp_dir)
    return ImageStore(paths).import_image(
        source, name, config, importer.unpack, lambda progress: _say({"progress": progress})
    )


def _say(message: dict[str, object]) -> None:
    sys.stdout.buffer.write(json.dumps(message).encode() + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    sys.exit(main())

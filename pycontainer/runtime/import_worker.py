"""The long work on images in a process of its own: `python -I -m pycontainer.runtime.import_worker`.

One JSON line comes in, {root, action, in_use} with what the action takes; `in_use` holds the ids of images that containers
are made of.

    import      source, name, config, platform    -> ImageInfo
    load        source, name, platform            -> [ImageInfo]
    prune       unused: bool                      -> [ImageInfo], those that went
    clean                                         -> null; removes what imports left that were killed

Lines go out: {"progress": {"step", "bytes", "total_bytes"?}} now and then, then {"result": ...} and exit 0, or {"error": ...}
and exit 1. The process ends with the one that started it.

It keeps the rights that the store asks for, so it reads nothing that the source's author wrote: its confined children do that
(runtime/importer.py).
"""

import errno
import json
import os
import signal
import sys
from collections.abc import Callable, Set
from typing import Any

import prctl

from pycontainer.errors import InvalidInput, PycontainerError
from pycontainer.paths import HostPaths
from pycontainer.runtime.importer import Importer
from pycontainer.store.images import ImageStore
from pycontainer.store.load import import_image, load

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
        paths, action, in_use = HostPaths(request["root"]), request["action"], frozenset(request["in_use"])
        act = _ACTIONS[action]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise InvalidInput("the request is not one line of JSON with root, action and in_use") from error
    return act(ImageStore(paths), Importer(paths.seccomp_dir), request, in_use)


def _import(store: ImageStore, importer: Importer, request: dict[str, Any], in_use: Set[str]) -> object:
    source, name, config, platform = (request[key] for key in ("source", "name", "config", "platform"))
    return import_image(store, source, name, config, importer, _tell, platform=platform, in_use=in_use)


def _load(store: ImageStore, importer: Importer, request: dict[str, Any], in_use: Set[str]) -> object:
    source, name, platform = (request[key] for key in ("source", "name", "platform"))
    return load(store, source, importer, name=name, platform=platform, on_progress=_tell, in_use=in_use)


def _prune(store: ImageStore, importer: Importer, request: dict[str, Any], in_use: Set[str]) -> object:
    return store.prune(in_use, unused=request["unused"])


def _clean(store: ImageStore, importer: Importer, request: dict[str, Any], in_use: Set[str]) -> object:
    store.remove_left_over(in_use)
    return None


_ACTIONS: dict[str, Callable[[ImageStore, Importer, dict[str, Any], Set[str]], object]] = {
    "import": _import,
    "load": _load,
    "prune": _prune,
    "clean": _clean,
}


def _tell(progress: dict[str, object]) -> None:
    _say({"progress": progress})


def _say(message: dict[str, object]) -> None:
    sys.stdout.buffer.write(json.dumps(message).encode() + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    sys.exit(main())

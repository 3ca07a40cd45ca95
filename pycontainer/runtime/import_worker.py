"""The long work on images in a process of its own: `import_worker PARENT` (runtime/worker.py).

One JSON line comes in, {root, action, in_use} with what the action takes; `in_use` holds the ids of images that containers
are made of.

    import      source, fd, name, config, platform, format
                                                  -> ImageInfo; `fd` is an open file that is only called `source`, or null
    load        source, fd, name, platform        -> [ImageInfo]
    save        images, format, fd, links         -> {"images": [name or id of each]}; `fd` is of the archive, or of the
                                                     directory for oci-dir, whose blobs may be links to the store's
    commit      image, uppers, whole, name, config, author, message, created
                                                  -> {"image": ImageInfo, "left_out": [what and why]} (store/commit.py)

Lines go out: {"progress": {"step", "bytes", "total_bytes"?}} now and then, then {"result": ...} and exit 0, or {"error": ...}
and exit 1. The process ends with the one that started it.

It keeps the rights that the store asks for, so the content of archives and layers is for its confined children to read
(runtime/importer.py). Of what the source's author wrote it reads itself: the JSON of indexes, manifests and configs, bounded
and strictly; what the children say of an archive, judged; the superblock of a squashfs or erofs file that its user announced.
"""

import errno
import json
import os
import sys
from collections.abc import Callable, Set
from typing import Any

from pycontainer import failpoints
from pycontainer.errors import InvalidInput, PycontainerError
from pycontainer.paths import HostPaths
from pycontainer.runtime.importer import Importer
from pycontainer.runtime.worker import end_with
from pycontainer.store.archive import DirectoryTarget, TarTarget, write
from pycontainer.store.commit import commit
from pycontainer.store.images import ImageStore
from pycontainer.store.load import import_image, load
from pycontainer.store.save import collected
from pycontainer.store.unpack import Budgets
from pycontainer.store.unpacking import counter
from pycontainer.units import shown

_MAX_REQUEST_BYTES = 4 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT)
_OF_OUR_OWN = Budgets(max_ratio=None)  # what a container wrote is on the disk already, however well we have packed it


def main() -> int:
    """Serve the one request of standard input; return the exit status."""
    end_with(int(sys.argv[1]))
    os.umask(0o022)
    failpoints.arm(os.environ)
    action = ""
    try:
        request, action = _request()
        result = _serve(request, action)
    except PycontainerError as error:
        _say({"error": error.to_wire()})
        return 1
    except OSError as error:
        hint = "free some space in the store's file system" if error.errno in _FULL else ""
        _say({"error": PycontainerError(f"the {action} failed: {_reason(error)}", hint=hint).to_wire()})
        return 1
    _say({"result": result})
    return 0


def _reason(error: OSError) -> str:
    reason = error.strerror or str(error)
    return f"{reason}: {shown(os.fsdecode(error.filename))}" if error.filename else reason


def _request() -> tuple[dict[str, Any], str]:
    line = sys.stdin.buffer.readline(_MAX_REQUEST_BYTES)
    try:
        request = json.loads(line)
        action = request["action"]
        if action in _ACTIONS and {"root", "in_use"} <= request.keys():
            return request, action
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        pass
    raise InvalidInput("the request is not one line of JSON with root, action and in_use")


def _serve(request: dict[str, Any], action: str) -> object:
    paths = HostPaths(request["root"])
    importer = Importer(paths.seccomp_dir, budgets=_OF_OUR_OWN if action == "commit" else None)
    return _ACTIONS[action](ImageStore(paths), importer, request, frozenset(request["in_use"]))


def _import(store: ImageStore, importer: Importer, request: dict[str, Any], in_use: Set[str]) -> object:
    source, name, config = (request[key] for key in ("source", "name", "config"))
    told = {"given_fd": request.get("fd"), "platform": request["platform"], "form": request["format"]}
    return import_image(store, source, name, config, importer, _tell, **told, in_use=in_use)


def _load(store: ImageStore, importer: Importer, request: dict[str, Any], in_use: Set[str]) -> object:
    source, name, platform = (request[key] for key in ("source", "name", "platform"))
    told = {"given_fd": request.get("fd"), "name": name, "platform": platform}
    return load(store, source, importer, **told, on_progress=_tell, in_use=in_use)


def _save(store: ImageStore, importer: Importer, request: dict[str, Any], in_use: Set[str]) -> object:
    references, form, fd, links = (request[key] for key in ("images", "format", "fd", "links"))
    with collected(store, references, importer.pack_layer, in_use=in_use) as content:
        on_bytes = counter(_tell, "saving", content.size_bytes)
        try:
            if form == "oci-dir":
                write(content, form, DirectoryTarget(fd, links=links), on_bytes)
            else:
                archive = TarTarget(fd)
                write(content, form, archive, on_bytes)
                archive.finish()
        except OSError as error:
            hint = "free some space where it goes" if error.errno in _FULL else ""
            reason = os.strerror(error.errno or errno.EIO).lower()
            raise PycontainerError(f"cannot write what is saved: {reason}", hint=hint) from error
        return {"images": [image.name or image.config.digest for image in content.images]}


def _commit(store: ImageStore, importer: Importer, request: dict[str, Any], in_use: Set[str]) -> object:
    base, uppers, name = (request[key] for key in ("image", "uppers", "name"))
    options = {key: request[key] for key in ("whole", "config", "author", "message", "created")}
    info, left_out = commit(store, base, uppers, name, importer, **options, on_progress=_tell, in_use=in_use)
    return {"image": info, "left_out": left_out}


_ACTIONS: dict[str, Callable[[ImageStore, Importer, dict[str, Any], Set[str]], object]] = {
    "import": _import,
    "load": _load,
    "save": _save,
    "commit": _commit,
}


def _tell(progress: dict[str, object]) -> None:
    _say({"progress": progress})


def _say(message: dict[str, object]) -> None:
    sys.stdout.buffer.write(json.dumps(message).encode() + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    sys.exit(main())

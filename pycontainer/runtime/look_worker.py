"""One look into a container that runs, in a process of its own, which may wait for a file system in there for ever:

    python -SI -c BOOT PARENT user USER        descriptor 3 is the root; who that is in its files
    python -SI -c BOOT PARENT ptmx             descriptor 3 is the root; its terminal multiplexer, open, comes with the answer
    python -SI -c BOOT PARENT processes PID... what /proc tells of processes: their memory may be a file's there

The answer is JSON on descriptor 0, a socket, up to its end: what was found, or {"error": ...}.
"""

import json
import os
import socket
import stat

from pycontainer.errors import PycontainerError, StartFailed
from pycontainer.linux.files import RESOLVE_IN_ROOT, RESOLVE_NO_SYMLINKS, openat2
from pycontainer.runtime.users import resolve
from pycontainer.runtime.worker import end_with

_ROOT_FD = 3
_PTMX = os.makedev(5, 2)


def main(arguments: list[str]) -> None:
    """Do the one look of the command line."""
    parent, what, *rest = arguments
    end_with(int(parent))
    os.chdir("/")
    found: dict[str, object] = {}
    fds: list[int] = []
    try:
        if what == "user":
            user = resolve(_ROOT_FD, rest[0])
            found = {name: getattr(user, name) for name in user.__slots__}
        elif what == "ptmx":
            fds = [_open_ptmx()]
        else:
            found = {pid: row for pid in rest if (row := _process(pid)) is not None}
    except PycontainerError as error:
        found = {"error": error.to_wire()}
    except OSError as error:
        failed = StartFailed(
            f"cannot look at '{error.filename}': {error.strerror}", step="look", errno=error.errno or 0
        )
        found = {"error": failed.to_wire()}
    with socket.socket(fileno=0) as sock:
        data = json.dumps(found).encode()
        sock.sendall(data[socket.send_fds(sock, [data], fds) :])


def _open_ptmx() -> int:
    """Open it without following links, proven to be one: the slave then comes from it, never from a path.

    Root inside may have mounted a fifo, or a device that it was granted, over it: so it is looked at before it is opened.
    """
    looked_fd = openat2(_ROOT_FD, "dev/pts/ptmx", os.O_PATH, resolve=RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS)
    details = os.fstat(looked_fd)
    if not stat.S_ISCHR(details.st_mode) or details.st_rdev != _PTMX:
        raise StartFailed("the container's /dev/pts/ptmx is not a terminal multiplexer", step="console")
    return os.open(f"/proc/self/fd/{looked_fd}", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)


def _process(pid: str) -> list[str] | None:
    """Return stat, status and the beginning of the command line of a process; None when it is gone."""
    try:
        parts = []
        for name in ("stat", "status", "cmdline"):
            with open(f"/proc/{pid}/{name}", "rb") as file:
                parts.append(file.read(4096).decode("latin-1"))
        return parts
    except (FileNotFoundError, ProcessLookupError):
        return None

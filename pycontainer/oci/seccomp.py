"""The filter of `linux.seccomp`, ready to be loaded, and the listener that some filters report to.

The kernel gives the listener to whoever loads the filter. The child leaves it open until it has parked, at a number that we
know; we take it from there and hand it to whom `listenerPath` names, with the container's state. seccomp_unotify(2)
"""

import os

from pycontainer.errors import StartFailed
from pycontainer.linux.capabilities import NAMES
from pycontainer.linux.descriptors import send_fds
from pycontainer.linux.libc import syscall
from pycontainer.security import seccomp_bundle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontainer.oci.config import Process

NEW_LISTENER = 8  # SECCOMP_FILTER_FLAG_NEW_LISTENER
_CACHE_DIR = "/run/pycontainer/seccomp"


def loadable(wanted: "dict[str, object] | None", process: "Process") -> "tuple[int, bytes] | None":
    """Return (flags of seccomp(2), program), None without a filter. InvalidInput says what is wrong with it."""
    if wanted is None:
        return None
    release = os.uname().release.split(".")
    kernel = (int(release[0]), int(release[1].partition("-")[0]))
    mask = process.capabilities.bounding if process.capabilities is not None else 0
    names = frozenset(name for number, name in enumerate(NAMES) if mask >> number & 1)
    cache_dir = _CACHE_DIR if os.geteuid() == 0 and os.access("/run", os.W_OK) else ""
    found = seccomp_bundle.loadable(wanted, capabilities=names, kernel=kernel, cache_dir=cache_dir)
    return found.flags | (NEW_LISTENER if found.notifies else 0), found.program


def has_listener(loaded: "tuple[int, bytes] | None") -> bool:
    return loaded is not None and bool(loaded[0] & NEW_LISTENER)


def permits(loaded: "tuple[int, bytes] | None", calls: "list[tuple[int, ...]]") -> bool:
    """Say whether the filter lets all of these calls (number, arguments) through; one with a listener may not."""
    from pycontainer.security import seccomp_verdict

    return (
        loaded is not None and not has_listener(loaded) and all(seccomp_verdict.permits(loaded[1], *c) for c in calls)
    )


def hand_over(wanted: "dict[str, object]", pidfd: int, number: int, state: "dict[str, object]", pid: int) -> None:
    """Send descriptor `number` of the child to the listener, as the runtime specification's containerProcessState."""
    import _socket  # 0.3 ms that a filter without a listener does not need

    from pycontainer.oci import text

    path = str(wanted.get("listenerPath", ""))
    listener_fd = syscall("pidfd_getfd", pidfd, number, 0)
    try:
        told = {
            "ociVersion": state["ociVersion"],
            "fds": ["seccompFd"],
            "pid": pid,
            "metadata": wanted.get("listenerMetadata", ""),
            "state": state,
        }
        sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
        try:
            sock.connect(path)
            send_fds(sock, text.dumps(told).encode(), [listener_fd])
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise StartFailed(f"config.json: linux.seccomp.listenerPath: '{path}': {why}", step="seccomp") from error
        finally:
            sock.close()
    finally:
        os.close(listener_fd)

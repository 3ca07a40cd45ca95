"""The namespaces that a child is born in: new ones, and those at a path; the caller is back in its own afterwards."""

import os

from pycontainer.errors import InvalidInput
from pycontainer.linux import ffi
from pycontainer.linux.libc import checked, declare
from pycontainer.linux.namespaces import (
    CLONE_NEWCGROUP,
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWTIME,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
    Home,
    setns,
    unshare,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontainer.init.stage import Stage

NAMESPACES = {
    "pid": CLONE_NEWPID,
    "net": CLONE_NEWNET,
    "ipc": CLONE_NEWIPC,
    "uts": CLONE_NEWUTS,
    "mnt": CLONE_NEWNS,
    "user": CLONE_NEWUSER,
    "cgroup": CLONE_NEWCGROUP,
    "time": CLONE_NEWTIME,
}
# The child is in these from its birth, in new ones and in those at a path: what we mount, set and move in them afterwards
# is done through the child, and would else be done to the host's.
BORN_IN = ("pid", "net", "ipc", "uts")
AT_CLONE = (*BORN_IN, "user")  # new ones; the others are left for in the child, or were before the clone

_NS_GET_NSTYPE = 0xB703
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
_AF_INET, _SOCK_DGRAM = 2, 2
_socket = declare("socket", ffi.c_int, ffi.c_int, ffi.c_int)  # the module `_socket` takes 0.3 ms


def open_namespace(namespaces: "dict[str, str]", kind: str) -> int:
    """Open a namespace of the kind that was asked for; a path of another one is refused. ioctl_ns(2)"""
    import fcntl

    path = namespaces[kind]
    where = f"config.json: linux.namespaces[{list(namespaces).index(kind)}].path"
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise InvalidInput(f"{where}: '{path}': {(error.strerror or '').lower()}") from error
    try:
        found = fcntl.ioctl(fd, _NS_GET_NSTYPE)
    except OSError:
        found = 0
    if found != NAMESPACES[kind]:
        os.close(fd)
        raise InvalidInput(f"{where}: '{path}' is not a namespace of kind {kind}")
    return fd


class Elsewhere:
    """Children born within are in the namespaces at a path, of those that `BORN_IN` names."""

    __slots__ = ("_home", "_kinds", "_namespaces")

    def __init__(self, home: Home, namespaces: "dict[str, str]") -> None:
        self._home, self._namespaces = home, namespaces
        self._kinds = [kind for kind in BORN_IN if namespaces.get(kind)]

    def __enter__(self) -> None:
        try:
            for kind in self._kinds:
                fd = open_namespace(self._namespaces, kind)
                try:
                    setns(fd, NAMESPACES[kind])
                finally:
                    os.close(fd)
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_exc: object) -> None:
        self._home.back(sum(NAMESPACES[kind] for kind in self._kinds))


class Times:
    """Children born within are in a new time namespace with these offsets. time_namespaces(7)"""

    __slots__ = ("_home_fd", "_offsets")

    def __init__(self, offsets: "dict[str, tuple[int, int]] | None") -> None:
        self._offsets = offsets
        self._home_fd = -1

    def __enter__(self) -> None:
        if self._offsets is None:
            return
        self._home_fd = os.open("/proc/self/ns/time", os.O_RDONLY | os.O_CLOEXEC)
        unshare(CLONE_NEWTIME)
        lines = "".join(f"{clock} {seconds} {nanoseconds}\n" for clock, (seconds, nanoseconds) in self._offsets.items())
        if lines:
            fd = os.open("/proc/self/timens_offsets", os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(fd, lines.encode())
            finally:
                os.close(fd)

    def __exit__(self, *_exc: object) -> None:
        if self._home_fd >= 0:
            setns(self._home_fd, CLONE_NEWTIME)
            os.close(self._home_fd)


def can_return() -> bool:
    """Say whether the namespaces we are in are ours to enter again: those of the host are not, in a user namespace."""
    from pycontainer.oci.main import in_user_namespace

    return not in_user_namespace()


def bring_loopback_up(stage: "Stage") -> None:
    """Bring `lo` of the child's network up. netdevice(7)"""
    import fcntl
    import struct

    kind = _SOCK_DGRAM | os.O_CLOEXEC
    fd = stage.home.fetch(stage.child_pidfd, CLONE_NEWNET, lambda: checked(_socket(_AF_INET, kind, 0), "socket"))
    try:
        request = struct.pack("16sH22x", b"lo", 0)
        (flags,) = struct.unpack_from("H", fcntl.ioctl(fd, _SIOCGIFFLAGS, request), 16)
        fcntl.ioctl(fd, _SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", flags | _IFF_UP))
    finally:
        os.close(fd)

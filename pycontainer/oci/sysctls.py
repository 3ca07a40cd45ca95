"""Sysctls of a container's namespaces, written from outside before its first instruction. sysctl(2), namespaces(7)"""

import os

from pycontainer.errors import StartFailed
from pycontainer.linux.namespaces import CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWUTS, Home


def write(pidfd: int, sysctls: "dict[str, str]", *, returns: bool = True) -> None:
    """Write each (path below /proc/sys, value) in the namespaces of process `pidfd`.

    /proc/sys shows the values of whoever opens it, so this process goes there for a moment; the procfs is ours.
    """
    flags = CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS
    home = Home(flags, returns=returns)

    def write_all() -> int:
        for path, value in sysctls.items():
            _write(path, value)
        return -1

    try:
        home.fetch(pidfd, flags, write_all)
    except OSError as error:
        path = str(error.filename).removeprefix("/proc/sys/")
        raise StartFailed(
            f"linux.sysctl: cannot set '{path.replace('/', '.')}' to '{sysctls.get(path, '')}': {error.strerror}",
            step="sysctl",
            errno=error.errno or 0,
        ) from error
    finally:
        home.close()


def _write(path: str, value: str) -> None:
    place = f"/proc/sys/{path}"
    fd = os.open(place, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value.encode())
    except OSError as error:
        error.filename = place
        raise
    finally:
        os.close(fd)

"""Namespaced sysctls of a container, written from outside before its first instruction. sysctl(2), namespaces(7)."""

import os

from pycontainer.errors import StartFailed
from pycontainer.linux.namespaces import CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWUTS, visiting

_GROUPS = "net.ipv4.ping_group_range"  # ids of the writer's user namespace, which is ours


def write_sysctls(pidfd: int, sysctls: tuple[tuple[str, str], ...], base: int) -> None:
    """Write each (key, value) in the namespaces of process `pidfd`, through our own /proc. Its ids begin at `base`.

    /proc/sys shows the values of whoever opens it, so this process joins for a moment.
    """
    with visiting(pidfd, CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS):
        for key, value in sysctls:
            _write(key, _of_host(value, base) if key == _GROUPS else value)


def _of_host(value: str, base: int) -> str:
    return " ".join(str(base + int(word)) if word.isdecimal() else word for word in value.split())


def _write(key: str, value: str) -> None:
    path = "/proc/sys/" + key.replace(".", "/")
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, value.encode())
        finally:
            os.close(fd)
    except OSError as error:
        raise StartFailed(
            f"cannot set sysctl '{key}' to '{value}': {error.strerror}", step="sysctl", errno=error.errno or 0
        ) from error

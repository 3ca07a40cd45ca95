"""Containers for the load: the host's own Python, seen read-only inside, so that no image is needed.

DIR/rootfs/      links as the host has them (/lib -> usr/lib), and empty directories to mount the rest on
DIR/stage/       load.py, and the flags of a round: `go`, `done` when the actor and `over` when its neighbour has
                     ended; /stage inside
"""

import contextlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pycontainer.client.client import Client
from pycontainer.client.container import Container
from pycontainer.errors import PycontainerError

_LOAD = Path(__file__).with_name("load.py")
_SYSTEM = ("usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "etc/ld.so.cache")
_ROUND_SECONDS = 120


class Stage:
    """Containers that belong to one run of the self-test; all of them are gone when it is left."""

    def __init__(self, host: Client) -> None:
        self._host = host
        self._prefix = f"selftest-{os.getpid()}"
        self._undo = contextlib.ExitStack()
        self._binds: list[str] = []

    def __enter__(self) -> "Stage":
        self._directory = tempfile.mkdtemp(prefix="pycontainer-selftest.", dir="/var/tmp")
        self._undo.callback(shutil.rmtree, self._directory)
        os.chmod(self._directory, 0o755)  # inside, everything is seen by a user who is nobody here
        self._stage = Path(self._directory, "stage")
        self._stage.mkdir(mode=0o755)
        (self._stage / "load.py").write_bytes(_LOAD.read_bytes())
        self._binds = [f"{self._stage}:/stage:ro", *_lay_out(Path(self._directory, "rootfs"))]
        return self

    def __exit__(self, *exception: object) -> None:
        self._undo.close()

    def create(self, role: str, load: Sequence[str], fields: Mapping[str, Any]) -> Container:
        """Create a container that runs load.py with the words of `load`."""
        container = self._host.create_from(
            {
                "networks": ["none"],
                **fields,
                "name": f"{self._prefix}-{role}",
                "rootfs": f"{self._directory}/rootfs",
                "volumes": self._binds,
                "command": [os.path.realpath(sys.executable), "-I", "-S", "/stage/load.py", *load],
            }
        )
        self._undo.callback(_remove, container)
        return container

    def network(self) -> str:
        """Create a network whose containers reach each other; return its name. It is to come before its containers."""
        network = self._host.create_network(self._prefix, driver="bridge")
        self._undo.callback(network.remove)
        return network.name

    def play(self, actor: Container, neighbour: Container, server: Container | None = None) -> tuple[float, float]:
        """Start all, give them the word at once, and return the last number that actor and neighbour told.

        Raises PycontainerError, with the words it wrote to stderr, if one failed.
        """
        every = [container for container in (actor, neighbour, server) if container is not None]
        flags = [self._stage / name for name in ("go", "done", "over")]
        try:
            for container in every:
                container.start()
            for container in every:
                _wait_until_ready(container)
            flags[0].touch()
            for container, flag in zip((actor, neighbour), flags[1:], strict=True):
                container.wait()
                flag.touch()
            if server is not None:
                server.wait()
        finally:
            for flag in flags:
                flag.unlink(missing_ok=True)
        return _last_number(actor), _last_number(neighbour)


def _lay_out(rootfs: Path) -> list[str]:
    """Make a root directory in which the host's Python runs, and return what is to be mounted on it."""
    rootfs.mkdir(mode=0o755)
    mounts = []
    for path in dict.fromkeys((*(f"/{name}" for name in _SYSTEM), os.path.realpath(sys.base_prefix))):
        inside = rootfs / path[1:]
        if os.path.islink(path):
            inside.symlink_to(os.readlink(path))
        elif os.path.exists(path):
            mounts.append(f"{path}:{path}:ro")
    return mounts


def _remove(container: Container) -> None:
    with contextlib.suppress(PycontainerError):  # whoever interrupts us wants to see that, not this
        container.remove(force=True)


def _wait_until_ready(container: Container) -> None:
    deadline = time.monotonic() + _ROUND_SECONDS
    while not any(container.logs()):
        if container.status != "running" or time.monotonic() > deadline:
            raise PycontainerError(f"'{container.name}' did not start")
        time.sleep(0.01)


def _last_number(container: Container) -> float:
    lines = list(container.logs())
    if errors := [line.text for line in lines if line.stream == "stderr"]:
        raise PycontainerError(f"the load of '{container.name}' failed: {errors[-1]}")
    if len(lines) < 2:  # the first is "ready"
        raise PycontainerError(f"the load of '{container.name}' ended before it measured anything")
    return float(lines[-1].text)

"""The unified hierarchy (kernel Documentation/admin-guide/cgroup-v2.rst).

BASE/                     root of the machine, or the scope that systemd handed over to us
├── supervisor/           only if BASE is not the root of the machine: who lived in BASE, so that BASE may
│                         enable controllers; in a scope the monitor alone
└── pycontainer/          our parent: controllers enabled, no processes
    ├── ID/               one container
    │   └── payload/      of profile system: its own to arrange (delegation.py), controllers enabled, no processes in ID
    └── tenant-NAME/      one tenant: controllers enabled, no processes
        └── ID/           one of its containers
"""

from __future__ import annotations

import errno
import os

from pycontainer.cgroup import delegation
from pycontainer.cgroup.base import (
    GONE,
    Cgroup,
    parse_keyed,
    read_file,
    remove_directory,
    subdirectory_names,
    write_file,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontainer.cgroup.detect import Layout


class CgroupV2(Cgroup):
    """A container's cgroup in the unified hierarchy: one directory."""

    __slots__ = ()
    version = 2

    @property
    def directory(self) -> str:
        return self._directories[0]

    def delegate(self, owner: int) -> str:
        enable(self.directory, tuple(self._paths))
        payload = delegation.delegate(self.directory, owner)
        if self.has("memory"):
            delegation.show_limit(self.directory)
        return payload

    def write(self, controller: str, name: str, value: str) -> None:
        super().write(controller, name, value)
        if name == delegation.SHOWN and not self.is_untouched:
            delegation.show_limit(self.directory)

    def attach(self, pid: int, *, beside: int = 0) -> None:
        write_file(f"{delegation.landing(self.directory, beside)}/cgroup.procs", str(pid))

    def dirfd(self, *, beside: int = 0) -> int | None:
        landing = delegation.landing(self.directory, beside)
        return os.open(landing, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def _stop(self) -> bool:
        write_file(f"{self.directory}/cgroup.freeze", "1")
        return parse_keyed(read_file(f"{self.directory}/cgroup.events"))["frozen"] == 1

    def thaw(self) -> None:
        write_file(f"{self.directory}/cgroup.freeze", "0")

    def is_frozen(self) -> bool:
        # Who gets a signal wakes, to stop again at once; to the events nobody is frozen meanwhile. kernel/cgroup/freezer.c
        try:
            if read_file(f"{self.directory}/cgroup.freeze").strip() == "1":
                return True
            return parse_keyed(read_file(f"{self.directory}/cgroup.events"))["frozen"] == 1  # with one above
        except OSError as error:
            if error.errno not in GONE:
                raise
            return False

    def kill(self) -> None:
        try:
            write_file(f"{self.directory}/cgroup.kill", "1")  # since Linux 5.14, which idmapped mounts need anyway
        except OSError as error:
            if os.path.isdir(self.directory):
                raise
            if error.errno not in GONE:
                raise

    def oom_kills(self) -> int:
        return parse_keyed(self.read("memory", "memory.events")).get("oom_kill", 0)

    def mount_sources(self) -> list[tuple[str, str]]:
        return [("", self.directory)]


class TreeV2:
    """Our part of the unified hierarchy."""

    def __init__(self, layout: Layout, parent_name: str) -> None:
        self._controllers = tuple(layout.controllers)
        self._base = next(iter(layout.controllers.values()))
        self._parent = f"{self._base}/{parent_name}"
        self._must_vacate = layout.must_vacate
        self._mount = layout.mount or self._base

    def prepare(self) -> None:
        """Make the parent directory with the controllers enabled down to it; may be repeated.

        A scope has to be there. systemd enables the controllers that it knows on the way to it, which are not all.
        """
        if self._must_vacate:
            vacate(self._base)
        way = self._base.removeprefix(self._mount).strip("/").split("/")
        directory = self._mount
        enable(directory, self._controllers)
        for name in filter(None, way):
            directory = f"{directory}/{name}"
            enable(directory, self._controllers)
        os.makedirs(self._parent, exist_ok=True)
        enable(self._parent, self._controllers)

    def open(self, path: str) -> CgroupV2:
        return CgroupV2(os.path.basename(path), dict.fromkeys(self._controllers, f"{self._parent}/{path}"))

    def create(self, path: str, *, inner: bool = False) -> CgroupV2:
        """Make the directory; an `inner` one has the controllers enabled for those below it."""
        os.mkdir(f"{self._parent}/{path}", 0o755)
        if inner:
            enable(f"{self._parent}/{path}", self._controllers)
        return self.open(path)

    def list(self, path: str = "") -> list[str]:
        return sorted(subdirectory_names(f"{self._parent}/{path}"))

    def remove_parent(self) -> None:
        remove_directory(self._parent)


def enable(directory: str, controllers: tuple[str, ...]) -> None:
    """Enable `controllers` for the children of `directory` and check that they are."""
    path = f"{directory}/cgroup.subtree_control"
    missing = [name for name in controllers if name not in read_file(path).split()]
    if not missing:
        return
    write_file(path, " ".join(f"+{name}" for name in missing))
    enabled = read_file(path).split()
    if refused := [name for name in missing if name not in enabled]:
        raise OSError(errno.EOPNOTSUPP, f"the kernel did not enable {', '.join(refused)}", path)


def vacate(base: str) -> None:
    """Move every process that lives directly in `base` to the leaf below it: a cgroup has processes or children."""
    from pycontainer.cgroup.scope import LEAF  # 0.2 ms that who only removes a cgroup does not need

    leaf = f"{base}/{LEAF}"
    os.makedirs(leaf, exist_ok=True)
    for pid in read_file(f"{base}/cgroup.procs").split():
        try:
            write_file(f"{leaf}/cgroup.procs", pid)
        except ProcessLookupError:
            pass  # it ended meanwhile

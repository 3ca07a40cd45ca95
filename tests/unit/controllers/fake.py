"""A cgroup made of a dict, which can refuse and change values as a kernel does."""

import errno
import os
from collections.abc import Callable

from pycontainer.cgroup.detect import V1_CONTROLLERS, V2_CONTROLLERS, Layout
from pycontainer.cgroup.v2 import CgroupV2
from pycontainer.controllers.protocol import Host

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def host(version: str = "v2", *, cpus: int = 2, without: str = "") -> Host:
    """Return a machine with all controllers but `without`."""
    names = V2_CONTROLLERS if version == "v2" else V1_CONTROLLERS
    layout = Layout(version, {name: f"/cgroup/{name}" for name in names if name != without})
    return Host(layout, frozenset(range(cpus)), PAGE_BYTES)


class FakeCgroup(CgroupV2):
    """`files` are the files the kernel offers; `change` says what it makes of a value written, or raises."""

    def __init__(
        self,
        version: int,
        files: dict[str, str],
        *,
        change: dict[str, Callable[[str], str]] | None = None,
        directory: str = "/cgroup/ours/c1",
        without: str = "",
    ) -> None:
        names = {*V1_CONTROLLERS, *V2_CONTROLLERS} - {without}
        super().__init__("c1", dict.fromkeys(names, directory))
        self.version = version
        self.files = files
        self.change = change or {}
        self.above = {"cpu.cfs_quota_us": "-1", "cpu.cfs_period_us": "100000", "cpuset.cpus": "0-1"}
        self.written: list[str] = []

    def read(self, controller: str, name: str) -> str:
        if name not in self.files:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        return self.files[name]

    def write(self, controller: str, name: str, value: str) -> None:
        self.read(controller, name)
        self.files[name] = self.change.get(name, str.strip)(value)
        self.written.append(f"{name}={value}")

    def read_above(self, controller: str, name: str) -> str:
        return self.above[name]

    def oom_kills(self) -> int:
        return 5

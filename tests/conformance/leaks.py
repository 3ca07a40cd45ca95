"""What a runtime may leave on the host: mounts, cgroups, processes, links, and files beneath its directory."""

import os
import socket

from tests.conformance.runtime import Runtime
from tests.support.leaks import Lines, take_snapshot


def snapshot(runtime: Runtime) -> Lines:
    """Return what there is of the runtime's containers, and what tests/support/leaks.py looks at."""
    lines = [*_cgroups(runtime.tag), *_processes(runtime), *_links(runtime.tag)]
    return take_snapshot(roots=[runtime.directory]) | frozenset(lines)


def _cgroups(tag: str) -> list[str]:
    found = []
    for path, directories, _ in os.walk("/sys/fs/cgroup"):
        found += [f"cgroup: {path}/{name}" for name in directories if tag in name]
    return found


def _processes(runtime: Runtime) -> list[str]:
    """Return those in a cgroup, with a root or with arguments of the runtime; zombies too, which have only a cgroup."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cgroup") as file:
                cgroups = file.read()
            with open(f"/proc/{pid}/cmdline", errors="replace") as file:
                command = file.read().replace("\0", " ").strip()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if runtime.tag in cgroups or runtime.directory in command or runtime.tag in command:
            found.append(f"process: {pid} {command}")
    return found


def _links(tag: str) -> list[str]:
    return [f"link: {name}" for _, name in socket.if_nameindex() if tag in name]

"""What a container sees of the machine: its own limits in /proc/meminfo and /proc/cpuinfo, and which CPUs there are.

Kernel files below /proc show the host to everybody. Containers with a cap on memory or CPU get files of ours over them,
read-only and locked like the masks, so that `free` and those who size their caches and pools by these files see what they
can have. What is effective is the least of the container's and its tenant's limits.

Where lxcfs is (supervisor/lxcfs.py) its files are mounted, which tell what is free at each read, and the uptime and load of
the container. Otherwise ours are, written at a start and when a limit changes: what is free in them is as of then. `nproc`
asks the scheduler (sched_getaffinity), so a CPU set shows there, a quota does not.
"""

import os
import re
from collections.abc import Callable
from typing import NamedTuple

from pycontainer.spec.model import ContainerSpec

_FIELD = re.compile(r"([A-Za-z_()0-9]+):\s+([0-9]+)( kB)?")
# Files of ours have the names of these, in the container's directory.
_MEMINFO, _CPUINFO, _ONLINE = "/proc/meminfo", "/proc/cpuinfo", "/sys/devices/system/cpu/online"
_OURS = (_MEMINFO, _CPUINFO, _ONLINE)
_LXCFS = "/lxcfs"  # an empty one tells that the present run looks through lxcfs
_BOOT_ID, _ANY_ID = "/proc/sys/kernel/random/boot_id", "/proc/sys/kernel/random/uuid"


class Effective(NamedTuple):
    """What a container can have at most; None is the host's."""

    memory_bytes: int | None
    swap_bytes: int
    cpus: int | None


def effective(own: ContainerSpec, tenant: ContainerSpec | None) -> Effective:
    """Return the least of a container's limits and its tenant's."""
    specs = [own] if tenant is None else [own, tenant]
    memory = min((spec.memory_bytes for spec in specs if spec.memory_bytes is not None), default=None)
    swap = 0
    if own.memory_bytes is not None and own.memory_swap_bytes is not None:
        swap = own.memory_swap_bytes - own.memory_bytes
    counts = [-(-spec.cpu_quota_usec // spec.cpu_period_usec) for spec in specs if spec.cpu_quota_usec is not None]
    counts += [_count(spec.cpuset_cpus) for spec in specs if spec.cpuset_cpus]
    return Effective(memory, swap, min(counts, default=None))


def write(
    directory: str, limits: Effective, lxcfs: Callable[[], list[tuple[str, str]]] = list
) -> list[tuple[str, str]]:
    """Return (path inside, path on the host) of what is to be mounted in a container that starts; write what is ours.

    `lxcfs` returns the files that it offers, and is asked only if there is a limit to tell of.
    """
    for path in (*_OURS, _LXCFS):
        try:
            os.unlink(_path(directory, path))  # what is there is what is mounted
        except FileNotFoundError:
            pass
    texts = _texts(limits, 0)
    if texts and (offered := lxcfs()):
        _write(_path(directory, _LXCFS), "")
        return offered
    return [(inside, _write(_path(directory, inside), text)) for inside, text in texts.items()]


def write_boot_id(directory: str) -> tuple[str, str]:
    """Return, as `write` does, the file that tells an instance with an init of its own which boot this is.

    The host's would put all its boots together in the journal, and tell who are neighbours. random(4)
    """
    return _BOOT_ID, _write(_path(directory, _BOOT_ID), _read(_ANY_ID))


def rewrite(directory: str, limits: Effective, used_bytes: int) -> bool:
    """Let a running container see limits that changed; say whether it can, with what is mounted in it."""
    if kind(directory) == "lxcfs":
        return True
    texts = _texts(limits, used_bytes)
    mounted = [inside for inside in _OURS if os.path.exists(_path(directory, inside))]
    for inside in mounted:  # where a cap was taken off, the host's own text is the truth
        _write(_path(directory, inside), texts.get(inside) or _read(inside))
    return set(texts) <= set(mounted)


def kind(directory: str) -> str:
    """Return what the present run has mounted: "lxcfs", "generated" or, nothing, "host"."""
    if os.path.exists(_path(directory, _LXCFS)):
        return "lxcfs"
    return "generated" if any(os.path.exists(_path(directory, inside)) for inside in _OURS) else "host"


def meminfo(host: str, limit_bytes: int, swap_bytes: int, used_bytes: int) -> str:
    """Return the host's /proc/meminfo with a container's numbers: proc_meminfo(5).

    What a cgroup does not count by these names is 0 rather than the host's.
    """
    free = max(0, limit_bytes - used_bytes)
    known = {
        "MemTotal": limit_bytes,
        "MemFree": free,
        "MemAvailable": free,
        "SwapTotal": swap_bytes,
        "SwapFree": swap_bytes,
        "AnonPages": used_bytes,
        "Active": used_bytes,
        "Active(anon)": used_bytes,
    }
    lines = []
    for line in host.splitlines():
        match = _FIELD.match(line)
        if match is None:
            continue
        key, value, unit = match.groups()
        if unit and not key.startswith(("Vmalloc", "DirectMap", "Huge", "Percpu")):
            value = str(known.get(key, 0) // 1024)
        lines.append(f"{key + ':':<16}{value:>8}{unit or ''}")
    return "\n".join(lines) + "\n"


def cpuinfo(host: str, count: int) -> str:
    """Return the first `count` processors of the host's /proc/cpuinfo, numbered from 0."""
    blocks = [block for block in host.split("\n\n") if block.strip()]
    processors = [block for block in blocks if block.lstrip().startswith("processor")]
    kept = [
        re.sub(r"^(processor\s*: )[0-9]+", rf"\g<1>{number}", block.lstrip()) for number, block in enumerate(processors)
    ]
    return "".join(f"{block}\n\n" for block in kept[:count])


def _texts(limits: Effective, used_bytes: int) -> dict[str, str]:
    """Return path inside -> text of every file that the limits call for."""
    texts = {}
    if limits.memory_bytes is not None:
        host = _read(_MEMINFO)
        if limits.memory_bytes < _total_bytes(host):
            texts[_MEMINFO] = meminfo(host, limits.memory_bytes, limits.swap_bytes, used_bytes)
    if limits.cpus is not None and limits.cpus < (os.cpu_count() or 1):
        texts[_CPUINFO] = cpuinfo(_read(_CPUINFO), limits.cpus)
        texts[_ONLINE] = f"0-{limits.cpus - 1}\n" if limits.cpus > 1 else "0\n"
    return texts


def _path(directory: str, inside: str) -> str:
    return f"{directory}/{os.path.basename(inside)}"


def _count(cpu_list: str) -> int:
    ranges = (part.partition("-") for part in cpu_list.split(","))
    return sum(int(last or first) - int(first) + 1 for first, _, last in ranges)


def _total_bytes(meminfo_text: str) -> int:
    match = _FIELD.match(meminfo_text)  # MemTotal comes first
    return int(match[2]) * 1024 if match else 0


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def _write(path: str, text: str) -> str:
    """Write in place: another file would not be the one that is mounted."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o444)
    try:
        data = text.encode()
        os.write(fd, data)
        os.ftruncate(fd, len(data))
    finally:
        os.close(fd)
    return path

"""Memory of what runs containers, without what runs in them."""

import contextlib
import os

from tests.benchmarks.bed import PAYLOAD
from tests.support.hostns import NetworkNamespace

_KERNEL = ("Slab:", "KernelStack:", "PageTables:", "Percpu:")


def runtime_bytes(network: NetworkNamespace) -> int:
    """Return the PSS of all processes in a network that are neither payloads nor runners of benchmarks.

    What supervises a container is in the host's network, and a host's network is the bench's own.
    """
    return sum(pss_bytes(pid) for pid in runtime_pids(network))


def runtime_pids(network: NetworkNamespace) -> list[int]:
    """Return those processes."""
    inode = os.fstat(network.fd).st_ino
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if os.stat(f"/proc/{entry}/ns/net").st_ino == inode and not os.readlink(f"/proc/{entry}/exe").endswith(
                PAYLOAD
            ):
                with open(f"/proc/{entry}/cmdline", "rb") as file:
                    if b"tests.benchmarks" not in file.read():
                        found.append(int(entry))
    return found


def pss_bytes(pid: int) -> int:
    """Return the memory of a process, what it shares in proportion; 0 if it is gone."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/smaps_rollup") as file:
        return next((int(line.split()[1]) * 1024 for line in file if line.startswith("Pss:")), 0)
    return 0


def kernel_bytes() -> int:
    """Return what the kernel holds for itself, the host's whole."""
    with open("/proc/meminfo") as file:
        return sum(int(line.split()[1]) * 1024 for line in file if line.startswith(_KERNEL))


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

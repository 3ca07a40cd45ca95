"""What the host itself has and uses, as far as containers are concerned; node_exporter tells the rest of it."""

import contextlib
import os

from pycontainer.metrics.exposition import Exposition, labels

_RESOURCES = ("cpu", "memory", "io")
_DEV_COLUMNS = 16
_STATE = "pycontainer_host_state"


def add_host(page: Exposition, state_dir: str, proc: str = "/proc") -> None:
    """Add the host's figures; what cannot be read, because the kernel was built without it, is left out."""
    page.add("pycontainer_host_cpus", "", os.cpu_count() or 1)
    with contextlib.suppress(OSError, ValueError):
        page.add("pycontainer_host_load1", "", float(_text(f"{proc}/loadavg").split()[0]))
    with contextlib.suppress(OSError, ValueError):
        kib = {name: int(rest.split()[0]) for name, _, rest in _lines(f"{proc}/meminfo")}
        for family, name in (
            ("pycontainer_host_memory_bytes", "MemTotal"),
            ("pycontainer_host_memory_available_bytes", "MemAvailable"),
            ("pycontainer_host_swap_bytes", "SwapTotal"),
            ("pycontainer_host_swap_free_bytes", "SwapFree"),
        ):
            if name in kib:
                page.add(family, "", kib[name] * 1024)
    with contextlib.suppress(OSError):
        found = os.statvfs(state_dir)
        page.add(f"{_STATE}_size_bytes", "", found.f_blocks * found.f_frsize)
        page.add(f"{_STATE}_available_bytes", "", found.f_bavail * found.f_frsize)
        page.add(f"{_STATE}_inodes", "", found.f_files)
        page.add(f"{_STATE}_inodes_free", "", found.f_ffree)
    with contextlib.suppress(OSError, ValueError):
        tracked = "pycontainer_host_tracked_connections"
        page.add(tracked, "", int(_text(f"{proc}/sys/net/netfilter/nf_conntrack_count")))
        page.add(f"{tracked}_max", "", int(_text(f"{proc}/sys/net/netfilter/nf_conntrack_max")))
    for resource in _RESOURCES:
        with contextlib.suppress(OSError, ValueError):
            for line in _text(f"{proc}/pressure/{resource}").splitlines():
                kind, usec = line.split()[0], int(line.rpartition("total=")[2])
                family = f"pycontainer_host_pressure_{'waiting' if kind == 'some' else 'stalled'}_seconds"
                page.add(family, labels({"resource": resource}), usec / 1e6)


def links(proc: str = "/proc") -> dict[str, list[int]]:
    """Return the counts of each link of our network namespace, by its name: the columns of /proc/net/dev. proc_net_dev(5)

    One file for all of them: a thousand take 3 ms, where files of their own take 100.
    """
    found: dict[str, list[int]] = {}
    for line in _text(f"{proc}/self/net/dev").splitlines()[2:]:
        name, _, rest = line.rpartition(":")
        numbers = rest.split()
        if len(numbers) == _DEV_COLUMNS:
            found[name.strip()] = [int(number) for number in numbers]
    return found


def _lines(path: str) -> list[tuple[str, str, str]]:
    return [line.partition(":") for line in _text(path).splitlines()]


def _text(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()

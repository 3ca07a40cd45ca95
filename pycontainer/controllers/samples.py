"""What cgroups count of one container or tenant: everything a monitoring system wants, read at once and cheaply.

`stats.py` answers a person who looks at a few; this is read of a thousand, every few seconds. So a file is one open, one read
and one close, a file that this kernel lacks is asked for once, and no number is turned into an int that nobody wants.
"""

from __future__ import annotations

import errno
import os

from pycontainer.cgroup.base import Cgroup
from pycontainer.cgroup.v1 import UNLIMITED_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_MAX_BYTES = 1 << 16  # seq_file gives a page at least; the longest, io.stat, has a line for each device
_CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
_RESOURCES = ("cpu", "memory", "io")

# our name -> that of memory.stat; v1 counts what is beneath only in those with `total_`
_MEMORY_V2 = {
    "memory_rss_bytes": "anon",
    "memory_cache_bytes": "file",
    "memory_mapped_bytes": "file_mapped",
    "memory_active_file_bytes": "active_file",
    "memory_inactive_file_bytes": "inactive_file",
    "memory_kernel_bytes": "kernel",  # since 5.18
    "page_faults": "pgfault",
    "major_page_faults": "pgmajfault",
}
_MEMORY_V1 = {
    "memory_rss_bytes": "total_rss",
    "memory_cache_bytes": "total_cache",
    "memory_mapped_bytes": "total_mapped_file",
    "memory_active_file_bytes": "total_active_file",
    "memory_inactive_file_bytes": "total_inactive_file",
    "memory_swap_bytes": "total_swap",  # if swap is accounted
    "page_faults": "total_pgfault",
    "major_page_faults": "total_pgmajfault",
}
# our name -> (name in io.stat, first word in blkio's files)
_IO = {
    "io_read_bytes": ("rbytes", "Read"),
    "io_write_bytes": ("wbytes", "Write"),
    "io_reads": ("rios", "Read"),
    "io_writes": ("wios", "Write"),
}


class Sample:
    """One look. `numbers` has what this kernel counts, a name of it tells the unit; limits that are not set are missing.

    `devices` has the input and output of each block device, by its "major:minor": io_read_bytes, io_write_bytes, io_reads,
    io_writes. A device that goes takes its counts along. `inode` tells this cgroup from one that was in its place before.
    """

    __slots__ = ("devices", "inode", "is_frozen", "numbers")

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}
        self.devices: dict[str, dict[str, int]] = {}
        self.is_frozen = False
        self.inode = 0


class Reader:
    """Reads samples; remembers which files this kernel does not have."""

    def __init__(self) -> None:
        self._absent: set[str] = set()

    def sample(self, cgroup: Cgroup) -> Sample:
        """Read everything once. FileNotFoundError or OSError(ENODEV) if the cgroup is gone, or goes meanwhile."""
        sample = Sample()
        paths = cgroup.paths()
        sample.inode = os.stat(paths["memory"]).st_ino
        (self._read_v2 if cgroup.version == 2 else self._read_v1)(paths, sample)
        numbers = sample.numbers
        used = numbers["memory_usage_bytes"]
        numbers["memory_working_set_bytes"] = max(0, used - numbers.get("memory_inactive_file_bytes", 0))
        return sample

    def _read_v2(self, paths: Mapping[str, str], sample: Sample) -> None:
        directory, numbers = paths["memory"], sample.numbers
        cpu = _keyed(self._need(directory, "cpu.stat"))
        _take(numbers, cpu, cpu_usage_usec="usage_usec", cpu_user_usec="user_usec", cpu_system_usec="system_usec")
        _take(numbers, cpu, cpu_periods="nr_periods", cpu_throttled_periods="nr_throttled")
        _take(numbers, cpu, cpu_throttled_usec="throttled_usec")
        quota, _, period = self._need(directory, "cpu.max").partition(" ")
        _limit(numbers, "cpu_quota_usec", quota)
        numbers["cpu_period_usec"] = int(period)
        numbers["memory_usage_bytes"] = int(self._need(directory, "memory.current"))
        _take(numbers, _keyed(self._need(directory, "memory.stat")), **_MEMORY_V2)
        events = _keyed(self._need(directory, "memory.events"))
        _take(numbers, events, memory_limit_hits="max", oom_kills="oom_kill")
        _limit(numbers, "memory_limit_bytes", self._need(directory, "memory.max"))
        _limit(numbers, "memory_peak_bytes", self._want(directory, "memory.peak"))  # since 5.19
        _limit(numbers, "memory_swap_bytes", self._want(directory, "memory.swap.current"))  # where swap is accounted
        if "memory_limit_bytes" in numbers:
            _limit(numbers, "swap_limit_bytes", self._want(directory, "memory.swap.max"))
        if "pids" in paths:
            numbers["tasks"] = int(self._need(directory, "pids.current"))
            _limit(numbers, "tasks_limit", self._need(directory, "pids.max"))
        if "io" in paths:
            for line in self._need(directory, "io.stat").splitlines():
                device, _, rest = line.partition(" ")
                if not rest:
                    continue  # a device that was never used
                found = {key: value for key, _, value in (word.partition("=") for word in rest.split())}
                sample.devices[device] = {name: int(found.get(key, 0)) for name, (key, _) in _IO.items()}
        for resource in _RESOURCES:
            _pressure(numbers, resource, self._want(directory, f"{resource}.pressure"))
        sample.is_frozen = "frozen 1" in self._need(directory, "cgroup.events")

    def _read_v1(self, paths: Mapping[str, str], sample: Sample) -> None:
        numbers = sample.numbers
        memory = paths["memory"]
        numbers["cpu_usage_usec"] = int(self._need(paths["cpuacct"], "cpuacct.usage")) // 1000
        split = _keyed(self._need(paths["cpuacct"], "cpuacct.stat"))
        numbers["cpu_user_usec"] = int(split["user"]) * 1_000_000 // _CLOCK_TICKS
        numbers["cpu_system_usec"] = int(split["system"]) * 1_000_000 // _CLOCK_TICKS
        cpu = _keyed(self._need(paths["cpu"], "cpu.stat"))
        _take(numbers, cpu, cpu_periods="nr_periods", cpu_throttled_periods="nr_throttled")
        numbers["cpu_throttled_usec"] = int(cpu.get("throttled_time", 0)) // 1000
        _limit(numbers, "cpu_quota_usec", self._need(paths["cpu"], "cpu.cfs_quota_us"))
        numbers["cpu_period_usec"] = int(self._need(paths["cpu"], "cpu.cfs_period_us"))
        numbers["memory_usage_bytes"] = int(self._need(memory, "memory.usage_in_bytes"))
        numbers["memory_peak_bytes"] = int(self._need(memory, "memory.max_usage_in_bytes"))
        _take(numbers, _keyed(self._need(memory, "memory.stat")), **_MEMORY_V1)
        numbers["memory_limit_hits"] = int(self._need(memory, "memory.failcnt"))
        numbers["oom_kills"] = int(_keyed(self._need(memory, "memory.oom_control")).get("oom_kill", 0))  # since 4.13
        _limit(numbers, "memory_limit_bytes", self._need(memory, "memory.limit_in_bytes"))
        if "memory_limit_bytes" in numbers and (both := self._want(memory, "memory.memsw.limit_in_bytes")):
            _limit(numbers, "swap_limit_bytes", str(max(0, int(both) - numbers["memory_limit_bytes"])))
        if "pids" in paths:
            numbers["tasks"] = int(self._need(paths["pids"], "pids.current"))
            _limit(numbers, "tasks_limit", self._need(paths["pids"], "pids.max"))
        if "blkio" in paths:
            for suffix, kind in (("service_bytes", "bytes"), ("serviced", "operations")):
                text = self._want(paths["blkio"], f"blkio.throttle.io_{suffix}_recursive")
                _blkio(sample.devices, text, with_bytes=kind == "bytes")
        if "freezer" in paths:
            sample.is_frozen = self._need(paths["freezer"], "freezer.state") == "FROZEN"

    def _need(self, directory: str, name: str) -> str:
        return _read(f"{directory}/{name}")

    def _want(self, directory: str, name: str) -> str:
        """Return the text of a file that some kernels do not have, or have switched off; empty then."""
        if name in self._absent:
            return ""
        try:
            return _read(f"{directory}/{name}")
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.EOPNOTSUPP) or not os.path.isdir(directory):
                raise
            self._absent.add(name)
            return ""


def _read(path: str) -> str:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = os.read(fd, _MAX_BYTES)
    finally:
        os.close(fd)
    return data.decode().strip()


def _keyed(text: str) -> dict[str, str]:
    """Return a flat keyed file (`key number` lines), its numbers as they stand there."""
    words = text.split()
    return dict(zip(words[::2], words[1::2], strict=True))


def _take(numbers: dict[str, int], found: Mapping[str, str], **wanted: str) -> None:
    for name, key in wanted.items():
        if key in found:
            numbers[name] = int(found[key])


def _limit(numbers: dict[str, int], name: str, text: str) -> None:
    """Note a number unless the file says that there is none: nothing, "max", -1, or the largest that v1 can tell."""
    if text and text not in ("max", "-1") and (value := int(text)) < UNLIMITED_BYTES:
        numbers[name] = value


def _pressure(numbers: dict[str, int], resource: str, text: str) -> None:
    """Note the times of `some avg10=0.00 avg60=0.00 avg300=0.00 total=1` and of `full`. accounting/psi.rst."""
    for line in text.splitlines():
        kind, _, rest = line.partition(" ")
        name = {"some": "waiting", "full": "stalled"}.get(kind)
        total = rest.rpartition("total=")[2]
        if name and total.isdecimal():
            numbers[f"{resource}_{name}_usec"] = int(total)


def _blkio(devices: dict[str, dict[str, int]], text: str, *, with_bytes: bool) -> None:
    """Note lines of `8:0 Read 1`, `8:0 Write 2`; the last line is `Total 3`."""
    for line in text.splitlines():
        device, _, rest = line.partition(" ")
        kind, _, value = rest.partition(" ")
        for name, (_, word) in _IO.items():
            if word == kind and name.endswith("_bytes") == with_bytes:
                devices.setdefault(device, dict.fromkeys(_IO, 0))[name] = int(value)

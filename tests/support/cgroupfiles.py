"""Directories that look like cgroups to who reads them, of either version."""

from pathlib import Path

V2_FILES = {
    "cpu.stat": "usage_usec 1500000\nuser_usec 1000000\nsystem_usec 500000\nnr_periods 10\nnr_throttled 4\n"
    "throttled_usec 250000\nnr_bursts 0\nburst_usec 0\n",
    "cpu.max": "50000 100000\n",
    "memory.current": "1000000\n",
    "memory.stat": "anon 600000\nfile 300000\nkernel 50000\nfile_mapped 70000\ninactive_file 200000\nactive_file 100000\n"
    "pgfault 321\npgmajfault 3\n",
    "memory.events": "low 0\nhigh 0\nmax 7\noom 2\noom_kill 1\noom_group_kill 0\n",
    "memory.max": "2000000\n",
    "memory.peak": "1900000\n",
    "memory.swap.current": "4096\n",
    "memory.swap.max": "0\n",
    "pids.current": "5\n",
    "pids.max": "100\n",
    "io.stat": "8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n253:1 rbytes=3 wbytes=4 rios=1 wios=1\n7:0\n",
    "cpu.pressure": "some avg10=1.00 avg60=0.00 avg300=0.00 total=2000000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
    "memory.pressure": "some avg10=0.00 avg60=0.00 avg300=0.00 total=30\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=20\n",
    "io.pressure": "some avg10=0.00 avg60=0.00 avg300=0.00 total=500000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=1\n",
    "cgroup.events": "populated 1\nfrozen 0\n",
}
V1_FILES = {
    "cpuacct.usage": "1500000999\n",
    "cpuacct.stat": "user 100\nsystem 50\n",
    "cpu.stat": "nr_periods 10\nnr_throttled 4\nthrottled_time 250000000\n",
    "cpu.cfs_quota_us": "50000\n",
    "cpu.cfs_period_us": "100000\n",
    "memory.usage_in_bytes": "1000000\n",
    "memory.max_usage_in_bytes": "1900000\n",
    "memory.stat": "rss 1\ntotal_rss 600000\ntotal_cache 300000\ntotal_mapped_file 70000\ntotal_inactive_file 200000\n"
    "total_active_file 100000\ntotal_swap 4096\ntotal_pgfault 321\ntotal_pgmajfault 3\n",
    "memory.failcnt": "7\n",
    "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n",
    "memory.limit_in_bytes": "2000000\n",
    "memory.memsw.limit_in_bytes": "2000000\n",
    "pids.current": "5\n",
    "pids.max": "100\n",
    "blkio.throttle.io_service_bytes_recursive": "8:0 Read 10\n8:0 Write 20\n8:0 Sync 30\n8:0 Total 30\nTotal 30\n",
    "blkio.throttle.io_serviced_recursive": "8:0 Read 1\n8:0 Write 2\n8:0 Sync 3\n8:0 Total 3\nTotal 3\n",
    "freezer.state": "THAWED\n",
}
_V1_CONTROLLERS = ("freezer", "pids", "memory", "cpu", "cpuacct", "cpuset", "blkio")
_V2_CONTROLLERS = ("cpu", "cpuset", "io", "memory", "pids")


def make_cgroup(directory: Path, version: int, **changed: str | None) -> dict[str, str]:
    """Write the files of a cgroup into `directory`, and return controller -> directory.

    `changed` are other texts, or None for a file that is not there; dots of names are written as `__`.
    """
    directory.mkdir(parents=True, exist_ok=True)
    files: dict[str, str | None] = {**(V2_FILES if version == 2 else V1_FILES)}
    files |= {name.replace("__", "."): text for name, text in changed.items()}
    for name, text in files.items():
        (directory / name).unlink(missing_ok=True)
        if text is not None:
            (directory / name).write_text(text)
    return dict.fromkeys(_V2_CONTROLLERS if version == 2 else _V1_CONTROLLERS, str(directory))

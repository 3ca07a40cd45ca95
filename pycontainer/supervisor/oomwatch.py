"""Who was killed for want of memory, and how large it was: read from the kernel's log, where alone both stand.

    oom-kill:constraint=CONSTRAINT_MEMCG,...,oom_memcg=/pycontainer/tenant-acme,task_memcg=/pycontainer/tenant-acme/ID,task=dd,pid=7,uid=0
    Memory cgroup out of memory: Killed process 7 (dd) total-vm:3292kB, anon-rss:1024kB, file-rss:1584kB, shmem-rss:0kB, ...

`oom_memcg` is whose limit it was. Names of tasks are chosen inside: they are matched as a whole and only shown. So are, in
an instance with its own init, the names of cgroups below its own, where a comma could make up another's: whoever hears of a
kill asks the kernel's count before he believes it.
Where /dev/kmsg may not be read, a container's end still tells that something in it was killed.
Source: kernel mm/oom_kill.c, dump_oom_summary and __oom_kill_process; Documentation/ABI/testing/dev-kmsg.
"""

import asyncio
import errno
import os
import re
from collections.abc import Callable
from typing import NamedTuple

_KMSG = "/dev/kmsg"
_RECORD_BYTES = 8192
_MAX_PENDING = 64  # of summaries whose kill has not come: it is the next line, but for one that the log has lost
_SUMMARY = re.compile(
    r"oom-kill:constraint=.*,oom_memcg=([^,]*),task_memcg=([^,]*),task=(.*),pid=([0-9]{1,10}),uid=[0-9]{1,10}\Z"
)
_KILLED = re.compile(
    r"Killed process ([0-9]{1,10}) \(.*\) total-vm:[0-9]{1,20}kB, anon-rss:([0-9]{1,20})kB, file-rss:([0-9]{1,20})kB,"
    r" shmem-rss:([0-9]{1,20})kB"
)


class Kill(NamedTuple):
    """One process killed: its cgroup and the one whose limit it was, as paths in the hierarchy."""

    cgroup: str
    limited_by: str
    command: str
    pid: int
    rss_bytes: int

    def place(self, marker: str) -> tuple[str, str] | None:
        """Return the id of the container, and its own cgroup, above those that were made inside; None: not of ours.

        `marker` is the name of the directory in which a world has its cgroups.
        """
        above, found, below = self.cgroup.partition(f"/{marker}/")
        names = below.split("/")
        depth = 2 if names[0].startswith("tenant-") else 1
        if not found or len(names) < depth:
            return None
        return names[depth - 1], f"{above}/{marker}/{'/'.join(names[:depth])}"


class KillReader:
    """Puts the two lines of each kill together."""

    def __init__(self) -> None:
        self._summaries: dict[int, tuple[str, str, str]] = {}

    def feed(self, line: str) -> Kill | None:
        """Take one line of the log; return the kill that it completes."""
        if match := _SUMMARY.search(line):
            limited_by, cgroup, command, pid = match.groups()
            self._summaries[int(pid)] = (cgroup, limited_by, command)
            if len(self._summaries) > _MAX_PENDING:
                del self._summaries[next(iter(self._summaries))]
        elif match := _KILLED.search(line):
            pid, *sizes = map(int, match.groups())
            summary = self._summaries.pop(pid, None)
            if summary is not None:
                cgroup, limited_by, command = summary
                return Kill(cgroup, limited_by, command, pid, sum(sizes) * 1024)
        return None


class OomWatch:
    """Calls `heard` with every kill from now on."""

    def __init__(self, heard: Callable[[Kill], None]) -> None:
        self._heard = heard
        self._reader = KillReader()
        try:
            self._fd = os.open(_KMSG, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:  # not ours to read: events then lack the victim
            self._fd = -1
            return
        os.lseek(self._fd, 0, os.SEEK_END)
        asyncio.get_running_loop().add_reader(self._fd, self._read)

    def close(self) -> None:
        if self._fd >= 0:
            asyncio.get_running_loop().remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _read(self) -> None:
        while True:
            try:
                record = os.read(self._fd, _RECORD_BYTES)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno == errno.EPIPE:  # records were overwritten before we came: go on with the next one
                    continue
                raise
            message = record.decode(errors="replace").partition(";")[2].partition("\n")[0]
            kill = self._reader.feed(message)
            if kill is not None:
                self._heard(kill)

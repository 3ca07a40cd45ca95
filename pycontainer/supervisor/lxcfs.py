"""lxcfs, which answers reads of /proc/meminfo and its kin with the reader's own limits and use, each time anew.

It is used where it is installed: the system's own at /var/lib/lxcfs if that runs, else one of ours, started with the first
container that has a cap and ended when nothing runs. It outlives the supervisor, as the containers that look through it do.
PYCONTAINER_LXCFS=off leaves it alone; files that are generated at each change stand in then (runtime/view.py).
"""

import os
import shutil
import signal
import subprocess
import time

from pycontainer.linux.files import read_bounded
from pycontainer.linux.mounts import MNT_DETACH, umount2
from pycontainer.linux.process import start_time_ticks
from pycontainer.paths import HostPaths
from pycontainer.supervisor import log

_SYSTEMS = "/var/lib/lxcfs"
_FILES = (
    "/proc/meminfo", "/proc/cpuinfo", "/proc/stat", "/proc/uptime", "/proc/loadavg", "/proc/swaps", "/proc/diskstats",
    "/sys/devices/system/cpu/online",
)  # fmt: skip
_START_SECONDS = 5.0


class Lxcfs:
    """The lxcfs of one world."""

    def __init__(self, paths: HostPaths) -> None:
        self._directory = f"{paths.run_dir}/lxcfs"
        self._pidfile = f"{paths.run_dir}/lxcfs.pid"
        self._child: subprocess.Popen[bytes] | None = None
        self._is_broken = False

    def files(self) -> list[tuple[str, str]]:
        """Return (path inside, path on the host) of what it has to offer; empty where there is no lxcfs."""
        directory = self._find()
        return [(path, directory + path) for path in _FILES if os.path.exists(directory + path)] if directory else []

    def stop(self) -> None:
        """End the one that we started, if there is one."""
        pid = self._running_pid()
        if pid:
            os.kill(pid, signal.SIGTERM)
        if self._child is not None:
            self._child.wait()
            self._child = None
        if os.path.ismount(self._directory) or pid:
            _unmount(self._directory)
        for remove, path in ((os.unlink, self._pidfile), (os.rmdir, self._directory)):
            try:
                remove(path)
            except FileNotFoundError:
                pass

    def _find(self) -> str:
        program = os.environ.get("PYCONTAINER_LXCFS") or shutil.which("lxcfs", path="/usr/local/bin:/usr/bin:/bin")
        if program in (None, "off") or self._is_broken:
            return ""
        for directory in (_SYSTEMS, self._directory):
            if _answers(directory):
                return directory
        return self._start(str(program))

    def _start(self, program: str) -> str:
        """Start ours, and wait until it answers."""
        self.stop()  # what is left of one that died
        os.makedirs(self._directory, mode=0o755)
        log_fd = os.open(f"{self._directory}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            self._child = subprocess.Popen(
                [program, "--foreground", "--enable-cfs", "--enable-loadavg", f"--pidfile={self._pidfile}.own",
                 self._directory],
                stdin=subprocess.DEVNULL, stdout=log_fd, stderr=log_fd, start_new_session=True, cwd="/",
            )  # fmt: skip
        finally:
            os.close(log_fd)
        with open(self._pidfile, "w", encoding="ascii") as file:
            file.write(f"{self._child.pid} {start_time_ticks(self._child.pid)}")
        deadline = time.monotonic() + _START_SECONDS
        while not _answers(self._directory):
            if self._child.poll() is not None or time.monotonic() > deadline:
                log.say(f"lxcfs does not start, see '{self._directory}.log'; it is left alone now")
                self.stop()
                self._is_broken = True
                return ""
            time.sleep(0.005)
        return self._directory

    def _running_pid(self) -> int:
        """Return the pid of the one that we, or a supervisor before us, started; 0 if it has ended."""
        try:
            pid, ticks = map(int, read_bounded(self._pidfile, 64).split())
            return pid if start_time_ticks(pid) == ticks else 0
        except (FileNotFoundError, ProcessLookupError, ValueError):
            return 0


def _answers(directory: str) -> bool:
    try:
        with open(f"{directory}/proc/uptime", "rb") as file:  # a stat would be answered from the kernel's cache
            return bool(file.read(1))
    except OSError:  # nothing there, or nobody behind it any more: ENOTCONN
        return False


def _unmount(directory: str) -> None:
    try:
        umount2(directory, MNT_DETACH)
    except OSError:
        pass  # it did so itself

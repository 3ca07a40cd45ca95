"""One nginx as a process: a configuration is tested, then served; workers with an old one finish what they have begun.

    nginx: master process                          root; holds the sockets, reads keys, opens logs
    ├── nginx: worker process                      of the newest configuration: takes connections
    └── nginx: worker process is shutting down     of an older one: takes none any more

The kernel says what is ours: a process called nginx that has our error log open. Pid files outlive what they name.
"""

import os
import re
import select
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterable
from contextlib import ExitStack

from pycontainer.errors import AlreadyExists, InvalidInput, PycontainerError, Unsupported
from pycontainer.hosting.nginxconf import Settings
from pycontainer.linux.files import write_atomically
from pycontainer.linux.process import pidfd_open, pidfd_send_signal

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ENVIRONMENT = {"PATH": _PATH, "LANG": "C.UTF-8"}  # not the caller's: of NGINX= it would take descriptors for sockets
_COMMAND_SECONDS, _SERVING_SECONDS, _LOOK_SECONDS = 120, 60.0, 0.02
_ENDINGS = ((signal.SIGQUIT, 5.0), (signal.SIGTERM, 5.0), (signal.SIGKILL, 10.0))
_COMPLAINT = re.compile(r"\[emerg\] (?:\d+#\d+: )?(.*)")
_TAKEN = re.compile(r"bind\(\) to (\S+):(\d+) failed \(98:")
_HOLDER = re.compile(r'users:\(\("([^"]+)",pid=(\d+)')
_WORKER, _LEAVING = "nginx: worker process", "nginx: worker process is shutting down"


class Nginx:
    """The nginx of one `settings.directory`. It is for one caller at a time: who may not be the only one holds a lock."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    # -- looks

    def master_pid(self) -> int | None:
        """Return the master's pid, or None if it does not run."""
        try:
            with open(self._settings.pid_file) as file:
                pid = int(file.read())
        except (FileNotFoundError, ValueError):
            return None
        return pid if self._is_ours(pid) else None

    def generation(self) -> str:
        """Return the name of the configuration that is served; empty if none is."""
        return self._ask("/generation").strip()

    def connections(self) -> int:
        """Return how many connections there are."""
        found = re.search(r"Active connections: (\d+)", self._ask("/connections"))
        return max(0, int(found.group(1)) - 1) if found else 0  # one is ours

    def draining(self) -> int:
        """Return how many workers of older configurations still have connections."""
        return sum(title == _LEAVING for title in self._workers().values())

    # -- changes

    def serve(self, text: str, generation: str) -> bool:
        """Have the configuration `text` served; return when no connection is taken under another. False: it was before.

        Raises InvalidInput for one that nginx refuses, AlreadyExists for an address that others have. What was served
        before is served on then.
        """
        master = self.master_pid()
        if master is not None and self.generation() == generation:
            return False
        conf, new = self._settings.conf_file, f"{self._settings.conf_file}.new"
        write_atomically(new, text.encode(), sync=False)
        self._test(new)
        before = _content(conf)
        os.rename(new, conf)
        try:
            old, said = self._taking(), _size(self._settings.error_log)
            if master is None:
                self._start()
            else:
                _signal([master], signal.SIGHUP)
            self._await_serving(generation, old, said)
        except BaseException:
            if before is not None:  # for the next start: what was served, not what could not be
                write_atomically(conf, before, sync=False)
            raise
        return True

    def stop(self) -> bool:
        """End it, at first in peace; False if there was nothing to end."""
        was_there = bool(self._ours())
        for number, seconds in _ENDINGS:
            pids, master = self._ours(), self.master_pid()
            if not pids:
                break
            # The master tells its workers. One that ends while the master does not know why would be replaced.
            told = [master] if master is not None and number != signal.SIGKILL else pids
            _signal(told, number, wait_for=pids, seconds=seconds)
        _unlink(self._settings.status_socket)
        _unlink(self._settings.pid_file)
        return was_there

    # -- steps

    def _test(self, path: str) -> None:
        done = self._run("-t", "-q", "-e", "stderr", "-c", path)
        if done.returncode:
            raise InvalidInput(
                f"nginx refuses the new configuration: {_complaint(done.stderr)}",
                hint="what was served before still is",
            )

    def _start(self) -> None:
        # Of a master that was killed: they hold the addresses, and nobody tells them anything. They let go of these at once,
        # and finish what they are answering.
        orphans = self._ours()
        _signal(orphans, signal.SIGQUIT, wait_for=orphans, seconds=1.0)
        _unlink(self._settings.status_socket)
        done = self._run("-e", self._settings.error_log, "-c", self._settings.conf_file)
        if done.returncode:
            raise _did_not_start(done.stderr)

    def _await_serving(self, generation: str, old: set[int], said_before: int) -> None:
        """Wait until new workers answer and the old ones take no connections any more."""
        deadline = time.monotonic() + _SERVING_SECONDS
        while self._taking() & old or self.generation() != generation:
            with open(self._settings.error_log, errors="replace") as file:
                file.seek(said_before)
                said = file.read(1 << 16)
            if _COMPLAINT.search(said):
                raise _did_not_start(said)
            if time.monotonic() > deadline:
                raise PycontainerError(
                    f"nginx does not serve the new configuration after {_SERVING_SECONDS:g} seconds",
                    hint=f"'{self._settings.error_log}' may say why",
                )
            time.sleep(_LOOK_SECONDS)

    def _run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        program = shutil.which("nginx", path=_PATH)
        if program is None:
            raise Unsupported(
                "the front door is made of nginx, which is not installed",
                hint="apt-get install nginx; systemctl disable --now nginx, which would take port 80 for itself",
                feature="nginx",
            )
        # The master opens the logs of all sites, at a change twice; worker_rlimit_nofile is not for it.
        return subprocess.run(
            ["prlimit", f"--nofile={self._settings.open_files}:", program, "-p", self._settings.directory, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            cwd="/",
            env=_ENVIRONMENT,
            timeout=_COMMAND_SECONDS,
            check=False,
        )

    # -- the kernel's word

    def _workers(self) -> dict[int, str]:
        """Return the title of each child of the master, by pid."""
        master = self.master_pid()
        if master is None:
            return {}
        children = (_content(f"/proc/{master}/task/{master}/children") or b"").split()
        return {int(pid): _title(int(pid)) for pid in children}

    def _taking(self) -> set[int]:
        """Return the workers that take connections."""
        return {pid for pid, title in self._workers().items() if title == _WORKER}

    def _ours(self) -> list[int]:
        """Return the pids of master and workers, also of those that lost their master."""
        return [int(entry) for entry in os.listdir("/proc") if entry.isdigit() and self._is_ours(int(entry))]

    def _is_ours(self, pid: int) -> bool:
        """Tell whether a process is nginx with our error log; one inside a container has another."""
        if (_content(f"/proc/{pid}/comm") or b"") != b"nginx\n":
            return False
        try:
            log = os.stat(self._settings.error_log)
            for fd in sorted(map(int, os.listdir(f"/proc/{pid}/fd"))):
                try:
                    if os.path.samestat(os.stat(f"/proc/{pid}/fd/{fd}"), log):
                        return True
                except FileNotFoundError:  # closed meanwhile
                    continue
        except (FileNotFoundError, ProcessLookupError):
            pass
        return False

    def _ask(self, path: str) -> str:
        """Return what the status socket answers; empty if nobody does."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(2.0)
            try:
                sock.connect(self._settings.status_socket)
                sock.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
                answer = b""
                while part := sock.recv(4096):
                    answer += part
            except OSError:
                return ""
        head, _, body = answer.partition(b"\r\n\r\n")
        return body.decode(errors="replace") if b" 200 " in head.split(b"\r\n")[0] else ""


def _signal(pids: Iterable[int], number: int, *, wait_for: Iterable[int] = (), seconds: float = 0.0) -> None:
    """Send a signal, and wait at most `seconds` for the end of others; who has ended is passed over."""
    with ExitStack() as stack:
        fds = {}
        for pid in {*pids, *wait_for}:
            try:
                fds[pid] = pidfd_open(pid)
            except ProcessLookupError:
                continue
            stack.callback(os.close, fds[pid])
        for pid in pids:
            if pid in fds:
                try:
                    pidfd_send_signal(fds[pid], number)
                except ProcessLookupError:
                    pass
        poller, left = select.poll(), {fds[pid] for pid in wait_for if pid in fds}
        for fd in left:
            poller.register(fd, select.POLLIN)
        deadline = time.monotonic() + seconds
        while left and (now := time.monotonic()) < deadline:
            for fd, _ in poller.poll((deadline - now) * 1000):
                poller.unregister(fd)
                left.discard(fd)


def _did_not_start(said: str) -> PycontainerError:
    """Return the error for what nginx said of a configuration that it had found good."""
    if (taken := _TAKEN.search(said)) is None:
        return PycontainerError(f"nginx does not serve the new configuration: {_complaint(said)}")
    address, port = taken.groups()
    done = subprocess.run(
        ["ss", "-Hltnp", f"sport = :{port}"], capture_output=True, text=True, env=_ENVIRONMENT, check=False
    )
    holder = _HOLDER.search(done.stdout)
    by = f"'{holder.group(1)}' (pid {holder.group(2)}) does" if holder else "somebody else does"
    return AlreadyExists(
        f"the front door cannot listen on {address}:{port}: {by}",
        hint="end that (Debian's own nginx: systemctl disable --now nginx), or give other addresses: "
        "pycontainer frontdoor start --http ADDRESS:PORT --https ADDRESS:PORT",
    )


def _complaint(said: str) -> str:
    """Return the first thing that is wrong, of what nginx wrote."""
    found = _COMPLAINT.search(said)
    return found.group(1) if found else (said.strip().splitlines() or ["it does not say why"])[0]


def _title(pid: int) -> str:
    return (_content(f"/proc/{pid}/cmdline") or b"").rstrip(b"\0 ").decode(errors="replace")


def _content(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except (FileNotFoundError, ProcessLookupError):
        return None


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass

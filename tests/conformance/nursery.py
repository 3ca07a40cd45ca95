"""The parent of everything a runtime starts: a subreaper, because the first process of a test machine may reap nobody.

    pytest ──socketpair──► nursery ──► runtime ──► container (becomes the nursery's child when the runtime has ended)

Requests and replies are JSON datagrams. A request starts a command and carries its descriptors, which become 0, 1, 2 and
on; the replies are {"pid": …} and, when that has ended, {"pid": …, "code": …}. When the socket closes, all that is left
is killed.
"""

import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence

from tests.support.poll import SLOWNESS

PR_SET_CHILD_SUBREAPER = 36
_MOST_FDS = 16


class Command:
    """A command that was started; `code` is None until it has ended, and -n after signal n."""

    def __init__(self, nursery: "Nursery", pid: int) -> None:
        self._nursery = nursery
        self.pid = pid

    def wait(self, *, timeout_seconds: float = 30) -> int:
        return self._nursery.wait(self.pid, timeout_seconds)


class Nursery:
    """The client's side."""

    def __init__(self) -> None:
        self._socket, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with other:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.conformance.nursery"], stdin=other.fileno(), cwd=_checkout()
            )
        self._codes: dict[int, int] = {}

    def start(self, argv: Sequence[str], *, fds: Sequence[int], env: dict[str, str], cwd: str = "/") -> Command:
        """Start a command with `fds` as its descriptors 0, 1, 2 and on. OSError if it cannot be executed."""
        request = json.dumps({"argv": list(argv), "env": env, "cwd": cwd}).encode()
        socket.send_fds(self._socket, [request], list(fds))
        while "error" not in (reply := self._receive(10)):
            if "code" not in reply:
                self._codes.pop(reply["pid"], None)
                return Command(self, reply["pid"])
        raise OSError(reply["error"], os.strerror(reply["error"]), argv[0])

    def wait(self, pid: int, timeout_seconds: float) -> int:
        while pid not in self._codes:
            self._receive(timeout_seconds)
        return self._codes.pop(pid)

    def children(self) -> list[int]:
        """Return the children that live, or were not reaped yet."""
        return _children(self._process.pid)

    def close(self) -> None:
        self._socket.close()
        self._process.wait()

    def _receive(self, timeout_seconds: float) -> dict[str, int]:
        self._socket.settimeout(timeout_seconds * SLOWNESS)
        reply: dict[str, int] = json.loads(self._socket.recv(65536))
        if "code" in reply:
            self._codes[reply["pid"]] = reply["code"]
        return reply


def _checkout() -> str:
    return os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def _become_subreaper() -> None:
    import ctypes

    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def _spawn(request: dict[str, object], fds: list[int]) -> dict[str, int]:
    """Start what was asked for; the pipe closes at execve, or says why not."""
    read_fd, write_fd = os.pipe()
    write_fd, low = fcntl.fcntl(write_fd, fcntl.F_DUPFD_CLOEXEC, 100), write_fd
    os.close(low)
    pid = os.fork()
    if pid == 0:
        try:
            high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 100) for fd in fds]
            for number, fd in enumerate(high):
                os.dup2(fd, number)
            os.closerange(len(high), 100)
            os.chdir(str(request["cwd"]))
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            argv, env = request["argv"], request["env"]
            assert isinstance(argv, list) and isinstance(env, dict)
            os.execve(argv[0], argv, env)
        except OSError as error:
            os.write(write_fd, str(error.errno).encode())
        finally:
            os._exit(127)
    os.close(write_fd)
    with os.fdopen(read_fd, "rb") as pipe:
        error_text = pipe.read()
    return {"error": int(error_text)} if error_text else {"pid": pid}


def _reap() -> list[dict[str, int]]:
    ended: list[dict[str, int]] = []
    while True:
        try:
            pid, wait_status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        ended.append({"pid": pid, "code": os.waitstatus_to_exitcode(wait_status)})


def _children(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(pid) for pid in file.read().split()]


def _kill_all() -> None:
    while children := _children(os.getpid()):
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        os.wait()


def main() -> None:
    """Serve the socket on descriptor 0."""
    _become_subreaper()
    wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asker = socket.socket(fileno=os.dup(0))
    while True:
        ready, _, _ = select.select([asker.fileno(), wake_read], [], [])
        if wake_read in ready:
            os.read(wake_read, 4096)
            for ended in _reap():
                with contextlib.suppress(OSError):
                    asker.send(json.dumps(ended).encode())
        if asker.fileno() in ready:
            try:
                data, fds, _, _ = socket.recv_fds(asker, 65536, _MOST_FDS)
            except ConnectionResetError:  # closed with replies that nobody read
                data = b""
            if not data:
                _kill_all()
                return
            reply = _spawn(json.loads(data), fds)
            for fd in fds:
                os.close(fd)
            asker.send(json.dumps(reply).encode())


if __name__ == "__main__":
    main()

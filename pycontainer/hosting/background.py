"""A process that stays, one for each pid file: who holds the file's lock is the one, whatever stands in it."""

import fcntl
import os
import select
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Sequence

from pycontainer.errors import Busy, PycontainerError
from pycontainer.linux.process import pidfd_open, pidfd_send_signal

_FLOCK = struct.Struct("hhqqi4x")  # struct flock of <fcntl.h>, 64 bit
_READY_SECONDS, _LEAVING_SECONDS, _LOOK_SECONDS = 30.0, 10.0, 0.02
# Run by our child: its own child is neither a session leader nor ours to reap, as a daemon should be.
_DETACH = "import os, sys\nif os.fork(): os._exit(0)\nos.execv(sys.argv[1], sys.argv[1:])"
_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}


def claim(pidfile: str) -> int:
    """Be the one; return the descriptor that says so until it is closed. Busy if somebody else is."""
    fd = os.open(pidfile, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # EAGAIN or EACCES, fcntl(2)
        os.close(fd)
        raise Busy(f"process {holder(pidfile) or 'of another'} does this already") from None
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)  # for people; we ask the kernel
    return fd


def holder(pidfile: str) -> int | None:
    """Return the pid of who is the one, or None."""
    try:
        fd = os.open(pidfile, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        # Asked, not tried: a lock of ours, if only for a moment, would turn somebody away who wants to be the one.
        answer = fcntl.fcntl(fd, fcntl.F_GETLK, _FLOCK.pack(fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0))
    finally:
        os.close(fd)
    kind, _, _, _, pid = _FLOCK.unpack(answer)
    return pid if kind != fcntl.F_UNLCK else None


def start(pidfile: str, module: str, arguments: Sequence[str], log: str) -> bool:
    """Start a module in a process of its own, unless it runs (False); return when it has claimed its file."""
    if holder(pidfile) is not None:
        return False
    log_fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        subprocess.run(
            [sys.executable, "-I", "-S", "-c", _DETACH, sys.executable, "-I", "-m", module, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log_fd,
            cwd="/",
            env=_ENVIRONMENT,
            start_new_session=True,
            check=True,
        )
    finally:
        os.close(log_fd)
    deadline = time.monotonic() + _READY_SECONDS
    while holder(pidfile) is None:
        if time.monotonic() > deadline:
            raise PycontainerError(f"cannot start '{module}': it does not come up", hint=f"'{log}' may say why")
        time.sleep(_LOOK_SECONDS)
    return True


def end(pidfile: str) -> bool:
    """End who is the one, and return when it has ended; False if nobody is."""
    pid = holder(pidfile)
    if pid is None:
        return False
    try:
        pidfd = pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        if holder(pidfile) != pid:  # it ended, and its number may be another's
            return False
        poller = select.poll()
        poller.register(pidfd, select.POLLIN)
        for number in (signal.SIGTERM, signal.SIGKILL):
            pidfd_send_signal(pidfd, number)
            if poller.poll(_LEAVING_SECONDS * 1000):
                break
    except ProcessLookupError:
        pass
    finally:
        os.close(pidfd)
    return True

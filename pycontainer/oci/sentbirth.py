"""A child born in namespaces that we could not come back from: a helper enters them, and bears it as our own child.

    us                               helper, a fork of us
    namespaces opened  ──fork──▶     setns, one after the other, that of users last
                                     clone3 with CLONE_PARENT ──▶ the child, which is ours
    pid heard          ◀──"PID"──    ends

Who is in a user namespace, as engines without root are, may not go back to the host's network; and nobody comes back from a
user namespace. New namespaces of the child belong to the one of users that the helper entered, as the specification has it.
clone(2), setns(2), user_namespaces(7)
"""

import errno
import os

from pycontainer.errors import StartFailed
from pycontainer.linux.namespaces import CLONE_NEWUSER, setns
from pycontainer.linux.process import PR_SET_DUMPABLE, pidfd_open, prctl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_FAILED = b"!"


def bear(joined: "list[tuple[int, int]]", clone: "Callable[[], int]") -> tuple[int, int]:
    """Return pid and pidfd of what `clone` bears in the namespaces `joined`, (descriptor, flag), which are closed.

    `clone` returns the pid of a child of its caller's parent. Raises StartFailed for a namespace that cannot be entered, and
    the OSError of the clone.
    """
    read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
    try:
        helper = os.fork()
        if helper == 0:
            _enter_and_clone(joined, clone, write_fd)
        try:  # to its end first: the child has a copy of the pipe
            os.waitpid(helper, 0)
        except ChildProcessError:  # our caller ignores SIGCHLD
            pass
        os.set_blocking(read_fd, False)
        try:
            said = os.read(read_fd, 4096)
        except BlockingIOError:
            said = b""
    finally:
        for fd in (read_fd, write_fd, *(fd for fd, _ in joined)):
            os.close(fd)
    if not said or said[:1] == _FAILED:
        step, _, number = said[1:].decode().partition(" ")
        code = int(number or errno.ECHILD)
        raise StartFailed(f"{step or 'join'}: {os.strerror(code).lower()}", step=step or "join", errno=code)
    pid = int(said)
    return pid, pidfd_open(pid)


def _enter_and_clone(joined: "list[tuple[int, int]]", clone: "Callable[[], int]", to_fd: int) -> None:
    """In the helper: enter, bear, tell, end. Nobody in there may look at it: it has all that we have."""
    step = "join"
    try:
        prctl(PR_SET_DUMPABLE, 0)
        for fd, flag in sorted(joined, key=lambda pair: pair[1] == CLONE_NEWUSER):  # others may be of those above it
            setns(fd, flag)
        step = "clone"
        os.write(to_fd, b"%d" % clone())
    except OSError as error:
        os.write(to_fd, _FAILED + f"{step} {error.errno or errno.EIO}".encode())
    finally:
        os._exit(0)

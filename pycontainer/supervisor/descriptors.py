"""The descriptors that users of tenants send along: none of them becomes ours before somebody else has looked at it.

Whoever can mount a file system of his own (FUSE) can hand over a file that never answers. Having it would be enough: a
process that closes it waits, and cannot be killed. So a worker takes them (runtime/descriptor_worker.py), judges them by what
the kernel knows, and hands on what does no harm: pipes, unix sockets, terminals, files of this host's own file systems.

A connection that lingers (SO_LINGER) keeps whoever drops it waiting, also unseen: by reading past it, or by closing the
socket in which it waits. So what such a client sends is looked at before it is read, and somebody else closes its socket.
"""

import asyncio
import contextlib
import json
import os
import socket
import sys
from collections import Counter

from pycontainer.api.messages import MAX_FRAME_FDS
from pycontainer.errors import Busy, NotPermitted, PycontainerError
from pycontainer.linux.descriptors import receive_fds
from pycontainer.linux.process import pidfd_open

_DEADLINE_SECONDS = 10.0
_MOST_AT_ONCE = 8  # of one tenant
_PACKAGE_PARENT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_BOOT = (
    "import sys; sys.path.insert(0, {parent!r}); "
    "from pycontainer.runtime.descriptor_worker import main; main(sys.argv[1:])"
)


class Porter:
    """Lets workers take descriptors; counts, for each tenant, those that are not back."""

    def __init__(self) -> None:
        self._at_work: Counter[str] = Counter()
        self._grave: socket.socket | None = None

    async def take(self, sock: socket.socket, tenant: str) -> tuple[bytes, list[int]]:
        """Return the first bytes of a request and its descriptors, now the caller's.

        NotPermitted for one that could keep us waiting; Busy while too many of this tenant's keep workers waiting.
        """
        if self._at_work[tenant] >= _MOST_AT_ONCE:
            raise Busy(
                f"{_MOST_AT_ONCE} requests of tenant '{tenant}' with files are under way", hint="try again later"
            )
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours:
            with theirs:
                pid = _spawn(sock.fileno(), theirs.fileno(), "take", str(MAX_FRAME_FDS))
            self._watch(pid, tenant)
            ours.setblocking(False)
            data, fds = await _answer(ours)
        if not data:
            raise PycontainerError("the files of a request could not be taken: the worker ended")
        said = json.loads(data)
        if said["refused"]:
            raise NotPermitted(
                f"a user of tenant '{tenant}' may not hand over {said['refused']}",
                hint="put a pipe between: ... | pycontainer ... | cat > FILE",
            )
        return bytes.fromhex(said["head"]), fds

    def bury(self, sock: socket.socket) -> None:
        """Have a socket closed whose other end may have sent what nobody has looked at."""
        for _ in range(2):  # the second time to a new one
            try:
                if self._grave is None:
                    self._grave = self._dig()
                socket.send_fds(self._grave, [b"."], [sock.fileno()])
                break
            except OSError:  # it is full, or gone
                if self._grave is not None:
                    self._grave.close()
                self._grave = None
        sock.close()
        if self._grave is not None:
            with contextlib.suppress(OSError):  # what is full is told with the next one
                self._grave.send(b",")  # only now: whoever of us closes it last is the one who waits

    def _dig(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            self._watch(_spawn(theirs.fileno(), theirs.fileno(), "bury"), "")
        ours.setblocking(False)
        return ours

    def _watch(self, pid: int, tenant: str) -> None:
        pidfd, loop = pidfd_open(pid), asyncio.get_running_loop()
        self._at_work[tenant] += 1

        def ended() -> None:
            loop.remove_reader(pidfd)
            os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
            os.close(pidfd)
            self._at_work[tenant] -= 1

        loop.add_reader(pidfd, ended)


async def _answer(sock: socket.socket) -> tuple[bytes, list[int]]:
    loop, readable = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(sock.fileno(), readable.set)
    try:
        async with asyncio.timeout(_DEADLINE_SECONDS):
            await readable.wait()
    except TimeoutError:
        raise Busy("the files of a request could not be taken in time", hint="try again") from None
    finally:
        loop.remove_reader(sock.fileno())
    try:
        return receive_fds(sock, 1 << 16, MAX_FRAME_FDS)
    except ConnectionError as error:
        raise Busy("there is no room for the files of a request", hint="try again") from error


def _spawn(client_fd: int, answer_fd: int, *arguments: str) -> int:
    """Start a worker that has two sockets, and nothing else of ours; return its pid."""
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    try:
        actions = [(os.POSIX_SPAWN_DUP2, null, fd) for fd in (1, 2)]
        actions += [(os.POSIX_SPAWN_DUP2, client_fd, 0), (os.POSIX_SPAWN_DUP2, answer_fd, 3)]
        argv = [sys.executable, "-SI", "-c", _BOOT.format(parent=_PACKAGE_PARENT), str(os.getpid()), *arguments]
        return os.posix_spawn(argv[0], argv, {"LC_ALL": "C.UTF-8"}, file_actions=actions)
    finally:
        os.close(null)

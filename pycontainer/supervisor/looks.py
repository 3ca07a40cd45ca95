"""Looks into a container that runs, which may have mounted a file system that never answers (FUSE, or an overlay of one).

A process that waits for such a one cannot be killed, and in the supervisor it would be all of it. So the supervisor looks at
nothing but the mount that it made the container's root of, as far as no other mount is in the way, and at what the kernel
knows without asking. For all else there is a worker (runtime/look_worker.py) with a deadline: it may wait until the
container ends.

FUSE alone refuses who is not of the user namespace it was mounted in, unless fuse.allow_sys_admin_access is set; an overlay
mounted inside asks it in the name of who mounted it.
"""

import asyncio
import contextlib
import errno
import json
import os
import signal
import socket
import sys
from typing import Any

from pycontainer.errors import Busy, StartFailed, from_wire
from pycontainer.linux.descriptors import receive_fds
from pycontainer.linux.files import file_system_of
from pycontainer.linux.process import pidfd_open
from pycontainer.runtime.container import Container
from pycontainer.runtime.users import User, resolve

DEADLINE_SECONDS = 5.0
_MOST_AT_ONCE = 4  # of one container and kind
_PACKAGE_PARENT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# As for the monitor: no site-packages, no environment, no current directory.
_BOOT = (
    "import sys; sys.path.insert(0, {parent!r}); from pycontainer.runtime.look_worker import main; main(sys.argv[1:])"
)


class Looks:
    """The looks into one run of a container. `root_fd` is the root that was made for it, -1 if that is not known any more."""

    __slots__ = ("_container", "_root_fd", "_waiting")

    def __init__(self, container: Container, root_fd: int) -> None:
        """`root_fd` stays the run's: while it is open, no other file system gets the number of that one."""
        self._container, self._root_fd = container, root_fd
        self._waiting: dict[int, str] = {}  # pidfd of a worker: what it looks for

    async def user(self, root_fd: int, user: str) -> User:
        """Resolve a user in the container's own files, beneath `root_fd`; errors are those of users.resolve."""
        if self._root_fd >= 0 and file_system_of(root_fd) == file_system_of(self._root_fd):
            try:
                return resolve(root_fd, user, one_mount=True)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
        found: Any
        found, _ = await self._ask("user", user, root_fd=root_fd)
        return User(found["uid"], found["gid"], found["groups"], found["home"], found["name"])

    async def ptmx(self, root_fd: int) -> int:
        """Open the container's terminal multiplexer, now the caller's."""
        _, fds = await self._ask("ptmx", root_fd=root_fd)
        return fds[0]

    async def processes(self, pids: list[int]) -> dict[str, object]:
        """Return {pid: [stat, status, command line]} of those that are there."""
        found, _ = await self._ask("processes", *map(str, pids))
        return found

    async def _ask(self, what: str, *arguments: str, root_fd: int = -1) -> tuple[dict[str, object], list[int]]:
        """Let a worker look; return what it found, and the descriptors that came along.

        Busy when it does not come back, or others have not yet.
        """
        if list(self._waiting.values()).count(what) >= _MOST_AT_ONCE:
            raise self._does_not_answer()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with ours:
            with theirs:
                pid = _spawn(theirs.fileno(), root_fd, what, *arguments)
            pidfd = pidfd_open(pid)
            self._waiting[pidfd] = what
            asyncio.get_running_loop().add_reader(pidfd, self._ended, pidfd)
            ours.setblocking(False)
            fds = list[int]()
            try:
                return await self._answer(ours, fds), fds
            except BaseException:
                for fd in fds:
                    os.close(fd)
                raise
            finally:
                if pidfd in self._waiting:  # where it cannot be killed it is reaped when the container ends
                    with contextlib.suppress(ProcessLookupError):
                        signal.pidfd_send_signal(pidfd, signal.SIGKILL)

    async def _answer(self, sock: socket.socket, fds: list[int]) -> dict[str, object]:
        """Return what a worker says in the end; the descriptors that come along are added to `fds`."""
        data = bytearray()
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                while part := await _receive(sock, fds):
                    data += part
        except TimeoutError:
            raise self._does_not_answer() from None
        if not data:
            raise StartFailed(
                f"cannot look into container '{self._container.spec.name}': the worker ended", step="look"
            )
        reply = dict(json.loads(data))
        if "error" in reply:
            raise from_wire(reply["error"])
        return reply

    def _ended(self, pidfd: int) -> None:
        asyncio.get_running_loop().remove_reader(pidfd)
        os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
        os.close(pidfd)
        del self._waiting[pidfd]

    def _does_not_answer(self) -> Busy:
        return Busy(
            f"a file system that container '{self._container.spec.name}' has mounted does not answer",
            hint="end what serves it inside, or stop the container",
        )


async def _receive(sock: socket.socket, fds: list[int]) -> bytes:
    """Return the next part of a stream, empty at its end; descriptors that come with it are added to `fds`."""
    loop, readable = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(sock.fileno(), readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(sock.fileno())
    try:
        part, more = receive_fds(sock, 1 << 20, 1)
    except ConnectionError as error:  # not that of our client, which is what the server would think
        raise Busy("there is no room for another descriptor", hint="try again") from error
    fds += more
    return part


def _spawn(sock_fd: int, root_fd: int, what: str, *arguments: str) -> int:
    """Start a worker that has a socket, a root if there is one, and nothing else of ours; return its pid."""
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    try:
        actions = [(os.POSIX_SPAWN_DUP2, null, fd) for fd in (1, 2)] + [(os.POSIX_SPAWN_DUP2, sock_fd, 0)]
        actions.append((os.POSIX_SPAWN_DUP2, root_fd if root_fd >= 0 else null, 3))
        command = [
            sys.executable,
            "-SI",
            "-c",
            _BOOT.format(parent=_PACKAGE_PARENT),
            str(os.getpid()),
            what,
            *arguments,
        ]
        return os.posix_spawn(command[0], command, {"LC_ALL": "C.UTF-8"}, file_actions=actions)
    finally:
        os.close(null)

"""Asking a container how it is, in ways that it cannot hold us up with.

    http, tcp   a socket made in the container's own network namespace, connected to its loopback, else to its addresses:
                what is asked can be nothing that the container itself could not reach, whatever it has done to its network
    command     one more process inside, as `exec` starts it: its cgroup, its limits, its filter

A container decides when, how much and whether at all it answers. So nothing here waits but in the event loop, each attempt
has one deadline, of what is sent a bounded part is read at a bounded rate, and a process that cannot be killed is the last.
"""

import asyncio
import contextlib
import errno
import os
import select
import signal
import socket
import struct
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from pycontainer.errors import PycontainerError
from pycontainer.linux.namespaces import CLONE_NEWNET, visiting
from pycontainer.runtime.container import Container
from pycontainer.runtime.exec_process import ExecRequest, start_exec
from pycontainer.runtime.healthcheck import Check
from pycontainer.runtime.start import Run
from pycontainer.runtime.users import User

if TYPE_CHECKING:
    from pycontainer.supervisor.world import World

EXEC_MARK = "-health-"  # in the id of a process that asks: whoever takes over ends those that are left
KEPT_OUTPUT_BYTES = 4096
_DRAIN_BYTES, _DRAIN_PAUSE_SECONDS = 1 << 16, 0.05  # 1.3 MB/s of what a command writes are thrown away, more waits
_LINE_BYTES, _BODY_BYTES, _BODY_SECONDS = 1024, 1 << 16, 0.2
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER: nothing of ours stays behind in the container's namespace
_PIDFD_SIGNAL_PROCESS_GROUP = 1 << 2  # Linux 6.9
_KILL_SECONDS = 5.0
_FOUND_NOBODY = (errno.ECONNREFUSED, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.ENETUNREACH, errno.EHOSTUNREACH)


class NoVerdict(Exception):
    """The attempt was cut off by something of ours; it says nothing of the container."""


async def ask_port(run: Run, check: Check, addresses: Iterable[str]) -> str:
    """Connect, and with kind http ask; return what was found in words. OSError or ValueError with the reason otherwise.

    `addresses` are tried after loopback, for a server that listens on one of them alone.
    """
    refused: OSError | None = None
    for address in ("127.0.0.1", "::1", *addresses):
        try:
            with _socket_inside(run.pidfd, socket.AF_INET6 if ":" in address else socket.AF_INET) as sock:
                await asyncio.get_running_loop().sock_connect(sock, (address, check.port))
                where = f"[{address}]:{check.port}" if ":" in address else f"{address}:{check.port}"
                return f"{where}: connected" if check.kind == "tcp" else await _ask_http(sock, where, check.path)
        except OSError as error:
            if error.errno not in _FOUND_NOBODY:
                raise
            refused = refused or error
    raise OSError(errno.ECONNREFUSED, f"nobody listens on port {check.port} inside") from refused


@contextlib.contextmanager
def _socket_inside(pidfd: int, family: int) -> Iterator[socket.socket]:
    with visiting(pidfd, CLONE_NEWNET):
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    with sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, KEPT_OUTPUT_BYTES)  # the kernel's memory for it is ours
        yield sock


async def _ask_http(sock: socket.socket, where: str, path: str) -> str:
    """Send a GET, read the status line; ValueError if it is none, or of another status than 200 to 399."""
    loop = asyncio.get_running_loop()
    headers = ("Host: localhost", "User-Agent: pycontainer", "Accept: */*", "Connection: close")
    await loop.sock_sendall(sock, "\r\n".join((f"GET {path} HTTP/1.1", *headers, "", "")).encode("ascii"))
    data = b""
    while b"\n" not in data:
        if len(data) > _LINE_BYTES:
            raise ValueError(f"{where}{path}: the answer does not begin with a line of HTTP")
        part = await loop.sock_recv(sock, _LINE_BYTES)
        if not part:
            raise ValueError(f"{where}{path}: closed before an answer came")
        data += part
    status = status_of(data.partition(b"\n")[0])
    with contextlib.suppress(OSError):  # a server that may finish its answer writes no complaint into its log
        async with asyncio.timeout(_BODY_SECONDS):
            taken = len(data)
            while taken < _BODY_BYTES and (part := await loop.sock_recv(sock, KEPT_OUTPUT_BYTES)):
                taken += len(part)
    if status is None:
        raise ValueError(f"{where}{path}: the answer does not begin with a line of HTTP")
    if not 200 <= status <= 399:
        raise ValueError(f"{where}{path}: status {status}")
    return f"{where}{path}: status {status}"


def status_of(line: bytes) -> int | None:
    """Return the status of a status line, None if it is none. RFC 9112, 4."""
    words = line.rstrip(b"\r").split(b" ", 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or len(words[1]) != 3 or not words[1].isdigit():
        return None
    return int(words[1])


class Commands:
    """The commands that ask one container, one at a time."""

    def __init__(self, world: "World", container: Container, run: Run) -> None:
        self._world, self._container, self._run = world, container, run
        self._users: dict[str, User] = {}  # found once in a run: for that, a look into its files may take a process
        self._stuck_pidfd = -1  # of a process that could not be killed: it waits for a file system, or is frozen

    def close(self) -> None:
        if self._stuck_pidfd >= 0:
            os.close(self._stuck_pidfd)
            self._stuck_pidfd = -1

    async def ask(self, check: Check) -> str:
        """Run the command; return what it wrote. ValueError with that if it ended with another code than 0.

        Raises StartFailed and its kin when it cannot be run, NoVerdict when the monitor was lost meanwhile. If cancelled, as
        by a deadline, it is killed with its process group.
        """
        if self._stuck_pidfd >= 0 and not _has_ended(self._stuck_pidfd):
            raise ValueError("the process of an earlier check could not be killed, and still has not ended")
        self.close()
        world, container = self._world, self._container
        exec_id = f"{container.id}{EXEC_MARK}{os.urandom(4).hex()}"
        exited = world.endings.expect_exec_exit(exec_id)
        read_fd, write_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        output = _Output(read_fd)
        try:
            try:
                pidfd = await self._start(check, exec_id, write_fd)
            finally:
                os.close(write_fd)
            try:
                code = await exited
            except PycontainerError as error:
                raise NoVerdict(error.message) from error
            except asyncio.CancelledError:
                await self._kill(pidfd)
                pidfd = -1
                raise
            finally:
                if pidfd >= 0:
                    os.close(pidfd)
            output.drain()
        finally:
            world.endings.forget_exec(exec_id)
            text = output.close()
        if code:
            raise ValueError(f"exit code {code}" + (f": {text}" if text else ""))
        return text

    async def _start(self, check: Check, exec_id: str, write_fd: int) -> int:
        """Start the process and return its pidfd."""
        world, container = self._world, self._container
        os.set_blocking(write_fd, True)  # the flag is the program's, too
        rights = world.rights_of(container)
        null_fd = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        try:
            request = ExecRequest(
                command=list(check.command),
                env=[],
                workdir="",
                user="",
                tty=False,
                privileged=False,
                rights=rights,
                seccomp=world.filter_of(rights),
                stdio_fds=[null_fd, write_fd, write_fd],
                window=None,
            )
            _, pidfd, _ = await start_exec(
                container,
                self._run.cgroup,
                world.link,
                request,
                exec_id=exec_id,
                init_pidfd=self._run.pidfd,
                find_user=self._find_user,
                open_ptmx=world.looks[container.id].ptmx,
            )
            return pidfd
        finally:
            os.close(null_fd)

    async def _find_user(self, root_fd: int, name: str) -> User:
        if name not in self._users:
            self._users[name] = await self._world.looks[self._container.id].user(root_fd, name)
        return self._users[name]

    async def _kill(self, pidfd: int) -> None:
        """Kill the process and its group; one that does not end is remembered, and with it that no other is started."""
        kill_group(pidfd)
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(pidfd, ended.set)
        try:
            await asyncio.wait_for(ended.wait(), _KILL_SECONDS)
        except TimeoutError:
            self._stuck_pidfd = pidfd
            return
        finally:
            loop.remove_reader(pidfd)
            if self._stuck_pidfd != pidfd:
                os.close(pidfd)


def kill_group(pidfd: int) -> None:
    """Kill a process with all of its group, of which it is the first; before Linux 6.9, alone."""
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL, None, _PIDFD_SIGNAL_PROCESS_GROUP)
    except ProcessLookupError:
        pass
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)


def _has_ended(pidfd: int) -> bool:
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    return bool(poller.poll(0))


class _Output:
    """The beginning of what a process writes; the rest is read, not faster than we like, and thrown away."""

    def __init__(self, read_fd: int) -> None:
        self._fd, self._kept = read_fd, bytearray()
        self._pause: asyncio.TimerHandle | None = None
        self._watch()

    def _watch(self) -> None:
        self._pause = None
        asyncio.get_running_loop().add_reader(self._fd, self.drain)

    def drain(self) -> None:
        """Read once."""
        try:
            data = os.read(self._fd, _DRAIN_BYTES)
        except BlockingIOError:
            return
        self._kept += data[: KEPT_OUTPUT_BYTES - len(self._kept)]
        loop = asyncio.get_running_loop()
        if loop.remove_reader(self._fd) and data:
            self._pause = loop.call_later(_DRAIN_PAUSE_SECONDS, self._watch)

    def close(self) -> str:
        """Read no more; return what was kept, as text."""
        asyncio.get_running_loop().remove_reader(self._fd)
        if self._pause is not None:
            self._pause.cancel()
        os.close(self._fd)
        return self._kept.decode(errors="backslashreplace").strip()

"""What a workload says of itself: READY=1 and STATUS=..., by the protocol of sd_notify(3).

    run/notify/ID/notify     a datagram socket of ours, bound inside, read-only, as /dev/pycontainer/notify

The directory is what is bound, not the socket: the next supervisor makes a new socket in the same place. Whatever runs
inside may speak, as with NotifyAccess=all of systemd.

Nothing but bytes is taken: descriptors that come along are dropped by the kernel, as nobody receives them. Of one container a
few messages are read at a time, and then none for a while; whoever sends more waits.
"""

import asyncio
import contextlib
import os
import shutil
import socket
from collections.abc import Callable, Iterable

from pycontainer.paths import HostPaths

MAX_STATUS_CHARACTERS = 256
_MESSAGE_BYTES, _AT_ONCE, _PAUSE_SECONDS = 4096, 8, 0.1


class Speaker:
    """One container's socket; `ready` and `status` are what was said."""

    __slots__ = ("_heard", "_pause", "_sock", "directory", "ready", "status")

    def __init__(self, directory: str, heard: Callable[[], None], inherited: socket.socket | None = None) -> None:
        """Make `directory` and the socket in it, or go on with the one that is there; `heard` is called at something new."""
        self.directory, self._heard = directory, heard
        self.ready, self.status = False, ""
        self._pause: asyncio.TimerHandle | None = None
        if inherited is not None:
            self._sock = inherited
            self._sock.setblocking(False)
            self._listen()
            return
        os.makedirs(directory, mode=0o755, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{directory}/notify")
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        try:
            directory_fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                self._sock.bind(f"/proc/self/fd/{directory_fd}/notify")  # a path may be longer than an address
            finally:
                os.close(directory_fd)
            os.chmod(f"{directory}/notify", 0o666)  # for every user inside: who sees the socket is inside
        except BaseException:
            self._sock.close()
            raise
        self._listen()

    def fileno(self) -> int:
        """Return the socket's descriptor."""
        return self._sock.fileno()

    def close(self) -> None:
        """Listen no more; the socket and its directory go."""
        self.leave()
        shutil.rmtree(self.directory, ignore_errors=True)
        with contextlib.suppress(OSError):  # others are there
            os.rmdir(os.path.dirname(self.directory))

    def leave(self) -> None:
        """Listen no more; the next supervisor will, in the same place."""
        asyncio.get_running_loop().remove_reader(self._sock.fileno())
        if self._pause is not None:
            self._pause.cancel()
        self._sock.close()

    def _listen(self) -> None:
        self._pause = None
        asyncio.get_running_loop().add_reader(self._sock.fileno(), self._read)

    def _read(self) -> None:
        before = (self.ready, self.status)
        for _ in range(_AT_ONCE):
            try:
                message = self._sock.recv(_MESSAGE_BYTES)
            except BlockingIOError:
                break
            self._take(message)
        else:
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._sock.fileno())
            self._pause = loop.call_later(_PAUSE_SECONDS, self._listen)
        if (self.ready, self.status) != before:
            self._heard()

    def _take(self, message: bytes) -> None:
        for line in message.split(b"\n"):
            key, _, value = line.partition(b"=")
            if (key, value) == (b"READY", b"1"):
                self.ready = True
            elif key == b"STATUS":
                self.status = value.decode(errors="backslashreplace")[:MAX_STATUS_CHARACTERS]


def sweep(paths: HostPaths, running: Iterable[str]) -> None:
    """Remove the sockets of containers that do not run: the supervisor before us was killed while they ended."""
    try:
        left = set(os.listdir(paths.notify_dir)) - set(running)
    except FileNotFoundError:
        return
    for container_id in left:
        shutil.rmtree(f"{paths.notify_dir}/{container_id}", ignore_errors=True)
    with contextlib.suppress(OSError):
        os.rmdir(paths.notify_dir)

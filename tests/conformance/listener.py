"""An agent for seccomp's notifications, as engines name one in `listenerPath`: it takes listeners and answers for the kernel.

    runtime ──unix socket: containerProcessState and a descriptor──▶ agent ◀──ioctl──▶ the container's system calls

seccomp_unotify(2), runtime-spec config-linux.md "The Container Process State"
"""

import contextlib
import fcntl
import json
import os
import select
import socket
import struct
import threading
from typing import Any, NamedTuple

_RECV, _SEND = 0xC0502100, 0xC0182101
_NOTIFICATION = struct.Struct("=QIIiIQ6Q")  # struct seccomp_notif: id pid flags, struct seccomp_data: nr arch ip args
_RESPONSE = struct.Struct("=QqiI")  # struct seccomp_notif_resp: id val error flags
_CONTINUE = 1  # SECCOMP_USER_NOTIF_FLAG_CONTINUE


class Asked(NamedTuple):
    """A system call that was asked about: its number, and who makes it, as the host counts."""

    number: int
    pid: int


class Listener:
    """Answers every question with an error number, or with "go on" for 0."""

    def __init__(self, path: str, error: int) -> None:
        self.path = path
        self.states: list[dict[str, Any]] = []
        self.asked: list[Asked] = []
        self._error = error
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(path)
        self._socket.listen(8)
        self._stop_read, self._stop_write = os.pipe()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        os.write(self._stop_write, b"x")
        self._thread.join()
        for fd in (self._stop_read, self._stop_write):
            os.close(fd)
        self._socket.close()
        os.unlink(self.path)

    def _serve(self) -> None:
        poll = select.poll()
        poll.register(self._stop_read, select.POLLIN)
        poll.register(self._socket.fileno(), select.POLLIN)
        listeners: set[int] = set()
        while True:
            for fd, events in poll.poll():
                if fd == self._stop_read:
                    for listener in listeners:
                        os.close(listener)
                    return
                if fd == self._socket.fileno():
                    listener = self._accept()
                    listeners.add(listener)
                    poll.register(listener, select.POLLIN)
                elif events & select.POLLIN:
                    self._answer(fd)
                else:  # nobody has this filter any more
                    poll.unregister(fd)
                    listeners.discard(fd)
                    os.close(fd)

    def _accept(self) -> int:
        connection, _ = self._socket.accept()
        with connection:
            data, fds, _, _ = socket.recv_fds(connection, 65536, 4)
            while not data.rstrip().endswith(b"}}"):  # the state is the last member
                data += connection.recv(65536)
        self.states.append(json.loads(data))
        (fd,) = fds
        return fd

    def _answer(self, fd: int) -> None:
        with contextlib.suppress(FileNotFoundError):  # who asked has been killed
            notification = bytearray(_NOTIFICATION.size)
            fcntl.ioctl(fd, _RECV, notification)
            question, pid, _, number, *_ = _NOTIFICATION.unpack(notification)
            self.asked.append(Asked(number, pid))
            answer = _RESPONSE.pack(question, 0, -self._error, 0 if self._error else _CONTINUE)
            fcntl.ioctl(fd, _SEND, bytearray(answer))

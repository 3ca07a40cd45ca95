"""The worker that closes sockets of clients in the supervisor's place."""

import array
import fcntl
import os
import socket
import subprocess
import sys
import termios

import pytest

from pycontainer.supervisor.descriptors import _BOOT, _PACKAGE_PARENT
from tests.support.poll import poll_until


def test_a_socket_is_closed_here_once_it_is_closed_there() -> None:
    """API-05: who closes it last waits, which must not be the supervisor."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    client, handed = socket.socketpair()
    with ours, client:
        with theirs:
            argv = [sys.executable, "-SI", "-c", _BOOT.format(parent=_PACKAGE_PARENT), f"{os.getpid()}", "bury"]
            worker = subprocess.Popen(argv, stdin=theirs.fileno())
        socket.send_fds(ours, [b"."], [handed.fileno()])
        handed.close()
        poll_until(lambda: _unread_bytes(ours) == 0, what="it has it")
        client.settimeout(0.1)
        with pytest.raises(TimeoutError):
            client.recv(1)
        ours.send(b",")
        client.settimeout(10)
        assert client.recv(1) == b""
    assert worker.wait(10) == 0


def _unread_bytes(sock: socket.socket) -> int:
    """Return what was sent and is not read yet. ioctl_tty(2), TIOCOUTQ; unix(7)"""
    count = array.array("i", [0])
    fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, count)
    return count[0]

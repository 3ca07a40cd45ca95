"""The client's end of a container's attach socket: output to the caller, input and size to the container.

    caller                 this relay                       monitor
    stdin, keys  ──▶  ATTACH_STDIN, ATTACH_STDIN_END   ──▶
    SIGWINCH     ──▶  ATTACH_RESIZE                    ──▶
    stdout       ◀──  ATTACH_STDOUT (also a terminal)  ◀──
    stderr       ◀──  ATTACH_STDERR                    ◀──
                      ATTACH_END: all output was sent  ◀──

See api/messages.py for the packets. The socket stays with the monitor: a supervisor that dies does not end it.
"""

import select
import signal
import socket
import struct
from collections.abc import Callable

from pycontainer.api.messages import (
    ATTACH_END,
    ATTACH_PACKET_BYTES,
    ATTACH_RESIZE,
    ATTACH_STDERR,
    ATTACH_STDIN,
    ATTACH_STDIN_END,
    ATTACH_STDOUT,
)
from pycontainer.client.feed import Feed
from pycontainer.client.terminal import SignalInbox, window_size
from pycontainer.errors import PycontainerError

Sink = Callable[[bytes], None]


def relay_attach(
    sock: socket.socket,
    feed: Feed | None,
    stdout: Sink,
    stderr: Sink,
    *,
    inbox: SignalInbox | None = None,
    on_signal: Callable[[signal.Signals], None] | None = None,
    terminal_fd: int | None = None,
) -> bool:
    """Relay until the container's output ends (True) or the detach keys were pressed (False).

    `feed` None leaves the container's standard input alone. A signal from `inbox` is a new size if it is SIGWINCH and
    there is a `terminal_fd`; every other one goes to `on_signal`. Raises PycontainerError if the other end is lost.
    """
    sock.setblocking(False)
    if terminal_fd is not None:
        _send_size(sock, terminal_fd)
    end_sent = feed is None
    while True:
        poller = select.poll()
        can_send = feed is not None and (feed.pending or (feed.is_finished and not end_sent))
        poller.register(sock, select.POLLIN | (select.POLLOUT if can_send else 0))
        if inbox is not None:
            poller.register(inbox.fd, select.POLLIN)
        if feed is not None and feed.wants_to_read:
            poller.register(feed.source_fd, select.POLLIN)  # type: ignore[arg-type]  # an int if it wants to read
        ready = dict(poller.poll())

        if inbox is not None and inbox.fd in ready:
            for number in inbox.read():
                if number == signal.SIGWINCH and terminal_fd is not None:
                    _send_size(sock, terminal_fd)
                elif on_signal is not None:
                    on_signal(number)
        events = ready.get(sock.fileno(), 0)
        if events & (select.POLLIN | select.POLLHUP | select.POLLERR) and _receive(sock, stdout, stderr):
            return True
        if feed is None:
            continue
        if feed.pending:
            chunk = bytes(feed.pending[: ATTACH_PACKET_BYTES - 1])
            if _send(sock, ATTACH_STDIN, chunk):
                feed.took(len(chunk))
        elif feed.is_finished and not end_sent:
            end_sent = _send(sock, ATTACH_STDIN_END, b"")
        elif feed.wants_to_read and feed.source_fd in ready:
            feed.read()
        if feed.is_detached and not feed.pending:
            return False


def _receive(sock: socket.socket, stdout: Sink, stderr: Sink) -> bool:
    """Deliver one packet; True at the end."""
    try:
        packet = sock.recv(ATTACH_PACKET_BYTES)
    except (BlockingIOError, ConnectionResetError):  # it left input unread: told once, before what it has sent
        return False
    if not packet:
        raise PycontainerError(
            "the container's output ends here: what relayed it was killed or had to go, or too many are attached",
            hint="the container goes on, and 'pycontainer logs' has all that it has written",
        )
    if packet[0] == ATTACH_END:
        return True
    if packet[0] == ATTACH_STDOUT:
        stdout(packet[1:])
    elif packet[0] == ATTACH_STDERR:
        stderr(packet[1:])
    return False


def _send(sock: socket.socket, kind: int, data: bytes) -> bool:
    """Send one packet; False if there is no room now. An end that takes nothing more takes everything."""
    try:
        sock.send(bytes((kind,)) + data)
    except BlockingIOError:
        return False
    except (BrokenPipeError, ConnectionResetError):
        return True  # the container has ended; its last output may still be there to read
    return True


def _send_size(sock: socket.socket, terminal_fd: int) -> None:
    """Tell the container the size of the caller's terminal; without room it is lost, the next one will do."""
    _send(sock, ATTACH_RESIZE, struct.pack("HH", *window_size(terminal_fd)))

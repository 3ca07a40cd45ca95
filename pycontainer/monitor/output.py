"""The streams of one container: its output to the log and to whoever is attached, their input to it.

    stdout, stderr (pipes) or the pty master ──▶ Output ──▶ LogFile
                                                   │ ▲
                                     packets ──────▼ │────── packets        attached clients (SOCK_SEQPACKET)

Nothing is dropped for an attached client: while one is slow its packet waits and the container's output is not read, as
with any pipe. A terminal that nobody has open is not at its end: an init hangs it up and opens it again for a login.
The kinds of packets are those of api/messages.py, repeated here because this layer stands below it.
"""

import _socket
import errno
import fcntl
import os
import select
import struct
import termios

from pycontainer.monitor.logfile import LogFile
from pycontainer.monitor.poller import Poller

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_END, _STDOUT, _STDERR, _STDIN, _STDIN_END, _RESIZE = 0, 1, 2, 3, 4, 5
_PACKET_BYTES = 32768
_PTY_BYTES = 1 << 16  # more than a terminal keeps
_STREAMS = {_STDOUT: b"stdout", _STDERR: b"stderr"}
_MOST_CLIENTS = 64  # a descriptor each, of those that all containers share


def say_end(sock: _socket.socket) -> None:
    """Tell who attaches to what has no output any more, and close the socket."""
    try:
        sock.send(bytes([_END]))
    except OSError:  # it is gone, too
        pass
    sock.close()


def _most_in(fd: int) -> int:
    """Return how much may lie in a pipe, which who writes to it may have made larger, or in a terminal. pipe(7)"""
    try:
        return fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ)
    except OSError:
        return _PTY_BYTES


class Client:
    """One attached socket, with what it could not take yet."""

    __slots__ = ("pending", "sock")

    def __init__(self, sock: _socket.socket) -> None:
        self.sock = sock
        self.pending: list[bytes] = []


class Output:
    """Pumps one container. `sources` maps a descriptor to its kind; `input_fd` is the pipe's end, a duplicate of the pty
    master, or -1. All of them are the pump's from here on."""

    __slots__ = (
        "_clients",
        "_input_ends",
        "_input_fd",
        "_input_pending",
        "_is_tty",
        "_log",
        "_poller",
        "_reading",
        "_silent",
        "_sources",
        "ended",
    )

    def __init__(self, poller: Poller, log: LogFile, sources: dict[int, int], input_fd: int, *, is_tty: bool) -> None:
        self._poller, self._log, self._sources, self._input_fd, self._is_tty = poller, log, sources, input_fd, is_tty
        self._clients: list[Client] = []
        self._input_pending = b""
        self._input_ends = False
        self._reading = False
        self._silent: set[int] = set()  # terminals that nobody has open
        self.ended = False
        for fd in sources:
            os.set_blocking(fd, False)
        if input_fd >= 0:
            os.set_blocking(input_fd, False)
        self._resume()

    @property
    def dropped_bytes(self) -> int:
        """Bytes of output that the log could not take."""
        return self._log.dropped_bytes

    def attach(self, sock: _socket.socket) -> None:
        """Let `sock` see all output from now on; what it sends goes in. It is closed if too many are attached already."""
        if self.ended:
            say_end(sock)
        elif len(self._clients) >= _MOST_CLIENTS:
            sock.close()
        else:
            self._add(sock)

    def _add(self, sock: _socket.socket) -> Client:
        sock.setblocking(False)
        client = Client(sock)
        self._clients.append(client)
        self._poller.add(sock.fileno(), self._interest(client), lambda events: self._serve(client, events))
        return client

    def handed_over(self) -> dict[str, object]:
        """Return what the next program of the monitor needs to go on, for `taken_over`."""
        return {
            "sources": self.sources,
            "input_fd": self._input_fd,
            "input_pending": self._input_pending.hex(),
            "input_ends": self._input_ends,
            "is_tty": self._is_tty,
            "ended": self.ended,
            "dropped_bytes": self.dropped_bytes,
            "clients": [
                {"fd": client.sock.fileno(), "pending": [packet.hex() for packet in client.pending]}
                for client in self._clients
            ],
        }

    @classmethod
    def taken_over(cls, poller: Poller, log: LogFile, state: "dict[str, Any]") -> "Output":
        """Go on where `handed_over` left off."""
        output = cls(poller, log, dict(state["sources"]), state["input_fd"], is_tty=state["is_tty"])
        log.dropped_bytes = state["dropped_bytes"]
        output._input_ends = state["input_ends"]
        if output.ended or state["ended"]:
            output.ended = True
            log.close()
        for each in state["clients"]:
            client = output._add(_socket.socket(fileno=each["fd"]))
            for packet in each["pending"]:
                output._send(client, bytes.fromhex(packet))
        if state["input_pending"]:
            output._put(bytes.fromhex(state["input_pending"]))
        return output

    @property
    def sources(self) -> list[tuple[int, int]]:
        """Descriptors that it reads from, with their kinds."""
        return list(self._sources.items())

    def fds(self) -> list[int]:
        """Return the descriptors that it cannot go on without."""
        given = [self._input_fd] if self._input_fd >= 0 else []
        return [*self._sources, *given, *(client.sock.fileno() for client in self._clients)]

    def drain(self) -> None:
        """Read what is left after the container's end; then the log is complete.

        More than a pipe holds was written since, by a process outside that has the other end: it could go on for ever.
        """
        for fd in list(self._sources):
            left = _most_in(fd)
            while left > 0 and fd in self._sources and (count := self._read(fd)):
                left -= count
        for fd in list(self._sources):
            self._forget(fd)  # a process outside holds the other end; its words are not the container's
        self._end()

    def _resume(self) -> None:
        if not self._reading:
            self._reading = True
            for fd in self._sources:
                self._poller.add(fd, select.EPOLLIN, lambda events, fd=fd: self._read(fd))  # type: ignore[misc]

    def _pause(self) -> None:
        if self._reading:
            self._reading = False
            self._silent.clear()
            for fd in self._sources:
                self._poller.remove(fd)

    def _read(self, fd: int) -> int:
        """Pump one piece of `fd`, and return how many bytes that was: none when there is nothing now."""
        try:
            data = os.read(fd, _PACKET_BYTES - 1)
        except BlockingIOError:
            return 0
        except OSError as error:
            if error.errno != errno.EIO:  # a pty whose last slave was closed
                raise
            if self._reading and fd not in self._silent:
                self._silent.add(fd)
                self._poller.change(fd, select.EPOLLIN | select.EPOLLET)  # it is readable until somebody opens it again
            return 0
        if fd in self._silent:
            self._silent.remove(fd)
            self._poller.change(fd, select.EPOLLIN)
        if not data:
            self._forget(fd)
            if not self._sources:
                self._end()
            return 0
        kind = self._sources[fd]
        self._log.write(_STREAMS[kind], data)
        packet = bytes([kind]) + data
        for client in list(self._clients):
            self._send(client, packet)
        return len(data)

    def _forget(self, fd: int) -> None:
        del self._sources[fd]
        self._silent.discard(fd)
        if self._reading:
            self._poller.remove(fd)
        os.close(fd)

    def _end(self) -> None:
        if self.ended:
            return
        self.ended = True
        if self._input_fd >= 0:
            self._poller.discard(self._input_fd)
            os.close(self._input_fd)
            self._input_fd = -1
        self._log.close()
        for client in list(self._clients):
            self._send(client, bytes([_END]))

    def _send(self, client: Client, packet: bytes) -> None:
        if client.pending:
            client.pending.append(packet)
            return
        try:
            client.sock.send(packet)
        except BlockingIOError:
            client.pending.append(packet)
            self._listen(client)
            self._pause()
        except OSError:  # the client is gone
            self._drop(client)

    def _serve(self, client: Client, events: int) -> None:
        if events & select.EPOLLOUT:
            while client.pending:
                try:
                    client.sock.send(client.pending[0])
                except BlockingIOError:
                    return
                except OSError:
                    self._drop(client)
                    return
                client.pending.pop(0)
            self._listen(client)
            if not any(other.pending for other in self._clients):
                self._resume()
        if events & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
            self._take(client)

    def _take(self, client: Client) -> None:
        """Take one packet of a client."""
        try:
            packet = client.sock.recv(_PACKET_BYTES)
        except (BlockingIOError, ConnectionResetError):  # it left output unread: told once, before what it has sent
            return
        except OSError:
            packet = b""
        if not packet:
            self._drop(client)
        elif self._input_fd < 0:
            return
        elif packet[0] == _STDIN:
            self._put(packet[1:])
        elif packet[0] == _STDIN_END and not self._is_tty:
            self._input_ends = True
            self._put(b"")
        elif packet[0] == _RESIZE and self._is_tty and len(packet) >= 5:
            rows, columns = struct.unpack("HH", packet[1:5])
            fcntl.ioctl(self._input_fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def _put(self, data: bytes) -> None:
        """Write input; what does not fit waits, and no more is taken from the clients meanwhile."""
        waiting = bool(self._input_pending)
        self._input_pending += data
        try:
            while self._input_pending:
                self._input_pending = self._input_pending[os.write(self._input_fd, self._input_pending) :]
        except BlockingIOError:
            if not waiting:
                self._listen(*self._clients)
                self._poller.add(self._input_fd, select.EPOLLOUT, lambda events: self._put(b""))
            return
        except OSError:  # nobody reads any more
            self._input_pending = b""
            self._input_ends = self._input_ends or not self._is_tty
        if waiting:
            self._poller.discard(self._input_fd)
            self._listen(*self._clients)
        if self._input_ends and self._input_fd >= 0:
            os.close(self._input_fd)
            self._input_fd = -1

    def _listen(self, *clients: Client) -> None:
        for client in clients:
            self._poller.change(client.sock.fileno(), self._interest(client))

    def _interest(self, client: Client) -> int:
        """Tell what is waited for: its input if all that came before is written, and room for its output."""
        return (0 if self._input_pending else select.EPOLLIN) | (select.EPOLLOUT if client.pending else 0)

    def _drop(self, client: Client) -> None:
        self._clients.remove(client)
        self._poller.remove(client.sock.fileno())
        client.sock.close()
        if not any(other.pending for other in self._clients) and not self.ended:
            self._resume()

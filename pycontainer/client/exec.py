"""One more process in a container, with this caller as its other end.

Without a terminal we make three pipes and pass their inner ends; with one the supervisor passes us the master of the
pty it made. Either way nothing of the operator's goes inside. No input is read before the supervisor has answered: one
that goes away before it has read the request leaves it all to the next.

The process's end, not the end of its output, ends the session: what it left behind may hold the output open for ever. So
after the exit code what is there is read, once.
"""

import os
import select
import signal
from collections.abc import Callable
from typing import Any

from pycontainer.client.attach import Sink
from pycontainer.client.connection import Connection, Pool, close_all
from pycontainer.client.feed import READ_BYTES, Feed
from pycontainer.client.terminal import SignalInbox, window_size
from pycontainer.linux.tty import set_window_size

# The most that is read after the exit: the largest pipe of an unprivileged process (pipe(7), pipe-max-size).
DRAIN_BYTES = 1 << 20


class Detached(Exception):
    """The operator pressed the detach keys; the process goes on."""


def run_exec(
    pool: Pool,
    args: dict[str, Any],
    feed: Feed | None,
    stdout: Sink,
    stderr: Sink,
    *,
    inbox: SignalInbox | None = None,
    on_signal: Callable[[signal.Signals], None] | None = None,
    terminal_fd: int | None = None,
) -> int:
    """Send the exec request `args`, relay until the process ends, return its exit code. Raises Detached.

    `terminal_fd` is the caller's terminal, from which the size is taken at SIGWINCH, if `args["tty"]`; every other
    signal of `inbox` goes to `on_signal`.
    """

    def attempt() -> int:
        connection = pool.take()
        try:
            if args["tty"]:
                connection.send("exec", args)
                session = _Session(connection, feed, stdout, inbox=inbox, on_signal=on_signal, terminal_fd=terminal_fd)
            else:
                outer_fds = _send_with_pipes(connection, args, with_stdin=feed is not None)
                session = _Session(connection, feed, stdout, inbox=inbox, on_signal=on_signal)
                session.outputs = {outer_fds[0]: stdout, outer_fds[1]: stderr}
                session.stdin_fd = outer_fds[2] if feed is not None else None
            try:
                return session.relay()
            finally:
                session.close()
        finally:
            pool.give_back(connection)

    return pool.asked(attempt)


def _send_with_pipes(connection: Connection, args: dict[str, Any], *, with_stdin: bool) -> list[int]:
    """Send the request with the inner ends of new pipes, and return ours."""
    inner_fds, outer_fds = _make_pipes(with_stdin=with_stdin)
    try:
        connection.send("exec", args, inner_fds)
    except BaseException:
        close_all(outer_fds)
        raise
    finally:
        close_all(inner_fds)
    return outer_fds


def _make_pipes(*, with_stdin: bool) -> tuple[list[int], list[int]]:
    """Return (inner stdin, stdout, stderr) and our (stdout, stderr[, stdin]); ours do not block."""
    made: list[int] = []
    try:
        for _ in range(2 + with_stdin):
            made += os.pipe()
        if not with_stdin:
            made.append(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC))
    except BaseException:
        close_all(made)
        raise
    inner, outer = [made[4], made[1], made[3]], [made[0], made[2], *made[5:]]
    for fd in outer:
        os.set_blocking(fd, False)
    return inner, outer


class _Session:
    """The descriptors of one exec while it lasts."""

    def __init__(
        self,
        connection: Connection,
        feed: Feed | None,
        stdout: Sink,
        *,
        inbox: SignalInbox | None,
        on_signal: Callable[[signal.Signals], None] | None,
        terminal_fd: int | None = None,
    ) -> None:
        self._connection = connection
        self._feed = feed
        self._stdout = stdout
        self._inbox = inbox
        self._on_signal = on_signal
        self._terminal_fd = terminal_fd
        self._has_begun = False
        self._master_fd: int | None = None
        self.outputs: dict[int, Sink] = {}
        self.stdin_fd: int | None = None  # the pipe's writing end, or the pty's master

    def relay(self) -> int:
        while True:
            ready = self._wait()
            if self._inbox is not None and self._inbox.fd in ready:
                self._take_signals(self._inbox)
            for fd in [fd for fd in self.outputs if fd in ready]:
                self._read_output(fd)
            if self._feed is not None and self._has_begun:
                self._pass_input(self._feed, ready)
            if self._connection.fileno() in ready:
                exit_code = self._read_reply()
                if exit_code is not None:
                    self._drain()
                    return exit_code

    def _wait(self) -> dict[int, int]:
        poller = select.poll()
        poller.register(self._connection, select.POLLIN)
        for fd in self.outputs:
            poller.register(fd, select.POLLIN)
        if self._inbox is not None:
            poller.register(self._inbox.fd, select.POLLIN)
        if self._feed is not None and self._has_begun and self.stdin_fd is not None:
            if self._feed.pending:
                both = select.POLLIN | select.POLLOUT if self.stdin_fd in self.outputs else select.POLLOUT
                poller.register(self.stdin_fd, both)
            elif self._feed.wants_to_read:
                poller.register(self._feed.source_fd, select.POLLIN)  # type: ignore[arg-type]
        return dict(poller.poll())

    def _read_reply(self) -> int | None:
        """Take one frame: the start (None; with a terminal its master comes along) or the exit code."""
        is_result, payload, fds = self._connection.receive()
        if is_result:
            close_all(fds)
            return int(payload["exit_code"])
        if fds:
            self._master_fd = fds[0]
            close_all(fds[1:])
            os.set_blocking(self._master_fd, False)
            self.outputs = {self._master_fd: self._stdout}
            self.stdin_fd = self._master_fd if self._feed is not None else None
            self._pass_size()
        self._has_begun = True
        if self._feed is not None:
            self._pass_input(self._feed, {})  # nothing to feed: the process sees the end at once
        return None

    def _read_output(self, fd: int) -> int:
        """Deliver what one read gives, and return how much; an output at its end is closed."""
        try:
            data = os.read(fd, READ_BYTES)
        except BlockingIOError:
            return 0
        except OSError:  # EIO: no process has the pty's other side open
            data = b""
        if not data:
            self._close_output(fd)
            return 0
        try:
            self.outputs[fd](data)
        except BrokenPipeError:  # nobody reads our output: neither does anybody read the workload's now
            self._close_output(fd)
        return len(data)

    def _close_output(self, fd: int) -> None:
        del self.outputs[fd]
        if fd != self._master_fd:
            os.close(fd)

    def _pass_input(self, feed: Feed, ready: dict[int, int]) -> None:
        if self.stdin_fd is None:
            return
        if feed.pending and ready.get(self.stdin_fd, 0) & ~select.POLLIN:
            try:
                feed.took(os.write(self.stdin_fd, feed.pending))
            except BlockingIOError:
                pass
            except OSError:  # EPIPE, EIO: the process does not read any more
                feed.drop()
        elif feed.wants_to_read and feed.source_fd in ready:
            feed.read()
        if feed.is_detached and not feed.pending:
            raise Detached
        if feed.is_finished:
            if self.stdin_fd != self._master_fd:
                os.close(self.stdin_fd)
            self.stdin_fd = None

    def _take_signals(self, inbox: SignalInbox) -> None:
        for number in inbox.read():
            if number == signal.SIGWINCH:
                self._pass_size()
            elif self._on_signal is not None:
                self._on_signal(number)

    def _pass_size(self) -> None:
        if self._master_fd is not None and self._terminal_fd is not None:
            set_window_size(self._master_fd, *window_size(self._terminal_fd))

    def _drain(self) -> None:
        """Deliver what the ended process has written; what survives it may write on, to nobody."""
        for fd in list(self.outputs):
            count = 0
            while fd in self.outputs and count < DRAIN_BYTES:
                got = self._read_output(fd)
                if not got:
                    break
                count += got

    def close(self) -> None:
        for fd in list(self.outputs):
            self._close_output(fd)
        if self.stdin_fd is not None and self.stdin_fd != self._master_fd:
            os.close(self.stdin_fd)
        if self._master_fd is not None:
            os.close(self._master_fd)

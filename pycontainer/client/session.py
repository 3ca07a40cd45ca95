"""The operator's end of a foreground `run`, `exec` or `attach`: our own input, output, terminal and signals."""

import contextlib
import os
import select
import signal
import socket
from collections.abc import Callable, Iterator

from pycontainer.client.attach import relay_attach
from pycontainer.client.connection import Connection
from pycontainer.client.feed import Feed
from pycontainer.client.terminal import (
    PROXIED_SIGNALS,
    DetachKeys,
    RawTerminal,
    SignalInbox,
    parse_detach_keys,
    window_size,
    write_all,
)

STDIN_FD, STDOUT_FD, STDERR_FD = 0, 1, 2
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class Session:
    """What the relays of attach.py and exec.py take, while the context lasts; leaves the terminal as it was.

    The workload's terminal (`tty`) is shown on ours if we have one: raw keyboard, same size, detach keys. Our signals
    come to the inbox: the size's, and those to pass on if `proxy_signals` and no raw terminal does it better. The keyboard
    is raw with `take_keyboard`: until then ^C is a signal.
    """

    def __init__(self, *, tty: bool, interactive: bool, detach_keys: str, proxy_signals: bool) -> None:
        parse_detach_keys(detach_keys)  # a wrong one is told before anything starts
        self._raw_fd = STDIN_FD if tty and interactive and os.isatty(STDIN_FD) else None
        self.is_raw = self._raw_fd is not None
        self.terminal_fd = next((fd for fd in (STDOUT_FD, STDIN_FD) if tty and os.isatty(fd)), None)
        self.size = window_size(self.terminal_fd) if self.terminal_fd is not None else None
        keys = DetachKeys(detach_keys) if self._raw_fd is not None else None
        self.feed = Feed(source_fd=STDIN_FD, detach_keys=keys) if interactive else None
        wanted = [signal.SIGWINCH] if self.terminal_fd is not None else []
        if self._raw_fd is not None:
            wanted += [signal.SIGTERM, signal.SIGHUP]  # must not end us before the terminal is itself again
        elif proxy_signals:
            wanted += PROXIED_SIGNALS
        self.inbox = SignalInbox(wanted)
        self._stack = contextlib.ExitStack()
        self._early: list[signal.Signals] = []

    def __enter__(self) -> "Session":
        with contextlib.ExitStack() as undo:
            undo.enter_context(self.inbox)
            self._stack = undo.pop_all()
        return self

    def take_keyboard(self) -> None:
        """Pass on from here on what is typed, each key of it, if it is a terminal's."""
        if self._raw_fd is not None:
            self._stack.enter_context(RawTerminal(self._raw_fd))

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def wait(self, connection: Connection) -> None:
        """Wait until a reply can be read. A signal that asks for an end ends this process; others are kept for `relay`."""
        for number in self._signals_until(connection):
            if number in _ENDING and not _has_reply(connection):
                leave(number)
            self._early.append(number)

    def wait_for_end(self, connection: Connection, on_signal: Callable[[signal.Signals], None]) -> None:
        """Wait until a reply can be read, of a container that may go on without output. Signals are as in `relay`."""
        for number in self._signals_until(connection):
            self._pass(number, on_signal)

    def relay(self, sock: socket.socket, on_signal: Callable[[signal.Signals], None]) -> bool:
        """Be the other end of a container's attach socket until its output ends; False if the detach keys were pressed.

        Signals go to `on_signal`, but with a raw terminal they end this process.
        """
        self.take_keyboard()
        for number in self._early:
            self._pass(number, on_signal)
        return relay_attach(
            sock, self.feed, self.stdout, self.stderr, inbox=self.inbox,
            on_signal=leave if self.is_raw else on_signal, terminal_fd=self.terminal_fd,
        )  # fmt: skip

    def _pass(self, number: signal.Signals, on_signal: Callable[[signal.Signals], None]) -> None:
        if number != signal.SIGWINCH:  # the size is told in any case
            (leave if self.is_raw else on_signal)(number)

    def _signals_until(self, connection: Connection) -> Iterator[signal.Signals]:
        """Yield the signals that come until a reply can be read."""
        poller = select.poll()
        poller.register(connection, select.POLLIN)
        poller.register(self.inbox.fd, select.POLLIN)
        while connection.fileno() not in dict(poller.poll()):
            yield from self.inbox.read()

    def stdout(self, data: bytes) -> None:
        write_all(STDOUT_FD, data)

    def stderr(self, data: bytes) -> None:
        write_all(STDERR_FD, data)


def leave(number: signal.Signals) -> None:
    """End this process for signal `number` in good order, so that the terminal is restored; the workload goes on."""
    raise SystemExit(128 + number)


def _has_reply(connection: Connection) -> bool:
    poller = select.poll()
    poller.register(connection, select.POLLIN)
    return bool(poller.poll(0))

"""The operator's side of a session: raw mode, signals as something to poll, the keys that detach.

The operator's own terminal never goes inside; what is typed is read here and written on.
"""

import os
import select
import signal
import termios
import tty
from collections.abc import Iterable
from types import FrameType

from pycontainer.errors import InvalidInput

DEFAULT_DETACH_KEYS = "ctrl-p,ctrl-q"
FALLBACK_SIZE = (24, 80)

# What a foreground `run` passes on to the container when there is no terminal to do so.
PROXIED_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


def window_size(fd: int) -> tuple[int, int]:
    """Return (rows, columns) of the terminal `fd`, or 24 and 80 if it has no size."""
    try:
        size = os.get_terminal_size(fd)
    except OSError:
        return FALLBACK_SIZE
    return (size.lines, size.columns) if size.lines and size.columns else FALLBACK_SIZE


def write_all(fd: int, data: bytes) -> None:
    """Write all of `data`, also to a descriptor that somebody made non-blocking."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            poller = select.poll()
            poller.register(fd, select.POLLOUT)
            poller.poll()


class RawTerminal:
    """The terminal `fd` in raw mode while the context lasts; its former state comes back whatever happens."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def __enter__(self) -> "RawTerminal":
        self._before = termios.tcgetattr(self._fd)
        tty.setraw(self._fd, termios.TCSADRAIN)
        return self

    def __exit__(self, *exception: object) -> None:
        termios.tcsetattr(self._fd, termios.TCSADRAIN, self._before)


class SignalInbox:
    """Signals as bytes to read from `fd` while the context lasts, instead of what they did before.

    A signal that was ignored before stays ignored (`nohup`). Only the main thread of a process has signals: anywhere
    else the inbox stays empty.
    """

    def __init__(self, signals: Iterable[signal.Signals]) -> None:
        self._wanted = tuple(signals)
        self._before: list[tuple[signal.Signals, object]] = []
        self._wakeup_before: int | None = None
        self.fd = -1

    def __enter__(self) -> "SignalInbox":
        self.fd, self._write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            self._wakeup_before = signal.set_wakeup_fd(self._write_fd, warn_on_full_buffer=False)
        except ValueError:  # not the main thread
            return self
        for number in self._wanted:
            before = signal.getsignal(number)
            if before is not signal.SIG_IGN:
                signal.signal(number, _noted)
                self._before.append((number, before))
        return self

    def __exit__(self, *exception: object) -> None:
        if self._wakeup_before is not None:
            for number, before in self._before:
                signal.signal(number, before)  # type: ignore[arg-type]  # what getsignal gave
            signal.set_wakeup_fd(self._wakeup_before)
        os.close(self.fd)
        os.close(self._write_fd)

    def read(self) -> list[signal.Signals]:
        """Return the wanted signals that came since the last call, in order."""
        try:
            numbers = os.read(self.fd, 4096)
        except BlockingIOError:
            return []
        return [signal.Signals(number) for number in numbers if number in self._wanted]


def _noted(number: int, frame: FrameType | None) -> None:
    """Do nothing: the byte in the wakeup pipe is the message."""


class DetachKeys:
    """Finds the keys that leave a session in what is typed; a prefix is held back until it is decided."""

    def __init__(self, keys: str = DEFAULT_DETACH_KEYS) -> None:
        self._sequence = parse_detach_keys(keys)
        self._held = b""

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """Return what to pass on of `data`, and whether the keys were pressed."""
        passed = bytearray()
        for byte in data:
            self._held += bytes((byte,))
            while self._held and not self._sequence.startswith(self._held):
                passed.append(self._held[0])
                self._held = self._held[1:]
            if self._held and self._held == self._sequence:
                return bytes(passed), True
        return bytes(passed), False


def parse_detach_keys(keys: str) -> bytes:
    """Turn "ctrl-p,ctrl-q" or "ctrl-],x" into the bytes a terminal sends for it; empty means no such keys."""
    sequence = bytearray()
    for key in keys.split(",") if keys else ():
        control = key.removeprefix("ctrl-")
        if len(key) == 1 and key.isascii():
            sequence += key.encode()
        elif key != control and len(control) == 1 and control.lower() in "abcdefghijklmnopqrstuvwxyz@[\\]^_":
            sequence.append(ord(control.upper()) & 0x1F)
        else:
            raise InvalidInput(
                f"detach keys '{keys}': '{key}' is no key",
                hint="give single characters and ctrl-X, separated by commas, like 'ctrl-p,ctrl-q'",
                field="detach-keys",
            )
    return bytes(sequence)

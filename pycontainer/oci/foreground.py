"""Being the parent of a process until it ends: signals go on to it, its terminal is ours, its exit code becomes ours."""

import _signal  # type: ignore[import-not-found]  # `signal` costs 2 ms for its enumerations
import errno
import os
import select

from pycontainer.linux.process import pidfd_send_signal

_SIGPIPE, _SIGCHLD, _SIGTTIN, _SIGTTOU, _SIGURG, _SIGWINCH = 13, 17, 21, 22, 23, 28
# Cannot be caught, or are ours and none for the process. In the background who reads the terminal is to stop: with a handler
# the read is tried again, and again refused.
_KEPT = (9, 19, _SIGPIPE, _SIGCHLD, _SIGTTIN, _SIGTTOU, _SIGURG)
_TTY_SIGNALS = 65
_DRAIN_BYTES = 1 << 20


class Foreground:
    """Waits for one child of ours. `master_fd` is its terminal, which is then connected with our own, or -1."""

    def __init__(self, pid: int, pidfd: int, master_fd: int) -> None:
        self._pid, self._pidfd, self._master_fd = pid, pidfd, master_fd

    def wait(self) -> int:
        """Return the exit code: its own, or 128 and the signal that ended it."""
        wake_read_fd, wake_write_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        _signal.set_wakeup_fd(wake_write_fd, warn_on_full_buffer=False)
        for number in range(1, _TTY_SIGNALS):
            if number not in _KEPT:
                try:
                    _signal.signal(number, _nothing)
                except (OSError, ValueError):  # the C library keeps two for itself
                    pass
        raw = _Raw() if self._master_fd >= 0 else None
        try:
            self._resize()
            self._attend(wake_read_fd)
        finally:
            if raw is not None:
                raw.restore()
        _, status = os.waitpid(self._pid, 0)
        code = os.waitstatus_to_exitcode(status)
        return code if code >= 0 else 128 - code

    def _attend(self, wake_fd: int) -> None:
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        poll.register(wake_fd, select.POLLIN)
        if self._master_fd >= 0:
            os.set_blocking(self._master_fd, False)
            poll.register(self._master_fd, select.POLLIN)
            poll.register(0, select.POLLIN)
        keys = (
            b""  # what the terminal has not taken yet: nobody may be reading there, and we have more to do than to wait
        )
        ended = False
        is_typing = self._master_fd >= 0  # our input is waited for
        while not ended:
            for fd, events in poll.poll():
                if fd == wake_fd:
                    for number in os.read(wake_fd, 256):
                        self._pass_on(number)
                elif fd == self._pidfd:
                    ended = True
                elif fd == 0:
                    if not is_typing:  # since a moment ago
                        continue
                    keys = _read(0)
                    poll.unregister(0)  # until these are taken, and for good at the end
                    is_typing = False
                    if keys:
                        poll.modify(self._master_fd, select.POLLIN | select.POLLOUT)
                elif events & ~select.POLLOUT and not _show(self._master_fd):
                    poll.unregister(self._master_fd)  # nobody has it open any more, so that nobody is typed for
                    if is_typing:
                        poll.unregister(0)
                        is_typing = False
                elif events & select.POLLOUT:
                    keys = keys[_write(self._master_fd, keys) :]
                    if not keys:
                        poll.modify(self._master_fd, select.POLLIN)
                        poll.register(0, select.POLLIN)
                        is_typing = True
        left = _DRAIN_BYTES  # of what it wrote last; a process that it left behind may go on for ever
        while left > 0 and self._master_fd >= 0 and _readable(self._master_fd) and (count := _show(self._master_fd)):
            left -= count

    def _pass_on(self, number: int) -> None:
        if number == _SIGWINCH:
            self._resize()
            return
        try:
            pidfd_send_signal(self._pidfd, number)
        except ProcessLookupError:
            pass

    def _resize(self) -> None:
        if self._master_fd >= 0 and os.isatty(0):
            from pycontainer.linux.tty import set_window_size

            columns, rows = os.get_terminal_size(0)
            set_window_size(self._master_fd, rows, columns)


class _Raw:
    """Our terminal passes on every key while this lives."""

    def __init__(self) -> None:
        self._before = None
        if os.isatty(0):
            import termios
            import tty

            self._before = termios.tcgetattr(0)
            tty.setraw(0)

    def restore(self) -> None:
        if self._before is not None:
            import termios

            _signal.signal(_SIGTTOU, _signal.SIG_IGN)  # also from the background: the end is to be told
            termios.tcsetattr(0, termios.TCSADRAIN, self._before)


def _nothing(_number: int, _frame: object) -> None:
    """The wake-up descriptor tells the number."""


def _readable(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return any(events & select.POLLIN for _, events in poll.poll(0))


def _read(fd: int) -> bytes:
    """Return what is there, nothing at the end."""
    try:
        return os.read(fd, 65536)
    except OSError as error:
        if error.errno != errno.EIO:  # a master whose last slave has closed
            raise
        return b""


def _write(fd: int, data: bytes) -> int:
    """Return how many bytes the terminal takes; all, if there is nobody any more to read them."""
    try:
        return os.write(fd, data)
    except BlockingIOError:
        return 0
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return len(data)


def _show(master_fd: int) -> int:
    """Copy to our output what the terminal shows, and return how many bytes that was: none at its end."""
    data = _read(master_fd)
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(1, view) :]
    except BrokenPipeError:
        pass  # nobody looks; the process goes on, and its exit code is still wanted
    return len(data)

"""A process in the foreground: what goes to its terminal, what comes from it, and the code that it ends with."""

import os
import signal
import time
import traceback

import pytest

from pycontainer.linux.process import pidfd_open
from pycontainer.linux.tty import open_pty
from pycontainer.oci import foreground
from pycontainer.oci.foreground import Foreground
from tests.support.poll import SLOWNESS


def in_front(script: str, *, typed: bytes, output_fd: int, typed_after_seconds: float = 0) -> int:
    """Return what `wait` returns in a process of its own, whose input is `typed` and whose child is a shell."""
    input_read, input_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            os.close(input_write)
            os.dup2(input_read, 0)
            os.dup2(output_fd, 1)
            signal.signal(signal.SIGPIPE, signal.SIG_IGN)
            master_fd = os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY)
            _, slave_fd = open_pty(master_fd)
            child = os.fork()
            if child == 0:
                for number in range(3):
                    os.dup2(slave_fd, number)
                signal.signal(signal.SIGPIPE, signal.SIG_DFL)
                os.execv("/bin/sh", ["sh", "-c", script])
            os.close(slave_fd)
            code = Foreground(child, pidfd_open(child), master_fd).wait()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(input_read)
    time.sleep(typed_after_seconds)
    try:
        while typed:
            typed = typed[os.write(input_write, typed) :]
    except BrokenPipeError:  # it has ended meanwhile
        pass
    os.close(input_write)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def test_keys_that_nobody_reads() -> None:
    """A terminal takes some thousand bytes; who waits for it to take more hears no signal and loses the exit code."""
    out_fd = os.open(os.devnull, os.O_WRONLY)
    handler = signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    try:
        assert in_front("stty -echo; sleep 1; exit 7", typed=b"a line\n" * 60000, output_fd=out_fd) == 7
    finally:
        signal.signal(signal.SIGPIPE, handler)
        os.close(out_fd)


def test_nobody_looks_at_the_output() -> None:
    """`run ... | head`: the process is none the wiser, and its code is still told."""
    read_fd, write_fd = os.pipe()
    os.close(read_fd)
    try:
        assert in_front("echo one; sleep 0.2; echo two; exit 5", typed=b"", output_fd=write_fd) == 5
    finally:
        os.close(write_fd)


def test_what_it_leaves_behind_on_the_terminal_keeps_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes on to write, faster than we show."""
    began = time.monotonic()

    def show(master_fd: int) -> int:
        assert time.monotonic() - began < 20 * SLOWNESS
        return 4096

    monkeypatch.setattr(foreground, "_show", show)
    monkeypatch.setattr(foreground, "_readable", lambda fd: True)
    assert in_front("exit 3", typed=b"", output_fd=1) == 3


def test_keys_for_a_terminal_that_nobody_has_open() -> None:
    out_fd = os.open(os.devnull, os.O_WRONLY)
    try:
        script = f"exec </dev/null >/dev/null 2>&1; sleep {3 * SLOWNESS}; exit 4"
        assert in_front(script, typed=b"key", typed_after_seconds=2 * SLOWNESS, output_fd=out_fd) == 4
    finally:
        os.close(out_fd)


def test_what_it_wrote_last_is_shown() -> None:
    read_fd, write_fd = os.pipe()
    assert in_front("stty -onlcr; echo last; exit 0", typed=b"", output_fd=write_fd) == 0
    os.close(write_fd)
    assert os.read(read_fd, 100).endswith(b"last\n")
    os.close(read_fd)

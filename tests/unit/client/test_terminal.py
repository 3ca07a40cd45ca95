"""Detach keys, raw mode, signals."""

import os
import signal
import termios

import pytest

from pycontainer.client.terminal import DetachKeys, RawTerminal, SignalInbox, parse_detach_keys, window_size, write_all
from pycontainer.errors import InvalidInput


@pytest.mark.parametrize(
    ("keys", "sequence"),
    [("ctrl-p,ctrl-q", b"\x10\x11"), ("ctrl-],x", b"\x1dx"), ("ctrl-@", b"\0"), ("", b""), ("a", b"a")],
)
def test_parse_detach_keys(keys: str, sequence: bytes) -> None:
    assert parse_detach_keys(keys) == sequence


@pytest.mark.parametrize("keys", ["ctrl-", "ctrl-1", "ab", "ctrl-p,,x", "é"])
def test_wrong_detach_keys(keys: str) -> None:
    with pytest.raises(InvalidInput, match="is no key"):
        parse_detach_keys(keys)


@pytest.mark.parametrize(
    ("pieces", "passed", "detached"),
    [
        ([b"abc"], b"abc", False),
        ([b"a\x10\x11b"], b"a", True),
        ([b"a\x10", b"\x11"], b"a", True),
        ([b"\x10", b"x"], b"\x10x", False),
        ([b"\x10\x10\x11"], b"\x10", True),
        ([b"\x10"], b"", False),
    ],
)
def test_detach_keys_over_pieces(pieces: list[bytes], passed: bytes, detached: bool) -> None:
    keys = DetachKeys()
    results = [keys.feed(piece) for piece in pieces]
    assert b"".join(data for data, _ in results) == passed
    assert results[-1][1] is detached


def test_keys_that_repeat_are_found() -> None:
    assert DetachKeys("a,a,b").feed(b"aaab") == (b"a", True)
    assert DetachKeys("").feed(b"\x10\x11") == (b"\x10\x11", False)


def test_terminal_is_restored_after_an_error() -> None:
    master_fd, slave_fd = os.openpty()
    before = termios.tcgetattr(slave_fd)
    with pytest.raises(ZeroDivisionError), RawTerminal(slave_fd):
        assert not termios.tcgetattr(slave_fd)[3] & termios.ECHO
        raise ZeroDivisionError
    assert termios.tcgetattr(slave_fd) == before
    os.close(master_fd)
    os.close(slave_fd)


def test_inbox_takes_signals_and_gives_them_back() -> None:
    before = signal.getsignal(signal.SIGUSR1), signal.getsignal(signal.SIGINT)
    with SignalInbox([signal.SIGUSR1, signal.SIGINT]) as inbox:
        os.kill(os.getpid(), signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGINT)
        assert inbox.read() == [signal.SIGUSR1, signal.SIGINT]
        assert inbox.read() == []
    assert (signal.getsignal(signal.SIGUSR1), signal.getsignal(signal.SIGINT)) == before


def test_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    try:
        with SignalInbox([signal.SIGUSR2]) as inbox:
            os.kill(os.getpid(), signal.SIGUSR2)
            assert inbox.read() == []
        assert signal.getsignal(signal.SIGUSR2) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGUSR2, before)


def test_size_of_what_is_no_terminal() -> None:
    read_fd, write_fd = os.pipe()
    assert window_size(read_fd) == (24, 80)
    os.close(read_fd)
    os.close(write_fd)


def test_write_all_waits_for_room() -> None:
    import threading

    read_fd, write_fd = os.pipe()
    os.set_blocking(write_fd, False)
    data, got = os.urandom(500_000), bytearray()

    def read() -> None:
        while len(got) < len(data):
            got.extend(os.read(read_fd, 65536))

    thread = threading.Thread(target=read)
    thread.start()
    write_all(write_fd, data)
    thread.join()
    assert bytes(got) == data
    os.close(read_fd)
    os.close(write_fd)

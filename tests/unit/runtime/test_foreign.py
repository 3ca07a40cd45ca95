"""Descriptors of others: those that nobody has to wait for are known by what the kernel says alone."""

import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pycontainer.linux.files import known_status
from pycontainer.runtime.foreign import refusal


@contextlib.contextmanager
def closing(*fds: int) -> Iterator[int]:
    try:
        yield fds[0]
    finally:
        for fd in fds:
            os.close(fd)


def test_what_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "pipe:[1]"
    path.touch()
    os.mkfifo(tmp_path / "fifo")
    with closing(os.open(path, os.O_RDWR)) as fd:
        assert refusal(fd) == ""
        assert known_status(fd)[:2] == (os.fstat(fd).st_dev, os.fstat(fd).st_mode)
        path.unlink()
        assert refusal(fd) == ""
    for special in (tmp_path, tmp_path / "fifo", "/dev/null"):
        with closing(os.open(special, os.O_RDONLY | os.O_NONBLOCK)) as fd:
            assert refusal(fd) == "", special
    with closing(*os.pipe()) as fd:
        assert refusal(fd) == ""
    with closing(*os.openpty()) as fd:
        assert refusal(fd) == ""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        assert refusal(sock.fileno()) == ""
    with closing(os.open("/dev/null", os.O_RDONLY)) as fd:
        assert known_status(fd)[2] == os.makedev(1, 3)


@pytest.mark.parametrize(
    ("opened", "reason"),
    [
        (lambda: os.open("/proc/self/maps", os.O_RDONLY), "a file on a file system that need not answer"),
        (lambda: os.memfd_create("x"), ""),
        (lambda: os.eventfd(0), "'anon_inode', which is no file"),
        (lambda: os.open("/", os.O_PATH | os.O_DIRECTORY), ""),
        (lambda: socket.socket(socket.AF_INET).detach(), "a socket that is not of this host"),
    ],
)
def test_what_somebody_could_have_to_wait_for(opened: Callable[[], int], reason: str) -> None:
    """API-05"""
    with closing(opened()) as fd:
        assert refusal(fd) == reason

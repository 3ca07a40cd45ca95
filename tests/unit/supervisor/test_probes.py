"""What an answer by HTTP says, and what a container says of itself by datagrams."""

import asyncio
import os
import socket
from pathlib import Path

import pytest

from pycontainer.supervisor.probes import status_of
from pycontainer.supervisor.readiness import MAX_STATUS_CHARACTERS, Speaker


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"HTTP/1.1 200 OK\r", 200),
        (b"HTTP/1.0 503 Service Unavailable", 503),
        (b"HTTP/1.1 204", 204),
        (b"HTTP/1.1 204 \r", 204),
        (b"", None),
        (b"SSH-2.0-OpenSSH_9.2", None),
        (b"HTTP/2 200 OK", None),
        (b"HTTP/1.1", None),
        (b"HTTP/1.1 2000 x", None),
        (b"HTTP/1.1 -20 x", None),
        (b"HTTP/1.1 \xb2\xb2\xb2 x", None),
        (b"HTTP/1.1  200 OK", None),
        (b"\xff" * 100, None),
    ],
)
def test_a_status_line(line: bytes, status: int | None) -> None:
    assert status_of(line) == status


class Inside:
    """A workload with the socket of one speaker."""

    def __init__(self, directory: Path) -> None:
        self.news = 0
        self.speaker = Speaker(str(directory), self._heard)
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.sock.connect(f"{directory}/notify")

    def _heard(self) -> None:
        self.news += 1

    async def say(self, message: bytes) -> tuple[bool, str]:
        self.sock.send(message)
        for _ in range(3):
            await asyncio.sleep(0)
        return self.speaker.ready, self.speaker.status

    def close(self) -> None:
        self.sock.close()
        self.speaker.close()


def test_what_is_understood(tmp_path: Path) -> None:
    async def talk() -> None:
        inside = Inside(tmp_path / "notify" / "ID")
        assert os.stat(f"{tmp_path}/notify/ID/notify").st_mode & 0o777 == 0o666
        assert await inside.say(b"") == (False, "")
        assert await inside.say(b"\xff\n=\nREADY=0\nREADY\nREADY=10\nSTATUS") == (False, "")
        assert inside.news == 0
        assert await inside.say(b"STATUS=reading \xff files\nMAINPID=1\n") == (False, "reading \\xff files")
        assert await inside.say(b"STATUS=" + b"x" * 4000) == (False, "x" * MAX_STATUS_CHARACTERS)
        assert inside.news == 2
        assert await inside.say(b"READY=1") == (True, "x" * MAX_STATUS_CHARACTERS)
        assert await inside.say(b"READY=1") == (True, "x" * MAX_STATUS_CHARACTERS)
        assert inside.news == 3
        inside.close()
        assert os.listdir(tmp_path) == [], "the last one takes the directory of all along"

    asyncio.run(talk())


def test_descriptors_that_come_along_are_not_taken(tmp_path: Path) -> None:
    """RES-04: neither kept nor seen: who waits for ours to be closed (sd_notify_barrier) is told at once."""

    async def talk() -> None:
        inside = Inside(tmp_path / "ID")
        read_fd, write_fd = os.pipe()
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(5):
            socket.send_fds(inside.sock, [b"BARRIER=1"], [write_fd])
        os.close(write_fd)
        for _ in range(3):
            await asyncio.sleep(0)
        assert len(os.listdir("/proc/self/fd")) == before - 1
        assert os.read(read_fd, 1) == b""
        os.close(read_fd)
        inside.close()

    asyncio.run(talk())


def test_a_flood_is_read_a_little_at_a_time(tmp_path: Path) -> None:
    async def talk() -> None:
        inside = Inside(tmp_path / "ID")
        sent = 0
        try:
            while sent < 1000:
                inside.sock.send(b"STATUS=%d" % sent)
                sent += 1
        except BlockingIOError:
            pass
        assert sent > 8, "there are more than are read at once"
        for _ in range(100):
            await asyncio.sleep(0)
        assert inside.speaker.status == "7"
        inside.close()

    asyncio.run(talk())


def test_the_next_one_takes_the_place(tmp_path: Path) -> None:
    async def talk() -> None:
        first = Inside(tmp_path / "ID")
        first.speaker.leave()
        second = Inside(tmp_path / "ID")
        assert await second.say(b"READY=1") == (True, "")
        first.sock.close()
        second.close()

    asyncio.run(talk())
